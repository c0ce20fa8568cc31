//! The appender: gives records their positions, writes each batch with one `write(2)`, turns segments, and mends what a
//! failed sync left. Owned by the spooler's thread.
//!
//! Data plane while the disk is well. Every failure leaves the caller's batch as it was, so that nothing is lost by asking
//! again later.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use smallvec::SmallVec;

use super::batch::{Batch, Entry, records_in};
use super::disk::{Disk, DiskFile, is_no_space, write_all_at};
use super::format::{
    AccountId, ExchangeId, Kind, LivenessEntry, SEGMENT_HEADER_LEN, SegmentHeader, place, seal, segment_name,
};
use super::state::{Block, Core, FullReason, Segment, SpoolStatus};
use crate::domain::limits::{
    SPOOL_ACCOUNTS_MAX, SPOOL_BATCH_RECORDS_MAX, SPOOL_RETRY_MAX, SPOOL_RETRY_MIN, SPOOL_UNSYNCED_RECORDS_MAX,
};
use crate::domain::{Mono, Now, Wall};

/// The name of the reserve.
pub(super) const RESERVE: &str = "reserve";
const RESERVE_NEW: &str = "reserve.tmp";

/// What an append did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Records written.
    pub written: usize,
    /// Records of accounts over their share. They are what the batch still holds, in order.
    pub held_back: usize,
    /// The accounts that are over their share: stop reading them.
    pub full_accounts: SmallVec<[AccountId; 4]>,
    /// Liveness records that a nearly full reserve dropped; an older mark only widens a gap.
    pub dropped_marks: usize,
}

/// Why nothing of a batch was written. The batch is as it was.
#[derive(Debug)]
pub enum AppendError {
    /// No room for frames; marks may still go. Stop reading, and ask again.
    Full(FullReason),
    /// The disk syncs more slowly than frames arrive. Stop reading, and ask again.
    SyncBehind,
    /// A sync failed, and writing the unsynced records to another file has not worked yet. Stop reading, and ask again.
    SyncFailing(String),
    /// The disk refused. A new segment is begun at the next call.
    Io(io::Error),
    /// More accounts than the spool remembers.
    TooManyAccounts,
}

/// The writing end of a spool.
pub struct Appender<D: Disk> {
    core: Arc<Core<D>>,
    current: Option<Current<D::File>>,
    next_segment: u64,
    next_position: u64,
    has_reserve: bool,
    /// Whether no segment of this life is begun yet.
    is_first: bool,
    retry_at: Mono,
    snapshot: Batch,
    /// Numbers the batches, so that what an account's entry says about one is not taken for another.
    batch_number: u64,
    /// For each record of the batch at hand whether its account lets it go.
    goes: Vec<bool>,
}

struct Current<F> {
    id: u64,
    file: Arc<F>,
    len: u64,
    /// Bytes that are this segment's own, where it is the reserve.
    reserve: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    New,
    Reserve,
}

impl<D: Disk> Appender<D> {
    pub(super) fn new(core: Arc<Core<D>>, next_segment: u64, next_position: u64, has_reserve: bool) -> Self {
        Appender {
            core,
            current: None,
            next_segment,
            next_position,
            has_reserve,
            is_first: true,
            retry_at: Mono::ZERO,
            snapshot: Batch::new(),
            batch_number: 0,
            goes: Vec::with_capacity(SPOOL_BATCH_RECORDS_MAX),
        }
    }

    /// Writes the batch and leaves in it an empty buffer, or the records of accounts over their share.
    ///
    /// After it returns, a killed process loses none of the written records.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was accepted then. A batch of marks only is taken by a full spool too.
    pub fn append(&mut self, batch: &mut Batch, now: Now) -> Result<Appended, AppendError> {
        if batch.is_empty() {
            return Ok(Appended::default());
        }
        self.mend(now)?;
        self.check_unsynced(batch)?;
        if batch.is_marks() {
            return self.append_marks(batch, now);
        }
        let mut appended = Appended::default();
        let Some(held) = self.hold_back(batch, &mut appended)? else {
            appended.written = batch.records();
            self.append_frames(batch, now)?;
            return Ok(appended);
        };
        // `batch` now holds what may go, `held` the rest; a failure puts them together again in their order.
        if !batch.is_empty() {
            appended.written = batch.records();
            if let Err(error) = self.append_frames(batch, now) {
                held.restore(batch);
                return Err(error);
            }
        }
        *batch = held.held;
        Ok(appended)
    }

