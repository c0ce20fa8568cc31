//! The lanes: one a account, in the queue's order, worked on by one thread at a time.
//!
//! A lane whose turn has come stands in the ring of the ready; a thread takes the first, works on a piece of its jobs and puts
//! the lane back at the ring's end. A lane that has to wait is parked until its time, and its thread goes on with others. Jobs
//! that are done wait for the reserver to acknowledge them. What is in hand is bounded by jobs and by bytes.
//!
//! A change of the lease empties everything: what a thread still does for the lease before is told apart by the fence.

mod piece;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

pub use self::piece::{HeldLane, LaneCounts, Piece, Then, Verdict};
use super::job::{LaneJob, LaneKey};
use crate::domain::limits::WORK_LANES_KEPT_MAX;
use crate::domain::{Clock, Mono, Now, Wall};

/// What may be in hand.
#[derive(Clone, Copy, Debug)]
pub struct LaneBounds {
    /// Jobs, those included that wait for their acknowledgement.
    pub jobs: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Jobs of one piece.
    pub piece: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    Ready,
    /// With a thread, which has the first jobs.
    Taken(usize),
    /// Waits for a time; whether for a predecessor, which ends the wait when it comes.
    Parked(Mono, bool),
}

#[derive(Debug, Default)]
struct Lane {
    jobs: VecDeque<Arc<LaneJob>>,
    stage: Stage,
    passed: Option<u64>,
    failures: u32,
    spent: u32,
    alone: usize,
    failing: Option<Arc<str>>,
    waived: bool,
    missing_since: Option<Mono>,
    held: Option<(Wall, Arc<str>)>,
    /// A job stands behind those that a thread has, and belongs before them.
    late: bool,
}

#[derive(Debug, Default)]
struct Board {
    lanes: HashMap<LaneKey, Lane>,
    ring: VecDeque<LaneKey>,
    parked: BTreeSet<(Mono, LaneKey)>,
    fence: Option<u64>,
    settled: Vec<u64>,
    jobs: usize,
    bytes: usize,
    taken: usize,
    /// The later lease that the database knows.
    fenced: Option<u64>,
    closed: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Lanes {
    board: Mutex<Board>,
    ready: Condvar,
    /// Something was settled, or a thread has put its piece down.
    moved: Condvar,
    bounds: LaneBounds,
}

impl Lanes {
    /// Empty lanes without a lease.
    #[must_use]
    pub fn new(bounds: LaneBounds) -> Lanes {
        Lanes { board: Mutex::default(), ready: Condvar::new(), moved: Condvar::new(), bounds }
    }

    /// The lease that counts from now on; what was in hand under another is dropped without a word to the source.
    pub fn set_fence(&self, fence: Option<u64>) {
        let mut board = self.board.lock();
        if board.fence == fence {
            return;
        }
        board.fence = fence;
        board.fenced = None;
        board.settled.clear();
        (board.jobs, board.bytes) = (0, 0);
        board.ring.clear();
        board.parked.clear();
        // A lane that a thread is at stays, so that nobody else begins on the same account.
        board.lanes.retain(|_, lane| {
            *lane = Lane { stage: lane.stage, ..Lane::default() };
            matches!(lane.stage, Stage::Taken(_))
        });
        drop(board);
        self.moved.notify_all();
    }

    /// The later lease that the database knows, where a thread has met one.
    #[must_use]
    pub fn fenced_by(&self) -> Option<u64> {
        self.board.lock().fenced
    }

    /// The lease's number, where it is held.
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        self.board.lock().fence
    }

    /// How many more jobs may be in hand.
    #[must_use]
    pub fn room(&self) -> usize {
        let board = self.board.lock();
        if board.bytes >= self.bounds.bytes { 0 } else { self.bounds.jobs.saturating_sub(board.jobs) }
    }

