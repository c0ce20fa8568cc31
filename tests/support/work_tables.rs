//! What both databases must do for the worker, as one list of promises: `work_tables.rs` and `servers_work_tables.rs` run
//! it, each with a store of its own. The world: accounts 101 and 102 at Binance, 103 at Bybit, one position each.

#![allow(dead_code, reason = "shared by two test binaries, each of which uses a part")]

use std::time::Duration;

use kraite_streams::domain::order::{Direction, OrderKind, OrderStatus};
use kraite_streams::domain::{Decimal, Wall};
use kraite_streams::store::user_data_rows::NewGap;
use kraite_streams::store::work::End;
use kraite_streams::store::work_rows::{
    AuditColumns, AuditRecord, AuditRow, DecisionRow, FailedJob, NewIntent, OrderChange, OrderMark, Progress,
};
use kraite_streams::store::{ErrorClass, Result, WorkStore, WorkTransaction};

/// 2026-11-23 07:30:15.123 UTC.
pub const AT: Wall = Wall::from_micros(1_795_419_015_123_000);
/// The three accounts, and their systems by name.
pub const ACCOUNTS: [(i64, &str); 3] = [(101, "binance"), (102, "binance"), (103, "bybit")];

/// The test's own access to the same database.
pub trait Rig {
    fn sql(&mut self, text: &str);
    /// The first field of the only row, as text.
    fn one(&mut self, text: &str) -> Option<String>;
}

pub fn later(micros: i64) -> Wall {
    Wall::from_micros(AT.as_micros() + micros)
}

pub fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap()
}

/// One transaction that is committed; what the work gave.
pub fn commit<T>(store: &mut WorkStore, work: impl FnOnce(&mut dyn WorkTransaction) -> Result<T>) -> T {
    in_transaction(store, End::Commit, work).unwrap()
}

pub fn in_transaction<T>(
    store: &mut WorkStore,
    end: End,
    work: impl FnOnce(&mut dyn WorkTransaction) -> Result<T>,
) -> Result<T> {
    let (mut work, mut answer) = (Some(work), None);
    let ended = store.run(|tables| {
        tables.transaction(&mut |tx| {
            answer = Some(work.take().expect("a transaction does its work once")(tx)?);
            Ok(end)
        })
    })?;
    assert_eq!(ended, end);
    Ok(answer.expect("the work was done"))
}

pub fn build_world(rig: &mut dyn Rig) {
    for (account, canonical) in ACCOUNTS {
        rig.sql(&format!(
            "INSERT INTO accounts (id, uuid, name, api_system_id, is_active, on_hedge_mode) VALUES ({account}, \
             'account-{account}', 'account {account}', (SELECT id FROM api_systems WHERE canonical = '{canonical}'), \
             '1', '{}')",
            account % 2
        ));
        rig.sql(&format!(
            "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
             VALUES ({account}0, {account}, 'BTCUSDT', 'active', 'LONG')"
        ));
    }
}

pub fn system(rig: &mut dyn Rig, canonical: &str) -> i64 {
    rig.one(&format!("SELECT id FROM api_systems WHERE canonical = '{canonical}'")).unwrap().parse().unwrap()
}

/// An order of a position, placed for 0.5 at 100.
pub fn place(rig: &mut dyn Rig, id: i64, position: i64, kind: &str, client: &str, exchange: &str) {
    rig.sql(&format!(
        "INSERT INTO orders (id, position_id, uuid, type, status, reference_status, client_order_id, exchange_order_id, \
         is_algo, quantity, price, reference_quantity, reference_price) VALUES ({id}, {position}, 'order-{id}', '{kind}', \
         'NEW', 'NEW', '{client}', '{exchange}', '{}', '0.50000000', '100.00000000', '0.5', '100')",
        u8::from(kind == "STOP-MARKET")
    ));
}

/// Inserts an audit row with these columns; whether it is new.
pub fn audit(
    tx: &mut dyn WorkTransaction,
    account_id: i64,
    api_system_id: i64,
    columns: &AuditColumns,
    at: Wall,
    key: &str,
) -> Result<bool> {
    tx.insert_audit(&AuditRow {
        account_id,
        api_system_id,
        columns,
        received_at: at,
        raw_payload: "{}",
        idempotency_key: key,
    })
}

/// Columns of an order event.
pub fn columns(exchange: &str, client: &str) -> AuditColumns {
    AuditColumns {
        raw_event_type: "ORDER_TRADE_UPDATE".to_owned(),
        event_type: "order_update".to_owned(),
        exchange_order_id: Some(exchange.to_owned()),
        client_order_id: Some(client.to_owned()),
        ..AuditColumns::default()
    }
}

/// Every promise, on an empty migrated store. `keeps_millis` says whether `api_data_stream.created_at` does.
pub fn hold(store: &mut WorkStore, rig: &mut dyn Rig, keeps_millis: bool) {
    build_world(rig);
    what_is_done_is_told(store, rig);
    progress_is_of_one_account(store);
    an_audit_row_is_exact_and_there_once(store, rig, keeps_millis);
    a_transaction_with_a_fault_leaves_nothing(store, rig);
    an_order_is_found_in_its_own_account(store, rig);
    an_order_takes_what_the_stream_may_write(store, rig);
    an_algo_order_is_found_by_what_it_became(store, rig);
    positions_are_those_of_the_pair(store, rig);
    an_intent_lives_until_it_is_finished_or_old(store, rig);
    decisions_are_kept_to_the_microsecond(store);
    a_failed_job_is_recorded_whatever_it_holds(store, rig);
    a_reconcile_is_asked_for_once(store, rig);
    audit_rows_are_found_and_paged(store, rig);
    old_audit_rows_go_in_batches(store, rig);
    old_intents_and_decisions_go_in_batches(store, rig);
}

