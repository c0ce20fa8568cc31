//! A job read back: by our own worker, from Redis or from the in-process queue, and by the tests.
//!
//! Everything comes from the member `kraite`, so of our own jobs a worker never reads PHP's text; of an application's it does. A body that Laravel wrote anew (Lua's cjson on
//! reserve, `queue:retry`) reads the same: order, escapes and the spelling of numbers do not matter.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::digits::{read_hex16, read_uint};
use super::job::KRAITE_VERSION;
use super::json::{At, Document, JsonError, Value};
use super::php_read::{PhpError, PhpReader};
use crate::domain::Wall;
use crate::domain::limits::JSON_TEXT_KEPT_MAX;

/// A job, borrowed from its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobView<'a> {
    /// The job's own name; a replay has another.
    pub uuid: &'a str,
    /// How often it was reserved before.
    pub attempts: u64,
    /// `frame`, `gap`, `recovered`.
    pub kind: &'a str,
    /// `accounts.id`.
    pub account: u64,
    /// `api_systems.id`.
    pub exchange: u32,
    /// The epoch in which the record was first written.
    pub epoch: [u8; 16],
    /// Its place in the spool.
    pub position: u64,
    /// The account's record before it.
    pub previous: Option<u64>,
    /// When it arrived.
    pub received_at: Wall,
    /// The recorded bytes.
    pub raw: &'a [u8],
}

/// A job that an application pushed, borrowed from its reader. It was never spooled: it has no place in an account's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhpJob<'a> {
    /// The job's own name; Laravel runs a job without one too.
    pub uuid: Option<&'a str>,
    /// How often it was reserved before.
    pub attempts: u64,
    /// The object's class: any that has the four properties.
    pub class: &'a str,
    /// `accounts.id`.
    pub account: u64,
    /// `api_systems.id`.
    pub exchange: u32,
    /// `api_systems.canonical`.
    pub canonical: &'a str,
    /// The payload as JSON again, not byte for byte what was received (see [`super::php_read`]); where it is
    /// `["raw_base64" => …]`, as our own jobs have it for what is no JSON, the bytes of that.
    pub raw: &'a [u8],
}

