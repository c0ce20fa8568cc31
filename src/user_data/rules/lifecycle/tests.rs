//! The table of facts/incumbent.md §5, row by row.

use super::*;
use crate::domain::order::Direction;
use crate::user_data::rules::test_rows::{decimal, order, position};

/// Workflows and effects for an order in an active position.
fn asked(order: &OrderRow, position_status: &str, siblings: &[OrderRow]) -> Vec<(&'static str, &'static str, Effect)> {
    let position = position(1, position_status, Direction::Long);
    steps(order, &position, siblings).iter().map(|step| (step.row, step.draft.kind.as_str(), step.effect)).collect()
}

#[test]
fn each_kind_and_status_asks_for_what_its_row_says() {
    use OrderKind::{Limit, Market, MarketCancel, Other, ProfitLimit, ProfitMarket, StopMarket};
    let close = ("3", "close_position", Effect::AcknowledgeAndClose);
    let block = ("3", "symbol_block", Effect::None);
    let replace = |row| (row, "position_replacement", Effect::None);
    let sync = |row| (row, "quantity_sync", Effect::None);
    let wap = ("6", "apply_wap", Effect::Acknowledge);
    for (kinds, status, expected) in [
        (vec![ProfitLimit, ProfitMarket], "FILLED", vec![close]),
        (vec![ProfitLimit, ProfitMarket], "TRIGGERED", vec![close]),
        (vec![StopMarket], "FILLED", vec![block, close]),
        (vec![StopMarket], "TRIGGERED", vec![block, close]),
        (vec![ProfitLimit, ProfitMarket, StopMarket], "CANCELLED", vec![replace("4")]),
        (vec![ProfitLimit, ProfitMarket, StopMarket], "EXPIRED", vec![replace("4")]),
        (vec![ProfitLimit, ProfitMarket, StopMarket], "REJECTED", vec![replace("4")]),
        (vec![ProfitLimit, ProfitMarket, StopMarket], "PARTIALLY_FILLED", vec![sync("4b")]),
        (vec![Limit], "CANCELLED", vec![replace("5")]),
        (vec![Limit], "EXPIRED", vec![replace("5")]),
        (vec![Limit], "REJECTED", vec![replace("5")]),
        (vec![Limit], "FILLED", vec![wap]),
        (vec![Limit], "PARTIALLY_FILLED", vec![sync("7")]),
        (vec![Limit, ProfitLimit, ProfitMarket, StopMarket], "NEW", vec![]),
        (vec![Limit, ProfitLimit, StopMarket], "TRIGGERING", vec![]),
        (vec![Limit], "TRIGGERED", vec![]),
        (vec![Limit, ProfitLimit, StopMarket], "UNKNOWN", vec![]),
        (vec![Limit, ProfitLimit, StopMarket], "LOST", vec![]),
        (vec![Market, MarketCancel, Other], "FILLED", vec![]),
        (vec![Market, MarketCancel, Other], "CANCELLED", vec![]),
        (vec![Market, MarketCancel, Other], "PARTIALLY_FILLED", vec![]),
    ] {
        for kind in kinds {
            let mut order = order(kind, status);
            assert_eq!(asked(&order, "active", &[]), expected, "{kind:?} {status}");
            // Row 2: acknowledged means nothing more, and a position that is not active means nothing at all.
            order.reference_status = Some(status.to_owned());
            assert_eq!(asked(&order, "active", &[]), [], "{kind:?} {status}");
            order.reference_status = None;
            assert_eq!(asked(&order, "waping", &[]), expected, "{kind:?} {status}");
            for closed in ["closing", "cancelling", "closed", "cancelled", "failed", ""] {
                assert_eq!(asked(&order, closed, &[]), [], "{kind:?} {status} {closed}");
            }
        }
    }
}

#[test]
fn a_filled_rung_waits_for_the_opening_and_gives_way_to_a_filled_take_profit() {
    let rung = order(OrderKind::Limit, "FILLED");
    assert!(needs_siblings(&rung) && !needs_siblings(&order(OrderKind::Limit, "NEW")));
    assert!(!needs_siblings(&order(OrderKind::ProfitLimit, "FILLED")));
    assert_eq!(asked(&rung, "opening", &[]), []);
    for (sibling, is_asked) in [
        (order(OrderKind::ProfitLimit, "FILLED"), false),
        (order(OrderKind::ProfitMarket, "FILLED"), false),
        (order(OrderKind::ProfitLimit, "NEW"), true),
        (order(OrderKind::StopMarket, "FILLED"), true),
        (order(OrderKind::Limit, "FILLED"), true),
    ] {
        assert_eq!(asked(&rung, "active", &[sibling]).len(), usize::from(is_asked));
    }
    // Losing a rung while the position opens is told all the same.
    assert_eq!(asked(&order(OrderKind::Limit, "CANCELLED"), "opening", &[]).len(), 1);
}

