//! The bounded lane between those who log and the thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Lines that may wait: some minutes of a reconnect storm at info, about 200 kB.
const WAITING_MAX: usize = 1_024;
/// Longest line; the rest is cut, so that no message can fill the lane with megabytes.
const LINE_MAX: usize = 8 << 10;

pub(super) enum Target {
    Stderr,
    File(File),
    #[cfg(test)]
    Other(Box<dyn Write + Send>),
}

impl Target {
    pub(super) fn open(path: Option<&Path>) -> io::Result<Target> {
        path.map_or(Ok(Target::Stderr), |path| {
            OpenOptions::new().create(true).append(true).open(path).map(Target::File)
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Target::Stderr => io::stderr().lock().write_all(line),
            Target::File(file) => file.write_all(line),
            #[cfg(test)]
            Target::Other(other) => other.write_all(line),
        }
    }
}

enum Order {
    Line(Box<[u8]>),
    Switch(Target),
    Flush(Sender<()>),
}

/// Where lines go in; never waits.
#[derive(Clone)]
pub(super) struct Lane {
    orders: Sender<Order>,
    lost: Arc<AtomicU64>,
}

impl Lane {
    pub(super) fn put(&self, line: &[u8]) {
        let cut = line.len().min(LINE_MAX);
        let mut kept = line[..cut].to_vec();
        if cut < line.len() {
            kept.extend_from_slice("…\n".as_bytes());
        }
        if self.orders.try_send(Order::Line(kept.into_boxed_slice())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The thread that writes; it ends when every lane is gone.
pub(super) struct LogThread {
    lane: Lane,
}

impl LogThread {
    pub(super) fn start(target: Target) -> io::Result<LogThread> {
        let (orders, incoming) = bounded(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let lane = Lane { orders, lost: Arc::clone(&lost) };
        thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(target, &incoming, &lost))?;
        Ok(LogThread { lane })
    }

    pub(super) fn lane(&self) -> Lane {
        self.lane.clone()
    }

    /// Lines put from now on go to `target`. Waits at most a moment for a place in the lane.
    pub(super) fn switch(&self, target: Target) {
        let _ = self.lane.orders.send_timeout(Order::Switch(target), Duration::from_secs(1));
    }

    pub(super) fn flush(&self, wait: Duration) -> bool {
        let (done, written) = bounded(1);
        self.lane.orders.send_timeout(Order::Flush(done), wait).is_ok() && written.recv_timeout(wait).is_ok()
    }
}

fn write_lines(mut target: Target, incoming: &Receiver<Order>, lost: &AtomicU64) {
    // A write that fails loses its line; the count is told with the next one that succeeds.
    let write = |target: &mut Target, line: &[u8]| {
        let missing = lost.swap(0, Ordering::Relaxed);
        let told = missing == 0 || target.write(format!("({missing} log lines lost)\n").as_bytes()).is_ok();
        if !told || target.write(line).is_err() {
            lost.fetch_add(1 + if told { 0 } else { missing }, Ordering::Relaxed);
        }
    };
    for order in incoming {
        match order {
            Order::Line(line) => write(&mut target, &line),
            Order::Switch(other) => target = other,
            Order::Flush(done) => drop(done.send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;

    /// Waits for a permit before each write, like a pipe that nobody reads.
    struct Gate {
        permits: mpsc::Receiver<bool>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.permits.recv().unwrap_or(true) {
                return Err(io::Error::other("disk full"));
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_log_costs_lines_and_says_how_many() {
        let (permit, permits) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate { permits, written: Arc::clone(&written) };
        let thread = LogThread::start(Target::Other(Box::new(gate))).unwrap();
        let lane = thread.lane();
        let put = WAITING_MAX + 10;
        for n in 0..put {
            lane.put(format!("line {n}\n").as_bytes());
        }
        assert!(!thread.flush(Duration::from_millis(20)), "the log is stuck");
        drop(permit);
        assert!(thread.flush(Duration::from_secs(20)));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("line ")).count();
        let lost: usize =
            text.lines().filter_map(|line| line.strip_prefix('(')?.split(' ').next()?.parse::<usize>().ok()).sum();
        assert!(lost >= 9, "{lost}");
        assert_eq!(lines + lost, put);
    }

    #[test]
    fn a_full_disk_costs_lines_and_says_how_many() {
        let (permit, permits) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate { permits, written: Arc::clone(&written) };
        let thread = LogThread::start(Target::Other(Box::new(gate))).unwrap();
        for allowed in [true, false, false] {
            permit.send(allowed).unwrap();
        }
        drop(permit);
        for n in 0..4 {
            thread.lane().put(format!("line {n}\n").as_bytes());
        }
        assert!(thread.flush(Duration::from_secs(20)));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "line 0\n(2 log lines lost)\nline 3\n");
    }

    #[test]
    fn a_long_line_is_cut() {
        let (written, sink) = (Arc::new(Mutex::new(Vec::new())), mpsc::channel::<bool>().1);
        let thread =
            LogThread::start(Target::Other(Box::new(Gate { permits: sink, written: Arc::clone(&written) }))).unwrap();
        thread.lane().put(&vec![b'x'; 1 << 20]);
        assert!(thread.flush(Duration::from_secs(20)));
        assert_eq!(written.lock().unwrap().len(), LINE_MAX + "…\n".len());
    }
}
