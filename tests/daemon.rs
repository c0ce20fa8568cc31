//! Promises of the supervised daemon, kept by the real binary against the simulator: it fills a file of its own, says what
//! it does, survives what the exchange does to it, tells an operator in one sentence what is wrong, and ends in order.
#![cfg(feature = "sim")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use kraite_streams::ops::status::{StreamState, WriterState};
use kraite_streams::sim::{FaultKind, SimConfig, SimHandle, Simulator};
use kraite_streams::store::rows::PricedRow;
use kraite_streams::store::sqlite::SqliteStore;

#[path = "support/daemon_process.rs"]
mod daemon_process;

use daemon_process::{Daemon, PATIENCE, run, write_settings};

/// Ticks come five times as fast as at the venue, so that tests take a fifth of the time.
fn simulator() -> SimHandle {
    Simulator::start(SimConfig { tick: Duration::from_millis(200), ..SimConfig::default() }).unwrap()
}

fn rows(folder: &Path) -> Vec<PricedRow> {
    SqliteStore::open(&folder.join("kraite-streams.sqlite")).unwrap().priced_rows().unwrap()
}

/// Freezes prices and waits until the table holds what the exchange sent last.
#[track_caller]
fn assert_table_is_truth(folder: &Path, sim: &SimHandle) {
    sim.quiesce();
    assert!(sim.wait_settled(PATIENCE), "the simulator has nobody to talk to");
    let truth: BTreeMap<String, String> = sim.last_valid_prices();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held: BTreeMap<String, String> = rows(folder)
            .into_iter()
            .filter(|row| row.exchange == "binance")
            .filter_map(|row| Some((row.symbol, row.price?)))
            .collect();
        let differs = truth.iter().find(|(symbol, price)| held.get(*symbol) != Some(price));
        let Some((symbol, price)) = differs else { break };
        assert!(
            Instant::now() < deadline,
            "{symbol} is {price} at the exchange and {:?} in the table",
            held.get(symbol)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_empty_folder_becomes_a_table_of_live_prices() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &[]);
    let status = daemon.wait_status("prices", |status| status.writer.rows_written > 2_000);
    assert_eq!((status.stream.state, status.writer.state), (StreamState::Live, WriterState::Writing));
    assert!(
        status.writer.tick_to_commit_us.is_some() && status.rss_bytes > 0 && status.alarms.is_empty(),
        "{status:?}"
    );
    assert_table_is_truth(folder.path(), &sim);
    assert!(rows(folder.path()).iter().all(|row| !row.symbol.contains("USD_")), "COIN-M symbols get no row");

    let (code, out, _) = run(folder.path(), &["--settings", "kraite-streams.toml", "status"]);
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = run(folder.path(), &["--settings", "kraite-streams.toml", "check"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("the writer's lock is held now") && out.contains("920 symbols"), "{out}");

    assert_eq!(daemon.stop(), 0);
    let log = daemon.log("kraite-streams.toml");
    assert!(log.contains("writing prices") && log.contains("stopped:"), "{log}");
    let (code, _, _) = run(folder.path(), &["--settings", "kraite-streams.toml", "status"]);
    assert_eq!(code, 69, "a stopped daemon's status is not fresh");
}

#[test]
fn the_rows_of_four_exchanges_follow_one_stream() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    write_settings(folder.path(), "kraite-streams.toml", Some(&sim), &[]);
    let (code, out, err) = run(folder.path(), &["--settings", "kraite-streams.toml", "symbols", "sync"]);
    assert_eq!(code, 0, "{out}{err}");
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &[]);
    daemon.wait_status("prices", |status| status.writer.rows_written > 5_000);
    let mut priced: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows(folder.path()).into_iter().filter(|row| row.price.is_some()) {
        *priced.entry(row.exchange).or_default() += 1;
    }
    assert!(priced.values().all(|count| *count > 500) && priced.len() == 4, "{priced:?}");
    assert_table_is_truth(folder.path(), &sim);
}

