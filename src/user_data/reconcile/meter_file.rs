//! The weight meter that all processes of a box share: the calls of the last minute in a small locked file.
//!
//! A line a call: wall-clock microseconds, the process's instance in hex, `c` and the weight; `u` and a number is what the
//! venue's header told; `b` is a ban and `r` or `s` a class that a 429 stopped, whose stamps are the end. What this process
//! did it remembers by its monotonic clock, so only others' calls depend on wall clocks; a call that lies in the future counts
//! as of now, or not at all when it lies further ahead than a window. Lines that make no sense are left out. Without a usable
//! file the meter is this process's own, and [`SharedMeter::warning`] says so; the file is tried again later.
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
    BAN_MAX, BLOCKED_HOLD_MAX, METER_FILE_RETRY, METER_LOCK_RETRY, WEIGHT_HOLD_MAX, WEIGHT_WINDOW, WEIGHTS_COUNTED_MAX,
};
use crate::domain::{Mono, Now, Wall};
use crate::exchange::binance::listen_key::Refusal;
use crate::user_data::weight_meter::{Spent, WeightClass, WeightMeter, WeightPermit};

/// Bytes of the file that are looked at: every call of a full minute, and as much again of others' making.
const FILE_LEN_MAX: u64 = 96 * WEIGHTS_COUNTED_MAX as u64;
/// Letters of the classes that a 429 stops.
const HELD: [(&str, WeightClass); 2] = [("r", WeightClass::Reconcile), ("s", WeightClass::SyncOrders)];

/// See the module's documentation.
#[derive(Debug)]
pub struct SharedMeter {
    path: Option<PathBuf>,
    instance: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// This process's calls, and what the venue said to anybody, on the shifted clock of [`shifted`].
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
    /// own. `instance` tells this run of the process from any other: draw it at random.
    #[must_use]
    pub fn new(path: Option<PathBuf>, limit: u32, instance: u64) -> SharedMeter {
        let state = State {
            own: WeightMeter::new(limit),
            others: Vec::new(),
            is_news: false,
            warning: None,
            file_not_before: Mono::ZERO,
        };
        SharedMeter { path, instance, state: Mutex::new(state) }
    }

    /// May a call of `weight` begin? Counted where it may.
    pub fn permit(&self, class: WeightClass, weight: u32, now: Now) -> WeightPermit {
        let mut state = self.state.lock();
        let at = shifted(now.mono);
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
        let permit = state.all().permit(class, weight, at);
        if permit == WeightPermit::Now {
            state.own.record(Spent { at, weight });
            state.is_news = true;
        }
        if let (Some((mut file, lines)), Some(path)) = (opened, &self.path)
            && state.is_news
        {
            self.save(path, &mut file, lines, &mut state, now);
        }
        match permit {
            WeightPermit::Now => WeightPermit::Now,
            WeightPermit::At(at) => WeightPermit::At(unshifted(at)),
        }
    }

    /// What an answer said: the header's number, and the refusal, if it was one. Other processes know it at once, where the
    /// file is free.
    pub fn handle_answer(&self, used: Option<u32>, refusal: Option<Refusal>, now: Now) {
        let mut state = self.state.lock();
        let at = shifted(now.mono);
        if let Some(used) = used {
            state.own.handle_told(used, at);
        }
        if let Some(refusal) = refusal {
            let pause = refusal.pause(1, now.wall.as_millis());
            match refusal {
                Refusal::Banned { .. } => state.own.handle_banned(at.plus(pause)),
                Refusal::Limited { .. } => state.own.handle_limited(pause, at),
                Refusal::Blocked { .. } => {
                    HELD.iter().for_each(|(_, class)| state.own.hold(*class, at.plus(pause.min(BLOCKED_HOLD_MAX))));
                }
                _ => {}
            }
        }
        state.is_news |= used.is_some() || refusal.is_some();
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
        let at = shifted(now.mono);
        let banned = state.own.banned_until(at).map_or(Duration::ZERO, |until| until.since(at));
        state.all().time_for(class, weight, n, at).max(banned)
    }

