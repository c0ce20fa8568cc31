//! The mio shell around the sessions of [`crate::stream`]: sockets, readiness, wakers. The only mio outside `sim`.
//!
//! One thread hosts any number of streams. What holds: readiness is a hint, so a socket is read until it would block, but
//! fairly (a cap per socket and turn, and a ring of the still-ready); an idle connection holds no buffer, all of them
//! share one of ciphertext and one of plaintext; a hung lookup blocks nobody; a panic while one stream is stepped costs
//! that stream a reconnect. In steady state nothing here allocates and no lock is taken.
//!
//! One turn: poll → one clock read → sockets that are ready → deadlines that are due. Sockets come first, so that after a
//! standstill the bytes that waited are seen before anybody is called silent.
//!
//! May import `domain` and `stream`.

mod buffers;
mod connection;
mod resolver;
mod turn;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mio::Waker;

pub use crate::stream::{Consumer, Received, SessionConfig, StreamEvent};

use crate::domain::{Clock, Random};
use turn::EventLoop;

/// One stream to be hosted: what it connects to, and who listens.
pub struct Stream {
    /// Where to connect, whom to trust, when it is not alive.
    pub config: SessionConfig,
    /// Called on the loop's thread.
    pub consumer: Box<dyn Consumer>,
}

/// Starts a thread that hosts `streams` until [`LoopHandle::stop`]. Every stream's first attempt begins at once.
///
/// # Errors
/// When the system gives no epoll instance, event descriptor or thread.
pub fn spawn(streams: Vec<Stream>, clock: Arc<dyn Clock>, random: Random) -> io::Result<LoopHandle> {
    let stop = Arc::new(AtomicBool::new(false));
    let max_message = streams.iter().map(|stream| stream.config.max_message).max().unwrap_or(0);
    let mut event_loop = EventLoop::new(max_message, clock, random, Arc::clone(&stop))?;
    for stream in streams {
        event_loop.add(stream);
    }
    let waker = event_loop.waker();
    let thread = thread::Builder::new().name("loop".to_owned()).spawn(move || event_loop.run())?;
    Ok(LoopHandle { stop, waker, thread: Some(thread) })
}

/// The thread that hosts the streams. Dropping it stops them without waiting.
pub struct LoopHandle {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

impl LoopHandle {
    /// Asks every stream to end: live ones send a close frame and wait at most
    /// [`crate::domain::limits::CLOSE_ECHO_MAX`] for the echo. Returns at once; may be called again.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // An event descriptor refuses a write only when it is already signalled.
        let _ = self.waker.wake();
    }

    /// Whether the thread has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(thread::JoinHandle::is_finished)
    }

    /// Waits for the thread; ends only after [`LoopHandle::stop`] or with an error.
    ///
    /// # Errors
    /// When polling failed, or the loop itself panicked, which no single stream can make it do.
    pub fn join(mut self) -> io::Result<()> {
        let thread = self.thread.take().expect("only join takes the thread, and it consumes the handle");
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the loop thread panicked")))
    }
}

impl Drop for LoopHandle {
    fn drop(&mut self) {
        self.stop();
    }
}
