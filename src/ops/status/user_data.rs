//! The user-data role's part of the status: every account's stream, and the way of their frames to the queue.

use serde::{Deserialize, Serialize};

use super::{LatencyUs, millis};

/// The role of a process that has private streams only.
pub const USER_DATA_ROLE: &str = "user-data";

/// The private streams of all accounts, and the way of their frames to the queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserDataStatus {
    /// Accounts that are to be streamed.
    pub accounts: u64,
    /// Of these, live now: subscribed and proven.
    pub live: u64,
    /// Frames recorded since the start.
    pub frames: u64,
    /// Gap records since the start.
    pub gaps: u64,
    /// Bytes of the spool.
    pub spool_bytes: u64,
    /// Positions of the spool: `write(2)` returned,
    pub written: u64,
    /// durable,
    pub synced: u64,
    /// handed to the dispatcher,
    pub dispatched: u64,
    /// safe with the queue.
    pub acked: u64,
    /// Jobs pushed.
    pub jobs: u64,
    /// Records written and not yet on the queue.
    pub behind: u64,
    /// Times that the queue's server had lost what it had taken, and was filled again.
    pub rewinds: u64,
    /// Records that such a refill left out, since they were applied before.
    pub left_out: u64,
    /// Records in quarantine because no job can be made of them.
    pub poisoned: u64,
    /// Jobs that wait on the queue, as far as is known.
    pub queue_depth: u64,
    /// From a frame's socket being readable to its job on the queue.
    pub frame_to_job_us: Option<LatencyUs>,
    /// Gaps that are being closed; absent where that is switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<ReconcileStatus>,
    /// Each account's stream.
    pub streams: Vec<AccountStatus>,
    /// What needs a person.
    pub alarms: Vec<String>,
}

/// One account's stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountStatus {
    /// `accounts.id`.
    pub id: u64,
    /// What people call it.
    pub name: String,
    /// `no_key`, `have_key`, `connecting`, `verifying`, `live` or `stopped`.
    pub phase: String,
    /// The spelling of the URL that delivered.
    pub spelling: Option<String>,
    /// Frames recorded.
    pub frames: u64,
    /// Gap records.
    pub gaps: u64,
    /// The last frame, pings included.
    pub last_frame_at: Option<String>,
    /// Why it is not well.
    pub degraded: Option<String>,
    /// Connections that were replaced while both were read.
    pub rotations: u64,
    /// Second connections that were given up.
    pub rotations_failed: u64,
    /// When a connection was last replaced.
    pub last_rotation_at: Option<String>,
    /// How long both were verified before that.
    pub overlap_ms: Option<u64>,
    /// Frames that both brought and that were recorded once.
    pub folded: u64,
    /// Pairs of frames about the same change whose bytes differ: both are recorded.
    pub near_duplicates: u64,
    /// Frames that the leading connection had not brought within the bound.
    pub late_frames: u64,
}

/// What [`super::summary_line`] says of them.
pub(super) fn user_data_line(user_data: &UserDataStatus) -> String {
    let latency = user_data.frame_to_job_us.map_or("no job yet".to_owned(), |us| {
        format!("frame to job p50 {} p99 {} max {}", millis(us.p50), millis(us.p99), millis(us.max))
    });
    let repaired = user_data.reconcile.as_ref().map_or_else(String::new, |reconcile| {
        let ReconcileStatus { gaps_closed, recovered, waiting, running, .. } = reconcile;
        format!(" ({gaps_closed} closed, {recovered} events recovered; {waiting} accounts wait, {running} are read)")
    });
    format!(
        "accounts {} of {} live, {} frames, {} gaps{repaired}; spool {:.1} MB, {} records behind; {} jobs, {} rewinds{}; {latency}",
        user_data.live,
        user_data.accounts,
        user_data.frames,
        user_data.gaps,
        user_data.spool_bytes as f64 / 1e6,
        user_data.behind,
        user_data.jobs,
        user_data.rewinds,
        if user_data.left_out > 0 { format!(" ({} records left out)", user_data.left_out) } else { String::new() },
    )
}

/// Reconciles, the safety net, and the REST weight of the address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReconcileStatus {
    /// Accounts whose gaps nobody closes at the moment.
    pub waiting: u64,
    /// Accounts that are being reconciled.
    pub running: u64,
    /// Accounts whose reconcile could not be finished and is tried again.
    pub degraded: u64,
    /// Accounts with gaps that are switched off: nobody can close these until they are streamed again.
    pub switched_off: u64,
    /// Gaps that got their outcome since the start.
    pub gaps_closed: u64,
    /// The newest of these, oldest first.
    pub repairs: Vec<RepairStatus>,
    /// Events that nobody had heard.
    pub recovered: u64,
    /// Rounds of the safety net since the start.
    pub sync_rounds: u64,
    /// How long the last one took.
    pub sync_round_ms: Option<u64>,
    /// When it ended.
    pub sync_round_at: Option<String>,
    /// Accounts that the round at hand has not asked for yet.
    pub sync_left: u64,
    /// Local orders that were found elsewhere than at the venue.
    pub drifted: u64,
    /// The newest of these.
    pub drift: Vec<DriftStatus>,
    /// REST weight of the last minute, by anybody at this address as far as is known.
    pub weight_used: u64,
    /// Of so much.
    pub weight_limit: u64,
    /// The venue has banned this address for so long.
    pub banned_s: u64,
    /// A 429 stops reconciles for so long.
    pub held_s: u64,
    /// How much the venue's clock is ahead of this machine's, negative where it is behind; absent until it was asked.
    pub venue_ahead_ms: Option<i64>,
}

/// A gap that has got its outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RepairStatus {
    /// `accounts.id`.
    pub account: i64,
    /// The last moment of surely listening; absent for an account that was never heard before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// The first of surely listening again.
    pub ended_at: String,
    /// Why nobody listened: a word.
    pub reason: String,
    /// Events that were recovered.
    pub recovered: u64,
    /// When it got its outcome.
    pub closed_at: String,
}

impl RepairStatus {
    /// One line for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let since = self.started_at.as_deref().unwrap_or("the beginning");
        let recovered = match self.recovered {
            0 => "nothing was missed".to_owned(),
            1 => "1 event recovered".to_owned(),
            count => format!("{count} events recovered"),
        };
        let (account, until, reason, closed_at) = (self.account, &self.ended_at, &self.reason, &self.closed_at);
        format!("account {account}, {since} to {until} ({reason}): {recovered}, closed {closed_at}")
    }
}

/// A local order that was elsewhere than at the venue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriftStatus {
    /// `accounts.id`.
    pub account: i64,
    /// `orders.id`.
    pub order: i64,
    /// `orders.exchange_order_id`.
    pub exchange_order_id: String,
    /// The venue's.
    pub symbol: String,
    /// `orders.status`.
    pub local: String,
    /// What it becomes.
    pub venue: String,
}
