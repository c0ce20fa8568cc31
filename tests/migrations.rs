//! Promise: both databases get the same tables, and a table that was there before belongs to whoever made it: it is given
//! the columns it lacks, nullable, and nothing else.

#![cfg(feature = "embedded")]

use std::path::Path;

use kraite_streams::domain::{Instrument, Venue};
use kraite_streams::store::WriteCounts;
use kraite_streams::store::rows::MapRows;
use kraite_streams::store::schema::{MIGRATIONS, Outcome, Script};
use kraite_streams::store::sqlite::SqliteStore;
use rusqlite::Connection;

#[test]
fn both_databases_have_the_same_numbers_names_and_columns() {
    for (at, migration) in MIGRATIONS.iter().enumerate() {
        assert_eq!(migration.number as usize, at + 1, "numbers have no gap");
        let (postgres, sqlite) = (Script::read(migration.postgres), Script::read(migration.sqlite));
        assert_eq!(postgres.table, sqlite.table);
        let names =
            |script: &Script<'_>| script.columns.iter().map(|column| column.name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&postgres), names(&sqlite), "{}", migration.name);
        assert_eq!(postgres.rest, sqlite.rest, "{}: indexes and seed rows", migration.name);
        let required = |script: &Script<'_>| {
            let required = script.columns.iter().filter(|column| column.definition.contains("NOT NULL"));
            required.map(|column| column.name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(required(&postgres), required(&sqlite), "{}", migration.name);
    }
    // Every file is one of the list.
    for folder in ["postgres", "sqlite"] {
        let mut found: Vec<String> = std::fs::read_dir(Path::new("migrations").join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        let listed: Vec<String> =
            MIGRATIONS.iter().map(|migration| format!("{:04}_{}.sql", migration.number, migration.name)).collect();
        assert_eq!(found, listed, "{folder}");
    }
}

#[test]
fn price_columns_are_never_indexed() {
    for migration in MIGRATIONS {
        for statement in Script::read(migration.postgres).rest {
            assert!(!statement.contains("mark_price"), "{statement}");
        }
    }
}

#[test]
fn an_empty_file_gets_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let mut store = SqliteStore::open(&path).unwrap();
    assert!(store.plan_migrations().unwrap().iter().all(|step| step.outcome == Outcome::Created));
    assert!(store.migrate().unwrap().iter().all(|step| step.outcome == Outcome::Created));
    assert!(store.migrate().unwrap().iter().all(|step| step.outcome == Outcome::Applied));
    let MapRows { systems, symbols, mappers } = store.map_rows().unwrap();
    let venues: Vec<_> = systems.iter().map(|system| (system.canonical.as_str(), system.is_active)).collect();
    assert_eq!(venues, [("binance", true), ("bybit", true), ("kucoin", true), ("bitget", true)]);
    assert_eq!(symbols, []);
    assert_eq!((mappers[0].binance_token.as_str(), mappers[0].other_token.as_str()), ("BTC", "XBT"));
    assert!(store.table_shape("exchange_symbol_prices").unwrap().key_indexed);
}

#[test]
fn what_is_kept_byte_for_byte_or_digit_for_digit_has_a_type_that_does() {
    for migration in MIGRATIONS {
        let (postgres, sqlite) = (Script::read(migration.postgres), Script::read(migration.sqlite));
        assert!(!postgres.create.contains("jsonb"), "{}: jsonb reorders", migration.name);
        for (server, file) in postgres.columns.iter().zip(&sqlite.columns) {
            let is_exact = ["numeric", "json", "varchar", "text", "timestamptz"];
            if is_exact.iter().any(|kind| server.definition.starts_with(kind)) {
                assert!(file.definition.starts_with("TEXT"), "{}.{}: {}", migration.name, file.name, file.definition);
            }
        }
    }
}

#[test]
fn a_table_that_was_there_keeps_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "CREATE TABLE api_systems (id INTEGER PRIMARY KEY, canonical TEXT, name TEXT, is_exchange INTEGER); \
             INSERT INTO api_systems VALUES (7, 'binance', 'Binance', 1); \
             CREATE TABLE exchange_symbols (id INTEGER PRIMARY KEY, api_system_id INTEGER, token TEXT, quote TEXT, \
             overlaps_with_binance INTEGER); \
             INSERT INTO exchange_symbols VALUES (70, 7, 'BTC', 'USDT', 1);",
        )
        .unwrap();
    let mut store = SqliteStore::open(&path).unwrap();
    let outcomes: Vec<_> = store.migrate().unwrap().into_iter().map(|step| step.outcome).collect();
    let Outcome::Extended(added) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(added[..2], ["asset", "parsed_trading_pair"]);
    assert_eq!(outcomes[2], Outcome::Created);
    let shape = store.table_shape("exchange_symbols").unwrap();
    let script = Script::read(MIGRATIONS[1].sqlite);
    for column in &script.columns {
        let found = shape.column(column.name).unwrap_or_else(|| panic!("{}", column.name));
        assert!(found.nullable || column.name == "id", "{}", column.name);
    }
    let rows = store.map_rows().unwrap();
    assert_eq!(rows.systems.len(), 1, "no seed rows in somebody else's table");
    assert!(rows.systems[0].is_active && rows.symbols[0].is_price_aligned);
    assert_eq!(store.ensure_price_rows().unwrap(), 1);
    assert_eq!(store.ensure_price_rows().unwrap(), 0);
}

#[test]
fn instruments_are_found_again_and_never_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("a.sqlite")).unwrap();
    store.migrate().unwrap();
    store.insert_symbols(&mut ["BTCUSDT", "1000PEPEUSDT"].into_iter()).unwrap();
    let mut listed = vec![
        instrument(Venue::Binance, "BTCUSDT", "BTC", true),
        instrument(Venue::Kucoin, "XBTUSDTM", "XBT", true),
        instrument(Venue::Bybit, "SOONUSDT", "SOON", false),
    ];
    let counts = |inserted, updated, unchanged, skipped| WriteCounts { inserted, updated, unchanged, skipped };
    assert_eq!(store.upsert_instruments(&listed).unwrap(), counts(1, 1, 0, 1));
    assert_eq!(store.upsert_instruments(&listed).unwrap(), counts(0, 0, 2, 1));
    listed[1].tick_size = Some("0.5".to_owned());
    listed[1].trading = false;
    listed.truncate(2);
    assert_eq!(store.upsert_instruments(&listed).unwrap(), counts(0, 1, 1, 0));
    let rows = store.map_rows().unwrap();
    let assets: Vec<_> = rows.symbols.iter().map(|row| row.asset.as_deref().unwrap()).collect();
    assert_eq!(assets, ["BTCUSDT", "1000PEPEUSDT", "XBTUSDTM"]);
}

fn instrument(venue: Venue, symbol: &str, token: &str, trading: bool) -> Instrument {
    Instrument {
        venue,
        symbol: symbol.to_owned(),
        token: token.to_owned(),
        quote: "USDT".to_owned(),
        price_precision: Some(2),
        quantity_precision: None,
        tick_size: Some("0.10".to_owned()),
        min_notional: None,
        delivery_ms: None,
        trading,
    }
}
