//! Promise: on PostgreSQL too, in tables of our own and in those of a Laravel application moved from MySQL, what the worker
//! decides is kept, each job in one transaction; jobs of one account wait for each other, and a server that was killed is
//! found again.

#![cfg(feature = "servers")]

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kraite_streams::store::postgres::{PostgresOptions, PostgresStore};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::work::End;
use kraite_streams::store::work_rows::Progress;
use kraite_streams::store::work_shape::{WORK_TABLES, work_faults};
use kraite_streams::store::{ErrorClass, SslMode, StoreUrl, WorkStore};

#[path = "support/audit_payloads.rs"]
mod audit_payloads;
#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/reconcile_tables.rs"]
mod reconcile_tables;
#[path = "support/transaction_pooler.rs"]
mod transaction_pooler;
#[path = "support/work_tables.rs"]
mod work_tables;
use postgres_server::PostgresServer;
use transaction_pooler::Next;
use work_tables::{AT, Rig, audit, build_world, columns, commit, hold, in_transaction, later, place, system};

/// The incumbent's tables as a converter leaves them: smaller integers, booleans as small integers, stamps without a zone,
/// some text where there was JSON; an index where the incumbent has one, and its failed jobs without.
const FOREIGN: &str = "
    CREATE TABLE api_systems (id serial PRIMARY KEY, canonical varchar(255), name varchar(255), is_exchange smallint,
        is_active smallint DEFAULT 1);
    INSERT INTO api_systems (canonical, name, is_exchange)
        VALUES ('bybit', 'Bybit', 1), ('binance', 'Binance', 1), ('kucoin', 'KuCoin', 1);
    CREATE TABLE accounts (id serial PRIMARY KEY, uuid char(36), name varchar(255) NOT NULL, user_id bigint,
        api_system_id integer NOT NULL, can_trade smallint NOT NULL DEFAULT 1, is_active smallint NOT NULL DEFAULT 1,
        on_hedge_mode smallint, created_at timestamp(0), updated_at timestamp(0), deleted_at timestamp(0));
    CREATE TABLE positions (id serial PRIMARY KEY, uuid char(36), account_id integer NOT NULL, exchange_symbol_id integer,
        parsed_trading_pair varchar(255), status varchar(255) NOT NULL DEFAULT 'new', direction varchar(255),
        quantity numeric(20,8), is_open boolean GENERATED ALWAYS AS (status IN ('new', 'opening', 'active')) STORED,
        created_at timestamp(0), updated_at timestamp(0));
    CREATE TABLE orders (id serial PRIMARY KEY, position_id integer NOT NULL, uuid char(36) NOT NULL,
        client_order_id varchar(255) UNIQUE, type varchar(255) NOT NULL, status varchar(255) NOT NULL DEFAULT 'NEW',
        reference_status varchar(255), side varchar(4), position_side varchar(10), exchange_order_id varchar(255),
        quantity numeric(20,8), reference_quantity numeric(20,8), price numeric(20,8), reference_price numeric(20,8),
        is_algo smallint NOT NULL DEFAULT 0, opened_at timestamp(0), filled_at timestamp(0), created_at timestamp(0),
        updated_at timestamp(0));
    CREATE INDEX ord_exchange_order_id_idx ON orders (exchange_order_id);
    CREATE TABLE api_data_stream (id bigserial PRIMARY KEY, account_id integer NOT NULL REFERENCES accounts (id),
        api_system_id integer NOT NULL REFERENCES api_systems (id), raw_event_type varchar(64) NOT NULL,
        event_type varchar(40) NOT NULL, exchange_order_id varchar(64), client_order_id varchar(64), symbol varchar(40),
        status varchar(40), normalized_status varchar(20), price decimal(20,8), average_price decimal(20,8),
        original_quantity decimal(20,8), filled_quantity decimal(20,8), last_filled_price decimal(20,8),
        last_filled_quantity decimal(20,8), event_time timestamp(3), received_at timestamp(3) NOT NULL,
        raw_payload PAYLOAD NOT NULL, idempotency_key varchar(255) NOT NULL UNIQUE, created_at timestamp(0),
        updated_at timestamp(0));
    CREATE INDEX api_data_stream_account_received_idx ON api_data_stream (account_id, received_at);
    CREATE TABLE failed_jobs (id bigserial PRIMARY KEY, uuid varchar(255) NOT NULL, connection text NOT NULL,
        queue text NOT NULL, payload text NOT NULL, exception text NOT NULL,
        failed_at timestamp(0) NOT NULL DEFAULT CURRENT_TIMESTAMP);
    -- Neither the database's own zone nor its own isolation must matter.
    ALTER DATABASE DATABASE_NAME SET timezone TO 'Asia/Tokyo';
    ALTER DATABASE DATABASE_NAME SET default_transaction_isolation TO 'serializable';";