    /// Whether anything is in hand.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.board.lock().jobs == 0
    }

    /// Puts a job at the end of its lane, or before those of the same epoch that belong behind it.
    pub fn add(&self, job: LaneJob) {
        let mut board = self.board.lock();
        let board = &mut *board;
        if board.fence.is_none() {
            return;
        }
        board.jobs += 1;
        board.bytes += job.byte_len();
        let key = job.lane();
        if board.lanes.len() >= WORK_LANES_KEPT_MAX {
            board.lanes.retain(|_, lane| lane.stage != Stage::Idle);
        }
        let lane = board.lanes.entry(key).or_default();
        let at = lane.insert(Arc::new(job));
        match lane.stage {
            Stage::Idle => {}
            Stage::Parked(until, true) if at == 0 => {
                board.parked.remove(&(until, key));
            }
            _ => return,
        }
        lane.stage = Stage::Ready;
        board.ring.push_back(key);
        self.ready.notify_one();
    }

    /// The next piece of work; waits for one until `longest` has passed. `None` also once the lanes are closed.
    #[must_use]
    pub fn take(&self, clock: &dyn Clock, longest: Duration) -> Option<Piece> {
        let until = clock.now().mono.plus(longest);
        let mut board = self.board.lock();
        loop {
            if board.closed {
                return None;
            }
            let now = clock.now().mono;
            board.unpark(now);
            if let Some(piece) = board.take(self.bounds.piece) {
                if !board.ring.is_empty() {
                    self.ready.notify_one();
                }
                return Some(piece);
            }
            if now >= until {
                return None;
            }
            let next = board.parked.first().map_or(until, |(at, _)| (*at).min(until));
            self.ready.wait_for(&mut board, next.since(now).max(Duration::from_millis(1)));
        }
    }

    /// Puts a piece down.
    pub fn put_down(&self, piece: &Piece, verdict: Verdict, now: Now) {
        let mut board = self.board.lock();
        board.put_down(piece, verdict, now);
        let is_ready = !board.ring.is_empty() || !board.parked.is_empty();
        drop(board);
        self.moved.notify_all();
        if is_ready {
            self.ready.notify_one();
        }
    }

    /// Jobs that are done and not yet acknowledged, appended to `into`; [`Lanes::acknowledged`] lets go of them.
    pub fn settled(&self, into: &mut Vec<u64>) {
        into.extend_from_slice(&self.board.lock().settled);
    }

    /// The source knows that these are done: the first ones that [`Lanes::settled`] gave under this lease.
    pub fn acknowledged(&self, fence: u64, tickets: &[u64]) {
        let mut board = self.board.lock();
        if board.fence == Some(fence) {
            board.settled.drain(..tickets.len());
            board.jobs -= tickets.len();
        }
    }

    /// Waits until something is settled, or a piece is put down, or `longest` has passed.
    pub fn wait(&self, longest: Duration) {
        let mut board = self.board.lock();
        if board.settled.is_empty() && board.fenced.is_none() {
            self.moved.wait_for(&mut board, longest);
        }
    }

    /// Waits until a piece is put down, or `longest` has passed.
    pub fn wait_for_pieces(&self, longest: Duration) {
        let mut board = self.board.lock();
        if board.taken > 0 {
            self.moved.wait_for(&mut board, longest);
        }
    }

    /// Nobody gets a further piece.
    pub fn close(&self) {
        self.board.lock().closed = true;
        self.ready.notify_all();
        self.moved.notify_all();
    }

    /// Pieces in threads' hands.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.board.lock().taken
    }

    /// What stands where; names at most `held_max` lanes.
    #[must_use]
    pub fn counts(&self, held_max: usize) -> LaneCounts {
        let board = self.board.lock();
        let mut held: Vec<HeldLane> = board
            .lanes
            .iter()
            .filter_map(|(lane, state)| {
                let (since, why) = state.held.clone()?;
                Some(HeldLane { lane: *lane, since, why, jobs: state.jobs.len() })
            })
            .collect();
        held.sort_by_key(|held| (held.since, held.lane));
        held.truncate(held_max);
        let fronts = board.lanes.values().filter_map(|lane| lane.jobs.front()?.content.as_ref().ok());
        LaneCounts {
            fence: board.fence,
            jobs: board.jobs,
            bytes: board.bytes,
            lanes: board.lanes.values().filter(|lane| !lane.jobs.is_empty()).count(),
            held,
            oldest: fronts.map(|content| content.received_at).min(),
        }
    }
}

impl Lane {
    /// Puts a job where it belongs; where that is.
    fn insert(&mut self, job: Arc<LaneJob>) -> usize {
        let at = self.place_of(&job);
        self.jobs.insert(at, job);
        if at == 0 {
            // What was known of the first job is not true of this one.
            (self.spent, self.waived, self.missing_since, self.failing) = (0, false, None, None);
        }
        at
    }

    /// Puts those before what a thread had that came meanwhile and belong there; whether the first job is another now.
    fn put_late_in_place(&mut self) -> bool {
        if !std::mem::take(&mut self.late) {
            return false;
        }
        self.stage = Stage::Idle;
        let first = self.jobs.front().map(|job| job.ticket);
        let (spent, waived, since, failing) = (self.spent, self.waived, self.missing_since, self.failing.clone());
        for job in std::mem::take(&mut self.jobs) {
            self.insert(job);
        }
        let is_same = self.jobs.front().map(|job| job.ticket) == first;
        if is_same {
            (self.spent, self.waived, self.missing_since, self.failing) = (spent, waived, since, failing);
        }
        !is_same
    }