fn what_is_done_is_told(store: &mut WorkStore, rig: &mut dyn Rig) {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    let progress = |position| Progress { epoch: [0xab; 16], position, fence: 3 };
    commit(store, |tx| tx.lock_progress(301));
    for (account, position) in [(303, u64::MAX), (302, 1)] {
        commit(store, |tx| tx.set_progress(account, &progress(position)));
    }
    rig.sql("INSERT INTO stream_progress (account_id, epoch, position, fence) VALUES (304, 'not ours', 1, 1)");
    let mut all = store.run(|tables| tables.all_progress()).unwrap();
    all.retain(|(account, _)| (301..=304).contains(account));
    // One that was only locked, and one that nobody can read, are not there.
    assert_eq!(all, [(302, progress(1)), (303, progress(u64::MAX))]);
    rig.sql("DELETE FROM stream_progress WHERE account_id BETWEEN 301 AND 304");

    let binance = system(rig, "binance");
    assert!(commit(store, |tx| audit(tx, 101, binance, &columns("1", "c"), later(0), "done-1")));
    let mut found = store.run(|tables| tables.audited_keys(&texts(&["done-2", "done-1", "do'ne"]))).unwrap();
    found.sort_unstable();
    assert_eq!(found, ["done-1"]);
    assert_eq!(store.run(|tables| tables.audited_keys(&[])).unwrap(), [""; 0]);
    rig.sql("DELETE FROM api_data_stream WHERE idempotency_key = 'done-1'");

    let failed = |uuid| FailedJob {
        uuid,
        connection: "redis",
        queue: "user-data-stream",
        payload: "{}",
        exception: "why",
        failed_at: later(0),
    };
    store.run(|tables| tables.insert_failed_job(&failed("failed-1"))).unwrap();
    assert_eq!(store.run(|tables| tables.failed_uuids(&texts(&["failed-1", "failed-2"]))).unwrap(), ["failed-1"]);
    rig.sql("DELETE FROM failed_jobs WHERE uuid = 'failed-1'");
}

fn progress_is_of_one_account(store: &mut WorkStore) {
    let progress = Progress { epoch: [0xab; 16], position: u64::MAX, fence: u64::MAX - 1 };
    assert_eq!(commit(store, |tx| tx.lock_progress(101)), None);
    assert_eq!(commit(store, |tx| tx.lock_progress(101)), None, "a row that was only locked says nothing");
    in_transaction(store, End::RollBack, |tx| tx.set_progress(101, &progress)).unwrap();
    assert_eq!(commit(store, |tx| tx.lock_progress(101)), None);
    commit(store, |tx| tx.set_progress(101, &progress));
    let next = Progress { position: 7, fence: 0, epoch: [0; 16] };
    commit(store, |tx| tx.set_progress(102, &next));
    assert_eq!(commit(store, |tx| tx.lock_progress(101)), Some(progress));
    assert_eq!(commit(store, |tx| tx.lock_progress(102)), Some(next));
    // An account that is not there fails at its audit row, not here.
    assert_eq!(commit(store, |tx| tx.lock_progress(-5)), None);
}

