//! Faults of single accounts, keys that die and keys that the venue refuses: whom they concern, and whom they do not.

use std::time::Duration;

use kraite_streams::sim::{AccountFault, ExpiryNotice};

use crate::daemon_process::run;
use crate::redis_server::RedisServer;
use crate::rig::{
    SETTINGS, assert_ledgers_agree, connections, prepare, queued, simulator, start, wait_live, wait_until,
};
use crate::secret_scan::SecretScan;

#[test]
fn frames_become_jobs_and_nothing_secret_is_written() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(3, 60.0), RedisServer::start(&[]));
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 3);
    daemon.wait_status("jobs", |status| status.user_data.as_ref().is_some_and(|user_data| user_data.jobs > 200));
    sim.inject(AccountFault::Cut.on(0));
    sim.inject(AccountFault::Garbage.on(1));
    sim.inject(AccountFault::Malformed.on(2));
    std::thread::sleep(Duration::from_secs(3));
    wait_live(&mut daemon, 3);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
    let secrets = sim.secrets();
    let named: Vec<(&str, &str)> = secrets.iter().map(|secret| ("a secret of the exchange", secret.as_str())).collect();
    SecretScan::new(&named).check_folder(folder.path());
    for account in queued(&redis).values() {
        for frame in &account.frames {
            SecretScan::new(&named).check_bytes("a job", frame);
        }
    }
}

#[test]
fn faults_of_one_account_touch_no_other() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(6, 60.0), RedisServer::start(&[]));
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 6);
    let before = connections(&sim);
    assert!(before.iter().all(Option::is_some), "{before:?}");
    // What ends a connection, one after the other, each on the connection that came after the one before.
    for fault in [
        AccountFault::Garbage,
        AccountFault::TlsGarbage,
        AccountFault::Oversize,
        AccountFault::HalfFrame,
        AccountFault::SlowHandshake { delay: Duration::from_millis(1_500) },
        AccountFault::RefuseUpgrade { status: 503 },
    ] {
        let old = connections(&sim)[0];
        sim.inject(fault.on(0));
        if matches!(fault, AccountFault::SlowHandshake { .. } | AccountFault::RefuseUpgrade { .. }) {
            sim.inject(AccountFault::Cut.on(0));
        }
        wait_until(fault.as_str(), &daemon, || connections(&sim)[0].is_some_and(|new| Some(new) != old));
        wait_live(&mut daemon, 6);
    }
    // What does not end it.
    sim.inject(AccountFault::Flood { frames: 5_000 }.on(1));
    sim.inject(AccountFault::PingFlood.on(1));
    sim.inject(AccountFault::Malformed.on(1));
    sim.inject(AccountFault::Silence { lasts: Duration::from_secs(8) }.on(0));
    std::thread::sleep(Duration::from_secs(9));
    wait_live(&mut daemon, 6);
    assert_eq!(connections(&sim)[1..], before[1..], "connections of other accounts\n{}", daemon.log(SETTINGS));
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_key_that_dies_in_any_way_is_replaced() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(5, 50.0), RedisServer::start(&[]));
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 5);
    let before = connections(&sim);
    let notices = [ExpiryNotice::Number, ExpiryNotice::TextTime, ExpiryNotice::NoKey, ExpiryNotice::Twice];
    for (account, notice) in notices.into_iter().enumerate() {
        sim.inject(AccountFault::ExpireKey { notice }.on(account));
    }
    wait_until("a new connection for each dead key", &daemon, || {
        (0..4).all(|account| connections(&sim)[account].is_some_and(|new| Some(new) != before[account]))
    });
    wait_live(&mut daemon, 5);
    assert_eq!(connections(&sim)[4], before[4]);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    for account in queued(&redis).values().take(4) {
        assert!(!account.gaps.is_empty(), "a key that died is a gap");
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_key_that_dies_in_silence_is_found_by_its_keep_alive() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(2, 50.0), RedisServer::start(&[]));
    let more = ["user_data.keep_alive_min_s = 10", "user_data.keep_alive_max_s = 60"];
    let settings = crate::rig::prepare_with(folder.path(), &sim, &redis, &more);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 2);
    let before = connections(&sim);
    sim.inject(AccountFault::ExpireKey { notice: ExpiryNotice::Silent }.on(0));
    wait_until("a new connection", &daemon, || connections(&sim)[0].is_some_and(|new| Some(new) != before[0]));
    wait_live(&mut daemon, 2);
    assert_eq!(connections(&sim)[1], before[1]);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn revoked_credentials_show_as_degraded_until_they_are_restored() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(3, 50.0), RedisServer::start(&[]));
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 3);
    let before = connections(&sim);
    sim.set_revoked(0, true);
    sim.inject(AccountFault::ExpireKey { notice: ExpiryNotice::Number }.on(0));
    let status = daemon.wait_status("a degraded account", |status| {
        status.user_data.as_ref().is_some_and(|user_data| {
            user_data.live == 2 && user_data.streams.iter().any(|stream| stream.id == 1 && stream.degraded.is_some())
        })
    });
    assert!(status.alarms.iter().any(|alarm| alarm.contains("a0")), "{:?}", status.alarms);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(connections(&sim)[1..], before[1..]);
    sim.set_revoked(0, false);
    // It would be asked again after minutes; an operator who switches it off and on need not wait.
    for command in ["disable", "enable"] {
        let (code, out, err) = run(folder.path(), &["--settings", SETTINGS, "accounts", command, "a0"]);
        assert_eq!(code, 0, "{out}{err}");
        daemon.wait_status(command, |status| {
            status.user_data.as_ref().is_some_and(|user_data| (user_data.accounts == 3) == (command == "enable"))
        });
    }
    wait_live(&mut daemon, 3);
    let status = daemon.wait_status("no degraded account", |status| {
        status
            .user_data
            .as_ref()
            .is_some_and(|user_data| user_data.streams.iter().all(|stream| stream.degraded.is_none()))
    });
    assert!(!status.alarms.iter().any(|alarm| alarm.contains("a0")), "{:?}", status.alarms);
    assert_eq!(connections(&sim)[1..], before[1..]);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
}
