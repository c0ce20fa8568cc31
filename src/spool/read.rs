//! The reader: hands records to the dispatcher in order, from memory while it keeps up, from the files when it does not,
//! and takes acknowledgements. Owned by the dispatcher's thread.
//!
//! Data plane: reading into a recycled batch from memory allocates nothing.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::batch::records_in;
use super::disk::{Disk, read_up_to};
use super::format::{AccountId, Epoch, ExchangeId, Identity, Kind, RECORD_HEADER_LEN, RecordHeader, segment_name};
use super::quarantine;
use super::scan::{Scanner, Step};
use super::state::{Core, InFlight, SpoolStatus, State};
use crate::domain::Wall;
use crate::domain::limits::{SPOOL_BATCH_BYTES, SPOOL_BUFFER_KEPT_MAX};

/// Records copied out of the spool; recycled from read to read.
#[derive(Debug)]
pub struct ReadBatch {
    bytes: Vec<u8>,
    epoch: Epoch,
    records: usize,
    records_max: usize,
}

/// One record of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Which record this is, for ever.
    pub identity: Identity,
    /// What it holds.
    pub kind: Kind,
    /// Whose it is; 0 for the whole spool.
    pub account: AccountId,
    /// From which exchange.
    pub exchange: ExchangeId,
    /// The account's record before it; 0 for none.
    pub previous: u64,
    /// When it arrived.
    pub received_at: Wall,
    /// The event's bytes.
    pub payload: &'a [u8],
    /// The event suffix of the stream's name.
    pub suffix: &'a [u8],
}

/// Records that could not be read; their bytes, if there are any, are in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The segment.
    pub segment: u64,
    /// Where in its file.
    pub offset: u64,
    /// The positions that are gone.
    pub positions: std::ops::Range<u64>,
}

/// Why a position cannot be gone back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewindError {
    /// Its segment is deleted; this is the oldest position there is.
    Gone {
        /// The oldest position.
        oldest: u64,
    },
    /// It is not handed out yet.
    Ahead {
        /// The next position to be handed out.
        dispatched: u64,
    },
}

/// The reading end of a spool.
pub struct Reader<D: Disk> {
    core: Arc<Core<D>>,
    file: Option<OpenFile<D::File>>,
}

struct OpenFile<F> {
    id: u64,
    scanner: Scanner<F>,
    file: Arc<F>,
    /// The position behind the last record that it gave.
    next: u64,
}

impl<D: Disk> Reader<D> {
    pub(super) fn new(core: Arc<Core<D>>) -> Self {
        Reader { core, file: None }
    }

    /// Copies the next records into `out`, which is emptied first: none when there is nothing new, or when as many as
    /// allowed are handed out and not acknowledged. What could not be read is added to `skipped`.
    ///
    /// # Errors
    /// The disk's. Nothing is handed out then, and the next call tries again.
    pub fn read(&mut self, out: &mut ReadBatch, skipped: &mut Vec<Skipped>) -> io::Result<usize> {
        out.clear();
        loop {
            let (id, epoch, start, len, from, end) = {
                let mut guard = self.core.state.lock();
                let state = &mut *guard;
                let room = self.core.config.in_flight_max.saturating_sub(state.in_flight.len());
                let next = state.positions.dispatched;
                let end = state.readable_end(self.core.config.sync);
                let segment = state.segment_at(next).filter(|segment| next.max(segment.first) < end);
                let Some(segment) = segment else {
                    // Nothing is left up to here: records that could not be read are not waited for.
                    if end == state.positions.written {
                        state.undispatched = 0;
                    }
                    return Ok(0);
                };
                let from = next.max(segment.first);
                if room == 0 {
                    return Ok(0);
                }
                let epoch = segment.epoch;
                // Memory holds records of this life only, so one batch may take from several blocks.
                let in_memory = state.blocks_from(from).take_while(|block| block.end <= end);
                let mut behind = from;
                for (header, record) in in_memory.flat_map(|block| records_in(&block.bytes)) {
                    if out.is_full() || out.records == room {
                        break;
                    }
                    if header.position >= from {
                        out.push(record);
                        behind = header.position + 1;
                    }
                }
                if out.records > 0 {
                    out.epoch = epoch;
                    Self::hand_out(state, out, behind);
                    state.trim_tail(self.core.config.tail_bytes_max);
                    state.check(self.core.config.sync);
                    return Ok(out.records);
                }
                (segment.id, epoch, segment.start, segment.len, from, segment.end.min(end))
            };
            out.epoch = epoch;
            let behind = self.read_file(id, epoch, start, len, from..end, out, skipped)?;
            let mut guard = self.core.state.lock();
            let state = &mut *guard;
            Self::hand_out(state, out, behind);
            state.check(self.core.config.sync);
            if out.records > 0 {
                return Ok(out.records);
            }
        }
    }

