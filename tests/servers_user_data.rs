//! Promise: every frame that a socket brought becomes a job, in order per account; what could not be received lies in a gap.
//! Kept by the real daemon, an exchange that knows what it delivered to whom, and a real Redis, through the deaths of both.
#![cfg(all(feature = "servers", feature = "sim"))]

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;
#[path = "servers_user_data/deaths.rs"]
mod deaths;
#[path = "servers_user_data/discovery.rs"]
mod discovery;
#[path = "servers_user_data/faults.rs"]
mod faults;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "servers_user_data/rig.rs"]
mod rig;
#[path = "support/secret_scan.rs"]
mod secret_scan;
