//! Promises of the consumer's side of the queue, against real Redis servers: what is reserved stands where Laravel's workers
//! look for it, one process reserves, a successor finds what its predecessor had in its old order, and what is no job is kept.
//! See `support/redis_server.rs` for what they need.

#![cfg(feature = "servers")]

#[path = "servers_queue_consumer/chance.rs"]
mod chance;
#[path = "servers_queue_consumer/figures.rs"]
mod figures;
#[path = "servers_queue_consumer/holding.rs"]
mod holding;
#[path = "servers_queue_consumer/laravel.rs"]
mod laravel;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "servers_queue_consumer/refusing.rs"]
mod refusing;
#[path = "servers_queue_consumer/reserving.rs"]
mod reserving;
#[path = "servers_redis/rig.rs"]
#[allow(dead_code, reason = "the producer's tests use the rest")]
mod rig;
#[path = "servers_queue_consumer/side.rs"]
mod side;
