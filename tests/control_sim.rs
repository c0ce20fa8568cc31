//! Promise: the control threads, with the real REST client, Laravel's columns and an embedded database, keep every account's
//! listen key alive at the simulated venue; each account's trouble is its own; no secret is in anything they say.

#![cfg(all(feature = "sim", feature = "embedded"))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use kraite_streams::daemon::control_ports::{BinanceListenKeyRest, LaravelColumns};
use kraite_streams::domain::limits::LISTEN_KEY_CALL_MAX;
use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Random, Wall};
use kraite_streams::ops::encrypter::Cipher;
use kraite_streams::ops::{AppKeys, Encrypter, RestClient};
use kraite_streams::sim::{AccountFault, AccountsConfig, SimConfig, SimHandle, Simulator, VenueFault};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::{Ciphertext, GapQuery, KeepAlive, ListenKeyRow, NewAccount};
use kraite_streams::store::{StoreUrl, UserDataStore};
use kraite_streams::stream::tls::client_config;
use kraite_streams::user_data::control::gap_book::WaitingGap;
use kraite_streams::user_data::control::{ControlConfig, ControlHandle, ControlParts, ControlStatus, spawn};
use kraite_streams::user_data::key_schedule::Pace;
use kraite_streams::user_data::listen_keys::command::{AccountCommand, KeyLoss};

#[path = "support/captured_log.rs"]
mod captured_log;

const APP_KEY: &str = "0123456789abcdef0123456789abcdef";
const OTHER_APP_KEY: &str = "another-key-another-key-another!";
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    sim: SimHandle,
    /// To write what a person or Laravel writes.
    store: UserDataStore,
    columns: Encrypter,
    control: ControlHandle,
    commands: Receiver<AccountCommand>,
    heard: Vec<AccountCommand>,
    /// Simulated account → `accounts.id`.
    ids: Vec<i64>,
    folder: tempfile::TempDir,
}

fn encrypter(key: &str) -> Encrypter {
    Encrypter::new(AppKeys::parse(key, "").unwrap(), Cipher::Aes256Cbc)
}

fn open(folder: &Path) -> UserDataStore {
    UserDataStore::new(&StoreUrl::Sqlite(folder.join("a.sqlite")), &UserDataOptions::new("test")).unwrap()
}

fn add(store: &mut UserDataStore, columns: &Encrypter, name: &str, key: &str, secret: &str) -> i64 {
    let encrypt = |text| Ciphertext::new(columns.encrypt(text).unwrap());
    let (api_key, api_secret) = (encrypt(key), encrypt(secret));
    let account = NewAccount {
        canonical: "binance",
        name,
        user_id: None,
        uuid: name,
        api_key: &api_key,
        api_secret: &api_secret,
    };
    store.run(|tables| tables.add_account(&account)).unwrap().unwrap()
}

fn start(sim: &SimHandle, folder: &Path, commands: Sender<AccountCommand>) -> ControlHandle {
    let tls = client_config(sim.ca_pem().as_bytes(), 4).unwrap();
    let config = ControlConfig {
        canonical: "binance".to_owned(),
        discovery: Duration::from_millis(300),
        // Quicker than any setting allows, so that a test sees many keep-alives.
        pace: Pace { min: Duration::from_millis(400), max: Duration::from_millis(800) },
        threads: 4,
    };
    let parts = ControlParts {
        store: open(folder),
        rest: Arc::new(BinanceListenKeyRest::new(RestClient::new(tls, LISTEN_KEY_CALL_MAX), &sim.rest_base())),
        cipher: Arc::new(LaravelColumns(encrypter(APP_KEY))),
        clock: Arc::new(SystemClock::start()),
        random: Random::from_seed(7),
        commands,
    };
    spawn(&config, parts).unwrap()
}

