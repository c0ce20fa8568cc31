//! Promise: what a real PHP serialized as a job, we read as PHP meant it: plain and promoted properties, of any visibility, other
//! properties beside them, and every payload that its `json_decode` can make.
//!
//! Needs the command `php` (8.1 or later; on Debian: `apt-get install php-cli`), or another in `PHP_BIN`; fails without.

#![cfg(feature = "servers")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kraite_streams::domain::Random;
use kraite_streams::queue::json::Document;
use kraite_streams::queue::{AnyJob, BadJob, JobReader, PhpJob, php};

#[path = "support/json_docs.rs"]
mod json_docs;

#[test]
fn every_fixture_comes_back() {
    let documents: Vec<_> = json_docs::fixtures().into_iter().map(|(_, bytes)| bytes).collect();
    assert!(check(&documents) >= 2 * 60);
}

#[test]
fn fuzzed_documents_come_back() {
    let mut random = Random::from_seed(5);
    let documents: Vec<_> = (0..4_000).map(|_| json_docs::document(&mut random)).collect();
    assert!(check(&documents) > 4_000);
}

#[test]
fn doubles_and_depth_come_back() {
    let mut random = Random::from_seed(6);
    let mut documents = vec![("[".repeat(511) + &"]".repeat(511)).into_bytes()];
    documents
        .push(br#"{"0":[],"1":{},"2":[{"0":1,"1":2}],"-1":null,"x":[1.0,-0.0,1e999,9223372036854775808]}"#.to_vec());
    for _ in 0..100 {
        let numbers: Vec<_> = (0..100)
            .map(|_| f64::from_bits(random.next_u64()))
            .filter(|number| number.is_finite())
            .map(|number| format!("{number:e}"))
            .collect();
        documents.push(format!("[{}]", numbers.join(",")).into_bytes());
    }
    assert_eq!(check(&documents), 2 * 102);
}

/// Runs every document through PHP's job, our reader, our serializer, and PHP's reader; how many jobs there were.
#[track_caller]
fn check(documents: &[Vec<u8>]) -> usize {
    let lines: String = documents.iter().map(|document| BASE64.encode(document) + "\n").collect();
    let jobs = run("make", &lines);
    let mut reader = JobReader::new();
    let mut document = Document::new();
    let mut held = String::new();
    let mut count = 0;
    for line in jobs.lines() {
        let (body, payload) = line.split_once(' ').unwrap();
        let (body, payload) = (BASE64.decode(body).unwrap(), BASE64.decode(payload).unwrap());
        assert_eq!(reader.read(&body), Err(BadJob::Foreign));
        let job = match reader.read_any(&body) {
            Ok(AnyJob::Php(job)) => job,
            other => panic!("{other:?}: {}", String::from_utf8_lossy(&body)),
        };
        let (class, attempts) = if count % 2 == 0 { ("PlainJob", 0) } else { ("PromotedJob", 1) };
        let expected = PhpJob {
            uuid: Some("b0e5a7a2-5a52-4b6f-9e0e-0d8f4f1f2a11"),
            attempts,
            class,
            account: 7,
            exchange: 1,
            canonical: "binance",
            raw: job.raw,
        };
        assert_eq!(job, expected);
        let root = document.read(job.raw).unwrap();
        let mut ours = Vec::new();
        php::write_document(&document, root, &mut ours);
        assert!(ours == payload, "{}", String::from_utf8_lossy(job.raw));
        held.push_str(&format!("{} {}\n", BASE64.encode(job.raw), BASE64.encode(&payload)));
        count += 1;
    }
    assert_eq!(run("hold", &held), format!("ok {count}\n"));
    count
}

/// PHP without its ini files, fed from a file so that no pipe can fill up on both sides.
fn run(what: &str, input: &str) -> String {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let binary = std::env::var_os("PHP_BIN").unwrap_or_else(|| "php".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/php_jobs.php");
    let output = Command::new(&binary)
        .args(["-n", "-d", "memory_limit=512M"])
        .arg(script)
        .arg(what)
        .stdin(Stdio::from(file))
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{} does not run ({error}): these tests need PHP (on Debian: apt-get install php-cli)",
                binary.display()
            )
        });
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}
