//! What the worker does, for people: counts since the start, and how things stand now.

use std::time::Duration;

use crate::domain::Wall;
use crate::user_data::dispatcher::{Latency, LatencyMeter};

/// Counts and states since the start.
#[derive(Clone, Debug, Default)]
pub struct WorkerStatus {
    /// The lease, as the source last said.
    pub lease: LeaseState,
    /// Jobs applied and committed, duplicates included.
    pub applied: u64,
    /// Of those: events that were in the audit already.
    pub duplicates: u64,
    /// Of those: gap records.
    pub gaps: u64,
    /// Transactions that carried them.
    pub transactions: u64,
    /// Statements that applying took, those of `BEGIN` and `COMMIT` and of attempts in vain included.
    pub statements: u64,
    /// Jobs that were applied although a record before them had not come.
    pub disorder: u64,
    /// Attempts in vain for which no job is to blame.
    pub retries: u64,
    /// Attempts in vain that counted against a job.
    pub attempts: u64,
    /// Jobs that are in `failed_jobs` now.
    pub failed: u64,
    /// Of those: bodies that are no job of ours.
    pub unreadable: u64,
    /// Panics while applying.
    pub panics: u64,
    /// Projected fields that fitted no column.
    pub misfits: u64,
    /// Accounts marked for a reconcile.
    pub reconciles: u64,
    /// Intents written.
    pub intents: u64,
    /// Intents that the relay has pushed.
    pub intents_pushed: u64,
    /// Why the relay waits.
    pub relay_stuck: Option<String>,
    /// Audit rows that retention has deleted.
    pub deleted: u64,
    /// Intents that retention has deleted.
    pub intents_deleted: u64,
    /// Decisions that retention has deleted.
    pub decisions_deleted: u64,
    /// Why retention waits.
    pub retention_stuck: Option<String>,
    /// Times that the lease was lost while jobs were in hand.
    pub losses: u64,
    /// Why the queue gives nothing, since when.
    pub queue_stuck: Option<(String, Wall)>,
    /// Jobs that wait on the queue, as of the last reserve.
    pub depth: u64,
    /// Bodies that were no jobs, put aside by the source.
    pub put_aside: u64,
    /// From a frame's arrival to its commit.
    pub receive_to_commit: Latency,
    /// From a job's reservation to its commit.
    pub reserve_to_commit: Latency,
}

/// See [`WorkerStatus::lease`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseState {
    /// Not asked yet, or unknown: the queue is away.
    #[default]
    Unknown,
    /// This process reserves.
    Held,
    /// Another one does; this one stands by.
    Standby,
}

impl LeaseState {
    /// The word in the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            LeaseState::Unknown => "unknown",
            LeaseState::Held => "held",
            LeaseState::Standby => "standby",
        }
    }
}

/// Status and meters, behind one lock.
pub(super) struct Meters {
    pub status: WorkerStatus,
    receive_to_commit: LatencyMeter,
    reserve_to_commit: LatencyMeter,
}

impl Meters {
    pub fn new() -> Meters {
        Meters {
            status: WorkerStatus::default(),
            receive_to_commit: LatencyMeter::new(),
            reserve_to_commit: LatencyMeter::new(),
        }
    }

    /// A job is committed.
    pub fn committed(&mut self, received_at: Wall, reserved_at: Wall, now: Wall) {
        let since = |then: Wall| {
            Duration::from_micros(u64::try_from(now.as_micros().saturating_sub(then.as_micros())).unwrap_or(0))
        };
        self.receive_to_commit.record(since(received_at));
        self.reserve_to_commit.record(since(reserved_at));
    }

    /// The status with its percentiles.
    pub fn read(&self) -> WorkerStatus {
        WorkerStatus {
            receive_to_commit: self.receive_to_commit.latency(),
            reserve_to_commit: self.reserve_to_commit.latency(),
            ..self.status.clone()
        }
    }
}