impl World {
    fn new(accounts: usize) -> World {
        let config = SimConfig {
            accounts: AccountsConfig { count: accounts, ..AccountsConfig::default() },
            ..SimConfig::default()
        };
        let sim = Simulator::start(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (mut store, columns) = (open(folder.path()), encrypter(APP_KEY));
        let mut ids = Vec::new();
        for one in sim.accounts() {
            let name = format!("account {}", one.index);
            ids.push(add(&mut store, &columns, &name, &one.api_key, &one.api_secret));
        }
        let (sender, commands) = bounded(4);
        let control = start(&sim, folder.path(), sender);
        World { sim, store, columns, control, commands, heard: Vec::new(), ids, folder }
    }

    /// Listens until `done`, within the test's patience.
    #[track_caller]
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut World) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{what} did not happen; heard {:?}, {:?}", self.heard, self.status());
            if let Ok(command) = self.commands.recv_timeout(Duration::from_millis(20)) {
                self.heard.push(command);
            }
        }
    }

    fn status(&self) -> ControlStatus {
        self.control.status()
    }

    fn rows(&mut self) -> BTreeMap<i64, ListenKeyRow> {
        let rows = self.store.run(|tables| tables.listen_keys()).unwrap();
        rows.into_iter().map(|row| (row.account_id, row)).collect()
    }

    fn generation(&self, account: i64) -> Option<u64> {
        self.heard.iter().rev().find_map(|command| match command {
            AccountCommand::Spawn { account: whose, key_generation, .. } if whose.id == account => {
                Some(*key_generation)
            }
            AccountCommand::KeyChanged { account: whose, key_generation, .. } if *whose == account => {
                Some(*key_generation)
            }
            _ => None,
        })
    }

    fn trouble(&self, account: i64) -> Option<String> {
        let told = self.heard.iter().rev().find_map(|command| match command {
            AccountCommand::Health { account: whose, trouble } if whose.id == account => Some(trouble.clone()),
            _ => None,
        });
        told.flatten().map(|sentence| sentence.to_string())
    }

    fn everybody_streams(&mut self) {
        self.until("a key for everybody", |world| {
            let rows = world.rows();
            world.ids.iter().all(|id| world.generation(*id).is_some() && rows.contains_key(id))
        });
    }
}

fn wall() -> Wall {
    SystemClock::start().now().wall
}

#[test]
fn keys_are_kept_alive_and_rows_say_so() {
    let mut world = World::new(5);
    world.everybody_streams();
    let first = world.rows();
    for (id, row) in &first {
        let key = world.columns.decrypt(row.listen_key.as_str()).unwrap();
        let told = world.heard.iter().find_map(|command| match command {
            AccountCommand::Spawn { account, key, replaced, .. } if account.id == *id => Some((key.clone(), *replaced)),
            _ => None,
        });
        let (spawned, replaced) = told.unwrap();
        assert_eq!((key.expose(), replaced), (spawned.expose(), None));
        assert_eq!((row.last_keep_alive, row.failure_count), (Some(KeepAlive::Success), 0));
        assert!(row.last_created_at.is_some() && row.last_frame_at.is_none());
    }
    world
        .until("every key extended three times", |world| (0..5).all(|index| world.sim.account_ledger(index).puts >= 3));
    let first_stamps: Vec<_> = first.values().map(|row| row.last_keep_alive_at).collect();
    world.until("rows that say so", |world| {
        world.rows().values().zip(&first_stamps).all(|(row, before)| row.last_keep_alive_at > *before)
    });
    for row in world.rows().values() {
        assert_eq!(row.last_created_at, first[&row.account_id].last_created_at, "the same key");
    }
    let (link, id, now) = (world.control.link(), world.ids[0], wall());
    link.active(id, now);
    link.active(999, now);
    let stamp = Wall::from_millis(now.as_millis());
    world.until("a stamp of activity", |world| world.rows()[&id].last_frame_at == Some(stamp));
    let gap = WaitingGap {
        account: id,
        api_system_id: 1,
        started_at: Some(stamp),
        ended_at: stamp,
        reason: "reconnect".to_owned(),
        identity: Some(([7; 16], 3)),
    };
    let system = world.store.run(|tables| tables.venue_system("binance")).unwrap().unwrap().id;
    for _ in 0..2 {
        link.offer_gap(WaitingGap { api_system_id: system, ..gap.clone() }).unwrap();
    }
    world.until("gaps recorded", |_| link.gaps_waiting() == 0);
    let query = GapQuery { account_id: Some(id), outstanding: true, limit: 10 };
    assert_eq!(world.store.run(|tables| tables.gaps(&query)).unwrap().len(), 1, "told twice, one row");
    assert!(!world.control.has_lost_a_thread());
    assert!(world.control.stop(PATIENCE));
    assert_eq!(world.rows().len(), 5, "rows stay: the next process goes on with the keys");
    assert!((0..5).all(|index| world.sim.account_ledger(index).deletes == 0), "a key may be shared: no DELETE");

    // The next process gets the same keys, and the rows keep the time of their creation.
    let (sender, commands) = bounded(64);
    (world.control, world.commands) = (start(&world.sim, world.folder.path(), sender), commands);
    world.heard.clear();
    world.everybody_streams();
    for (id, row) in world.rows() {
        assert_eq!(row.last_created_at, first[&id].last_created_at);
    }
}

