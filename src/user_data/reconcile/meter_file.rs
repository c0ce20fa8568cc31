//! The weight meter that all processes of a box share: the calls of the last minute in a small locked file.
//!
//! A line a call: the machine's boot and its monotonic microseconds, wall-clock microseconds, the process's instance, `c` and
//! the weight; `u` and a number is what the venue's header told; `b` is a ban, `r` or `s` a class that a 429 stopped, `x` and a
//! status what the firewall said, whose stamps are the end. Within a boot only the monotonic clock counts, so wall clocks may
//! jump; the wall clock is for lines from before a boot, and leaves out what lies more than a window away. Lines that make no
//! sense are left out. Without a usable file the meter is this process's own, and [`SharedMeter::warning`] says so; the file
//! is tried again later.
//!
//! One file per source address: the venue counts by address.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::limits::{
    BAN_MAX, BLOCKED_HOLD_MAX, METER_FILE_RETRY, METER_LOCK_RETRY, WEIGHT_ANSWER_MAX, WEIGHT_HOLD_MAX, WEIGHT_WINDOW,
    WEIGHTS_COUNTED_MAX,
};
use crate::domain::{MachineClock, Mono, Now, Wall};
use crate::exchange::binance::listen_key::Refusal;
use crate::user_data::weight_meter::{Call, Spent, WeightClass, WeightMeter, WeightPermit};

/// Bytes of the file that are looked at: every call of a full minute, and as much again of others' making.
const FILE_LEN_MAX: u64 = 96 * WEIGHTS_COUNTED_MAX as u64;
/// What two processes' readings of the machine's clock may differ by, generously.
const CLOCKS_APART: Duration = Duration::from_secs(1);
/// Letters of the classes that a 429 stops.
const HELD: [(&str, WeightClass); 2] = [("r", WeightClass::Reconcile), ("s", WeightClass::SyncOrders)];

/// See the module's documentation.
#[derive(Debug)]
pub struct SharedMeter {
    path: Option<PathBuf>,
    instance: u64,
    machine: MachineClock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// This process's calls, and what the venue said to anybody, on the clock of
    /// [`SharedMeter::machine_time`].
    own: WeightMeter,
    /// What others called, as of the last look.
    others: Vec<Spent>,
    /// The file does not have all of `own` yet.
    is_news: bool,
    warning: Option<String>,
    /// The file is not tried before.
    file_not_before: Mono,
}

/// What people are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterStatus {
    /// Used of the last minute, by anybody at this address as far as is known.
    pub used: u32,
    /// Of so much.
    pub limit: u32,
    /// The address is banned for so long.
    pub banned_for: Duration,
    /// Reconciles are stopped for so long.
    pub reconcile_held_for: Duration,
    /// The firewall lets nobody in for so long, with its status: 403 or 451.
    pub blocked: Option<(u16, Duration)>,
}

/// Why the file gave no answer.
enum Unusable {
    Busy,
    Broken(io::Error),
}

/// Another process's call, with its instance.
struct Line {
    spent: Spent,
    instance: u64,
}

impl SharedMeter {
    /// A meter of `limit` a minute over the file at `path`, which is made when it is missing; with `None`, this process's
    /// own. `instance` tells this run of the process from any other: draw it at random. `machine` belongs to the clock
    /// that every `now` comes from.
    #[must_use]
    pub fn new(path: Option<PathBuf>, limit: u32, instance: u64, machine: MachineClock) -> SharedMeter {
        let state = State {
            own: WeightMeter::new(limit),
            others: Vec::new(),
            is_news: false,
            warning: None,
            file_not_before: Mono::ZERO,
        };
        SharedMeter { path, instance, machine, state: Mutex::new(state) }
    }

    /// May a call of `weight` begin? Counted where it may.
    pub fn permit(&self, class: WeightClass, weight: u32, now: Now) -> WeightPermit {
        let mut state = self.state.lock();
        let at = self.machine_time(now.mono);
        state.own.forget(at);
        let mut opened = None;
        if let Some(path) = &self.path
            && now.mono >= state.file_not_before
        {
            match self.open(path, &mut state, now) {
                Ok(file) => opened = Some(file),
                // Keeping a key alive waits for nobody.
                Err(Unusable::Busy) if class != WeightClass::Keys => {
                    return WeightPermit::At(now.mono.plus(METER_LOCK_RETRY));
                }
                Err(Unusable::Busy) => {}
                Err(Unusable::Broken(error)) => give_up(path, &mut state, &error, now),
            }
        }
        let permit = match state.all().permit(class, weight, at) {
            WeightPermit::Now(_) => {
                state.is_news = true;
                WeightPermit::Now(state.own.begin(weight, at))
            }
            WeightPermit::At(at) => WeightPermit::At(self.process_time(at)),
        };
        if let (Some((mut file, lines)), Some(path)) = (opened, &self.path)
            && state.is_news
        {
            self.save(path, &mut file, lines, &mut state, now);
        }
        permit
    }