struct Server(postgres::Client);

impl Rig for Server {
    fn sql(&mut self, text: &str) {
        self.0.batch_execute(text).unwrap();
    }

    fn one(&mut self, text: &str) -> Option<String> {
        let messages = self.0.simple_query(text).unwrap();
        let row = messages.iter().find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.unwrap().get(0).map(str::to_owned)
    }
}

fn store(server: &PostgresServer, database: &str) -> WorkStore {
    let url = StoreUrl::parse(&server.url_text(database)).unwrap();
    WorkStore::new(&url, &UserDataOptions::new("kraite-streams work, a test")).unwrap()
}

/// A store whose statements wait so long for a lock.
fn patient(server: &PostgresServer, lock_timeout: Duration) -> WorkStore {
    let url = StoreUrl::parse(&server.url_text("postgres")).unwrap();
    let options = UserDataOptions { lock_timeout, ..UserDataOptions::new("kraite-streams work, a test") };
    WorkStore::new(&url, &options).unwrap()
}

fn migrate(server: &PostgresServer, database: &str) {
    let mut store = PostgresStore::connect(&server.url(database), &PostgresOptions::command("a test")).unwrap();
    store.migrate().unwrap();
    store.close();
}

fn rig(server: &PostgresServer, database: &str) -> Server {
    Server(server.client(database))
}

#[test]
fn the_promises_hold_on_tables_of_either_origin_and_across_a_kill() {
    let mut server = PostgresServer::start();
    let missing = store(&server, "postgres").run(|tables| tables.unpushed_intents(1)).unwrap_err();
    assert_eq!(missing.class(), ErrorClass::MissingTable);

    migrate(&server, "postgres");
    let mut own = store(&server, "postgres");
    assert!(!own.is_open(), "nothing is opened before it is needed");
    hold(&mut own, &mut rig(&server, "postgres"), true);
    audit_payloads::hold(&mut own, &mut rig(&server, "postgres"));

    for (database, payload) in [("laravel", "json"), ("converted", "text")] {
        server.client("postgres").batch_execute(&format!("CREATE DATABASE {database}")).unwrap();
        let tables = FOREIGN.replace("PAYLOAD", payload).replace("DATABASE_NAME", database);
        server.client(database).batch_execute(&tables).unwrap();
        migrate(&server, database);
        let mut foreign = store(&server, database);
        let mut rig = rig(&server, database);
        hold(&mut foreign, &mut rig, false);
        audit_payloads::hold(&mut foreign, &mut rig);
        // What another program reads there is UTC, to the millisecond where the column keeps it.
        assert_eq!(
            rig.one("SELECT received_at::text FROM api_data_stream WHERE idempotency_key = 'payload 0'").unwrap(),
            "2026-11-23 07:30:15.123"
        );
        reconcile_tables::hold_reconcile(&mut foreign, &mut rig);
        assert_eq!(rig.one("SELECT count(*) FROM orders WHERE filled_at = '2026-11-23 07:30:15'").unwrap(), "1");
    }

    server.kill();
    let lost = own.run(|tables| tables.unpushed_intents(1)).unwrap_err();
    assert_eq!(lost.class(), ErrorClass::Unreachable, "{lost}");
    assert!(!own.is_open());
    server.restart();
    assert_eq!(commit(&mut own, |tx| tx.lock_position(2001)).unwrap().status, "closing", "committed is kept");
    reconcile_tables::hold_reconcile(&mut own, &mut rig(&server, "postgres"));
}

