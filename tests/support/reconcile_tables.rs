//! What both databases must do for reconciles, as one list of promises: `work_tables.rs` and `servers_work_tables.rs` run it on
//! the world of `work_tables`, behind the worker's promises.

use kraite_streams::domain::Wall;
use kraite_streams::store::WorkStore;
use kraite_streams::store::reconcile::{Exposure, GapVerdict, Standing};

use crate::work_tables::{AT, Rig, audit, columns, commit, later, place, system};

const SECOND: i64 = 1_000_000;

/// Every promise, on a migrated store with the worker's world.
pub fn hold_reconcile(store: &mut WorkStore, rig: &mut dyn Rig) {
    // What the worker's promises left behind is none of these.
    rig.sql("DELETE FROM stream_gaps; UPDATE orders SET status = 'FILLED'; UPDATE positions SET status = 'closed'");
    gaps_wait_until_they_have_an_outcome(store, rig);
    gaps_of_accounts_that_are_not_streamed_are_told_apart(store, rig);
    exposed_accounts_and_their_orders_are_found(store, rig);
    recorded_events_are_found_and_paged(store, rig);
}

fn gaps_wait_until_they_have_an_outcome(store: &mut WorkStore, rig: &mut dyn Rig) {
    let binance = system(rig, "binance");
    for (id, account, started, ended) in [(9_001, 101, 10, 20), (9_002, 102, 5, 6), (9_003, 101, 30, 40)] {
        rig.sql(&format!(
            "INSERT INTO stream_gaps (id, account_id, api_system_id, started_at, ended_at, reason, epoch, position) \
             VALUES ({id}, {account}, {binance}, '{}+00:00', '{}+00:00', 'reconnect', '{id:032x}', {id})",
            later(started * SECOND),
            later(ended * SECOND)
        ));
    }
    let waiting = store.run(|tables| tables.gaps_waiting("binance")).unwrap();
    let shown: Vec<_> = waiting.iter().map(|gaps| (gaps.account_id, gaps.gaps, gaps.newest_id)).collect();
    assert_eq!(shown, [(101, 2, 9_003), (102, 1, 9_002)]);
    assert_eq!(waiting[0].waiting_since, later(20 * SECOND));
    let ids = |store: &mut WorkStore| -> Vec<i64> {
        store.run(|tables| tables.waiting_gaps_of(101, 10)).unwrap().iter().map(|gap| gap.id).collect()
    };
    assert_eq!(ids(store), [9_001, 9_003]);
    store.run(|tables| tables.gaps_taken_up(&[9_001, 9_003], later(50 * SECOND))).unwrap();
    store.run(|tables| tables.gaps_taken_up(&[9_001], later(99 * SECOND))).unwrap();
    let gaps = store.run(|tables| tables.waiting_gaps_of(101, 10)).unwrap();
    assert_eq!(gaps[0].opened_at, Some(later(50 * SECOND)), "the first time counts");
    assert_eq!((gaps[0].started_at, gaps[0].ended_at), (Some(later(10 * SECOND)), later(20 * SECOND)));

    let mut settle = |outcome, note: &str, recovered| {
        let verdict = GapVerdict { outcome, note, recovered, at: later(60 * SECOND) };
        store.run(|tables| tables.settle_gap(9_001, &verdict)).unwrap();
    };
    settle(None, "the venue is too busy", 0);
    assert_eq!(
        rig.one("SELECT outcome_note FROM stream_gaps WHERE id = 9001").as_deref(),
        Some("the venue is too busy")
    );
    settle(Some("recovered"), &"é".repeat(300), 3);
    settle(Some("nothing_missed"), "a second outcome", 7);
    assert_eq!(ids(store), [9_003]);
    for (column, expected) in [("outcome", "recovered"), ("recovered_count", "3"), ("length(outcome_note)", "255")] {
        let read = rig.one(&format!("SELECT {column} FROM stream_gaps WHERE id = 9001"));
        assert_eq!(read.as_deref(), Some(expected), "{column}");
    }
    assert!(rig.one("SELECT reconciled_at FROM stream_gaps WHERE id = 9001").is_some());
    assert_eq!(rig.one("SELECT reconciled_at FROM stream_gaps WHERE id = 9003"), None);
}

fn gaps_of_accounts_that_are_not_streamed_are_told_apart(store: &mut WorkStore, rig: &mut dyn Rig) {
    let standing = |store: &mut WorkStore| -> Vec<(i64, Standing)> {
        let waiting = store.run(|tables| tables.gaps_waiting("binance")).unwrap();
        waiting.iter().map(|gaps| (gaps.account_id, gaps.standing)).collect()
    };
    rig.sql(
        "UPDATE accounts SET is_active = '1', binance_api_key = 'k', binance_api_secret = 's' WHERE id IN (101, 102)",
    );
    assert_eq!(standing(store), [(101, Standing::Streamed), (102, Standing::Streamed)]);
    rig.sql("UPDATE accounts SET is_active = '0' WHERE id = 101");
    rig.sql("UPDATE accounts SET deleted_at = CURRENT_TIMESTAMP WHERE id = 102");
    assert_eq!(standing(store), [(101, Standing::SwitchedOff), (102, Standing::Removed)]);
    let verdict =
        GapVerdict { outcome: Some("account_removed"), note: "it is gone", recovered: 0, at: later(70 * SECOND) };
    assert_eq!(store.run(|tables| tables.give_up_gaps(102, &verdict)).unwrap(), 1);
    assert_eq!(store.run(|tables| tables.give_up_gaps(102, &verdict)).unwrap(), 0);
    assert_eq!(standing(store), [(101, Standing::SwitchedOff)]);
    assert_eq!(rig.one("SELECT outcome FROM stream_gaps WHERE id = 9002").as_deref(), Some("account_removed"));
    rig.sql("UPDATE accounts SET is_active = '1', deleted_at = NULL WHERE id IN (101, 102)");
}

