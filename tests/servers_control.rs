//! Promise: on PostgreSQL too the control threads keep accounts, listen keys and gaps; a server that is killed ends no stream
//! and reaps nobody, and gets what it missed once it is back.

#![cfg(feature = "servers")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use kraite_streams::daemon::control_ports::LaravelColumns;
use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Random, Wall};
use kraite_streams::exchange::binance::listen_key::KeyCall;
use kraite_streams::ops::encrypter::Cipher;
use kraite_streams::ops::{AppKeys, Encrypter};
use kraite_streams::store::postgres::{PostgresOptions, PostgresStore};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::{Ciphertext, GapQuery, ListenKeyRow, NewAccount};
use kraite_streams::store::{StoreUrl, UserDataStore};
use kraite_streams::user_data::control::gap_book::WaitingGap;
use kraite_streams::user_data::control::ports::ListenKeyRest;
use kraite_streams::user_data::control::{ControlConfig, ControlParts, spawn};
use kraite_streams::user_data::discovery::ApiKey;
use kraite_streams::user_data::key_schedule::Pace;
use kraite_streams::user_data::listen_keys::VenueAnswer;
use kraite_streams::user_data::listen_keys::command::AccountCommand;

#[path = "support/postgres_server.rs"]
mod postgres_server;
use postgres_server::PostgresServer;

const PATIENCE: Duration = Duration::from_secs(60);

/// A venue that always grants, a key per API key.
struct Granting;

impl ListenKeyRest for Granting {
    fn ask(&self, _: KeyCall, api_key: &ApiKey) -> Result<VenueAnswer, String> {
        let body = format!(r#"{{"listenKey":"{:0>64}"}}"#, api_key.expose());
        Ok(VenueAnswer { status: 200, body: body.into(), retry_after: None, used_weight: Some(1) })
    }
}

fn open(server: &PostgresServer) -> UserDataStore {
    let url = StoreUrl::parse(&server.url_text("postgres")).unwrap();
    UserDataStore::new(&url, &UserDataOptions::new("kraite-streams control, a test")).unwrap()
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn spawned(commands: &Receiver<AccountCommand>) -> usize {
    commands.try_iter().filter(|command| matches!(command, AccountCommand::Spawn { .. })).count()
}

#[test]
fn a_server_that_is_killed_ends_no_stream_and_gets_what_it_missed() {
    let mut server = PostgresServer::start();
    let mut migrated = PostgresStore::connect(&server.url("postgres"), &PostgresOptions::command("a test")).unwrap();
    migrated.migrate().unwrap();
    migrated.close();
    let columns = Encrypter::new(AppKeys::parse("0123456789abcdef0123456789abcdef", "").unwrap(), Cipher::Aes256Gcm);
    let mut store = open(&server);
    let system = store.run(|tables| tables.venue_system("binance")).unwrap().unwrap().id;
    for name in ["one", "two", "three"] {
        let encrypt = |text| Ciphertext::new(columns.encrypt(text).unwrap());
        let (api_key, api_secret) = (encrypt(name), encrypt("secret"));
        let account = NewAccount {
            canonical: "binance",
            name,
            user_id: None,
            uuid: name,
            api_key: &api_key,
            api_secret: &api_secret,
        };
        store.run(|tables| tables.add_account(&account)).unwrap().unwrap();
    }
    let (sender, commands) = bounded(256);
    let config = ControlConfig {
        canonical: "binance".to_owned(),
        discovery: Duration::from_millis(300),
        pace: Pace { min: Duration::from_millis(300), max: Duration::from_millis(300) },
        threads: 3,
    };
    let parts = ControlParts {
        store: open(&server),
        rest: Arc::new(Granting),
        cipher: Arc::new(LaravelColumns(columns.clone())),
        clock: Arc::new(SystemClock::start()),
        random: Random::from_seed(3),
        commands: sender,
    };
    let mut control = spawn(&config, parts).unwrap();
    let link = control.link();
    let rows = |store: &mut UserDataStore| -> Vec<ListenKeyRow> {
        store.run(|tables| tables.listen_keys()).unwrap_or_default()
    };
    until("three rows", || rows(&mut store).len() == 3);
    assert_eq!(spawned(&commands), 3);
    for row in rows(&mut store) {
        assert_eq!(columns.decrypt(row.listen_key.as_str()).unwrap().expose().len(), 64);
    }

    server.kill();
    until("the database's fault", || control.status().database_fault.is_some());
    let id = store.run(|tables| tables.eligible_accounts("binance"));
    assert!(id.is_err(), "it is away");
    let extended = control.status().keys.extended;
    until("keep-alives all the same", || control.status().keys.extended >= extended + 6);
    let ended_at = Wall::from_millis(SystemClock::start().now().wall.as_millis());
    let gap = WaitingGap {
        account: 1,
        api_system_id: system,
        started_at: None,
        ended_at,
        reason: "reconnect".to_owned(),
        identity: Some(([9; 16], 1)),
    };
    // Of an account that no table knows: refused, and in nobody's way.
    link.offer_gap(WaitingGap { account: 4_711, identity: Some(([9; 16], 2)), ..gap.clone() }).unwrap();
    link.offer_gap(gap).unwrap();
    let heard: Vec<AccountCommand> = commands.try_iter().collect();
    assert!(heard.iter().all(|command| matches!(command, AccountCommand::KeyExtended { .. })), "{heard:?}");

    server.restart();
    until("rows that are up to date", || {
        let rows = rows(&mut store);
        rows.len() == 3 && rows.iter().all(|row| row.last_keep_alive_at > Some(ended_at))
    });
    until("the gap's row", || link.gaps_waiting() == 0);
    let status = control.status();
    assert_eq!((status.database_fault, status.rows_refused, status.accounts), (None, 1, 3));
    let query = GapQuery { account_id: None, outstanding: true, limit: 10 };
    let gaps = store.run(|tables| tables.gaps(&query)).unwrap();
    assert_eq!(gaps.iter().map(|gap| gap.account_id).collect::<Vec<_>>(), [1]);
    assert!(control.stop(PATIENCE));
}
