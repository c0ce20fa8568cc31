//! The scale that the issue names, through the deaths of the daemon and of Redis: 50 accounts, 2,000 frames a second.
//!
//! Redis once keeps nothing, so that all that it ever took must come again, and once syncs each write: then its loss window
//! is zero, and that nothing was lost can be told from nothing being pushed again. (`everysec` lies between the two and would
//! prove neither: what it loses of a killed process is up to the kernel.)

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kraite_streams::ops::status::UserDataStatus;
use kraite_streams::spool::{Kind, Record, SpoolView};

use crate::daemon_process::Daemon;
use crate::redis_server::RedisServer;
use crate::rig::{
    KEY, Queued, SETTINGS, assert_ledgers_agree, prepare, queued, simulator, start, user_data, wait_moving,
};

const ACCOUNTS: usize = 50;
const FRAMES_PER_SECOND: f64 = 2_000.0;

/// One at a time: each is a whole exchange and takes what the machine has.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn with_a_redis_that_forgets_all() {
    through_the_deaths(&[], |rewinds| rewinds > 0);
}

#[test]
fn with_a_redis_that_syncs_each_write() {
    through_the_deaths(&["--appendonly", "yes", "--appendfsync", "always"], |rewinds| rewinds == 0);
}

/// `rewinds` judges how often a daemon had to push again what Redis had lost at its own death.
fn through_the_deaths(redis: &[&str], rewinds: fn(u64) -> bool) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator(ACCOUNTS, FRAMES_PER_SECOND));
    let mut redis = RedisServer::start(redis);
    let settings = prepare(folder.path(), &sim, &redis);
    let again = |mut daemon: Daemon| {
        daemon.signal("KILL");
        daemon.wait_end();
        start(folder.path(), &sim, &settings)
    };
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, ACCOUNTS, "all accounts live");
    wait_jobs(&mut daemon, &redis);
    // Redis dies under a daemon that lives, and then the daemon dies under a Redis that lives, and under one that is away.
    redis.kill();
    std::thread::sleep(Duration::from_secs(1));
    redis.restart();
    let rewound = wait_jobs(&mut daemon, &redis).rewinds;
    assert!(rewinds(rewound), "{rewound} rewinds\n{}", daemon.log(SETTINGS));
    daemon = again(daemon);
    wait_live(&mut daemon, ACCOUNTS / 4, "a quarter of the accounts live");
    redis.kill();
    daemon = again(daemon);
    wait_live(&mut daemon, ACCOUNTS / 4, "a quarter of the accounts live");
    redis.restart();
    wait_jobs(&mut daemon, &redis);
    // It stands still, for longer than the daemon waits for an answer; the daemon dies meanwhile.
    redis.freeze();
    let frozen = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    daemon = again(daemon);
    wait_live(&mut daemon, ACCOUNTS, "all accounts live");
    std::thread::sleep(Duration::from_secs(10).saturating_sub(frozen.elapsed()));
    redis.thaw();
    wait_jobs(&mut daemon, &redis);
    sim.quiesce();
    wait_moving("an empty spool", &mut daemon, |shown| shown.acked, |shown| shown.acked == shown.written);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert!(!daemon.log(SETTINGS).contains("panicked"), "{}", daemon.log(SETTINGS));
    assert_eq!(daemon.stop(), 0);
    assert_the_spool_is_queued(&folder.path().join("kraite-streams.spool"), &queued(&redis));
}

#[track_caller]
fn wait_live(daemon: &mut Daemon, accounts: usize, what: &str) {
    wait_moving(what, daemon, |shown| shown.live, |shown| shown.live >= accounts as u64);
}

/// Waits until a second's jobs more lie on the queue than do now, and for what the daemon showed after that.
#[track_caller]
fn wait_jobs(daemon: &mut Daemon, redis: &RedisServer) -> UserDataStatus {
    let mut client = redis.client();
    let mut depth = || redis::cmd("LLEN").arg(KEY).query::<u64>(&mut client).unwrap();
    let wanted = depth() + FRAMES_PER_SECOND as u64;
    wait_moving("jobs on the queue", daemon, |shown| shown.jobs, |_| depth() >= wanted);
    let before = user_data(daemon).jobs;
    wait_moving("a newer status", daemon, |shown| shown.jobs, |shown| shown.jobs > before)
}

/// What the spool holds is what lies on the queue: each record of each account, in this order when the repetitions that come
/// after a death are left out.
#[track_caller]
fn assert_the_spool_is_queued(spool: &Path, jobs: &BTreeMap<u64, Queued>) {
    let mut spooled: BTreeMap<u64, Vec<([u8; 16], u64)>> = BTreeMap::new();
    let each = |record: &Record<'_>| {
        if record.kind != Kind::Liveness {
            let identity = (record.identity.epoch.0, record.identity.position);
            spooled.entry(record.account.0).or_default().push(identity);
        }
        ControlFlow::Continue(())
    };
    SpoolView::open(spool).unwrap().read(0, each).unwrap();
    assert!(spooled.values().map(Vec::len).sum::<usize>() > 10_000, "the run was too short to show anything");
    assert_eq!(spooled.keys().collect::<Vec<_>>(), jobs.keys().collect::<Vec<_>>());
    for (account, spooled) in spooled {
        let mut seen = HashSet::new();
        let mine = jobs[&account].positions.iter().map(|&(epoch, position, _)| (epoch, position));
        let first_sights: Vec<_> = mine.filter(|identity| seen.insert(*identity)).collect();
        let differs = first_sights.iter().zip(&spooled).position(|(queued, spooled)| queued != spooled);
        assert_eq!((differs, first_sights.len()), (None, spooled.len()), "account {account}");
    }
}
