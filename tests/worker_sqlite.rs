//! Promise: a job is applied exactly once in effect, per account in order, whatever fails meanwhile; what fails for good holds
//! nobody else and is in `failed_jobs`. Kept by the worker on the queue in this process and an SQLite file.
#![cfg(feature = "embedded")]

#[path = "worker_sqlite/rig.rs"]
mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kraite_streams::store::ErrorClass;
use kraite_streams::store::StoreError;
use kraite_streams::user_data::apply::apply;
use kraite_streams::user_data::worker::{Apply, FAILED_JOB_REASON};
use rig::{Rig, config};

#[test]
fn each_frame_is_one_row_in_order_and_a_duplicate_is_none() {
    let mut rig = Rig::new(3);
    rig.start(config(), Arc::new(apply));
    for number in 0..90 {
        rig.push(number % 3, &format!(r#"{{"e":"X","n":{number}}}"#));
    }
    rig.wait_applied(90);
    rig.push_again(0..90);
    rig.wait_applied(180);
    let (status, lanes) = rig.worker().status();
    assert_eq!((status.duplicates, status.failed, status.disorder, lanes.held.len()), (90, 0, 0, 0));
    assert!(status.transactions < 180, "jobs of one account go together");
    assert!(status.receive_to_commit.count == 180 && status.reserve_to_commit.max_us > 0);
    rig.stop();
    for account in 0..3 {
        rig.assert_audit(account, (0..90).filter(|number| number % 3 == account));
    }
    assert_eq!(rig.count("orders") + rig.count("workflow_intents") + rig.count("failed_jobs"), 0);
    assert_eq!(rig.acked(), Some(180));
}

#[test]
fn a_failing_job_holds_its_lane_only_and_ends_in_failed_jobs() {
    let mut rig = Rig::new(2);
    // The database itself refuses one frame for good.
    rig.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON api_data_stream WHEN NEW.raw_payload LIKE '%\"n\":4}' \
         BEGIN SELECT RAISE(ABORT, 'this one never'); END",
    );
    let mut config = config();
    (config.tries, config.backoff) = (2, vec![Duration::from_secs(4)]);
    rig.start(config, Arc::new(apply));
    for number in 0..20 {
        rig.push(number % 2, &format!(r#"{{"e":"X","n":{number}}}"#));
    }
    rig.wait("the other lane", |rig| {
        rig.audit(1).len() == 10 && rig.worker().status().1.held.iter().any(|held| held.why.contains("this one never"))
    });
    let (_, lanes) = rig.worker().status();
    assert_eq!(rig.audit(0).len(), 2, "what stands behind the failing job waits");
    assert_eq!(lanes.held.len(), 1, "{lanes:?}");
    rig.wait("the held lane", |rig| rig.audit(0).len() == 9);
    rig.wait("all acknowledged", |rig| rig.acked() == Some(20));
    let (status, lanes) = rig.worker().status();
    assert_eq!((status.failed, status.attempts, lanes.held.len()), (1, 2, 0));
    rig.stop();
    rig.assert_audit(0, (0..20).step_by(2).filter(|&number| number != 4));
    let row: (String, String, String, String, i64) = rig.row(
        "SELECT connection, queue, exception, payload, (SELECT COUNT(*) FROM stream_gaps WHERE account_id = 1 \
         AND reason = 'job_failed' AND epoch IS NULL) FROM failed_jobs",
    );
    assert_eq!((row.0.as_str(), row.1.as_str(), row.4), ("redis", "user-data-stream", 1));
    assert!(row.2.contains("this one never") && row.3.contains(r#""attempts":0"#), "{row:?}");
    assert_eq!(FAILED_JOB_REASON, "job_failed");
    // The one after it is not taken for disorder.
    assert_eq!(status.disorder, 0);
}

#[test]
fn a_panic_costs_the_job_and_nobody_else() {
    let mut rig = Rig::new(2);
    let panicking: Apply = Arc::new(|tx, event, policy, now| {
        assert!(!event.raw.ends_with(b"\"n\":4}"), "boom");
        apply(tx, event, policy, now)
    });
    let mut config = config();
    (config.tries, config.backoff) = (2, vec![Duration::ZERO]);
    rig.start(config, panicking);
    for number in 0..20 {
        rig.push(number % 2, &format!(r#"{{"e":"X","n":{number}}}"#));
    }
    rig.wait("all acknowledged", |rig| rig.acked() == Some(20));
    let (status, _) = rig.worker().status();
    assert!(status.failed == 1 && status.panics >= 2, "{status:?}");
    assert!(!rig.worker().is_broken());
    rig.stop();
    rig.assert_audit(0, (0..20).step_by(2).filter(|&number| number != 4));
    rig.assert_audit(1, (0..20).skip(1).step_by(2));
    let (exception,): (String,) = rig.row("SELECT exception FROM failed_jobs");
    assert!(exception.contains("boom"), "{exception}");
}

#[test]
fn trouble_that_is_nobodys_fault_spends_no_attempt() {
    let mut rig = Rig::new(1);
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let busy: Apply = Arc::new(move |tx, event, policy, now| {
        if counted.fetch_add(1, Ordering::Relaxed) < 8 {
            let class = [ErrorClass::Transient, ErrorClass::Unreachable, ErrorClass::ReadOnly, ErrorClass::Held]
                [(counted.load(Ordering::Relaxed) % 4) as usize];
            return Err(StoreError::new(class, "not now"));
        }
        apply(tx, event, policy, now)
    });
    let mut config = config();
    config.tries = 1;
    rig.start(config, busy);
    for number in 0..5 {
        rig.push(0, &format!(r#"{{"n":{number}}}"#));
    }
    rig.wait_applied(5);
    let (status, _) = rig.worker().status();
    assert_eq!((status.retries, status.attempts, status.failed), (8, 0, 0));
    rig.stop();
    rig.assert_audit(0, 0..5);
}

#[test]
fn a_job_whose_row_cannot_be_written_is_never_lost() {
    let mut rig = Rig::new(1);
    rig.sql("ALTER TABLE failed_jobs RENAME TO failed_jobs_away");
    rig.start(config(), Arc::new(apply));
    rig.push_body(r#"{"uuid":"theirs","attempts":0,"job":"x"}"#);
    rig.push(0, r#"{"n":0}"#);
    rig.wait("the account's own job", |rig| rig.audit(0).len() == 1);
    rig.wait("the reason", |rig| {
        let (_, lanes) = rig.worker().status();
        lanes.held.first().is_some_and(|held| held.why.contains("failed_jobs"))
    });
    assert_eq!(rig.acked(), None, "the body is in neither place, so it is not acknowledged");
    rig.sql("ALTER TABLE failed_jobs_away RENAME TO failed_jobs");
    rig.wait("both", |rig| rig.acked() == Some(2));
    rig.stop();
    let row: (String, String) = rig.row("SELECT uuid, payload FROM failed_jobs");
    assert_eq!(row, ("theirs".to_owned(), r#"{"uuid":"theirs","attempts":0,"job":"x"}"#.to_owned()));
}

#[test]
fn a_job_waits_for_the_one_before_it_but_not_for_ever() {
    let mut rig = Rig::new(1);
    let mut config = config();
    config.disorder_wait = Duration::from_secs(20);
    rig.start(config.clone(), Arc::new(apply));
    rig.push(0, r#"{"n":0}"#);
    rig.wait_applied(1);
    let bodies: Vec<String> = (1..4).map(|number| rig.body(0, &format!(r#"{{"n":{number}}}"#))).collect();
    rig.push_body(&bodies[2]);
    rig.push_body(&bodies[1]);
    rig.wait("the wait", |rig| rig.worker().status().1.held.len() == 1);
    assert_eq!(rig.audit(0).len(), 1);
    rig.push_body(&bodies[0]);
    rig.wait_applied(4);
    assert_eq!(rig.worker().status().0.disorder, 0);
    rig.stop();
    rig.assert_audit(0, 0..4);

    config.disorder_wait = Duration::from_millis(100);
    rig.start(config, Arc::new(apply));
    let lost = rig.body(0, r#"{"n":4}"#);
    rig.push(0, r#"{"n":5}"#);
    rig.wait_applied(1);
    assert_eq!(rig.worker().status().0.disorder, 1);
    rig.push_body(&lost);
    rig.wait_applied(2);
    rig.stop();
    rig.assert_audit(0, [0, 1, 2, 3, 5, 4].into_iter());
}

#[test]
fn a_stop_finishes_what_is_in_hand_and_a_start_goes_on_where_it_was() {
    let mut rig = Rig::new(4);
    let slow: Apply = Arc::new(|tx, event, policy, now| {
        std::thread::sleep(Duration::from_millis(2));
        apply(tx, event, policy, now)
    });
    for number in 0..200 {
        rig.push(number % 4, &format!(r#"{{"n":{number}}}"#));
    }
    let mut starts = 0;
    while rig.acked() != Some(200) {
        rig.start(config(), Arc::clone(&slow));
        let before = rig.acked();
        rig.wait("some progress", |rig| rig.acked() > before || rig.worker().status().0.applied >= 20);
        let began = std::time::Instant::now();
        rig.stop();
        assert!(began.elapsed() < Duration::from_secs(10), "a stop is bounded");
        starts += 1;
    }
    assert!(starts > 1, "one life was enough: nothing was interrupted");
    for account in 0..4 {
        rig.assert_audit(account, (0..200).filter(|number| number % 4 == account));
    }
    // Nothing was handed out twice as a new attempt: what is handed back was not looked at.
    assert_eq!(rig.count("failed_jobs"), 0);
}

#[test]
fn a_flip_of_the_allowlist_needs_no_restart() {
    let mut rig = Rig::new(1);
    let seen = Arc::new(AtomicU64::new(0));
    let admitted = Arc::clone(&seen);
    let watching: Apply = Arc::new(move |tx, event, policy, now| {
        admitted.fetch_add(u64::from(!policy.allowlist.is_empty()), Ordering::Relaxed);
        apply(tx, event, policy, now)
    });
    rig.start(config(), watching);
    rig.push(0, r#"{"n":0}"#);
    rig.wait_applied(1);
    assert_eq!(seen.load(Ordering::Relaxed), 0);
    rig.worker().set_policy(rig::policy("TRADE"));
    rig.push(0, r#"{"n":1}"#);
    rig.wait_applied(2);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    rig.stop();
}

#[test]
fn old_rows_go_and_new_ones_stay() {
    let mut rig = Rig::new(1);
    let mut config = config();
    config.audit_keep = Some(Duration::from_secs(30 * 86_400));
    rig.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200) \
         INSERT INTO api_data_stream (account_id, api_system_id, raw_event_type, event_type, received_at, raw_payload, \
         idempotency_key) SELECT 1, 1, 'X', 'other', '2020-01-01 00:00:00.000', '{}', 'old' || i FROM n",
    );
    rig.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700) \
         INSERT INTO stream_decisions (idempotency_key, account_id, epoch, position, job_uuid, rule, note, reserved_at, \
         decided_at) SELECT 'old' || i, 1, '', '1', '', 'applied', '', '2020-01-01 00:00:00.000000', \
         '2020-01-01 00:00:00.000000' FROM n",
    );
    rig.sql(
        "INSERT INTO workflow_intents (name, position_id, account_id, arguments, queue, live_key, dedupe, created_at) \
         VALUES ('ApplyWapJob', 1, 1, '{}', 'positions', 'a', 'old', '2020-01-01 00:00:00.000'), \
         ('ApplyWapJob', 1, 1, '{}', 'positions', 'b', 'new', '9999-01-01 00:00:00.000')",
    );
    rig.start(config, Arc::new(apply));
    rig.push(0, r#"{"n":0}"#);
    rig.wait("the old rows' end", |rig| {
        let status = rig.worker().status().0;
        rig.count("api_data_stream") == 1
            && (status.deleted, status.intents_deleted, status.decisions_deleted) == (1_200, 1, 700)
    });
    assert_eq!((rig.count("stream_decisions"), rig.count("workflow_intents")), (0, 1));
    rig.stop();
    rig.assert_audit(0, 0..1);
}
