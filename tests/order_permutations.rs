//! Promise: where an order ends does not depend on the order in which its events are applied, nor on how often each is:
//! all permutations of short histories, and random ones with duplicates. And an event that was applied is never applied
//! again, whatever came since: so it starts no workflow a second time.
//!
//! Histories are as venues send them in all but their order: a stated price is positive in all events of an order or in
//! none, the filled quantity never falls as `T` grows, and there is an average where something is filled.

use std::collections::BTreeSet;

use kraite_streams::domain::order::{OrderKind, OrderStatus};
use kraite_streams::domain::{Decimal, Wall};
use kraite_streams::exchange::projection::{EventKind, Projection};
use kraite_streams::store::work_rows::OrderRow;
use kraite_streams::user_data::rules::order::{OrderDecision, decide};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const NOW: Wall = Wall::from_millis(1_795_419_015_123);
const QUANTITY: &str = "12";

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap()
}

fn row(is_algo: bool, status: OrderStatus, price: Option<&str>) -> OrderRow {
    OrderRow {
        id: 1,
        position_id: 1,
        kind: if is_algo { OrderKind::StopMarket } else { OrderKind::Limit },
        status: status.as_str().to_owned(),
        reference_status: None,
        client_order_id: None,
        exchange_order_id: Some("1".to_owned()),
        is_algo,
        quantity: Some(decimal(QUANTITY)),
        price: price.map(decimal),
        reference_quantity: Some(decimal(QUANTITY)),
        reference_price: price.map(decimal),
        is_filled_at_set: false,
        last: None,
        child_ended: None,
    }
}

/// A regular order's event: `T` and `filled` grow together, `price` is 0 for a market order.
fn regular(status: OrderStatus, time: i64, filled: u32, price: &str, average: &str) -> Projection {
    Projection {
        raw_event_type: "ORDER_TRADE_UPDATE".to_owned(),
        kind: EventKind::OrderUpdate,
        native_status: Some(status.as_str().to_owned()),
        normalized_status: Some(status),
        status: Some(status),
        price: Some(decimal(price)),
        average_price: Some(if filled == 0 { Decimal::zero() } else { decimal(average) }),
        filled_quantity: Some(decimal(&filled.to_string())),
        transaction_time_ms: Some(1_000 + time),
        ..Projection::default()
    }
}

/// An algo order's own event; what FINISHED says, `executed` says.
fn algo(native: &str, time: i64, executed: &str) -> Projection {
    let executed = (native == "FINISHED").then(|| decimal(executed));
    let status = match (native, &executed) {
        ("CANCELED", _) => OrderStatus::Cancelled,
        ("FINISHED", Some(executed)) if *executed >= decimal(QUANTITY) => OrderStatus::Filled,
        ("FINISHED", Some(executed)) if executed.is_positive() => OrderStatus::PartiallyFilled,
        ("FINISHED", _) => OrderStatus::Cancelled,
        (native, _) => OrderStatus::of_column(native),
    };
    Projection {
        native_status: Some(native.to_owned()),
        status: Some(status),
        is_algo: true,
        executed_quantity: executed,
        filled_quantity: None,
        average_price: None,
        ..regular(status, time, 0, "4.105", "0")
    }
}

fn write(order: &mut OrderRow, decided: OrderDecision) {
    order.child_ended = decided.child_ended.or(order.child_ended);
    if let Some(change) = decided.change {
        assert_ne!(change.status, OrderStatus::Unknown, "never written");
        assert!(change.price.as_ref().is_none_or(Decimal::is_positive), "never written");
        order.status = change.status.as_str().to_owned();
        order.price = change.price.or(order.price.take());
        order.is_filled_at_set |= change.filled_at.is_some();
        order.last = Some(change.mark);
    }
}