fn exposed_accounts_and_their_orders_are_found(store: &mut WorkStore, rig: &mut dyn Rig) {
    let binance = system(rig, "binance");
    assert_eq!(store.run(|tables| tables.exposures("binance")).unwrap(), []);
    rig.sql("UPDATE positions SET status = 'active' WHERE id = 1010");
    for (id, position, kind, exchange, status) in [
        (8_001, 1_010, "MARKET", "77", "NEW"),
        (8_002, 1_010, "STOP-MARKET", "78", "TRIGGERED"),
        (8_003, 1_010, "LIMIT", "79", "FILLED"),
        (8_004, 1_010, "LIMIT", "", "NEW"),
        (8_005, 1_020, "LIMIT", "80", "PARTIALLY_FILLED"),
    ] {
        place(rig, id, position, kind, &format!("reconcile-{id}"), exchange);
        rig.sql(&format!("UPDATE orders SET status = '{status}' WHERE id = {id}"));
    }
    let exposure = |account_id, positions, orders| Exposure {
        account_id,
        api_system_id: binance,
        positions,
        orders,
        asked_at: None,
        compared_at: None,
    };
    assert_eq!(store.run(|tables| tables.exposures("binance")).unwrap(), [exposure(101, 1, 2), exposure(102, 0, 1)]);
    // When it was asked, and compared, is remembered by the database; one that failed was asked only.
    for (at_s, is_compared) in [(70, true), (80, false)] {
        store.run(|tables| tables.note_asked(101, later(at_s * SECOND), is_compared)).unwrap();
    }
    store.run(|tables| tables.note_asked(102, later(75 * SECOND), false)).unwrap();
    let exposures = store.run(|tables| tables.exposures("binance")).unwrap();
    let asked: Vec<_> = exposures.iter().map(|exposure| (exposure.asked_at, exposure.compared_at)).collect();
    assert_eq!(asked, [(Some(later(80 * SECOND)), Some(later(70 * SECOND))), (Some(later(75 * SECOND)), None)]);
    let never = Wall::from_millis(4_000_000_000_000);
    let orders = store.run(|tables| tables.working_orders(101, never, 10)).unwrap();
    let shown: Vec<_> =
        orders.iter().map(|local| (local.order.id, local.symbol.as_str(), local.order.is_algo)).collect();
    assert_eq!(shown, [(8_001, "BTCUSDT", false), (8_002, "BTCUSDT", true)]);
    assert_eq!(store.run(|tables| tables.working_orders(101, never, 1)).unwrap().len(), 1);
    // A table of an application has no default for it.
    rig.sql("UPDATE orders SET created_at = CURRENT_TIMESTAMP WHERE id = 8004");
    let all = store.run(|tables| tables.working_orders(101, Wall::default(), 10)).unwrap();
    let ids: Vec<i64> = all.iter().map(|local| local.order.id).collect();
    assert_eq!(ids, [8_001, 8_002, 8_004], "the answer to a placement may have been lost");
    assert_eq!(store.run(|tables| tables.opened_symbols(101)).unwrap(), ["BTCUSDT"]);
    assert_eq!(store.run(|tables| tables.opened_symbols(102)).unwrap(), [""; 0], "its position is closed");
}

fn recorded_events_are_found_and_paged(store: &mut WorkStore, rig: &mut dyn Rig) {
    let binance = system(rig, "binance");
    let since = later(1_000 * SECOND);
    let event_time = later(1_002 * SECOND);
    commit(store, |tx| {
        for (number, (account, at)) in (0..).zip([(101, 999), (101, 1_000), (102, 1_001), (101, 1_002)]) {
            audit(tx, account, binance, &columns("4711", "c"), later(at * SECOND), &format!("reconcile-{number}"))?;
        }
        let other = kraite_streams::store::work_rows::AuditColumns {
            event_type: "account_update".to_owned(),
            event_time: Some(event_time),
            ..columns("4711", "c")
        };
        audit(tx, 101, binance, &other, later(1_003 * SECOND), "reconcile-other")
    });
    let first = store.run(|tables| tables.events_since(101, since, 0, 1)).unwrap();
    let rest = store.run(|tables| tables.events_since(101, since, first[0].0, 9)).unwrap();
    assert_eq!((first.len(), rest.len(), rest[0].1.as_str()), (1, 2, "{}"), "orders and holdings");
    let held = |store: &mut WorkStore, account, at| commit(store, |tx| tx.recorded_account_updates(account, at)).len();
    assert_eq!((held(store, 101, event_time), held(store, 102, event_time)), (1, 0));
    assert_eq!(held(store, 101, Wall::from_micros(event_time.as_micros() + 1_000)), 0);
    assert_eq!(commit(store, |tx| tx.recorded_of_order(101, "4711")).len(), 4);
    assert_eq!(commit(store, |tx| tx.recorded_of_order(103, "4711")).len(), 0);
    assert!(AT < since);
}
