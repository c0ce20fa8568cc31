//! The job: one spooled record as the body that a Laravel worker, PHP or ours, takes from the queue
//! (facts/laravel_queue.md §1, §6).
//!
//! A body is a pure function of the record, the shape and the replay salt: uuid and id hash the record's identity, all times are
//! the record's own. So a push that is repeated after a doubtful answer repeats its bytes.
//!
//! Numbers of a body pass through Lua's cjson when a worker reserves it, which keeps 14 digits: what may be longer is text in
//! the member `kraite`. PHP's own part, `data.command`, is text as a whole. Data plane: the buffers are kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use super::digits::{write_hex, write_int, write_uint};
use super::job_class::JobClass;
use super::json::{Document, Value};
use super::json_text::{Escapes, write_escaped};
use super::php;
use crate::domain::Wall;
use crate::domain::limits::{JOB_RAW_MAX, JSON_TEXT_KEPT_MAX};

/// The version of the member `kraite`.
pub const KRAITE_VERSION: u64 = 1;
/// The length of a uuid's text.
pub const UUID_LEN: usize = 36;
/// What stands before the uuid at the head of every body.
pub(super) const BEFORE_UUID: &[u8] = br#"{"uuid":""#;

/// Whose payload fields are written. All readers of 12.x and 13.x take either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Laravel {
    /// The fields of 12.x.
    #[default]
    V12,
    /// 13.x writes `deleteWhenMissingModels` too.
    V13,
}

/// What the settings say about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobShape {
    /// The class that PHP makes of it.
    pub job_class: JobClass,
    /// Whose fields.
    pub laravel: Laravel,
    /// Horizon's fields and escapes. A worker runs without them; the dashboard's page of one job reads `tags` unguarded.
    pub horizon: bool,
}

/// One spooled record, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobRecord<'a> {
    /// `accounts.id`.
    pub account: u64,
    /// `api_systems.id`.
    pub api_system: u32,
    /// `api_systems.canonical`.
    pub canonical: &'a str,
    /// The epoch in which the record was first written.
    pub epoch: [u8; 16],
    /// Its place in the spool.
    pub position: u64,
    /// The account's record before it.
    pub previous: Option<u64>,
    /// When it arrived.
    pub received_at: Wall,
    /// The spool's word for what it is: `frame`, `gap`, `recovered`.
    pub kind: &'a str,
    /// The recorded bytes.
    pub raw: &'a [u8],
}

/// Why a record cannot become a job. Such a record is poison: it belongs into quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecord {
    /// The account's id is beyond PHP's integers.
    AccountBeyondPhp,
    /// More recorded bytes than [`JOB_RAW_MAX`].
    TooLong,
}

impl std::fmt::Display for BadRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BadRecord::AccountBeyondPhp => "the account's id is beyond PHP's integers",
            BadRecord::TooLong => "the record is longer than a job may be",
        })
    }
}

impl std::error::Error for BadRecord {}

/// Writes bodies of one shape.
#[derive(Debug)]
pub struct JobWriter {
    shape: JobShape,
    escapes: Escapes,
    /// From behind the uuid to the class's first property.
    head: Vec<u8>,
    document: Document,
    command: Vec<u8>,
    base64: Vec<u8>,
}

impl JobWriter {
    /// A writer with its constant parts made.
    #[must_use]
    pub fn new(shape: JobShape) -> Self {
        let escapes = if shape.horizon { Escapes::Horizon } else { Escapes::Plain };
        let mut head = Vec::new();
        write_head(&shape, escapes, &mut head);
        JobWriter { shape, escapes, head, document: Document::new(), command: Vec::new(), base64: Vec::new() }
    }

    /// What is written.
    #[must_use]
    pub fn shape(&self) -> &JobShape {
        &self.shape
    }

