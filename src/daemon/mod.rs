//! Roles wired into threads: what starts in which order, what stops it, who notices that it fails.
//!
//! The **price role** is two threads and a few short-lived ones: the loop (socket → board) and the writer (board → rows).
//! The **user-data role** is a loop or several (sockets → lanes), the spooler (lanes → spool), the syncer, the dispatcher
//! (spool → queue), the host that opens and ends streams, and the control threads, the only ones that wait for REST and
//! database. The **worker's role** is the reserver and the threads of the lanes (queue → database). The roles share the process and nothing else: what ends one is never seen by the other.
//!
//! - [`process`] is the daemon under supervisor: which roles, signals, status file, escalation.
//! - [`wiring`], [`account_wiring`], [`reconcile_wiring`] and [`work_wiring`] turn settings into what the roles take.
//! - [`price_role`], [`account_role`] and [`work_role`] start, show and stop their threads; [`memory_plan`] adds up what they may hold.
//! - [`price_consumer`] and [`account_consumer`] stand between a loop and its intake, [`telemetry`] is what the price loop
//!   tells others, `spelling_memory` knows after a restart which private URL delivered and `venue_memory` which number the
//!   venue has, `applied_look` says what of a rewound spool is done, [`shown`] hands what is shown to the page.
//!
//! May import everything but `sim` and `cli`.

pub mod account_consumer;
pub mod account_host;
pub mod account_role;
mod account_threads;
pub mod account_wiring;
mod applied_look;
pub mod control_ports;
pub mod memory_plan;
pub mod price_consumer;
pub mod price_role;
pub mod process;
pub mod reconcile_wiring;
pub mod rotation_share;
pub mod shown;
mod spelling_memory;
pub mod telemetry;
mod thread;
mod venue_memory;
pub mod wiring;
pub mod work_role;
pub mod work_wiring;
