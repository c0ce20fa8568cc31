//! What the simulator's signed reads promise: answers that are the account's book, pages that add up to it, refusals as the
//! venue words them, weights and bans that meet every account of an address; seen by the daemon's own REST client, signer
//! and readers.
#![cfg(feature = "sim")]

#[path = "simulator_reads/book.rs"]
mod book;
#[path = "simulator_reads/late.rs"]
mod late;
#[path = "simulator_reads/refusals.rs"]
mod refusals;
#[path = "simulator_reads/rig.rs"]
mod rig;
#[path = "simulator_reads/weight.rs"]
mod weight;
