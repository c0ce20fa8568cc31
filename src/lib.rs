//! Exchange streams for a crypto trading system: from a TLS WebSocket to committed rows and durable jobs.
//!
//! Three ideas carry it. **Prices are conflated, frames are logged**: a mark price is worthless once a newer one exists, so
//! the board keeps the newest per symbol and the writer goes at the database's pace; a private frame is never worthless, so
//! it is in the on-disk spool before anything acts on it. **The spool is the queue**: there is no second path for "Redis is
//! down". **The core is told what happened and what time it is**: connection logic takes bytes and `now`, and gives bytes,
//! messages and its next deadline; sockets, databases, clocks and randomness sit at the rim, so a test moves time instead
//! of sleeping.
//!
//! One tick, from the wire to the row: [`event_loop`] reads the socket → [`stream`] decrypts and cuts frames →
//! [`exchange`] finds symbol and price in the frame's own bytes → [`prices`] conflates them on the board and builds the
//! `CASE … WHEN` text → [`store`] runs it.
//!
//! One private frame: [`event_loop`] and [`stream`] as above → [`user_data`] classifies it where it lies and copies it into
//! a batch → [`spool`] writes it → [`user_data`]'s dispatcher reads it, [`queue`] makes the job and pushes it. → The worker,
//! in another process or in this one, takes the job → [`exchange`] projects its bytes → the rules of [`user_data`] decide →
//! [`store`] commits audit row, order and intent in one transaction.
//!
//! [`daemon`] wires the roles, [`ops`] shows what they do, [`cli`] starts them, [`sim`] is the exchange that tests and the
//! demo talk to.
//!
//! Imports point one way; `tests/architecture.rs` holds the table.

#![forbid(unsafe_code)]

pub mod cli;
pub mod daemon;
pub mod domain;
pub mod event_loop;
pub mod exchange;
pub mod ops;
pub mod prices;
pub mod queue;
#[cfg(feature = "sim")]
pub mod sim;
pub mod spool;
pub mod store;
pub mod stream;
pub mod user_data;
