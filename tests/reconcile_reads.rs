//! Promise: a reconcile reads all that can be missed: positions that went flat, balances, orders whose placement was never
//! answered; and it does so whatever this machine's clock says.
#![cfg(all(feature = "embedded", feature = "sim"))]

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;
#[path = "reconcile_reads/stage.rs"]
mod stage;

use std::collections::BTreeMap;

use daemon_process::{run, write_settings};
use kraite_streams::domain::Decimal;
use kraite_streams::exchange::binance::fact::OrderFact;
use kraite_streams::sim::{AccountFault, Injection, LifeKind, SimHandle};
use stage::{FILE, Stage};

/// What the account holds, by symbol.
fn held(sim: &SimHandle) -> BTreeMap<String, Decimal> {
    let book = sim.account_book(0);
    let held = book.positions.values();
    held.map(|held| (held.instrument.symbol.to_string(), Decimal::parse(&held.amount_text()).unwrap())).collect()
}

#[test]
fn a_position_that_went_flat_unheard_loses_its_opening_orders() {
    let mut stage = Stage::set(21, 0, &[]);
    (0..20).for_each(|_| stage.sim.run_life(0, LifeKind::Market));
    stage.sim.sync();
    let opened: BTreeMap<String, Decimal> = held(&stage.sim).into_iter().filter(|(_, held)| !held.is_zero()).collect();
    // The application's rows: a position for each, with a rung of its ladder still in the book.
    for (at, (symbol, amount)) in opened.iter().enumerate() {
        let direction = if amount.is_negative() { "SHORT" } else { "LONG" };
        stage
            .database
            .execute(
                "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) VALUES (?1, 1, ?2, 'active', ?3)",
                (at as i64 + 1, symbol, direction),
            )
            .unwrap();
        stage
            .database
            .execute(
                "INSERT INTO orders (position_id, client_order_id, type, status, reference_status, exchange_order_id, quantity, \
                 price) VALUES (?1, ?2, 'LIMIT', 'NEW', 'NEW', ?3, '1', '1')",
                (at as i64 + 1, format!("rung-{at}"), format!("{}", 77 + at)),
            )
            .unwrap();
    }
    let unheard: Vec<LifeKind> = (0..60)
        .map(|at| match at % 5 {
            4 => LifeKind::Transfer,
            _ => LifeKind::ClosePosition,
        })
        .collect();
    stage.unheard(&unheard);
    let now = held(&stage.sim);
    let flat: Vec<&String> = opened.keys().filter(|symbol| now[*symbol].is_zero()).collect();
    assert!(!flat.is_empty() && flat.len() < opened.len(), "{opened:?} {now:?}");
    let cancelled = stage.texts(
        "SELECT p.parsed_trading_pair FROM workflow_intents i JOIN positions p ON p.id = i.position_id \
         WHERE i.name = 'CancelPositionOpenOrdersJob' ORDER BY 1",
    );
    assert_eq!(cancelled.iter().collect::<Vec<_>>(), flat, "{:#?}", stage.notes());

    // Each as the venue says it is, once, behind the fill that caused it, and marked.
    let events = stage.recovered_holdings();
    let mut told: BTreeMap<String, Vec<Decimal>> = BTreeMap::new();
    for event in &events {
        assert_eq!(event["a"]["m"], "KRAITE_RECOVERED");
        for position in event["a"]["P"].as_array().unwrap() {
            let amount = Decimal::parse(position["pa"].as_str().unwrap()).unwrap();
            told.entry(position["s"].as_str().unwrap().to_owned()).or_default().push(amount);
        }
    }
    let changed: BTreeMap<String, Vec<Decimal>> = now
        .iter()
        .filter(|(symbol, amount)| opened.get(*symbol).unwrap_or(&Decimal::zero()) != *amount)
        .map(|(symbol, amount)| (symbol.clone(), vec![amount.clone()]))
        .collect();
    for (symbol, amounts) in &changed {
        assert_eq!(told.get(symbol), Some(amounts), "{symbol}");
    }
    let wallet = events.iter().flat_map(|event| event["a"]["B"].as_array().unwrap().iter());
    let wallet: Vec<_> = wallet.filter(|held| held["a"] == "USDT").map(|held| held["wb"].as_str().unwrap()).collect();
    assert_eq!(wallet.len(), 1, "{events:#?}");
    assert_eq!(Decimal::parse(wallet[0]), Decimal::parse(&stage.sim.account_book(0).wallet_text()));
    let disordered = stage.count(
        "SELECT count(*) FROM api_data_stream h JOIN api_data_stream f ON f.raw_event_type = 'ORDER_TRADE_UPDATE' \
         AND f.event_time = h.event_time AND f.id > h.id \
         WHERE h.event_type = 'account_update' AND h.raw_payload LIKE '%\"recovered\":true}' \
         AND f.raw_payload LIKE '%\"recovered\":true}'",
    );
    assert_eq!(disordered, 0);

    // Another gap in which nothing happens finds nothing more.
    stage.unheard(&[]);
    assert_eq!(stage.recovered_holdings(), events, "{:#?}", stage.notes());
    let intents = stage.count("SELECT count(*) FROM workflow_intents WHERE name = 'CancelPositionOpenOrdersJob'");
    assert_eq!(intents, flat.len() as i64);
    assert_eq!(stage.daemon.stop(), 0, "{}", stage.daemon.log(FILE));
}

