//! Promise: the demo passes its own checks with faults on and through SIGKILLs of its daemon, and fails the very check whose
//! guard was taken away.
#![cfg(feature = "sim")]

use std::process::Command;
use std::sync::Mutex;

const CHECKS: [&str; 12] = [
    "table_is_truth",
    "ratio_is_exact",
    "nothing_from_bad_entries",
    "coin_m_left_out",
    "stamps_are_receive_times",
    "every_frame_accounted",
    "faults_survived",
    "frames_are_audited",
    "gaps_repaired",
    "orders_are_truth",
    "intents_follow",
    "memory_is_flat",
];

/// Exit code and what `--json` printed.
fn demo(arguments: &[&str]) -> (i32, serde_json::Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kraite-streams"))
        .args(["demo", "--seed", "7", "--json", "--seconds"])
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("no JSON ({error}):\n{stderr}"));
    (output.status.code().expect("it ends by itself"), report, stderr)
}

#[test]
fn it_survives_its_own_faults() {
    let (code, report, stderr) = demo(&["12"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.starts_with("live page: http://127.0.0.1:"), "the page's address comes first:\n{stderr}");
    assert_eq!(report["ok"], true);
    for kind in ["cut", "stall", "garbage", "oversize", "bad_prices"] {
        assert!(report["faults"][kind].as_u64() > Some(0), "no {kind}: {}", report["faults"]);
    }
    for number in ["ticks", "rows_written", "frames", "gaps", "rss_bytes", "audit_rows", "orders_checked", "intents"] {
        assert!(report[number].as_u64() > Some(0), "{number}: {report}");
    }
    for percentile in ["p50", "p99", "max"] {
        for latency in ["tick_to_commit_us", "frame_to_job_us", "frame_to_audit_us", "event_to_audit_us"] {
            assert!(report[latency][percentile].as_u64() > Some(0), "{latency} {percentile}: {report}");
        }
    }
    // The first account's socket is deaf for seconds, and its orders go on: nobody hears of them, and all is there in the end.
    assert_eq!(report["account_faults"]["silence"], 1, "{report}");
    assert!(stderr.contains("        gap: account 1 heard nothing from "), "{stderr}");
    assert!(stderr.contains("        repaired: the gap of account 1 that began "), "{stderr}");
    assert_eq!(report["gaps_repaired"], report["gaps"], "{report}");
    for number in ["recovered_events", "fills", "orders_repaired"] {
        assert!(report[number].as_u64() > Some(0), "{number}: {report}");
    }
    let repair_ms = &report["break_to_repair_ms"];
    assert!(repair_ms["p50"].as_u64() > Some(0) && repair_ms["max"].as_u64() >= repair_ms["p50"].as_u64(), "{report}");
    assert_eq!(report["orders_in_gaps"], 0, "{report}");
    // A frame is sent before it is received, and audited behind its job.
    assert!(report["frame_to_audit_us"]["max"].as_u64() >= report["frame_to_job_us"]["p50"].as_u64(), "{report}");
    assert!(report["audit_rows"].as_u64() <= report["frames"].as_u64(), "doubles are no rows: {report}");
    assert!(stderr.contains("the owner's measure: 100 ms"), "{stderr}");
    let named: Vec<&str> = report["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(named, CHECKS);
}

#[test]
fn without_faults_nothing_breaks() {
    let (code, report, stderr) = demo(&["4", "--no-faults"]);
    assert_eq!(code, 0, "{stderr}");
    for faults in ["faults", "faults_named", "account_faults"] {
        assert_eq!(report[faults], serde_json::json!({}), "{faults}");
    }
    assert!(report["frames"].as_u64() > Some(30), "{report}");
    assert_eq!(
        (&report["gaps"], &report["gaps_repaired"]),
        (&3.into(), &3.into()),
        "one before each first frame: {report}"
    );
    assert_eq!((&report["recovered_events"], &report["orders_in_gaps"]), (&0.into(), &0.into()), "{report}");
}

#[test]
fn through_three_kills_the_ledgers_agree() {
    let (code, report, stderr) = demo(&["8", "--kill"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!((&report["ok"], &report["kills"]), (&true.into(), &3.into()), "{report}");
    // Of each life there are frames, and each kill tears a gap into each of three accounts.
    assert!(report["frames"].as_u64() > Some(500), "{report}");
    assert!(report["gaps"].as_u64() >= Some(9), "{report}");
    assert_eq!(report["gaps_repaired"], report["gaps"], "{report}");
    assert!(report["recovered_events"].as_u64() > Some(0), "{report}");
    assert!(report["audit_rows"].as_u64() > Some(500), "{report}");
    assert!(report["orders_checked"].as_u64() > Some(30), "{report}");
    assert!(report["intents"].as_u64() > Some(30), "{report}");
    let named: Vec<&str> = report["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    let promised = [
        "table_is_truth",
        "frames_are_spooled",
        "frames_are_audited",
        "gaps_repaired",
        "orders_are_truth",
        "intents_follow",
    ];
    assert_eq!(named, promised);
}

#[test]
fn each_sabotage_is_found_by_its_check() {
    // Two at a time: each is a whole exchange and a whole daemon.
    let left = Mutex::new(CHECKS.to_vec());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(check) = left.lock().unwrap().pop() else { return };
                    let (code, report, stderr) = demo(&["6", "--break", check]);
                    assert_eq!(code, 1, "--break {check} must fail:\n{stderr}");
                    let checks = report["checks"].as_array().unwrap();
                    let broken = checks.iter().find(|entry| entry["name"] == check).unwrap();
                    assert_eq!(broken["ok"], false, "--break {check} was not found by its own check:\n{stderr}");
                }
            });
        }
    });
}
