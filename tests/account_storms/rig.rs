//! The simulator, accounts in an embedded database, and what of a daemon can be counted from outside.

use std::path::Path;
use std::time::{Duration, Instant};

use kraite_streams::daemon::wiring;
use kraite_streams::ops::key_place::KeyPlace;
use kraite_streams::ops::settings::SecretUrl;
use kraite_streams::ops::status::Status;
use kraite_streams::ops::{Encrypter, Settings};
use kraite_streams::sim::{
    AccountCredentials, AccountLedger, AccountsConfig, ConnectLimit, FrameEntry, Missed, SimConfig, SimHandle,
    Simulator,
};
use kraite_streams::store::UserDataStore;
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::{Ciphertext, NewAccount};
use rusqlite::Connection;

use crate::daemon_process::{Daemon, PATIENCE, write_settings};

pub const FILE: &str = "kraite-streams.toml";

/// One world; the daemon is started when its accounts are there.
pub struct Rig {
    pub sim: SimHandle,
    pub folder: tempfile::TempDir,
    pub database: Connection,
    store: UserDataStore,
    encrypter: Encrypter,
    lines: Vec<String>,
}

impl Rig {
    pub fn new(count: usize, frames_per_second: f64, connects: Option<ConnectLimit>, lines: &[&str]) -> Rig {
        let accounts = AccountsConfig { count, frames_per_second, ..AccountsConfig::default() };
        Rig::of(SimConfig { accounts, connects, ..SimConfig::default() }, lines)
    }

    /// With this simulator; `lines` are settings of the daemon.
    pub fn of(config: SimConfig, lines: &[&str]) -> Rig {
        let sim = Simulator::start(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kraite-streams.sqlite");
        let mut settings = Settings::default();
        settings.store.url = SecretUrl::new(format!("sqlite:{}", path.display()));
        let keys = KeyPlace::of(&settings.user_data, Some(&path)).load_or_make().unwrap();
        let encrypter = Encrypter::new(keys, settings.user_data.cipher);
        let url = wiring::store_url(&settings).unwrap();
        let mut store = UserDataStore::new(&url, &UserDataOptions::new("test")).unwrap();
        store.run(|tables| tables.venue_system("binance")).unwrap();
        let database = Connection::open(&path).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        let mut all = vec!["user_data.discovery_s = 5".to_owned(), "user_data.sync_orders_s = 0".to_owned()];
        all.extend(lines.iter().map(|line| (*line).to_owned()));
        Rig { sim, folder, database, store, encrypter, lines: all }
    }

    /// A row of `accounts`; its id.
    pub fn add(&mut self, name: &str, account: &AccountCredentials) -> i64 {
        let (api_key, api_secret) = (self.encrypt(&account.api_key), self.encrypt(&account.api_secret));
        let row = NewAccount {
            canonical: "binance",
            name,
            user_id: None,
            uuid: name,
            api_key: &api_key,
            api_secret: &api_secret,
        };
        self.store.run(|tables| tables.add_account(&row)).unwrap().unwrap()
    }

    pub fn encrypt(&self, text: &str) -> Ciphertext {
        Ciphertext::new(self.encrypter.encrypt(text).unwrap())
    }

    pub fn start(&self) -> Daemon {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        Daemon::start_command("user-data", self.folder.path(), FILE, Some(&self.sim), &lines, &[])
    }

    /// Writes the settings as the daemon was started with, and these.
    pub fn write_settings(&self, more: &[&str]) {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).chain(more.iter().copied()).collect();
        write_settings(self.folder.path(), FILE, Some(&self.sim), &lines);
    }

    pub fn sql(&self, text: &str) {
        self.database.execute_batch(text).unwrap();
    }

    /// The first two columns of each row, as numbers.
    pub fn pairs(&self, query: &str) -> Vec<(i64, i64)> {
        let mut statement = self.database.prepare(query).unwrap();
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    pub fn number(&self, query: &str) -> i64 {
        self.database.query_row(query, (), |row| row.get(0)).unwrap()
    }
}

/// Asks until it is so.
#[track_caller]
pub fn until(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// As [`Daemon::wait_status`], for what takes longer.
#[track_caller]
pub fn wait_long(daemon: &Daemon, folder: &Path, what: &str, within: Duration, wanted: impl Fn(&Status) -> bool) {
    let path = folder.join("status.json");
    let deadline = Instant::now() + within;
    loop {
        let status = Status::read(&path).ok().filter(|status| status.pid == daemon.pid());
        if status.as_ref().is_some_and(&wanted) {
            return;
        }
        let live = status.and_then(|status| status.user_data).map(|user_data| (user_data.accounts, user_data.live));
        assert!(Instant::now() < deadline, "{what} did not come; {live:?}\n{}", daemon.log(FILE));
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn live(status: &Status) -> u64 {
    status.user_data.as_ref().map_or(0, |user_data| user_data.live)
}

/// Frames that were sent and reached nobody. What our own filter leaves out is not among them.
pub fn unheard(ledger: &AccountLedger) -> Vec<&FrameEntry> {
    ledger.missed().filter(|(_, why)| *why != Missed::Filtered).map(|(frame, _)| frame).collect()
}

/// Entries of a folder of `/proc` of this process: `fd`, `task`.
pub fn count_of(daemon: &Daemon, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{}/{what}", daemon.pid())).unwrap().count()
}