    /// What is due without a batch: mends a failed sync. To be called a few times a second.
    ///
    /// # Errors
    /// [`AppendError::SyncFailing`].
    pub fn turn(&mut self, now: Now) -> Result<(), AppendError> {
        self.mend(now)
    }

    /// A recycled empty batch.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch::from_buffer(self.core.state.lock().buffer())
    }

    /// Counts and states.
    #[must_use]
    pub fn status(&self) -> SpoolStatus {
        self.core.status()
    }

    /// When something last arrived for the account, as far as the spool knows: never later than the truth.
    #[must_use]
    pub fn alive_at(&self, account: AccountId) -> Option<Wall> {
        self.core.state.lock().accounts.get(&account).and_then(|account| account.alive_at)
    }

    /// Whether the account is over its share.
    #[must_use]
    pub fn is_held_back(&self, account: AccountId) -> bool {
        self.core.state.lock().accounts.get(&account).is_some_and(|account| account.held_back)
    }

    /// Forgets an account that no longer exists, once all its records are acknowledged; whether it did.
    pub fn forget(&mut self, account: AccountId) -> bool {
        let mut state = self.core.state.lock();
        let idle = state.accounts.get(&account).is_some_and(|account| account.unacked == 0);
        idle && state.accounts.remove(&account).is_some()
    }

    pub(super) fn core(&self) -> &Arc<Core<D>> {
        &self.core
    }

    /// Begins the first segment of this life. A full disk is no error: marks and draining must go on.
    pub(super) fn begin(&mut self, now: Now) -> io::Result<()> {
        match self.make_reserve().and_then(|()| self.begin_segment(Source::New, now)) {
            Err(error) if is_no_space(&error) => {
                self.note_full(now);
                if self.has_reserve { self.begin_segment(Source::Reserve, now) } else { Ok(()) }
            }
            other => other,
        }
    }

    fn check_unsynced(&self, batch: &Batch) -> Result<(), AppendError> {
        let state = self.core.state.lock();
        let records = state.positions.written.saturating_sub(state.positions.synced);
        let bytes = state.unsynced_bytes + batch.bytes_len();
        if bytes > self.core.config.unsynced_bytes_max && state.unsynced_bytes > 0
            || records + batch.records() as u64 > SPOOL_UNSYNCED_RECORDS_MAX
        {
            return Err(AppendError::SyncBehind);
        }
        Ok(())
    }

    /// Takes the records of accounts over their share out of the batch. `None`, and no copy, when there are none.
    ///
    /// Behind an account's first record that must wait all its records wait, so that its order holds.
    fn hold_back(&mut self, batch: &mut Batch, appended: &mut Appended) -> Result<Option<Held>, AppendError> {
        let share = self.core.config.account_bytes_max;
        self.batch_number += 1;
        self.goes.clear();
        {
            let mut guard = self.core.state.lock();
            let state = &mut *guard;
            for (header, record) in batch.iter() {
                if !state.accounts.contains_key(&header.account) && state.accounts.len() == SPOOL_ACCOUNTS_MAX {
                    return Err(AppendError::TooManyAccounts);
                }
                let account = state.accounts.entry(header.account).or_default();
                if account.batch != self.batch_number {
                    (account.batch, account.pending, account.waits) = (self.batch_number, account.unacked, false);
                }
                let len = record.len() as u64;
                let over = account.held_back || account.pending > 0 && account.pending + len > share;
                if !header.kind.is_mark() && over && !account.waits {
                    (account.waits, account.held_back) = (true, true);
                    appended.full_accounts.push(header.account);
                }
                if !header.kind.is_mark() && !account.waits {
                    account.pending += len;
                }
                self.goes.push(!account.waits);
            }
        }
        if appended.full_accounts.is_empty() {
            return Ok(None);
        }
        let (mut going, mut held) = (Batch::new(), Batch::new());
        for ((_, record), &goes) in batch.iter().zip(&self.goes) {
            if goes { going.push_record(record) } else { held.push_record(record) }
        }
        appended.held_back = held.records();
        *batch = going;
        Ok(Some(Held { held, order: self.goes.clone() }))
    }

    fn append_frames(&mut self, batch: &mut Batch, now: Now) -> Result<(), AppendError> {
        self.check_room(batch, now)?;
        let fits = self.current.as_ref().is_some_and(|current| {
            current.reserve.is_none() && current.len + batch.bytes_len() as u64 <= self.core.config.segment_bytes
        });
        if !fits {
            self.begin_segment(Source::New, now).map_err(|error| self.refused(error, now))?;
        }
        self.write(batch, now).map_err(|error| self.refused(error, now))?;
        self.core.state.lock().full = None;
        Ok(())
    }

    /// Whether there is room for frames, and for the reserve that must come first.
    fn check_room(&mut self, batch: &Batch, now: Now) -> Result<(), AppendError> {
        let len = batch.bytes_len() as u64;
        let (full, over, free_low) = {
            let state = self.core.state.lock();
            let over = (state.bytes + len).saturating_sub(self.core.config.bytes_max);
            (state.full, over, state.free_low)
        };
        if over > 0 && self.core.sweep(now.wall, over).map_err(AppendError::Io)? < over {
            return Err(self.note(FullReason::Spool));
        }
        if free_low {
            return Err(self.note(FullReason::FreeLow));
        }
        if full == Some(FullReason::Disk) {
            if now.mono < self.retry_at {
                return Err(AppendError::Full(FullReason::Disk));
            }
            self.retry_at = now.mono.plus(SPOOL_RETRY_MIN);
            let needed = len
                + if self.has_reserve { 0 } else { self.core.config.reserve_bytes }
                + self.core.config.free_min.min(self.core.config.reserve_bytes);
            let free = self.core.disk.free_space().map_err(AppendError::Io)?;
            if free < needed && self.core.sweep(now.wall, needed - free).map_err(AppendError::Io)? < needed - free {
                return Err(AppendError::Full(FullReason::Disk));
            }
        }
        self.make_reserve().map_err(|error| self.refused(error, now))
    }

    fn append_marks(&mut self, batch: &mut Batch, now: Now) -> Result<Appended, AppendError> {
        let records = batch.records();
        let len = batch.bytes_len() as u64;
        let config = &self.core.config;
        let done = Appended { written: records, ..Appended::default() };
        let over = {
            let state = self.core.state.lock();
            (state.bytes + len).saturating_sub(config.bytes_max + config.reserve_bytes)
        };
        if over > 0 && self.core.sweep(now.wall, over).map_err(AppendError::Io)? < over {
            return Err(self.note(FullReason::Spool));
        }
        let full = self.core.state.lock().full == Some(FullReason::Disk);
        if !full && self.current.as_ref().is_none_or(|current| current.reserve.is_none()) {
            let fits = self.current.as_ref().is_some_and(|current| current.len + len <= self.core.config.segment_bytes);
            let tried = if fits { Ok(()) } else { self.begin_segment(Source::New, now) };
            match tried.and_then(|()| self.write(batch, now)) {
                Ok(()) => return Ok(done),
                Err(error) if is_no_space(&error) => self.note_full(now),
                Err(error) => return Err(AppendError::Io(error)),
            }
        }
        if self.current.as_ref().is_none_or(|current| current.reserve.is_none()) {
            if !self.has_reserve {
                return Err(AppendError::Full(FullReason::Disk));
            }
            self.begin_segment(Source::Reserve, now).map_err(|error| self.refused(error, now))?;
        }
        let (used, size) = match &self.current {
            Some(Current { len, reserve: Some(size), .. }) => (*len, *size),
            _ => return Err(AppendError::Full(FullReason::Disk)),
        };
        let liveness_only = batch.iter().all(|(header, _)| header.kind == Kind::Liveness);
        if liveness_only && used + len > size / 2 {
            batch.clear();
            return Ok(Appended { written: 0, dropped_marks: records, ..Appended::default() });
        }
        if used + len > size {
            return Err(AppendError::Full(FullReason::Disk));
        }
        self.write(batch, now).map_err(|error| self.refused(error, now))?;
        Ok(done)
    }

    fn refused(&mut self, error: io::Error, now: Now) -> AppendError {
        if is_no_space(&error) {
            self.note_full(now);
            AppendError::Full(FullReason::Disk)
        } else {
            AppendError::Io(error)
        }
    }

    fn note_full(&mut self, now: Now) {
        self.retry_at = now.mono.plus(SPOOL_RETRY_MIN);
        self.core.state.lock().full = Some(FullReason::Disk);
    }

    fn note(&self, reason: FullReason) -> AppendError {
        self.core.state.lock().full = Some(reason);
        AppendError::Full(reason)
    }

    fn make_reserve(&mut self) -> io::Result<()> {
        if self.has_reserve {
            return Ok(());
        }
        let disk = &self.core.disk;
        let _ = disk.remove(RESERVE_NEW);
        let file = disk.create(RESERVE_NEW)?;
        let made = file
            .preallocate(self.core.config.reserve_bytes)
            .and_then(|()| file.sync_data())
            .and_then(|()| disk.rename(RESERVE_NEW, RESERVE))
            .and_then(|()| disk.sync_dir());
        if made.is_err() {
            let _ = disk.remove(RESERVE_NEW);
        }
        made?;
        self.has_reserve = true;
        Ok(())
    }

    /// Begins a segment: header, then the snapshot of all accounts.
    fn begin_segment(&mut self, source: Source, now: Now) -> io::Result<()> {
        let first = self.next_position;
        let (id, file) = self.create_segment(source, first, now)?;
        let len = SEGMENT_HEADER_LEN as u64;
        {
            let mut state = self.core.state.lock();
            state.segments.push_back(Segment {
                id,
                epoch: self.core.epoch,
                first,
                end: first,
                start: len,
                len,
                newest: now.wall,
                dirty: true,
                file: Some(Arc::clone(&file)),
            });
            state.bytes += len;
            state.dir_dirty = true;
        }
        let reserve = (source == Source::Reserve).then_some(self.core.config.reserve_bytes);
        self.current = Some(Current { id, file, len, reserve });
        self.write_snapshot(now)
    }

    /// A file with a header. The segment before it is given up, whether this works or not: its end is then settled.
    fn create_segment(&mut self, source: Source, first: u64, now: Now) -> io::Result<(u64, Arc<D::File>)> {
        self.abandon();
        let id = self.next_segment;
        self.next_segment += 1;
        let name = segment_name(id);
        let header = {
            let state = self.core.state.lock();
            let before = state.segments.iter().max_by_key(|segment| segment.id);
            SegmentHeader {
                epoch: self.core.epoch,
                id,
                first,
                created_at: now.wall,
                previous_id: before.map_or(0, |segment| segment.id),
                previous_len: before.map_or(0, |segment| segment.len),
                previous_end: state.positions.written,
            }
        };
        let disk = &self.core.disk;
        let file = match source {
            Source::New => disk.create(&name)?,
            Source::Reserve => {
                disk.rename(RESERVE, &name)?;
                self.has_reserve = false;
                disk.open(&name)?
            }
        };
        let mut begun = write_all_at(&file, &header.encode(), 0);
        if begun.is_ok() && std::mem::take(&mut self.is_first) {
            // No older file knows this epoch: without its head, the first segment's records could not be told.
            begun = file.sync_data().and_then(|()| disk.sync_dir());
        }
        if let Err(error) = begun {
            let _ = disk.remove(&name);
            return Err(error);
        }
        Ok((id, Arc::new(file)))
    }

    fn write_snapshot(&mut self, now: Now) -> io::Result<()> {
        let mut payload = Vec::new();
        for (&account, known) in &self.core.state.lock().accounts {
            if let Some(alive_at) = known.alive_at {
                let entry = LivenessEntry { account, alive_at, last_position: known.last };
                payload.extend_from_slice(&entry.encode());
            }
        }
        let entry =
            Entry { kind: Kind::Liveness, account: AccountId(0), exchange: ExchangeId(0), received_at: now.wall };
        let mut snapshot = std::mem::take(&mut self.snapshot);
        snapshot.clear();
        snapshot.push(entry, &payload, &[]).expect("SPOOL_ACCOUNTS_MAX entries fit one record: checked in limits");
        let written = self.write(&mut snapshot, now);
        self.snapshot = snapshot;
        written
    }

    /// One batch, one `write(2)`, into the current segment.
    fn write(&mut self, batch: &mut Batch, now: Now) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Err(io::Error::other("no segment could be begun")) };
        let first = self.next_position;
        let end = first + batch.records() as u64;
        self.next_position = end;
        place_records(&self.core, batch, first);
        let mut rest = &mut batch.buffer()[..];
        while !rest.is_empty() {
            let len = super::format::RecordHeader::read_unsealed(rest).record_len();
            let (record, behind) = rest.split_at_mut(len);
            seal(record, self.core.epoch);
            rest = behind;
        }
        if let Err(error) = write_all_at(&*current.file, batch.bytes(), current.len) {
            unplace_records(&self.core, batch);
            self.abandon();
            return Err(error);
        }
        let offset = current.len;
        let len = batch.bytes_len();
        current.len += len as u64;
        let (id, file_len) = (current.id, current.len);
        let mut guard = self.core.state.lock();
        let state = &mut *guard;
        let segment =
            state.segments.back_mut().expect("the current segment is in the map until the appender leaves it");
        assert_eq!(segment.id, id, "the current segment is the last one");
        segment.end = end;
        segment.len = file_len;
        segment.dirty = true;
        segment.newest = segment.newest.max(now.wall);
        state.bytes += len as u64;
        state.records_written += batch.records() as u64;
        note_alive(state, batch);
        let next = state.buffer();
        let bytes = batch.take(next);
        state.tail.push_back(Block { first, end, offset, bytes });
        state.tail_bytes += len;
        state.unsynced_bytes += len;
        state.dirty_since.get_or_insert(now.mono);
        state.positions.written = end;
        state.trim_tail(self.core.config.tail_bytes_max);
        state.check(self.core.config.sync);
        drop(guard);
        self.core.readable.notify_all();
        self.core.syncable.notify_all();
        Ok(())
    }

    /// Leaves the current segment. One that holds no record goes at once.
    fn abandon(&mut self) {
        let Some(current) = self.current.take() else { return };
        let empty = {
            let mut state = self.core.state.lock();
            let empty = state.segments.back().is_some_and(|last| last.id == current.id && last.first == last.end);
            if empty && let Some(segment) = state.segments.pop_back() {
                state.bytes = state.bytes.saturating_sub(segment.len);
            }
            if let Some(last) = state.segments.back_mut().filter(|last| !last.dirty) {
                last.file = None;
            }
            empty
        };
        if empty {
            let _ = self.core.disk.remove(&segment_name(current.id));
        }
    }

    /// After a failed sync: writes every unsynced record to a new segment, same epoch, same positions, same bytes.
    fn mend(&mut self, now: Now) -> Result<(), AppendError> {
        let Some(why) = self.core.state.lock().sync_failed.clone() else { return Ok(()) };
        if now.mono < self.retry_at {
            return Err(AppendError::SyncFailing(why));
        }
        let failures = {
            let mut state = self.core.state.lock();
            state.sync_failures_in_a_row += 1;
            state.sync_failures_in_a_row
        };
        if failures > 1 {
            let pause = SPOOL_RETRY_MIN.saturating_mul(1 << failures.min(10)).min(SPOOL_RETRY_MAX);
            self.retry_at = now.mono.plus(pause);
        }
        match self.rewrite(now) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.retry_at = self.retry_at.max(now.mono.plus(SPOOL_RETRY_MIN));
                Err(AppendError::SyncFailing(format!("{why}; then: {error}")))
            }
        }
    }

    fn rewrite(&mut self, now: Now) -> io::Result<()> {
        let (blocks, first, synced) = {
            let state = self.core.state.lock();
            let synced = state.positions.synced;
            let unsynced = || state.tail.iter().filter(|block| block.end > synced);
            let first = unsynced().next().map_or(self.next_position, |block| block.first);
            let blocks: Vec<_> = unsynced().map(|block| Arc::clone(&block.bytes)).collect();
            (blocks, first, synced)
        };
        let (id, file) = self.create_segment(Source::New, first, now)?;
        let mut len = SEGMENT_HEADER_LEN as u64;
        let mut offsets = Vec::with_capacity(blocks.len());
        for bytes in &blocks {
            if let Err(error) = write_all_at(&*file, bytes, len) {
                let _ = self.core.disk.remove(&segment_name(id));
                return Err(error);
            }
            offsets.push(len);
            len += bytes.len() as u64;
        }
        {
            let mut guard = self.core.state.lock();
            let state = &mut *guard;
            let written = state.positions.written;
            let mut kept = VecDeque::with_capacity(state.segments.len() + 1);
            for mut segment in state.segments.drain(..) {
                if segment.first >= first {
                    state.doomed.push((segment.id, written));
                    continue;
                }
                if segment.end > first {
                    (segment.end, segment.file, segment.dirty) = (first, None, false);
                }
                kept.push_back(segment);
            }
            // A file that still holds synced records stays.
            state.doomed.retain(|(id, _)| kept.iter().all(|segment| segment.id != *id));
            kept.push_back(Segment {
                id,
                epoch: self.core.epoch,
                first,
                end: written.max(first),
                start: SEGMENT_HEADER_LEN as u64,
                len,
                newest: now.wall,
                dirty: true,
                file: Some(Arc::clone(&file)),
            });
            state.segments = kept;
            state.bytes = state.segments.iter().map(|segment| segment.len).sum();
            for (block, offset) in state.tail.iter_mut().filter(|block| block.end > synced).zip(offsets) {
                block.offset = offset;
            }
            state.dir_dirty = true;
            state.dirty_since = Some(now.mono);
            state.sync_failed = None;
        }
        self.current = Some(Current { id, file, len, reserve: None });
        // If this fails, the records are safe all the same; the snapshot comes with the next segment.
        let _ = self.write_snapshot(now);
        Ok(())
    }
}

