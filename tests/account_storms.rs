//! Promise: what happens to many accounts at once stays calm. After an outage of the whole host everyone is back soon, the
//! exposed first, within the venue's limit; accounts that come and go, settings that are read again and clocks that jump touch
//! nobody else. The real daemon, or its user-data role with a clock of the test, on TLS against the simulator's ledgers.
#![cfg(all(feature = "embedded", feature = "sim"))]

#[path = "account_storms/churn.rs"]
mod churn;
#[path = "account_storms/clocks.rs"]
mod clocks;
#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;
#[path = "account_storms/figures.rs"]
mod figures;
#[path = "account_storms/outage.rs"]
mod outage;
#[path = "account_storms/reload.rs"]
mod reload;
#[path = "account_storms/rig.rs"]
mod rig;
