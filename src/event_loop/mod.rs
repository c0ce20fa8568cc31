//! The mio shell around the sessions of [`crate::stream`]: sockets, readiness, wakers. The only mio outside `sim`.
//!
//! May import `domain` and `stream`.