/// A batch without the records that must wait, and where they stood.
struct Held {
    held: Batch,
    order: Vec<bool>,
}

impl Held {
    fn restore(&self, batch: &mut Batch) {
        let mut whole = Batch::new();
        {
            let (mut going, mut held) = (batch.iter(), self.held.iter());
            for &goes in &self.order {
                let next = if goes { going.next() } else { held.next() };
                if let Some((_, record)) = next {
                    whole.push_record(record);
                }
            }
        }
        *batch = whole;
    }
}

fn place_records<D: Disk>(core: &Core<D>, batch: &mut Batch, first: u64) {
    let mut state = core.state.lock();
    let mut rest = &mut batch.buffer()[..];
    let mut position = first;
    while !rest.is_empty() {
        let header = super::format::RecordHeader::read_unsealed(rest);
        let (record, behind) = rest.split_at_mut(header.record_len());
        let mut previous = 0;
        if header.account != AccountId(0) {
            let account = state.accounts.entry(header.account).or_default();
            previous = account.last;
            account.last = position;
            if !header.kind.is_mark() {
                account.unacked += record.len() as u64;
            }
        }
        place(record, position, previous);
        position += 1;
        rest = behind;
    }
}

fn unplace_records<D: Disk>(core: &Core<D>, batch: &Batch) {
    let mut state = core.state.lock();
    let mut undone: SmallVec<[AccountId; 16]> = SmallVec::new();
    for (header, record) in batch.iter() {
        if let Some(account) = state.accounts.get_mut(&header.account) {
            // The first of an account's records in the batch knows what was before all of them.
            if !undone.contains(&header.account) {
                account.last = header.previous;
                undone.push(header.account);
            }
            if !header.kind.is_mark() {
                account.unacked = account.unacked.saturating_sub(record.len() as u64);
            }
        }
    }
}