fn end_of<'e>(start: &OrderRow, events: impl IntoIterator<Item = &'e Projection>) -> OrderRow {
    let mut order = start.clone();
    for event in events {
        let decided = decide(&order, event, NOW);
        write(&mut order, decided);
    }
    order
}

/// `filled_at` says something of orders that are FILLED. Of one that is not, it says whether a fill was applied before an
/// end that contradicts it, which no venue sends.
fn comparable(order: &OrderRow) -> OrderRow {
    let is_filled = order.status == OrderStatus::Filled.as_str();
    assert!(!is_filled || order.last.is_none() || order.is_filled_at_set);
    OrderRow { is_filled_at_set: is_filled, ..order.clone() }
}

/// Heap's algorithm.
fn each_permutation<T>(items: &mut [T], length: usize, visit: &mut dyn FnMut(&[T])) {
    if length <= 1 {
        return visit(items);
    }
    for at in 0..length {
        each_permutation(items, length - 1, visit);
        let other = if length.is_multiple_of(2) { at } else { 0 };
        items.swap(other, length - 1);
    }
}

/// Every choice of at most six of `pool`, in every order: how many folds.
fn check_all(pool: &[Projection], start: &OrderRow) -> usize {
    let mut folds = 0;
    for choice in 0u32..1 << pool.len() {
        if choice.count_ones() > 6 {
            continue;
        }
        let mut chosen: Vec<&Projection> =
            (0..pool.len()).filter(|at| choice >> at & 1 == 1).map(|at| &pool[at]).collect();
        let expected = end_of(start, chosen.iter().copied());
        let length = chosen.len();
        each_permutation(&mut chosen, length, &mut |order| {
            folds += 1;
            let found = end_of(start, order.iter().copied());
            assert_eq!(
                comparable(&found),
                comparable(&expected),
                "{:#?}",
                order.iter().map(|event| (event.status, event.transaction_time_ms))
            );
        });
    }
    folds
}

#[test]
fn every_permutation_of_a_limit_orders_history_ends_alike() {
    use OrderStatus::{Cancelled, Expired, Filled, New, PartiallyFilled, Rejected, Unknown};
    let pool = [
        regular(New, 0, 0, "4.105", ""),
        regular(New, 1, 0, "4.2", ""),
        regular(New, 1, 0, "4.1", ""),
        regular(PartiallyFilled, 2, 4, "4.2", "4.19"),
        regular(PartiallyFilled, 2, 5, "4.2", "4.18"),
        regular(Filled, 4, 12, "4.2", "4.17"),
        regular(Cancelled, 4, 12, "4.2", "4.16"),
        regular(Expired, 3, 5, "4.2", "4.18"),
        regular(Rejected, 3, 5, "4.2", "4.18"),
        regular(Unknown, 5, 12, "9", "9"),
    ];
    for status in [New, PartiallyFilled, Filled] {
        assert!(check_all(&pool, &row(false, status, Some("4.105"))) > 70_000);
    }
}

#[test]
fn every_permutation_of_a_market_orders_history_ends_alike() {
    use OrderStatus::{Expired, Filled, New, PartiallyFilled};
    let pool = [
        regular(New, 0, 0, "0", ""),
        regular(PartiallyFilled, 1, 4, "0", "4.1"),
        regular(PartiallyFilled, 1, 7, "0", "4.2"),
        regular(PartiallyFilled, 2, 9, "0", "4.3"),
        regular(Filled, 3, 12, "0", "4.25"),
        regular(Filled, 3, 12, "0", "4.26"),
        regular(Expired, 0, 0, "0", ""),
    ];
    for price in [None, Some("0"), Some("4")] {
        assert!(check_all(&pool, &row(false, New, price)) > 5_000);
    }
}

