//! The appender's segments: how one is begun, written and left, and the reserve that becomes one on a full disk.

use std::io;
use std::sync::Arc;

use smallvec::SmallVec;

use super::append::Appender;
use super::batch::{Batch, Entry, records_in};
use super::disk::{Disk, DiskFile, is_no_space, write_all_at};
use super::format::{
    AccountId, ExchangeId, Kind, LivenessEntry, RECORD_HEADER_LEN, RecordHeader, SEGMENT_HEADER_LEN, SegmentHeader,
    place, seal, segment_name,
};
use super::state::{Block, Core, Segment, State};
use crate::domain::Now;
use crate::domain::limits::SPOOL_ACCOUNTS_MAX;

/// The name of the reserve.
pub(super) const RESERVE: &str = "reserve";
const RESERVE_NEW: &str = "reserve.tmp";

/// The segment that is written to.
pub(super) struct Current<F> {
    pub id: u64,
    pub file: Arc<F>,
    pub len: u64,
    /// Bytes that are this segment's own, where it is the reserve.
    pub reserve: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    New,
    Reserve,
}

impl<D: Disk> Appender<D> {
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

    pub(super) fn make_reserve(&mut self) -> io::Result<()> {
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
    pub(super) fn begin_segment(&mut self, source: Source, now: Now) -> io::Result<()> {
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
    pub(super) fn create_segment(&mut self, source: Source, first: u64, now: Now) -> io::Result<(u64, Arc<D::File>)> {
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

    pub(super) fn write_snapshot(&mut self, now: Now) -> io::Result<()> {
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
    pub(super) fn write(&mut self, batch: &mut Batch, now: Now) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Err(io::Error::other("no segment could be begun")) };
        let first = self.next_position;
        let end = first + batch.records() as u64;
        self.next_position = end;
        place_records(&self.core, batch, first);
        let mut rest = &mut batch.buffer()[..];
        while !rest.is_empty() {
            let len = RecordHeader::read_unsealed(rest).record_len();
            let (record, behind) = rest.split_at_mut(len);
            seal(record, self.core.epoch);
            rest = behind;
        }
        if let Err(error) = write_all_at(&*current.file, batch.bytes(), current.len) {
            unplace_records(&self.core, batch);
            self.abandon();
            return Err(error);
        }
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
        state.undispatched += batch.records() as u64;
        note_alive(state, batch);
        let next = state.buffer();
        let bytes = batch.take(next);
        state.tail.push_back(Block { first, end, bytes });
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
}

fn place_records<D: Disk>(core: &Core<D>, batch: &mut Batch, first: u64) {
    let mut state = core.state.lock();
    let mut rest = &mut batch.buffer()[..];
    let mut position = first;
    while !rest.is_empty() {
        let header = RecordHeader::read_unsealed(rest);
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

fn note_alive<F>(state: &mut State<F>, batch: &Batch) {
    for (header, record) in records_in(batch.bytes()) {
        if header.kind == Kind::Liveness {
            let payload = &record[RECORD_HEADER_LEN..][..header.payload_len as usize];
            for entry in LivenessEntry::read_all(payload) {
                if state.accounts.len() < SPOOL_ACCOUNTS_MAX || state.accounts.contains_key(&entry.account) {
                    let account = state.accounts.entry(entry.account).or_default();
                    account.alive_at = account.alive_at.max(Some(entry.alive_at));
                }
            }
        } else if header.kind != Kind::Recovered
            && let Some(account) = state.accounts.get_mut(&header.account)
        {
            // What was recovered says nothing of the stream.
            account.alive_at = account.alive_at.max(Some(header.received_at));
        }
    }
}