#[test]
fn an_order_whose_placement_was_never_answered_gets_its_state() {
    // In shadow mode, until the allowlist comes.
    let shadow = "user_data.binance.dispatched_executions = \"\"";
    let mut stage = Stage::set(22, 0, &[shadow]);
    for kind in [LifeKind::Canceled, LifeKind::Filled, LifeKind::AlgoCanceled] {
        stage.sim.run_life(0, kind);
    }
    stage.sim.sync();
    let book = stage.sim.account_book(0);
    let orders =
        book.orders.values().map(|order| (false, order.client_id.clone(), &*order.instrument.symbol, order.status));
    let algos =
        book.algo_orders.values().map(|algo| (true, algo.client_id.clone(), &*algo.instrument.symbol, algo.status));
    let mut rows: Vec<_> = orders.chain(algos).collect();
    assert_eq!(rows.len(), 3);
    let nowhere = rows[0].2;
    rows.push((false, "never-placed".to_owned(), nowhere, "NEW"));
    for (at, (is_algo, client_id, symbol, _)) in rows.iter().enumerate() {
        let id = at as i64 + 1;
        let position = "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
                        VALUES (?1, 1, ?2, 'active', 'LONG')";
        stage.database.execute(position, (id, symbol)).unwrap();
        let order = "INSERT INTO orders (position_id, client_order_id, type, status, reference_status, is_algo, quantity, price) \
                     VALUES (?1, ?2, 'LIMIT', 'NEW', 'NEW', ?3, '1', '1')";
        stage.database.execute(order, (id, client_id, is_algo)).unwrap();
    }
    let states = "SELECT status FROM orders ORDER BY id";
    stage.unheard(&[]);
    assert_eq!(stage.texts(states), ["NEW"; 4], "shadow mode changes nothing");
    write_settings(stage.folder.path(), FILE, Some(&stage.sim), &Stage::settings(&[]));
    stage.daemon.signal("HUP");
    stage
        .daemon
        .wait_status("the allowlist", |status| status.work.as_ref().is_some_and(|work| !work.allowlist.is_empty()));
    stage.unheard(&[]);
    let expected: Vec<&str> = rows.iter().map(|row| if row.3 == "CANCELED" { "CANCELLED" } else { row.3 }).collect();
    stage.wait_for("orders where the venue's are", |stage| stage.texts(states) == expected);
    let notes = stage.notes();
    assert!(notes.last().unwrap().contains("never had these local orders: never-placed"), "{notes:#?}");
    assert_eq!(stage.daemon.stop(), 0, "{}", stage.daemon.log(FILE));
}

#[test]
fn a_clock_that_is_behind_does_not_keep_gaps_open() {
    reconciles_with_a_clock_that_is_off(23, 180_000, "behind the venue's");
}

