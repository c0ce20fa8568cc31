//! What a line looks like, that it cannot be forged, and that a rotated file is opened again.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::domain::{Now, Wall};
use crate::ops::settings::LogFormat;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Now {
        Now { wall: Wall::from_millis(1_795_419_015_123), ..Now::default() }
    }
}

fn settings(path: &Path, format: LogFormat, level: LogLevel) -> OpsSettings {
    let mut ops = crate::ops::Settings::default().ops;
    (ops.log_file, ops.log_format, ops.log_level) = (Some(path.to_owned()), format, level);
    ops
}

fn log(settings: &OpsSettings, act: impl FnOnce(&mut Logging)) {
    let (mut logging, subscriber) = Logging::build(settings, Arc::new(FixedClock)).unwrap();
    tracing::subscriber::with_default(subscriber, || act(&mut logging));
    assert!(logging.flush(Duration::from_secs(20)));
}

#[test]
fn a_text_line_cannot_be_forged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    log(&settings(&path, LogFormat::Text, LogLevel::Info), |_| {
        tracing::info!(target: "kraite_streams::prices::writer", rows = 3, host = "a b", "written");
        tracing::warn!(symbol = "我踏马来了USDT\n2026", reason = %"\u{1b}[31mred", "bad\r\nINFO forged \u{202e}");
        tracing::debug!("not shown");
    });
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "2026-11-23 07:30:15.123 INFO  prices::writer: written rows=3 host=\"a b\"\n\
         2026-11-23 07:30:15.123 WARN  ops::logging::tests: bad\\u{d}\\u{a}INFO forged \\u{202e} \
         symbol=我踏马来了USDT\\u{a}2026 reason=\\u{1b}[31mred\n"
    );
}

#[test]
fn a_json_line_is_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    log(&settings(&path, LogFormat::Json, LogLevel::Debug), |_| {
        tracing::debug!(rows = 3_u64, ratio = 0.5, ok = true, at = "forged", level = "forged", "line\n\"two\"");
    });
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value,
        serde_json::json!({"at": "2026-11-23T07:30:15.123Z", "level": "debug", "target": "ops::logging::tests",
            "message": "line\n\"two\"", "rows": 3, "ratio": 0.5, "ok": true})
    );
}

#[test]
fn a_reload_opens_the_file_again_and_takes_level_and_format() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
    let text = settings(&path, LogFormat::Text, LogLevel::Warn);
    log(&text, |logging| {
        tracing::info!("too quiet");
        tracing::warn!("one");
        assert!(logging.flush(Duration::from_secs(20)));
        fs::rename(&path, &rotated).unwrap();
        tracing::warn!("two");
        logging.reload(&settings(&path, LogFormat::Json, LogLevel::Info)).unwrap();
        tracing::info!("three");
        let error = logging.reload(&settings(&folder.path().join("no/log"), LogFormat::Text, LogLevel::Info));
        assert!(error.unwrap_err().to_string().contains("no/log"));
        tracing::info!("four");
    });
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let old = lines(&rotated);
    assert!(old.len() == 2 && old[0].ends_with(": one") && old[1].ends_with(": two"), "{old:?}");
    let new = lines(&path);
    assert!(new.len() == 2 && new[0].contains("\"three\"") && new[1].contains("\"four\""), "{new:?}");
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = settings(&folder.path().join("no/log"), LogFormat::Text, LogLevel::Info);
    assert!(Logging::build(&missing, Arc::new(FixedClock)).is_err());
}
