//! The simulator with one one-way account, the real daemon on an embedded database, and a look into that.

use std::time::{Duration, Instant};

use kraite_streams::ops::status::ReconcileStatus;
use kraite_streams::sim::{
    AccountFault, AccountsConfig, Injection, LifeKind, SimConfig, SimHandle, Simulator, WeightLimit,
};
use rusqlite::Connection;

use crate::daemon_process::{Daemon, PATIENCE, run_with_input, write_settings};

pub const FILE: &str = "kraite-streams.toml";
/// Everything that the venue may tell is applied.
pub const ALL: &str = "user_data.binance.dispatched_executions = \"NEW,TRADE,AMENDMENT,CANCELED,EXPIRED,REJECTED,CALCULATED,\
                       ALGO_NEW,ALGO_CANCELED,ALGO_EXPIRED,ALGO_REJECTED,ALGO_TRIGGERING,ALGO_TRIGGERED,ALGO_FINISHED,ALGO_FILLED\"";
/// How long a reconcile may take here, with a retry before it.
const RECONCILED_WITHIN: Duration = Duration::from_secs(180);

pub struct Stage {
    pub sim: SimHandle,
    pub daemon: Daemon,
    pub folder: tempfile::TempDir,
    pub database: Connection,
}

impl Stage {
    /// With the account live, and the gap of its first connection closed.
    #[track_caller]
    pub fn set(seed: u64, clock_ahead_ms: i64, settings: &[&str]) -> Stage {
        let accounts = AccountsConfig { count: 1, hedge_every: 0, ..AccountsConfig::default() };
        let weight = WeightLimit { per_minute: 100_000, ..WeightLimit::default() };
        let config = SimConfig { seed, accounts, connects: None, weight, clock_ahead_ms, ..SimConfig::default() };
        let sim = Simulator::start(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let all = Stage::settings(settings);
        write_settings(folder.path(), FILE, Some(&sim), &all);
        let account = &sim.accounts()[0];
        let arguments = ["--settings", FILE, "accounts", "add", "--exchange", "binance", "--name", "a"];
        let input = format!("{}\n{}\n", account.api_key, account.api_secret);
        let (code, out, err) = run_with_input(folder.path(), &arguments, &input);
        assert_eq!(code, 0, "{out}{err}");
        let daemon = Daemon::start_command("user-data", folder.path(), FILE, Some(&sim), &all, &[]);
        let database = Connection::open(folder.path().join("kraite-streams.sqlite")).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        let mut stage = Stage { sim, daemon, folder, database };
        stage.wait_gaps(1);
        stage
    }

    /// The settings of all tests, and these.
    pub fn settings<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec![
            "user_data.discovery_s = 5",
            "user_data.liveness_mark_s = 1",
            "user_data.sync_orders_s = 0",
            "net.connects_per_window = 10000",
            "net.rest_weight = 100000",
            ALL,
        ];
        all.extend(more);
        all
    }

    /// These lives pass while nobody listens: the connection is cut before them, and comes back behind them.
    pub fn unheard(&mut self, lives: &[LifeKind]) {
        let gaps = self.count("SELECT count(*) FROM stream_gaps");
        let fault = |fault| Injection::Account { account: 0, fault };
        self.sim.inject(fault(AccountFault::RefuseUpgrade { status: 503 }));
        self.sim.inject(fault(AccountFault::Cut));
        lives.iter().for_each(|kind| self.sim.run_life(0, *kind));
        self.sim.sync();
        self.wait_gaps(gaps + 1);
    }

    /// Waits until there are so many gaps, all with their outcome, and the worker has applied what they brought.
    #[track_caller]
    pub fn wait_gaps(&mut self, count: i64) {
        self.wait_for("gaps with their outcome", |stage| {
            stage.count("SELECT count(*) FROM stream_gaps") >= count
                && stage.count("SELECT count(*) FROM stream_gaps WHERE outcome IS NULL") == 0
        });
        // A gap has its outcome when what was missed is in the spool; the jobs come a moment later.
        let mut quiet = 0;
        self.daemon.wait_status("the account live and all jobs applied", |status| {
            let is_live =
                status.user_data.as_ref().is_some_and(|user_data| user_data.live == 1 && user_data.behind == 0);
            let is_done = status.work.as_ref().is_some_and(|work| work.in_hand == 0 && work.queue_depth == 0);
            // Two statuses, a second apart, so that the first is not of before.
            quiet = if is_live && is_done { quiet + 1 } else { 0 };
            quiet > 40
        });
    }

    #[track_caller]
    pub fn wait_for(&mut self, what: &str, is_so: impl Fn(&Stage) -> bool) {
        let deadline = Instant::now() + RECONCILED_WITHIN;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what} did not come:\n{:#?}\n{}", self.notes(), self.daemon.log(FILE));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until the reconciler says so.
    #[track_caller]
    pub fn wait_reconcile(&mut self, what: &str, is_so: impl Fn(&ReconcileStatus) -> bool) -> ReconcileStatus {
        let status = self.daemon.wait_status(what, |status| {
            status.user_data.as_ref().and_then(|user_data| user_data.reconcile.as_ref()).is_some_and(&is_so)
        });
        status.user_data.unwrap().reconcile.unwrap()
    }

    /// A number of the database.
    pub fn count(&self, query: &str) -> i64 {
        // The daemon makes the tables.
        self.database.query_row(query, [], |row| row.get(0)).unwrap_or(-1)
    }

    pub fn texts(&self, query: &str) -> Vec<String> {
        let mut statement = self.database.prepare(query).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// Each gap's outcome and note.
    pub fn notes(&self) -> Vec<String> {
        self.texts(
            "SELECT coalesce(outcome, 'none') || ': ' || coalesce(outcome_note, '') FROM stream_gaps ORDER BY id",
        )
    }

    /// Account events that were recovered, in the order in which they were recorded.
    pub fn recovered_holdings(&self) -> Vec<serde_json::Value> {
        let texts = self.texts(
            "SELECT raw_payload FROM api_data_stream WHERE event_type = 'account_update' \
             AND raw_payload LIKE '%\"recovered\":true}' ORDER BY id",
        );
        texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }
}
