//! The worker's part of the status.

use serde::{Deserialize, Serialize};

use super::{LatencyUs, millis};

/// The role of a process that has a worker only.
pub const WORK_ROLE: &str = "work";

/// What becomes of jobs behind the queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkStatus {
    /// `held` (this process works), `standby` (another one does) or `unknown` (the queue is away).
    pub lease: String,
    /// Execution types that are applied; empty is shadow mode: audited, nothing applied.
    pub allowlist: Vec<String>,
    /// Jobs applied and committed since the start, duplicates included.
    pub applied: u64,
    /// The same a second, over the last interval.
    pub jobs_per_s: f64,
    /// Events that were in the audit already.
    pub duplicates: u64,
    /// Gap records.
    pub gaps: u64,
    /// Transactions that carried the jobs.
    pub transactions: u64,
    /// Jobs applied although a record before them had not come.
    pub disorder: u64,
    /// Attempts in vain for which no job is to blame.
    pub retries: u64,
    /// Attempts in vain that counted against a job.
    pub attempts: u64,
    /// Jobs that went to `failed_jobs`.
    pub failed: u64,
    /// Of those: bodies that are no job of ours.
    pub unreadable: u64,
    /// Panics while applying: mistakes of this program.
    pub panics: u64,
    /// Projected fields that fitted no column.
    pub misfits: u64,
    /// Accounts marked for a reconcile.
    pub reconciles: u64,
    /// Intents written.
    pub intents: u64,
    /// Intents pushed onto the application's queue.
    pub intents_pushed: u64,
    /// Audit rows that retention has deleted.
    pub audit_deleted: u64,
    /// Intents that retention has deleted.
    pub intents_deleted: u64,
    /// Decisions that retention has deleted.
    pub decisions_deleted: u64,
    /// Times that the lease was lost with jobs in hand.
    pub leases_lost: u64,
    /// Jobs in hand.
    pub in_hand: u64,
    /// Their bytes.
    pub in_hand_bytes: u64,
    /// Jobs that wait on the queue, as of the last reserve.
    pub queue_depth: u64,
    /// Bodies that are no jobs, put aside at the queue.
    pub put_aside: u64,
    /// How long ago the oldest job in hand arrived, in ms; 0 without one.
    pub oldest_ms: u64,
    /// Lanes that do not move, the longest first.
    pub held: Vec<HeldLaneStatus>,
    /// From a frame's arrival to its commit.
    pub receive_to_commit_us: Option<LatencyUs>,
    /// From a job's reservation to its commit.
    pub reserve_to_commit_us: Option<LatencyUs>,
    /// What needs a person.
    pub alarms: Vec<String>,
}

/// One account whose jobs wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldLaneStatus {
    /// `accounts.id`; absent for bodies that are no job of ours.
    pub account: Option<i64>,
    /// Since when.
    pub since: String,
    /// Why.
    pub why: String,
    /// Jobs that wait.
    pub jobs: u64,
}

impl WorkStatus {
    /// `shadow mode` or how many execution types are applied.
    #[must_use]
    pub fn mode(&self) -> String {
        if self.allowlist.is_empty() {
            "SHADOW MODE: events are audited, nothing is applied".to_owned()
        } else {
            format!("applies {}", self.allowlist.join(", "))
        }
    }
}

pub(super) fn work_line(work: &WorkStatus) -> String {
    let latency = work.receive_to_commit_us.map_or("no commit yet".to_owned(), |us| {
        format!("frame to commit p50 {} p99 {} max {}", millis(us.p50), millis(us.p99), millis(us.max))
    });
    let mode =
        if work.allowlist.is_empty() { "SHADOW MODE".to_owned() } else { format!("{} types", work.allowlist.len()) };
    format!(
        "worker {mode}, lease {}, {:.0} jobs/s, {} applied, {} duplicates, {} disorder, {} failed, {} lanes held, {} in hand, {} \
         wait; intents {} written {} pushed; {latency}",
        work.lease,
        work.jobs_per_s,
        work.applied,
        work.duplicates,
        work.disorder,
        work.failed,
        work.held.len(),
        work.in_hand,
        work.queue_depth,
        work.intents,
        work.intents_pushed,
    )
}
