//! Promise: a Redis that forgets everything costs a few jobs that come again, not a day of them, where a worker's tables say
//! what is applied; and what lies in the spool goes out while the database is away.
#![cfg(all(feature = "servers", feature = "sim"))]

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;
#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/redis_server.rs"]
mod redis_server;
#[allow(dead_code, reason = "the rig serves the daemon's other promises too")]
#[path = "servers_user_data/rig.rs"]
mod rig;

use std::ops::ControlFlow;
use std::path::Path;

use daemon_process::{Daemon, PATIENCE, run, write_settings};
use kraite_streams::domain::Wall;
use kraite_streams::sim::SimHandle;
use kraite_streams::spool::{Kind, Record, SpoolView};
use postgres_server::PostgresServer;
use redis_server::RedisServer;
use rig::{KEY, SETTINGS, add_account, settings_with, simulator, start, user_data, wait_live, wait_moving, wait_until};

const ACCOUNTS: usize = 4;
const FRAMES_PER_SECOND: f64 = 400.0;
const APP_KEY: &str = "user_data.app_key = \"base64:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=\"";

fn prepare(folder: &Path, sim: &SimHandle, redis: &RedisServer, postgres: &PostgresServer) -> Vec<String> {
    let store = format!("store.url = \"{}\"", postgres.url_text("postgres"));
    let settings = settings_with(redis, &[&store, APP_KEY, "store.connect_timeout_s = 2"]);
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    write_settings(folder, SETTINGS, Some(sim), &lines);
    let (code, out, err) = run(folder, &["--settings", SETTINGS, "migrate"]);
    assert_eq!(code, 0, "{out}{err}");
    sim.accounts().iter().for_each(|account| add_account(folder, account));
    settings
}

/// Records of the spool that are jobs.
fn records(folder: &Path) -> u64 {
    let mut count = 0;
    let each = |record: &Record<'_>| {
        count += u64::from(record.kind != Kind::Liveness);
        ControlFlow::Continue(())
    };
    SpoolView::open(&folder.join("kraite-streams.spool")).unwrap().read(0, each).unwrap();
    count
}

/// What is neither in the audit nor in a gap, by the exchange's ledger.
fn missing(sim: &SimHandle, postgres: &PostgresServer) -> Vec<String> {
    let mut client = postgres.client("postgres");
    let mut missing = Vec::new();
    for account in sim.accounts() {
        let id = account.index as i64 + 1;
        let rows = client
            .query("SELECT raw_payload::text FROM api_data_stream WHERE account_id = $1 ORDER BY id", &[&id])
            .unwrap();
        let frames: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let stamps = "SELECT (extract(epoch FROM coalesce(started_at, 'epoch')) * 1000000)::bigint, \
                      (extract(epoch FROM ended_at) * 1000000)::bigint FROM stream_gaps WHERE account_id = $1";
        let gaps = client.query(stamps, &[&id]).unwrap();
        let gaps: Vec<(Wall, Wall)> =
            gaps.iter().map(|row| (Wall::from_micros(row.get(0)), Wall::from_micros(row.get(1)))).collect();
        let verdict = sim.account_ledger(account.index).judge(frames.iter().map(String::as_bytes), &gaps);
        if !verdict.uncovered.is_empty() || verdict.foreign > 0 || frames.is_empty() {
            missing.push(format!("account {id}: {} missing, {} foreign", verdict.uncovered.len(), verdict.foreign));
        }
    }
    missing
}

#[test]
fn a_redis_that_forgets_all_is_filled_with_what_no_worker_has_applied() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator(ACCOUNTS, FRAMES_PER_SECOND));
    let (mut redis, postgres) = (RedisServer::start(&[]), PostgresServer::start());
    let settings = prepare(folder.path(), &sim, &redis, &postgres);
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let mut worker = Daemon::start_command("work", &work, SETTINGS, Some(&sim), &lines, &[]);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, ACCOUNTS as u64);
    for round in 1..=2 {
        let before = user_data(&mut daemon).jobs;
        wait_moving("frames", &mut daemon, |shown| shown.jobs, |shown| shown.jobs >= before + 2_000);
        worker.wait_status("a worker that keeps up", |status| {
            status.work.as_ref().is_some_and(|work| work.applied + work.duplicates >= 2_000 && work.queue_depth < 50)
        });
        redis.kill();
        redis.restart();
        wait_moving("a rewind", &mut daemon, |shown| shown.written, |shown| shown.rewinds == round);
    }
    sim.quiesce();
    assert!(sim.wait_delivered(PATIENCE), "frames of the exchange are still under way");
    let shown = wait_moving("an empty spool", &mut daemon, |shown| shown.acked, |shown| shown.acked == shown.written);
    wait_until("the last of the audit", &worker, || missing(&sim, &postgres).is_empty());
    // Two rewinds to the oldest record: without the look nearly all that was there would have come again, twice.
    let records = records(folder.path());
    let again = shown.jobs.saturating_sub(records);
    assert!(shown.left_out > 5_000, "{} of {records} left out\n{}", shown.left_out, daemon.log(SETTINGS));
    assert!(again < 2 * FRAMES_PER_SECOND as u64, "{again} of {records} came again\n{}", daemon.log(SETTINGS));
    assert_eq!((daemon.stop(), worker.stop()), (0, 0));
}

#[test]
fn what_lies_in_the_spool_goes_out_while_the_database_is_away() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator(ACCOUNTS, FRAMES_PER_SECOND));
    let (mut redis, mut postgres) = (RedisServer::start(&[]), PostgresServer::start());
    let settings = prepare(folder.path(), &sim, &redis, &postgres);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, ACCOUNTS as u64);
    wait_moving("jobs", &mut daemon, |shown| shown.jobs, |shown| shown.jobs > 100);
    // What comes now stays in the spool.
    redis.kill();
    wait_moving("a backlog", &mut daemon, |shown| shown.written, |shown| shown.behind > 500);
    daemon.signal("KILL");
    daemon.wait_end();
    postgres.kill();
    redis.restart();
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_moving("all of it as jobs", &mut daemon, |shown| shown.jobs, |shown| shown.jobs > 500 && shown.behind == 0);
    let depth: u64 = redis::cmd("LLEN").arg(KEY).query(&mut redis.client()).unwrap();
    assert!(depth > 500, "{depth} jobs");
    postgres.restart();
    wait_live(&mut daemon, ACCOUNTS as u64);
    assert_eq!((user_data(&mut daemon).poisoned, daemon.stop()), (0, 0));
}