fn note_alive<F>(state: &mut super::state::State<F>, batch: &Batch) {
    for (header, record) in records_in(batch.bytes()) {
        if header.kind == Kind::Liveness {
            let payload = &record[super::format::RECORD_HEADER_LEN..][..header.payload_len as usize];
            for entry in LivenessEntry::read_all(payload) {
                if state.accounts.len() < SPOOL_ACCOUNTS_MAX || state.accounts.contains_key(&entry.account) {
                    let account = state.accounts.entry(entry.account).or_default();
                    account.alive_at = account.alive_at.max(Some(entry.alive_at));
                }
            }
        } else if let Some(account) = state.accounts.get_mut(&header.account) {
            account.alive_at = account.alive_at.max(Some(header.received_at));
        }
    }
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AppendError::Full(reason) => write!(f, "the spool takes no frames: {reason}"),
            AppendError::SyncBehind => {
                f.write_str("the spool takes no frames: the disk syncs more slowly than they arrive")
            }
            AppendError::SyncFailing(why) => {
                write!(f, "the spool takes nothing: a sync failed and is not mended: {why}")
            }
            AppendError::Io(error) => write!(f, "the spool could not write: {error}"),
            AppendError::TooManyAccounts => {
                write!(f, "the spool remembers {SPOOL_ACCOUNTS_MAX} accounts, and this is one more")
            }
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AppendError::Io(error) => Some(error),
            _ => None,
        }
    }
}
