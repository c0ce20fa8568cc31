//! The thread that turns a [`Writer`], and the handle that others hold of it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::board::PriceBoard;
use super::map_report::MapReport;
use super::writer::{Turn, Writer, WriterShared};
use super::writer_status::WriterStatus;
use crate::domain::{Clock, Mono};

/// A writer at work on its own thread.
pub struct WriterHandle {
    shared: Arc<WriterShared>,
    board: Arc<PriceBoard>,
    thread: Option<JoinHandle<()>>,
    done: Receiver<()>,
}

/// Starts the writer's thread.
///
/// # Errors
/// The system has no thread left.
pub fn spawn(mut writer: Writer, board: Arc<PriceBoard>, clock: Arc<dyn Clock>) -> std::io::Result<WriterHandle> {
    let shared = writer.shared();
    let (ended, done) = bounded::<()>(1);
    let waits_on = Arc::clone(&board);
    let thread = std::thread::Builder::new().name("price-writer".to_owned()).spawn(move || {
        // Dropped when the thread ends, also by a panic: that is what the handle waits for.
        let _ended = ended;
        loop {
            match writer.turn(clock.now()) {
                Turn::Idle(until) => {
                    waits_on.wait_dirty(left(&*clock, until));
                }
                Turn::Pause(until) => {
                    waits_on.wait_woken(left(&*clock, until));
                }
                Turn::Done => break,
            }
        }
    })?;
    Ok(WriterHandle { shared, board, thread: Some(thread), done })
}

impl WriterHandle {
    /// What the writer shows of itself.
    #[must_use]
    pub fn status(&self) -> WriterStatus {
        self.shared.status()
    }

    /// What the symbol map, as last loaded, has to say about itself.
    #[must_use]
    pub fn map_report(&self) -> Arc<MapReport> {
        Arc::clone(&self.shared.report.lock())
    }

    /// Asks for the symbol map to be loaded again.
    pub fn reload(&self) {
        self.shared.request_reload();
        self.board.wake();
    }

    /// Whether the thread has ended: it was stopped, it refused to start, or it panicked.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks for the last write and waits for it, `bound` at most. Returns whether the writer ended in time; one that waits
    /// for a server which answers nothing does not, and is left to the end of the process.
    pub fn stop(&mut self, bound: Duration) -> bool {
        self.shared.request_stop();
        self.board.wake();
        // Nothing is ever sent: the channel disconnects.
        let ended = self.done.recv_timeout(bound) != Err(crossbeam_channel::RecvTimeoutError::Timeout);
        if ended && let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread itself.
            let _ = thread.join();
        }
        ended
    }
}

/// Long enough for nothing to be missed, short enough that a lost wake is a hiccup and no standstill.
const WAIT_MAX: Duration = Duration::from_secs(1);

fn left(clock: &dyn Clock, until: Mono) -> Duration {
    until.since(clock.now().mono).min(WAIT_MAX)
}
