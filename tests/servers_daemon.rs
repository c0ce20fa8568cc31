//! Promise: a PostgreSQL that is killed, restarted and locked under the real daemon costs no price. In the end every row
//! holds the exchange's last valid price, and the side table's file has not grown.
#![cfg(all(feature = "servers", feature = "sim"))]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kraite_streams::ops::status::WriterState;
use kraite_streams::sim::{SimConfig, SimHandle, Simulator};

#[path = "support/daemon_process.rs"]
mod daemon_process;
#[path = "support/postgres_server.rs"]
mod postgres_server;

use daemon_process::{Daemon, PATIENCE, run, write_settings};
use postgres_server::PostgresServer;

const SETTINGS: &str = "kraite-streams.toml";

/// Ticks five times as fast as the venue's.
fn simulator() -> SimHandle {
    Simulator::start(SimConfig { tick: Duration::from_millis(200), ..SimConfig::default() }).unwrap()
}

/// A database with tables and instruments, made with the program's own commands.
fn prepare(folder: &Path, sim: &SimHandle, server: &PostgresServer, table: &str) -> Vec<String> {
    let settings = vec![
        format!("store.url = \"{}\"", server.url_text("postgres")),
        format!("prices.table = \"{table}\""),
        "prices.write_interval_ms = 200".to_owned(),
    ];
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    write_settings(folder, SETTINGS, Some(sim), &lines);
    for command in [&["migrate"][..], &["symbols", "sync"]] {
        let arguments = [&["--settings", SETTINGS], command].concat();
        let (code, out, err) = run(folder, &arguments);
        assert_eq!(code, 0, "{command:?}: {out}{err}");
        assert!(!out.contains("2525%40") && !err.contains("2525%40"), "no password in what a command prints");
    }
    let (code, out, err) = run(folder, &["--settings", SETTINGS, "check"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("in one transaction") && out.contains("would be updated"), "{out}");
    settings
}

/// Symbol → price of Binance's rows, as text.
fn held(server: &PostgresServer, table: &str, key: &str) -> BTreeMap<String, String> {
    let query = format!(
        "SELECT s.asset, p.mark_price::text FROM {table} p JOIN exchange_symbols s ON s.id = p.{key} \
         JOIN api_systems a ON a.id = s.api_system_id WHERE a.canonical = 'binance' AND p.mark_price IS NOT NULL"
    );
    let rows = server.client("postgres").query(query.as_str(), &[]).unwrap();
    rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A decimal without needless zeros: the column pads to its scale.
fn trimmed(price: &str) -> &str {
    if price.contains('.') { price.trim_end_matches('0').trim_end_matches('.') } else { price }
}

#[track_caller]
fn assert_table_is_truth(server: &PostgresServer, sim: &SimHandle, table: &str, key: &str) {
    sim.quiesce();
    assert!(sim.wait_settled(PATIENCE), "the simulator has nobody to talk to");
    let truth = sim.last_valid_prices();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held = held(server, table, key);
        assert!(held.len() > 900, "only {} rows have a price", held.len());
        let wrong = held.iter().find(|(symbol, price)| truth.get(*symbol).is_none_or(|t| trimmed(t) != trimmed(price)));
        let Some((symbol, price)) = wrong else { break };
        assert!(Instant::now() < deadline, "{symbol} holds {price}, the exchange sent {:?}", truth.get(symbol));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn killed_restarted_and_locked_under_the_daemon() {
    let (folder, sim, mut server) = (tempfile::tempdir().unwrap(), simulator(), PostgresServer::start());
    let settings = prepare(folder.path(), &sim, &server, "exchange_symbols");
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &lines);
    daemon.wait_status("prices", |status| status.writer.rows_written > 5_000);

    for _ in 0..2 {
        server.kill();
        let away = daemon.wait_status("the outage", |status| status.writer.state == WriterState::StoreAway);
        assert!(!away.alarms.is_empty(), "an outage is an alarm");
        server.restart();
        let before = away.writer.rows_written;
        daemon.wait_status("prices again", |status| {
            status.writer.state == WriterState::Writing && status.writer.rows_written > before + 5_000
        });
    }

    // Somebody holds rows for three seconds: the others go on, these come later.
    let mut blocker = server.client("postgres");
    let mut transaction = blocker.transaction().unwrap();
    transaction.batch_execute("SELECT 1 FROM exchange_symbols WHERE id % 7 = 0 FOR UPDATE").unwrap();
    std::thread::sleep(Duration::from_secs(3));
    transaction.rollback().unwrap();
    assert_table_is_truth(&server, &sim, "exchange_symbols", "id");

    // A table that is locked whole at the moment of SIGTERM does not hold the end up.
    let mut transaction = blocker.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE exchange_symbols IN ACCESS EXCLUSIVE MODE").unwrap();
    let began = Instant::now();
    let code = daemon.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    assert!(code == 0 || code == 69, "exit code {code}");
    transaction.rollback().unwrap();
    let log = daemon.log(SETTINGS);
    assert!(!log.contains(server.url_text("postgres").split('@').next().unwrap()), "no password in the log");
}

#[test]
fn the_database_may_be_away_at_the_start() {
    let (folder, sim, mut server) = (tempfile::tempdir().unwrap(), simulator(), PostgresServer::start());
    let settings = prepare(folder.path(), &sim, &server, "exchange_symbols");
    server.kill();
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &lines);
    let status = daemon.wait_status("frames without a database", |status| status.stream.frames > 20);
    assert_eq!((status.writer.state, status.writer.rows_written), (WriterState::StoreAway, 0));
    server.restart();
    daemon.wait_status("prices", |status| status.writer.rows_written > 2_000);
    assert_table_is_truth(&server, &sim, "exchange_symbols", "id");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn the_side_table_stays_as_small_as_it_is() {
    let (folder, sim, server) = (tempfile::tempdir().unwrap(), simulator(), PostgresServer::start());
    let settings = prepare(folder.path(), &sim, &server, "exchange_symbol_prices");
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &lines);
    let size = || -> i64 {
        let row = server.client("postgres").query_one("SELECT pg_relation_size('exchange_symbol_prices')", &[]);
        row.unwrap().get(0)
    };
    daemon.wait_status("the first ticks", |status| status.writer.commits > 20);
    let warm = size();
    daemon.wait_status("two hundred more", |status| status.writer.commits > 220);
    let end = size();
    assert!(end <= warm * 2, "the file grew from {warm} to {end} bytes in 200 ticks");
    assert_table_is_truth(&server, &sim, "exchange_symbol_prices", "exchange_symbol_id");

    // A second writer is told who writes, and leaves.
    let mut second_settings = lines.clone();
    second_settings.extend(["store.writer_lock_wait_s = 1", "ops.status_file = \"second.json\""]);
    let mut second = Daemon::start_with(folder.path(), "second.toml", Some(&sim), &second_settings, &[]);
    assert_eq!(second.wait_end().code(), Some(75));
    let log = second.log("second.toml");
    assert!(log.contains("another price writer") && log.contains(&daemon.pid().to_string()), "{log}");
    assert_eq!(daemon.stop(), 0);
}
