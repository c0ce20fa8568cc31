//! The cases of facts/incumbent.md §12 about closes by hand.

use serde_json::Value;

use super::*;
use crate::store::work_rows::OrderMark;
use crate::user_data::rules::test_rows::{account, algo_event, algo_order, decimal, event, order, position};

/// A fill of an order that nobody here knows.
fn fill(side: Side, position_side: Option<PositionSide>, reduce_only: Option<bool>) -> Projection {
    Projection { side: Some(side), position_side, reduce_only, ..event(OrderStatus::Filled, 1, "2", "0", "1.25") }
}

fn closes_one(event: &Projection, is_hedge: bool, direction: Direction) -> bool {
    is_candidate(event) && the_position(event, &account(is_hedge), &[position(3, "active", direction)]) == Some(3)
}

#[test]
fn side_mode_and_flags_must_all_say_close() {
    use Direction::{Long, Short};
    use PositionSide::Both;
    let (long, short) = (Some(PositionSide::Long), Some(PositionSide::Short));
    for (is_hedge, direction, side, position_side, reduce_only, expected) in [
        (false, Long, Side::Sell, Some(Both), Some(true), true),
        (false, Long, Side::Sell, None, Some(true), true),
        (false, Short, Side::Buy, Some(Both), Some(true), true),
        (false, Long, Side::Sell, Some(Both), Some(false), false),
        (false, Long, Side::Sell, Some(Both), None, false),
        (false, Long, Side::Buy, Some(Both), Some(true), false),
        (false, Short, Side::Sell, Some(Both), Some(true), false),
        (false, Long, Side::Sell, long, Some(true), false),
        (true, Long, Side::Sell, long, None, true),
        (true, Long, Side::Sell, long, Some(false), true),
        (true, Short, Side::Buy, short, None, true),
        (true, Long, Side::Buy, long, None, false),
        (true, Long, Side::Sell, short, None, false),
        (true, Long, Side::Sell, Some(Both), Some(true), false),
        (true, Long, Side::Sell, None, Some(true), false),
        (true, Short, Side::Sell, short, None, false),
    ] {
        let event = fill(side, position_side, reduce_only);
        assert_eq!(
            closes_one(&event, is_hedge, direction),
            expected,
            "{is_hedge} {direction:?} {side:?} {position_side:?}"
        );
    }
}

#[test]
fn only_a_whole_fill_that_nobody_forced_is_a_candidate() {
    let good = fill(Side::Sell, Some(PositionSide::Both), Some(true));
    assert!(is_candidate(&good));
    for bad in [
        Projection { status: Some(OrderStatus::PartiallyFilled), ..good.clone() },
        Projection { status: Some(OrderStatus::Cancelled), ..good.clone() },
        Projection { status: None, ..good.clone() },
        Projection { is_forced: true, ..good.clone() },
        Projection { symbol: None, ..good.clone() },
        Projection { side: None, ..good.clone() },
    ] {
        assert!(!is_candidate(&bad), "{bad:?}");
    }
}

#[test]
fn an_algo_order_that_closes_the_position_counts() {
    let stop = Projection {
        side: Some(Side::Buy),
        position_side: Some(PositionSide::Short),
        close_position: Some(true),
        reduce_only: None,
        ..algo_event("FINISHED", 1, "5", "5")
    };
    assert!(closes_one(&stop, true, Direction::Short));
    let one_way = Projection { position_side: Some(PositionSide::Both), ..stop.clone() };
    assert!(closes_one(&one_way, false, Direction::Short));
    assert!(!closes_one(&Projection { close_position: Some(false), ..one_way }, false, Direction::Short));
    assert!(!closes_one(
        &Projection { executed_quantity: Some(decimal("1")), status: Some(OrderStatus::PartiallyFilled), ..stop },
        true,
        Direction::Short
    ));
}

#[test]
fn one_position_must_match() {
    let event = fill(Side::Sell, Some(PositionSide::Both), Some(true));
    let (first, second) = (position(1, "active", Direction::Long), position(2, "new", Direction::Long));
    assert_eq!(the_position(&event, &account(false), &[]), None);
    assert_eq!(the_position(&event, &account(false), &[first.clone(), second.clone()]), None);
    let hedge = fill(Side::Sell, Some(PositionSide::Long), None);
    let short = position(2, "active", Direction::Short);
    assert_eq!(the_position(&hedge, &account(true), &[first, short]), Some(1));
}

