//! The exchange simulator: a venue on loopback with real TLS and real WebSocket, and faults on demand.
//!
//! May import everything but `cli`.