#[test]
fn jobs_of_one_account_wait_for_each_other() {
    let server = PostgresServer::start();
    migrate(&server, "postgres");
    let mut rig = rig(&server, "postgres");
    build_world(&mut rig);
    let binance = system(&mut rig, "binance");
    place(&mut rig, 1, 1010, "LIMIT", "c-1", "1");
    place(&mut rig, 2, 1010, "LIMIT", "c-2", "2");

    // Four sessions count up in one row, and in no other order than one by one.
    let rounds = 25u64;
    let step = |store: &mut WorkStore| {
        commit(store, |tx| {
            let found = tx.lock_progress(101)?;
            let position = found.map_or(0, |progress| progress.position);
            let key = format!("step {position}");
            assert!(audit(tx, 101, binance, &columns("1", "c"), AT, &key)?, "{key} was taken before");
            tx.set_progress(101, &Progress { epoch: [7; 16], position: position + 1, fence: 1 })
        });
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut store = patient(&server, Duration::from_secs(30));
                (0..rounds).for_each(|_| step(&mut store));
            });
        }
    });
    let mut store = patient(&server, Duration::from_millis(200));
    let reached = commit(&mut store, |tx| tx.lock_progress(101)).unwrap();
    assert_eq!((reached.position, rig.one("SELECT count(*) FROM api_data_stream").unwrap()), (100, "100".to_owned()));

    // A row that somebody holds: a fault that passes, the session stays, and another account is not held up.
    let mut application = server.client("postgres");
    let mut held = application.transaction().unwrap();
    held.batch_execute("UPDATE orders SET reference_status = 'CANCELLED' WHERE id = 1").unwrap();
    let busy = in_transaction(&mut store, End::Commit, |tx| {
        tx.set_position_status(1010, "closing")?;
        tx.lock_order(1)
    });
    assert_eq!(busy.unwrap_err().class(), ErrorClass::Transient);
    assert!(store.is_open());
    assert_eq!(rig.one("SELECT status FROM positions WHERE id = 1010").unwrap(), "active");
    assert!(commit(&mut store, |tx| tx.lock_order(2)).is_some());

    // A lock that was waited for shows the row as the other left it.
    let mut waiting = patient(&server, Duration::from_secs(30));
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(commit(&mut waiting, |tx| tx.lock_order(1)).unwrap()).unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while rig.one("SELECT count(*) FROM pg_locks WHERE NOT granted").as_deref() == Some("0") {
            assert!(Instant::now() < deadline, "nobody waits for the row");
            std::thread::sleep(Duration::from_millis(10));
        }
        held.commit().unwrap();
        let order = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(order.reference_status.as_deref(), Some("CANCELLED"));
    });
}

#[test]
fn a_deadlock_passes_and_leaves_the_session() {
    let server = PostgresServer::start();
    migrate(&server, "postgres");
    let mut rig = rig(&server, "postgres");
    build_world(&mut rig);
    let (first_has, second_waits) = (channel(), channel());
    let mut application = server.client("postgres");
    application.batch_execute("SET deadlock_timeout = '60s'").unwrap();
    let (at_first, at_second) = (first_has.1, second_waits.0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut other = application.transaction().unwrap();
            other.batch_execute("SELECT 1 FROM positions WHERE id = 1020 FOR UPDATE").unwrap();
            at_second.send(()).unwrap();
            at_first.recv_timeout(Duration::from_secs(20)).unwrap();
            // Waits until the worker's session gives way.
            other.batch_execute("SELECT 1 FROM positions WHERE id = 1010 FOR UPDATE").unwrap();
            other.commit().unwrap();
        });
        let mut store = patient(&server, Duration::from_secs(4));
        let fault = in_transaction(&mut store, End::Commit, |tx| {
            tx.lock_position(1010)?;
            second_waits.1.recv_timeout(Duration::from_secs(20)).unwrap();
            first_has.0.send(()).unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while rig.one("SELECT count(*) FROM pg_locks WHERE NOT granted").as_deref() == Some("0") {
                assert!(Instant::now() < deadline, "nobody waits for the row");
                std::thread::sleep(Duration::from_millis(10));
            }
            tx.lock_position(1020)
        })
        .unwrap_err();
        assert_eq!(fault.class(), ErrorClass::Transient, "{fault}");
        assert!(fault.sentence().contains("40P01"), "{fault}");
        assert!(store.is_open());
    });
}