/// A job, whoever pushed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyJob<'a> {
    /// Pushed by kraite-streams.
    Own(JobView<'a>),
    /// Pushed by an application.
    Php(PhpJob<'a>),
}

/// Why a body is not a job of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadJob {
    /// Not JSON.
    NotJson(JsonError),
    /// JSON, but no object.
    NotAnObject,
    /// No member `kraite`: somebody else's job.
    Foreign,
    /// Written by a later version.
    Version,
    /// The member is missing, or not of its type.
    Member(&'static str),
    /// An application's job, but none with an event of an account.
    Command(PhpError),
}

impl fmt::Display for BadJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadJob::NotJson(error) => write!(f, "the body is not JSON: {error}"),
            BadJob::NotAnObject => f.write_str("the body is not a JSON object"),
            BadJob::Foreign => f.write_str("the job was not pushed by kraite-streams"),
            BadJob::Version => f.write_str("the job was pushed by a later kraite-streams"),
            BadJob::Member(name) => write!(f, "the member {name} is missing or not of its type"),
            BadJob::Command(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BadJob {}

/// Reads bodies into memory that it keeps.
#[derive(Debug, Default)]
pub struct JobReader {
    document: Document,
    raw: Vec<u8>,
    php: PhpReader,
    payload: Vec<u8>,
    payload_document: Document,
}

impl JobReader {
    /// A reader without memory yet.
    #[must_use]
    pub fn new() -> Self {
        JobReader::default()
    }

    /// Reads a body of ours.
    ///
    /// # Errors
    /// [`BadJob`].
    pub fn read(&mut self, body: &[u8]) -> Result<JobView<'_>, BadJob> {
        let root = self.root(body)?;
        self.own(root)
    }

    /// Reads a body of ours, or of an application's job with the same four properties.
    ///
    /// # Errors
    /// [`BadJob`]: the job fails, since no later try reads it differently.
    pub fn read_any(&mut self, body: &[u8]) -> Result<AnyJob<'_>, BadJob> {
        let root = self.root(body)?;
        match self.document.member(root, b"kraite") {
            Some(_) => self.own(root).map(AnyJob::Own),
            None => self.php(root).map(AnyJob::Php),
        }
    }

    fn root(&mut self, body: &[u8]) -> Result<At, BadJob> {
        let root = self.document.read(body).map_err(BadJob::NotJson)?;
        match self.document.value(root) {
            Value::Object(_) => Ok(root),
            _ => Err(BadJob::NotAnObject),
        }
    }

    fn php(&mut self, root: At) -> Result<PhpJob<'_>, BadJob> {
        self.payload.shrink_to(JSON_TEXT_KEPT_MAX);
        let data = self.document.member(root, b"data").ok_or(BadJob::Foreign)?;
        let Some(Value::Text(command)) = self.value(data, b"command") else { return Err(BadJob::Foreign) };
        let read = self.php.read(self.document.text(command), &mut self.payload);
        let command = read.map_err(BadJob::Command)?;
        let encoded = {
            let document = &mut self.payload_document;
            // Nested deeper, or longer, than PHP's own JSON: no frame was that.
            let at = document.read(&self.payload).map_err(|_| BadJob::Member("payload"))?;
            match (document.value(at), document.member(at, b"raw_base64").map(|member| document.value(member))) {
                (Value::Object(1), Some(Value::Text(span))) => decode(document.text(span), &mut self.raw),
                _ => false,
            }
        };
        Ok(PhpJob {
            uuid: self.text(root, b"uuid"),
            attempts: self.attempts(root).ok_or(BadJob::Member("attempts"))?,
            class: command.class,
            account: u64::try_from(command.account).map_err(|_| BadJob::Member("accountId"))?,
            exchange: u32::try_from(command.api_system).map_err(|_| BadJob::Member("apiSystemId"))?,
            canonical: command.canonical,
            raw: if encoded { &self.raw } else { &self.payload },
        })
    }

    fn own(&mut self, root: At) -> Result<JobView<'_>, BadJob> {
        let kraite = self.document.member(root, b"kraite").ok_or(BadJob::Foreign)?;
        match self.value(kraite, b"v") {
            Some(Value::Int(version)) if version == KRAITE_VERSION.cast_signed() => {}
            Some(Value::Int(_)) => return Err(BadJob::Version),
            _ => return Err(BadJob::Member("kraite.v")),
        }
        let encoded = self.document.member(kraite, b"raw_base64").map(|at| self.document.value(at));
        if let Some(encoded) = encoded {
            let Value::Text(span) = encoded else { return Err(BadJob::Member("kraite.raw_base64")) };
            if !decode(self.document.text(span), &mut self.raw) {
                return Err(BadJob::Member("kraite.raw_base64"));
            }
        }
        let raw = if encoded.is_some() {
            &self.raw
        } else {
            self.text(kraite, b"raw").ok_or(BadJob::Member("kraite.raw"))?.as_bytes()
        };
        let uint = |name: &'static str, key: &[u8]| {
            self.text(kraite, key).and_then(|text| read_uint(text.as_bytes())).ok_or(BadJob::Member(name))
        };
        Ok(JobView {
            uuid: self.text(root, b"uuid").ok_or(BadJob::Member("uuid"))?,
            attempts: self.attempts(root).ok_or(BadJob::Member("attempts"))?,
            kind: self.text(kraite, b"kind").ok_or(BadJob::Member("kraite.kind"))?,
            account: uint("kraite.account", b"account")?,
            exchange: match self.value(kraite, b"exchange") {
                Some(Value::Int(id)) => u32::try_from(id).map_err(|_| BadJob::Member("kraite.exchange"))?,
                _ => return Err(BadJob::Member("kraite.exchange")),
            },
            epoch: self
                .text(kraite, b"epoch")
                .and_then(|text| read_hex16(text.as_bytes()))
                .ok_or(BadJob::Member("kraite.epoch"))?,
            position: uint("kraite.position", b"position")?,
            previous: match self.value(kraite, b"previous") {
                Some(Value::Null) => None,
                _ => Some(uint("kraite.previous", b"previous")?),
            },
            received_at: self
                .text(kraite, b"received_at_us")
                .and_then(|text| text.parse().ok())
                .map(Wall::from_micros)
                .ok_or(BadJob::Member("kraite.received_at_us"))?,
            raw,
        })
    }

    fn value(&self, object: At, key: &[u8]) -> Option<Value> {
        self.document.member(object, key).map(|at| self.document.value(at))
    }

    fn text(&self, object: At, key: &[u8]) -> Option<&str> {
        match self.value(object, key)? {
            // A document's text is UTF-8 throughout, so this never fails.
            Value::Text(span) => std::str::from_utf8(self.document.text(span)).ok(),
            _ => None,
        }
    }

    /// A number; Laravel takes a numeric string too.
    fn attempts(&self, root: At) -> Option<u64> {
        match self.value(root, b"attempts")? {
            Value::Int(attempts) => u64::try_from(attempts).ok(),
            Value::Text(span) => read_uint(self.document.text(span)),
            _ => None,
        }
    }
}

