//! What the simulator promises to those who test against it, seen by a plain client made of tungstenite and rustls.
#![cfg(feature = "sim")]

#[path = "simulator/client.rs"]
mod client;
#[path = "simulator/faults.rs"]
mod faults;
#[path = "simulator/venue.rs"]
mod venue;
