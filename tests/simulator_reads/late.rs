//! What lags behind the truth: lists after a push, algo orders after their placement, orders that have aged out.

use std::time::{Duration, Instant};

use kraite_streams::exchange::binance::account_answers::{
    AnswerError, read_algo_order, read_algo_orders, read_order, read_orders, read_positions,
};
use kraite_streams::exchange::binance::signed::{AccountRead, From};
use kraite_streams::sim::{LifeKind, ReadRules, VenueFault};

use super::rig::{PATIENCE, now_ms, quiet, start};

const LAG: Duration = Duration::from_millis(1_500);

#[test]
fn lists_show_the_state_before_a_push_until_the_lag_is_over() {
    let venue = start(quiet());
    venue.sim.inject(VenueFault::StaleReads { lag: LAG });
    venue.sim.sync();
    let begun = Instant::now();
    venue.sim.run_life(0, LifeKind::Market);
    venue.sim.sync();
    let book = venue.sim.account_book(0);
    let held = book.positions.values().next().unwrap();
    let positions = || venue.told(0, &AccountRead::Positions, read_positions).unwrap();
    let early = positions();
    assert!(begun.elapsed() >= LAG || early.is_empty(), "{early:?}");
    // The fill itself is told at once.
    let symbol = held.instrument.symbol.to_string();
    let all = AccountRead::AllOrders {
        symbol: &symbol,
        from: From::Span { start_ms: now_ms() - 60_000, end_ms: now_ms() + 60_000 },
    };
    assert_eq!(venue.told(0, &all, read_orders).unwrap().len(), 1);
    let late = loop {
        let told = positions();
        if !told.is_empty() {
            break told;
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    };
    // The venue's times are whole milliseconds.
    assert!(begun.elapsed() + Duration::from_millis(2) >= LAG, "after {:?}", begun.elapsed());
    assert_eq!((late[0].symbol.as_str(), late[0].updated_ms), (symbol.as_str(), held.updated_ms));
    // Nothing has changed since: another account's lag is not this one's.
    venue.sim.run_life(1, LifeKind::Market);
    venue.sim.sync();
    assert_eq!(positions(), late);
}

#[test]
fn an_algo_order_is_unknown_for_a_while_after_its_placement() {
    let venue = start(quiet());
    let rules = ReadRules { algo_unknown: Duration::from_millis(1_200), ..ReadRules::default() };
    venue.sim.set_read_rules(rules);
    let begun = Instant::now();
    venue.sim.run_life(0, LifeKind::AlgoCanceled);
    venue.sim.sync();
    let algo_id = *venue.sim.account_book(0).algo_orders.keys().next().unwrap();
    let ask = || venue.told(0, &AccountRead::AlgoOrder { algo_id }, read_algo_order);
    let early = ask();
    assert!(begun.elapsed() >= Duration::from_millis(1_198) || early == Err(AnswerError::UnknownOrder));
    let told = loop {
        if let Ok(told) = ask() {
            break told;
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    };
    // The venue's times are whole milliseconds.
    assert!(begun.elapsed() >= Duration::from_millis(1_198));
    assert_eq!(told.status, "CANCELED");
}

#[test]
fn while_all_changes_lie_inside_the_lag_lists_are_those_of_the_beginning() {
    let mut config = quiet();
    config.accounts.trades_unheard = true;
    config.accounts.reads.lag = Duration::from_secs(600);
    let venue = start(config);
    // One change at a time, until one of them has ended an algo order.
    let deadline = Instant::now() + PATIENCE;
    venue.sim.set_frames_per_second(50.0);
    let (first, open) = loop {
        venue.sim.sync();
        let book = venue.sim.account_book(0);
        let over = book.algo_orders.values().find(|algo| algo.status == "CANCELED").cloned();
        if let Some(algo) = over {
            break (algo, venue.told(0, &AccountRead::OpenAlgoOrders, read_algo_orders).unwrap());
        }
        assert!(Instant::now() < deadline, "no algo order was canceled");
        std::thread::sleep(Duration::from_millis(10));
    };
    // All changes lie inside the lag, so the list is that of the beginning.
    assert_eq!(open, []);
    venue.sim.set_read_rules(ReadRules::default());
    let told = venue.told(0, &AccountRead::AlgoOrder { algo_id: first.id }, read_algo_order).unwrap();
    assert_eq!(told.status, "CANCELED");
}

#[test]
fn unfilled_ends_are_forgotten_and_filled_ones_are_not() {
    let venue = start(quiet());
    venue.sim.run_life(0, LifeKind::ExpiredIoc);
    venue.sim.run_life(0, LifeKind::Market);
    venue.sim.sync();
    venue.sim.set_read_rules(ReadRules { unfilled_kept: Duration::ZERO, ..ReadRules::default() });
    // Times of an account run up to some milliseconds ahead of the clock.
    std::thread::sleep(Duration::from_millis(50));
    let book = venue.sim.account_book(0);
    assert_eq!(book.orders.len(), 2);
    for order in book.orders.values() {
        let symbol = order.instrument.symbol.to_string();
        let told = venue.told(0, &AccountRead::Order { symbol: &symbol, order_id: order.id }, read_order);
        let all =
            venue.told(0, &AccountRead::AllOrders { symbol: &symbol, from: From::Id(order.id) }, read_orders).unwrap();
        match order.status {
            "EXPIRED" => assert_eq!(told, Err(AnswerError::UnknownOrder)),
            status => assert_eq!(told.unwrap().status, status),
        }
        assert_eq!(all.iter().any(|one| one.order_id == order.id), order.status == "FILLED");
    }
}
