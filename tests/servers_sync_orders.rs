//! Promise: of all machines on one PostgreSQL one plays the safety net; who it is, others are told; when it dies, another one
//! has taken over within a minute; and `sync-orders` works while none runs.
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

use std::path::Path;

use daemon_process::{Daemon, run, write_settings};
use kraite_streams::ops::status::Status;
use kraite_streams::sim::{AccountsConfig, LifeKind, SimConfig, SimHandle, Simulator};
use postgres_server::PostgresServer;
use redis_server::RedisServer;
use rig::{SETTINGS, add_account, settings_with, start, wait_live, wait_until};

const APP_KEY: &str = "user_data.app_key = \"base64:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=\"";
const EXECUTIONS: &str = "user_data.binance.dispatched_executions = \"NEW,TRADE,CANCELED,EXPIRED\"";

/// A machine's folder with its settings.
fn machine(folder: &Path, sim: &SimHandle, redis: &RedisServer, postgres: &PostgresServer) -> Vec<String> {
    let store = format!("store.url = \"{}\"", postgres.url_text("postgres"));
    let settings = settings_with(redis, &[&store, APP_KEY, EXECUTIONS, "user_data.sync_orders_s = 3"]);
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    write_settings(folder, SETTINGS, Some(sim), &lines);
    settings
}

fn rounds(status: &Status) -> u64 {
    let reconcile = status.user_data.as_ref().and_then(|user_data| user_data.reconcile.as_ref());
    reconcile.map_or(0, |reconcile| reconcile.sync_rounds)
}

/// Who the command is told holds the lease.
#[track_caller]
fn refused(folder: &Path) -> String {
    let (code, out, err) = run(folder, &["--settings", SETTINGS, "sync-orders"]);
    assert_eq!(code, 75, "{out}{err}");
    err
}

fn names(daemon: &Daemon) -> String {
    format!("kraite-streams user-data safety net (pid {})", daemon.pid())
}

#[test]
fn one_machine_plays_the_safety_net_and_another_takes_over_when_it_dies() {
    let accounts =
        AccountsConfig { count: 1, frames_per_second: 0.0, trades_unheard: true, ..AccountsConfig::default() };
    let sim = Simulator::start(SimConfig { accounts, connects: None, ..SimConfig::default() }).unwrap();
    let (redis, postgres) = (RedisServer::start(&[]), PostgresServer::start());
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [one, other, third] = folders.each_ref().map(tempfile::TempDir::path);
    let settings = machine(one, &sim, &redis, &postgres);
    machine(other, &sim, &redis, &postgres);
    machine(third, &sim, &redis, &postgres);
    let (code, out, err) = run(one, &["--settings", SETTINGS, "migrate"]);
    assert_eq!(code, 0, "{out}{err}");
    sim.accounts().iter().for_each(|account| add_account(one, account));
    sim.run_life(0, LifeKind::Filled);
    sim.sync();
    let book = sim.account_book(0);
    let order = book.orders.values().next().expect("the order of its life");
    let mut client = postgres.client("postgres");
    client
        .batch_execute(&format!(
            "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
             VALUES (1, 1, '{}', 'active', 'LONG'); \
             INSERT INTO orders (id, position_id, client_order_id, type, status, reference_status, exchange_order_id, \
             is_algo, quantity, price) VALUES (1, 1, '{}', 'LIMIT', 'NEW', 'NEW', '{}', false, 1, 1)",
            order.instrument.symbol, order.client_id, order.id
        ))
        .unwrap();

    let mut first = start(one, &sim, &settings);
    wait_live(&mut first, 1);
    first.wait_status("a round of the first", |status| rounds(status) > 0);
    let mut second = start(other, &sim, &settings);
    wait_live(&mut second, 1);
    let told = format!("is played by {}", names(&first));
    wait_until("the second to know who it is", &second, || second.log(SETTINGS).contains(&told));
    assert!(refused(third).contains(&names(&first)));
    // The lease is asked for at every look, and its round would be due.
    let played = rounds(&first.wait_status("the first", |status| status.user_data.is_some()));
    first.wait_status("two more rounds of the first", |status| rounds(status) >= played + 2);
    assert_eq!(rounds(&second.wait_status("the second", |status| status.user_data.is_some())), 0);

    first.signal("KILL");
    first.wait_end();
    // Within what this waits for, a minute.
    second.wait_status("a round of the second", |status| rounds(status) > 0);
    assert!(refused(third).contains(&names(&second)));
    // Its lease's session is cut: it has lost it and takes it again, and never acts without.
    let cut =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE '%safety net%'";
    let count: i64 = client.query_one(cut, &[]).unwrap().get(0);
    assert_eq!(count, 1, "one session bears the lease");
    let played = rounds(&second.wait_status("the second", |status| status.user_data.is_some()));
    second.wait_status("another round of the second", |status| rounds(status) >= played + 2);
    assert_eq!(second.stop(), 0, "{}", second.log(SETTINGS));

    // Nobody consumes the queue, so the row is as it was; the command mends it by itself.
    let arguments = ["--settings", SETTINGS, "sync-orders", "--json"];
    let (code, out, err) = run(third, &arguments);
    assert_eq!(code, 0, "{out}{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let account = &report["accounts"][0];
    assert_eq!(
        (account["account"].as_i64(), account["drift"][0]["venue"].as_str()),
        (Some(1), Some("FILLED")),
        "{out}"
    );
    assert!(account["since_last_s"].as_u64().is_some(), "the daemons' rounds count: {out}");
    let status: String = client.query_one("SELECT status::text FROM orders WHERE id = 1", &[]).unwrap().get(0);
    assert_eq!(status, "FILLED");
}
