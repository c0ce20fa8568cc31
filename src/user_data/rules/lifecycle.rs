//! What a changed order asks for: the rows of facts/incumbent.md §5, as data. The position is locked and its status is one
//! of [`ACTIVE_POSITIONS`]; otherwise nothing follows.
//!
//! Row 1 (a working order that is not what the application placed) goes before row 2 (the application has acknowledged this
//! status: nothing more); then one of the [`ROWS`] applies, at most. A replacement never acknowledges: the workflow finds its
//! orders by the difference between `status` and `reference_status`.

use serde_json::{Map, Value, json};

use super::intent::{Draft, IntentKind};
use crate::domain::Decimal;
use crate::domain::order::{ACTIVE_POSITIONS, OrderKind, OrderStatus};
use crate::store::work_rows::{OrderRow, PositionRow};

/// Orders that close a position.
const CLOSING: &[OrderKind] = &[OrderKind::ProfitLimit, OrderKind::ProfitMarket, OrderKind::StopMarket];
const OPENING: &[OrderKind] = &[OrderKind::Limit];
const LOST: &[OrderStatus] = &[OrderStatus::Cancelled, OrderStatus::Expired, OrderStatus::Rejected];

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// Its number in facts/incumbent.md §5.
    pub number: &'static str,
    kinds: &'static [OrderKind],
    statuses: &'static [OrderStatus],
    intent: IntentKind,
    effect: Effect,
}

/// What is written beside the intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: `reference_status` stays, so that the workflow, or the next event, finds the difference.
    None,
    /// `reference_status` takes the status that was seen.
    Acknowledge,
    /// The same, and the position is closing.
    AcknowledgeAndClose,
}

/// Rows 3 to 7. `MARKET` and `MARKET-CANCEL` orders are in none.
pub const ROWS: [Row; 6] = [
    Row {
        number: "3",
        kinds: CLOSING,
        statuses: &[OrderStatus::Filled, OrderStatus::Triggered],
        intent: IntentKind::ClosePosition,
        effect: Effect::AcknowledgeAndClose,
    },
    Row { number: "4", kinds: CLOSING, statuses: LOST, intent: IntentKind::PositionReplacement, effect: Effect::None },
    Row {
        number: "4b",
        kinds: CLOSING,
        statuses: &[OrderStatus::PartiallyFilled],
        intent: IntentKind::QuantitySync,
        effect: Effect::None,
    },
    Row { number: "5", kinds: OPENING, statuses: LOST, intent: IntentKind::PositionReplacement, effect: Effect::None },
    Row {
        number: "6",
        kinds: OPENING,
        statuses: &[OrderStatus::Filled],
        intent: IntentKind::ApplyWap,
        effect: Effect::Acknowledge,
    },
    Row {
        number: "7",
        kinds: OPENING,
        statuses: &[OrderStatus::PartiallyFilled],
        intent: IntentKind::QuantitySync,
        effect: Effect::None,
    },
];

/// An intent that a row asks for, and what goes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The row's number in facts/incumbent.md §5.
    pub row: &'static str,
    /// The intent, unless one like it lives or its kind is switched off; then the effect is left out too.
    pub draft: Draft,
    /// Written with the intent.
    pub effect: Effect,
}

/// Whether [`steps`] looks at the position's other orders.
#[must_use]
pub fn needs_siblings(order: &OrderRow) -> bool {
    order.kind == OrderKind::Limit && order.status == OrderStatus::Filled.as_str()
}

/// What the order, as it is written now, asks for. `siblings` are the position's orders where [`needs_siblings`] says so.
#[must_use]
pub fn steps(order: &OrderRow, position: &PositionRow, siblings: &[OrderRow]) -> Vec<Step> {
    let mut steps = Vec::new();
    let status = OrderStatus::of_column(&order.status);
    if !ACTIVE_POSITIONS.contains(&&*position.status) || status == OrderStatus::Unknown {
        return steps;
    }
    if let Some(drift) = drift(order, status, position) {
        let message = format!("Order {} of {} was changed at the exchange: {drift}", order.id, position.symbol);
        let arguments = json!({ "positionId": position.id, "orderId": order.id, "message": message });
        let draft =
            Draft { kind: IntentKind::OrderCorrection, position_id: position.id, order_id: Some(order.id), arguments };
        steps.push(Step { row: "1", draft, effect: Effect::None });
    }
    if order.reference_status.as_deref() == Some(&order.status) {
        return steps;
    }
    let Some(row) = ROWS.iter().find(|row| row.kinds.contains(&order.kind) && row.statuses.contains(&status)) else {
        return steps;
    };
    if row.intent == IntentKind::ApplyWap && (position.status == "opening" || siblings.iter().any(is_profit_filled)) {
        return steps;
    }
    if row.intent == IntentKind::ClosePosition && order.kind == OrderKind::StopMarket {
        let arguments = json!({
            "positionId": position.id,
            "exchangeSymbolId": position.exchange_symbol_id,
            "reason": "stop loss triggered",
        });
        steps.push(Step {
            row: row.number,
            draft: Draft {
                kind: IntentKind::SymbolBlock,
                position_id: position.id,
                order_id: Some(order.id),
                arguments,
            },
            effect: Effect::None,
        });
    }
    let draft = Draft {
        kind: row.intent,
        position_id: position.id,
        order_id: Some(order.id),
        arguments: arguments(row.intent, order, status, position),
    };
    steps.push(Step { row: row.number, draft, effect: row.effect });
    steps
}

/// Row 1: how a working order differs from what the application placed.
fn drift(order: &OrderRow, status: OrderStatus, position: &PositionRow) -> Option<String> {
    let is_market = matches!(order.kind, OrderKind::Market | OrderKind::MarketCancel);
    if !status.is_working() || is_market || matches!(&*position.status, "opening" | "waping") {
        return None;
    }
    let differs = |value: &Option<Decimal>, reference: &Option<Decimal>| match (value, reference) {
        (Some(value), Some(reference)) if value != reference => Some(format!("{value}, placed {reference}")),
        _ => None,
    };
    let price = differs(&order.price, &order.reference_price).map(|text| format!("price {text}"));
    let quantity = differs(&order.quantity, &order.reference_quantity).map(|text| format!("quantity {text}"));
    match (price, quantity) {
        (Some(price), Some(quantity)) => Some(format!("{price}; {quantity}")),
        (price, quantity) => price.or(quantity),
    }
}

fn is_profit_filled(order: &OrderRow) -> bool {
    matches!(order.kind, OrderKind::ProfitLimit | OrderKind::ProfitMarket)
        && order.status == OrderStatus::Filled.as_str()
}

fn arguments(intent: IntentKind, order: &OrderRow, status: OrderStatus, position: &PositionRow) -> Value {
    let mut arguments = Map::new();
    arguments.insert("positionId".to_owned(), position.id.into());
    if intent == IntentKind::PositionReplacement {
        arguments.insert("triggerStatus".to_owned(), status.as_str().into());
    }
    if intent != IntentKind::QuantitySync {
        let message = format!("{} order {} of {} is {status}", kind_word(order.kind), order.id, position.symbol);
        arguments.insert("message".to_owned(), message.into());
    }
    Value::Object(arguments)
}

fn kind_word(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::Limit => "Opening limit",
        OrderKind::ProfitLimit | OrderKind::ProfitMarket => "Take-profit",
        OrderKind::StopMarket => "Stop",
        OrderKind::Market | OrderKind::MarketCancel | OrderKind::Other => "An",
    }
}

#[cfg(test)]
mod tests;