#[test]
fn old_rows_are_found_by_the_incumbents_index() {
    let server = PostgresServer::start();
    migrate(&server, "postgres");
    let mut rig = rig(&server, "postgres");
    build_world(&mut rig);
    let system = system(&mut rig, "binance");
    rig.sql(&format!(
        "INSERT INTO api_data_stream (account_id, api_system_id, raw_event_type, event_type, received_at, raw_payload, \
         idempotency_key, exchange_order_id) \
         SELECT 101 + n % 2, {system}, 'e', 'other', '2026-11-23 07:30:15+00'::timestamptz + n * interval '1 second', \
         '{{}}', n::text, (n / 4)::text FROM generate_series(1, 60000) n; \
         INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
         SELECT 5000 + n, 101 + n % 2, 'P' || n % 100, 'closed', 'LONG' FROM generate_series(1, 10000) n; \
         INSERT INTO orders (id, position_id, type, status, client_order_id, exchange_order_id) \
         SELECT n, 5001 + n % 10000, 'LIMIT', 'FILLED', 'c-' || n, n::text FROM generate_series(1, 40000) n; ANALYZE;"
    ));
    let mut store = store(&server, "postgres");
    let mut expect = |store: &mut WorkStore, work: &mut dyn FnMut(&mut WorkStore), expected: i64| {
        // A session that has ended has told the server what it counted.
        store.close();
        let mut scans = || -> i64 {
            let counted = "SELECT sum(seq_scan) FROM pg_stat_user_tables \
                           WHERE relname IN ('api_data_stream', 'orders', 'positions')";
            let deadline = Instant::now() + Duration::from_secs(20);
            while rig.one("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%work%'").unwrap() != "0"
            {
                assert!(Instant::now() < deadline, "a session does not end");
                std::thread::sleep(Duration::from_millis(10));
            }
            rig.one(counted).unwrap().parse().unwrap()
        };
        let before = scans();
        work(store);
        store.close();
        assert_eq!(scans() - before, expected, "reads of a table from end to end");
    };
    // More often than a plan is made for the values at hand.
    let frequent = &mut |store: &mut WorkStore| {
        assert_eq!(store.run(|tables| tables.delete_audit_before(later(-1_000_000), 1_000)).unwrap(), 0);
        for _ in 0..8 {
            assert_eq!(store.run(|tables| tables.delete_audit_before(later(10_000_000_000), 1_000)).unwrap(), 1_000);
            assert_eq!(store.run(|tables| tables.audit_since(later(59_990_000_000), 0, 1_000)).unwrap().len(), 10);
            assert_eq!(store.run(|tables| tables.audit_of_order("9000", None, 9)).unwrap().len(), 4);
            assert_eq!(store.run(|tables| tables.orders_of_id("77", None)).unwrap().len(), 1);
            commit(store, |tx| {
                let pair = Some("P77");
                assert_eq!(tx.find_order(102, system, pair, Some("76"), Some("x"))?.unwrap().id, 76);
                assert_eq!(tx.find_order(102, system, None, None, Some("c-76"))?.unwrap().id, 76);
                assert_eq!(tx.find_order(101, system, pair, Some("76"), Some("x"))?, None);
                assert_eq!(tx.orders_of_position(5077)?.len(), 4);
                assert_eq!(tx.positions(101, "P77", &["active"])?, []);
                assert!(tx.lock_position(5077)?.is_some() && tx.lock_order(77)?.is_some());
                Ok(())
            });
        }
    };
    expect(&mut store, frequent, 0);
    // What is known to cost a read of all events does, so that the count above means something.
    let by_client = &mut |store: &mut WorkStore| {
        assert_eq!(store.run(|tables| tables.audit_of_order("nobody's", None, 9)).unwrap(), []);
    };
    expect(&mut store, by_client, 1);
}

#[test]
fn a_pooler_in_transaction_mode_is_refused() {
    let server = PostgresServer::start();
    migrate(&server, "postgres");
    server.trust_everyone();
    let port = transaction_pooler::start(server.port(), postgres_server::USER, "postgres", 2, Next::Oldest);
    let mut url = server.url("postgres");
    url.port = port;
    url.ssl_mode = SslMode::Disable;
    let options = UserDataOptions::new("kraite-streams work, a test");
    let mut store = WorkStore::new(&StoreUrl::Postgres(url), &options).unwrap();
    let refused = store.run(|tables| tables.unpushed_intents(1)).unwrap_err();
    assert_eq!((refused.class(), store.is_open()), (ErrorClass::Refused, false), "{refused}");
}

#[test]
fn odd_tables_of_an_application_are_named() {
    let server = PostgresServer::start();
    let mut rig = rig(&server, "postgres");
    rig.sql(&FOREIGN.replace("PAYLOAD", "jsonb").replace("DATABASE_NAME", "postgres"));
    rig.sql(
        "ALTER TABLE orders ALTER COLUMN price TYPE double precision; DROP INDEX ord_exchange_order_id_idx; \
         ALTER TABLE api_data_stream DROP CONSTRAINT api_data_stream_idempotency_key_key;",
    );
    let mut store = PostgresStore::connect(&server.url("postgres"), &PostgresOptions::command("a test")).unwrap();
    let mut faults = || -> Vec<String> {
        WORK_TABLES.iter().flat_map(|table| work_faults(table, &store.table_shape(table).unwrap())).collect()
    };
    assert!(faults().iter().any(|fault| fault.starts_with("stream_progress is not there")));
    migrate(&server, "postgres");
    let found = faults();
    for (fault, words) in found.iter().zip([
        "orders.price is double precision",
        "orders has no index that leads with exchange_order_id",
        "api_data_stream.raw_payload is jsonb",
        "api_data_stream.idempotency_key has no unique index",
        "api_data_stream has no index that leads with exchange_order_id",
    ]) {
        assert!(fault.contains(words), "{found:#?}");
    }
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn a_database_that_cannot_hold_every_symbol_is_refused() {
    let server = PostgresServer::start();
    server
        .client("postgres")
        .batch_execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        .unwrap();
    let refused = store(&server, "latin").run(|tables| tables.unpushed_intents(1)).unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Refused);
    assert!(refused.sentence().contains("LATIN1"), "{refused}");
}