#[test]
fn one_accounts_trouble_is_its_own() {
    let mut world = World::new(6);
    world.everybody_streams();
    let ids = world.ids.clone();
    let before: Vec<u64> = (0..6).map(|index| world.sim.account_ledger(index).puts).collect();
    // 0: rotated; 1: key forgotten; 2: credentials revoked; 3: overload in passing; 4: the stream says expired; 5: slow.
    world.sim.inject(AccountFault::RotateKey { grace: Duration::from_secs(60) }.on(0));
    world.sim.inject(AccountFault::KeyError { status: 400, code: -1_125 }.on(1));
    world.sim.set_revoked(2, true);
    for _ in 0..2 {
        world.sim.inject(AccountFault::KeyError { status: 503, code: -1_008 }.on(3));
    }
    world.sim.inject(AccountFault::KeyDelay { delay: Duration::from_secs(2) }.on(5));
    let expired = world.generation(ids[4]).unwrap();
    world.control.link().key_expired(ids[4], expired);
    let bad = add(&mut world.store, &encrypter(OTHER_APP_KEY), "under another key", &"k".repeat(64), "s");
    world.control.link().discover();
    let first: Vec<u64> = ids.iter().map(|id| world.generation(*id).unwrap()).collect();
    let is_changed = move |world: &World, index: usize| world.generation(world.ids[index]) != Some(first[index]);
    let changed = is_changed.clone();
    world.until("new keys for 0, 1 and 4", move |world| [0, 1, 4].into_iter().all(|index| changed(world, index)));
    let gone = AccountCommand::KeyGone { account: ids[1], key_generation: expired, loss: KeyLoss::Unknown };
    let says_gone = |command: &AccountCommand| matches!((command, &gone), (AccountCommand::KeyGone { account: a, loss: x, .. }, AccountCommand::KeyGone { account: b, loss: y, .. }) if a == b && x == y);
    assert!(world.heard.iter().any(says_gone));
    world.until("2 and the one under another APP_KEY degraded", |world| {
        world.trouble(ids[2]).is_some() && world.trouble(bad).is_some()
    });
    assert!(world.trouble(ids[2]).unwrap().contains("rejects this account's API key"));
    assert!(world.trouble(bad).unwrap().contains("APP_KEY"), "{:?}", world.trouble(bad));
    world.until("the others extended all the same", |world| {
        [0, 3, 5].into_iter().all(|index| world.sim.account_ledger(index).puts >= before[index] + 3)
    });
    for index in [3, 5] {
        assert!(!is_changed(&world, index), "{index} has its key still");
        assert_eq!(world.trouble(ids[index]), None);
    }
    assert_eq!(world.generation(bad), None);
    let row = world.rows().remove(&ids[2]).unwrap();
    assert!(row.last_keep_alive == Some(KeepAlive::Failure) && row.failure_count > 0);

    // A person mends both and switches one off: no restart for any of it.
    let secret = world.sim.add_account().unwrap();
    world.store.run(|tables| tables.remove_account(bad)).unwrap();
    world.store.run(|tables| tables.set_account_active(ids[0], Some("no more"))).unwrap();
    let new = add(&mut world.store, &world.columns.clone(), "mended", &secret.api_key, &secret.api_secret);
    world.until("the new account's stream and the old one's end", |world| {
        let reaps = |id| {
            world.heard.iter().any(|command| matches!(command, AccountCommand::Reap { account } if *account == id))
        };
        world.generation(new).is_some() && reaps(ids[0]) && reaps(bad)
    });
    let expected: BTreeSet<i64> = ids[1..].iter().copied().chain([new]).collect();
    world.until("rows of those that stream", |world| world.rows().keys().copied().collect::<BTreeSet<_>>() == expected);
}

