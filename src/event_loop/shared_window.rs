//! The connect limiter that all processes of a box share: recent attempts in a small locked file.
//!
//! A line an attempt: wall-clock microseconds, the process's instance in hex, and the class's letter. Each question takes
//! the file's lock *if it is free* (else: ask again in 20 ms), reads, decides, appends; a few kilobytes, so that the loop
//! may do it itself. What this process did it remembers by its monotonic clock, so only others' attempts depend on wall
//! clocks; one that lies in the future counts as of now, or not at all when it lies further ahead than a window. Lines that
//! make no sense are left out. Without a usable file the window is this process's own, and [`ConnectGate::warning`] says
//! so; the file is tried again later.
//!
//! A venue that turns this address away (418, 429) shuts the window for all of it ([`ConnectGate::hold`]); that, too, is a
//! line of the file. Attempts that find nobody listening are taken back, and while all do, one at a time is let through
//! (`reach`); the price stream, which is one, is not held back by that.
//!
//! One file per source address: venues count by address.

mod hold;
mod reach;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use self::hold::{Hold, Way};
use self::reach::Reach;
use crate::domain::limits::{CONNECT_FILE_RETRY, CONNECT_LOCK_RETRY, CONNECTS_MAX};
use crate::domain::{Mono, Now, Wall};
use crate::stream::connect_limiter::{Attempt, ConnectClass, ConnectGate, ConnectLimit, ConnectLimiter, Permit};

/// Bytes of the file that are looked at: every attempt of the largest window, and as much again of others' making.
const FILE_LEN_MAX: u64 = 72 * CONNECTS_MAX as u64;
/// Letters of the classes, in the order of [`ConnectClass::ALL`].
const LETTERS: [&str; 3] = ["p", "e", "o"];

/// See the module's documentation.
pub struct SharedWindow {
    path: Option<PathBuf>,
    instance: u64,
    state: Mutex<State>,
    recoveries: AtomicU64,
}

struct State {
    /// What this process did, on the shifted clock of [`SharedWindow::shifted`].
    own: ConnectLimiter,
    /// Until when nobody connects, as far as this process knows.
    hold: Option<Hold>,
    /// The file does not have it yet.
    is_hold_news: bool,
    /// Whether this process reaches the venue.
    reach: Reach,
    warning: Option<String>,
    /// The file is not tried before.
    file_not_before: Mono,
}

/// An attempt and whose it is.
struct Line {
    attempt: Attempt,
    instance: u64,
}

/// The file, locked until it is dropped, and what others wrote.
struct Opened {
    file: File,
    lines: Vec<Line>,
    hold: Option<Hold>,
}

/// Why the file gave no answer.
enum Unusable {
    Busy,
    Broken(io::Error),
}

impl SharedWindow {
    /// A window over the file at `path`, which is made when it is missing; with `None`, this process's own. `instance`
    /// tells the attempts of this run of the process from any other's: draw it at random.
    #[must_use]
    pub fn new(path: Option<PathBuf>, limit: ConnectLimit, instance: u64) -> SharedWindow {
        let state = State {
            own: ConnectLimiter::new(limit),
            hold: None,
            is_hold_news: false,
            reach: Reach::default(),
            warning: None,
            file_not_before: Mono::ZERO,
        };
        SharedWindow { path, instance, state: Mutex::new(state), recoveries: AtomicU64::new(0) }
    }

    /// How long until the last of `n` ordinary accounts may connect, as [`ConnectLimiter::time_to_all`], with what others
    /// did counted in as far as the file can be read now.
    #[must_use]
    pub fn time_to_all(&self, n: usize, now: Now) -> Duration {
        self.times_to_all(0, n, now).1
    }

    /// The same for the last of `exposed` accounts with open positions, and for the last of `ordinary` ones behind them.
    #[must_use]
    pub fn times_to_all(&self, exposed: usize, ordinary: usize, now: Now) -> (Duration, Duration) {
        let mut state = self.state.lock();
        let at = self.shifted(&state, now.mono);
        state.own.forget(at);
        let opened = match &self.path {
            Some(path) => self.open(path, &state, now),
            None => Err(Unusable::Busy),
        };
        let (window, hold) = match opened {
            Ok(opened) => (self.window(&state, &opened.lines), Hold::longer(state.hold, opened.hold)),
            Err(_) => (state.own.clone(), state.hold),
        };
        let held = hold.map_or(Duration::ZERO, |hold| hold.left(now.mono));
        let (of_exposed, of_all) = window.times_to_all(exposed, ordinary, at);
        (of_exposed.max(held), of_all.max(held))
    }

