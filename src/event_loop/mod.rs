//! The mio shell around the sessions of [`crate::stream`]: sockets, readiness, wakers. The only mio outside `sim`.
//!
//! One thread hosts any number of streams, which come and go by command ([`LoopControl`]). What holds: readiness is a
//! hint, so a socket is read until it would block, but fairly (a cap per socket and turn, and a ring of the still-ready);
//! an idle connection holds no buffer, all of them share one of ciphertext and one of plaintext; a hung lookup blocks
//! nobody; a panic while one stream is stepped costs that stream a reconnect; nothing late reaches a stream that has a
//! slot after another. In steady state nothing here allocates and no lock is taken, and no turn looks at every stream but
//! for the packed scan of deadlines.
//!
//! One turn: poll → one clock read → sockets that are ready → commands → deadlines that are due → permits to connect.
//! Sockets come first, so that after a standstill the bytes that waited are seen before anybody is called silent.
//!
//! May import `domain` and `stream`.

mod buffers;
mod connect_queue;
mod connection;
mod control;
mod resolver;
pub mod shared_window;
mod slab;
mod stream_id;
mod turn;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub use crate::stream::{
    ConnectClass, ConnectGate, Consumer, Pace, Permit, Received, Request, SessionConfig, StreamEvent,
};
pub use control::{CommandRefused, LoopControl};
pub use shared_window::SharedWindow;

use crate::domain::limits::{PARKING_POOL_DEFAULT, USER_DATA_MESSAGE_MAX};
use crate::domain::{Clock, Random};
use crate::stream::connect_limiter::OpenGate;
use turn::EventLoop;

/// One stream to be hosted: what it connects to, and who listens.
pub struct Stream {
    /// Where to connect, whom to trust, when it is not alive.
    pub config: SessionConfig,
    /// Called on the loop's thread.
    pub consumer: Box<dyn Consumer>,
}

/// What all streams of a loop share.
#[derive(Clone)]
pub struct LoopConfig {
    /// The thread's name.
    pub name: String,
    /// Bytes of the largest message of any stream; a stream that allows more is held to this.
    pub max_message: usize,
    /// Memory for unfinished messages above [`crate::domain::limits::PARKING_FREE`] each, in bytes, of all streams.
    pub parking_pool: usize,
    /// Whom each attempt asks first.
    pub gate: Arc<dyn ConnectGate>,
}

impl LoopConfig {
    /// A loop for private streams behind `gate`.
    #[must_use]
    pub fn user_data(gate: Arc<dyn ConnectGate>) -> LoopConfig {
        let name = "accounts".to_owned();
        LoopConfig { name, max_message: USER_DATA_MESSAGE_MAX, parking_pool: PARKING_POOL_DEFAULT, gate }
    }
}

/// Starts a thread that hosts `streams`, under the keys 0, 1, … in their order, until [`LoopHandle::stop`]. Every stream's
/// first attempt begins at once.
///
/// # Errors
/// When the system gives no epoll instance, event descriptor or thread.
pub fn spawn(streams: Vec<Stream>, clock: Arc<dyn Clock>, random: Random) -> io::Result<LoopHandle> {
    spawn_behind(Arc::new(OpenGate), streams, clock, random)
}

/// As [`spawn`], with each attempt waiting for `gate`.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_behind(
    gate: Arc<dyn ConnectGate>,
    streams: Vec<Stream>,
    clock: Arc<dyn Clock>,
    random: Random,
) -> io::Result<LoopHandle> {
    let max_message = streams.iter().map(|stream| stream.config.max_message).max().unwrap_or(0);
    let config = LoopConfig { name: "loop".to_owned(), max_message, parking_pool: PARKING_POOL_DEFAULT, gate };
    start(config, streams, clock, random)
}

/// Starts a thread that hosts what [`LoopControl::add`] brings, until [`LoopHandle::stop`].
///
/// # Errors
/// As [`spawn`].
pub fn spawn_empty(config: LoopConfig, clock: Arc<dyn Clock>, random: Random) -> io::Result<LoopHandle> {
    start(config, Vec::new(), clock, random)
}

fn start(config: LoopConfig, streams: Vec<Stream>, clock: Arc<dyn Clock>, random: Random) -> io::Result<LoopHandle> {
    let stop = Arc::new(AtomicBool::new(false));
    let name = config.name.clone();
    let (mut event_loop, control) = EventLoop::new(config, clock, random, Arc::clone(&stop))?;
    for (key, stream) in (0..).zip(streams) {
        event_loop.add(key, stream);
    }
    let thread = thread::Builder::new().name(name).spawn(move || event_loop.run())?;
    Ok(LoopHandle { stop, control, thread: Some(thread) })
}

/// The thread that hosts the streams. Dropping it stops them without waiting.
pub struct LoopHandle {
    stop: Arc<AtomicBool>,
    control: LoopControl,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

impl LoopHandle {
    /// Where commands are given; to be cloned for other threads.
    #[must_use]
    pub fn control(&self) -> &LoopControl {
        &self.control
    }

    /// Asks every stream to end: live ones send a close frame and wait at most
    /// [`crate::domain::limits::CLOSE_ECHO_MAX`] for the echo. Returns at once; may be called again.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.control.wake();
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
