//! Settings, accounts and daemon of these tests, and the comparison of the queue with the exchange's ledgers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kraite_streams::domain::Wall;
use kraite_streams::ops::status::UserDataStatus;
use kraite_streams::queue::JobReader;
use kraite_streams::sim::{AccountCredentials, AccountsConfig, SimConfig, SimHandle, Simulator};

use crate::daemon_process::{Daemon, PATIENCE, run_with_input, write_settings};
use crate::redis_server::RedisServer;

pub const SETTINGS: &str = "kraite-streams.toml";
pub const KEY: &str = "laravel_database_queues:user-data-stream";
/// A daemon of which nothing moves for so long is stuck, however busy the machine is.
pub const STILL_MAX: Duration = Duration::from_secs(30);
/// Jobs that are fetched at a time.
const JOBS_PAGE: isize = 5_000;

pub fn simulator(accounts: usize, frames_per_second: f64) -> SimHandle {
    let accounts = AccountsConfig { count: accounts, frames_per_second, ..AccountsConfig::default() };
    Simulator::start(SimConfig { accounts, connects: None, ..SimConfig::default() }).unwrap()
}

/// Settings and accounts, made with the program's own commands; account `n` of the exchange is row `n + 1`.
pub fn prepare(folder: &Path, sim: &SimHandle, redis: &RedisServer) -> Vec<String> {
    prepare_with(folder, sim, redis, &[])
}

/// As [`prepare`], with further settings.
pub fn prepare_with(folder: &Path, sim: &SimHandle, redis: &RedisServer, more: &[&str]) -> Vec<String> {
    let settings = settings_with(redis, more);
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    write_settings(folder, SETTINGS, Some(sim), &lines);
    for account in sim.accounts() {
        add_account(folder, &account);
    }
    settings
}

/// The settings of all these tests, and `more`.
pub fn settings_with(redis: &RedisServer, more: &[&str]) -> Vec<String> {
    let mut settings = vec![
        format!("queue.url = \"{}\"", redis.url()),
        "queue.job_class = 'App\\Jobs\\UserDataEvent'".to_owned(),
        "user_data.discovery_s = 5".to_owned(),
        "user_data.liveness_mark_s = 1".to_owned(),
        // Nobody consumes: the whole run lies on the queue in the end.
        "queue.depth_max = 10000000".to_owned(),
        // Tests reconnect more in a minute than a venue allows in five.
        "net.connects_per_window = 10000".to_owned(),
    ];
    settings.extend(more.iter().map(|&line| line.to_owned()));
    settings
}

/// The program's own command gives the account its row.
pub fn add_account(folder: &Path, account: &AccountCredentials) {
    let name = format!("a{}", account.index);
    let arguments = ["--settings", SETTINGS, "accounts", "add", "--exchange", "binance", "--name", &name];
    let input = format!("{}\n{}\n", account.api_key, account.api_secret);
    let (code, out, err) = run_with_input(folder, &arguments, &input);
    assert_eq!(code, 0, "{out}{err}");
}

pub fn start(folder: &Path, sim: &SimHandle, settings: &[String]) -> Daemon {
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    Daemon::start_command("user-data", folder, SETTINGS, Some(sim), &lines, &[])
}

/// Waits until all accounts are live.
#[track_caller]
pub fn wait_live(daemon: &mut Daemon, accounts: u64) {
    daemon.wait_status("all accounts live", |status| {
        status.user_data.as_ref().is_some_and(|user_data| user_data.live == accounts)
    });
}

/// What the daemon shows of its accounts, as soon as it shows anything.
#[track_caller]
pub fn user_data(daemon: &mut Daemon) -> UserDataStatus {
    let status = daemon.wait_status("accounts in the status", |status| status.user_data.is_some());
    status.user_data.expect("waited for")
}

