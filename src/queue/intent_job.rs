//! The job that asks the application for a workflow: one row of `workflow_intents` as a body that a Laravel worker takes
//! (facts/laravel_queue.md §1, §6).
//!
//! A body is a pure function of the row and the shape, its uuid of the row's `dedupe`: what is pushed twice is the same bytes
//! twice. The application takes an intent once by its id, which the command carries as `intentId` and the body in the member
//! `kraite_intent`.

use sha2::{Digest as _, Sha256};

use super::digits::write_int;
use super::job::{BEFORE_UUID, JobShape, uuid_text, write_head, write_seconds};
use super::json::{Document, Value};
use super::json_text::{Escapes, write_escaped};
use super::php;
use crate::domain::Wall;

/// One row, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntentJob<'a> {
    /// `workflow_intents.id`.
    pub id: i64,
    /// The workflow.
    pub name: &'a str,
    /// `accounts.id`.
    pub account_id: i64,
    /// `positions.id`.
    pub position_id: i64,
    /// `orders.id`, where one order is the cause.
    pub order_id: Option<i64>,
    /// A JSON object.
    pub arguments: &'a str,
    /// No two intents have the same.
    pub dedupe: &'a str,
    /// When it was decided.
    pub decided_at: Wall,
}

/// Writes bodies of one shape.
#[derive(Debug)]
pub struct IntentJobWriter {
    escapes: Escapes,
    shape: JobShape,
    head: Vec<u8>,
    document: Document,
    command: Vec<u8>,
}

impl IntentJobWriter {
    /// A writer with its constant parts made.
    #[must_use]
    pub fn new(shape: JobShape) -> Self {
        let escapes = if shape.horizon { Escapes::Horizon } else { Escapes::Plain };
        let mut head = Vec::new();
        write_head(&shape, escapes, &mut head);
        IntentJobWriter { escapes, shape, head, document: Document::new(), command: Vec::new() }
    }

    /// What is written.
    #[must_use]
    pub fn shape(&self) -> &JobShape {
        &self.shape
    }

    /// Appends the body of `intent` to `out`. Arguments that are no JSON object or list arrive as an empty array.
    pub fn write_job(&mut self, intent: &IntentJob<'_>, out: &mut Vec<u8>) {
        self.serialize(intent);
        let mut hash = Sha256::new();
        hash.update(b"kraite-streams intent 1\n");
        hash.update(intent.dedupe.as_bytes());
        let uuid = uuid_text(&hash.finalize());
        out.extend_from_slice(BEFORE_UUID);
        out.extend_from_slice(&uuid);
        out.extend_from_slice(&self.head);
        let command = String::from_utf8_lossy(&self.command);
        write_escaped(&command, self.escapes, out);
        out.extend_from_slice(br#"","batchId":null},"createdAt":"#);
        write_int(intent.decided_at.truncated_to_seconds().as_micros() / 1_000_000, out);
        out.extend_from_slice(br#","id":""#);
        out.extend_from_slice(&uuid);
        out.extend_from_slice(br#"","attempts":0,"delay":null"#);
        if self.shape.horizon {
            out.extend_from_slice(br#","type":"job","tags":[],"silenced":false,"pushedAt":""#);
            write_seconds(intent.decided_at, out);
            out.push(b'"');
        }
        // Text, since a worker's reserve keeps 14 digits of a number.
        out.extend_from_slice(br#","kraite_intent":{"v":1,"id":""#);
        write_int(intent.id, out);
        out.extend_from_slice(br#"","name":""#);
        write_escaped(intent.name, self.escapes, out);
        out.extend_from_slice(br#"","dedupe":""#);
        write_escaped(intent.dedupe, self.escapes, out);
        out.extend_from_slice(br#""}}"#);
    }

    fn serialize(&mut self, intent: &IntentJob<'_>) {
        let command = &mut self.command;
        command.clear();
        php::open_object(self.shape.job_class.as_str(), 6, command);
        php::write_text(b"intentId", command);
        php::write_int(intent.id, command);
        php::write_text(b"workflow", command);
        php::write_text(intent.name.as_bytes(), command);
        php::write_text(b"accountId", command);
        php::write_int(intent.account_id, command);
        php::write_text(b"positionId", command);
        php::write_int(intent.position_id, command);
        php::write_text(b"orderId", command);
        match intent.order_id {
            Some(order_id) => php::write_int(order_id, command),
            None => command.extend_from_slice(b"N;"),
        }
        php::write_text(b"arguments", command);
        let root = self.document.read(intent.arguments.as_bytes()).ok();
        match root.filter(|&root| matches!(self.document.value(root), Value::List(_) | Value::Object(_))) {
            Some(root) => php::write_document(&self.document, root, command),
            None => {
                php::open_array(0, command);
                php::close(command);
            }
        }
        php::close(command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{JobClass, Laravel};

    fn body(intent: &IntentJob<'_>, horizon: bool) -> String {
        let job_class = JobClass::parse("App\\Jobs\\Take").unwrap();
        let mut out = Vec::new();
        IntentJobWriter::new(JobShape { job_class, laravel: Laravel::V12, horizon }).write_job(intent, &mut out);
        String::from_utf8(out).unwrap()
    }

    const INTENT: IntentJob<'static> = IntentJob {
        id: 12,
        name: "ClosePositionJob",
        account_id: 3,
        position_id: 44,
        order_id: None,
        arguments: r#"{"reason":"tp"}"#,
        dedupe: "abc:ClosePositionJob:44",
        decided_at: Wall::from_micros(1_795_420_185_800_150),
    };

    #[test]
    fn a_row_becomes_the_same_body_each_time() {
        let text = body(&INTENT, false);
        assert_eq!(text, body(&INTENT, false));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            json["data"]["command"],
            "O:13:\"App\\Jobs\\Take\":6:{s:8:\"intentId\";i:12;s:8:\"workflow\";s:16:\"ClosePositionJob\";\
             s:9:\"accountId\";i:3;s:10:\"positionId\";i:44;s:7:\"orderId\";N;s:9:\"arguments\";\
             a:1:{s:6:\"reason\";s:2:\"tp\";}}"
        );
        assert_eq!((json["attempts"].as_u64(), json["createdAt"].as_u64()), (Some(0), Some(1_795_420_185)));
        assert_eq!((json["uuid"].as_str(), json["kraite_intent"]["id"].as_str()), (json["id"].as_str(), Some("12")));
        let other = body(&IntentJob { dedupe: "abd", order_id: Some(7), arguments: "nonsense", ..INTENT }, true);
        let other: serde_json::Value = serde_json::from_str(&other).unwrap();
        assert_ne!(other["uuid"], json["uuid"]);
        assert!(other["data"]["command"].as_str().unwrap().ends_with("s:7:\"orderId\";i:7;s:9:\"arguments\";a:0:{}}"));
        assert_eq!(other["pushedAt"], "1795420185.8001");
    }
}
