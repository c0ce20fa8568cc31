//! From the recorded bytes of a private event to its [`Projection`]: facts/incumbent.md §4.1, facts/binance.md §4.
//!
//! Nothing fails here: what is no JSON is an event of kind `other`, what is absent is `None`, and what does not fit its
//! column or type is `None` and counted. Of a key that occurs twice the last one counts, as in PHP's `json_decode`. No
//! number passes through a float.
//!
//! Control plane: the texts of the result are allocated. Walks: one that proves the JSON, one a level for its members.

mod fields;
mod number;

#[cfg(test)]
mod tests;

use fields::{Fields, OrderMembers};

use super::grammar;
use super::outline::{self, Span, key_is, skip_blanks};
use crate::domain::Decimal;
use crate::domain::limits::{
    EVENT_NAME_CHARS_MAX, EVENT_POSITIONS_MAX, EVENT_STATUS_CHARS_MAX, EVENT_SYMBOL_CHARS_MAX, ORDER_ID_CHARS_MAX,
};
use crate::domain::order::{OrderStatus, PositionSide, Side};
use crate::exchange::projection::{EventKind, PositionEntry, Projection};

/// The allowlist's word for an algo order that has finished with something executed; the venue itself has no such status.
pub const ALGO_FILLED: &str = "ALGO_FILLED";

/// Client ids of orders that the venue places by itself (facts/binance.md §4.1).
const FORCED_PREFIXES: [&str; 3] = ["autoclose-", "adl_autoclose", "settlement_autoclose-"];

/// Projects an event: the value of a wrapper's `data`, or the bare frame. Takes any bytes.
///
/// `T` is the time of the matching engine in every event. The venue's page labels `T` and `E` of `ALGO_UPDATE` the other way
/// round, but there too its samples and all captures have `T` ≤ `E`, and nothing is sent before it has happened: the labels
/// are swapped, not the values. So algo events are ordered by `T` like the rest, on one clock with those of the real order.
#[must_use]
pub fn project(event: &[u8]) -> Projection {
    let mut projection = Projection::default();
    if !grammar::is_json(event) {
        return projection;
    }
    let members = EventMembers::of(event, skip_blanks(event, 0));
    let mut fields = Fields::new(event);
    projection.raw_event_type = fields.text(&members.name, EVENT_NAME_CHARS_MAX).unwrap_or_default();
    projection.kind = kind_of(&projection.raw_event_type);
    projection.transaction_time_ms = fields.time(&members.transaction_time);
    projection.event_time_ms = fields.time(&members.event_time).or(projection.transaction_time_ms);
    match projection.kind {
        EventKind::OrderUpdate => {
            projection.is_algo = projection.raw_event_type == "ALGO_UPDATE";
            let order = fields.object(&members.order).map(|start| OrderMembers::of(event, start)).unwrap_or_default();
            if projection.is_algo {
                read_algo_order(&mut fields, &order, &mut projection);
            } else {
                read_order(&mut fields, &order, &mut projection);
            }
        }
        EventKind::AccountUpdate => projection.positions = read_positions(&mut fields, &members.account),
        _ => {}
    }
    projection.misfits = fields.misfits();
    projection
}

fn kind_of(name: &str) -> EventKind {
    match name {
        "ORDER_TRADE_UPDATE" | "CONDITIONAL_ORDER_TRADE_UPDATE" | "ALGO_UPDATE" => EventKind::OrderUpdate,
        "ACCOUNT_UPDATE" => EventKind::AccountUpdate,
        "MARGIN_CALL" => EventKind::MarginCall,
        "listenKeyExpired" => EventKind::ListenKeyExpired,
        _ => EventKind::Other,
    }
}

/// What both kinds of orders spell alike.
fn read_common(fields: &mut Fields<'_>, order: &OrderMembers, projection: &mut Projection) {
    projection.symbol = fields.text(&order.symbol, EVENT_SYMBOL_CHARS_MAX);
    projection.native_status = fields.text(&order.status, EVENT_STATUS_CHARS_MAX);
    projection.normalized_status = Some(normalized(projection.native_status.as_deref()));
    projection.side = fields.word(&order.side, |word| match word {
        "BUY" => Some(Side::Buy),
        "SELL" => Some(Side::Sell),
        _ => None,
    });
    projection.position_side = fields.word(&order.position_side, PositionSide::of_word);
}

fn read_order(fields: &mut Fields<'_>, order: &OrderMembers, projection: &mut Projection) {
    read_common(fields, order, projection);
    let native = projection.native_status.as_deref();
    projection.status = Some(match native {
        Some("EXPIRED_IN_MATCH") => OrderStatus::Expired,
        other => normalized(other),
    });
    projection.exchange_order_id = fields.text(&order.id, ORDER_ID_CHARS_MAX);
    projection.client_order_id = fields.text(&order.client_id, ORDER_ID_CHARS_MAX);
    projection.price = fields.column(&order.price);
    projection.average_price = fields.column(&order.average_price);
    projection.original_quantity = fields.column(&order.quantity);
    projection.filled_quantity = fields.column(&order.filled_quantity);
    projection.last_filled_price = fields.column(&order.last_price);
    projection.last_filled_quantity = fields.column(&order.last_quantity);
    projection.execution_type = fields.text(&order.execution_type, EVENT_STATUS_CHARS_MAX);
    projection.reduce_only = fields.flag(&order.reduce_only);
    projection.is_forced = projection.execution_type.as_deref() == Some("CALCULATED")
        || fields.begins_with(&order.client_id, &FORCED_PREFIXES);
}

