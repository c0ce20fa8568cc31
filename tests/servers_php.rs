//! Promise: a real PHP finds in every job what its own `json_decode` makes of the recorded bytes, in the class that
//! `print laravel-adapter` prints, and would have written the very same bytes itself.
//!
//! Needs the command `php` (8.1 or later; on Debian: `apt-get install php-cli`), or another in `PHP_BIN`; fails without.

#![cfg(feature = "servers")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kraite_streams::domain::{Random, Wall};
use kraite_streams::queue::{JobClass, JobRecord, JobShape, JobWriter, Laravel};
use serde_json::json;

#[path = "support/json_docs.rs"]
mod json_docs;

#[test]
fn every_fixture_is_read_back_by_php() {
    let documents: Vec<_> = json_docs::fixtures().into_iter().map(|(_, bytes)| bytes).collect();
    check(&documents);
}

#[test]
fn fuzzed_documents_are_read_back_by_php() {
    let mut random = Random::from_seed(3);
    let documents: Vec<_> = (0..6_000).map(|_| json_docs::document(&mut random)).collect();
    check(&documents);
}

#[test]
fn what_is_at_the_edge_of_phps_json_is_there_in_ours() {
    let nested =
        |depth: usize, open: &str, close: &str| [open.repeat(depth), close.repeat(depth)].concat().into_bytes();
    let mut documents = vec![
        nested(511, "[", "]"),
        nested(512, "[", "]"),
        [nested(511, "{\"a\":", "")[..].to_vec(), b"1".to_vec(), nested(511, "", "}")].concat(),
        [nested(512, "{\"a\":", "")[..].to_vec(), b"1".to_vec(), nested(512, "", "}")].concat(),
    ];
    for text in [
        "",
        " ",
        "null",
        "7",
        "\"text\"",
        "TRUE",
        "[TRUE]",
        "[nul]",
        "[1]\0",
        "[1]\u{b}",
        "\u{feff}[]",
        "[1.e5]",
        "[.5]",
        "[-]",
        "[00]",
        "[1,]",
        "{\"a\":1,}",
        "{'a':1}",
        "[1]x",
        "{\"\\u0000a\":1}",
        "{\"_empty_\":1,\"\":2}",
        "[\"\u{2028}\"]",
        "[-0e1]",
        "[1e-400]",
    ] {
        documents.push(text.as_bytes().to_vec());
    }
    for bytes in [
        &b"\xff"[..],
        b"[\"\xff\"]",
        b"[\"\xed\xa0\x80\"]",
        b"[\"\xc0\x80\"]",
        b"[\"\\ud800\"]",
        b"[\"\\udfff\\ud800\"]",
    ] {
        documents.push(bytes.to_vec());
    }
    for byte in 0..=255_u8 {
        documents.push(vec![b'[', b'"', byte, b'"', b']']);
        documents.push(vec![b'[', b'"', b'\\', byte, b'"', b']']);
        documents.push(vec![b'[', byte, b']']);
    }
    check(&documents);
}

#[test]
fn doubles_are_written_as_php_writes_them() {
    let mut random = Random::from_seed(4);
    let mut documents = Vec::new();
    for _ in 0..200 {
        let numbers: Vec<_> = (0..100)
            .map(|_| f64::from_bits(random.next_u64()))
            .filter(|number| number.is_finite())
            .map(|number| format!("{number:e}"))
            .collect();
        documents.push(format!("[{}]", numbers.join(",")).into_bytes());
        let short: Vec<_> =
            (0..100).map(|_| format!("{}e{}", random.below(100_000), random.below(40) as i64 - 20)).collect();
        documents.push(format!("[{}]", short.join(",")).into_bytes());
    }
    check(&documents);
}

#[test]
fn the_adapter_is_sound_php() {
    let output = run(&["-l".to_owned(), adapter().display().to_string()], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs every document through every shape and PHP.
#[track_caller]
fn check(documents: &[Vec<u8>]) {
    let mut lines = String::new();
    let mut count = 0;
    for (laravel, horizon) in [(Laravel::V12, false), (Laravel::V12, true), (Laravel::V13, false), (Laravel::V13, true)]
    {
        let job_class = JobClass::parse(r"App\Jobs\StoreUserDataEvent").unwrap();
        let mut writer = JobWriter::new(JobShape { job_class, laravel, horizon });
        for (at, raw) in documents.iter().enumerate() {
            let record = JobRecord {
                account: 7 + at as u64,
                api_system: 1,
                canonical: "binance",
                epoch: [at as u8; 16],
                position: 1 << 60 | at as u64,
                previous: (at > 0).then_some(u64::MAX),
                received_at: Wall::from_micros(1_795_420_185_000_000 + 12_345 * at as i64),
                kind: "frame",
                raw,
            };
            let mut body = Vec::new();
            writer.write_job(&record, None, &mut body).unwrap();
            let line = json!({
                "raw": base64(raw), "body": base64(&body), "v13": laravel == Laravel::V13, "horizon": horizon,
                "account": record.account, "system": record.api_system, "canonical": record.canonical,
            });
            lines.push_str(&line.to_string());
            lines.push('\n');
            count += 1;
        }
    }
    let script = support("php_twin.php").display().to_string();
    let output = run(&[script, adapter().display().to_string()], &lines);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said == format!("ok {count}\n"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// PHP without its ini files, fed from a file so that no pipe can fill up on both sides.
fn run(arguments: &[String], input: &str) -> Output {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let php = std::env::var_os("PHP_BIN").unwrap_or_else(|| "php".into());
    Command::new(&php)
        .args(["-n", "-d", "memory_limit=512M"])
        .args(arguments)
        .stdin(Stdio::from(file))
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{} does not run ({error}): these tests need PHP (on Debian: apt-get install php-cli)",
                php.display()
            )
        })
}

fn adapter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/queue/laravel_adapter.php")
}

fn support(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