#[test]
fn a_working_order_that_differs_from_what_was_placed_is_corrected() {
    let correction = ("1", "order_correction", Effect::None);
    for (status, kind, price, reference, position, expected) in [
        ("NEW", OrderKind::ProfitLimit, "4.1", Some("4.105"), "active", true),
        ("NEW", OrderKind::ProfitLimit, "4.105", Some("4.105"), "active", false),
        ("NEW", OrderKind::ProfitLimit, "4.1050", Some("4.10500000"), "active", false),
        ("NEW", OrderKind::ProfitLimit, "4.10499999", Some("4.105"), "active", true),
        ("NEW", OrderKind::ProfitLimit, "4.1", None, "active", false),
        ("NEW", OrderKind::ProfitLimit, "4.1", Some("4.105"), "opening", false),
        ("NEW", OrderKind::ProfitLimit, "4.1", Some("4.105"), "waping", false),
        ("NEW", OrderKind::ProfitLimit, "4.1", Some("4.105"), "syncing", true),
        ("NEW", OrderKind::ProfitLimit, "4.1", Some("4.105"), "closing", false),
        ("NEW", OrderKind::Limit, "4.1", Some("4.105"), "active", true),
        ("NEW", OrderKind::StopMarket, "4.1", Some("4.105"), "active", true),
        ("NEW", OrderKind::Market, "4.1", Some("4.105"), "active", false),
        ("TRIGGERING", OrderKind::StopMarket, "4.1", Some("4.105"), "active", false),
    ] {
        let mut order = order(kind, status);
        (order.price, order.reference_price) = (Decimal::parse(price), reference.map(decimal));
        let expected = if expected { vec![correction] } else { vec![] };
        assert_eq!(asked(&order, position, &[]), expected, "{status} {kind:?} {price} {reference:?} {position}");
    }
    // A part of an order that was changed: both.
    let mut order = order(OrderKind::ProfitLimit, "PARTIALLY_FILLED");
    order.price = Some(decimal("4.1"));
    assert_eq!(asked(&order, "active", &[]), [correction, ("4b", "quantity_sync", Effect::None)]);
    (order.price, order.reference_quantity) = (None, Some(decimal("21")));
    assert_eq!(asked(&order, "active", &[]).first(), Some(&correction), "the quantity differs");
}

#[test]
fn arguments_are_the_incumbents() {
    let position = position(41, "active", Direction::Long);
    let arguments = |order: &OrderRow| -> Vec<Value> {
        steps(order, &position, &[]).into_iter().map(|step| step.draft.arguments).collect()
    };
    let mut drifted = order(OrderKind::ProfitLimit, "NEW");
    drifted.price = Some(decimal("4.1"));
    for (order, expected) in [
        (
            drifted,
            vec![json!({
                "positionId": 41, "orderId": 11,
                "message": "Order 11 of SOLUSDT was changed at the exchange: price 4.1, placed 4.105",
            })],
        ),
        (
            order(OrderKind::StopMarket, "FILLED"),
            vec![
                json!({ "positionId": 41, "exchangeSymbolId": 77, "reason": "stop loss triggered" }),
                json!({ "positionId": 41, "message": "Stop order 11 of SOLUSDT is FILLED" }),
            ],
        ),
        (
            order(OrderKind::ProfitLimit, "REJECTED"),
            vec![json!({
                "positionId": 41, "triggerStatus": "REJECTED",
                "message": "Take-profit order 11 of SOLUSDT is REJECTED",
            })],
        ),
        (
            order(OrderKind::Limit, "FILLED"),
            vec![json!({ "positionId": 41, "message": "Opening limit order 11 of SOLUSDT is FILLED" })],
        ),
        (order(OrderKind::Limit, "PARTIALLY_FILLED"), vec![json!({ "positionId": 41 })]),
    ] {
        assert_eq!(arguments(&order), expected);
    }
}
