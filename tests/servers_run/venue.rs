//! What the venue says no to: credentials that an operator mends, and an address that is turned away.

use std::time::{Duration, Instant};

use kraite_streams::ops::Status;
use kraite_streams::sim::{AccountFault, ExpiryNotice, VenueFault};

use crate::daemon_process::Daemon;
use crate::redis_server::RedisServer;
use crate::rig::{SETTINGS, assert_ledgers_agree, connections, prepare, simulator, start, wait_live, wait_until};

fn live(status: &Status) -> u64 {
    status.user_data.as_ref().map_or(0, |user_data| user_data.live)
}

#[test]
fn sighup_ends_the_wait_of_an_account_whose_credentials_were_mended() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(3, 50.0), RedisServer::start(&[]));
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 3);
    let before = connections(&sim);
    for account in [0, 1] {
        sim.set_revoked(account, true);
        sim.inject(AccountFault::ExpireKey { notice: ExpiryNotice::Number }.on(account));
    }
    daemon.wait_status("two degraded accounts", |status| {
        let degraded = |user_data: &kraite_streams::ops::status::UserDataStatus| {
            user_data.streams.iter().filter(|stream| stream.degraded.is_some()).count()
        };
        live(status) == 1 && status.user_data.as_ref().is_some_and(|user_data| degraded(user_data) == 2)
    });
    sim.set_revoked(0, false);
    sim.set_revoked(1, false);
    // Nobody has said so: they wait for at least three quarters of a minute.
    std::thread::sleep(Duration::from_secs(3));
    daemon.wait_status("the same as before", |status| live(status) == 1);
    let mended = Instant::now();
    daemon.signal("HUP");
    wait_live(&mut daemon, 3);
    assert!(mended.elapsed() < Duration::from_secs(20), "it took {:?}", mended.elapsed());
    assert_eq!(connections(&sim)[2], before[2]);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_upgrade_that_is_refused_with_429_holds_the_whole_address_back() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(3, 50.0), RedisServer::start(&[]));
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 3);
    let before = connections(&sim);
    sim.inject(AccountFault::RefuseUpgrade { status: 429 }.on(0));
    sim.inject(AccountFault::Cut.on(0));
    daemon.wait_status("the alarm", has_alarm);
    let attempts = sim.ledger().connects_attempted;
    // Another account loses its socket, and another process of this machine wants its first one: both wait.
    sim.inject(AccountFault::Cut.on(1));
    let mut lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    lines.extend(["ops.status_file = \"prices.json\"", "store.url = \"sqlite:prices.sqlite\""]);
    let mut prices = Daemon::start_with(folder.path(), "prices.toml", Some(&sim), &lines, &[]);
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(sim.ledger().connects_attempted, attempts, "nobody knocks while the address is held back");
    assert_eq!(connections(&sim)[2], before[2], "what is connected stays so");
    // A minute after the refusal one goes ahead, then all.
    let deadline = Instant::now() + Duration::from_secs(80);
    while sim.ledger().connects_attempted == attempts {
        assert!(Instant::now() < deadline, "nobody went ahead");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(sim.ledger().connects_attempted, attempts + 1, "one goes ahead alone");
    wait_live(&mut daemon, 3);
    wait_until("prices of the other process", &daemon, || sim.ledger().frames_delivered > 5);
    daemon.wait_status("no alarm", |status| !has_alarm(status));
    assert_eq!(prices.stop(), 0);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_ban_that_rest_tells_of_holds_connections_back_until_its_end() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(3, 50.0), RedisServer::start(&[]));
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 3);
    let (before, banned) = (connections(&sim), Instant::now());
    sim.inject(VenueFault::Ban { lasts: Duration::from_secs(15) });
    sim.inject(AccountFault::ExpireKey { notice: ExpiryNotice::Number }.on(0));
    daemon.wait_status("the alarm", has_alarm);
    let attempts = sim.ledger().connects_attempted;
    sim.inject(AccountFault::Cut.on(1));
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(sim.ledger().connects_attempted, attempts, "{}", daemon.log(SETTINGS));
    wait_live(&mut daemon, 3);
    assert!(banned.elapsed() >= Duration::from_secs(15), "it came back during the ban: {:?}", banned.elapsed());
    assert_eq!(connections(&sim)[2], before[2]);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
}

fn has_alarm(status: &Status) -> bool {
    status.alarms.iter().any(|alarm| alarm.contains("has turned this address away"))
}
