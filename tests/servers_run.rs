//! Promise: with a real PostgreSQL as the store of accounts and a real Redis as the queue, what goes wrong with the database,
//! the venue's mood, the credentials or the disk costs no frame that is not inside a gap, and is over when its cause is.
#![cfg(all(feature = "servers", feature = "sim"))]

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;
#[path = "servers_run/database.rs"]
mod database;
#[path = "servers_run/full_spool.rs"]
mod full_spool;
#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/redis_server.rs"]
mod redis_server;
#[allow(dead_code, reason = "the rig serves the daemon's other promises too")]
#[path = "servers_user_data/rig.rs"]
mod rig;
#[path = "servers_run/spelling.rs"]
mod spelling;
#[path = "servers_run/venue.rs"]
mod venue;
