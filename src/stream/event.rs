//! What a stream tells its consumer: messages while their bytes are in place, and events.

use std::net::SocketAddr;
use std::time::Duration;

use super::fault::Fault;
use crate::domain::Now;

/// Who listens to one stream. Called on the loop's thread, one call at a time: whatever it does, it must do at once.
///
/// A panic in here costs this stream one reconnect ([`super::FaultKind::Panic`]); the same consumer is called on.
pub trait Consumer: Send {
    /// A whole message, text or binary. `payload` is the message, `len` bytes that may be changed in place, and
    /// [`crate::domain::limits::FRAME_PADDING`] bytes behind it that may only be read.
    ///
    /// `connection` grows with each TCP life of this stream. `at` was read when the poll that found the socket readable
    /// returned. The answer decides whether the stream counts as alive: an acknowledgement or an error text is not
    /// [`Received::Data`], so that a stream which sends nothing else is reconnected.
    fn handle_message(&mut self, connection: u64, payload: &mut [u8], len: usize, at: Now) -> Received;

    /// Something happened to the stream.
    fn handle_event(&mut self, event: &StreamEvent, at: Now);
}

/// What a message was worth as a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// What the stream is there for.
    Data,
    /// An acknowledgement, an error text, something unknown.
    Other,
}

/// A change of a stream's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The upgrade is through. Nothing is proven yet: connected is not alive.
    Live {
        /// The number that messages of this connection carry.
        connection: u64,
        /// Failures in a row before this one came about.
        attempt: u32,
        /// The address it goes to.
        peer: SocketAddr,
    },
    /// The first data of a connection: health is proven, the backoff starts from the beginning again.
    Recovered {
        /// As in [`StreamEvent::Live`].
        connection: u64,
        /// How long there was no data: since the last of it, or since the start.
        silent: Duration,
    },
    /// An attempt failed or a connection broke; the next attempt begins by itself.
    Fault(Fault),
    /// No data for so long, across all attempts, that only a fresh process or role may heal it (DESIGN.md §3). Comes
    /// once per such span.
    DataSilence {
        /// How long there was no data.
        silent: Duration,
        /// Failures in a row.
        attempt: u32,
    },
    /// The stream has ended because it was told to; nothing follows.
    Stopped,
}