    /// What the answer to a call said: the header's number, and the refusal, if it was one. Other processes know a refusal at
    /// once, where the file is free.
    pub fn handle_answer(&self, call: Call, used: Option<u32>, refusal: Option<Refusal>, now: Now) {
        let mut state = self.state.lock();
        let at = self.machine_time(now.mono);
        state.own.end(call, at);
        if let Some(used) = used {
            state.own.handle_told(call, used, at);
        }
        if let Some(refusal) = refusal {
            let pause = refusal.pause(1, now.wall.as_millis());
            match refusal {
                Refusal::Banned { .. } => state.own.handle_banned(at.plus(pause)),
                Refusal::Limited { .. } => state.own.handle_limited(call, pause, at),
                Refusal::Blocked { status } => {
                    state.own.handle_blocked(status, at.plus(pause.min(BLOCKED_HOLD_MAX)));
                }
                _ => {}
            }
        }
        state.is_news = true;
        if let Some(path) = &self.path
            && refusal.is_some_and(Refusal::concerns_address)
            && now.mono >= state.file_not_before
            && let Ok((mut file, lines)) = self.open(path, &mut state, now)
        {
            self.save(path, &mut file, lines, &mut state, now);
        }
    }

    /// How long `n` calls of `weight` take from now on; see [`WeightMeter::time_for`].
    #[must_use]
    pub fn time_for(&self, class: WeightClass, weight: u32, n: u64, now: Now) -> Duration {
        let mut state = self.state.lock();
        if let Some(path) = &self.path {
            // A look only: a file that is busy or of no use leaves what is known.
            let _ = self.open(path, &mut state, now);
        }
        let at = self.machine_time(now.mono);
        let banned = state.own.banned_until(at).map_or(Duration::ZERO, |until| until.since(at));
        state.all().time_for(class, weight, n, at).max(banned)
    }

    /// What to show.
    #[must_use]
    pub fn status(&self, now: Now) -> MeterStatus {
        let state = self.state.lock();
        let at = self.machine_time(now.mono);
        let left = |until: Option<Mono>| until.map_or(Duration::ZERO, |until| until.since(at));
        MeterStatus {
            used: state.all().used(at),
            limit: state.own.limit(),
            banned_for: left(state.own.banned_until(at)),
            reconcile_held_for: left(state.own.held_until(WeightClass::Reconcile, at)),
            blocked: state.own.blocked_until(at).map(|(until, status)| (status, until.since(at))),
        }
    }

