//! Rows and events for the tests of the rules.

use crate::domain::Decimal;
use crate::domain::order::{Direction, OrderKind, OrderStatus, PositionSide, Side};
use crate::exchange::projection::{EventKind, Projection};
use crate::store::work_rows::{AccountFacts, OrderRow, PositionRow};

pub(crate) fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).expect("a decimal")
}

/// An order that was placed at 4.105 for 20.99.
pub(crate) fn order(kind: OrderKind, status: &str) -> OrderRow {
    OrderRow {
        id: 11,
        position_id: 1,
        kind,
        status: status.to_owned(),
        reference_status: Some("NEW".to_owned()),
        client_order_id: Some("ours-11".to_owned()),
        exchange_order_id: Some("900000000000000011".to_owned()),
        is_algo: false,
        quantity: Some(decimal("20.99")),
        price: Some(decimal("4.105")),
        reference_quantity: Some(decimal("20.99")),
        reference_price: Some(decimal("4.105")),
        is_filled_at_set: false,
        last: None,
        child_ended: None,
    }
}

/// A stop, placed as an algo order.
pub(crate) fn algo_order(status: &str) -> OrderRow {
    OrderRow { is_algo: true, ..order(OrderKind::StopMarket, status) }
}

pub(crate) fn position(id: i64, status: &str, direction: Direction) -> PositionRow {
    PositionRow {
        id,
        account_id: 5,
        symbol: "SOLUSDT".to_owned(),
        exchange_symbol_id: Some(77),
        status: status.to_owned(),
        direction,
        created_at: None,
    }
}

pub(crate) fn account(on_hedge_mode: bool) -> AccountFacts {
    AccountFacts { id: 5, api_system_id: 1, on_hedge_mode }
}

/// A regular order's event.
pub(crate) fn event(status: OrderStatus, time: i64, filled: &str, price: &str, average: &str) -> Projection {
    Projection {
        raw_event_type: "ORDER_TRADE_UPDATE".to_owned(),
        kind: EventKind::OrderUpdate,
        exchange_order_id: Some("900000000000000011".to_owned()),
        symbol: Some("SOLUSDT".to_owned()),
        native_status: Some(status.as_str().to_owned()),
        normalized_status: Some(status),
        status: Some(status),
        price: Decimal::parse(price),
        average_price: Decimal::parse(average),
        filled_quantity: Decimal::parse(filled),
        transaction_time_ms: Some(time),
        execution_type: Some("TRADE".to_owned()),
        side: Some(Side::Sell),
        position_side: Some(PositionSide::Both),
        ..Projection::default()
    }
}

/// An algo order's event; `executed` empty: the venue left it out.
pub(crate) fn algo_event(native: &str, time: i64, executed: &str, placed: &str) -> Projection {
    let executed = Decimal::parse(executed);
    let status = match native {
        "FINISHED" => match &executed {
            Some(executed) if *executed >= decimal(placed) => OrderStatus::Filled,
            Some(executed) if executed.is_positive() => OrderStatus::PartiallyFilled,
            _ => OrderStatus::Cancelled,
        },
        "CANCELED" => OrderStatus::Cancelled,
        native => OrderStatus::of_column(native),
    };
    Projection {
        raw_event_type: "ALGO_UPDATE".to_owned(),
        native_status: Some(native.to_owned()),
        filled_quantity: None,
        execution_type: Some(format!("ALGO_{native}")),
        is_algo: true,
        executed_quantity: executed,
        original_quantity: Decimal::parse(placed),
        ..event(status, time, "", "4.105", "")
    }
}
