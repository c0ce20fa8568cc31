//! Roles wired into threads: what starts in which order, what stops it, who notices that it fails.
//!
//! The price role is two threads and a few short-lived ones: the **loop** (socket → board) and the **writer** (board →
//! rows). Resolvers live for one attempt. They share the board, and nothing else. Whoever starts the role watches it:
//! [`price_daemon`] is the process under supervisor, the demo is another.
//!
//! - [`wiring`] turns settings into what the roles take.
//! - [`price_consumer`] stands between the loop and the intake, [`telemetry`] is what the loop tells others.
//! - [`price_role`] starts, shows and stops the threads; [`memory_plan`] adds up what they may hold,
//!   [`shown`] hands what is shown to the page.
//!
//! May import everything but `sim` and `cli`.

pub mod control_ports;
pub mod account_consumer;
pub mod account_host;
pub mod account_ports;
pub mod memory_plan;
pub mod price_consumer;
pub mod price_daemon;
pub mod price_role;
pub mod shown;
pub mod telemetry;
pub mod wiring;
