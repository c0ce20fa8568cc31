//! What appender, syncer and reader share: positions, the map of segments, the tail in memory, accounts.
//!
//! One mutex, held for microseconds and never across a call to the disk.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::disk::Disk;
use super::format::{AccountId, Epoch, segment_name};
use crate::domain::limits::{
    SPOOL_ACCOUNT_BYTES_MAX, SPOOL_BUFFERS_KEPT, SPOOL_BYTES_MAX, SPOOL_FREE_MIN, SPOOL_IN_FLIGHT_MAX,
    SPOOL_RESERVE_BYTES, SPOOL_RETAIN, SPOOL_SEGMENT_BYTES, SPOOL_SYNC_INTERVAL, SPOOL_TAIL_BYTES_MAX,
    SPOOL_UNSYNCED_BYTES_MAX,
};
use crate::domain::{Mono, Wall};

/// When records may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// At once after `write(2)`; synced in groups of this interval. A power cut takes at most the interval.
    Interval(Duration),
    /// After their sync.
    Always,
}

/// The settings `spool.*`.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// When records may be handed out.
    pub sync: SyncMode,
    /// A segment of this size is followed by the next one.
    pub segment_bytes: u64,
    /// All segments together; above it frames are refused.
    pub bytes_max: u64,
    /// One account's unacknowledged records; above it that account's frames are held back.
    pub account_bytes_max: u64,
    /// Free space that the file system must keep.
    pub free_min: u64,
    /// Preallocated for marks.
    pub reserve_bytes: u64,
    /// Acknowledged segments stay this long, while there is room.
    pub retain: Duration,
    /// Synced bytes that stay in memory for the reader.
    pub tail_bytes_max: usize,
    /// Bytes that wait for their sync.
    pub unsynced_bytes_max: usize,
    /// Records handed out and not acknowledged.
    pub in_flight_max: usize,
    /// What the lock file says about this process.
    pub holder: String,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        SpoolConfig {
            sync: SyncMode::Interval(SPOOL_SYNC_INTERVAL),
            segment_bytes: SPOOL_SEGMENT_BYTES,
            bytes_max: SPOOL_BYTES_MAX,
            account_bytes_max: SPOOL_ACCOUNT_BYTES_MAX,
            free_min: SPOOL_FREE_MIN,
            reserve_bytes: SPOOL_RESERVE_BYTES,
            retain: SPOOL_RETAIN,
            tail_bytes_max: SPOOL_TAIL_BYTES_MAX,
            unsynced_bytes_max: SPOOL_UNSYNCED_BYTES_MAX,
            in_flight_max: SPOOL_IN_FLIGHT_MAX,
            holder: format!("process {}", std::process::id()),
        }
    }
}

/// How far everything is. Each is the position behind the last record that it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Acknowledged.
    pub acked: u64,
    /// Handed out.
    pub dispatched: u64,
    /// Durable.
    pub synced: u64,
    /// `write(2)` returned.
    pub written: u64,
    /// The acknowledged position that a crash falls back to.
    pub cursor: u64,
}

impl Positions {
    /// Holds the relations; called after each change.
    fn check(&self, sync: SyncMode) {
        assert!(self.acked <= self.dispatched, "acked passed dispatched: {self:?}");
        assert!(self.dispatched <= self.written, "dispatched passed written: {self:?}");
        assert!(self.synced <= self.written, "synced passed written: {self:?}");
        assert!(self.cursor <= self.synced, "the durable cursor passed synced: {self:?}");
        assert!(sync != SyncMode::Always || self.dispatched <= self.synced, "handed out before its sync: {self:?}");
    }
}

/// Counts and states for status, metrics and alarms.
#[derive(Clone, Debug, Default)]
pub struct SpoolStatus {
    /// How far everything is.
    pub positions: Positions,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Segments.
    pub segments: usize,
    /// Records written since the open.
    pub records_written: u64,
    /// Records that are not handed out. Positions leap at each open, so their difference is no number of records.
    pub undispatched: u64,
    /// Records that are not acknowledged: those not handed out, and those in flight.
    pub unacknowledged: u64,
    /// Failed syncs since the open.
    pub sync_failures: u64,
    /// The failed sync that is not yet mended, in words.
    pub sync_failing: Option<String>,
    /// Why frames are refused, if they are.
    pub full: Option<FullReason>,
    /// Accounts that are remembered, of [`SPOOL_ACCOUNTS_MAX`](crate::domain::limits::SPOOL_ACCOUNTS_MAX).
    pub accounts: usize,
    /// Accounts over their share.
    pub accounts_full: usize,
    /// Segments deleted before their `retain` ran out, because space was short.
    pub retained_early: u64,
}

