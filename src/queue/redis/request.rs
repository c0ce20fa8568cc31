//! One push as the bytes that Redis reads (RESP 2 arrays of bulk strings), in one kept buffer.
//!
//! ```text
//! [Horizon: ZADD recent_jobs, ZADD pending_jobs, then HSET and EXPIREAT for each job]
//! MULTI · HGET watermark · RPUSH queue body… · RPUSH notify 1… · [HSET watermark] · [HSET vouched] · EXEC
//! ```
//!
//! Horizon's records go first: written after the push, a fast worker's `completed` would be overwritten by `pending`
//! (facts/laravel_queue.md §5).

use std::time::Duration;

use super::url::QueueKeys;
use crate::domain::Wall;
use crate::queue::batch::JobBatch;
use crate::queue::digits::{write_hex, write_int, write_uint};
use crate::queue::job::write_seconds;
use crate::queue::sink::Watermark;

/// Horizon's records of pending jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HorizonRecords {
    /// `horizon.prefix`; it takes the place of the database's prefix.
    pub prefix: String,
    /// `horizon.trim.pending`.
    pub keep_pending: Duration,
    /// The queue's name as workers know it.
    pub queue: String,
    /// The job's class: Horizon's `name`.
    pub job_class: String,
}

/// How many answers belong to a request, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answers {
    /// To Horizon's records.
    pub horizon: usize,
    /// To what stands between MULTI and EXEC.
    pub queued: usize,
    /// Whether the watermark's HSET is among them.
    pub has_watermark: bool,
}

/// The field in which a producer vouches for what was pushed before.
pub(super) fn vouched_field(producer: &str) -> String {
    format!("{producer}#vouched")
}

/// Writes the push of `batch` into `out`.
pub(super) fn write_push(
    keys: &QueueKeys,
    producer: &str,
    vouches: bool,
    horizon: Option<&HorizonRecords>,
    batch: &JobBatch,
    out: &mut Vec<u8>,
) -> Answers {
    out.clear();
    let horizon = horizon.map_or(0, |records| write_horizon(records, batch, out));
    command(1, b"MULTI", out);
    command(3, b"HGET", out);
    argument(keys.watermarks.as_bytes(), out);
    argument(producer.as_bytes(), out);
    command(batch.len() + 2, b"RPUSH", out);
    argument(keys.queue.as_bytes(), out);
    for job in batch.jobs() {
        argument(job.body, out);
    }
    command(batch.len() + 2, b"RPUSH", out);
    argument(keys.notify.as_bytes(), out);
    for _ in 0..batch.len() {
        argument(b"1", out);
    }
    let watermark = batch.watermark();
    if let Some(watermark) = watermark {
        command(4, b"HSET", out);
        argument(keys.watermarks.as_bytes(), out);
        argument(producer.as_bytes(), out);
        out.extend_from_slice(b"$53\r\n");
        write_watermark(watermark, out);
        out.extend_from_slice(b"\r\n");
    }
    // A batch without a watermark is pushed beside the spool's order, and says nothing of it.
    let vouches = vouches && watermark.is_some();
    if vouches {
        command(4, b"HSET", out);
        argument(keys.watermarks.as_bytes(), out);
        argument(vouched_field(producer).as_bytes(), out);
        argument(b"1", out);
    }
    command(1, b"EXEC", out);
    let has_watermark = watermark.is_some();
    Answers { horizon, queued: 3 + usize::from(has_watermark) + usize::from(vouches), has_watermark }
}

/// The length of a watermark's text: 32 digits of the epoch, a colon, 20 of the position.
const WATERMARK_LEN: usize = 53;

/// `<epoch in hex>:<position, 20 digits>`: equal watermarks are equal texts.
pub(super) fn write_watermark(watermark: Watermark, out: &mut Vec<u8>) {
    write_hex(&watermark.epoch, out);
    out.push(b':');
    let mut digits = [b'0'; 20];
    let mut rest = watermark.position;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Reads what [`write_watermark`] wrote.
pub(super) fn read_watermark(text: &[u8]) -> Option<Watermark> {
    if text.len() != WATERMARK_LEN || text[32] != b':' || !text[33..].iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(Watermark {
        epoch: crate::queue::digits::read_hex16(&text[..32])?,
        position: std::str::from_utf8(&text[33..]).ok()?.parse().ok()?,
    })
}

fn write_horizon(records: &HorizonRecords, batch: &JobBatch, out: &mut Vec<u8>) -> usize {
    let mut scratch = Vec::with_capacity(64);
    for list in ["recent_jobs", "pending_jobs"] {
        command(2 + 2 * batch.len(), b"ZADD", out);
        key(&records.prefix, list.as_bytes(), out);
        for job in batch.jobs() {
            scratch.clear();
            scratch.push(b'-');
            write_seconds(job.received_at, &mut scratch);
            argument(&scratch, out);
            argument(job.uuid, out);
        }
    }
    for job in batch.jobs() {
        scratch.clear();
        write_seconds(job.received_at, &mut scratch);
        command(18, b"HSET", out);
        key(&records.prefix, job.uuid, out);
        for (name, value) in [
            ("id", job.uuid),
            ("connection", b"redis"),
            ("queue", records.queue.as_bytes()),
            ("name", records.job_class.as_bytes()),
            ("status", b"pending"),
            ("payload", job.body),
            ("created_at", &scratch),
            ("updated_at", &scratch),
        ] {
            argument(name.as_bytes(), out);
            argument(value, out);
        }
        command(3, b"EXPIREAT", out);
        key(&records.prefix, job.uuid, out);
        scratch.clear();
        write_int(expires_at(job.received_at, records.keep_pending), &mut scratch);
        argument(&scratch, out);
    }
    2 + 2 * batch.len()
}

/// Unix seconds. Counted from the record's time, so that the request is the same each time it is built.
fn expires_at(received_at: Wall, keep: Duration) -> i64 {
    let seconds = received_at.as_micros().div_euclid(1_000_000);
    seconds.saturating_add(i64::try_from(keep.as_secs()).unwrap_or(i64::MAX))
}

/// The head of a command of so many parts, its name among them.
fn command(parts: usize, name: &[u8], out: &mut Vec<u8>) {
    out.push(b'*');
    write_uint(parts as u64, out);
    out.extend_from_slice(b"\r\n");
    argument(name, out);
}

fn argument(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'$');
    write_uint(bytes.len() as u64, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn key(prefix: &str, rest: &[u8], out: &mut Vec<u8>) {
    out.push(b'$');
    write_uint((prefix.len() + rest.len()) as u64, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_come_back() {
        for position in [0, 1, 18_446_744_073_709_551_615] {
            let watermark = Watermark { epoch: [0xab; 16], position };
            let mut text = Vec::new();
            write_watermark(watermark, &mut text);
            assert_eq!(text.len(), WATERMARK_LEN);
            assert_eq!(read_watermark(&text), Some(watermark));
            assert_eq!(read_watermark(&text[1..]), None);
        }
        let overflow = [&[b'a'; 32][..], b":99999999999999999999"].concat();
        assert_eq!(read_watermark(&overflow), None);
    }
}