#[test]
fn a_clock_that_is_ahead_does_not_keep_gaps_open() {
    reconciles_with_a_clock_that_is_off(24, -240_000, "ahead of the venue's");
}

#[track_caller]
fn reconciles_with_a_clock_that_is_off(seed: u64, ahead_ms: i64, says: &str) {
    let mut stage = Stage::set(seed, ahead_ms, &[]);
    stage.unheard(&[LifeKind::Filled, LifeKind::Market, LifeKind::Canceled, LifeKind::Transfer]);
    let notes = stage.notes();
    assert!(notes.last().unwrap().starts_with("recovered"), "{notes:#?}\n{}", stage.daemon.log(FILE));
    let recorded = stage.texts("SELECT raw_payload FROM api_data_stream ORDER BY id");
    let mut trades: Vec<u64> = recorded.iter().filter_map(|text| OrderFact::read(text.as_bytes())?.trade).collect();
    trades.sort_unstable();
    let mut fills: Vec<u64> = stage.sim.account_book(0).fills.iter().map(|fill| fill.trade_id).collect();
    fills.sort_unstable();
    assert_eq!(trades, fills);
    assert!(!stage.recovered_holdings().is_empty());
    let shown = stage.wait_reconcile("the venue's clock", |reconcile| reconcile.venue_ahead_ms.is_some());
    let shown = shown.venue_ahead_ms.unwrap();
    assert!(shown.abs_diff(ahead_ms) < 20_000 && shown.signum() == ahead_ms.signum(), "{shown}");
    stage.daemon.wait_status("the alarm", |status| status.alarms.iter().any(|alarm| alarm.contains(says)));
    let (_, out, _) = run(stage.folder.path(), &["--settings", FILE, "status"]);
    assert!(out.contains("venue's clock"), "{out}");
    assert_eq!(stage.daemon.stop(), 0, "{}", stage.daemon.log(FILE));
}

#[test]
fn gaps_that_nobody_can_close_are_told_and_do_not_wait() {
    let mut stage = Stage::set(25, 0, &[]);
    stage.sim.set_revoked(0, true);
    stage.sim.inject(Injection::Account { account: 0, fault: AccountFault::Cut });
    stage.wait_reconcile("the account degraded", |reconcile| reconcile.degraded == 1);
    // By account: in the status, in the command's words, and in those of `check`.
    let status = stage.daemon.wait_status("why", |status| {
        let user_data = status.user_data.as_ref();
        user_data.is_some_and(|user_data| {
            user_data.streams[0].degraded.as_ref().is_some_and(|why| why.contains("not reconciled"))
        })
    });
    assert!(status.alarms.iter().any(|alarm| alarm.starts_with("account 1")), "{:?}", status.alarms);
    let (code, out, _) = run(stage.folder.path(), &["--settings", FILE, "status"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("degraded: not reconciled") && out.contains("1 degraded"), "{out}");
    let (_, out, err) = run(stage.folder.path(), &["--settings", FILE, "check"]);
    assert!(out.contains("account 1: 1 gaps have no outcome yet"), "{out}{err}");

    stage.database.execute("UPDATE accounts SET is_active = 0", []).unwrap();
    let told = stage.wait_reconcile("the account switched off", |reconcile| reconcile.switched_off == 1);
    assert_eq!((told.waiting, told.degraded), (0, 0));
    let (_, out, err) = run(stage.folder.path(), &["--settings", FILE, "check"]);
    assert!(out.contains("the account is not streamed"), "{out}{err}");
    stage.database.execute("UPDATE accounts SET deleted_at = CURRENT_TIMESTAMP", []).unwrap();
    stage.wait_for("a last outcome", |stage| {
        stage.notes().iter().any(|note| note.starts_with("account_removed: the account was removed"))
    });
    stage.wait_reconcile("nothing left", |reconcile| reconcile.switched_off == 0);
    assert_eq!(stage.daemon.stop(), 0, "{}", stage.daemon.log(FILE));
}
