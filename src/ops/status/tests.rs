//! The file is whole at every moment, and says what is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn healthy() -> Status {
    let mut status = Status::new("prices", Wall::from_millis(1_795_419_000_000), Duration::from_secs(2));
    status.stream.state = StreamState::Live;
    status.writer.state = WriterState::Writing;
    status.touch(Wall::from_millis(1_795_419_015_123));
    status
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("status.json");
    let mut status = healthy();
    status.replace(&path).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (path, stop) = (path.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let (mut reads, mut newest) = (0u64, 0);
            while !stop.load(Ordering::Relaxed) || reads == 0 {
                let seen = Status::read(&path).expect("whole at every moment");
                assert!(seen.stream.frames >= newest, "an older file came back");
                newest = seen.stream.frames;
                reads += 1;
            }
            reads
        })
    };
    for frames in 1..=500 {
        status.stream.frames = frames;
        // The size changes from write to write, so that a torn file would show.
        status.alarms = vec!["x".repeat(frames as usize * 37 % 5_000)];
        status.replace(&path).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
    assert_eq!(Status::read(&path).unwrap(), status);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["status.json"], "a temporary file stayed");
}

#[test]
fn a_failed_replacement_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("inside"), "").unwrap();
    assert!(healthy().replace(&path).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file stayed");
    assert!(healthy().replace(&folder.path().join("missing/status.json")).is_err());
    assert!(healthy().replace(Path::new("/")).is_err());
}

#[test]
fn what_is_not_a_status_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("status.json");
    for text in ["", "{", "[]", "{}", r#"{"role": 1}"#, r#"{"schema":1,"alarms":[]}"#] {
        fs::write(&path, text).unwrap();
        assert!(Status::read(&path).is_err(), "{text}");
    }
    // A member that this version does not know is no reason to refuse.
    fs::write(&path, r#"{"role":"prices","updated_at_ms":5,"newer":{}}"#).unwrap();
    assert_eq!(Status::read(&path).unwrap().role, "prices");
}

#[test]
fn complaints_name_what_is_wrong() {
    let mut status = healthy();
    assert_eq!(status.complaints(), Vec::<String>::new());
    status.alarms.push("clock is off".to_owned());
    status.stream.state = StreamState::Waiting;
    status.stream.last_fault =
        Some(LastFault { layer: "tls".to_owned(), text: "tls: bad certificate".to_owned(), at: String::new() });
    status.writer.state = WriterState::StoreAway;
    status.writer.last_error = Some("connection refused".to_owned());
    assert_eq!(
        status.complaints(),
        [
            "clock is off",
            "the stream waits for its next attempt; last fault: tls: bad certificate",
            "the writer waits for the database; last error: connection refused"
        ]
    );
}

#[test]
fn age_and_staleness() {
    let status = healthy();
    for (after_ms, stale) in [(-3_600_000, false), (0, false), (6_000, false), (6_001, true)] {
        let now = Wall::from_millis(status.updated_at_ms + after_ms);
        assert_eq!(status.is_stale(now), stale, "{after_ms}");
    }
    assert_eq!(status.updated_at, "2026-11-23T07:30:15.123Z");
}

#[test]
fn a_summary_is_one_line() {
    let mut status = healthy();
    status.rss_bytes = 21_500_000;
    status.stream.prices_per_s = 949.6;
    status.writer.rows_per_s = 3_800.0;
    status.writer.rows_written = 12;
    status.writer.commits = 3;
    assert_eq!(
        summary_line(&status),
        "stream live, 950 prices/s; writer writing, 3800 rows/s, 12 rows in 3 commits; no commit yet; faults none; \
         alarms 0; memory 21.5 MB"
    );
    status.writer.tick_to_commit_us = Some(LatencyUs { p50: 31_040, p99: 60_000, max: 1_000_000 });
    status.faults.insert("tls".to_owned(), 2);
    status.faults.insert("silence".to_owned(), 1);
    let line = summary_line(&status);
    assert!(line.contains("p50 31.0 ms p99 60.0 ms max 1000.0 ms; faults silence 1 tls 2;"), "{line}");
    assert!(!line.contains('\n'));
}

#[test]
fn rates_and_memory() {
    let mut meter = RateMeter::default();
    let second = |n: u64| Mono::from_nanos(n * 1_000_000_000);
    for (total, at, rate) in [(100, 1, 0.0), (300, 2, 200.0), (300, 4, 0.0), (200, 5, 0.0), (300, 5, 0.0)] {
        assert_eq!(meter.rate(total, second(at)), rate, "{total} at {at}");
    }
    let rss = rss_bytes().expect("/proc is there");
    assert!((1 << 20..1 << 40).contains(&rss), "{rss}");
}
