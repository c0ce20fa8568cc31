//! The connect limiter that all processes of a box share: recent attempts in a small locked file.
//!
//! A line an attempt: wall-clock microseconds, the process's instance in hex, and the class's letter. Each question takes
//! the file's lock *if it is free* (else: ask again in 20 ms), reads, decides, appends; a few kilobytes, so that the loop
//! may do it itself. What this process did it remembers by its monotonic clock, so only others' attempts depend on wall
//! clocks; one that lies in the future counts as of now, or not at all when it lies further ahead than a window. Lines that
//! make no sense are left out. Without a usable file the window is this process's own, and [`SharedWindow::warning`] says
//! so; the file is tried again later.
//!
//! One file per source address: venues count by address.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

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
}

struct State {
    /// What this process did, on the shifted clock of [`SharedWindow::shifted`].
    own: ConnectLimiter,
    warning: Option<String>,
    /// The file is not tried before.
    file_not_before: Mono,
}

/// An attempt and whose it is.
struct Line {
    attempt: Attempt,
    instance: u64,
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
        let state = State { own: ConnectLimiter::new(limit), warning: None, file_not_before: Mono::ZERO };
        SharedWindow { path, instance, state: Mutex::new(state) }
    }

    /// Why the window is not shared at the moment, as a sentence. It still limits this process.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.state.lock().warning.clone()
    }

    /// How long until the last of `n` ordinary accounts may connect, as [`ConnectLimiter::time_to_all`], with what others
    /// did counted in as far as the file can be read now.
    #[must_use]
    pub fn time_to_all(&self, n: usize, now: Now) -> Duration {
        let mut state = self.state.lock();
        let at = self.shifted(&state, now.mono);
        state.own.forget(at);
        let window = match &self.path {
            Some(path) => self.open(path, &state, now).map(|(_, window)| window),
            None => Err(Unusable::Busy),
        };
        let window = window.map_or_else(|_| state.own.clone(), |lines| self.window(&state, &lines));
        window.time_to_all(n, at)
    }

    fn ask_file(&self, path: &Path, state: &mut State, class: ConnectClass, now: Now) -> Result<Permit, Unusable> {
        let (mut file, mut lines) = self.open(path, state, now)?;
        state.warning = None;
        let at = self.shifted(state, now.mono);
        let permit = self.window(state, &lines).permit(class, at);
        if permit == Permit::Now {
            state.own.record(Attempt { at, class });
            lines.extend(state.own.attempts().map(|attempt| Line { attempt, instance: self.instance }));
            if let Err(error) = self.write(&mut file, &lines, at, now.wall) {
                give_up(path, state, &error, now);
            }
        }
        Ok(permit)
    }

    /// The file, locked until it is dropped, and what others did within the window.
    fn open(&self, path: &Path, state: &State, now: Now) -> Result<(File, Vec<Line>), Unusable> {
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
        Ok((file, lines))
    }

    fn window(&self, state: &State, others: &[Line]) -> ConnectLimiter {
        let mut window = ConnectLimiter::new(state.own.limit());
        state.own.attempts().for_each(|attempt| window.record(attempt));
        others.iter().for_each(|line| window.record(line.attempt));
        window
    }

    fn write(&self, file: &mut File, lines: &[Line], at: Mono, wall: Wall) -> io::Result<()> {
        let mut text = String::with_capacity(36 * lines.len());
        for Line { attempt, instance } in lines {
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
        match answer.unwrap_or_else(|| state.own.permit(class, at)) {
            Permit::Now => Permit::Now,
            Permit::At(at) => {
                let shift = self.shifted(&state, Mono::ZERO).as_nanos();
                Permit::At(Mono::from_nanos(at.as_nanos().saturating_sub(shift)))
            }
        }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::domain::Random;

    const WINDOW: Duration = Duration::from_secs(300);
    const START: i64 = 1_795_419_015_000_000;

    /// `seconds` after the start of a process, on a machine whose wall clock is right.
    fn at_s(seconds: u64) -> Now {
        let wall = Wall::from_micros(START + seconds as i64 * 1_000_000);
        Now { mono: Mono::from_nanos(seconds * 1_000_000_000), wall }
    }

    fn window(path: &Path, instance: u64) -> SharedWindow {
        SharedWindow::new(Some(path.to_owned()), ConnectLimit::new(10, WINDOW).with_reserved(1, 2), instance)
    }

    fn granted(window: &SharedWindow, class: ConnectClass, now: Now) -> usize {
        (0..1_000).take_while(|_| window.permit(class, now) == Permit::Now).count()
    }

    #[test]
    fn processes_share_one_window() {
        use ConnectClass::{Exposed, Ordinary, Prices};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("connects");
        let (one, other) = (window(&path, 1), window(&path, 2));
        assert_eq!(granted(&one, Ordinary, at_s(1_000)), 7);
        // The other process started later: its clock is younger than the attempts.
        let late = Now { mono: Mono::from_nanos(5_000_000_000), wall: at_s(1_100).wall };
        assert_eq!(other.permit(Ordinary, late), Permit::At(Mono::from_nanos(205_000_000_000)));
        assert_eq!(other.time_to_all(8, late), Duration::from_secs(500));
        assert_eq!((granted(&other, Exposed, late), granted(&other, Prices, late)), (2, 1));
        assert_eq!(one.permit(Prices, at_s(1_200)), Permit::At(at_s(1_300).mono));
        assert_eq!(one.time_to_all(1, at_s(1_250)), Duration::from_secs(50));
        assert_eq!(granted(&one, Ordinary, at_s(1_300)), 7);
        assert_eq!((one.warning(), other.warning()), (None, None));
        // A process that starts again knows what the one before it did.
        assert_eq!(window(&path, 3).permit(Ordinary, at_s(1_301)), Permit::At(at_s(1_600).mono));
    }

    #[test]
    fn garbage_stale_lines_and_lines_of_the_future_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("connects");
        let line = |seconds: i64| format!("{} 00000000000000aa o\n", START + seconds * 1_000_000);
        let wild = format!("{} 00000000000000aa o\n{} 00000000000000aa o\n", i64::MAX, i64::MIN);
        for (before, granted_now) in [
            (String::new(), 7),
            (line(999) + &line(998), 5),
            ("\0\0\0\n\n 7\n1 2 3 4\nö".repeat(2_000), 7),
            (format!("{}{}9 x o", line(1_000), &line(1_000)[..20]), 6),
            (line(700) + &line(400) + &line(-5_000), 7),
            // Seconds ahead: of now. A day ahead: another clock's mistake.
            (line(1_005) + &line(1_299) + &line(90_000), 5),
            (wild, 7),
        ] {
            fs::write(&path, &before).unwrap();
            let shared = window(&path, 1);
            assert_eq!(granted(&shared, ConnectClass::Ordinary, at_s(1_000)), granted_now, "{before:.60?}");
            assert_eq!(shared.warning(), None);
            // What is written makes sense, and is free again a window later.
            let after = fs::read_to_string(&path).unwrap();
            assert!(after.lines().count() <= 10 && after.lines().all(|line| line.split(' ').count() == 3), "{after}");
            assert_eq!(granted(&window(&path, 2), ConnectClass::Ordinary, at_s(1_301)), 7);
        }
        // Whatever the bytes are.
        let mut random = Random::from_seed(1);
        for _ in 0..200 {
            let mut bytes = vec![0; random.below(3_000) as usize];
            random.fill(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(granted(&window(&path, 1), ConnectClass::Ordinary, at_s(1_000)), 7);
        }
    }

    #[test]
    fn a_jump_of_the_wall_clock_never_lets_this_process_through() {
        for jump_s in [-100_000, -3_600, -1, 1, 3_600, 100_000] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("connects");
            let shared = window(&path, 1);
            assert_eq!(granted(&shared, ConnectClass::Ordinary, at_s(1_000)), 7);
            let jumped = |seconds| {
                let wall = Wall::from_micros(at_s(seconds).wall.as_micros() + jump_s * 1_000_000);
                Now { wall, ..at_s(seconds) }
            };
            assert_eq!(shared.permit(ConnectClass::Ordinary, jumped(1_001)), Permit::At(at_s(1_300).mono));
            assert_eq!(granted(&shared, ConnectClass::Ordinary, jumped(1_300)), 7, "{jump_s}");
            // Nor does it lock others out for longer than a window.
            let other = window(&path, 2);
            assert_eq!(granted(&other, ConnectClass::Ordinary, jumped(1_601)), 7, "{jump_s}");
        }
    }

    #[test]
    fn a_busy_lock_is_tried_again_and_a_useless_file_is_done_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("connects");
        let shared = window(&path, 1);
        let held = File::create(&path).unwrap();
        held.lock().unwrap();
        let soon = Permit::At(at_s(10).mono.plus(CONNECT_LOCK_RETRY));
        assert_eq!(shared.permit(ConnectClass::Prices, at_s(10)), soon);
        drop(held);
        assert_eq!(shared.permit(ConnectClass::Prices, at_s(11)), Permit::Now);

        for useless in [folder.path().to_owned(), folder.path().join("missing/connects"), PathBuf::from("/dev/null")] {
            let shared = window(&useless, 1);
            assert_eq!(granted(&shared, ConnectClass::Ordinary, at_s(10)), 7, "it limits this process");
            let warning = shared.warning().expect("it says so");
            assert!(warning.contains(&useless.display().to_string()), "{warning}");
            assert_eq!(shared.time_to_all(1, at_s(110)), Duration::from_secs(200));
        }
        // It is used as soon as it can be, with what was done without it.
        let later = folder.path().join("later");
        let shared = window(&later.join("connects"), 1);
        assert_eq!(granted(&shared, ConnectClass::Ordinary, at_s(10)), 7);
        fs::create_dir(&later).unwrap();
        assert_eq!(shared.permit(ConnectClass::Exposed, at_s(39)), Permit::Now);
        assert!(shared.warning().is_some());
        assert_eq!(shared.permit(ConnectClass::Exposed, at_s(41)), Permit::Now);
        assert_eq!(shared.warning(), None);
        assert_eq!(
            window(&later.join("connects"), 2).permit(ConnectClass::Exposed, at_s(42)),
            Permit::At(at_s(310).mono)
        );
        let own = SharedWindow::new(None, ConnectLimit::new(10, WINDOW), 1);
        assert_eq!((own.permit(ConnectClass::Prices, at_s(1)), own.warning()), (Permit::Now, None));
    }
}
