//! Promise: behind a real queue and a real database, every frame is one audit row, per account in order, and has its effect
//! once, through the deaths and stand-stills of worker and database, and through changes of the lease.
#![cfg(all(feature = "servers", feature = "sim"))]

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;
#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "servers_work/rig.rs"]
mod rig;

use std::time::{Duration, Instant};

use daemon_process::Daemon;
use kraite_streams::domain::Random;
use rig::{Rig, SETTINGS};

/// Waits for so many rows more than there were, or all.
#[track_caller]
fn wait_rows(rig: &Rig, more: i64, daemon: &Daemon, total: usize) {
    let mut before = rig.audited();
    let wanted = (before.unwrap_or(0) + more).min(total as i64);
    let mut deadline = Instant::now() + daemon_process::PATIENCE;
    loop {
        let now = rig.audited();
        if now >= Some(wanted) {
            return;
        }
        if now > before {
            (before, deadline) = (now, Instant::now() + daemon_process::PATIENCE);
        }
        assert!(Instant::now() < deadline, "{now:?} rows, {wanted} wanted\n{}", daemon.log(SETTINGS));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_worker_that_is_killed_at_any_moment_loses_and_doubles_nothing() {
    let rig = Rig::start(4, 100);
    let mut feed = rig.feed(Duration::from_millis(5));
    let mut random = Random::from_seed(4);
    let mut daemon = rig.work("worker", &[]);
    for _ in 0..6 {
        wait_rows(&rig, 40, &daemon, feed.total);
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        daemon.signal("KILL");
        daemon.wait_end();
        daemon = rig.work("worker", &[]);
    }
    rig.wait_all(&mut feed, &[&daemon]);
    rig.assert_exact();
    rig.assert_intents_pushed(&daemon);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_stop_is_bounded_and_gives_back_what_is_in_hand() {
    let rig = Rig::start(3, 100);
    let mut feed = rig.feed(Duration::from_millis(2));
    let mut daemon = rig.work("worker", &[]);
    for _ in 0..3 {
        wait_rows(&rig, 100, &daemon, feed.total);
        let began = Instant::now();
        assert_eq!(daemon.stop(), 0, "{}", daemon.log(SETTINGS));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!((rig.left().1, rig.left().2), (0, 0), "something is still in a hand that is gone");
        daemon = rig.work("worker", &[]);
        // The lease was let go, so nobody waits for it to lapse.
        let began = Instant::now();
        daemon.wait_status("the lease", |status| status.work.as_ref().is_some_and(|work| work.lease == "held"));
        assert!(began.elapsed() < daemon_process::PATIENCE);
    }
    rig.wait_all(&mut feed, &[&daemon]);
    rig.assert_exact();
    let status = daemon.wait_status("the figures", |status| {
        status.work.as_ref().is_some_and(|work| work.intents <= work.intents_pushed && work.in_hand == 0)
    });
    let work = status.work.clone().unwrap();
    assert_eq!((work.failed, work.disorder, work.held.len()), (0, 0, 0), "{work:?}");
    assert!(work.receive_to_commit_us.is_some() && work.allowlist.len() == 4 && status.alarms.is_empty(), "{status:?}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_database_that_dies_or_stands_still_costs_time_only() {
    let mut rig = Rig::start(4, 100);
    let mut feed = rig.feed(Duration::from_millis(5));
    let mut daemon = rig.work("worker", &[]);
    for round in 0..2 {
        wait_rows(&rig, 60, &daemon, feed.total);
        rig.postgres.kill();
        daemon.wait_status("held lanes", |status| status.work.as_ref().is_some_and(|work| !work.held.is_empty()));
        rig.postgres.restart();
        wait_rows(&rig, 60, &daemon, feed.total);
        rig.postgres.freeze();
        std::thread::sleep(Duration::from_secs(1 + 7 * round));
        rig.postgres.thaw();
    }
    rig.wait_all(&mut feed, &[&daemon]);
    rig.assert_exact();
    rig.assert_intents_pushed(&daemon);
    let status = daemon.wait_status("nothing held", |status| status.work.as_ref().is_some_and(|w| w.held.is_empty()));
    let work = status.work.unwrap();
    assert!(work.retries > 0 && work.failed == 0 && work.attempts == 0, "{work:?}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_lease_that_changes_hands_changes_nothing_else() {
    let rig = Rig::start(4, 150);
    let mut feed = rig.feed(Duration::from_millis(8));
    let mut one = rig.work("one", &[]);
    one.wait_status("the first lease", |status| status.work.as_ref().is_some_and(|work| work.lease == "held"));
    let mut two = rig.work("two", &[]);
    two.wait_status("a hot standby", |status| status.work.as_ref().is_some_and(|work| work.lease == "standby"));
    wait_rows(&rig, 60, &one, feed.total);
    // The holder sleeps through its lease, with jobs in hand and perhaps a transaction open; then it wakes.
    one.signal("STOP");
    let status = two.wait_status("the lease's next holder", |status| {
        status.work.as_ref().is_some_and(|work| work.lease == "held" && work.applied > 20)
    });
    assert_eq!(status.work.unwrap().failed, 0);
    one.signal("CONT");
    one.wait_status("it stands by", |status| status.work.as_ref().is_some_and(|work| work.lease == "standby"));
    wait_rows(&rig, 60, &two, feed.total);
    // And back, by a death.
    two.signal("KILL");
    two.wait_end();
    one.wait_status("the lease again", |status| status.work.as_ref().is_some_and(|work| work.lease == "held"));
    rig.wait_all(&mut feed, &[&one]);
    rig.assert_exact();
    rig.assert_intents_pushed(&one);
    assert_eq!(one.stop(), 0);
}

#[test]
fn a_queue_that_forgets_its_fences_is_overtaken() {
    let rig = Rig::start(2, 30);
    let mut feed = rig.feed(Duration::from_millis(1));
    let mut daemon = rig.work("worker", &[]);
    rig.wait_all(&mut feed, &[&daemon]);
    // Everything that Redis knew is gone, the number of the lease too; the database knows it still.
    let _: () = redis::cmd("FLUSHALL").query(&mut rig.redis.client()).unwrap();
    let mut again = rig.feed(Duration::from_millis(1));
    daemon.wait_status("the duplicates", |status| {
        status.work.as_ref().is_some_and(|work| work.duplicates >= again.total as u64 && work.in_hand == 0)
    });
    rig.wait_all(&mut again, &[&daemon]);
    rig.assert_exact();
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_flip_of_the_allowlist_takes_effect_without_a_restart() {
    let rig = Rig::start(1, 1);
    let mut daemon = rig.work("worker", &["user_data.binance.dispatched_executions = \"\""]);
    daemon.wait_status("shadow mode", |status| status.work.as_ref().is_some_and(|work| work.allowlist.is_empty()));
    assert!(daemon.log(SETTINGS).contains("SHADOW MODE"));
    let file = rig.folder("worker").join(SETTINGS);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("dispatched_executions = \"\"", "dispatched_executions = \"TRADE\"")).unwrap();
    daemon.wait_status("the flip", |status| status.work.as_ref().is_some_and(|work| work.allowlist == ["TRADE"]));
    let mut feed = rig.feed(Duration::ZERO);
    rig.wait_all(&mut feed, &[&daemon]);
    rig.assert_exact();
    assert_eq!(daemon.stop(), 0);
}