fn an_audit_row_is_exact_and_there_once(store: &mut WorkStore, rig: &mut dyn Rig, keeps_millis: bool) {
    let binance = system(rig, "binance");
    let full = AuditColumns {
        symbol: Some("我踏马来了USDT".to_owned()),
        status: Some("PARTIALLY_FILLED".to_owned()),
        normalized_status: Some("PARTIALLY_FILLED".to_owned()),
        price: Some(decimal("0.00000001")),
        average_price: Some(decimal("999999999999.99999999")),
        original_quantity: Some(decimal("-4.10499999")),
        filled_quantity: Some(decimal("0")),
        last_filled_price: Some(decimal("999999999999")),
        last_filled_quantity: None,
        event_time: Some(Wall::from_millis(1_795_419_015_001)),
        ..columns("18446744073709551615", "🚀'x\"\\ é")
    };
    let raw = "{ \"e\":\"ORDER_TRADE_UPDATE\",\n\"a\":1,\"a\":1.50 , \"n\":\"\\u0000 \\ud800 \\/\", \"b\":\"我\"}";
    let row = AuditRow {
        account_id: 101,
        api_system_id: binance,
        columns: &full,
        received_at: later(999),
        raw_payload: raw,
        idempotency_key: "full",
    };
    let inserted = commit(store, |tx| Ok([tx.insert_audit(&row)?, tx.insert_audit(&row)?, tx.insert_audit(&row)?]));
    assert_eq!(inserted, [true, false, false]);
    let again = AuditRow { account_id: 102, ..row };
    assert!(!commit(store, |tx| tx.insert_audit(&again)), "the key alone decides");
    assert_eq!(rig.one("SELECT count(*) FROM api_data_stream").unwrap(), "1");

    let found = store.run(|tables| tables.audit_of_order("18446744073709551615", Some(101), 9)).unwrap();
    let [found] = <[AuditRecord; 1]>::try_from(found).unwrap();
    assert_eq!((found.account_id, found.api_system_id, &found.columns), (101, binance, &full));
    assert_eq!((found.received_at, found.raw_payload.as_str(), found.idempotency_key.as_str()), (AT, raw, "full"));
    assert_eq!(found.created_at.is_some(), keeps_millis, "{:?}", found.created_at);

    // Rows that go together are the same rows, in their order, and each is asked after once.
    let [first, second] = ["ahead 1", "ahead 2"].map(|key| AuditRow { idempotency_key: key, ..row });
    let inserted = commit(store, |tx| {
        tx.insert_audit_ahead(&[first, row, second, first])?;
        [first, row, second, first].iter().map(|row| tx.insert_audit(row)).collect::<Result<Vec<_>>>()
    });
    assert_eq!(inserted, [true, false, true, false]);
    let rows = store.run(|tables| tables.audit_of_order("18446744073709551615", Some(101), 9)).unwrap();
    let keys: Vec<&str> = rows.iter().map(|row| row.idempotency_key.as_str()).collect();
    assert_eq!(keys, ["full", "ahead 1", "ahead 2"]);
    for ahead in &rows[1..] {
        assert!(ahead.id > found.id && ahead.created_at.is_some() == keeps_millis);
        let key = &found.idempotency_key;
        let (id, created_at) = (found.id, found.created_at);
        assert_eq!(AuditRecord { id, created_at, idempotency_key: key.clone(), ..ahead.clone() }, found);
    }

    // What no column holds is NULL; what just fits is kept.
    for (event_time, kept) in [
        (Wall::from_millis(i64::MAX), false),
        (Wall::from_millis(i64::MIN), false),
        (Wall::from_millis(-62_135_596_800_001), false),
        (Wall::from_millis(-62_135_596_800_000), true),
        (Wall::from_millis(253_402_300_799_999), true),
        (Wall::from_millis(0), true),
    ] {
        let key = format!("time {}", event_time.as_micros());
        let odd = AuditColumns { event_time: Some(event_time), ..columns(&key, "t") };
        assert!(commit(store, |tx| audit(tx, 101, binance, &odd, AT, &key)));
        let found = store.run(|tables| tables.audit_of_order(&key, None, 1)).unwrap();
        assert_eq!(found[0].columns.event_time, kept.then_some(event_time), "{event_time:?}");
    }
}

fn a_transaction_with_a_fault_leaves_nothing(store: &mut WorkStore, rig: &mut dyn Rig) {
    let binance = system(rig, "binance");
    let event = columns("1", "c");
    let before = rig.one("SELECT count(*) FROM api_data_stream");
    for (account, of_system) in [(-1, binance), (101, -1)] {
        let fault = in_transaction(store, End::Commit, |tx| {
            audit(tx, 101, binance, &event, AT, "before the fault")?;
            audit(tx, account, of_system, &event, AT, "no such account or system")
        });
        assert_eq!(fault.unwrap_err().class(), ErrorClass::Data, "a missing account is no duplicate");
    }
    // A fault that the work passes over rolls back too, and is told as what it was.
    let passed_over = in_transaction(store, End::Commit, |tx| {
        audit(tx, 101, binance, &event, AT, "before the fault")?;
        let _ = audit(tx, -1, binance, &event, AT, "no such account");
        let _ = audit(tx, 101, binance, &event, AT, "behind the fault");
        Ok(())
    });
    assert_eq!(passed_over.unwrap_err().class(), ErrorClass::Data);
    assert!(store.is_open(), "such a fault leaves the session");
    in_transaction(store, End::RollBack, |tx| audit(tx, 101, binance, &event, AT, "a preview")).unwrap();
    assert_eq!(rig.one("SELECT count(*) FROM api_data_stream"), before);
}

