//! Tables of the order rules: facts/incumbent.md §12, and algo orders with the real order that they become.

use OrderStatus::{Cancelled, Expired, Filled, New, PartiallyFilled, Rejected};

use super::*;
use crate::domain::order::OrderKind;
use crate::user_data::rules::test_rows::{algo_event, algo_order, decimal, event, order};

const NOW: Wall = Wall::from_millis(1_795_419_015_123);

/// Writes what was decided, as the store does.
fn write(order: &mut OrderRow, decided: &OrderDecision) {
    order.child_ended = decided.child_ended.or(order.child_ended);
    if let Some(change) = &decided.change {
        order.status = change.status.as_str().to_owned();
        order.price = change.price.clone().or(order.price.take());
        order.is_filled_at_set |= change.filled_at.is_some();
        order.last = Some(change.mark.clone());
    }
}

/// Applies the events, and says by which rules.
fn run(order: &mut OrderRow, events: &[Projection]) -> Vec<&'static str> {
    let apply = |event| {
        let decided = decide(order, event, NOW);
        write(order, &decided);
        decided.decision.rule()
    };
    events.iter().map(apply).collect()
}

fn check(mut order: OrderRow, events: &[Projection], rules: &[&str], status: OrderStatus, price: &str) {
    let before = order.clone();
    assert_eq!(run(&mut order, events), rules, "{events:?}");
    assert_eq!((&*order.status, order.price.as_ref()), (status.as_str(), Decimal::parse(price).as_ref()), "{events:?}");
    let untouched = |o: &OrderRow| {
        (o.quantity.clone(), o.reference_quantity.clone(), o.reference_price.clone(), o.reference_status.clone())
    };
    assert_eq!(untouched(&order), untouched(&before));
    // Once more, all of it: nothing moves.
    let end = order.clone();
    run(&mut order, events);
    assert_eq!(order, end, "{events:?}");
}

#[test]
fn a_placed_quantity_stays_and_a_late_part_changes_nothing() {
    let placed = OrderRow { quantity: Some(decimal("81.9")), ..order(OrderKind::Limit, "NEW") };
    check(
        placed,
        &[
            event(PartiallyFilled, 1, "18.5", "4.105", "0.29750"),
            event(Filled, 3, "81.9", "4.105", "0.29760"),
            event(PartiallyFilled, 2, "35.8", "4.105", "0.29755"),
        ],
        &["applied", "applied", "rank_guard"],
        Filled,
        "0.2976",
    );
}

#[test]
fn stated_price_while_it_works_average_at_the_end() {
    for (row, events, rules, status, price) in [
        (
            order(OrderKind::Limit, "NEW"),
            vec![event(Filled, 1, "20.99", "0", "0.29760")],
            vec!["applied"],
            Filled,
            "0.2976",
        ),
        (
            order(OrderKind::ProfitLimit, "NEW"),
            vec![event(PartiallyFilled, 1, "9.45", "4.105", "4.10499999")],
            vec!["applied"],
            PartiallyFilled,
            "4.105",
        ),
        (order(OrderKind::ProfitLimit, "NEW"), vec![event(New, 1, "0", "4.100", "0")], vec!["applied"], New, "4.1"),
        (order(OrderKind::Limit, "NEW"), vec![event(Cancelled, 1, "0", "4.1", "0")], vec!["applied"], Cancelled, "4.1"),
        (order(OrderKind::Limit, "NEW"), vec![event(Expired, 1, "2", "4.1", "4.09")], vec!["applied"], Expired, "4.09"),
        (
            order(OrderKind::ProfitLimit, "NEW"),
            vec![event(Rejected, 1, "0", "4.105", "0")],
            vec!["applied"],
            Rejected,
            "4.105",
        ),
        // Nothing is no price, and no reason to forget one.
        (order(OrderKind::Limit, "NEW"), vec![event(New, 1, "0", "0", "0")], vec!["applied"], New, "4.105"),
        (
            order(OrderKind::Limit, "NEW"),
            vec![event(Filled, 1, "1", "0.00000000", "")],
            vec!["applied"],
            Filled,
            "4.105",
        ),
        (order(OrderKind::Limit, "NEW"), vec![event(New, 1, "0", "-1", "0")], vec!["applied"], New, "4.105"),
        (
            order(OrderKind::Limit, "NEW"),
            vec![
                event(Filled, 1, "20.99", "4.1", "4.09"),
                event(Filled, 1, "20.99", "0", "0"),
                event(Filled, 2, "20.99", "0", "0"),
            ],
            vec!["applied", "unchanged", "applied"],
            Filled,
            "4.09",
        ),
    ] {
        check(row, &events, &rules, status, price);
    }
}