#[test]
fn every_permutation_of_an_algo_order_and_its_real_order_ends_alike() {
    use OrderStatus::{Cancelled, Expired, Filled, New, PartiallyFilled};
    let pool = [
        algo("NEW", 0, ""),
        algo("TRIGGERING", 1, ""),
        algo("TRIGGERED", 2, ""),
        algo("FINISHED", 4, "5"),
        algo("FINISHED", 4, "12"),
        algo("FINISHED", 3, "0"),
        algo("EXPIRED", 4, ""),
        regular(New, 2, 0, "0", ""),
        regular(Expired, 3, 5, "0", "4"),
        regular(Cancelled, 3, 5, "0", "4"),
        regular(Filled, 3, 12, "0", "4"),
    ];
    assert!(check_all(&pool, &row(true, New, Some("4.105"))) > 300_000);
    assert!(check_all(&pool[..9], &row(true, PartiallyFilled, Some("4"))) > 60_000);
}

/// An event of a random history, before its order's prices are known.
fn any_event() -> impl Strategy<Value = (u8, i64, u32, u8)> {
    (0u8..12, 0i64..5, 0u32..2, 0u8..3)
}

fn event_of((word, time, extra, price): (u8, i64, u32, u8), is_algo: bool, is_market: bool) -> Projection {
    let statuses = OrderStatus::ALL;
    let filled = time as u32 * 2 + extra;
    let stated = if is_market || is_algo { "0" } else { ["4", "4.105", "4.2"][usize::from(price)] };
    let average = ["3.9", "4.1", "4.3"][usize::from(price)];
    if is_algo && word < 8 {
        let native = ["NEW", "TRIGGERING", "TRIGGERED", "FINISHED", "FINISHED", "CANCELED", "EXPIRED", "REJECTED"];
        return algo(native[usize::from(word)], time, ["0", "5", "12"][usize::from(price)]);
    }
    let status = match statuses[usize::from(word) % statuses.len()] {
        // No regular order has them.
        OrderStatus::Triggering | OrderStatus::Triggered => OrderStatus::Filled,
        status => status,
    };
    regular(status, time, filled, stated, average)
}

fn shuffled<T>(items: &mut [T], mut seed: u64) {
    for at in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, (seed >> 33) as usize % (at + 1));
    }
}

#[test]
fn a_hundred_thousand_random_histories_with_duplicates_end_alike() {
    let config = ProptestConfig { cases: 100_000, failure_persistence: None, ..ProptestConfig::default() };
    let histories = (
        prop::collection::vec(any_event(), 1..9),
        prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        any::<u64>(),
        (any::<bool>(), any::<bool>(), 0usize..4, any::<bool>()),
    );
    let ends = std::cell::RefCell::new(BTreeSet::new());
    TestRunner::new(config)
        .run(&histories, |(drawn, again, seed, (is_algo, is_market, status, has_price))| {
            let events: Vec<Projection> = drawn.into_iter().map(|drawn| event_of(drawn, is_algo, is_market)).collect();
            let status =
                [OrderStatus::New, OrderStatus::New, OrderStatus::PartiallyFilled, OrderStatus::Cancelled][status];
            let start = row(is_algo, status, (has_price || !is_market).then_some("4.105"));
            let expected = end_of(&start, &events);

            let mut delivered: Vec<&Projection> = events.iter().collect();
            delivered.extend(again.iter().map(|index| index.get(&events)));
            shuffled(&mut delivered, seed);
            let mut order = start;
            for (at, event) in delivered.iter().enumerate() {
                let decided = decide(&order, event, NOW);
                write(&mut order, decided);
                for earlier in &delivered[..=at] {
                    let decided = decide(&order, earlier, NOW);
                    prop_assert_eq!(
                        (decided.change, decided.child_ended),
                        (None, None),
                        "applied again: {:?}",
                        earlier
                    );
                }
            }
            prop_assert_eq!(comparable(&order), comparable(&expected));
            ends.borrow_mut().insert(order.status);
            Ok(())
        })
        .unwrap();
    assert!(ends.borrow().len() >= 8, "histories end everywhere: {:?}", ends.borrow());
}