fn an_order_is_found_in_its_own_account(store: &mut WorkStore, rig: &mut dyn Rig) {
    let (binance, bybit) = (system(rig, "binance"), system(rig, "bybit"));
    let big = "18446744073709551615";
    place(rig, 1, 1010, "LIMIT", "c-1", big);
    place(rig, 2, 1020, "PROFIT-LIMIT", "c-2", big);
    place(rig, 3, 1030, "LIMIT", "c-3", big);
    place(rig, 4, 1010, "MARKET", "🚀", "4");
    rig.sql(
        "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
         VALUES (1011, 101, '我踏马来了USDT', 'active', 'SHORT')",
    );
    place(rig, 5, 1011, "LIMIT", "c-5", big);
    for (account, of_system, symbol, exchange, client, expected) in [
        (101, binance, Some("BTCUSDT"), Some(big), None, Some(1)),
        (101, binance, Some("我踏马来了USDT"), Some(big), None, Some(5)),
        (101, binance, None, Some(big), None, Some(5)),
        (101, binance, Some("ETHUSDT"), Some(big), None, Some(5)),
        (102, binance, Some("BTCUSDT"), Some(big), None, Some(2)),
        (103, bybit, Some("BTCUSDT"), Some(big), None, Some(3)),
        // Each in its account, and the account in its system.
        (103, binance, Some("BTCUSDT"), Some(big), None, None),
        (101, bybit, Some("BTCUSDT"), Some(big), Some("c-1"), None),
        (102, binance, Some("BTCUSDT"), Some("4"), Some("🚀"), None),
        // The exchange's id goes before the client's.
        (101, binance, Some("BTCUSDT"), Some(big), Some("🚀"), Some(1)),
        (101, binance, Some("BTCUSDT"), Some("9"), Some("🚀"), Some(4)),
        (101, binance, Some("BTCUSDT"), None, Some("c-1"), Some(1)),
        (101, binance, Some("BTCUSDT"), Some("9"), Some("c-2"), None),
        (101, binance, Some("BTCUSDT"), None, None, None),
        (101, binance, None, Some(""), Some("' OR '1'='1"), None),
    ] {
        let found = commit(store, |tx| tx.find_order(account, of_system, symbol, exchange, client));
        let case = format!("{account} {of_system} {symbol:?} {exchange:?} {client:?}");
        assert_eq!(found.map(|order| order.id), expected, "{case}");
    }
    let order = commit(store, |tx| tx.lock_order(2)).unwrap();
    assert_eq!((order.position_id, order.kind, order.is_algo), (1020, OrderKind::ProfitLimit, false));
    assert_eq!((order.status.as_str(), order.reference_status.as_deref()), ("NEW", Some("NEW")));
    assert_eq!((order.client_order_id.as_deref(), order.exchange_order_id.as_deref()), (Some("c-2"), Some(big)));
    assert_eq!((order.quantity, order.price), (Some(decimal("0.5")), Some(decimal("100"))));
    assert_eq!((order.reference_quantity, order.reference_price), (Some(decimal("0.5")), Some(decimal("100"))));
    assert_eq!((order.is_filled_at_set, order.last, order.child_ended), (false, None, None));
    assert_eq!(commit(store, |tx| tx.lock_order(-1)), None);

    let ids = |store: &mut WorkStore, id: &str, account| {
        let found = store.run(|tables| tables.orders_of_id(id, account)).unwrap();
        found.into_iter().map(|(account, order)| (account, order.id)).collect::<Vec<_>>()
    };
    assert_eq!(ids(store, big, None), [(101, 1), (102, 2), (103, 3), (101, 5)]);
    assert_eq!(ids(store, big, Some(102)), [(102, 2)]);
    assert_eq!(ids(store, "🚀", None), [(101, 4)]);
    assert_eq!(ids(store, "none", None), []);

    let of_position = commit(store, |tx| tx.orders_of_position(1010));
    assert_eq!(of_position.iter().map(|order| order.id).collect::<Vec<_>>(), [1, 4]);
    let account = commit(store, |tx| tx.account(101)).unwrap();
    assert_eq!((account.id, account.api_system_id, account.on_hedge_mode), (101, binance, true));
    assert!(!commit(store, |tx| tx.account(102)).unwrap().on_hedge_mode);
    assert_eq!(commit(store, |tx| tx.account(-1)), None);
    rig.sql("UPDATE accounts SET deleted_at = '2026-11-23 00:00:00' WHERE id = 102");
    assert!(commit(store, |tx| tx.account(102)).is_some(), "its positions outlive a soft delete");
    rig.sql("UPDATE accounts SET deleted_at = NULL WHERE id = 102");
}

fn an_order_takes_what_the_stream_may_write(store: &mut WorkStore, rig: &mut dyn Rig) {
    let untouched = "SELECT quantity || '|' || reference_quantity || '|' || reference_price || '|' || uuid || '|' || type \
                     FROM orders WHERE id = 1";
    let before = rig.one(untouched);
    let mark = OrderMark { transaction_time_ms: i64::MAX, filled_quantity: Some(decimal("0.123456789012")) };
    let filled = OrderChange {
        status: OrderStatus::Filled,
        price: Some(decimal("999999999999.99999999")),
        filled_at: Some(AT),
        mark: mark.clone(),
    };
    commit(store, |tx| tx.set_child_ended(1, OrderStatus::Expired));
    let early = commit(store, |tx| tx.lock_order(1)).unwrap();
    assert_eq!((early.last, early.child_ended), (None, Some(OrderStatus::Expired)), "the child may end first");
    commit(store, |tx| tx.update_order(1, &filled));
    let order = commit(store, |tx| tx.lock_order(1)).unwrap();
    assert_eq!((order.status.as_str(), order.price), ("FILLED", Some(decimal("999999999999.99999999"))));
    assert_eq!((order.is_filled_at_set, order.last, order.child_ended), (true, Some(mark), Some(OrderStatus::Expired)));

    let plain = OrderMark { transaction_time_ms: 0, filled_quantity: None };
    let cancelled =
        OrderChange { status: OrderStatus::Cancelled, price: None, filled_at: Some(later(5_000_000)), mark: plain };
    let filled_at = rig.one("SELECT filled_at FROM orders WHERE id = 1");
    commit(store, |tx| tx.update_order(1, &cancelled));
    let order = commit(store, |tx| tx.lock_order(1)).unwrap();
    assert_eq!((order.status.as_str(), order.last), ("CANCELLED", Some(cancelled.mark.clone())));
    assert_eq!(order.price, Some(decimal("999999999999.99999999")), "no price leaves the old one");
    assert_eq!(rig.one("SELECT filled_at FROM orders WHERE id = 1"), filled_at, "the first fill stays");
    assert_eq!(rig.one(untouched), before);
    commit(store, |tx| tx.update_order(-1, &cancelled));

    commit(store, |tx| tx.set_reference_status(1, "FILLED"));
    assert_eq!(commit(store, |tx| tx.lock_order(1)).unwrap().reference_status.as_deref(), Some("FILLED"));
    in_transaction(store, End::RollBack, |tx| {
        tx.set_reference_status(1, "NEW")?;
        tx.update_order(1, &filled)
    })
    .unwrap();
    let order = commit(store, |tx| tx.lock_order(1)).unwrap();
    assert_eq!((order.status.as_str(), order.reference_status.as_deref()), ("CANCELLED", Some("FILLED")));
    // Digits that decimal(20,8) does not hold are a fault of the value, on the server that checks them.
    let wide = OrderChange { price: Some(decimal("1000000000000")), ..filled };
    if let Err(error) = in_transaction(store, End::RollBack, |tx| tx.update_order(1, &wide)) {
        assert_eq!(error.class(), ErrorClass::Data);
    }
}

