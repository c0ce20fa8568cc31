//! One WebSocket stream across its reconnects, without I/O: bytes and `now` in; bytes, messages and the next deadline out.
//!
//! The way in, in place from the second step on: [`tls`] consumes whole records from the caller's cipher buffer and
//! appends their plaintext to a [`plain`] buffer; [`handshake`] takes the HTTP head off its front; [`frame`] cuts messages
//! out of the rest, where the parser reads them. The way out: [`encode`] writes masked frames, [`tls`] encrypts them.
//! [`tickets`] makes a reconnect cheap. Around both, [`session`] is the stream across its reconnects: phases, [`liveness`],
//! [`backoff`], every [`Fault`] a sentence.
//!
//! What is absent on purpose: sockets, clocks, randomness that was not handed in, a switch that turns verification off.
//!
//! May import `domain` and `exchange`.

pub mod backoff;
pub mod config;
pub mod encode;
pub mod event;
pub mod fault;
pub mod frame;
mod frame_error;
pub mod handshake;
pub mod liveness;
mod outbound;
mod phase;
pub mod plain;
pub mod session;
pub mod tickets;
pub mod tls;
pub mod tls_error;
mod upgrade_error;
pub mod url;

pub use config::SessionConfig;
pub use event::{Consumer, Received, StreamEvent};
pub use fault::{Fault, FaultKind};
pub use liveness::Liveness;
pub use session::{Action, Session};
pub use url::{BadUrl, StreamUrl};