#[test]
fn a_market_order_in_bursts_ends_filled_at_its_average() {
    let placed = OrderRow { price: None, quantity: Some(decimal("1001816")), ..order(OrderKind::Market, "NEW") };
    let part = event(PartiallyFilled, 1, "400000", "0", "0.00011640");
    let all = event(Filled, 2, "1001816", "0", "0.00011640");
    let stale = [event(New, 0, "0", "0", "0"), event(PartiallyFilled, 1, "400000", "0", "0")];
    check(
        placed,
        &[part, all, stale[0].clone(), stale[1].clone()],
        &["applied", "applied", "rank_guard", "rank_guard"],
        Filled,
        "0.0001164",
    );
}

#[test]
fn of_one_rank_the_newer_stays() {
    let limit = |status| order(OrderKind::Limit, status);
    let amended = |time, price| event(New, time, "0", price, "0");
    for (row, events, rules, status, price) in [
        (limit("NEW"), vec![amended(2, "4.2"), amended(1, "4.1")], vec!["applied", "older"], New, "4.2"),
        (limit("NEW"), vec![amended(1, "4.1"), amended(2, "4.2")], vec!["applied", "applied"], New, "4.2"),
        (
            limit("NEW"),
            vec![amended(1, "4.1"), amended(1, "4.2"), amended(1, "4.15")],
            vec!["applied", "applied", "older"],
            New,
            "4.2",
        ),
        (
            limit("NEW"),
            vec![event(PartiallyFilled, 1, "10", "4.1", "4"), event(PartiallyFilled, 1, "9.5", "4.1", "4")],
            vec!["applied", "older"],
            PartiallyFilled,
            "4.1",
        ),
        (
            limit("NEW"),
            vec![event(Filled, 1, "20.99", "4.1", "4"), event(Cancelled, 1, "20.99", "4.1", "4")],
            vec!["applied", "older"],
            Filled,
            "4",
        ),
        (
            limit("NEW"),
            vec![event(Cancelled, 1, "1", "4.1", "4"), event(Filled, 1, "1", "4.1", "4")],
            vec!["applied", "applied"],
            Filled,
            "4",
        ),
        // The application wrote the end; there is no mark to hold an event of the same rank against.
        (limit("FILLED"), vec![event(Filled, 1, "20.99", "4.1", "4")], vec!["applied"], Filled, "4"),
        (limit("FILLED"), vec![event(New, 9, "0", "4.1", "0")], vec!["rank_guard"], Filled, "4.105"),
        (limit("TRIGGERED"), vec![event(New, 9, "0", "4.1", "0")], vec!["rank_guard"], OrderStatus::Triggered, "4.105"),
        (
            limit("TRIGGERING"),
            vec![event(New, 9, "0", "4.1", "0")],
            vec!["rank_guard"],
            OrderStatus::Triggering,
            "4.105",
        ),
    ] {
        check(row, &events, &rules, status, price);
    }
}

#[test]
fn an_end_without_a_price_takes_one_from_an_older_event() {
    let bare = OrderRow { price: None, ..order(OrderKind::Market, "NEW") };
    let events =
        [event(Filled, 2, "5", "0", "0"), event(Filled, 1, "5", "0", "4.2"), event(Filled, 1, "4", "0", "4.3")];
    check(bare, &events, &["applied", "price_filled_in", "older"], Filled, "4.2");
}

#[test]
fn what_is_unknown_is_never_written() {
    let mut unknown = event(OrderStatus::Unknown, 1, "0", "9", "9");
    unknown.native_status = Some("NEW_ADL".to_owned());
    let none = Projection { status: None, native_status: None, ..unknown.clone() };
    let row = order(OrderKind::Limit, "NEW");
    let decided = decide(&row, &unknown, NOW);
    assert_eq!((decided.change, decided.decision.note()), (None, "status NEW_ADL is unknown and not written"));
    check(row.clone(), &[unknown, none], &["unknown_status", "unknown_status"], New, "4.105");
    // A word of somebody else's in the row is an end, which an end may follow.
    check(
        OrderRow { status: "LOST".to_owned(), ..row },
        &[event(New, 1, "0", "9", "0"), event(Filled, 1, "1", "9", "8")],
        &["rank_guard", "applied"],
        Filled,
        "8",
    );
}

