//! A spool that is full while Redis is away: nobody is read, it is said, nothing new is begun, and what was missed lies in
//! gaps. The role is the daemon's own, with a spool smaller than a setting allows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kraite_streams::daemon::account_role::AccountRole;
use kraite_streams::daemon::{account_wiring, wiring};
use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Random};
use kraite_streams::ops::Settings;
use kraite_streams::sim::{AccountFault, SimHandle};

use crate::daemon_process::{PATIENCE, write_settings};
use crate::redis_server::RedisServer;
use crate::rig::{Queued, SETTINGS, add_account, queued, settings_with, simulator};

const ACCOUNTS: usize = 4;

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Frames that are neither on the queue nor inside a gap, and whatever else the exchange's ledgers complain about.
fn complaints(sim: &SimHandle, redis: &RedisServer) -> (Vec<String>, usize, u64) {
    let (queued, empty) = (queued(redis), Queued::default());
    let (mut complaints, mut gaps, mut covered) = (Vec::new(), 0, 0);
    for account in 0..ACCOUNTS {
        let mine = queued.get(&(account as u64 + 1)).unwrap_or(&empty);
        let verdict = sim.account_ledger(account).judge(mine.frames.iter().map(Vec::as_slice), &mine.gaps);
        (gaps, covered) = (gaps + mine.gaps.len(), covered + verdict.covered);
        if !verdict.is_clean() {
            complaints.push(format!(
                "account {account}: {} uncovered; {:?}",
                verdict.uncovered.len(),
                verdict.uncovered.first()
            ));
        }
    }
    (complaints, gaps, covered)
}

#[test]
fn a_full_spool_stops_reading_loudly_and_goes_on_when_redis_is_back() {
    let (folder, sim, mut redis) = (tempfile::tempdir().unwrap(), simulator(ACCOUNTS, 80.0), RedisServer::start(&[]));
    let inside = |name: &str| folder.path().join(name).display().to_string();
    let more = [
        format!("store.url = \"sqlite:{}\"", inside("store.sqlite")),
        format!("spool.folder = \"{}\"", inside("spool")),
        format!("net.connect_file = \"{}\"", inside("connects")),
        format!("net.weight_file = \"{}\"", inside("weight")),
    ];
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let settings = settings_with(&redis, &more);
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    write_settings(folder.path(), SETTINGS, Some(&sim), &lines);
    sim.accounts().iter().for_each(|account| add_account(folder.path(), account));
    let (settings, _) = Settings::load(Some(&folder.path().join(SETTINGS))).unwrap();
    let (clock, mut random): (Arc<dyn Clock>, _) = (Arc::new(SystemClock::start()), Random::from_seed(7));
    let gate = wiring::connect_gate(&settings, &mut random);
    let mut config = account_wiring::account_role(&settings, "a test", gate, &*clock).unwrap();
    (config.spool.bytes_max, config.spool.account_bytes_max, config.spool.segment_bytes) =
        (10 << 20, 10 << 20, 5 << 19);
    let role = AccountRole::start(config, Arc::clone(&clock), random.fork()).unwrap();
    let status = || role.status(clock.now());
    let is_shut = || status().alarms.iter().any(|alarm| alarm.contains("nothing is read since"));
    until("all accounts live", || status().live == ACCOUNTS as u64);

    redis.kill();
    let deadline = Instant::now() + 2 * PATIENCE;
    while !is_shut() {
        assert!(Instant::now() < deadline, "the spool is not full: {:?}", status());
        (0..ACCOUNTS).for_each(|account| sim.inject(AccountFault::Flood { frames: 500 }.on(account)));
        std::thread::sleep(Duration::from_millis(200));
    }
    // Full is not more than full: its bound, the reserve, and the last segment. What was under way may still find its place.
    std::thread::sleep(Duration::from_secs(1));
    let is_bounded = || status().spool_bytes < (10 << 20) + (2 << 20) + (5 << 19);
    assert!(is_bounded(), "{:?}", status());
    let knocked = sim.ledger().connects_attempted;
    // Frames wait in the sockets or are missed; a broken socket waits too.
    sim.inject(AccountFault::Cut.on(0));
    sim.inject(AccountFault::Flood { frames: 500 }.on(1));
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(sim.ledger().connects_attempted, knocked, "no new socket while nothing is recorded");
    until("a shut spool, as before", is_shut);
    until("an account that is not read, and says so", || {
        status().streams.iter().any(|stream| stream.degraded.as_deref().is_some_and(|why| why.contains("not read")))
    });
    assert!(is_bounded(), "{:?}", status());

    redis.restart();
    until("an end of it", || !is_shut());
    until("all accounts live again", || status().live == ACCOUNTS as u64);
    sim.quiesce();
    assert!(sim.wait_delivered(PATIENCE), "frames of the exchange are still under way");
    until("an empty spool", || status().behind == 0 && status().acked == status().written);
    let (found, gaps, covered) = complaints(&sim, &redis);
    assert!(found.is_empty(), "{found:?}");
    assert!(gaps > ACCOUNTS && covered > 0, "{gaps} gaps, {covered} frames in them: what the cut account missed");
    assert!(role.stop(Duration::from_secs(9), &*clock));
}
