//! A job in a lane: what the worker needs of a body, owned, and the body itself as it was popped.
//!
//! What cannot be read becomes a job too, of the lane of misfits, with the reason for which it fails at once.

use sha2::{Digest as _, Sha256};

use super::disorder::Place;
use crate::domain::Wall;
use crate::domain::limits::FAILED_UUID_LEN_MAX;
use crate::queue::json::{Document, Value};
use crate::queue::{AnyJob, JobReader, JobView, PhpJob, SourceJob};

/// Whose lane a job stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LaneKey {
    /// `accounts.id`.
    Account(i64),
    /// Bodies that are no job of ours.
    Unreadable,
}

/// A job in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneJob {
    /// The source's name for it.
    pub ticket: u64,
    /// How often it was reserved; 1 for the first time.
    pub attempt: u64,
    /// As it was popped: the payload of its row in `failed_jobs`.
    pub body: Vec<u8>,
    /// When the worker took it.
    pub reserved_at: Wall,
    /// Its uuid.
    pub uuid: String,
    /// What it says, or why that cannot be read.
    pub content: Result<JobContent, String>,
}

/// What a job says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobContent {
    /// `accounts.id`.
    pub account_id: i64,
    /// `api_systems.id`.
    pub api_system_id: i64,
    /// `api_systems.canonical`, where the job says it.
    pub canonical: Option<String>,
    /// `frame`, `gap`, `recovered`.
    pub kind: String,
    /// Its place in the spool; a job that an application pushed has none, and no order.
    pub place: Option<Place>,
    /// When it arrived; of a job that does not say it, when the worker took it.
    pub received_at: Wall,
    /// The recorded bytes.
    pub raw: Vec<u8>,
}

impl LaneJob {
    /// Reads what the source handed out.
    #[must_use]
    pub fn read(reader: &mut JobReader, job: SourceJob, reserved_at: Wall) -> LaneJob {
        let SourceJob { ticket, body, attempt } = job;
        let (uuid, content) = match reader.read_any(&body) {
            Ok(AnyJob::Own(view)) => (view.uuid.to_owned(), content_of(&view)),
            Ok(AnyJob::Php(job)) => (job.uuid.unwrap_or_default().to_owned(), content_of_php(&job, reserved_at)),
            Err(error) => (String::new(), Err(error.to_string())),
        };
        let uuid = if uuid.is_empty() || uuid.len() > FAILED_UUID_LEN_MAX { uuid_of(&body) } else { uuid };
        LaneJob { ticket, attempt, body, reserved_at, uuid, content }
    }

    /// Its lane.
    #[must_use]
    pub fn lane(&self) -> LaneKey {
        self.content.as_ref().map_or(LaneKey::Unreadable, |content| LaneKey::Account(content.account_id))
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.body.len() + self.content.as_ref().map_or(0, |content| content.raw.len())
    }
}

fn content_of(view: &JobView<'_>) -> Result<JobContent, String> {
    Ok(JobContent {
        account_id: id_of(view.account)?,
        api_system_id: i64::from(view.exchange),
        canonical: None,
        kind: view.kind.to_owned(),
        place: Some(Place { epoch: view.epoch, position: view.position, previous: view.previous }),
        received_at: view.received_at,
        raw: view.raw.to_vec(),
    })
}

fn content_of_php(job: &PhpJob<'_>, reserved_at: Wall) -> Result<JobContent, String> {
    Ok(JobContent {
        account_id: id_of(job.account)?,
        api_system_id: i64::from(job.exchange),
        canonical: Some(job.canonical.to_owned()),
        kind: "frame".to_owned(),
        place: None,
        received_at: reserved_at,
        raw: job.raw.to_vec(),
    })
}

fn id_of(account: u64) -> Result<i64, String> {
    i64::try_from(account).map_err(|_| "the account's id is beyond the database's".to_owned())
}

/// The body's own uuid where it can be read, else one that its bytes give, so that the same body has one row.
fn uuid_of(body: &[u8]) -> String {
    let mut document = Document::new();
    if let Ok(root) = document.read(body)
        && let Some(Value::Text(span)) = document.member(root, b"uuid").map(|at| document.value(at))
        && let Ok(text) = std::str::from_utf8(document.text(span))
        && (1..=FAILED_UUID_LEN_MAX).contains(&text.len())
        && !text.contains('\0')
    {
        return text.to_owned();
    }
    let hash = Sha256::digest(body);
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> LaneJob {
        let job = SourceJob { ticket: 3, body: body.as_bytes().to_vec(), attempt: 2 };
        LaneJob::read(&mut JobReader::new(), job, Wall::from_micros(9))
    }

    #[test]
    fn what_cannot_be_read_keeps_its_reason_and_a_uuid() {
        for (body, uuid, reason) in [
            (r#"{"uuid":"abc","attempts":0}"#, "abc", "not pushed by kraite-streams"),
            (r#"{"uuid":7,"attempts":0}"#, "", "not pushed by kraite-streams"),
            (r#"{"uuid":"","attempts":0}"#, "", "not pushed by kraite-streams"),
            ("nonsense", "", "not JSON"),
            (
                r#"{"uuid":"u","attempts":0,"kraite":{"v":1,"kind":"frame","account":"18446744073709551615","exchange":1,"epoch":"000102030405060708090a0b0c0d0e0f","position":"1","previous":null,"received_at_us":"1","raw":"{}"}}"#,
                "u",
                "beyond the database",
            ),
        ] {
            let job = read(body);
            assert_eq!(job.lane(), LaneKey::Unreadable, "{body}");
            let found = job.content.clone().unwrap_err();
            assert!(found.contains(reason), "{found}");
            match uuid {
                "" => assert_eq!((job.uuid.len(), job.uuid == read(body).uuid), (36, true), "{body}"),
                uuid => assert_eq!(job.uuid, uuid),
            }
        }
    }
}
