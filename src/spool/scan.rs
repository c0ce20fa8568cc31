//! Walks the records of one file, verifies each, and finds the next whole one behind damage.
//!
//! One window of the file is in memory, 256 KiB as a rule and a record at most.

use std::io;
use std::sync::Arc;

use super::disk::{DiskFile, read_up_to};
use super::format::{Epoch, RECORD_HEADER_LEN, RECORD_LEN_MAX, RECORD_MARKER, RecordHeader, body_crc};

const WINDOW: usize = 256 << 10;

/// What the walk met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole record; its bytes are [`Scanner::record`] until the next step.
    Record { header: RecordHeader, at: u64 },
    /// Bytes that are no record, up to the next whole one.
    Damaged { at: u64, end: u64 },
    /// No whole record follows; so many bytes other than zeros at the end are none.
    End { at: u64, torn: u64 },
}

pub(super) struct Scanner<F> {
    file: Arc<F>,
    epoch: Epoch,
    window: Vec<u8>,
    /// Offset of the window's first byte.
    base: u64,
    at: u64,
    last_position: u64,
    record_len: usize,
}

impl<F: DiskFile> Scanner<F> {
    /// Begins at `at`, the offset of a record.
    pub fn new(file: Arc<F>, epoch: Epoch, at: u64) -> Self {
        Scanner { file, epoch, window: Vec::new(), base: at, at, last_position: 0, record_len: 0 }
    }

    /// The next step, looking no further than the offset `limit`.
    pub fn step(&mut self, limit: u64) -> io::Result<Step> {
        let at = self.at;
        if let Some(header) = self.whole_at(at, limit)? {
            self.record_len = header.record_len();
            self.at = at + self.record_len as u64;
            self.last_position = header.position;
            return Ok(Step::Record { header, at });
        }
        self.record_len = 0;
        match self.find_whole(at, limit)? {
            Some(end) => {
                self.at = end;
                Ok(Step::Damaged { at, end })
            }
            None => Ok(Step::End { at, torn: self.torn(at, limit)? }),
        }
    }

    /// Offset of the next step.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The record that the last step found, header and all.
    pub fn record(&self) -> &[u8] {
        let end = (self.at - self.base) as usize;
        &self.window[end - self.record_len..end]
    }

    fn whole_at(&mut self, at: u64, limit: u64) -> io::Result<Option<RecordHeader>> {
        let epoch = self.epoch;
        let head = self.look(at, RECORD_HEADER_LEN, limit)?;
        let Some(header) = RecordHeader::read(epoch, head) else { return Ok(None) };
        if header.position <= self.last_position {
            return Ok(None);
        }
        let len = header.record_len();
        let record = self.look(at, len, limit)?;
        if record.len() < len {
            return Ok(None);
        }
        let (payload, suffix) = record[RECORD_HEADER_LEN..].split_at(header.payload_len as usize);
        Ok((body_crc(payload, suffix) == header.body_crc).then_some(header))
    }

    /// The next whole record behind `at`.
    fn find_whole(&mut self, at: u64, limit: u64) -> io::Result<Option<u64>> {
        let mut from = at + 1;
        while from < limit {
            let window = self.look(from, WINDOW, limit)?;
            if window.len() < RECORD_HEADER_LEN {
                return Ok(None);
            }
            let len = window.len();
            match window.windows(RECORD_MARKER.len()).position(|four| four == RECORD_MARKER) {
                Some(found) => {
                    let candidate = from + found as u64;
                    if self.whole_at(candidate, limit)?.is_some() {
                        return Ok(Some(candidate));
                    }
                    from = candidate + 1;
                }
                // A marker may lie across the end of the window.
                None => from += (len - (RECORD_MARKER.len() - 1)) as u64,
            }
        }
        Ok(None)
    }

    fn torn(&mut self, at: u64, limit: u64) -> io::Result<u64> {
        let (mut from, mut torn) = (at, 0);
        loop {
            let window = self.look(from, WINDOW, limit)?;
            if window.is_empty() {
                return Ok(torn);
            }
            let len = window.len() as u64;
            if let Some(last) = window.iter().rposition(|&byte| byte != 0) {
                torn = from + last as u64 + 1 - at;
            }
            from += len;
        }
    }

    /// Up to `want` bytes at `at`: fewer only where `limit` or the file ends.
    fn look(&mut self, at: u64, want: usize, limit: u64) -> io::Result<&[u8]> {
        let want = want.min(usize::try_from(limit.saturating_sub(at)).unwrap_or(usize::MAX));
        let end = self.base + self.window.len() as u64;
        if at < self.base || at + want as u64 > end {
            let kept = if at >= self.base && at < end { (at - self.base) as usize } else { self.window.len() };
            self.window.drain(..kept);
            self.base = at;
            let have = self.window.len();
            let more = usize::try_from(limit.saturating_sub(at)).unwrap_or(usize::MAX);
            let target = want.max(WINDOW.min(more)).min(RECORD_LEN_MAX.max(WINDOW));
            if target > have {
                self.window.resize(target, 0);
                let read = read_up_to(&*self.file, &mut self.window[have..], at + have as u64);
                self.window.truncate(have + *read.as_ref().unwrap_or(&0));
                read?;
            }
        }
        let from = (at - self.base) as usize;
        Ok(&self.window[from..(from + want).min(self.window.len())])
    }
}