    /// Every record before `position` is safe with the consumer.
    ///
    /// # Panics
    /// If `position` was not handed out: our own mistake.
    pub fn ack(&mut self, position: u64) {
        let mut guard = self.core.state.lock();
        let state = &mut *guard;
        assert!(
            position <= state.positions.dispatched,
            "ack({position}) of what was not handed out: {:?}",
            state.positions
        );
        state.settle_in_flight(position, self.core.config.account_bytes_max);
        state.positions.acked = state.positions.acked.max(position);
        if state.refill_until <= state.positions.acked {
            state.refill_until = 0;
        }
        state.check(self.core.config.sync);
    }

    /// Goes back to `position`, be it acknowledged or not: what follows is handed out again, with the same identities. Until the
    /// syncer has saved the cursor, whose position is then no more ahead of the acknowledged one, a crash forgets it.
    ///
    /// # Errors
    /// [`RewindError`]; nothing changed then.
    pub fn rewind(&mut self, position: u64) -> Result<(), RewindError> {
        let acked = {
            let mut guard = self.core.state.lock();
            let state = &mut *guard;
            let oldest = state.segments.front().map_or(state.positions.written, |segment| segment.first);
            if position < oldest {
                return Err(RewindError::Gone { oldest });
            }
            if position > state.positions.dispatched {
                return Err(RewindError::Ahead { dispatched: state.positions.dispatched });
            }
            let acked = state.positions.acked;
            // One that was not over goes on to where it was going.
            state.refill_until = state.refill_until.max(state.positions.dispatched);
            state.positions.dispatched = position;
            if position < acked {
                state.positions.acked = position;
            }
            // What was in flight stays counted as the accounts' own; it comes again.
            while state.in_flight.pop_back_if(|record| record.position >= position).is_some() {
                state.undispatched += 1;
            }
            state.check(self.core.config.sync);
            acked
        };
        if position < acked {
            self.count_again(position..acked);
        }
        Ok(())
    }

    /// Behind the last record that was handed out before a rewind; 0 where none is handed out a second time. The cursor keeps
    /// it, so that the next life knows where the stretch ends which this one did not finish.
    #[must_use]
    pub fn refill_until(&self) -> u64 {
        self.core.state.lock().refill_until
    }