#[test]
fn a_fill_is_stamped_once_with_the_venues_time() {
    let mut row = order(OrderKind::Limit, "NEW");
    let stamp = |row: &OrderRow, event: &Projection| decide(row, event, NOW).change.and_then(|change| change.filled_at);
    assert_eq!(stamp(&row, &event(PartiallyFilled, 5, "1", "4", "4")), None);
    assert_eq!(stamp(&row, &event(Filled, 5, "1", "4", "4")), Some(Wall::from_millis(5)));
    let timeless = Projection { transaction_time_ms: None, ..event(Filled, 5, "1", "4", "4") };
    assert_eq!(stamp(&row, &timeless), Some(NOW));
    row.is_filled_at_set = true;
    assert_eq!(stamp(&row, &event(Filled, 5, "1", "4", "4")), None);
}

#[test]
fn sentences_name_both_sides() {
    let rank = decide(&order(OrderKind::Limit, "FILLED"), &event(New, 1, "0", "4", "0"), NOW);
    assert_eq!(rank.decision.note(), "rank guard: FILLED > NEW");
    let applied = decide(&order(OrderKind::Limit, "NEW"), &event(Filled, 1, "1", "4", "4.2"), NOW);
    assert_eq!(applied.decision.note(), "applied: NEW to FILLED at 4.2");
    let mut row = order(OrderKind::Limit, "NEW");
    row.last = Some(OrderMark { transaction_time_ms: 9, filled_quantity: None });
    let older = decide(&row, &event(New, 1, "0", "4", "0"), NOW);
    assert_eq!(older.decision.note(), "older than what is applied: T 1 against 9");
}

#[test]
fn an_algo_order_goes_its_way_and_its_real_order_decides_a_part() {
    let algo = |native, time, executed| algo_event(native, time, executed, "20.99");
    let real = |status, time, filled| event(status, time, filled, "0", "4");
    let (part, full, none) = (algo("FINISHED", 4, "5"), algo("FINISHED", 4, "20.99"), algo("FINISHED", 4, "0"));
    let (triggering, triggered) = (algo("TRIGGERING", 2, ""), algo("TRIGGERED", 3, ""));
    for (events, rules, status) in [
        (vec![algo("NEW", 1, ""), triggering.clone(), triggered.clone(), full.clone()], vec!["applied"; 4], Filled),
        (vec![triggered.clone(), triggering.clone()], vec!["applied", "rank_guard"], OrderStatus::Triggered),
        (vec![triggered.clone(), algo("TRIGGERED", 2, "")], vec!["applied", "older"], OrderStatus::Triggered),
        (vec![triggered.clone(), algo("REJECTED", 4, "")], vec!["applied", "applied"], Rejected),
        (vec![triggered.clone(), algo("EXPIRED", 4, "")], vec!["applied", "applied"], Expired),
        (vec![triggered.clone(), algo("CANCELED", 4, "")], vec!["applied", "applied"], Cancelled),
        (vec![none.clone(), triggered.clone()], vec!["applied", "rank_guard"], Cancelled),
        (vec![part.clone()], vec!["applied"], PartiallyFilled),
        (vec![part.clone(), triggered.clone()], vec!["applied", "rank_guard"], PartiallyFilled),
        (vec![part.clone(), real(Cancelled, 5, "5")], vec!["applied", "applied"], Cancelled),
        (vec![real(Cancelled, 3, "5"), part.clone()], vec!["real_order", "applied"], Cancelled),
        (
            vec![real(Expired, 3, "5"), part.clone(), real(Cancelled, 3, "5")],
            vec!["real_order", "applied", "applied"],
            Cancelled,
        ),
        (
            vec![real(Filled, 3, "20.99"), triggered.clone(), full.clone()],
            vec!["real_order", "applied", "applied"],
            Filled,
        ),
        (vec![triggered.clone(), real(Filled, 3, "20.99")], vec!["applied", "real_order"], OrderStatus::Triggered),
        (vec![triggered.clone(), real(PartiallyFilled, 3, "2")], vec!["applied", "real_order"], OrderStatus::Triggered),
        (vec![full.clone(), real(Cancelled, 3, "5")], vec!["applied", "real_order"], Filled),
        (vec![none.clone(), real(Filled, 3, "20.99")], vec!["applied", "applied"], Filled),
        (vec![real(Filled, 3, "20.99"), none], vec!["real_order", "applied"], Filled),
        (vec![part, real(Filled, 5, "20.99")], vec!["applied", "applied"], Filled),
        (vec![full, algo("EXPIRED", 4, "")], vec!["applied", "older"], Filled),
    ] {
        check(algo_order("NEW"), &events, &rules, status, "4.105");
    }
}
