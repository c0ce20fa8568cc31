//! Promise: on PostgreSQL too, in tables of our own and in those of a Laravel application moved from MySQL, the user-data
//! role finds its accounts and keeps listen keys and gaps; a server that was killed is found again.

#![cfg(feature = "servers")]

use std::time::{Duration, Instant};

use kraite_streams::store::postgres::{PostgresOptions, PostgresStore};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::{ErrorClass, StoreUrl, UserDataStore};

#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/user_data_tables.rs"]
mod user_data_tables;
use postgres_server::PostgresServer;
use user_data_tables::{AT, add, eligible, hold, later, text};

/// The incumbent's tables as a converter leaves them: booleans as small integers, stamps without a zone, no foreign keys,
/// no unique index on the side of `binance_listen_keys`.
const FOREIGN: &str = "
    CREATE TABLE api_systems (id bigserial PRIMARY KEY, canonical varchar(255), name varchar(255), is_exchange smallint,
        is_active smallint DEFAULT 1);
    INSERT INTO api_systems (canonical, name, is_exchange)
        VALUES ('bybit', 'Bybit', 1), ('binance', 'Binance', 1), ('kucoin', 'KuCoin', 1);
    CREATE TABLE accounts (id bigserial PRIMARY KEY, uuid char(36), name varchar(255) NOT NULL, user_id bigint,
        api_system_id integer NOT NULL, can_trade smallint NOT NULL DEFAULT 1, is_active smallint NOT NULL DEFAULT 1,
        binance_api_key text, binance_api_secret text, bybit_api_key text,
        created_at timestamp(0), updated_at timestamp(0), deleted_at timestamp(0));
    CREATE TABLE binance_listen_keys (id bigserial PRIMARY KEY, account_id bigint NOT NULL, listen_key text NOT NULL,
        last_created_at timestamp(3), last_keep_alive_at timestamp(3), last_frame_at timestamp(3),
        last_keep_alive_status varchar(20), failure_count smallint NOT NULL DEFAULT 0, created_at timestamp(0),
        updated_at timestamp(0));
    -- The database's own zone must not matter.
    ALTER DATABASE laravel SET timezone TO 'Asia/Tokyo';";

fn store(server: &PostgresServer, database: &str) -> UserDataStore {
    let url = StoreUrl::parse(&server.url_text(database)).unwrap();
    UserDataStore::new(&url, &UserDataOptions::new("kraite-streams user-data, a test")).unwrap()
}

fn migrate(server: &PostgresServer, database: &str) {
    let mut store = PostgresStore::connect(&server.url(database), &PostgresOptions::command("a test")).unwrap();
    store.migrate().unwrap();
    store.close();
}

#[test]
fn the_promises_hold_on_tables_of_either_origin_and_across_a_kill() {
    let mut server = PostgresServer::start();
    let missing = store(&server, "postgres").run(|tables| tables.eligible_accounts("binance")).unwrap_err();
    assert_eq!(missing.class(), ErrorClass::MissingTable);

    migrate(&server, "postgres");
    let mut own = store(&server, "postgres");
    let mut client = server.client("postgres");
    hold(&mut own, &mut |sql| client.batch_execute(sql).unwrap());
    drop(client);

    server.client("postgres").batch_execute("CREATE DATABASE laravel").unwrap();
    server.client("laravel").batch_execute(FOREIGN).unwrap();
    migrate(&server, "laravel");
    let mut foreign = store(&server, "laravel");
    let mut client = server.client("laravel");
    hold(&mut foreign, &mut |sql| client.batch_execute(sql).unwrap());
    // What another program reads there is UTC.
    let id = eligible(&mut foreign)[0];
    let listen_key = text("lk");
    let new = kraite_streams::store::user_data_rows::NewListenKey {
        account_id: id,
        listen_key: &listen_key,
        is_new: true,
        at: AT,
    };
    foreign.run(|tables| tables.put_listen_key(&new)).unwrap();
    let row = client.query_one("SELECT last_keep_alive_at::text FROM binance_listen_keys", &[]).unwrap();
    assert_eq!(row.get::<_, String>(0), "2026-11-23 07:30:15.123");
    drop(client);

    server.kill();
    let lost = own.run(|tables| tables.accounts()).unwrap_err();
    assert_eq!(lost.class(), ErrorClass::Unreachable, "{lost}");
    assert!(!own.is_open());
    assert!(!lost.to_string().contains(postgres_server::PASSWORD), "{lost}");
    server.restart();
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = own.run(|tables| tables.accounts()) {
        assert!(Instant::now() < deadline, "{error}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(own.is_open());
    let id = add(&mut own, "binance", "after the kill", "k", "s").unwrap();
    assert!(eligible(&mut own).contains(&id));

    // A row that somebody holds locked is waited for in bounds, and costs no session.
    let mut holder = server.client("postgres");
    let new = kraite_streams::store::user_data_rows::NewListenKey { account_id: id, ..new };
    own.run(|tables| tables.put_listen_key(&new)).unwrap();
    let mut transaction = holder.transaction().unwrap();
    transaction.batch_execute("UPDATE binance_listen_keys SET failure_count = 1").unwrap();
    let started = Instant::now();
    let held = own.run(|tables| tables.keep_alive_succeeded(id, later(1), None)).unwrap_err();
    assert_eq!(held.class(), ErrorClass::Transient);
    assert!(started.elapsed() < Duration::from_secs(20) && own.is_open());
    transaction.rollback().unwrap();
    assert!(own.run(|tables| tables.keep_alive_succeeded(id, later(1), None)).unwrap());
}