    /// The oldest position that can be gone back to.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        let state = self.core.state.lock();
        state.segments.front().map_or(state.positions.written, |segment| segment.first)
    }

    /// Whether this record is, or was, in a segment that is still there. Positions grow through all epochs of a folder: every
    /// record of an account up to this one then has a smaller position, whatever its epoch.
    #[must_use]
    pub fn holds(&self, identity: Identity) -> bool {
        let state = self.core.state.lock();
        let segment = state.segment_at(identity.position);
        segment.is_some_and(|segment| segment.epoch == identity.epoch && segment.first <= identity.position)
    }

    /// Puts a record that its consumer cannot take into quarantine, durably; acknowledge it then like any other.
    ///
    /// # Errors
    /// The disk's, or the quarantine is full. The record must not be acknowledged then.
    pub fn quarantine(&self, record: &Record<'_>, reason: &str) -> io::Result<()> {
        let name = quarantine::poison_name(record);
        quarantine::save(&self.core.disk, &name, &quarantine::poison_head(record, reason), record.payload).map(|_| ())
    }

    /// Waits until something may be handed out, at most `longest`.
    pub fn wait(&self, longest: Duration) {
        let mut state = self.core.state.lock();
        if state.positions.dispatched >= state.readable_end(self.core.config.sync) {
            self.core.readable.wait_for(&mut state, longest);
        }
    }

    /// Counts and states.
    #[must_use]
    pub fn status(&self) -> SpoolStatus {
        self.core.status()
    }

    fn hand_out(state: &mut State<D::File>, out: &ReadBatch, behind: u64) {
        for record in out.iter() {
            let counts = if record.kind.is_mark() { 0 } else { record.len() as u64 };
            state.in_flight.push_back(InFlight {
                position: record.identity.position,
                account: record.account,
                bytes: counts,
            });
        }
        state.positions.dispatched = behind;
        state.undispatched = state.undispatched.saturating_sub(out.records as u64);
    }

    /// Reads `positions` from a file into `out`; the position behind what was read or is lost.
    #[expect(clippy::too_many_arguments, reason = "a segment's fields, copied out from under the lock")]
    fn read_file(
        &mut self,
        id: u64,
        epoch: Epoch,
        start: u64,
        len: u64,
        positions: std::ops::Range<u64>,
        out: &mut ReadBatch,
        skipped: &mut Vec<Skipped>,
    ) -> io::Result<u64> {
        // What lies before the stretch's own start was looked at, and reported, at the open.
        let usable = self
            .file
            .as_ref()
            .is_some_and(|open| open.id == id && open.next <= positions.start && open.scanner.at() >= start);
        if !usable {
            let file = Arc::new(self.core.disk.open(&segment_name(id))?);
            let scanner = Scanner::new(Arc::clone(&file), epoch, start);
            self.file = Some(OpenFile { id, scanner, file, next: 0 });
        }
        let Some(open) = &mut self.file else { return Ok(positions.start) };
        let room = self.core.config.in_flight_max;
        let mut next = positions.start;
        while next < positions.end && !out.is_full() && out.records < room {
            let at = open.scanner.at();
            let step = match open.scanner.step(len) {
                Ok(step) => step,
                Err(error) => {
                    self.file = None;
                    out.clear();
                    return Err(error);
                }
            };
            match step {
                Step::Record { header, .. } if header.position < next => {}
                Step::Record { header, .. } if header.position >= positions.end => {
                    // A newer file holds what follows; this one is done with.
                    self.file = None;
                    return Ok(positions.end);
                }
                Step::Record { header, .. } => {
                    out.push(open.scanner.record());
                    next = header.position + 1;
                    open.next = next;
                }
                Step::Damaged { at, end } => {
                    keep_damage(&self.core.disk, &*open.file, id, at, end)?;
                    skipped.push(Skipped { segment: id, offset: at, positions: next..next });
                }
                Step::End { .. } => {
                    skipped.push(Skipped { segment: id, offset: at, positions: next..positions.end });
                    self.file = None;
                    return Ok(positions.end);
                }
            }
            // Only what lies behind damage says how many records were in it.
            if let (Step::Record { header, .. }, Some(last)) = (step, skipped.last_mut())
                && last.segment == id
                && last.positions.is_empty()
            {
                last.positions.end = header.position.max(last.positions.start);
            }
        }
        Ok(next)
    }

    /// Adds what is no longer acknowledged to its accounts' shares, and to what is to be handed out. A stretch that cannot
    /// be read is not counted.
    fn count_again(&self, positions: std::ops::Range<u64>) {
        let mut counted: HashMap<AccountId, u64> = HashMap::new();
        let mut records = 0;
        let mut next = positions.start;
        while next < positions.end {
            let (id, epoch, start, len, end) = {
                let state = self.core.state.lock();
                let Some(segment) = state.segment_at(next) else { break };
                (segment.id, segment.epoch, segment.start, segment.len, segment.end.min(positions.end))
            };
            let Ok(file) = self.core.disk.open(&segment_name(id)) else { break };
            let mut scanner = Scanner::new(Arc::new(file), epoch, start);
            while let Ok(step) = scanner.step(len) {
                match step {
                    Step::Record { header, .. } if header.position >= end => break,
                    Step::Record { header, .. } if header.position >= next => {
                        records += 1;
                        if !header.kind.is_mark() {
                            *counted.entry(header.account).or_default() += header.record_len() as u64;
                        }
                    }
                    Step::Record { .. } | Step::Damaged { .. } => {}
                    Step::End { .. } => break,
                }
            }
            next = end.max(next + 1);
        }
        let mut state = self.core.state.lock();
        state.undispatched += records;
        for (account, bytes) in counted {
            if let Some(account) = state.accounts.get_mut(&account) {
                account.unacked += bytes;
            }
        }
    }
}