    /// Why the meter is not shared at the moment, as a sentence. It still limits this process.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.state.lock().warning.clone()
    }

    /// The machine's monotonic clock, a window on: lines from before its start have a place, too.
    fn machine_time(&self, mono: Mono) -> Mono {
        mono.plus(self.machine.at_zero).plus(WEIGHT_WINDOW)
    }

    fn process_time(&self, at: Mono) -> Mono {
        earlier(at, self.machine.at_zero.saturating_add(WEIGHT_WINDOW))
    }

    /// The file, locked until it is dropped, and others' calls; what the venue told others is taken over.
    fn open(&self, path: &Path, state: &mut State, now: Now) -> Result<(File, Vec<Line>), Unusable> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = options.map_err(Unusable::Broken)?;
        if !file.metadata().map_err(Unusable::Broken)?.is_file() {
            return Err(Unusable::Broken(io::Error::other("it is no file")));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Unusable::Busy),
            Err(TryLockError::Error(error)) => return Err(Unusable::Broken(error)),
        }
        let mut bytes = Vec::new();
        (&file).take(FILE_LEN_MAX).read_to_end(&mut bytes).map_err(Unusable::Broken)?;
        let at = self.machine_time(now.mono);
        let mut lines = Vec::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            self.take_line(line, at, now.wall, state, &mut lines);
        }
        state.others = lines.iter().map(|line| line.spent).collect();
        state.warning = None;
        Ok((file, lines))
    }

    fn take_line(&self, line: &str, at: Mono, wall: Wall, state: &mut State, lines: &mut Vec<Line>) -> Option<()> {
        let mut words = line.split(' ');
        let id = |word: &str| u64::from_str_radix(word, 16).ok().filter(|_| word.len() == 16);
        let boot = id(words.next()?)?;
        let (machine, stamp): (u64, i64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let instance = id(words.next()?)?;
        let letter = words.next()?;
        let number: Option<u32> = words.next().map(str::parse).transpose().ok()?;
        let is_this_boot = boot != 0 && boot == self.machine.boot;
        // How far it lies ahead, or back.
        let (is_ahead, distance) = if is_this_boot {
            let then = Mono::from_nanos(machine.checked_mul(1_000)?);
            (then > at, then.since(at).max(at.since(then)))
        } else {
            let ahead = stamp.checked_sub(wall.as_micros())?;
            (ahead > 0, Duration::from_micros(ahead.unsigned_abs()))
        };
        match (letter, number) {
            ("c" | "u", Some(weight)) => {
                let longest = if is_ahead && is_this_boot { WEIGHT_ANSWER_MAX } else { WEIGHT_WINDOW };
                if distance > longest + CLOCKS_APART || (letter == "c" && instance == self.instance) {
                    return None;
                }
                let then = match (is_ahead, is_this_boot) {
                    (true, true) => at.plus(distance),
                    (true, false) => at,
                    (false, _) => earlier(at, distance),
                };
                let spent = Spent { at: then, weight };
                if letter == "c" {
                    lines.push(Line { spent, instance });
                } else if state.own.told().is_none_or(|told| told.at < spent.at) {
                    state.own.take_told(spent);
                }
            }
            ("b" | "r" | "s" | "x", _) => {
                let longest = match letter {
                    "b" => BAN_MAX,
                    "x" => BLOCKED_HOLD_MAX,
                    _ => WEIGHT_HOLD_MAX,
                };
                if !is_ahead || distance > longest + CLOCKS_APART {
                    return None;
                }
                let until = at.plus(distance);
                match (HELD.iter().find(|(word, _)| *word == letter), number) {
                    (Some((_, class)), None) => state.own.hold(*class, until),
                    (None, Some(status)) if letter == "x" => {
                        state.own.handle_blocked(u16::try_from(status).ok()?, until);
                    }
                    (None, None) if letter == "b" => state.own.handle_banned(until),
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn save(&self, path: &Path, file: &mut File, lines: Vec<Line>, state: &mut State, now: Now) {
        match self.write(file, lines, state, now) {
            Ok(()) => state.is_news = false,
            Err(error) => give_up(path, state, &error, now),
        }
    }

    /// What others did, what this process did, and what the venue said.
    fn write(&self, file: &mut File, mut lines: Vec<Line>, state: &State, now: Now) -> io::Result<()> {
        let (at, wall, own) = (self.machine_time(now.mono), now.wall.as_micros(), &state.own);
        lines.extend(own.spent().map(|spent| Line { spent, instance: self.instance }));
        let mut text = String::with_capacity(80 * (lines.len() + 5));
        let mut add = |then: Mono, instance: u64, rest: std::fmt::Arguments<'_>| {
            // Rounded up: a call leaves the window no earlier, a ban ends no earlier.
            let machine = then.as_nanos().div_ceil(1_000);
            let stamp = wall.saturating_add(micros(then.since(at))).saturating_sub(micros(at.since(then)));
            writeln!(text, "{:016x} {machine} {stamp} {instance:016x} {rest}", self.machine.boot)
                .expect("writing to a String cannot fail");
        };
        if let Some(until) = own.banned_until(at) {
            add(until, self.instance, format_args!("b"));
        }
        if let Some((until, status)) = own.blocked_until(at) {
            add(until, self.instance, format_args!("x {status}"));
        }
        for (letter, class) in HELD {
            if let Some(until) = own.held_until(class, at) {
                add(until, self.instance, format_args!("{letter}"));
            }
        }
        if let Some(told) = own.told() {
            add(told.at, self.instance, format_args!("u {}", told.weight));
        }
        for Line { spent, instance } in &lines {
            add(spent.at, *instance, format_args!("c {}", spent.weight));
        }
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    }
}

impl State {
    fn all(&self) -> WeightMeter {
        let mut all = self.own.clone();
        self.others.iter().for_each(|spent| all.record(*spent));
        all
    }
}

/// No earlier than the machine's start and a window before it.
fn earlier(at: Mono, span: Duration) -> Mono {
    Mono::ZERO.plus(at.since(Mono::ZERO).saturating_sub(span))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 4)
}

/// The file is of no use for a while.
fn give_up(path: &Path, state: &mut State, error: &io::Error, now: Now) {
    state.file_not_before = now.mono.plus(METER_FILE_RETRY);
    state.others.clear();
    state.warning = Some(format!(
        "REST weight is not counted together with other processes of this machine: {}: {error}",
        path.display()
    ));
}

#[cfg(test)]
#[path = "meter_file_tests.rs"]
mod tests;