/// Why the spool takes marks only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullReason {
    /// The disk refused a write for lack of space.
    Disk,
    /// The file system is about to be full.
    FreeLow,
    /// The spool has reached its size.
    Spool,
}

/// One stretch of positions in one file. A file that a rewrite overlaps is still one stretch, cut short.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub id: u64,
    pub epoch: Epoch,
    pub first: u64,
    pub end: u64,
    /// Offset of a record at or before `first`.
    pub start: u64,
    /// Accepted bytes.
    pub len: u64,
    pub newest: Wall,
    pub dirty: bool,
    /// Open while unsynced.
    pub file: Option<Arc<F>>,
}

/// One batch as written, kept until it is synced and handed out.
#[derive(Debug)]
pub(super) struct Block {
    pub first: u64,
    pub end: u64,
    pub bytes: Arc<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    pub last: u64,
    pub alive_at: Option<Wall>,
    pub unacked: u64,
    pub held_back: bool,
    /// The appender's notes while it looks at one batch: which, bytes so far, whether a record must wait.
    pub batch: u64,
    pub pending: u64,
    pub waits: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub position: u64,
    pub account: AccountId,
    /// Bytes that count against the account's share; 0 for marks.
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) struct State<F> {
    pub positions: Positions,
    /// In order of position.
    pub segments: VecDeque<Segment<F>>,
    /// Files that a rewrite replaced, to go once everything before this position is synced.
    pub doomed: Vec<(u64, u64)>,
    pub tail: VecDeque<Block>,
    pub tail_bytes: usize,
    pub buffers: Vec<Arc<Vec<u8>>>,
    pub accounts: HashMap<AccountId, Account>,
    pub in_flight: VecDeque<InFlight>,
    /// Records from `dispatched` on.
    pub undispatched: u64,
    /// Behind the last record that was handed out before a rewind, until it is acknowledged again; else 0.
    pub refill_until: u64,
    pub bytes: u64,
    pub dir_dirty: bool,
    pub dirty_since: Option<Mono>,
    /// Bytes since `synced`.
    pub unsynced_bytes: usize,
    pub sync_failed: Option<String>,
    pub sync_failures_in_a_row: u32,
    pub full: Option<FullReason>,
    pub free_low: bool,
    pub records_written: u64,
    pub sync_failures: u64,
    pub retained_early: u64,
}

pub(super) struct Core<D: Disk> {
    pub disk: D,
    pub config: SpoolConfig,
    pub epoch: Epoch,
    pub state: Mutex<State<D::File>>,
    /// Something may be handed out.
    pub readable: Condvar,
    /// Something wants the syncer.
    pub syncable: Condvar,
}

impl<F> State<F> {
    pub fn new(positions: Positions, segments: VecDeque<Segment<F>>, accounts: HashMap<AccountId, Account>) -> Self {
        let bytes = segments.iter().map(|segment| segment.len).sum();
        State {
            positions,
            segments,
            doomed: Vec::new(),
            tail: VecDeque::with_capacity(SPOOL_BUFFERS_KEPT),
            tail_bytes: 0,
            buffers: Vec::with_capacity(SPOOL_BUFFERS_KEPT),
            accounts,
            in_flight: VecDeque::with_capacity(1_024),
            undispatched: 0,
            refill_until: 0,
            bytes,
            dir_dirty: false,
            dirty_since: None,
            unsynced_bytes: 0,
            sync_failed: None,
            sync_failures_in_a_row: 0,
            full: None,
            free_low: false,
            records_written: 0,
            sync_failures: 0,
            retained_early: 0,
        }
    }

    pub fn check(&self, sync: SyncMode) {
        self.positions.check(sync);
    }

    /// How far the reader may go.
    pub fn readable_end(&self, sync: SyncMode) -> u64 {
        match sync {
            SyncMode::Interval(_) => self.positions.written,
            SyncMode::Always => self.positions.synced,
        }
    }

    /// The segment that holds `position`, or the first one behind it.
    pub fn segment_at(&self, position: u64) -> Option<&Segment<F>> {
        self.segments.get(self.segments.partition_point(|segment| segment.end <= position))
    }

