//! PostgreSQL as the store of accounts: found, lost and found again, and no frame is lost with it.

use std::time::Duration;

use crate::daemon_process::{run, write_settings};
use crate::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;
use crate::rig::{
    SETTINGS, add_account, assert_ledgers_agree, connections, settings_with, simulator, start, wait_live, wait_until,
};

const APP_KEY: &str = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn accounts_live_through_a_restart_of_postgresql() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(3, 40.0), RedisServer::start(&[]));
    let mut server = PostgresServer::start();
    let url = format!("store.url = \"{}\"", server.url_text("postgres"));
    let settings = settings_with(&redis, &[&url, &format!("user_data.app_key = \"{APP_KEY}\"")]);
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    write_settings(folder.path(), SETTINGS, Some(&sim), &lines);
    let (code, out, err) = run(folder.path(), &["--settings", SETTINGS, "migrate"]);
    assert_eq!(code, 0, "{out}{err}");
    let all = sim.accounts();
    all[..2].iter().for_each(|account| add_account(folder.path(), account));
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 2);
    let before = connections(&sim);
    server.kill();
    daemon.wait_status("the outage", |status| status.alarms.iter().any(|alarm| alarm.contains("database")));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(connections(&sim), before);
    server.restart();
    // What comes while the role remembers its database is found.
    add_account(folder.path(), &all[2]);
    wait_live(&mut daemon, 3);
    assert_eq!(connections(&sim)[..2], before[..2]);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    let keys = "SELECT count(*) FROM binance_listen_keys";
    wait_until("three keys", &daemon, || server.client("postgres").query_one(keys, &[]).unwrap().get::<_, i64>(0) == 3);
    assert_eq!(daemon.stop(), 0);
    assert!(!daemon.log(SETTINGS).contains(APP_KEY));
}