/// Copies a damaged stretch into quarantine.
pub(super) fn keep_damage<D: Disk>(disk: &D, file: &D::File, id: u64, at: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(end - at).map_err(io::Error::other)?];
    let len = read_up_to(file, &mut bytes, at)?;
    let head = format!("reason: bytes that are no record\nsegment: {id:016x}\noffset: {at}\nlength: {len}\n");
    quarantine::save(disk, &quarantine::corrupt_name(id, at), &head, &bytes[..len]).map(|_| ())
}

impl Default for ReadBatch {
    fn default() -> Self {
        Self::new(64)
    }
}

impl ReadBatch {
    /// An empty batch for at most so many records, and about 64 KiB of them.
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        ReadBatch {
            bytes: Vec::with_capacity(SPOOL_BATCH_BYTES),
            epoch: Epoch([0; 16]),
            records: 0,
            records_max: records_max.max(1),
        }
    }

    /// A place holder without memory, for a moment in which the batch itself is elsewhere.
    #[must_use]
    pub const fn empty() -> Self {
        ReadBatch { bytes: Vec::new(), epoch: Epoch([0; 16]), records: 0, records_max: 1 }
    }

    /// Records in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Its records in order of position.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        records_in(&self.bytes).map(|(header, record)| Record::from_parts(self.epoch, &header, record))
    }

    fn is_full(&self) -> bool {
        self.records == self.records_max || self.bytes.len() >= SPOOL_BATCH_BYTES
    }

    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.records += 1;
    }

    fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > SPOOL_BUFFER_KEPT_MAX {
            self.bytes.shrink_to(SPOOL_BATCH_BYTES);
        }
        self.records = 0;
    }
}

impl<'a> Record<'a> {
    pub(super) fn from_parts(epoch: Epoch, header: &RecordHeader, record: &'a [u8]) -> Self {
        let (payload, suffix) = record[RECORD_HEADER_LEN..].split_at(header.payload_len as usize);
        Record {
            identity: Identity { epoch, position: header.position },
            kind: header.kind,
            account: header.account,
            exchange: header.exchange,
            previous: header.previous,
            received_at: header.received_at,
            payload,
            suffix,
        }
    }

    /// Bytes that it takes in the spool.
    fn len(&self) -> usize {
        RECORD_HEADER_LEN + self.payload.len() + self.suffix.len()
    }
}

impl std::fmt::Display for RewindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RewindError::Gone { oldest } => {
                write!(f, "the spool no longer holds that position; its oldest is {oldest}")
            }
            RewindError::Ahead { dispatched } => {
                write!(f, "that position is not handed out yet; the next is {dispatched}")
            }
        }
    }
}

impl std::error::Error for RewindError {}
