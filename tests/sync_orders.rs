//! Promise: `sync-orders` finds and mends what nobody heard while no daemon runs, one process at a time, the stalest account first;
//! it says whom it could not ask and why, and it neither hangs behind a ban nor leaves anything half done when it is stopped.
#![cfg(all(feature = "embedded", feature = "sim"))]

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use daemon_process::{PATIENCE, run, run_with_input, write_settings};
use kraite_streams::daemon::machine_clock::machine_clock;
use kraite_streams::domain::Clock as _;
use kraite_streams::domain::time::SystemClock;
use kraite_streams::exchange::binance::listen_key::Refusal;
use kraite_streams::sim::{AccountsConfig, LifeKind, SimConfig, SimHandle, Simulator, WeightLimit};
use kraite_streams::user_data::reconcile::meter_file::SharedMeter;
use kraite_streams::user_data::weight_meter::{WeightClass, WeightPermit};
use rusqlite::Connection;
use serde_json::Value;

const FILE: &str = "kraite-streams.toml";

struct Rig {
    _sim: SimHandle,
    folder: tempfile::TempDir,
    database: Connection,
}

impl Rig {
    /// `exposed` accounts have an order that was filled while nobody listened; one more has nothing.
    fn new(exposed: usize) -> Rig {
        let accounts = AccountsConfig {
            count: exposed + 1,
            frames_per_second: 0.0,
            trades_unheard: true,
            ..AccountsConfig::default()
        };
        let weight = WeightLimit { per_minute: 100_000, ..WeightLimit::default() };
        let sim = Simulator::start(SimConfig { accounts, weight, connects: None, ..SimConfig::default() }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings =
            ["net.rest_weight = 100000", "user_data.binance.dispatched_executions = \"NEW,TRADE,CANCELED,EXPIRED\""];
        write_settings(folder.path(), FILE, Some(&sim), &settings);
        for account in sim.accounts() {
            let name = format!("a{}", account.index);
            let arguments = ["--settings", FILE, "accounts", "add", "--exchange", "binance", "--name", &name];
            let input = format!("{}\n{}\n", account.api_key, account.api_secret);
            let (code, out, err) = run_with_input(folder.path(), &arguments, &input);
            assert_eq!(code, 0, "{out}{err}");
        }
        let database = Connection::open(folder.path().join("kraite-streams.sqlite")).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        (0..exposed).for_each(|account| sim.run_life(account, LifeKind::Filled));
        sim.sync();
        for account in 0..exposed {
            let book = sim.account_book(account);
            let order = book.orders.values().next().expect("the order of its life");
            let id = account as i64 + 1;
            database
                .execute(
                    "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
                     VALUES (?1, ?1, ?2, 'active', 'LONG')",
                    (id, &*order.instrument.symbol),
                )
                .unwrap();
            database
                .execute(
                    "INSERT INTO orders (id, position_id, client_order_id, type, status, reference_status, \
                     exchange_order_id, is_algo, quantity, price) VALUES (?1, ?1, ?2, 'LIMIT', 'NEW', 'NEW', ?3, 0, '1', '1')",
                    (id, format!("{id}-{}", order.client_id), order.id.to_string()),
                )
                .unwrap();
        }
        Rig { _sim: sim, folder, database }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn sync(&self, more: &[&str]) -> (i32, String, String) {
        let mut arguments = vec!["--settings", FILE, "sync-orders"];
        arguments.extend(more);
        run(self.path(), &arguments)
    }

    #[track_caller]
    fn report(&self, more: &[&str], expected: i32) -> Value {
        let (code, out, err) = self.sync(&[more, &["--json"]].concat());
        assert_eq!(code, expected, "{out}{err}");
        serde_json::from_str(&out).unwrap()
    }

    fn one(&self, text: &str) -> String {
        self.database.query_row(text, [], |row| row.get::<_, rusqlite::types::Value>(0)).map_or_else(
            |error| panic!("{text}: {error}"),
            |value| match value {
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            },
        )
    }

    /// The command in the background; what it prints goes into a file.
    fn spawn(&self) -> Running {
        let printed = self.path().join("printed");
        let child = Command::new(env!("CARGO_BIN_EXE_kraite-streams"))
            .args(["--settings", FILE, "sync-orders", "--json"])
            .current_dir(self.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&printed).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running { child, printed }
    }
}

struct Running {
    child: Child,
    printed: PathBuf,
}

impl Running {
    #[track_caller]
    fn wait(&mut self) -> (i32, Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let text = std::fs::read_to_string(&self.printed).unwrap();
                return (status.code().expect("it ends by itself"), serde_json::from_str(&text).unwrap());
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ids(report: &Value, list: &str) -> Vec<i64> {
    report[list].as_array().unwrap().iter().map(|account| account["account"].as_i64().unwrap()).collect()
}

fn drift(report: &Value) -> Vec<usize> {
    report["accounts"].as_array().unwrap().iter().map(|account| account["drift"].as_array().unwrap().len()).collect()
}

#[test]
fn drift_is_told_and_mended_and_the_stalest_comes_first() {
    let rig = Rig::new(3);
    let looked = rig.report(&["--dry-run"], 0);
    assert_eq!((ids(&looked, "accounts"), drift(&looked)), (vec![1, 2, 3], vec![1, 1, 1]), "{looked:#}");
    let told = &looked["accounts"][0]["drift"][0];
    assert_eq!((told["local"].as_str(), told["venue"].as_str()), (Some("NEW"), Some("FILLED")), "{told:#}");
    assert_eq!(looked["accounts"][0]["since_last_s"], Value::Null);
    assert!(looked["round_ms"].as_u64() > Some(0) && looked["estimated_round_s"].as_u64() >= Some(12), "{looked:#}");
    assert!(looked["weight_used"].as_u64() >= Some(3 * 90), "{looked:#}");
    assert_eq!(rig.one("SELECT count(*) FROM orders WHERE status <> 'NEW'"), "0", "looking changes nothing");
    assert_eq!(rig.one("SELECT count(*) FROM api_data_stream"), "0");
    assert_eq!(rig.one("SELECT count(*) FROM order_comparisons"), "0");

    let mended = rig.report(&["--account", "2"], 0);
    assert_eq!((ids(&mended, "accounts"), drift(&mended)), (vec![2], vec![1]), "{mended:#}");
    assert_eq!(rig.one("SELECT group_concat(status) FROM (SELECT status FROM orders ORDER BY id)"), "NEW,FILLED,NEW");
    // A third one has not been asked either, but has only an order.
    rig.database.execute_batch("UPDATE positions SET status = 'closed' WHERE id = 1").unwrap();
    let (code, out, err) = rig.sync(&[]);
    assert_eq!(code, 0, "{out}{err}");
    let heads: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("account ")?.get(..1)).collect();
    assert_eq!(heads, ["3", "2", "1"], "{out}");
    assert!(out.contains("last compared") && out.contains("never compared before"), "{out}");
    assert!(out.contains("NEW becomes FILLED") && out.contains("3 accounts in "), "{out}");
    assert_eq!(rig.one("SELECT count(*) FROM orders WHERE status = 'FILLED'"), "3");
    assert_eq!(rig.one("SELECT count(*) FROM order_comparisons WHERE compared_at IS NOT NULL"), "3");
    let again = rig.report(&[], 0);
    assert_eq!((ids(&again, "accounts"), drift(&again)), (vec![3, 2], vec![0, 0]), "{again:#}");
    assert!(again["accounts"][0]["since_last_s"].as_u64().is_some(), "{again:#}");
}

#[test]
fn an_account_that_cannot_be_asked_is_told_with_why() {
    let rig = Rig::new(2);
    let (code, _, err) = rig.sync(&["--account", "99"]);
    assert_eq!((code, err.contains("no account has the id 99")), (64, true), "{err}");
    let (code, out, _) = rig.sync(&["--account", "3"]);
    assert_eq!((code, out.contains("account 3 has no open orders or positions")), (0, true), "{out}");
    rig.database.execute_batch("UPDATE accounts SET is_active = 0 WHERE id = 2").unwrap();
    let (code, _, err) = rig.sync(&["--account", "2"]);
    assert_eq!((code, err.contains("account 2 is not asked: it is switched off")), (1, true), "{err}");
    // With the others it is named, and no fault.
    let report = rig.report(&[], 0);
    assert_eq!((ids(&report, "accounts"), ids(&report, "not_asked")), (vec![1], vec![2]), "{report:#}");
    // The venue does not take this one's key: the other is compared all the same.
    rig.database.execute_batch("UPDATE accounts SET is_active = 1 WHERE id = 2").unwrap();
    rig._sim.set_revoked(0, true);
    let report = rig.report(&[], 1);
    assert_eq!(ids(&report, "accounts"), [2, 1], "{report:#}");
    assert!(report["accounts"][1]["error"].as_str().unwrap().contains("API key"), "{report:#}");
    assert_eq!((report["accounts"][0]["error"].clone(), drift(&report)), (Value::Null, vec![1, 0]), "{report:#}");
    // It was asked, though not compared: the other one is the staler now.
    assert_eq!(ids(&rig.report(&["--dry-run"], 1), "accounts"), [2, 1]);
}

#[test]
fn a_ban_ends_it_at_once_and_says_for_how_long() {
    let rig = Rig::new(2);
    // Another process has met it.
    let clock = SystemClock::start();
    let other = SharedMeter::new(Some(rig.path().join("kraite-streams.weight")), 2_400, 0xaa, machine_clock(&clock));
    let WeightPermit::Now(call) = other.permit(WeightClass::SyncOrders, 40, clock.now()) else {
        panic!("nobody is banned yet")
    };
    let ban = Refusal::Banned { until_ms: None, retry_after: Some(Duration::from_secs(3_600)) };
    other.handle_answer(call, None, Some(ban), clock.now());
    let report = rig.report(&[], 75);
    assert!(report["ended_early"].as_str().unwrap().contains("banned this address for 3"), "{report:#}");
    assert_eq!((ids(&report, "accounts"), ids(&report, "not_asked")), (vec![], vec![1, 2]), "{report:#}");
    assert!(report["estimated_round_s"].as_u64() > Some(3_500), "{report:#}");
    assert_eq!(rig.one("SELECT count(*) FROM order_comparisons"), "0", "nobody was asked");
    let (code, out, _) = rig.sync(&["--account", "1"]);
    assert_eq!((code, out.contains("account 1: not asked: the venue has banned")), (75, true), "{out}");
}

#[test]
fn one_acts_at_a_time_and_a_stop_in_the_middle_is_clean() {
    let rig = Rig::new(6);
    let mut first = rig.spawn();
    let begun = Instant::now();
    while rig.one("SELECT count(*) FROM sqlite_master WHERE name = 'order_comparisons'") == "0"
        || rig.one("SELECT count(*) FROM order_comparisons") == "0"
    {
        assert!(begun.elapsed() < PATIENCE, "no account is compared");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (code, out, err) = rig.sync(&[]);
    let name = format!("sync-orders safety net (pid {})", first.child.id());
    assert_eq!((code, err.contains(&name)), (75, true), "{out}{err}");
    let stop = Command::new("kill").args(["-TERM", &first.child.id().to_string()]).status().unwrap();
    assert!(stop.success());
    let (code, report) = first.wait();
    let (asked, left) = (ids(&report, "accounts"), ids(&report, "not_asked"));
    assert_eq!((code, report["ended_early"].as_str()), (75, Some("it was told to stop")), "{report:#}");
    assert!(!asked.is_empty() && !left.is_empty() && asked.len() + left.len() == 6, "{report:#}");
    // What it told is done, and the rest is as it was; the next one begins with that.
    assert_eq!(rig.one("SELECT count(*) FROM orders WHERE status = 'FILLED'"), asked.len().to_string());
    let next = rig.report(&[], 0);
    assert_eq!(ids(&next, "accounts"), [left, asked].concat(), "{next:#}");
    assert_eq!(rig.one("SELECT count(*) FROM orders WHERE status = 'FILLED'"), "6");
}