fn an_algo_order_is_found_by_what_it_became(store: &mut WorkStore, rig: &mut dyn Rig) {
    let binance = system(rig, "binance");
    place(rig, 6, 1010, "STOP-MARKET", "algo-6", "2000000000000000006");
    assert!(commit(store, |tx| tx.lock_order(6)).unwrap().is_algo);
    let find = |store: &mut WorkStore, account, symbol: Option<&str>, id: &str| {
        commit(store, |tx| tx.find_order(account, binance, symbol, Some(id), None)).map(|order| order.id)
    };
    assert_eq!(find(store, 101, Some("BTCUSDT"), "777"), None);
    commit(store, |tx| {
        tx.link_triggered(101, "BTCUSDT", "777", 6)?;
        tx.link_triggered(101, "BTCUSDT", "777", 6)?;
        tx.link_triggered(101, "我踏马来了USDT", "778", 6)
    });
    assert_eq!(find(store, 101, Some("BTCUSDT"), "777"), Some(6));
    assert_eq!(find(store, 101, None, "777"), Some(6));
    assert_eq!(find(store, 101, Some("我踏马来了USDT"), "778"), Some(6));
    assert_eq!(find(store, 101, Some("ETHUSDT"), "777"), None, "exchanges number orders by symbol");
    assert_eq!(find(store, 102, Some("BTCUSDT"), "777"), None);
    // An order that has the id itself goes before.
    place(rig, 7, 1010, "LIMIT", "c-7", "777");
    assert_eq!(find(store, 101, Some("BTCUSDT"), "777"), Some(7));
    rig.sql("DELETE FROM orders WHERE id = 7");

    let child = columns("777", "autogenerated");
    let own = columns("2000000000000000006", "algo-6");
    commit(store, |tx| audit(tx, 101, binance, &own, AT, "algo own"));
    commit(store, |tx| audit(tx, 101, binance, &child, later(1_000), "algo child"));
    for id in ["2000000000000000006", "algo-6"] {
        let rows = store.run(|tables| tables.audit_of_order(id, Some(101), 9)).unwrap();
        assert_eq!(keys(&rows), ["algo own", "algo child"], "{id}");
    }
}

fn positions_are_those_of_the_pair(store: &mut WorkStore, rig: &mut dyn Rig) {
    rig.sql(
        "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) VALUES \
         (2001, 101, 'ETHUSDT', 'active', 'SHORT'), (2002, 101, 'ETHUSDT', 'closed', 'LONG'), \
         (2003, 101, 'ETHUSDT', 'new', NULL), (2004, 101, 'ETHUSDT', 'waping', 'LONG'), \
         (2005, 102, 'ETHUSDT', 'active', 'LONG'), (2006, 101, NULL, 'active', 'LONG')",
    );
    let found = commit(store, |tx| tx.positions(101, "ETHUSDT", &["active", "new", "waping"]));
    let found: Vec<_> = found.iter().map(|row| (row.id, row.direction, row.status.as_str())).collect();
    assert_eq!(found, [(2001, Direction::Short, "active"), (2004, Direction::Long, "waping")]);
    assert_eq!(commit(store, |tx| tx.positions(101, "ETHUSDT", &[])), []);
    assert_eq!(commit(store, |tx| tx.positions(103, "ETHUSDT", &["active"])), []);
    let symbol = commit(store, |tx| tx.positions(101, "我踏马来了USDT", &["active"]));
    assert_eq!((symbol[0].id, symbol[0].symbol.as_str()), (1011, "我踏马来了USDT"));

    let row = commit(store, |tx| tx.lock_position(2001)).unwrap();
    assert_eq!((row.account_id, row.symbol.as_str(), row.exchange_symbol_id), (101, "ETHUSDT", None));
    assert_eq!(commit(store, |tx| tx.lock_position(2003)), None, "nothing is placed for it yet");
    assert_eq!(commit(store, |tx| tx.lock_position(-1)), None);
    commit(store, |tx| tx.set_position_status(2001, "closing"));
    assert_eq!(commit(store, |tx| tx.lock_position(2001)).unwrap().status, "closing");
}