    /// Appends the body of `record` to `out`. `replay` makes it a new job: another salt, another uuid.
    ///
    /// # Errors
    /// [`BadRecord`]; `out` is as it was.
    pub fn write_job(
        &mut self,
        record: &JobRecord<'_>,
        replay: Option<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), BadRecord> {
        let account = i64::try_from(record.account).map_err(|_| BadRecord::AccountBeyondPhp)?;
        if record.raw.len() > JOB_RAW_MAX {
            return Err(BadRecord::TooLong);
        }
        self.base64.clear();
        self.serialize(account, record);

        let uuid = uuid_of(record.epoch, record.position, replay);
        out.extend_from_slice(BEFORE_UUID);
        out.extend_from_slice(&uuid);
        out.extend_from_slice(&self.head);
        let command = std::str::from_utf8(&self.command).expect("class, canonical and a document's text are UTF-8");
        write_escaped(command, self.escapes, out);
        out.extend_from_slice(br#"","batchId":null},"createdAt":"#);
        write_int(record.received_at.truncated_to_seconds().as_micros() / 1_000_000, out);
        out.extend_from_slice(br#","id":""#);
        out.extend_from_slice(&uuid);
        out.extend_from_slice(br#"","attempts":0,"delay":null"#);
        if self.shape.horizon {
            out.extend_from_slice(br#","type":"job","tags":[],"silenced":false,"pushedAt":""#);
            write_seconds(record.received_at, out);
            out.push(b'"');
        }
        self.write_kraite(record, out);
        out.push(b'}');

        self.command.shrink_to(JSON_TEXT_KEPT_MAX);
        self.base64.shrink_to(JSON_TEXT_KEPT_MAX);
        Ok(())
    }

    /// `data.command`: the object with its four properties.
    fn serialize(&mut self, account: i64, record: &JobRecord<'_>) {
        let command = &mut self.command;
        command.clear();
        php::open_object(self.shape.job_class.as_str(), 4, command);
        php::write_text(b"accountId", command);
        php::write_int(account, command);
        php::write_text(b"apiSystemId", command);
        php::write_int(i64::from(record.api_system), command);
        php::write_text(b"apiSystemCanonical", command);
        php::write_text(record.canonical.as_bytes(), command);
        php::write_text(b"payload", command);
        // The property's type is array, so a lone text or number cannot stand there either.
        let root = self.document.read(record.raw).ok();
        match root.filter(|&root| matches!(self.document.value(root), Value::List(_) | Value::Object(_))) {
            Some(root) => php::write_document(&self.document, root, command),
            None => {
                encode(record.raw, &mut self.base64);
                php::open_array(1, command);
                php::write_text(b"raw_base64", command);
                php::write_text(&self.base64, command);
                php::close(command);
            }
        }
        php::close(command);
    }

    fn write_kraite(&mut self, record: &JobRecord<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(br#","kraite":{"v":"#);
        write_uint(KRAITE_VERSION, out);
        out.extend_from_slice(br#","kind":""#);
        write_escaped(record.kind, self.escapes, out);
        out.extend_from_slice(br#"","account":""#);
        write_uint(record.account, out);
        out.extend_from_slice(br#"","exchange":"#);
        write_uint(u64::from(record.api_system), out);
        out.extend_from_slice(br#","epoch":""#);
        write_hex(&record.epoch, out);
        out.extend_from_slice(br#"","position":""#);
        write_uint(record.position, out);
        match record.previous {
            Some(previous) => {
                out.extend_from_slice(br#"","previous":""#);
                write_uint(previous, out);
                out.push(b'"');
            }
            None => out.extend_from_slice(br#"","previous":null"#),
        }
        out.extend_from_slice(br#","received_at_us":""#);
        write_int(record.received_at.as_micros(), out);
        match std::str::from_utf8(record.raw) {
            Ok(text) => {
                out.extend_from_slice(br#"","raw":""#);
                write_escaped(text, self.escapes, out);
            }
            Err(_) => {
                // Bytes that are no text are no document either: `serialize` encoded them.
                out.extend_from_slice(br#"","raw_base64":""#);
                write_escaped(std::str::from_utf8(&self.base64).expect("base64 is ASCII"), self.escapes, out);
            }
        }
        out.extend_from_slice(br#""}"#);
    }
}

/// From behind the uuid to the text of `data.command`.
pub(super) fn write_head(shape: &JobShape, escapes: Escapes, head: &mut Vec<u8>) {
    head.extend_from_slice(br#"","displayName":""#);
    write_escaped(shape.job_class.as_str(), escapes, head);
    head.extend_from_slice(
        br#"","job":"Illuminate\\Queue\\CallQueuedHandler@call","maxTries":null,"maxExceptions":null,"failOnTimeout":false,"backoff":null,"timeout":null,"retryUntil":null,"#,
    );
    if shape.laravel == Laravel::V13 {
        head.extend_from_slice(br#""deleteWhenMissingModels":false,"#);
    }
    head.extend_from_slice(br#""data":{"commandName":""#);
    write_escaped(shape.job_class.as_str(), escapes, head);
    head.extend_from_slice(br#"","command":""#);
}

/// The uuid of the job of the record at `position`, first written in `epoch`.
#[must_use]
pub fn job_uuid(epoch: [u8; 16], position: u64) -> String {
    uuid_of(epoch, position, None).iter().copied().map(char::from).collect()
}

/// The first half of SHA-256 over epoch, position and salt, with the bits of a version 4 UUID set.
fn uuid_of(epoch: [u8; 16], position: u64, replay: Option<u64>) -> [u8; UUID_LEN] {
    let mut hash = Sha256::new();
    hash.update(b"kraite-streams job 1\n");
    hash.update(epoch);
    hash.update(position.to_be_bytes());
    if let Some(salt) = replay {
        hash.update(b"replay");
        hash.update(salt.to_be_bytes());
    }
    uuid_text(&hash.finalize())
}

/// The first half of a hash as the text of a version 4 UUID.
pub(super) fn uuid_text(hash: &[u8]) -> [u8; UUID_LEN] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; UUID_LEN];
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// Seconds as PHP's `(string) microtime(true)` has them: four decimals, zeros at the end dropped.
pub(super) fn write_seconds(at: Wall, out: &mut Vec<u8>) {
    let tenths_of_ms = at.as_micros().max(0) / 100;
    write_int(tenths_of_ms / 10_000, out);
    let fraction = (tenths_of_ms % 10_000) as u16;
    if fraction > 0 {
        let digit = |divisor: u16| b'0' + (fraction / divisor % 10) as u8;
        let digits = [digit(1_000), digit(100), digit(10), digit(1)];
        let kept = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
        out.push(b'.');
        out.extend_from_slice(&digits[..kept]);
    }
}

fn encode(raw: &[u8], out: &mut Vec<u8>) {
    out.resize(raw.len().div_ceil(3) * 4, 0);
    let written = BASE64.encode_slice(raw, out).expect("four characters for each three bytes");
    debug_assert_eq!(written, out.len());
}
