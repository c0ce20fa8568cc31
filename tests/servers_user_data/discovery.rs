//! Accounts that come, go and come back while the daemon runs, and a second daemon that wants the same spool.

use std::path::Path;

use crate::daemon_process::{Daemon, run};
use crate::redis_server::RedisServer;
use crate::rig::{
    SETTINGS, add_account, assert_ledgers_agree, connections, prepare, simulator, start, wait_live, wait_until,
};

#[track_caller]
fn accounts(folder: &Path, command: &str, name: &str) {
    let (code, out, err) = run(folder, &["--settings", SETTINGS, "accounts", command, name]);
    assert_eq!(code, 0, "{command} {name}: {out}{err}");
}

/// Accounts with a listen key's row, in order.
fn keyed(folder: &Path) -> Vec<i64> {
    let file = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let file =
        file.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "sqlite" || ending == "db"));
    let database = rusqlite::Connection::open(file.expect("the embedded store")).unwrap();
    let mut rows = database.prepare("SELECT account_id FROM binance_listen_keys ORDER BY account_id").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn accounts_come_and_go_without_a_restart() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(2, 40.0), RedisServer::start(&[]));
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 2);
    let before = connections(&sim);
    wait_until("two keys", &daemon, || keyed(folder.path()) == [1, 2]);

    let third = sim.add_account().unwrap();
    add_account(folder.path(), &third);
    wait_live(&mut daemon, 3);
    wait_until("a third key", &daemon, || keyed(folder.path()) == [1, 2, 3]);

    accounts(folder.path(), "disable", "a1");
    wait_until("the end of its socket and its key", &daemon, || {
        connections(&sim)[1].is_none() && keyed(folder.path()) == [1, 3]
    });
    wait_live(&mut daemon, 2);

    accounts(folder.path(), "enable", "a1");
    wait_live(&mut daemon, 3);
    wait_until("its key again", &daemon, || keyed(folder.path()) == [1, 2, 3]);
    assert!(connections(&sim)[1].is_some_and(|new| Some(new) != before[1]));
    assert_eq!(connections(&sim)[0], before[0], "the other account stays undisturbed");
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_second_daemon_on_the_same_spool_is_told_who_has_it() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(1, 10.0), RedisServer::start(&[]));
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 1);
    let before = connections(&sim);
    let mut lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    lines.push("ops.status_file = \"second.json\"");
    let mut second = Daemon::start_command("user-data", folder.path(), "second.toml", Some(&sim), &lines, &[]);
    assert_eq!(second.wait_end().code(), Some(75));
    let log = second.log("second.toml");
    assert!(log.contains("cannot be used") && log.contains(&daemon.pid().to_string()), "{log}");
    assert_eq!(connections(&sim), before);
    assert_eq!(daemon.stop(), 0);
}