    fn ask_file(&self, path: &Path, state: &mut State, class: ConnectClass, now: Now) -> Result<Permit, Unusable> {
        let Opened { mut file, lines, hold } = self.open(path, state, now)?;
        state.warning = None;
        state.hold = Hold::longer(state.hold, hold);
        let way = Hold::way(state.hold, now.mono);
        let at = self.shifted(state, now.mono);
        let permit = match way {
            Way::Shut(until) => Permit::At(self.shifted(state, until)),
            Way::Ahead | Way::Open => self.window(state, &lines).permit(class, at),
        };
        if permit == Permit::Now {
            state.own.record(Attempt { at, class });
            state.hold = (way == Way::Ahead).then(|| Hold::trial(now.mono));
        }
        if permit == Permit::Now || state.is_hold_news {
            match self.write(&mut file, lines, state, now) {
                Ok(()) => state.is_hold_news = false,
                Err(error) => give_up(path, state, &error, now),
            }
        }
        Ok(permit)
    }

    /// Puts a hold into the file at once, so that other processes know; a busy or useless one has it later.
    fn share_hold(&self, path: &Path, state: &mut State, now: Now) {
        let Ok(Opened { mut file, lines, hold }) = self.open(path, state, now) else { return };
        state.hold = Hold::longer(state.hold, hold);
        state.is_hold_news = self.write(&mut file, lines, state, now).is_err();
    }

    /// The file, locked until it is dropped, and what others did within the window.
    fn open(&self, path: &Path, state: &State, now: Now) -> Result<Opened, Unusable> {
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
        let at = self.shifted(state, now.mono);
        let text = String::from_utf8_lossy(&bytes);
        let others = text.lines().filter_map(|line| read_line(line, at, now.wall, state.own.limit().window()));
        let lines = others.filter(|line| line.instance != self.instance).collect();
        let holds = text.lines().filter_map(|line| Hold::read(line, now.mono, now.wall));
        let hold = holds.fold(None, |longest, hold| Hold::longer(longest, Some(hold)));
        Ok(Opened { file, lines, hold })
    }

    fn window(&self, state: &State, others: &[Line]) -> ConnectLimiter {
        let mut window = ConnectLimiter::new(state.own.limit());
        state.own.attempts().for_each(|attempt| window.record(attempt));
        others.iter().for_each(|line| window.record(line.attempt));
        window
    }

    /// What others did, what this process did, and the hold.
    fn write(&self, file: &mut File, mut lines: Vec<Line>, state: &State, now: Now) -> io::Result<()> {
        let (at, wall) = (self.shifted(state, now.mono), now.wall);
        lines.extend(state.own.attempts().map(|attempt| Line { attempt, instance: self.instance }));
        let mut text = String::with_capacity(36 * (lines.len() + 1));
        if let Some((until, letter)) = state.hold.and_then(|hold| hold.words(now)) {
            writeln!(text, "{until} {:016x} {letter}", self.instance).expect("writing to a String cannot fail");
        }
        for Line { attempt, instance } in &lines {
            let age = i64::try_from(at.since(attempt.at).as_micros()).expect("an age within a window");
            let (stamp, letter) = (wall.as_micros() - age, LETTERS[attempt.class.index()]);
            writeln!(text, "{stamp} {instance:016x} {letter}").expect("writing to a String cannot fail");
        }
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    }

    /// `mono` a window later: others' attempts may be older than this process, whose clock starts at zero.
    fn shifted(&self, state: &State, mono: Mono) -> Mono {
        mono.plus(state.own.limit().window())
    }
}

