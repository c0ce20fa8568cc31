//! PostgreSQL as the accounts' store under the real `user-data` daemon: restarted, killed and standing still while frames
//! flow. Sockets stay, frames go on through the spool, and rows follow once the server answers.

use std::path::Path;
use std::time::{Duration, Instant};

use kraite_streams::ops::Status;
use kraite_streams::sim::{AccountFault, SimHandle};

use crate::daemon_process::{Daemon, run, write_settings};
use crate::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;
use crate::rig::{
    SETTINGS, add_account, assert_ledgers_agree, connections, settings_with, simulator, start, wait_live, wait_until,
};

const APP_KEY: &str = "user_data.app_key = \"base64:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=\"";

fn prepare(folder: &Path, sim: &SimHandle, redis: &RedisServer, postgres: &PostgresServer) -> Vec<String> {
    let store = format!("store.url = \"{}\"", postgres.url_text("postgres"));
    // Of six accounts somebody's key is extended every ten seconds, and its row says so.
    let more = [&store, APP_KEY, "user_data.keep_alive_min_s = 10", "user_data.keep_alive_max_s = 60"];
    let settings = settings_with(redis, &more);
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    write_settings(folder, SETTINGS, Some(sim), &lines);
    let (code, out, err) = run(folder, &["--settings", SETTINGS, "migrate"]);
    assert_eq!(code, 0, "{out}{err}");
    sim.accounts().iter().for_each(|account| add_account(folder, account));
    settings
}

/// Keys' rows, how many seconds ago the newest of them was written, and rows of `stream_gaps`.
fn rows(postgres: &PostgresServer) -> (i64, f64, i64) {
    let query = "SELECT count(*), coalesce(extract(epoch FROM now() - max(last_keep_alive_at))::float8, 1e9), \
                 (SELECT count(*) FROM stream_gaps) FROM binance_listen_keys";
    let row = postgres.client("postgres").query_one(query, &[]).unwrap();
    (row.get(0), row.get(1), row.get(2))
}

fn jobs(status: &Status) -> u64 {
    status.user_data.as_ref().map_or(0, |user_data| user_data.jobs)
}

/// Jobs go on while the database is as it is.
#[track_caller]
fn assert_jobs_go_on(daemon: &mut Daemon) -> Status {
    let before = jobs(&daemon.wait_status("jobs", |status| jobs(status) > 0));
    daemon.wait_status("more jobs", |status| jobs(status) > before + 100)
}

fn has_database_alarm(status: &Status) -> bool {
    status.alarms.iter().any(|alarm| alarm.contains("wait for the database"))
}

#[test]
fn a_database_that_goes_and_comes_touches_no_socket() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(6, 90.0), RedisServer::start(&[]));
    let mut postgres = PostgresServer::start();
    let settings = prepare(folder.path(), &sim, &redis, &postgres);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 6);
    wait_until("keys' and gaps' rows", &daemon, || {
        let (keys, _, gaps) = rows(&postgres);
        (keys, gaps) == (6, 6)
    });
    let sockets = connections(&sim);

    // Killed, and away for longer than a keep-alive takes to be due.
    postgres.kill();
    daemon.wait_status("the database's alarm", has_database_alarm);
    assert_jobs_go_on(&mut daemon);
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(connections(&sim), sockets);
    postgres.restart();
    let back = Instant::now();
    let behind = || back.elapsed().as_secs_f64();
    wait_until("a key's row that tells of the outage", &daemon, || rows(&postgres).1 < behind() + 12.0);
    daemon.wait_status("no alarm", |status| !has_database_alarm(status));
    assert!(back.elapsed() < Duration::from_secs(20), "late by {:?}\n{}", back.elapsed(), daemon.log(SETTINGS));

    // It stands still: sessions are open and answer nothing. A socket that breaks meanwhile comes back, with its gap.
    postgres.freeze();
    sim.inject(AccountFault::Cut.on(0));
    wait_until("the cut account's next socket", &daemon, || {
        connections(&sim)[0].is_some_and(|it| Some(it) != sockets[0])
    });
    wait_live(&mut daemon, 6);
    assert_jobs_go_on(&mut daemon);
    daemon.wait_status("the alarm of a database that does not answer", has_database_alarm);
    assert_eq!(connections(&sim)[1..], sockets[1..]);
    postgres.thaw();
    let back = Instant::now();
    wait_until("the gap's row", &daemon, || rows(&postgres).2 == 7);
    let behind = || back.elapsed().as_secs_f64();
    wait_until("a key's row that tells of the standstill", &daemon, || rows(&postgres).1 < behind() + 12.0);
    daemon.wait_status("no alarm", |status| !has_database_alarm(status));
    assert!(back.elapsed() < Duration::from_secs(20), "late by {:?}\n{}", back.elapsed(), daemon.log(SETTINGS));

    // Accounts are found again: one that is switched off and on after all that.
    for (command, live) in [("disable", 5), ("enable", 6)] {
        let (code, out, err) = run(folder.path(), &["--settings", SETTINGS, "accounts", command, "a5"]);
        assert_eq!(code, 0, "{out}{err}");
        wait_live(&mut daemon, live);
    }
    assert_eq!(connections(&sim)[1..5], sockets[1..5]);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
    let log = daemon.log(SETTINGS);
    assert!(!log.contains("panicked") && !log.contains(crate::postgres_server::PASSWORD_IN_URL), "{log}");
}

#[test]
fn a_daemon_whose_database_stands_still_ends_in_time() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(2, 40.0), RedisServer::start(&[]));
    let postgres = PostgresServer::start();
    let settings = prepare(folder.path(), &sim, &redis, &postgres);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 2);
    assert_jobs_go_on(&mut daemon);
    for is_at_start in [false, true] {
        postgres.freeze();
        if is_at_start {
            daemon = start(folder.path(), &sim, &settings);
            daemon.wait_status("a status without a database", |status| status.user_data.is_some());
            std::thread::sleep(Duration::from_secs(2));
        }
        let began = Instant::now();
        assert_eq!(daemon.stop(), 0, "{}", daemon.log(SETTINGS));
        assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
        postgres.thaw();
    }
    // What a daemon that never saw the database left to be done is done by the next one.
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 2);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
}
