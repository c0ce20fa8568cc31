//! Promise: every frame that a socket brought becomes a job, in order per account; what could not be received lies in a gap.
//! Kept by the real daemon, an exchange that knows what it delivered to whom, and a real Redis, through the deaths of both.
#![cfg(all(feature = "servers", feature = "sim"))]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kraite_streams::domain::Wall;
use kraite_streams::queue::JobReader;
use kraite_streams::sim::{AccountFault, AccountsConfig, SimConfig, SimHandle, Simulator};

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/secret_scan.rs"]
mod secret_scan;

use daemon_process::{Daemon, PATIENCE, run_with_input, write_settings};
use redis_server::RedisServer;
use secret_scan::SecretScan;

const SETTINGS: &str = "kraite-streams.toml";
const KEY: &str = "laravel_database_queues:user-data-stream";

fn simulator(accounts: usize, frames_per_second: f64) -> SimHandle {
    let accounts = AccountsConfig { count: accounts, frames_per_second, ..AccountsConfig::default() };
    Simulator::start(SimConfig { accounts, ..SimConfig::default() }).unwrap()
}

/// Settings and accounts, made with the program's own commands; account `n` of the exchange is row `n + 1`.
fn prepare(folder: &Path, sim: &SimHandle, redis: &RedisServer) -> Vec<String> {
    let settings = vec![
        format!("queue.url = \"{}\"", redis.url()),
        "queue.job_class = 'App\\Jobs\\UserDataEvent'".to_owned(),
        "user_data.discovery_s = 5".to_owned(),
        "user_data.liveness_mark_s = 1".to_owned(),
    ];
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    write_settings(folder, SETTINGS, Some(sim), &lines);
    for account in sim.accounts() {
        let arguments = [
            "--settings",
            SETTINGS,
            "accounts",
            "add",
            "--exchange",
            "binance",
            "--name",
            &format!("a{}", account.index),
        ];
        let input = format!("{}\n{}\n", account.api_key, account.api_secret);
        let (code, out, err) = run_with_input(folder, &arguments, &input);
        assert_eq!(code, 0, "{out}{err}");
    }
    settings
}

fn start(folder: &Path, sim: &SimHandle, settings: &[String]) -> Daemon {
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    Daemon::start_command("user-data", folder, SETTINGS, Some(sim), &lines, &[])
}

/// Waits until all accounts are live.
#[track_caller]
fn wait_live(daemon: &mut Daemon, accounts: u64) {
    daemon.wait_status("all accounts live", |status| {
        status.user_data.as_ref().is_some_and(|user_data| user_data.live == accounts)
    });
}

/// What each account has on the queue: its frames in order, and its gaps.
#[derive(Default)]
struct Queued {
    frames: Vec<Vec<u8>>,
    gaps: Vec<(Wall, Wall)>,
    positions: Vec<([u8; 16], u64)>,
}

fn queued(redis: &RedisServer) -> BTreeMap<u64, Queued> {
    let mut connection = redis.client();
    let bodies: Vec<Vec<u8>> = redis::cmd("LRANGE").arg(KEY).arg(0).arg(-1).query(&mut connection).unwrap();
    let mut reader = JobReader::new();
    let mut accounts: BTreeMap<u64, Queued> = BTreeMap::new();
    for body in bodies {
        let job = reader.read(&body).unwrap();
        let account = accounts.entry(job.account).or_default();
        match job.kind {
            "frame" => account.frames.push(job.raw.to_vec()),
            "gap" => {
                let gap: serde_json::Value = serde_json::from_slice(job.raw).unwrap();
                let since = gap["silent_since_us"].as_i64().unwrap_or(0);
                account.gaps.push((Wall::from_micros(since), Wall::from_micros(gap["live_at_us"].as_i64().unwrap())));
            }
            other => panic!("a job of the kind {other}"),
        }
        account.positions.push((job.epoch, job.position));
    }
    accounts
}

/// Waits until every spooled record is acknowledged by the queue, then holds the queue against the exchange's ledger.
#[track_caller]
fn assert_ledgers_agree(sim: &SimHandle, redis: &RedisServer, daemon: &mut Daemon) {
    sim.quiesce();
    assert!(sim.wait_delivered(PATIENCE), "frames of the exchange are still under way");
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let queued = queued(redis);
        let mut complaints = Vec::new();
        for account in sim.accounts() {
            let ledger = sim.account_ledger(account.index);
            assert_eq!(ledger.unrecorded, 0, "the exchange's own ledger overflowed");
            let empty = Queued::default();
            let mine = queued.get(&(account.index as u64 + 1)).unwrap_or(&empty);
            let verdict = ledger.judge(mine.frames.iter().map(Vec::as_slice), &mine.gaps);
            if !verdict.is_clean() {
                complaints.push(format!(
                    "account {}: {} frames neither queued nor in a gap, {} foreign, {} impossible, {} out of order; {} queued, \
                     {} gaps; the first: {:?}",
                    account.index,
                    verdict.uncovered.len(),
                    verdict.foreign,
                    verdict.impossible,
                    verdict.disordered,
                    verdict.distinct,
                    mine.gaps.len(),
                    verdict.uncovered.first()
                ));
            }
        }
        if complaints.is_empty() {
            let frames: usize = queued.values().map(|account| account.frames.len()).sum();
            assert!(frames > 100, "only {frames} frames were queued");
            return;
        }
        assert!(Instant::now() < deadline, "{}\n{}", complaints.join("\n"), daemon.log(SETTINGS));
        std::thread::sleep(Duration::from_millis(500));
    }
}

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
fn through_the_deaths_of_daemon_and_redis() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator(20, 400.0));
    let mut redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 20);
    for round in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        match round {
            0 => {
                redis.kill();
                std::thread::sleep(Duration::from_secs(2));
                redis.restart();
            }
            1 => {
                redis.freeze();
                std::thread::sleep(Duration::from_secs(5));
                redis.thaw();
            }
            _ => {}
        }
        daemon.signal("KILL");
        daemon.wait_end();
        daemon = start(folder.path(), &sim, &settings);
        wait_live(&mut daemon, 20);
    }
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
}
