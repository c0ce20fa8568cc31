//! Promise: PostgreSQL is entered as the operator meant it (TLS that verifies, passwords of any kind, no pooler in between),
//! and a table that was there before belongs to whoever made it.

#![cfg(feature = "servers")]

use kraite_streams::domain::{ColumnScale, Instrument, Venue};
use kraite_streams::store::postgres::{PostgresOptions, PostgresStore, StoreLock};
use kraite_streams::store::schema::{MIGRATIONS, Outcome, Script};
use kraite_streams::store::{ErrorClass, PostgresUrl, SslMode, StoreUrl, WriteCounts};

#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/transaction_pooler.rs"]
mod transaction_pooler;
use postgres_server::{PASSWORD, PostgresServer, USER};
use transaction_pooler::Next;

fn connect(url: &PostgresUrl) -> kraite_streams::store::Result<PostgresStore> {
    PostgresStore::connect(url, &PostgresOptions::command("a test"))
}

/// The incumbent's tables as they look once moved from MySQL: its own types, its own extra columns, no fillfactor.
const INCUMBENT: &str = "
    CREATE TABLE api_systems (id bigserial PRIMARY KEY, is_exchange boolean, name varchar(255), canonical varchar(255) UNIQUE,
        recvwindow_margin integer NOT NULL DEFAULT 10000, is_active smallint NOT NULL DEFAULT 1);
    INSERT INTO api_systems (id, is_exchange, name, canonical, is_active) VALUES (3, true, 'Binance', 'binance', 1),
        (4, true, 'Bybit', 'bybit', 0);
    CREATE TABLE exchange_symbols (id bigserial PRIMARY KEY, symbol_id bigint, api_system_id integer NOT NULL,
        token varchar(255) NOT NULL, quote varchar(255) NOT NULL, asset varchar(255), is_marked_for_delisting boolean,
        overlaps_with_binance boolean, is_price_aligned boolean NOT NULL DEFAULT true, delivery_ts_ms bigint,
        price_precision smallint, quantity_precision smallint, tick_size numeric(20,8), min_notional numeric(20,8),
        mark_price numeric(36,18), mark_price_synced_at timestamp(0));
    INSERT INTO exchange_symbols (id, api_system_id, token, quote, asset) VALUES (11, 3, 'BTC', 'USDT', NULL);
    SELECT setval('exchange_symbols_id_seq', 11);
    CREATE TABLE exchange_symbol_prices (id bigserial PRIMARY KEY, exchange_symbol_id bigint UNIQUE NOT NULL,
        mark_price numeric(20,8), mark_price_synced_at timestamp(0), created_at timestamp(0), updated_at timestamp(0));
    CREATE INDEX slow ON exchange_symbol_prices (mark_price_synced_at);
    CREATE INDEX slower ON exchange_symbol_prices (exchange_symbol_id, mark_price);
    CREATE INDEX slowest ON exchange_symbol_prices (exchange_symbol_id) WHERE mark_price IS NULL;";

