//! The simulator that enforces weight, and daemons that are real processes on embedded databases.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kraite_streams::ops::encrypter::Cipher;
use kraite_streams::ops::status::{ReconcileStatus, Status, UserDataStatus};
use kraite_streams::ops::{AppKeys, Encrypter};
use kraite_streams::sim::{AccountCredentials, AccountsConfig, Counts, SimConfig, SimHandle, WeightLimit};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::{Ciphertext, NewAccount};
use kraite_streams::store::{StoreUrl, UserDataStore};
use rusqlite::Connection;

use crate::daemon_process::{Daemon, PATIENCE};

pub const FILE: &str = "kraite-streams.toml";
const DATABASE: &str = "kraite-streams.sqlite";
const APP_KEY: &str = "0123456789abcdef0123456789abcdef";

/// A daemon with accounts of its own.
pub struct Host {
    pub daemon: Daemon,
    pub database: Connection,
    folder: PathBuf,
    count: u64,
}

/// A venue with a small market that is strict about weight and about nothing else.
pub fn venue(count: usize, weight: WeightLimit) -> SimConfig {
    SimConfig {
        symbols: Counts { ordinary: 30, coin_m: 1, tradfi: 1 },
        accounts: AccountsConfig { count, trades_unheard: true, ..AccountsConfig::default() },
        connects: None,
        weight,
        ..SimConfig::default()
    }
}

impl Host {
    /// The daemon over these accounts, in a folder of its own; row ids are 1, 2, ….
    #[track_caller]
    pub fn start(sim: &SimHandle, accounts: &[AccountCredentials], folder: &Path, settings: &[&str]) -> Host {
        std::fs::create_dir_all(folder).unwrap();
        let url = StoreUrl::Sqlite(folder.join(DATABASE));
        let mut store = UserDataStore::new(&url, &UserDataOptions::new("test")).unwrap();
        let columns = Encrypter::new(AppKeys::parse(APP_KEY, "").unwrap(), Cipher::Aes256Cbc);
        let encrypt = |text: &str| Ciphertext::new(columns.encrypt(text).unwrap());
        for account in accounts {
            let name = format!("a{}", account.index);
            let (api_key, api_secret) = (encrypt(&account.api_key), encrypt(&account.api_secret));
            let row = NewAccount {
                canonical: "binance",
                name: &name,
                user_id: None,
                uuid: &name,
                api_key: &api_key,
                api_secret: &api_secret,
            };
            store.run(|tables| tables.add_account(&row)).unwrap().unwrap();
        }
        store.close();
        let app_key = format!("user_data.app_key = \"{APP_KEY}\"");
        let mut all = vec![
            app_key.as_str(),
            "user_data.sync_orders_s = 0",
            "user_data.liveness_mark_s = 10",
            "user_data.keep_alive_min_s = 10",
            "user_data.keep_alive_max_s = 60",
            "net.connects_per_window = 10000",
            "net.connect_window_s = 10",
        ];
        all.extend(settings);
        let daemon = Daemon::start_command("user-data", folder, FILE, Some(sim), &all, &[]);
        let database = Connection::open(folder.join(DATABASE)).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        Host { daemon, database, folder: folder.to_owned(), count: accounts.len() as u64 }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The account has a position: it has something to lose.
    pub fn expose(&self, account: i64) {
        self.database
            .execute(
                "INSERT INTO positions (account_id, parsed_trading_pair, status, direction) \
                 VALUES (?1, 'BTCUSDT', 'active', 'LONG')",
                [account],
            )
            .unwrap();
    }

    #[track_caller]
    pub fn wait_live(&mut self, patience: Duration) {
        let count = self.count;
        self.wait("all accounts live", patience, |status| status.live == count);
    }

    /// As [`Daemon::wait_status`], but with a patience of its own.
    #[track_caller]
    pub fn wait(&mut self, what: &str, patience: Duration, wanted: impl Fn(&UserDataStatus) -> bool) -> UserDataStatus {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what} did not come: {status:#?}\n{}", self.daemon.log(FILE));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub fn status(&mut self) -> UserDataStatus {
        self.whole_status().user_data.unwrap()
    }

    pub fn whole_status(&mut self) -> Status {
        self.daemon.wait_status("any status", |status| status.user_data.is_some())
    }

    pub fn reconcile(&mut self) -> ReconcileStatus {
        self.status().reconcile.unwrap_or_default()
    }

    /// Gaps with an outcome, of so many, of the accounts that `wanted` picks.
    pub fn gaps(&self, wanted: impl Fn(i64) -> bool) -> (usize, usize) {
        let mut statement =
            self.database.prepare_cached("SELECT account_id, outcome IS NOT NULL FROM stream_gaps").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?))).unwrap();
        let mine: Vec<bool> = rows.map(Result::unwrap).filter(|(id, _)| wanted(*id)).map(|(_, is)| is).collect();
        (mine.iter().filter(|is_closed| **is_closed).count(), mine.len())
    }

    /// Until every gap has its outcome, and there is at least `least` of them.
    #[track_caller]
    pub fn wait_closed(&mut self, least: usize, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            let (closed, all) = self.gaps(|_| true);
            if closed == all && all >= least {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{closed} of {all} gaps are closed: {:#?}\n{}",
                self.status(),
                self.daemon.log(FILE)
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