    /// What to show.
    #[must_use]
    pub fn status(&self, now: Now) -> MeterStatus {
        let state = self.state.lock();
        let at = shifted(now.mono);
        let left = |until: Option<Mono>| until.map_or(Duration::ZERO, |until| until.since(at));
        MeterStatus {
            used: state.all().used(at),
            limit: state.own.limit(),
            banned_for: left(state.own.banned_until(at)),
            reconcile_held_for: left(state.own.held_until(WeightClass::Reconcile, at)),
        }
    }

    /// Why the meter is not shared at the moment, as a sentence. It still limits this process.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.state.lock().warning.clone()
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
        let at = shifted(now.mono);
        let mut lines = Vec::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            self.take_line(line, at, now.wall, state, &mut lines);
        }
        state.others = lines.iter().map(|line| line.spent).collect();
        state.warning = None;
        Ok((file, lines))
    }

    fn take_line(&self, line: &str, at: Mono, wall: Wall, state: &mut State, lines: &mut Vec<Line>) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let (&[stamp, instance, letter], number) = words.split_first_chunk::<3>()?;
        let stamp: i64 = stamp.parse().ok()?;
        let instance = u64::from_str_radix(Some(instance).filter(|word| word.len() == 16)?, 16).ok()?;
        match (letter, number) {
            ("c" | "u", [number]) => {
                let weight: u32 = number.parse().ok()?;
                let age = wall.as_micros().checked_sub(stamp)?;
                let distance = Duration::from_micros(age.unsigned_abs());
                if distance >= WEIGHT_WINDOW || (letter == "c" && instance == self.instance) {
                    return None;
                }
                let age = if age < 0 { Duration::ZERO } else { distance };
                let spent = Spent { at: Mono::from_nanos(at.as_nanos() - age.as_nanos() as u64), weight };
                if letter == "c" {
                    lines.push(Line { spent, instance });
                } else if state.own.told().is_none_or(|told| told.at < spent.at) {
                    state.own.handle_told(spent.weight, spent.at);
                }
            }
            ("b" | "r" | "s", []) => {
                let left = u64::try_from(stamp.checked_sub(wall.as_micros())?).ok().map(Duration::from_micros)?;
                let longest = if letter == "b" { BAN_MAX } else { WEIGHT_HOLD_MAX };
                if left > longest {
                    return None;
                }
                match HELD.iter().find(|(word, _)| *word == letter) {
                    Some((_, class)) => state.own.hold(*class, at.plus(left)),
                    None => state.own.handle_banned(at.plus(left)),
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
        let (at, wall, own) = (shifted(now.mono), now.wall.as_micros(), &state.own);
        lines.extend(own.spent().map(|spent| Line { spent, instance: self.instance }));
        let mut text = String::with_capacity(40 * (lines.len() + 4));
        let mut add = |stamp: i64, instance: u64, rest: std::fmt::Arguments<'_>| {
            writeln!(text, "{stamp} {instance:016x} {rest}").expect("writing to a String cannot fail");
        };
        let before = |then: Mono| wall - micros(at.since(then));
        let after = |then: Mono| wall + micros(then.since(at));
        if let Some(until) = own.banned_until(at) {
            add(after(until), self.instance, format_args!("b"));
        }
        for (letter, class) in HELD {
            if let Some(until) = own.held_until(class, at) {
                add(after(until), self.instance, format_args!("{letter}"));
            }
        }
        if let Some(told) = own.told() {
            add(before(told.at), self.instance, format_args!("u {}", told.weight));
        }
        for Line { spent, instance } in &lines {
            add(before(spent.at), *instance, format_args!("c {}", spent.weight));
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

/// A window later: others' calls may be older than this process, whose clock starts at zero.
fn shifted(mono: Mono) -> Mono {
    mono.plus(WEIGHT_WINDOW)
}

fn unshifted(at: Mono) -> Mono {
    Mono::from_nanos(at.as_nanos().saturating_sub(WEIGHT_WINDOW.as_nanos() as u64))
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
mod tests {
    use super::*;
    use WeightClass::{Keys, Reconcile, SyncOrders};

    fn at(mono_s: u64, wall_s: i64) -> Now {
        Now { mono: Mono::from_nanos(mono_s * 1_000_000_000), wall: Wall::from_millis(wall_s * 1_000) }
    }

    fn two(folder: &tempfile::TempDir) -> (SharedMeter, SharedMeter) {
        let path = folder.path().join("weight");
        (SharedMeter::new(Some(path.clone()), 2_400, 1), SharedMeter::new(Some(path), 2_400, 2))
    }

    #[test]
    fn processes_share_the_minute() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = two(&folder);
        // Their monotonic clocks have nothing in common.
        for _ in 0..12 {
            assert_eq!(one.permit(SyncOrders, 90, at(5, 1_000)), WeightPermit::Now);
        }
        assert_eq!(other.permit(SyncOrders, 90, at(9_000, 1_010)), WeightPermit::Now);
        assert_eq!(other.permit(SyncOrders, 90, at(9_000, 1_010)), WeightPermit::At(at(9_050, 0).mono));
        assert_eq!(other.permit(Reconcile, 90, at(9_000, 1_010)), WeightPermit::Now);
        assert_eq!(
            (other.status(at(9_000, 1_010)).used, one.permit(Keys, 1, at(16, 1_011))),
            (14 * 90, WeightPermit::Now)
        );
        assert_eq!(one.status(at(16, 1_011)).used, 14 * 90 + 1);
        // Its own calls leave by its own clock, whatever the wall clock does meanwhile.
        assert_eq!(one.permit(SyncOrders, 200, at(64, 5_000)), WeightPermit::At(at(65, 0).mono));
        assert_eq!(one.permit(SyncOrders, 200, at(65, 5_000)), WeightPermit::Now);
    }

    #[test]
    fn bans_limits_and_the_venues_count_are_shared() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = two(&folder);
        one.handle_answer(Some(1_900), Some(Refusal::Limited { retry_after: None }), at(5, 1_000));
        assert_eq!(
            other.permit(Reconcile, 1, at(0, 1_000)),
            WeightPermit::At(at(60, 0).mono),
            "the minute counts as full"
        );
        assert_eq!(other.permit(Keys, 1, at(0, 1_000)), WeightPermit::Now);
        let banned = Refusal::Banned { until_ms: Some(1_100_000), retry_after: None };
        other.handle_answer(None, Some(banned), at(0, 1_000));
        assert_eq!(one.permit(Keys, 1, at(5, 1_000)), WeightPermit::At(at(106, 0).mono));
        assert_eq!(one.status(at(5, 1_000)).banned_for, Duration::from_secs(101));
        assert!(one.time_for(Reconcile, 90, 1, at(5, 1_000)) >= Duration::from_secs(101));
        assert_eq!(one.permit(Keys, 1, at(106, 1_101)), WeightPermit::Now);
    }

    #[test]
    fn nonsense_in_the_file_is_left_out_and_a_useless_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weight");
        let far = 1_000_000_000_000_000_i64;
        std::fs::write(&path, format!("\n\u{0}\n1 2 c\n1000000000 00000000000000aa c -1\n{far} 00000000000000aa b\n{far} 00000000000000aa c 2400\n")).unwrap();
        let meter = SharedMeter::new(Some(path), 2_400, 1);
        assert_eq!(meter.permit(Reconcile, 90, at(5, 1_000)), WeightPermit::Now);
        assert_eq!(meter.status(at(5, 1_000)).used, 90);
        let meter = SharedMeter::new(Some(folder.path().join("no/such/folder")), 200, 1);
        assert_eq!(meter.permit(Reconcile, 90, at(5, 1_000)), WeightPermit::Now);
        assert!(meter.warning().unwrap().contains("no/such/folder"));
        assert_eq!(meter.permit(Reconcile, 90, at(5, 1_000)), WeightPermit::At(at(65, 0).mono));
    }
}
