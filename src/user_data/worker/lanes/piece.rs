//! What passes between the lanes and their threads: a piece of work, what became of it, and how the lanes stand.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Mono, Wall};
use crate::user_data::worker::job::{LaneJob, LaneKey};

/// A piece of a lane, in a thread's hands.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Whose.
    pub lane: LaneKey,
    /// Under which lease.
    pub fence: u64,
    /// The lane's first jobs, at least one.
    pub jobs: Vec<Arc<LaneJob>>,
    /// The position that the lane has last let go.
    pub passed: Option<u64>,
    /// Failures in a row for which no job is to blame.
    pub failures: u32,
    /// Attempts that the first job has spent.
    pub spent: u32,
    /// Why the first job has failed for good, where that is still to be recorded.
    pub failing: Option<Arc<str>>,
    /// The first job has waited long enough for what should come before it.
    pub waived: bool,
    /// Since when it waits for that.
    pub missing_since: Option<Mono>,
}

/// What became of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// So many of its jobs, from the front, are done: to be acknowledged.
    pub done: usize,
    /// What comes next for the lane.
    pub then: Then,
}

/// See [`Verdict`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next piece.
    Go,
    /// So many jobs one at a time: one of them is to blame for a failure.
    Alone(usize),
    /// The same again after a wait.
    Retry {
        /// How long.
        after: Duration,
        /// Why, for people.
        why: Arc<str>,
        /// Whether it counts against the first job.
        spent: bool,
        /// The first job has failed for good: that is what is to be recorded.
        failing: Option<Arc<str>>,
    },
    /// The first job waits for its predecessor until then.
    Missing {
        /// Position of the predecessor.
        position: u64,
        /// When it is not waited for any longer.
        until: Mono,
    },
    /// The first job has waited long enough for its predecessor.
    Waive,
    /// The database knows this later lease.
    Fenced(u64),
}

/// A lane that does not move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLane {
    /// Whose.
    pub lane: LaneKey,
    /// Since when.
    pub since: Wall,
    /// Why.
    pub why: Arc<str>,
    /// Jobs in it.
    pub jobs: usize,
}

/// What stands where.
#[derive(Clone, Debug, Default)]
pub struct LaneCounts {
    /// The lease's number, where it is held.
    pub fence: Option<u64>,
    /// Jobs in hand.
    pub jobs: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Lanes with a job.
    pub lanes: usize,
    /// Lanes that do not move, the longest first.
    pub held: Vec<HeldLane>,
    /// When the oldest job in hand arrived.
    pub oldest: Option<Wall>,
}