/// Waits as long as `number` moves: fails once it has not changed for [`STILL_MAX`].
#[track_caller]
pub fn wait_moving(
    what: &str,
    daemon: &mut Daemon,
    number: fn(&UserDataStatus) -> u64,
    mut is_so: impl FnMut(&UserDataStatus) -> bool,
) -> UserDataStatus {
    let (mut last, mut moved_at) = (None, Instant::now());
    loop {
        let now = user_data(daemon);
        if is_so(&now) {
            return now;
        }
        let number = Some(number(&now));
        if number != last {
            (last, moved_at) = (number, Instant::now());
        }
        assert!(moved_at.elapsed() < STILL_MAX, "{what} did not come; {now:#?}\n{}", daemon.log(SETTINGS));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The connection that each account has, by index; `None` = none or more than one.
pub fn connections(sim: &SimHandle) -> Vec<Option<u64>> {
    let of = |account: usize| {
        let ledger = sim.account_ledger(account);
        let mut open = ledger.sessions.iter().filter(|session| session.ended.is_none());
        open.next().map(|session| session.connection).filter(|_| open.next().is_none())
    };
    (0..sim.accounts().len()).map(of).collect()
}

/// Asks until it is so.
#[track_caller]
pub fn wait_until(what: &str, daemon: &Daemon, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come\n{}", daemon.log(SETTINGS));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What each account has on the queue: its frames in order, and its gaps.
#[derive(Default)]
pub struct Queued {
    pub frames: Vec<Vec<u8>>,
    pub gaps: Vec<(Wall, Wall)>,
    /// Epoch, position and the position before it, in the order of the queue.
    pub positions: Vec<([u8; 16], u64, Option<u64>)>,
}

/// All that lies on the queue, by account.
pub fn queued(redis: &RedisServer) -> BTreeMap<u64, Queued> {
    let mut connection = redis.client();
    let mut reader = JobReader::new();
    let mut accounts: BTreeMap<u64, Queued> = BTreeMap::new();
    for from in (0..).step_by(JOBS_PAGE as usize) {
        let page = redis::cmd("LRANGE").arg(KEY).arg(from).arg(from + JOBS_PAGE - 1).query(&mut connection);
        let bodies: Vec<Vec<u8>> = page.unwrap();
        for body in &bodies {
            let job = reader.read(body).unwrap();
            let account = accounts.entry(job.account).or_default();
            match job.kind {
                "frame" => account.frames.push(job.raw.to_vec()),
                "gap" => {
                    let gap: serde_json::Value = serde_json::from_slice(job.raw).unwrap();
                    let since = gap["silent_since_us"].as_i64().unwrap_or(0);
                    let live_at = gap["live_at_us"].as_i64().unwrap();
                    account.gaps.push((Wall::from_micros(since), Wall::from_micros(live_at)));
                }
                // What a reconcile recovered is no frame of the stream.
                "recovered" => {}
                other => panic!("a job of the kind {other}"),
            }
            account.positions.push((job.epoch, job.position, job.previous));
        }
        if bodies.is_empty() {
            break;
        }
    }
    accounts
}

/// Waits until the queue agrees with the exchange's ledger: its last frames may still be under way through the daemon.
#[track_caller]
pub fn assert_ledgers_agree(sim: &SimHandle, redis: &RedisServer, daemon: &mut Daemon) {
    sim.quiesce();
    assert!(sim.wait_delivered(PATIENCE), "frames of the exchange are still under way");
    let (mut jobs, mut moved_at) = (0, Instant::now());
    loop {
        let queued = queued(redis);
        let complaints = complaints(sim, &queued);
        if complaints.is_empty() {
            return;
        }
        let now = queued.values().map(|account| account.positions.len()).sum();
        if jobs != now {
            (jobs, moved_at) = (now, Instant::now());
        }
        assert!(moved_at.elapsed() < STILL_MAX, "{}\n{}", complaints.join("\n"), daemon.log(SETTINGS));
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What is wrong with these jobs by the exchange's ledger, in words.
fn complaints(sim: &SimHandle, queued: &BTreeMap<u64, Queued>) -> Vec<String> {
    let mut complaints = Vec::new();
    for account in sim.accounts() {
        let ledger = sim.account_ledger(account.index);
        assert_eq!(ledger.unrecorded, 0, "the exchange's own ledger overflowed");
        let empty = Queued::default();
        let mine = queued.get(&(account.index as u64 + 1)).unwrap_or(&empty);
        let verdict = ledger.judge(mine.frames.iter().map(Vec::as_slice), &mine.gaps);
        if !verdict.is_clean() {
            complaints.push(format!(
                "account {}: {} frames neither queued nor in a gap, {} foreign, {} impossible, {} out of order; {} queued, \
                 {} gaps; the first: {:?}",
                account.index,
                verdict.uncovered.len(),
                verdict.foreign,
                verdict.impossible,
                verdict.disordered,
                verdict.distinct,
                mine.gaps.len(),
                verdict.uncovered.first()
            ));
        }
    }
    let frames: usize = queued.values().map(|account| account.frames.len()).sum();
    if frames <= 100 {
        complaints.push(format!("only {frames} frames were queued"));
    }
    complaints
}