#[test]
fn whatever_the_exchange_does_the_last_price_arrives() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &["prices.silence_s = 2"]);
    daemon.wait_status("prices", |status| status.writer.rows_written > 1_000);
    for kind in FaultKind::ALL {
        sim.inject(kind);
    }
    let deadline = Instant::now() + 3 * PATIENCE;
    while sim.ledger().faults.len() < FaultKind::ALL.len() || sim.ledger().faults_waiting > 0 {
        assert!(Instant::now() < deadline, "only these happened: {:?}", sim.ledger().faults);
        std::thread::sleep(Duration::from_millis(100));
    }
    daemon.wait_status("life after all that", |status| status.stream.state == StreamState::Live);
    assert_table_is_truth(folder.path(), &sim);
    let status = daemon.wait_status("faults by layer", |status| status.faults.values().sum::<u64>() >= 10);
    for layer in ["connect", "protocol", "silence", "tls", "upgrade"] {
        assert!(status.faults[layer] > 0, "no fault at the layer {layer}: {:?}", status.faults);
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_refusing_exchange_is_named_in_one_sentence_and_tried_again() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    sim.inject(FaultKind::RefuseUpgrade { status: 451 });
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &[]);
    daemon.wait_status("prices in spite of it", |status| status.writer.rows_written > 500);
    let log = daemon.log("kraite-streams.toml");
    let line = log.lines().find(|line| line.contains("HTTP 451")).unwrap_or_else(|| panic!("no 451 in\n{log}"));
    for part in ["upgrade:", "127.0.0.1", "country", "demo", "again"] {
        assert!(line.contains(part), "{part} is not in: {line}");
    }
}

#[test]
fn a_machine_without_network_is_told_the_layer_within_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let mut daemon = Daemon::start(folder.path(), None, &["prices.url = \"wss://no-such-host.invalid\""]);
    let status = daemon.wait_status("a fault", |status| status.stream.last_fault.is_some());
    assert!(began.elapsed() < Duration::from_secs(12), "it took {:?}", began.elapsed());
    let fault = status.stream.last_fault.unwrap();
    assert_eq!(fault.layer, "resolve");
    assert!(fault.text.contains("no-such-host.invalid"), "{}", fault.text);
    assert!(daemon.log("kraite-streams.toml").contains("`kraite-streams demo`"));
    daemon.wait_status("a second attempt", |status| status.faults["resolve"] > 1);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_silent_exchange_ends_the_process_with_its_own_code() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    // The un-routed root: connected, acknowledged, silent for ever.
    let settings = ["prices.path = \"/ws/!markPrice@arr@1s\"", "prices.silence_s = 1", "prices.silence_exit_s = 4"];
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &settings);
    assert_eq!(daemon.wait_end().code(), Some(75));
    let log = daemon.log("kraite-streams.toml");
    assert!(log.contains("silence:") && log.contains("fresh process"), "{log}");
    assert!(sim.ledger().upgrades >= 2, "it reconnected before it gave up");
}

#[test]
fn a_second_writer_is_refused_and_told_who_writes() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    let mut first = Daemon::start(folder.path(), Some(&sim), &[]);
    first.wait_status("prices", |status| status.writer.rows_written > 500);
    let settings = ["store.writer_lock_wait_s = 1", "ops.status_file = \"second.json\""];
    let mut second = Daemon::start_with(folder.path(), "second.toml", Some(&sim), &settings, &[]);
    assert_eq!(second.wait_end().code(), Some(75));
    let log = second.log("second.toml");
    assert!(log.contains("another price writer") && log.contains(&first.pid().to_string()), "{log}");
    first.signal("KILL");
    first.wait_end();
    // A killed writer leaves no lock behind.
    let mut third = Daemon::start(folder.path(), Some(&sim), &[]);
    third.wait_status("prices again", |status| status.writer.rows_written > 500);
    assert_table_is_truth(folder.path(), &sim);
}