#[test]
fn the_workflow_is_told_what_is_known() {
    let event = fill(Side::Sell, Some(PositionSide::Both), Some(true));
    for status in ACTIVE_POSITIONS {
        let draft = replacement(&event, &position(41, status, Direction::Long)).unwrap();
        assert_eq!((draft.kind.workflow(), draft.kind.queue()), ("PreparePositionReplacementJob", "priority"));
        assert_eq!(
            draft.arguments,
            json!({
                "positionId": 41, "triggerStatus": "EXTERNAL_FILL", "manualCloseDetected": true, "manualClosingPrice": "1.25",
                "message":
                    "Order 900000000000000011 of SOLUSDT, which is none of ours, was filled and closes the position",
            })
        );
    }
    for status in ["closing", "cancelling", "closed", "failed"] {
        assert_eq!(replacement(&event, &position(41, status, Direction::Long)), None, "{status}");
    }
    for (average, last, price) in [("0", "1.3", Value::from("1.3")), ("", "", Value::Null), ("0", "0", Value::Null)] {
        let event = Projection {
            average_price: Decimal::parse(average),
            last_filled_price: Decimal::parse(last),
            ..event.clone()
        };
        let draft = replacement(&event, &position(41, "active", Direction::Long)).unwrap();
        assert_eq!(draft.arguments["manualClosingPrice"], price, "{average} {last}");
    }
}

/// The position's stop is placed at 4.105 for 20.99.
#[test]
fn a_fill_where_an_own_stop_stands_may_be_its_own() {
    use Direction::{Long, Short};
    let fill = |time, average: &str| Projection {
        original_quantity: Some(decimal("20.99")),
        ..event(OrderStatus::Filled, time, "20.99", "0", average)
    };
    let with = |status: &str, change: fn(&mut OrderRow)| {
        let mut stop = algo_order(status);
        change(&mut stop);
        stop
    };
    let changed_at = |order: &mut OrderRow, at| {
        order.last = Some(OrderMark { transaction_time_ms: at, filled_quantity: None });
    };
    let mut ended_before = algo_order("CANCELLED");
    changed_at(&mut ended_before, 9);
    let mut ended_since = algo_order("CANCELLED");
    changed_at(&mut ended_since, 11);
    for (direction, stop, average, expected) in [
        (Long, with("NEW", |_| {}), "4.105", true),
        (Long, with("NEW", |_| {}), "4.1", true),
        // Above a long position's stop nothing triggers it: by hand.
        (Long, with("NEW", |_| {}), "4.106", false),
        (Short, with("NEW", |_| {}), "4.106", true),
        (Short, with("NEW", |_| {}), "4.1", false),
        (Long, with("NEW", |_| {}), "", false),
        (Long, with("NEW", |stop| stop.price = None), "4.1", false),
        (Long, with("TRIGGERING", |_| {}), "4.106", true),
        (Long, with("NEW", |stop| stop.quantity = None), "4.1", true),
        (Long, with("NEW", |stop| stop.quantity = Some(Decimal::zero())), "4.1", true),
        (Long, with("NEW", |stop| stop.quantity = Some(decimal("20"))), "4.1", false),
        (Long, with("NEW", |stop| stop.is_algo = false), "4.1", false),
        (Long, with("NEW", |stop| stop.kind = OrderKind::Limit), "4.1", false),
        (Long, with("NEW", |stop| stop.kind = OrderKind::ProfitMarket), "4.1", false),
        (Long, with("NEW", |stop| stop.kind = OrderKind::ProfitMarket), "4.2", true),
        // Once it has triggered its real order is known.
        (Long, with("TRIGGERED", |_| {}), "4.1", false),
        (Long, with("FILLED", |_| {}), "4.1", false),
        (Long, ended_before.clone(), "4.1", false),
        (Long, ended_since.clone(), "4.1", true),
    ] {
        let orders = [order(OrderKind::ProfitLimit, "NEW"), OrderRow { id: 12, ..stop }];
        let found = own_conditional(&fill(10, average), &position(3, "active", direction), &orders);
        assert_eq!(found, expected.then_some(12), "{direction:?} {:?} {average}", orders[1]);
    }
}
