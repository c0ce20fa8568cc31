//! The jobs of one push: written one behind the other into one kept buffer, at most [`PUSH_JOBS_MAX`], bounded by bytes and age.
//!
//! A batch that was pushed with a doubtful outcome is kept by its owner and pushed again as it is.

use std::time::Duration;

use super::intent_job::{IntentJob, IntentJobWriter};
use super::job::{BEFORE_UUID, BadRecord, JobRecord, JobWriter, UUID_LEN};
use super::watermark::Watermark;
use crate::domain::limits::{PUSH_AGE_MAX, PUSH_BYTES_MAX, PUSH_JOBS_MAX};
use crate::domain::{Mono, Wall};

/// One job of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchJob<'a> {
    /// The body.
    pub body: &'a [u8],
    /// Its uuid, as text.
    pub uuid: &'a [u8],
    /// Its record's place in the spool.
    pub position: u64,
    /// When its record arrived.
    pub received_at: Wall,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    end: usize,
    position: u64,
    received_at: Wall,
}

/// Jobs to push together, in order.
#[derive(Debug)]
pub struct JobBatch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    watermark: Option<Watermark>,
    oldest: Option<Mono>,
}

impl Default for JobBatch {
    fn default() -> Self {
        JobBatch::new()
    }
}

impl JobBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        JobBatch { bytes: Vec::new(), entries: Vec::with_capacity(PUSH_JOBS_MAX), watermark: None, oldest: None }
    }

    /// Writes the job of `record`, which was taken from the spool at `now`. A replay moves no watermark: the records behind it
    /// were pushed long ago.
    ///
    /// # Errors
    /// [`BadRecord`]; the batch is as it was.
    ///
    /// # Panics
    /// If the batch is full: the caller asks [`JobBatch::is_full`] first.
    pub fn add(
        &mut self,
        writer: &mut JobWriter,
        record: &JobRecord<'_>,
        replay: Option<u64>,
        now: Mono,
    ) -> Result<(), BadRecord> {
        assert!(!self.is_full(), "a full batch takes no further job");
        writer.write_job(record, replay, &mut self.bytes)?;
        self.entries.push(Entry { end: self.bytes.len(), position: record.position, received_at: record.received_at });
        if replay.is_none() {
            self.watermark = Some(Watermark { epoch: record.epoch, position: record.position });
        }
        self.oldest.get_or_insert(now);
        Ok(())
    }

    /// Takes a body that was written elsewhere, as it is; it moves no watermark. It should begin with its uuid, as ours do, where
    /// Horizon's records are wanted.
    ///
    /// # Panics
    /// If the batch is full: the caller asks [`JobBatch::is_full`] first.
    pub fn add_body(&mut self, body: &[u8], position: u64, received_at: Wall, now: Mono) {
        assert!(!self.is_full(), "a full batch takes no further job");
        self.bytes.extend_from_slice(body);
        self.entries.push(Entry { end: self.bytes.len(), position, received_at });
        self.oldest.get_or_insert(now);
    }

    /// Writes the job of an intent, which moves no watermark: its row in the database says whether it was pushed.
    ///
    /// # Panics
    /// If the batch is full: the caller asks [`JobBatch::is_full`] first.
    pub fn add_intent(&mut self, writer: &mut IntentJobWriter, intent: &IntentJob<'_>, now: Mono) {
        assert!(!self.is_full(), "a full batch takes no further job");
        writer.write_job(intent, &mut self.bytes);
        let (position, received_at) = (intent.id.unsigned_abs(), intent.decided_at);
        self.entries.push(Entry { end: self.bytes.len(), position, received_at });
        self.oldest.get_or_insert(now);
    }

    /// Whether it takes no further job.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= PUSH_JOBS_MAX || self.bytes.len() >= PUSH_BYTES_MAX
    }

    /// Whether it should go now: full, or its oldest job has waited for [`PUSH_AGE_MAX`].
    #[must_use]
    pub fn is_due(&self, now: Mono) -> bool {
        self.is_full() || self.age(now).is_some_and(|age| age >= PUSH_AGE_MAX)
    }

    /// When [`JobBatch::is_due`] becomes true by itself; none while it is empty.
    #[must_use]
    pub fn due_at(&self) -> Option<Mono> {
        self.oldest.map(|oldest| oldest.plus(PUSH_AGE_MAX))
    }

    /// How long its oldest job has waited.
    #[must_use]
    pub fn age(&self, now: Mono) -> Option<Duration> {
        self.oldest.map(|oldest| now.since(oldest))
    }

    /// Jobs in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all bodies.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The last record in it that is no replay.
    #[must_use]
    pub fn watermark(&self) -> Option<Watermark> {
        self.watermark
    }

    /// The jobs, in order.
    pub fn jobs(&self) -> impl ExactSizeIterator<Item = BatchJob<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let body = &self.bytes[start..entry.end];
            start = entry.end;
            BatchJob {
                body,
                uuid: body.get(BEFORE_UUID.len()..BEFORE_UUID.len() + UUID_LEN).unwrap_or_default(),
                position: entry.position,
                received_at: entry.received_at,
            }
        })
    }

    /// Empties it, and gives back what a huge job took.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(2 * PUSH_BYTES_MAX);
        self.entries.clear();
        self.watermark = None;
        self.oldest = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limits::JOB_RAW_MAX;
    use crate::queue::job::{JobShape, Laravel};
    use crate::queue::job_class::JobClass;

    fn writer() -> JobWriter {
        let job_class = JobClass::parse("App\\Jobs\\Store").unwrap();
        JobWriter::new(JobShape { job_class, laravel: Laravel::V12, horizon: false })
    }

    fn record(position: u64, raw: &[u8]) -> JobRecord<'_> {
        JobRecord {
            account: 7,
            api_system: 1,
            canonical: "binance",
            epoch: [9; 16],
            position,
            previous: None,
            received_at: Wall::from_millis(1_795_420_185_800),
            kind: "frame",
            raw,
        }
    }

    #[test]
    fn a_batch_is_bounded_by_count_bytes_and_age() {
        let (mut writer, mut batch) = (writer(), JobBatch::new());
        assert_eq!(batch.due_at(), None);
        for position in 0..PUSH_JOBS_MAX as u64 {
            assert!(!batch.is_full());
            batch.add(&mut writer, &record(position, b"{}"), None, Mono::from_nanos(5)).unwrap();
        }
        assert!(batch.is_full() && batch.is_due(Mono::ZERO));
        assert_eq!(batch.watermark(), Some(Watermark { epoch: [9; 16], position: 63 }));
        batch.clear();
        let large = vec![b'['; JOB_RAW_MAX];
        batch.add(&mut writer, &record(1, &large), None, Mono::ZERO).unwrap();
        assert!(batch.is_full() && batch.len() == 1);
        let too_large = vec![b'['; JOB_RAW_MAX + 1];
        batch.clear();
        assert!(batch.bytes.capacity() <= 2 * PUSH_BYTES_MAX);
        let refused = batch.add(&mut writer, &record(1, &too_large), None, Mono::ZERO);
        assert_eq!(refused, Err(BadRecord::TooLong));
        let foreign = JobRecord { account: u64::MAX, ..record(1, b"{}") };
        assert_eq!(batch.add(&mut writer, &foreign, None, Mono::ZERO), Err(BadRecord::AccountBeyondPhp));
        assert!(batch.is_empty() && batch.byte_len() == 0);
        batch.add(&mut writer, &record(3, b"{}"), None, Mono::from_nanos(7)).unwrap();
        assert_eq!(batch.due_at(), Some(Mono::from_nanos(7).plus(PUSH_AGE_MAX)));
        assert!(!batch.is_due(Mono::from_nanos(8)) && batch.is_due(Mono::from_nanos(7).plus(PUSH_AGE_MAX)));
    }

    #[test]
    fn a_replay_is_a_new_job_and_moves_no_watermark() {
        let (mut writer, mut batch) = (writer(), JobBatch::new());
        batch.add(&mut writer, &record(3, b"{}"), None, Mono::ZERO).unwrap();
        batch.add(&mut writer, &record(3, b"{}"), None, Mono::ZERO).unwrap();
        batch.add(&mut writer, &record(2, b"{}"), Some(1), Mono::ZERO).unwrap();
        batch.add(&mut writer, &record(2, b"{}"), Some(2), Mono::ZERO).unwrap();
        assert_eq!(batch.watermark().map(|mark| mark.position), Some(3));
        let jobs: Vec<_> = batch.jobs().collect();
        assert_eq!(jobs[0].body, jobs[1].body);
        assert_ne!(jobs[2].uuid, jobs[3].uuid);
        assert!(jobs.iter().all(|job| job.uuid[14] == b'4' && b"89ab".contains(&job.uuid[19])));
    }
}