fn an_intent_lives_until_it_is_finished_or_old(store: &mut WorkStore, rig: &mut dyn Rig) {
    let intent = |dedupe: &str, live_key: &str, order_id, position_id, at| NewIntent {
        name: "ClosePositionJob",
        position_id,
        account_id: 101,
        order_id,
        arguments: r#"{"positionId":1010,"message":"我 🚀"}"#.to_owned(),
        queue: "priority",
        live_key: live_key.to_owned(),
        dedupe: dedupe.to_owned(),
        at,
    };
    let hour = Duration::from_secs(3_600);
    let lives = |store: &mut WorkStore, key: &str, now| commit(store, |tx| tx.has_live_intent(key, now, hour));
    assert!(!lives(store, "Close 1010", AT));
    let first = intent("d-1", "Close 1010", Some(1), 1010, AT);
    assert_eq!(commit(store, |tx| Ok([tx.insert_intent(&first)?, tx.insert_intent(&first)?])), [true, false]);
    assert!(!commit(store, |tx| tx.insert_intent(&intent("d-1", "other", None, 9, AT))), "dedupe alone decides");
    assert!(lives(store, "Close 1010", AT) && lives(store, "Close 1010", later(3_600_000_000)));
    assert!(!lives(store, "Close 1010", later(3_600_001_000)) && !lives(store, "Close 101", AT));
    commit(store, |tx| tx.insert_intent(&intent("d-2", "Wap 1010", None, 1010, later(1_000))));
    commit(store, |tx| tx.insert_intent(&intent("d-3", "Wap 1020", Some(2), 1020, later(2_000))));

    let rows = store.run(|tables| tables.unpushed_intents(2)).unwrap();
    assert_eq!(rows.iter().map(|row| row.dedupe.as_str()).collect::<Vec<_>>(), ["d-1", "d-2"]);
    let row = &rows[0];
    assert_eq!(
        (row.name.as_str(), row.position_id, row.account_id, row.order_id),
        ("ClosePositionJob", 1010, 101, Some(1))
    );
    assert_eq!((row.arguments.as_str(), row.queue.as_str()), (first.arguments.as_str(), "priority"));
    assert_eq!((row.created_at, row.pushed_at, row.finished_at), (Some(AT), None, None));
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    store.run(|tables| tables.intents_pushed(&ids, later(5_000))).unwrap();
    store.run(|tables| tables.intents_pushed(&ids, later(9_000))).unwrap();
    store.run(|tables| tables.intents_pushed(&[], AT)).unwrap();
    let left = store.run(|tables| tables.unpushed_intents(9)).unwrap();
    assert_eq!(left.iter().map(|row| row.dedupe.as_str()).collect::<Vec<_>>(), ["d-3"]);
    assert!(lives(store, "Close 1010", AT), "pushed is not finished");
    rig.sql("UPDATE workflow_intents SET finished_at = '2026-11-23 07:31:00' WHERE dedupe = 'd-1'");
    assert!(!lives(store, "Close 1010", AT));

    for (order, position, limit, expected) in [
        (Some(1), Some(1010), 9, vec!["d-1", "d-2"]),
        (Some(1), None, 9, vec!["d-1"]),
        (None, Some(1010), 9, vec!["d-1", "d-2"]),
        (Some(4), Some(1010), 9, vec!["d-2"]),
        (None, Some(1010), 1, vec!["d-1"]),
        (None, None, 9, vec![]),
    ] {
        let rows = store.run(|tables| tables.intents_of(order, position, limit)).unwrap();
        let found: Vec<_> = rows.iter().map(|row| row.dedupe.as_str()).collect();
        assert_eq!(found, expected, "{order:?} {position:?}");
        if let Some(row) = rows.iter().find(|row| row.dedupe == "d-1") {
            assert_eq!((row.pushed_at, row.finished_at.is_some()), (Some(later(5_000)), true), "the first push counts");
        }
    }
}

fn decisions_are_kept_to_the_microsecond(store: &mut WorkStore) {
    let decision = |key: &str, order_id, note: String| DecisionRow {
        idempotency_key: key.to_owned(),
        account_id: 101,
        order_id,
        identity: ([0xfe; 16], u64::MAX),
        job_uuid: "0198-uuid".to_owned(),
        rule: "rank_guard".to_owned(),
        note,
        reserved_at: later(7),
        decided_at: later(999_999),
    };
    let first = decision("k-1", Some(1), "rank guard: FILLED > NEW, 我".to_owned());
    commit(store, |tx| tx.insert_decision(&first, &[]));
    // A later decision is dropped, unless it replaces one by that rule.
    let second = decision("k-1", Some(2), "a second".to_owned());
    commit(store, |tx| tx.insert_decision(&second, &[]));
    commit(store, |tx| tx.insert_decision(&second, &["unknown_order", "rank"]));
    commit(store, |tx| tx.insert_decision(&decision("k-2", None, "我".repeat(300) + "\0"), &[]));
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<String>>();
    assert_eq!(store.run(|tables| tables.decisions(Some(1), &[])).unwrap(), std::slice::from_ref(&first));
    let both = store.run(|tables| tables.decisions(Some(1), &keys(&["k-2", "k'3"]))).unwrap();
    assert_eq!(both.iter().map(|row| row.idempotency_key.as_str()).collect::<Vec<_>>(), ["k-1", "k-2"]);
    assert_eq!(both[1].note, "我".repeat(255), "cut, not refused");
    assert_eq!(store.run(|tables| tables.decisions(None, &keys(&["k-1"]))).unwrap(), [first]);
    assert_eq!(store.run(|tables| tables.decisions(None, &[])).unwrap(), []);
    assert_eq!(store.run(|tables| tables.decisions(Some(2), &[])).unwrap(), []);
    let effect = DecisionRow {
        rule: "applied".to_owned(),
        identity: ([1; 16], 7),
        job_uuid: "another".to_owned(),
        reserved_at: later(1_000_001),
        decided_at: later(2_000_003),
        ..second
    };
    commit(store, |tx| tx.insert_decision(&effect, &["unknown_order", "rank_guard"]));
    assert_eq!(store.run(|tables| tables.decisions(None, &keys(&["k-1"]))).unwrap(), std::slice::from_ref(&effect));
    assert_eq!(store.run(|tables| tables.decisions(Some(1), &[])).unwrap(), []);
}

