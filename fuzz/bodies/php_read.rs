//! The reader of PHP's text: any bytes may stand in `data.command`, and what our own serializer writes comes back.

use kraite_streams::queue::json::{Document, Value};
use kraite_streams::queue::php_read::{Command, PhpReader};
use kraite_streams::queue::{JobReader, php};

/// The same bytes as a command, as a body, and as a document that becomes a job's payload.
pub fn php_read(input: &[u8]) {
    let mut reader = PhpReader::new();
    let mut payload = Vec::new();
    if reader.read(input, &mut payload).is_ok() {
        // Once read by way of JSON, repeated keys are folded and doubles are short: from there on nothing changes.
        let settled = come_back(&payload);
        assert_eq!(come_back(&settled), settled);
    }
    let _ = JobReader::new().read_any(input);
    let mut document = Document::new();
    if let Ok(root) = document.read(input)
        && matches!(document.value(root), Value::List(_) | Value::Object(_))
    {
        let text = serialized(&document, root);
        let json = read(&text);
        let root = document.read(&json).expect("a payload is JSON");
        assert_eq!(serialized(&document, root), text, "PHP has the same value");
    }
}

/// JSON, through PHP's text, to JSON.
fn come_back(json: &[u8]) -> Vec<u8> {
    let mut document = Document::new();
    let root = document.read(json).expect("a payload is JSON");
    read(&serialized(&document, root))
}

fn serialized(document: &Document, root: kraite_streams::queue::json::At) -> Vec<u8> {
    let mut text = Vec::new();
    php::write_document(document, root, &mut text);
    text
}

/// The payload of a job that has this text.
fn read(payload: &[u8]) -> Vec<u8> {
    let mut job = Vec::new();
    php::open_object("Job", 4, &mut job);
    php::write_text(b"payload", &mut job);
    job.extend_from_slice(payload);
    for (name, id) in [("accountId", 7), ("apiSystemId", 1)] {
        php::write_text(name.as_bytes(), &mut job);
        php::write_int(id, &mut job);
    }
    php::write_text(b"apiSystemCanonical", &mut job);
    php::write_text("币".as_bytes(), &mut job);
    php::close(&mut job);
    let mut json = Vec::new();
    let command = PhpReader::new().read(&job, &mut json).expect("our own serializer's text is read");
    assert_eq!(command, Command { class: "Job", account: 7, api_system: 1, canonical: "币" });
    json
}
