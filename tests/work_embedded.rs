//! Promise: with nothing installed, `user-data` alone brings every frame from the socket to its audit row, once and in order,
//! also through its own death.
#![cfg(all(feature = "embedded", feature = "sim"))]

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;

use std::path::Path;
use std::time::{Duration, Instant};

use daemon_process::{Daemon, PATIENCE, run_with_input, write_settings};
use kraite_streams::domain::Wall;
use kraite_streams::sim::{AccountsConfig, SimConfig, SimHandle, Simulator};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::GapQuery;
use kraite_streams::store::{StoreUrl, UserDataStore};

const FILE: &str = "kraite-streams.toml";
const SETTINGS: &[&str] = &[
    "user_data.discovery_s = 5",
    "user_data.liveness_mark_s = 1",
    "net.connects_per_window = 10000",
    "work.batch = 8",
    "user_data.binance.dispatched_executions = \"\"",
];

fn wait_live(daemon: &mut Daemon, accounts: u64) {
    daemon.wait_status("all accounts live", |status| {
        status.user_data.as_ref().is_some_and(|user_data| user_data.live == accounts)
    });
}

#[test]
fn user_data_alone_audits_every_frame_once_and_in_order() {
    let accounts = AccountsConfig { count: 2, frames_per_second: 40.0, ..AccountsConfig::default() };
    let sim = Simulator::start(SimConfig { accounts, connects: None, ..SimConfig::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_settings(folder.path(), FILE, Some(&sim), SETTINGS);
    for account in sim.accounts() {
        let name = format!("a{}", account.index);
        let arguments = ["--settings", FILE, "accounts", "add", "--exchange", "binance", "--name", &name];
        let input = format!("{}\n{}\n", account.api_key, account.api_secret);
        let (code, out, err) = run_with_input(folder.path(), &arguments, &input);
        assert_eq!(code, 0, "{out}{err}");
    }
    let start = || Daemon::start_command("user-data", folder.path(), FILE, Some(&sim), SETTINGS, &[]);
    let mut daemon = start();
    for _ in 0..2 {
        wait_live(&mut daemon, 2);
        daemon.wait_status("frames applied", |status| status.work.as_ref().is_some_and(|work| work.applied > 60));
        daemon.signal("KILL");
        daemon.wait_end();
        daemon = start();
    }
    wait_live(&mut daemon, 2);
    let status = daemon.wait_status("frames applied", |status| {
        status.work.as_ref().is_some_and(|work| work.applied > 60 && work.receive_to_commit_us.is_some())
    });
    let work = status.work.unwrap();
    assert_eq!((work.lease.as_str(), work.allowlist.len(), work.failed), ("held", 0, 0), "{work:?}");
    assert!(daemon.log(FILE).contains("SHADOW MODE"));
    sim.quiesce();
    assert!(sim.wait_delivered(PATIENCE), "frames of the exchange are still under way");
    wait_for_agreement(&sim, folder.path(), &daemon);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log(FILE));
    let connection = rusqlite::Connection::open(folder.path().join("kraite-streams.sqlite")).unwrap();
    for table in ["orders", "workflow_intents", "failed_jobs", "stream_decisions"] {
        let rows: i64 = connection.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}

/// Every frame of the exchange is an audit row, once and in order, or lies in a gap.
#[track_caller]
fn wait_for_agreement(sim: &SimHandle, folder: &Path, daemon: &Daemon) {
    let path = folder.join("kraite-streams.sqlite");
    let mut store = UserDataStore::new(&StoreUrl::Sqlite(path.clone()), &UserDataOptions::new("test")).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let gaps =
            store.run(|tables| tables.gaps(&GapQuery { account_id: None, outstanding: false, limit: 10_000 })).unwrap();
        let mut complaints = Vec::new();
        for account in sim.accounts() {
            let id = account.index as i64 + 1;
            let mut rows = connection
                .prepare_cached("SELECT raw_payload FROM api_data_stream WHERE account_id = ? ORDER BY id")
                .unwrap();
            let rows = rows.query_map([id], |row| row.get::<_, String>(0)).unwrap();
            // What a reconcile recovered is no frame of the stream.
            let frames = rows.map(Result::unwrap).filter(|text| !text.ends_with(r#""recovered":true}"#));
            let frames: Vec<String> = frames.collect();
            let mine = gaps.iter().filter(|gap| gap.account_id == id);
            let mine: Vec<(Wall, Wall)> = mine.map(|gap| (gap.started_at.unwrap_or_default(), gap.ended_at)).collect();
            let verdict = sim.account_ledger(account.index).judge(frames.iter().map(|text| text.as_bytes()), &mine);
            let doubled = frames.len() - frames.iter().collect::<std::collections::BTreeSet<_>>().len();
            if !verdict.is_clean() || doubled > 0 || frames.len() < 40 {
                complaints.push(format!(
                    "account {id}: {} rows, {doubled} doubled, {} neither audited nor in a gap, {} foreign, {} impossible, {} out \
                     of order",
                    frames.len(),
                    verdict.uncovered.len(),
                    verdict.foreign,
                    verdict.impossible,
                    verdict.disordered
                ));
            }
        }
        if complaints.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{}\n{}", complaints.join("\n"), daemon.log(FILE));
        std::thread::sleep(Duration::from_millis(200));
    }
}