fn a_failed_job_is_recorded_whatever_it_holds(store: &mut WorkStore, rig: &mut dyn Rig) {
    let job = FailedJob {
        uuid: "0198",
        connection: "redis",
        queue: "positions",
        payload: "{\"uuid\":\"0198\",\"data\":\"我\\u0000\"}",
        exception: "the database said no\nat line 1 '🚀'",
        failed_at: AT,
    };
    let long = "9".repeat(300);
    for job in [
        job,
        FailedJob { exception: "again", ..job },
        FailedJob { uuid: "nul", payload: "a\0b", exception: "\0", ..job },
        FailedJob { uuid: &long, ..job },
    ] {
        store.run(|tables| tables.insert_failed_job(&job)).unwrap();
    }
    let mut one =
        |field: &str, uuid: &str| rig.one(&format!("SELECT {field} FROM failed_jobs WHERE uuid = '{uuid}'")).unwrap();
    assert_eq!(one("payload", "0198"), job.payload);
    assert_eq!(one("exception", "0198"), job.exception);
    assert_eq!(one("connection || ' ' || queue", "0198"), "redis positions");
    assert!(one("CAST(failed_at AS text)", "0198").starts_with("2026-11-23 07:30:15"));
    assert_eq!(one("payload", "nul"), "a\u{fffd}b");
    assert_eq!(one("queue", &long[..255]), "positions");
    assert_eq!(rig.one("SELECT count(*) FROM failed_jobs").unwrap(), "3");
}

fn a_reconcile_is_asked_for_once(store: &mut WorkStore, rig: &mut dyn Rig) {
    let binance = system(rig, "binance");
    let ask = |store: &mut WorkStore, account, reason: &str| {
        store.run(|tables| tables.request_reconcile(account, binance, reason, later(1))).unwrap();
    };
    let count = |rig: &mut dyn Rig| rig.one("SELECT count(*) FROM stream_gaps").unwrap();
    ask(store, 101, "job_failed");
    ask(store, 101, "job_failed");
    assert_eq!(count(rig), "1");
    ask(store, 101, "disorder");
    ask(store, 102, "job_failed");
    assert_eq!(count(rig), "3");
    ask(store, -1, "job_failed");
    assert_eq!(count(rig), "3", "an account that is not there has nothing to reconcile");
    // A reconcile that has begun may have looked already.
    rig.sql(
        "UPDATE stream_gaps SET opened_at = '2026-11-23 07:31:00' WHERE account_id = 101 AND reason = 'job_failed'",
    );
    ask(store, 101, "job_failed");
    ask(store, 101, "job_failed");
    assert_eq!(count(rig), "4");

    let gap = NewGap {
        account_id: 101,
        api_system_id: binance,
        started_at: None,
        ended_at: AT,
        reason: "reconnect",
        identity: Some(([1; 16], u64::MAX)),
    };
    commit(store, |tx| {
        tx.insert_gap(&gap)?;
        tx.insert_gap(&gap)?;
        tx.insert_gap(&NewGap { identity: Some(([1; 16], 1)), started_at: Some(AT), ..gap })
    });
    assert_eq!(rig.one("SELECT count(*) FROM stream_gaps WHERE reason = 'reconnect'").unwrap(), "2");
    assert_eq!(rig.one("SELECT count(*) FROM stream_gaps WHERE started_at IS NULL").unwrap(), "1");
}

fn keys(rows: &[AuditRecord]) -> Vec<&str> {
    rows.iter().map(|row| row.idempotency_key.as_str()).collect()
}