fn read_algo_order(fields: &mut Fields<'_>, order: &OrderMembers, projection: &mut Projection) {
    read_common(fields, order, projection);
    projection.exchange_order_id = fields.text(&order.algo_id, ORDER_ID_CHARS_MAX);
    projection.client_order_id = fields.text(&order.client_algo_id, ORDER_ID_CHARS_MAX);
    projection.price = fields.column(&order.trigger_price);
    // Compared before the column's bounds are: what a column cannot hold is a quantity nevertheless.
    let quantity = fields.decimal(&order.quantity);
    let executed = fields.decimal(&order.executed_quantity);
    let native = projection.native_status.as_deref();
    projection.status = Some(match native {
        Some("FINISHED") if executed.is_none() && fields.is_there(&order.executed_quantity) => OrderStatus::Unknown,
        Some("FINISHED") => finished(executed.as_ref(), quantity.as_ref()),
        Some("TRIGGERING") => OrderStatus::Triggering,
        Some("TRIGGERED") => OrderStatus::Triggered,
        Some("EXPIRED_IN_MATCH") => OrderStatus::Expired,
        other => normalized(other),
    });
    projection.execution_type = native.map(|status| format!("ALGO_{status}"));
    let has_executed = executed.as_ref().is_some_and(Decimal::is_positive);
    projection.execution_alias = (native == Some("FINISHED") && has_executed).then_some(ALGO_FILLED);
    projection.original_quantity = fields.fitting(quantity);
    projection.executed_quantity = executed;
    projection.close_position = fields.flag(&order.close_position);
    // Before the trigger it is "", which no order's id is; nor is 0.
    projection.triggered_order_id = fields.text(&order.triggered_id, ORDER_ID_CHARS_MAX).filter(|id| id != "0");
    projection.is_forced = fields.begins_with(&order.client_algo_id, &FORCED_PREFIXES);
}

/// The incumbent's map, which knows no status of an algo order's own.
fn normalized(native: Option<&str>) -> OrderStatus {
    match native {
        Some("NEW") => OrderStatus::New,
        Some("PARTIALLY_FILLED") => OrderStatus::PartiallyFilled,
        Some("FILLED") => OrderStatus::Filled,
        Some("CANCELED") => OrderStatus::Cancelled,
        Some("EXPIRED") => OrderStatus::Expired,
        Some("REJECTED") => OrderStatus::Rejected,
        _ => OrderStatus::Unknown,
    }
}

/// `FINISHED` says that the real order ended, not how: what it executed says that. Where no quantity was asked for, as in
/// an order that closes the whole position, anything executed is all of it.
fn finished(executed: Option<&Decimal>, quantity: Option<&Decimal>) -> OrderStatus {
    match (executed, quantity) {
        (Some(executed), Some(quantity)) if executed.is_positive() && executed < quantity => {
            OrderStatus::PartiallyFilled
        }
        (Some(executed), _) if executed.is_positive() => OrderStatus::Filled,
        _ => OrderStatus::Cancelled,
    }
}

/// The whole entries of `a.P`; entries that lack something are passed over.
fn read_positions(fields: &mut Fields<'_>, account: &Option<Span>) -> Vec<PositionEntry> {
    let event = fields.event();
    let Some(start) = fields.object(account) else { return Vec::new() };
    let listed = outline::members(event, start).filter(|(key, _)| key_is(&event[key.clone()], b"P")).last();
    let Some(start) = fields.array(&listed.map(|(_, value)| value)) else { return Vec::new() };
    let mut positions = Vec::new();
    for entry in outline::elements(event, start).filter(|entry| !entry.is_empty()) {
        if positions.len() == EVENT_POSITIONS_MAX {
            fields.count_misfit();
            break;
        }
        positions.extend(read_position(fields, entry));
    }
    positions
}

fn read_position(fields: &mut Fields<'_>, entry: Span) -> Option<PositionEntry> {
    let event = fields.event();
    let start = fields.object(&Some(entry))?;
    let (mut symbol, mut side, mut quantity) = (None, None, None);
    for (key, value) in outline::members(event, start) {
        match &event[key] {
            key if key_is(key, b"s") => symbol = Some(value),
            key if key_is(key, b"ps") => side = Some(value),
            key if key_is(key, b"pa") => quantity = Some(value),
            _ => {}
        }
    }
    let symbol = fields.trimmed_upper(&symbol, EVENT_SYMBOL_CHARS_MAX);
    let side = fields.word(&side, PositionSide::of_word);
    let quantity = fields.decimal(&quantity);
    Some(PositionEntry { symbol: symbol?, side: side?, quantity: quantity? })
}

/// The members of an event that are projected: their values.
#[derive(Default)]
struct EventMembers {
    name: Option<Span>,
    event_time: Option<Span>,
    transaction_time: Option<Span>,
    order: Option<Span>,
    account: Option<Span>,
}

impl EventMembers {
    /// Of the value at `start`; nothing is found in what is no object.
    fn of(event: &[u8], start: usize) -> EventMembers {
        let mut members = EventMembers::default();
        for (key, value) in outline::members(event, start) {
            let place = match &event[key] {
                key if key_is(key, b"e") => &mut members.name,
                key if key_is(key, b"E") => &mut members.event_time,
                key if key_is(key, b"T") => &mut members.transaction_time,
                key if key_is(key, b"o") => &mut members.order,
                key if key_is(key, b"a") => &mut members.account,
                _ => continue,
            };
            *place = Some(value);
        }
        members
    }
}
