//! Promise: in `run` a price outage never touches accounts. The real binary plays both roles against the simulator; the feed
//! falls silent, the price role alone is built anew and an alarm says so, and the accounts' sockets are the same as before.
#![cfg(feature = "sim")]

use std::path::Path;
use std::time::{Duration, Instant};

use kraite_streams::ops::Status;
use kraite_streams::sim::{AccountsConfig, FaultKind, SimConfig, SimHandle, Simulator};

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;

use daemon_process::{Daemon, run_with_input, write_settings};

const SETTINGS: &str = "kraite-streams.toml";
const ACCOUNTS: usize = 3;
const REBUILT: &str = "the price role is rebuilt: no price for";

/// Prices five times as fast as the venue's, and three accounts.
fn simulator() -> SimHandle {
    let accounts = AccountsConfig { count: ACCOUNTS, frames_per_second: 60.0, ..AccountsConfig::default() };
    let tick = Duration::from_millis(200);
    Simulator::start(SimConfig { tick, accounts, connects: None, ..SimConfig::default() }).unwrap()
}

fn start(folder: &Path, sim: &SimHandle, more: &[&str]) -> Daemon {
    let mut settings = vec!["user_data.liveness_mark_s = 1", "net.connects_per_window = 10000"];
    settings.extend(more);
    write_settings(folder, SETTINGS, Some(sim), &settings);
    for account in sim.accounts() {
        let name = format!("a{}", account.index);
        let arguments = ["--settings", SETTINGS, "accounts", "add", "--exchange", "binance", "--name", &name];
        let input = format!("{}\n{}\n", account.api_key, account.api_secret);
        let (code, out, err) = run_with_input(folder, &arguments, &input);
        assert_eq!(code, 0, "{out}{err}");
    }
    Daemon::start_command("run", folder, SETTINGS, Some(sim), &settings, &[])
}

/// Every connection that each account ever had, by index.
fn sockets(sim: &SimHandle) -> Vec<Vec<u64>> {
    let of = |account| sim.account_ledger(account).sessions.iter().map(|session| session.connection).collect();
    (0..ACCOUNTS).map(of).collect()
}

/// Gaps that the accounts have recorded, all together.
fn gaps(status: &Status) -> u64 {
    status.user_data.as_ref().map_or(0, |user_data| user_data.gaps)
}

#[track_caller]
fn wait_live(daemon: &mut Daemon) -> Status {
    daemon.wait_status("all accounts live", |status| {
        status.user_data.as_ref().is_some_and(|user_data| user_data.live == ACCOUNTS as u64)
    })
}

fn frames(status: &Status) -> u64 {
    status.user_data.as_ref().map_or(0, |user_data| user_data.frames)
}

/// Times that the price role was built anew, as the log has it.
fn rebuilds(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join(format!("{SETTINGS}.log"))).unwrap().matches(REBUILT).count()
}

#[track_caller]
fn assert_ends_in_time(mut daemon: Daemon) {
    let began = Instant::now();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log(SETTINGS));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[test]
fn a_feed_that_is_silent_for_ever_rebuilds_the_price_role_alone() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    // The un-routed root: connected, acknowledged, silent for ever.
    let silent = ["prices.path = \"/ws/!markPrice@arr@1s\"", "prices.silence_s = 1", "prices.silence_exit_s = 3"];
    let mut daemon = start(folder.path(), &sim, &silent);
    let before = wait_live(&mut daemon);
    let sockets_before = sockets(&sim);
    assert!(sockets_before.iter().all(|mine| mine.len() == 1), "{sockets_before:?}");
    let alarmed = daemon.wait_status("the alarm", |status| status.alarms.iter().any(|alarm| alarm.contains(REBUILT)));
    assert!(alarmed.user_data.is_some_and(|user_data| user_data.live == ACCOUNTS as u64));
    let pid = daemon.pid();
    let after = daemon.wait_status("frames of accounts", |status| {
        frames(status) > frames(&before) + 200 && status.alarms.iter().any(|alarm| alarm.contains(REBUILT))
    });
    let deadline = Instant::now() + daemon_process::PATIENCE;
    while rebuilds(folder.path()) < 3 {
        assert!(Instant::now() < deadline, "it was rebuilt {} times only", rebuilds(folder.path()));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((after.pid, sockets(&sim), gaps(&after)), (pid, sockets_before, gaps(&before)));
    assert!(sim.ledger().upgrades as usize >= ACCOUNTS + 3, "each role had a connection of its own");
    assert_ends_in_time(daemon);
}

#[test]
fn prices_come_back_with_the_feed_and_the_alarm_goes() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    let mut daemon = start(folder.path(), &sim, &["prices.silence_s = 1", "prices.silence_exit_s = 3"]);
    wait_live(&mut daemon);
    let before = daemon.wait_status("prices", |status| status.writer.rows_written > 1_000);
    let sockets_before = sockets(&sim);
    // Nobody is let in for longer than a role may be silent; live sockets stay.
    sim.inject(FaultKind::RefuseConnect { lasts: Duration::from_secs(6) });
    daemon.wait_status("the alarm", |status| status.alarms.iter().any(|alarm| alarm.contains(REBUILT)));
    let after = daemon.wait_status("prices of a fresh role, without an alarm", |status| {
        status.alarms.is_empty() && status.writer.rows_written > 1_000 && rebuilds(folder.path()) > 0
    });
    assert_eq!((sockets(&sim), gaps(&after)), (sockets_before, gaps(&before)));
    assert!(frames(&after) > frames(&before));
    assert_ends_in_time(daemon);
}
