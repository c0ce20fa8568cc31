//! Threads with a name, and a wait for their end that has one.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::domain::Clock;

/// A thread that the system's tools show as `name`.
///
/// # Errors
/// A system without threads.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Waits for a thread that has been told to end, `bound` at most.
pub(super) fn join_within<T>(thread: JoinHandle<T>, bound: Duration, clock: &dyn Clock) -> Option<T> {
    let until = clock.now().mono.plus(bound);
    while !thread.is_finished() {
        if clock.now().mono >= until {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    thread.join().ok()
}