fn audit_rows_are_found_and_paged(store: &mut WorkStore, rig: &mut dyn Rig) {
    let (binance, bybit) = (system(rig, "binance"), system(rig, "bybit"));
    rig.sql("DELETE FROM api_data_stream");
    // A replay comes late: the third row in the table is the oldest.
    for (at, (account, of_system, exchange, client, received)) in [
        (101, binance, "50", "c-50", 20_000),
        (103, bybit, "50", "x-50", 30_000),
        (101, binance, "50", "c-50", 10_000),
        (102, binance, "51", "only-client", 40_000),
        (101, binance, "52", "c-52", 50_000),
    ]
    .into_iter()
    .enumerate()
    {
        let (event, key) = (columns(exchange, client), format!("row {at}"));
        assert!(commit(store, |tx| audit(tx, account, of_system, &event, later(received), &key)));
    }
    let mut of_order = |id: &str, account, limit| {
        let rows = store.run(|tables| tables.audit_of_order(id, account, limit)).unwrap();
        keys(&rows).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of_order("50", None, 9), ["row 2", "row 0", "row 1"]);
    assert_eq!(of_order("50", Some(101), 9), ["row 2", "row 0"]);
    assert_eq!(of_order("50", None, 1), ["row 2"]);
    assert_eq!(of_order("only-client", None, 9), ["row 3"]);
    assert_eq!(of_order("only-client", Some(101), 9), [""; 0]);
    let mut since = |since, after, limit| {
        let rows = store.run(|tables| tables.audit_since(since, after, limit)).unwrap();
        (keys(&rows).into_iter().map(str::to_owned).collect::<Vec<_>>(), rows.last().map_or(0, |row| row.id))
    };
    assert_eq!(since(AT, 0, 9).0, ["row 0", "row 1", "row 2", "row 3", "row 4"]);
    assert_eq!(since(later(20_000), 0, 9).0, ["row 0", "row 1", "row 3", "row 4"], "that moment is within");
    assert_eq!(since(later(60_000), 0, 9).0, [""; 0]);
    let (page, last) = since(later(20_000), 0, 3);
    assert_eq!(page, ["row 0", "row 1", "row 3"]);
    assert_eq!(since(later(20_000), last, 3).0, ["row 4"]);
    assert_eq!(store.run(|tables| tables.audited_accounts()).unwrap(), [101, 102, 103]);
    let mut of_account = |since, after, limit| {
        let rows = store.run(|tables| tables.audit_of_account(101, since, after, limit)).unwrap();
        (keys(&rows).into_iter().map(str::to_owned).collect::<Vec<_>>(), rows.last().map_or(0, |row| row.id))
    };
    let (page, last) = of_account(AT, 0, 2);
    assert_eq!(page, ["row 2", "row 0"], "in the order of receiving");
    assert_eq!(of_account(AT, last, 2).0, ["row 4"], "what has a smaller number and came later is not left out");
    assert_eq!(of_account(later(20_000), 0, 9).0, ["row 0", "row 4"], "that moment is within");
    assert_eq!(of_account(later(60_000), 0, 9).0, [""; 0]);
}

fn old_audit_rows_go_in_batches(store: &mut WorkStore, rig: &mut dyn Rig) {
    let mut delete = |before, limit| store.run(|tables| tables.delete_audit_before(before, limit)).unwrap();
    assert_eq!(delete(AT, 100), 0);
    assert_eq!(delete(later(45_000), 0), 0);
    assert_eq!(delete(later(45_000), 1), 1);
    assert_eq!(
        rig.one("SELECT count(*) FROM api_data_stream WHERE idempotency_key = 'row 2'").unwrap(),
        "0",
        "the oldest"
    );
    assert_eq!(delete(later(40_000), 100), 2, "across accounts, and not what was received then");
    assert_eq!(delete(later(45_000), 100), 1);
    assert_eq!(delete(later(45_000), 100), 0);
    assert_eq!(rig.one("SELECT idempotency_key FROM api_data_stream").unwrap(), "row 4");
}

fn old_intents_and_decisions_go_in_batches(store: &mut WorkStore, rig: &mut dyn Rig) {
    rig.sql("DELETE FROM workflow_intents; DELETE FROM stream_decisions");
    for n in 0..6 {
        let at = later(n * 10_000);
        let intent = NewIntent {
            name: "ApplyWapJob",
            position_id: 11,
            account_id: 101,
            order_id: None,
            arguments: "{}".to_owned(),
            queue: "positions",
            live_key: format!("live {n}"),
            dedupe: format!("{n}"),
            at,
        };
        let decision = DecisionRow {
            idempotency_key: format!("{n}"),
            account_id: 101,
            order_id: None,
            identity: ([1; 16], n as u64),
            job_uuid: String::new(),
            rule: "applied".to_owned(),
            note: String::new(),
            reserved_at: at,
            decided_at: at,
        };
        assert!(commit(store, |tx| tx.insert_decision(&decision, &[]).and_then(|()| tx.insert_intent(&intent))));
    }
    // 0 is finished and not pushed, 1 is neither, the others are pushed.
    rig.sql("UPDATE workflow_intents SET finished_at = created_at WHERE dedupe = '0'");
    rig.sql("UPDATE workflow_intents SET pushed_at = created_at WHERE dedupe NOT IN ('0', '1')");
    let before = later(40_000);
    let mut intents = |only_pushed, limit| {
        let deleted = store.run(|tables| tables.delete_intents_before(before, only_pushed, limit)).unwrap();
        (
            deleted,
            rig.one("SELECT count(*) FROM workflow_intents").unwrap(),
            rig.one("SELECT min(dedupe) FROM workflow_intents").unwrap(),
        )
    };
    let told = |deleted, left: &str, first: &str| (deleted, left.to_owned(), first.to_owned());
    assert_eq!(intents(true, 0), told(0, "6", "0"));
    assert_eq!(intents(true, 2), told(2, "4", "1"), "the oldest, but not the one that waits for its push");
    assert_eq!(intents(true, 100), told(1, "3", "1"), "not what was decided then");
    assert_eq!(intents(true, 100), told(0, "3", "1"));
    assert_eq!(intents(false, 100), told(1, "2", "4"), "where nobody pushes, none waits for it");

    let mut decisions = |limit| {
        let deleted = store.run(|tables| tables.delete_decisions_before(before, limit)).unwrap();
        (deleted, rig.one("SELECT min(idempotency_key) FROM stream_decisions").unwrap())
    };
    assert_eq!(decisions(0), (0, "0".to_owned()));
    assert_eq!(decisions(3), (3, "3".to_owned()));
    assert_eq!(decisions(100), (1, "4".to_owned()));
    assert_eq!(decisions(100), (0, "4".to_owned()));
}