#[test]
fn tables_that_were_there_get_columns_and_nothing_else() {
    let server = PostgresServer::start();
    let mut client = server.client("postgres");
    client.batch_execute("CREATE DATABASE incumbent").unwrap();
    server.client("incumbent").batch_execute(INCUMBENT).unwrap();

    let mut fresh = connect(&server.url("postgres")).unwrap();
    assert!(fresh.migrate().unwrap().iter().all(|step| step.outcome == Outcome::Created));
    assert!(fresh.migrate().unwrap().iter().all(|step| step.outcome == Outcome::Applied));
    for migration in MIGRATIONS {
        let script = Script::read(migration.postgres);
        let shape = fresh.table_shape(script.table).unwrap();
        let found: Vec<_> = shape.columns.iter().map(|column| column.name.as_str()).collect();
        let declared: Vec<_> = script.columns.iter().map(|column| column.name).collect();
        assert_eq!(found, declared);
    }
    let side = fresh.table_shape("exchange_symbol_prices").unwrap();
    assert_eq!((side.fillfactor, side.key_indexed, side.price_indexes.len()), (25, true, 0));
    assert_eq!(side.price_columns("exchange_symbol_prices").unwrap(), (ColumnScale::numeric(36, 18), 3));
    assert_eq!(fresh.table_shape("public.exchange_symbols").unwrap().fillfactor, 50);
    assert_eq!(fresh.table_shape("nowhere.exchange_symbols").unwrap().columns, []);

    let mut moved = connect(&server.url("incumbent")).unwrap();
    let planned = moved.plan_migrations().unwrap();
    let before = moved.table_shape("exchange_symbols").unwrap();
    assert_eq!(moved.migrate().unwrap(), planned);
    let Outcome::Extended(added) = &planned[1].outcome else { panic!("{planned:?}") };
    assert_eq!(added.as_slice(), ["parsed_trading_pair", "created_at", "updated_at"]);
    assert_eq!((&planned[2].outcome, &planned[3].outcome), (&Outcome::Complete, &Outcome::Created));
    let after = moved.table_shape("exchange_symbols").unwrap();
    assert_eq!(after.columns[..before.columns.len()], before.columns);
    assert!(after.columns[before.columns.len()..].iter().all(|column| column.nullable));
    assert_eq!(after.fillfactor, 100);
    let side = moved.table_shape("exchange_symbol_prices").unwrap();
    let mut indexes = side.price_indexes.clone();
    indexes.sort();
    assert_eq!(indexes, ["slow", "slower", "slowest"]);
    assert!(!side.has_free_space() && side.key_indexed);
    assert_eq!(side.price_columns("exchange_symbol_prices").unwrap(), (ColumnScale::numeric(20, 8), 0));
    assert_eq!(side.advice("exchange_symbol_prices").len(), 4, "{:?}", side.advice("exchange_symbol_prices"));

    let rows = moved.map_rows().unwrap();
    let systems: Vec<_> = rows.systems.iter().map(|system| (system.id, system.is_active)).collect();
    assert_eq!(systems, [(3, true), (4, false)], "no seed rows in somebody else's table");
    assert_eq!(moved.ensure_price_rows("exchange_symbol_prices").unwrap(), 1);
    assert_eq!(moved.ensure_price_rows("exchange_symbol_prices").unwrap(), 0);
    let listed = [
        instrument(Venue::Binance, "BTCUSDT", "BTC", true),
        instrument(Venue::Bybit, "ETHUSDT", "ETH", true),
        instrument(Venue::Bybit, "OLDUSDT", "OLD", false),
        instrument(Venue::Kucoin, "XBTUSDTM", "XBT", true),
    ];
    let counts = |inserted, updated, unchanged, skipped| WriteCounts { inserted, updated, unchanged, skipped };
    assert_eq!(moved.upsert_instruments(&listed).unwrap(), counts(1, 1, 0, 2));
    assert_eq!(moved.upsert_instruments(&listed).unwrap(), counts(0, 0, 2, 2));
    let rows = moved.map_rows().unwrap();
    assert_eq!(rows.symbols[0].id, 11, "the row without a name was found by token and quote");
    assert_eq!(rows.symbols[0].parsed_trading_pair.as_deref(), Some("BTCUSDT"));
}

fn instrument(venue: Venue, symbol: &str, token: &str, trading: bool) -> Instrument {
    Instrument {
        venue,
        symbol: symbol.to_owned(),
        token: token.to_owned(),
        quote: "USDT".to_owned(),
        price_precision: Some(2),
        quantity_precision: Some(3),
        tick_size: Some("0.10".to_owned()),
        min_notional: None,
        delivery_ms: None,
        trading,
    }
}

