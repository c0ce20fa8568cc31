//! Promises of the queue, against real Redis servers in every state a server can be in: what was pushed is there, once, in order,
//! as one step; what was not pushed is said; what a server forgot is noticed. See `support/redis_server.rs` for what they need.

#![cfg(feature = "servers")]

#[path = "servers_redis/landing.rs"]
mod landing;
#[path = "servers_redis/losing.rs"]
mod losing;
#[path = "servers_redis/many.rs"]
mod many;
#[cfg(feature = "sim")]
#[path = "servers_redis/owing.rs"]
mod owing;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "servers_redis/refusing.rs"]
mod refusing;
#[path = "servers_redis/rig.rs"]
mod rig;