    /// The blocks from the one that holds `position` on; none if it is not in memory.
    pub fn blocks_from(&self, position: u64) -> impl Iterator<Item = &Block> {
        let at = self.tail.partition_point(|block| block.end <= position);
        let held = self.tail.get(at).is_some_and(|block| block.first <= position);
        self.tail.range(if held { at } else { self.tail.len() }..)
    }

    /// Lets go of blocks that are synced and either handed out or more than the tail may hold.
    pub fn trim_tail(&mut self, tail_bytes_max: usize) {
        while let Some(block) = self.tail.front() {
            let spent = block.end <= self.positions.dispatched || self.tail_bytes > tail_bytes_max;
            if block.end > self.positions.synced || !spent {
                return;
            }
            self.tail_bytes -= block.bytes.len();
            if let Some(block) = self.tail.pop_front()
                && self.buffers.len() < SPOOL_BUFFERS_KEPT
            {
                self.buffers.push(block.bytes);
            }
        }
    }

    /// A buffer to fill: recycled, or new while the pool is empty.
    pub fn buffer(&mut self) -> Arc<Vec<u8>> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Account bytes up to `position` are acknowledged.
    pub fn settle_in_flight(&mut self, position: u64, account_bytes_max: u64) {
        while let Some(&InFlight { position: at, account, bytes }) = self.in_flight.front() {
            if at >= position {
                return;
            }
            self.in_flight.pop_front();
            if let Some(account) = self.accounts.get_mut(&account) {
                account.unacked = account.unacked.saturating_sub(bytes);
                // It resumes with a quarter of its share free, not at the first byte.
                if account.unacked <= account_bytes_max / 4 * 3 {
                    account.held_back = false;
                }
            }
        }
    }
}

impl<D: Disk> Core<D> {
    pub fn status(&self) -> SpoolStatus {
        let state = self.state.lock();
        SpoolStatus {
            positions: state.positions,
            bytes: state.bytes,
            segments: state.segments.len(),
            records_written: state.records_written,
            undispatched: state.undispatched,
            unacknowledged: state.undispatched + state.in_flight.len() as u64,
            sync_failures: state.sync_failures,
            sync_failing: state.sync_failed.clone(),
            full: state.full,
            accounts: state.accounts.len(),
            accounts_full: state.accounts.values().filter(|account| account.held_back).count(),
            retained_early: state.retained_early,
        }
    }

    /// Deletes acknowledged segments: those past `retain`, and with `needed` bytes asked for also younger ones. The one
    /// before the cursor's stays: recovery begins there. Returns the bytes that became free.
    pub fn sweep(&self, now: Wall, needed: u64) -> io::Result<u64> {
        let mut freed = 0;
        loop {
            let victim = {
                let mut state = self.state.lock();
                let safe = state.positions.cursor.min(state.positions.acked);
                let acked = |segment: &Segment<D::File>| segment.end <= safe && !segment.dirty;
                if state.segments.len() < 3 || !(acked(&state.segments[0]) && acked(&state.segments[1])) {
                    break;
                }
                let age = now.as_micros().saturating_sub(state.segments[0].newest.as_micros());
                let retain = i64::try_from(self.config.retain.as_micros()).unwrap_or(i64::MAX);
                if age <= retain {
                    if freed >= needed {
                        break;
                    }
                    state.retained_early += 1;
                }
                let Some(segment) = state.segments.pop_front() else { break };
                state.bytes = state.bytes.saturating_sub(segment.len);
                // Two stretches of one file: the file goes with the last.
                state.segments.iter().all(|other| other.id != segment.id).then_some((segment.id, segment.len))
            };
            if let Some((id, len)) = victim {
                self.disk.remove(&segment_name(id))?;
                freed += len;
            }
        }
        Ok(freed)
    }

    /// Deletes files whose rewritten copy is synced.
    pub fn bury(&self) -> io::Result<()> {
        loop {
            let id = {
                let mut state = self.state.lock();
                let synced = state.positions.synced;
                let Some(at) = state.doomed.iter().position(|&(_, until)| until <= synced) else { return Ok(()) };
                state.doomed.swap_remove(at).0
            };
            self.disk.remove(&segment_name(id))?;
        }
    }
}

impl std::fmt::Display for FullReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FullReason::Disk => "the disk is full",
            FullReason::FreeLow => "the file system is nearly full",
            FullReason::Spool => "the spool has reached its size",
        })
    }
}
