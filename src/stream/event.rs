//! What a stream tells its consumer: messages while their bytes are in place, and events; and what the consumer wants of
//! its stream in return.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::fault::Fault;
use super::url::StreamUrl;
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

    /// Something came from the server, a ping or pong included. Called with the first frame of a connection and then at
    /// most once in [`crate::domain::limits::ACTIVITY_EVERY`], so that "last frame at" costs nothing a frame.
    fn handle_activity(&mut self, at: Now) {
        let _ = at;
    }

    /// What this consumer wants of its stream. Asked after every message and every event until there is nothing more; a
    /// request takes effect before the next message is handed over. `None` is the cheap answer: it is asked for on the
    /// data plane.
    fn poll_request(&mut self) -> Option<Request> {
        None
    }

    /// Appends a text that the server will answer, as [`super::liveness::Sparse`] needs it while it is not known that the
    /// venue answers pings. Called when one is due; left empty, there is none. `out` is empty and keeps its memory.
    fn write_probe(&mut self, out: &mut String) {
        let _ = out;
    }
}

/// What a consumer wants of its own stream.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// Send a text, at the connection's pace (4 client messages a second). It waits behind the earlier ones and dies with
    /// the connection; when it finds no room or no live connection, [`StreamEvent::TextDropped`] says so. Its text may
    /// hold a key: it is never logged.
    Text(String),
    /// Leave this connection or attempt and begin afresh, elsewhere with a `url`. In a wait between attempts the URL
    /// changes and the wait stays.
    Reconnect {
        /// Where to; `None` for the same place.
        url: Option<StreamUrl>,
        /// When.
        pace: Pace,
    },
    /// Hand over no message after this one until [`super::Session::resume`]: there is no room.
    Pause,
    /// End the stream, as [`super::Session::stop`].
    Close,
}

/// Without the text, which may hold a key.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Request::Reconnect { url, pace } => {
                f.debug_struct("Reconnect").field("url", url).field("pace", pace).finish()
            }
            Request::Pause => f.write_str("Pause"),
            Request::Close => f.write_str("Close"),
        }
    }
}

/// When a reconnect that was asked for begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once: a new key, a planned change.
    Now,
    /// As after a fault, counted as one: what was tried did not work. Ends in no storm, however often it is asked.
    Backoff,
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
    /// The first data of a connection, or on a sparse stream the first answer to a ping or probe of ours a while after the
    /// upgrade: health is proven, the backoff starts from the beginning again.
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
    /// A connection or attempt was left because somebody asked for it; the next one begins by itself.
    Reconnecting {
        /// The connection that was live, if one was.
        connection: Option<u64>,
        /// Wait before the next attempt.
        retry_in: Duration,
    },
    /// This venue answers pings of clients, which was not known: from now on a missing pong is a fault. Once per stream.
    PingAnswered {
        /// From the ping to its pong.
        round_trip: Duration,
    },
    /// A text found no room, was too long, or there was no live connection for it.
    TextDropped {
        /// Its bytes.
        len: usize,
    },
    /// The stream has ended because it was told to; nothing follows.
    Stopped,
}
