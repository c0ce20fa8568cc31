//! Twenty accounts through the deaths of the daemon and of Redis, where Redis forgets all.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::daemon_process::Daemon;
use crate::redis_server::RedisServer;
use crate::rig::{SETTINGS, assert_ledgers_agree, prepare, queued, simulator, start, wait_live, wait_until};

/// One at a time: each is a whole exchange and takes what the machine has.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn with_a_redis_that_forgets_all() {
    through_the_deaths(&[], 20, 400.0);
}

fn through_the_deaths(redis: &[&str], accounts: usize, frames_per_second: f64) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator(accounts, frames_per_second));
    let mut redis = RedisServer::start(redis);
    let settings = prepare(folder.path(), &sim, &redis);
    let again = |mut daemon: Daemon| {
        daemon.signal("KILL");
        daemon.wait_end();
        let mut daemon = start(folder.path(), &sim, &settings);
        wait_live(&mut daemon, accounts as u64);
        daemon
    };
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, accounts as u64);
    std::thread::sleep(Duration::from_secs(2));
    // Redis dies under a daemon that lives, and then the daemon dies under a Redis that is away.
    redis.kill();
    std::thread::sleep(Duration::from_secs(1));
    redis.restart();
    std::thread::sleep(Duration::from_secs(2));
    daemon = again(daemon);
    redis.kill();
    daemon = again(daemon);
    redis.restart();
    // It stands still, for longer than the daemon waits for an answer; the daemon dies meanwhile.
    redis.freeze();
    std::thread::sleep(Duration::from_secs(5));
    daemon = again(daemon);
    std::thread::sleep(Duration::from_secs(5));
    redis.thaw();
    std::thread::sleep(Duration::from_secs(1));
    sim.quiesce();
    assert!(sim.wait_delivered(crate::daemon_process::PATIENCE), "frames of the exchange are still under way");
    daemon.wait_status("an empty spool", |status| {
        status.user_data.as_ref().is_some_and(|user_data| user_data.behind == 0 && user_data.acked == user_data.written)
    });
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_every_position_is_queued(&redis);
    wait_until("no complaint", &daemon, || !daemon.log(SETTINGS).contains("panicked"));
    assert_eq!(daemon.stop(), 0);
}

/// Each job names the one before it of its account: first sights must form one chain, so that none was left out.
#[track_caller]
fn assert_every_position_is_queued(redis: &RedisServer) {
    for (account, mine) in queued(redis) {
        let mut seen = HashMap::new();
        let mut newest: Option<u64> = None;
        for (epoch, position, previous) in mine.positions {
            if let Some(known) = seen.insert(position, epoch) {
                assert_eq!(known, epoch, "account {account}: position {position} was given twice");
                continue;
            }
            assert!(newest < Some(position), "account {account}: {position} comes after {newest:?}");
            if let (Some(newest), Some(previous)) = (newest, previous) {
                assert_eq!(previous, newest, "account {account}: jobs before {position} are missing");
            }
            newest = Some(position);
        }
    }
}
