//! The private streams: from an account's socket to the job on the queue.
//!
//! [`intake`] (on the loop's thread) copies each frame into the [`lane`] and asks the [`account`] what it means; the
//! [`spooler`] writes batches to the spool; the [`dispatcher`] makes jobs of records and pushes them. Frames never take
//! another way: while Redis is away, a distance between two positions grows, and that is all.
//!
//! Beside them the [`control`] threads do what blocks: [`discovery`] compares who is streamed with who should be,
//! [`listen_keys`] gets and extends each account's key when the [`key_schedule`] says so. REST and the cipher come in
//! through [`control::ports`].
//!
//! Behind the queue the [`worker`] takes the jobs: audit row, order rules, intents, each job in one transaction.
//!
//! It promises:
//!
//! - a frame that was handed over is in the spool before anything acts on it, or lies inside a gap record;
//! - per account, gap records and frames are in the order in which they happened;
//! - nothing is dropped for lack of room: reading pauses, of one account or of all;
//! - a planned change of an account's socket leaves no gap: the [`handover`] reads both until the new one has everything;
//! - one account's trouble touches no other, and nothing is reaped on an error;
//! - a listen key is never deleted at the venue: another process may share it;
//! - no listen key reaches the spool, a job, a log or a status.
//!
//! Behind the queue, [`apply`] does a job's part of its transaction, and the [`rules`] decide what an event changes.
//!
//! May import `domain`, `exchange`, `spool`, `queue` and `store`.

pub mod account;
pub mod apply;
pub mod control;
pub mod discovery;
pub mod dispatcher;
pub mod gaps;
pub mod handover;
pub mod intake;
pub mod key_schedule;
pub mod lane;
pub mod listen_keys;
pub mod reconcile;
pub mod registry;
pub mod rules;
pub mod spooler;
pub mod weight_meter;
pub mod worker;
