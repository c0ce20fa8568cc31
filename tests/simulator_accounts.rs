//! What the simulator's private half promises: listen keys, sockets in every spelling, faults, and a ledger that is exact;
//! seen by a plain client made of tungstenite and rustls.
#![cfg(feature = "sim")]

#[path = "simulator_accounts/application.rs"]
mod application;
#[path = "simulator/client.rs"]
#[allow(dead_code, reason = "the price tests use the rest of it")]
mod client;
#[path = "simulator_accounts/desk.rs"]
mod desk;
#[path = "simulator_accounts/exactness.rs"]
mod exactness;
#[path = "simulator_accounts/faults.rs"]
mod faults;
#[path = "simulator_accounts/private_client.rs"]
mod private_client;
#[path = "simulator_accounts/sockets.rs"]
mod sockets;
