//! A batch: records laid out as they will lie on the disk, in a buffer that goes from the loop that fills it, through the
//! one `write(2)`, into the spool's memory of its tail, and back.
//!
//! Data plane: filling a recycled batch allocates nothing.

use std::sync::Arc;

use super::format::{AccountId, ExchangeId, Kind, RECORD_HEADER_LEN, RecordHeader, body_crc};
use super::intake;
use crate::domain::Wall;
use crate::domain::limits::{
    SPOOL_BATCH_BYTES, SPOOL_BATCH_RECORDS_MAX, SPOOL_BUFFER_KEPT_MAX, SPOOL_PAYLOAD_MAX, SPOOL_SUFFIX_MAX,
};

/// What a record says beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it holds.
    pub kind: Kind,
    /// Whose it is.
    pub account: AccountId,
    /// From which exchange.
    pub exchange: ExchangeId,
    /// When it arrived.
    pub received_at: Wall,
}

/// Records on their way into the spool.
#[derive(Debug)]
pub struct Batch {
    bytes: Arc<Vec<u8>>,
    records: usize,
    marks: usize,
}

/// Why a batch did not take a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// The batch is full: append it first.
    Full,
    /// No batch takes a payload of this many bytes.
    TooLarge(usize),
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch with a buffer of its own.
    #[must_use]
    pub fn new() -> Self {
        Batch::from_buffer(Arc::new(Vec::with_capacity(SPOOL_BATCH_BYTES)))
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`BatchError`]; the batch is then as before.
    pub fn push(&mut self, entry: Entry, payload: &[u8], suffix: &[u8]) -> Result<(), BatchError> {
        self.push_with(entry, payload, suffix, |_| {})
    }

    /// Adds a private frame as the issue of record wants it: the event's bytes without the wrapper of a combined stream,
    /// the event suffix of the stream's name, listen keys masked. `frame` itself is not changed.
    ///
    /// # Errors
    /// [`BatchError`]; the batch is then as before.
    pub fn push_frame(
        &mut self,
        account: AccountId,
        exchange: ExchangeId,
        received_at: Wall,
        frame: &[u8],
        listen_key: &[u8],
    ) -> Result<(), BatchError> {
        let event = intake::read_event(frame);
        let suffix = &event.suffix[..event.suffix.len().min(SPOOL_SUFFIX_MAX)];
        let entry = Entry { kind: Kind::Frame, account, exchange, received_at };
        self.push_with(entry, event.bytes, suffix, |payload| intake::mask(payload, listen_key))
    }

    fn push_with(
        &mut self,
        entry: Entry,
        payload: &[u8],
        suffix: &[u8],
        change: impl FnOnce(&mut [u8]),
    ) -> Result<(), BatchError> {
        if payload.len() > SPOOL_PAYLOAD_MAX || suffix.len() > SPOOL_SUFFIX_MAX {
            return Err(BatchError::TooLarge(payload.len()));
        }
        let len = RECORD_HEADER_LEN + payload.len() + suffix.len();
        if self.records > 0 && (self.records == SPOOL_BATCH_RECORDS_MAX || self.bytes.len() + len > SPOOL_BATCH_BYTES) {
            return Err(BatchError::Full);
        }
        let buffer = self.buffer();
        let at = buffer.len();
        buffer.resize(at + RECORD_HEADER_LEN, 0);
        buffer.extend_from_slice(payload);
        change(&mut buffer[at + RECORD_HEADER_LEN..]);
        let crc = body_crc(&buffer[at + RECORD_HEADER_LEN..], suffix);
        buffer.extend_from_slice(suffix);
        let header = RecordHeader {
            payload_len: u32::try_from(payload.len()).expect("checked against SPOOL_PAYLOAD_MAX"),
            suffix_len: u8::try_from(suffix.len()).expect("checked against SPOOL_SUFFIX_MAX"),
            kind: entry.kind,
            position: 0,
            account: entry.account,
            previous: 0,
            received_at: entry.received_at,
            exchange: entry.exchange,
            body_crc: crc,
        };
        header.write_unsealed(&mut buffer[at..]);
        self.records += 1;
        self.marks += usize::from(entry.kind.is_mark());
        Ok(())
    }

    /// Records in it.
    #[must_use]
    pub const fn records(&self) -> usize {
        self.records
    }

    /// Bytes in it.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether it holds gap and liveness records only: such a batch is taken by a full spool too.
    #[must_use]
    pub const fn is_marks(&self) -> bool {
        self.records > 0 && self.marks == self.records
    }

    /// The payloads in it, in order.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().map(|(header, record)| &record[RECORD_HEADER_LEN..][..header.payload_len as usize])
    }

    /// The records' accounts, in order.
    pub fn accounts(&self) -> impl Iterator<Item = AccountId> {
        self.iter().map(|(header, _)| header.account)
    }

    /// Moves the records of `account` behind those in `other`, in order, whatever their number; returns how many. For the
    /// rare case that one account must wait while the others go on: the rest is copied.
    pub fn move_account(&mut self, account: AccountId, other: &mut Batch) -> usize {
        let before = other.records;
        let mut rest = Batch::new();
        for (header, record) in self.iter() {
            if header.account == account { other.push_record(record) } else { rest.push_record(record) }
        }
        if other.records > before {
            *self = rest;
        }
        other.records - before
    }

    /// Empties it; the buffer stays.
    pub fn clear(&mut self) {
        self.records = 0;
        self.marks = 0;
        let buffer = self.buffer();
        buffer.clear();
        if buffer.capacity() > SPOOL_BUFFER_KEPT_MAX {
            buffer.shrink_to(SPOOL_BATCH_BYTES);
        }
    }

    pub(super) fn from_buffer(mut bytes: Arc<Vec<u8>>) -> Self {
        if Arc::get_mut(&mut bytes).is_none() {
            bytes = Arc::new(Vec::with_capacity(SPOOL_BATCH_BYTES));
        }
        let mut batch = Batch { bytes, records: 0, marks: 0 };
        batch.clear();
        batch
    }

    /// The buffer, leaving an empty batch in `next`.
    pub(super) fn take(&mut self, next: Arc<Vec<u8>>) -> Arc<Vec<u8>> {
        std::mem::replace(self, Batch::from_buffer(next)).bytes
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        Arc::get_mut(&mut self.bytes).expect("a batch owns its buffer alone until it is appended")
    }

    /// Copies one laid-out record of another batch.
    pub(super) fn push_record(&mut self, record: &[u8]) {
        self.records += 1;
        self.marks += usize::from(RecordHeader::read_unsealed(record).kind.is_mark());
        self.buffer().extend_from_slice(record);
    }

    /// The laid-out records, with their fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RecordHeader, &[u8])> {
        records_in(&self.bytes)
    }
}

/// The records that lie in `bytes` one behind the other, built by this process.
pub(super) fn records_in(bytes: &[u8]) -> impl Iterator<Item = (RecordHeader, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let header = RecordHeader::read_unsealed(rest);
        let (record, behind) = rest.split_at(header.record_len());
        rest = behind;
        Some((header, record))
    })
}

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BatchError::Full => f.write_str("the batch is full: append it first"),
            BatchError::TooLarge(len) => {
                write!(f, "a payload of {len} bytes is more than a record holds ({SPOOL_PAYLOAD_MAX})")
            }
        }
    }
}

impl std::error::Error for BatchError {}