#[test]
fn faults_have_a_class_and_no_password() {
    let server = PostgresServer::start();
    let url = server.url("postgres");
    let mut store = connect(&url).unwrap();
    assert_eq!(store.map_rows().unwrap_err().class(), ErrorClass::MissingTable);
    let mut other = connect(&url).unwrap();
    assert!(store.try_lock(StoreLock::Prices).unwrap() && store.try_lock(StoreLock::Prices).unwrap());
    assert!(!other.try_lock(StoreLock::Prices).unwrap());
    assert_eq!(other.lock_holder(StoreLock::Prices).unwrap().unwrap().application_name, "a test");
    store.unlock(StoreLock::Prices).unwrap();
    assert_eq!(other.lock_holder(StoreLock::Prices).unwrap(), None);
    assert!(other.try_lock(StoreLock::Prices).unwrap());
    let mut affected = Vec::new();
    for (name, value) in [
        ("TimeZone", "UTC"),
        ("tcp_keepalives_idle", "15"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "45000"),
        ("lock_timeout", "5s"),
        ("statement_timeout", "1min"),
        ("application_name", "a test"),
    ] {
        store.run(&format!("SELECT 1 WHERE current_setting('{name}') = '{value}'"), &mut affected).unwrap();
        assert_eq!(affected, [1], "{name}");
    }
    store.run("BEGIN; SET LOCAL statement_timeout = 50; SELECT 1", &mut affected).unwrap();
    assert_eq!(store.run("SELECT pg_sleep(5)", &mut affected).unwrap_err().class(), ErrorClass::Transient);
    store.execute("ROLLBACK").unwrap();

    for (wrong, class) in [
        (PostgresUrl { password: Some("wrong-%-secret".to_owned()), ..url.clone() }, ErrorClass::Auth),
        (PostgresUrl { database: "nowhere".to_owned(), ..url.clone() }, ErrorClass::Auth),
        (PostgresUrl { port: 1, ..url.clone() }, ErrorClass::Unreachable),
        (PostgresUrl { ssl_mode: SslMode::Require, ..url.clone() }, ErrorClass::Other),
    ] {
        let error = connect(&wrong).unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        let told = format!("{error} {error:?} {wrong:?}");
        assert!(!told.contains("secret") && !told.contains(PASSWORD), "{told}");
        assert!(error.sentence().contains("127.0.0.1"), "{error}");
    }
}

#[test]
fn a_pooler_in_transaction_mode_is_refused() {
    let server = PostgresServer::start();
    server.trust_everyone();
    let mut url = server.url("postgres");
    url.ssl_mode = SslMode::Disable;
    assert!(connect(&url).is_ok());
    for (sessions, next) in [(1, Next::Newest), (3, Next::Newest), (2, Next::Oldest), (3, Next::Oldest)] {
        url.port = transaction_pooler::start(server.port(), USER, "postgres", sessions, next);
        let refused = connect(&url).unwrap_err();
        assert_eq!(refused.class(), ErrorClass::Refused, "{sessions} {next:?}: {refused}");
        assert!(refused.sentence().contains("transaction mode"), "{refused}");
    }
}

#[cfg(feature = "sim")]
#[test]
fn tls_verifies_authority_and_name() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let server = PostgresServer::start_with(|home| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(home.join("server.crt"), certificate.pem()).unwrap();
        std::fs::write(home.join("server.key"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(home.join("server.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        vec![
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", home.join("server.crt").display()),
            format!("ssl_key_file={}", home.join("server.key").display()),
        ]
    });
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let named = format!("&sslrootcert={}", roots.display());
    for (host, query, works) in [
        ("localhost", format!("sslmode=verify-full{named}"), true),
        ("127.0.0.1", format!("sslmode=verify-full{named}"), false),
        ("127.0.0.1", format!("sslmode=verify-ca{named}"), true),
        ("127.0.0.1", format!("sslmode=require{named}"), true),
        ("localhost", "sslmode=verify-full".to_owned(), false),
        ("localhost", "sslmode=verify-ca".to_owned(), false),
        ("localhost", "sslmode=require".to_owned(), true),
        ("127.0.0.1", "sslmode=prefer".to_owned(), true),
    ] {
        let text = server.url_text("postgres").replace("127.0.0.1", host);
        let StoreUrl::Postgres(url) = StoreUrl::parse(&format!("{text}?{query}")).unwrap() else { panic!("{query}") };
        match connect(&url) {
            Ok(mut store) => {
                assert!(works, "{host} {query}");
                let mut affected = Vec::new();
                let on_tls = "SELECT 1 FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
                store.run(on_tls, &mut affected).unwrap();
                assert_eq!(affected, [1], "{host} {query}: encrypted");
            }
            Err(error) => {
                assert!(!works, "{host} {query}: {error}");
                assert!(error.sentence().contains("certificate"), "{error}");
                assert_eq!(error.class(), ErrorClass::Auth, "{error}");
            }
        }
    }
    // By setting instead of in the URL.
    let mut options = PostgresOptions::command("a test");
    options.extra_roots_pem = authority.pem().into_bytes();
    let mut url = server.url("postgres");
    (url.host, url.ssl_mode) = ("localhost".to_owned(), SslMode::VerifyFull);
    assert!(PostgresStore::connect(&url, &options).is_ok());
}