    /// Where a job belongs that comes now: at the end, but before jobs of the same epoch with a higher position, and never
    /// among those that a thread has.
    fn place_of(&mut self, job: &LaneJob) -> usize {
        let taken = if let Stage::Taken(taken) = self.stage { taken.min(self.jobs.len()) } else { 0 };
        let place = |job: &LaneJob| job.content.as_ref().ok().and_then(|content| content.place);
        let mut at = self.jobs.len();
        let Some(here) = place(job) else { return at };
        while at > 0
            && let Some(before) = place(&self.jobs[at - 1])
            && before.epoch == here.epoch
            && before.position > here.position
        {
            if at == taken {
                self.late = true;
                break;
            }
            at -= 1;
        }
        at
    }
}

impl Board {
    fn unpark(&mut self, now: Mono) {
        while let Some((at, key)) = self.parked.first().copied()
            && at <= now
        {
            self.parked.pop_first();
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.stage = Stage::Ready;
                self.ring.push_back(key);
            }
        }
    }

    fn take(&mut self, piece_max: usize) -> Option<Piece> {
        let fence = self.fence?;
        let key = self.ring.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        let is_alone = lane.alone > 0 || lane.failing.is_some() || lane.spent > 0 || key == LaneKey::Unreadable;
        let jobs: Vec<_> = lane.jobs.iter().take(if is_alone { 1 } else { piece_max }).cloned().collect();
        lane.stage = Stage::Taken(jobs.len());
        self.taken += 1;
        Some(Piece {
            lane: key,
            fence,
            jobs,
            passed: lane.passed,
            failures: lane.failures,
            spent: lane.spent,
            failing: lane.failing.clone(),
            waived: lane.waived,
            missing_since: lane.missing_since,
        })
    }

    fn put_down(&mut self, piece: &Piece, verdict: Verdict, now: Now) {
        self.taken -= 1;
        let Some(lane) = self.lanes.get_mut(&piece.lane) else { return };
        if self.fence != Some(piece.fence) {
            // What was in hand under the lease before is dropped; what came under the new one begins.
            lane.stage = if lane.jobs.is_empty() { Stage::Idle } else { Stage::Ready };
            if lane.stage == Stage::Ready {
                self.ring.push_back(piece.lane);
            }
            return;
        }
        if let Then::Fenced(by) = verdict.then {
            lane.stage = Stage::Idle;
            self.fenced = self.fenced.max(Some(by));
            return;
        }
        for job in lane.jobs.drain(..verdict.done) {
            self.settled.push(job.ticket);
            self.bytes -= job.byte_len();
            let place = job.content.as_ref().ok().and_then(|content| content.place);
            lane.passed = place.map(|place| place.position).or(lane.passed);
        }
        if verdict.done > 0 {
            lane.alone = lane.alone.saturating_sub(verdict.done);
            (lane.failures, lane.spent, lane.failing, lane.waived) = (0, 0, None, false);
            (lane.missing_since, lane.held) = (None, None);
        }
        let mut parked = None;
        match verdict.then {
            Then::Go | Then::Fenced(_) => {}
            Then::Alone(jobs) => lane.alone = jobs,
            Then::Retry { after, why, spent, failing } => {
                if spent {
                    lane.spent += 1;
                } else {
                    lane.failures = lane.failures.saturating_add(1);
                }
                lane.failing = failing.or(lane.failing.take());
                lane.held = Some((lane.held.as_ref().map_or(now.wall, |(since, _)| *since), why));
                parked = Some((now.mono.plus(after), false));
            }
            Then::Missing { position, until } => {
                lane.missing_since.get_or_insert(now.mono);
                let why = format!("waits for the record at position {position}, which should come before its next");
                lane.held = Some((lane.held.as_ref().map_or(now.wall, |(since, _)| *since), why.into()));
                parked = Some((until, true));
            }
            Then::Waive => lane.waived = true,
        }
        let is_other = lane.put_late_in_place();
        match parked {
            _ if lane.jobs.is_empty() => lane.stage = Stage::Idle,
            Some((_, true)) if is_other => {
                lane.stage = Stage::Ready;
                self.ring.push_back(piece.lane);
            }
            Some((until, for_predecessor)) => {
                lane.stage = Stage::Parked(until, for_predecessor);
                self.parked.insert((until, piece.lane));
            }
            None => {
                lane.stage = Stage::Ready;
                self.ring.push_back(piece.lane);
            }
        }
    }
}

#[cfg(test)]
mod tests;
