//! Reconcile: after every gap the account's truth is read over REST, and what nobody heard becomes events like those that were.
//!
//! The [`plan`] says which reads prove what, the [`conclusion`] what was missed; [`drive`] asks, behind the weight meter that
//! all processes share ([`meter_file`]). The [`queue`] says who is next, and the [`runner`]'s threads do it.
//!
//! It promises:
//!
//! - a gap has an outcome only when all that was missed is durably in the spool; else it is outstanding, and tried again;
//! - what was heard is not recovered again, and a read that is older than a push undoes nothing;
//! - nothing here places, changes or cancels an order.

pub mod ask;
pub mod conclusion;
pub mod drive;
mod holdings;
#[cfg(test)]
mod holdings_tests;
pub mod meter_file;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod ports;
pub mod queue;
mod run;
pub mod runner;
pub mod status;
pub mod sync;
pub mod venue_clock;