#[test]
fn a_ban_of_the_address_is_slept_through() {
    let mut world = World::new(3);
    world.everybody_streams();
    world.sim.inject(VenueFault::Ban { lasts: Duration::from_secs(3) });
    world.until("the ban to be met", |world| world.status().address_held_until.is_some());
    let refused = world.status().keys.refused;
    let begun = Instant::now();
    let before: Vec<u64> = (0..3).map(|index| world.sim.account_ledger(index).puts).collect();
    world.until("keep-alives afterwards", |world| {
        (0..3).all(|index| world.sim.account_ledger(index).puts > before[index])
    });
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    // At most what was on its way when the ban began.
    assert!(world.status().keys.refused <= refused + 3, "{:?}", world.status());
    assert_eq!(world.status().with_key, 3);
}

#[test]
fn a_database_that_goes_and_comes_back_ends_no_stream() {
    let mut world = World::new(2);
    world.everybody_streams();
    let path = world.folder.path().join("a.sqlite");
    let aside = world.folder.path().join("aside.sqlite");
    world.store.close();
    // A folder where the file should be: nothing can be opened there.
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    world.until("the database's fault", |world| world.status().database_fault.is_some());
    let before = world.sim.account_ledger(0).puts;
    world.until("keep-alives all the same", |world| world.sim.account_ledger(0).puts >= before + 3);
    assert!(!world.heard.iter().any(|command| matches!(command, AccountCommand::Reap { .. })), "{:?}", world.heard);
    let gone_at = wall();
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    let stamp = Wall::from_millis(gone_at.as_millis());
    world.until("rows that are up to date", |world| {
        world.rows().values().all(|row| row.last_keep_alive_at > Some(stamp))
    });
    assert_eq!(world.status().database_fault, None);
}

#[test]
fn no_secret_is_in_anything_that_is_said() {
    let log = captured_log::install();
    let mut world = World::new(4);
    world.everybody_streams();
    world.sim.inject(AccountFault::KeyError { status: 400, code: -1_125 }.on(0));
    world.sim.inject(AccountFault::RotateKey { grace: Duration::from_secs(60) }.on(1));
    world.sim.set_revoked(2, true);
    for _ in 0..4 {
        world.sim.inject(AccountFault::KeyError { status: 500, code: 0 }.on(3));
    }
    add(&mut world.store, &encrypter(OTHER_APP_KEY), "unreadable", &"PLANTEDkey".repeat(6), "PLANTEDsecret");
    add(&mut world.store, &world.columns.clone(), "odd", "PLANTED key\r\nHost: x", "PLANTEDsecret");
    world.until("trouble of four accounts", |world| world.status().degraded >= 4);
    world.sim.inject(VenueFault::Outage { lasts: Duration::from_secs(2) });
    world.until("an outage", |world| world.status().keys.unanswered > 0);
    assert!(world.control.stop(PATIENCE));
    let status = world.status();
    let rows = world.rows();
    let said = format!("{:?} {status:?} {rows:?} {:?}\n{}", world.heard, world.store, log.text());
    assert!(said.contains("degraded") && said.contains("streamed"), "the log was captured: {said}");
    let mut secrets = world.sim.secrets();
    secrets.extend(["PLANTED".to_owned(), APP_KEY.to_owned(), OTHER_APP_KEY.to_owned()]);
    assert!(secrets.len() > 10);
    for secret in secrets {
        assert!(!said.contains(&secret), "{secret} in {said}");
    }
}
