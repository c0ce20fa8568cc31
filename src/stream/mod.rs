//! One WebSocket stream across its reconnects, without I/O: bytes and `now` in; bytes, messages and the next deadline out.
//!
//! The way in, in place from the second step on: [`tls`] consumes whole records from the caller's cipher buffer and
//! appends their plaintext to a [`plain`] buffer; [`handshake`] takes the HTTP head off its front; [`frame`] cuts messages
//! out of the rest, where the parser reads them. The way out: [`encode`] writes masked frames, [`tls`] encrypts them.
//! [`tickets`] makes a reconnect cheap.
//!
//! What is absent on purpose: sockets, clocks, randomness that was not handed in, a switch that turns verification off.
//!
//! May import `domain` and `exchange`.

pub mod encode;
pub mod frame;
mod frame_error;
pub mod handshake;
pub mod plain;
pub mod tickets;
pub mod tls;
mod tls_error;
mod upgrade_error;