impl ConnectGate for SharedWindow {
    fn permit(&self, class: ConnectClass, now: Now) -> Permit {
        let mut state = self.state.lock();
        let at = self.shifted(&state, now.mono);
        state.own.forget(at);
        if class != ConnectClass::Prices
            && let Some(later) = state.reach.not_before(now.mono)
        {
            return Permit::At(later);
        }
        let mut answer = None;
        if let Some(path) = &self.path
            && now.mono >= state.file_not_before
        {
            match self.ask_file(path, &mut state, class, now) {
                Ok(permit) => answer = Some(permit),
                Err(Unusable::Busy) => return Permit::At(now.mono.plus(CONNECT_LOCK_RETRY)),
                Err(Unusable::Broken(error)) => give_up(path, &mut state, &error, now),
            }
        }
        let answer = answer.unwrap_or_else(|| match Hold::way(state.hold, now.mono) {
            Way::Shut(until) => Permit::At(self.shifted(&state, until)),
            way => {
                let permit = state.own.permit(class, at);
                if permit == Permit::Now {
                    state.hold = (way == Way::Ahead).then(|| Hold::trial(now.mono));
                }
                permit
            }
        });
        match answer {
            Permit::Now => {
                state.reach.handle_granted(now.mono);
                Permit::Now
            }
            Permit::At(at) => {
                let shift = self.shifted(&state, Mono::ZERO).as_nanos();
                Permit::At(Mono::from_nanos(at.as_nanos().saturating_sub(shift)))
            }
        }
    }

    fn hold(&self, pause: Duration, now: Now) {
        let mut state = self.state.lock();
        state.hold = Hold::longer(state.hold, Some(Hold::new(pause, now.mono)));
        state.is_hold_news = true;
        if let Some(path) = &self.path
            && now.mono >= state.file_not_before
        {
            self.share_hold(path, &mut state, now);
        }
    }

    /// The file has the later time with the next attempt.
    fn handle_reached(&self, class: ConnectClass, at: Mono, now: Now) {
        let mut state = self.state.lock();
        let (at, over) = (self.shifted(&state, at), self.shifted(&state, now.mono));
        state.own.take_back(Attempt { at, class });
        state.own.record(Attempt { at: over, class });
        if state.reach.handle_reached(now.mono) {
            self.recoveries.fetch_add(1, Ordering::Release);
        }
    }

    /// The file still has the attempt until the next one is written there.
    fn handle_unreached(&self, class: ConnectClass, at: Mono, now: Now) {
        let mut state = self.state.lock();
        let at = self.shifted(&state, at);
        state.own.take_back(Attempt { at, class });
        state.reach.handle_unreached(now.mono);
    }

    fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Acquire)
    }

    fn warning(&self) -> Option<String> {
        self.state.lock().warning.clone()
    }

    fn held_for(&self, now: Now) -> Duration {
        let state = self.state.lock();
        state.hold.filter(|hold| !hold.is_trial()).map_or(Duration::ZERO, |hold| hold.left(now.mono))
    }
}

/// The file is of no use for a while.
fn give_up(path: &Path, state: &mut State, error: &io::Error, now: Now) {
    state.file_not_before = now.mono.plus(CONNECT_FILE_RETRY);
    state.warning = Some(format!(
        "connection attempts are not shared with other processes of this machine: {}: {error}",
        path.display()
    ));
}

/// One line, its stamp turned into an instant; `None` for one that makes no sense or has left the window.
fn read_line(line: &str, at: Mono, wall: Wall, window: Duration) -> Option<Line> {
    let mut words = line.split(' ');
    let stamp: i64 = words.next()?.parse().ok()?;
    let instance = words.next().filter(|word| word.len() == 16)?;
    let instance = u64::from_str_radix(instance, 16).ok()?;
    let letter = words.next()?;
    let class = ConnectClass::ALL.into_iter().find(|class| LETTERS[class.index()] == letter)?;
    if words.next().is_some() {
        return None;
    }
    let age = wall.as_micros().checked_sub(stamp)?;
    let distance = Duration::from_micros(age.unsigned_abs());
    if distance >= window {
        return None;
    }
    let age = if age < 0 { Duration::ZERO } else { distance };
    let at = Mono::from_nanos(at.as_nanos() - age.as_nanos() as u64);
    Some(Line { attempt: Attempt { at, class }, instance })
}