/// Whether `text` is base64, which is then decoded.
fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.resize(text.len().div_ceil(4) * 3, 0);
    match BASE64.decode_slice(text, out) {
        Ok(len) => {
            out.truncate(len);
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"attempts":2,"uuid":"u","kraite":{"raw":"{}","v":1,"kind":"frame","account":"7","exchange":1,"epoch":"000102030405060708090a0b0c0d0e0f","position":"18446744073709551615","previous":null,"received_at_us":"1795420185800150"}}"#;

    #[test]
    fn a_body_is_read() {
        let mut reader = JobReader::new();
        let view = reader.read(GOOD.as_bytes()).unwrap();
        let expected = JobView {
            uuid: "u",
            attempts: 2,
            kind: "frame",
            account: 7,
            exchange: 1,
            epoch: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            position: u64::MAX,
            previous: None,
            received_at: Wall::from_micros(1_795_420_185_800_150),
            raw: b"{}",
        };
        assert_eq!(view, expected);
        let encoded = GOOD.replace(r#""raw":"{}""#, r#""raw_base64":"\/wA=""#).replace("null", r#""11""#);
        let view = reader.read(encoded.as_bytes()).unwrap();
        assert_eq!(view, JobView { raw: b"\xff\0", previous: Some(11), ..expected });
        let numeric = GOOD.replace(r#""attempts":2"#, r#""attempts":"2""#);
        assert_eq!(reader.read(numeric.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_job_of_ours_is_refused() {
        for (from, to, error) in [
            (r#"{"attempts"#, r#"["attempts"#, None),
            (GOOD, "[]", Some(BadJob::NotAnObject)),
            ("kraite", "other", Some(BadJob::Foreign)),
            (r#""v":1"#, r#""v":2"#, Some(BadJob::Version)),
            (r#""v":1"#, r#""v":"1""#, Some(BadJob::Member("kraite.v"))),
            (r#""attempts":2,"#, "", Some(BadJob::Member("attempts"))),
            (r#""attempts":2"#, r#""attempts":null"#, Some(BadJob::Member("attempts"))),
            (r#""attempts":2"#, r#""attempts":-1"#, Some(BadJob::Member("attempts"))),
            (r#""uuid":"u""#, r#""uuid":7"#, Some(BadJob::Member("uuid"))),
            (r#""account":"7""#, r#""account":7"#, Some(BadJob::Member("kraite.account"))),
            (r#""exchange":1"#, r#""exchange":4294967296"#, Some(BadJob::Member("kraite.exchange"))),
            ("0e0f", "0e0", Some(BadJob::Member("kraite.epoch"))),
            (r#""position":"1"#, r#""position":"91"#, Some(BadJob::Member("kraite.position"))),
            (r#""previous":null"#, r#""previous":1"#, Some(BadJob::Member("kraite.previous"))),
            (r#""previous":null,"#, "", Some(BadJob::Member("kraite.previous"))),
            (r#""received_at_us":"1"#, r#""received_at_us":"x"#, Some(BadJob::Member("kraite.received_at_us"))),
            (r#""raw":"{}""#, r#""raw":{}"#, Some(BadJob::Member("kraite.raw"))),
            (r#""raw":"{}""#, r#""raw_base64":"/""#, Some(BadJob::Member("kraite.raw_base64"))),
            (r#""raw":"{}""#, r#""raw_base64":[]"#, Some(BadJob::Member("kraite.raw_base64"))),
        ] {
            let body = GOOD.replace(from, to);
            assert_ne!(body, GOOD, "{from}");
            let found = JobReader::new().read(body.as_bytes()).unwrap_err();
            match error {
                Some(error) => assert_eq!(found, error, "{body}"),
                None => assert!(matches!(found, BadJob::NotJson(_)), "{body}"),
            }
        }
    }

    #[test]
    fn an_applications_job_is_read() {
        let body = |payload: &str| {
            let command = format!(
                r#"O:3:\"Job\":4:{{s:9:\"accountId\";i:7;s:11:\"apiSystemId\";i:1;s:18:\"apiSystemCanonical\";s:7:\"binance\";s:7:\"payload\";{payload}}}"#
            );
            format!(r#"{{"attempts":2,"uuid":"u","data":{{"commandName":"Job","command":"{command}"}}}}"#)
        };
        let mut reader = JobReader::new();
        let expected = PhpJob {
            uuid: Some("u"),
            attempts: 2,
            class: "Job",
            account: 7,
            exchange: 1,
            canonical: "binance",
            raw: br#"{"e":"x"}"#,
        };
        let text = body(r#"a:1:{s:1:\"e\";s:1:\"x\";}"#);
        assert_eq!(reader.read_any(text.as_bytes()), Ok(AnyJob::Php(expected)));
        assert_eq!(reader.read(text.as_bytes()), Err(BadJob::Foreign));
        let nameless = text.replace(r#""uuid":"u","#, "");
        let expected = PhpJob { uuid: None, ..expected };
        assert_eq!(reader.read_any(nameless.as_bytes()), Ok(AnyJob::Php(expected)));
        for (payload, raw) in [
            (r#"a:1:{s:10:\"raw_base64\";s:4:\"\/wA=\";}"#, &b"\xff\0"[..]),
            (r#"a:1:{s:10:\"raw_base64\";s:3:\"\/wA\";}"#, br#"{"raw_base64":"\/wA"}"#),
            (r#"a:2:{s:10:\"raw_base64\";s:4:\"\/wA=\";i:0;N;}"#, br#"{"raw_base64":"\/wA=","0":null}"#),
        ] {
            match reader.read_any(body(payload).as_bytes()) {
                Ok(AnyJob::Php(job)) => assert_eq!(job.raw, raw, "{payload}"),
                other => panic!("{payload}: {other:?}"),
            }
        }
        assert!(matches!(reader.read_any(GOOD.as_bytes()), Ok(AnyJob::Own(view)) if view.position == u64::MAX));
        for (from, to, error) in [
            (r#""attempts":2,"#, "", BadJob::Member("attempts")),
            ("i:7;", "i:-7;", BadJob::Member("accountId")),
            ("i:1;", "i:4294967296;", BadJob::Member("apiSystemId")),
            ("data", "date", BadJob::Foreign),
            (r#""command":""#, r#""command":[],"c":""#, BadJob::Foreign),
        ] {
            assert_eq!(reader.read_any(text.replace(from, to).as_bytes()), Err(error), "{from}");
        }
        let encrypted = text.replace("O:3", "eyJ");
        assert!(matches!(reader.read_any(encrypted.as_bytes()), Err(BadJob::Command(_))));
    }
}
