//! One WebSocket stream across its reconnects, without I/O: bytes and `now` in; bytes, messages and the next deadline out.
//!
//! May import `domain` and `exchange`.