#[test]
fn a_useless_connect_file_is_an_alarm() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    std::fs::create_dir(folder.path().join("connects")).unwrap();
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &["net.connect_file = \"connects\""]);
    let status =
        daemon.wait_status("the alarm", |status| status.stream.state == StreamState::Live && !status.alarms.is_empty());
    assert_eq!(status.alarms.len(), 1);
    assert!(status.alarms[0].starts_with("connection attempts are not shared with other processes"), "{status:?}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn sighup_reads_settings_and_map_and_opens_the_log_again() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    let settings = ["ops.log_file = \"daemon.log\"", "ops.summary_interval_s = 3600"];
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &settings);
    daemon.wait_status("prices", |status| status.writer.rows_written > 500);
    let path = folder.path().join("daemon.log");
    std::fs::rename(&path, folder.path().join("daemon.log.1")).unwrap();
    let changed = ["ops.log_file = \"daemon.log\"", "ops.summary_interval_s = 1", "prices.settle_ms = 30"];
    write_settings(folder.path(), "kraite-streams.toml", Some(&sim), &changed);
    daemon.signal("HUP");
    let deadline = Instant::now() + PATIENCE;
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    while !read().contains("tick to commit") {
        assert!(Instant::now() < deadline, "no summary line in the new log:\n{}", read());
        std::thread::sleep(Duration::from_millis(50));
    }
    let old = std::fs::read_to_string(folder.path().join("daemon.log.1")).unwrap();
    let both = old + &read();
    assert!(both.contains("ops.summary_interval_s") && both.contains("need a restart"), "{both}");
    assert!(both.contains("prices.settle_ms"), "{both}");

    write_settings(folder.path(), "kraite-streams.toml", Some(&sim), &["prices.settle_ms = -1"]);
    daemon.signal("HUP");
    while !read().contains("the settings stay as they were") {
        assert!(Instant::now() < deadline, "a bad file is not told:\n{}", read());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn settings_that_cannot_work_end_it_with_78() {
    let folder = tempfile::tempdir().unwrap();
    for (settings, says) in [
        (&["prices.url = \"ws://plain.example\""][..], "wss://"),
        (&["prices.write_interval_ms = 5"], "write_interval_ms"),
        (&["net.extra_roots = \"nowhere.pem\""], "nowhere.pem"),
        (&["prices.tabel = \"x\""], "did you mean table"),
    ] {
        let mut daemon = Daemon::start(folder.path(), None, settings);
        assert_eq!(daemon.wait_end().code(), Some(78), "{settings:?}");
        let log = daemon.log("kraite-streams.toml");
        assert!(log.contains(says), "{says} is not in: {log}");
    }
}

#[test]
fn the_page_shows_live_prices_and_a_taken_port_costs_only_the_page() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let page = format!("ops.page = \"127.0.0.1:{port}\"");
    let mut daemon = Daemon::start(folder.path(), Some(&sim), &[&page]);
    daemon.wait_status("prices", |status| status.writer.rows_written > 500);
    assert!(ask(port, "/prices.json?limit=1000").contains("BTCUSDT"));
    assert!(ask(port, "/prices.json?limit=1000").contains("币安人生USDT"));
    assert!(ask(port, "/metrics").contains("kraite_"));
    assert!(ask(port, "/").contains("<html"));
    let second = ["ops.status_file = \"second.json\"", "store.url = \"sqlite:second.sqlite\"", &page];
    let other = tempfile::tempdir().unwrap();
    let mut without = Daemon::start(other.path(), Some(&sim), &[second[1], second[2]]);
    without.wait_status("prices without a page", |status| status.writer.rows_written > 500);
    assert!(without.log("kraite-streams.toml").contains("no live page"));
    assert_eq!((without.stop(), daemon.stop()), (0, 0));
}

fn ask(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
