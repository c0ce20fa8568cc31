//! A fill that is none of ours and closes a position: somebody closed it by hand (facts/incumbent.md §4.6). Attributed on
//! evidence only; the workflow that it starts asks the venue before it does anything.

use serde_json::json;

use super::flat::is_meant;
use super::intent::{Draft, IntentKind};
use crate::domain::Decimal;
use crate::domain::order::{ACTIVE_POSITIONS, Direction, OrderKind, OrderStatus, PositionSide, Side};
use crate::exchange::projection::Projection;
use crate::store::work_rows::{AccountFacts, OrderRow, PositionRow};

/// Whether the event may be such a fill: all of an order's quantity, not the venue's own doing, symbol and side known. That
/// no local order has one of its ids is the caller's to know.
pub(crate) fn is_candidate(event: &Projection) -> bool {
    event.status == Some(OrderStatus::Filled) && !event.is_forced && event.symbol.is_some() && event.side.is_some()
}

/// The one position, by its id, that the fill closes, among the active ones of its symbol.
pub(crate) fn the_position(event: &Projection, account: &AccountFacts, candidates: &[PositionRow]) -> Option<i64> {
    let mut matching = candidates.iter().filter(|position| is_meant(position, event.position_side));
    let position = matching.next()?;
    (matching.next().is_none() && closes(event, account, position)).then_some(position.id)
}

/// Whether side, mode and flags say that the fill closes this position. A missing flag is not `false`, but no evidence.
fn closes(event: &Projection, account: &AccountFacts, position: &PositionRow) -> bool {
    let closing = match position.direction {
        Direction::Long => Side::Sell,
        Direction::Short => Side::Buy,
    };
    if event.side != Some(closing) {
        return false;
    }
    match (account.on_hedge_mode, event.position_side) {
        // A hedge account sends no reduce-only flag: the side of the position says it.
        (true, Some(PositionSide::Long)) => position.direction == Direction::Long,
        (true, Some(PositionSide::Short)) => position.direction == Direction::Short,
        (true, _) => false,
        (false, None | Some(PositionSide::Both)) => {
            event.reduce_only == Some(true) || event.close_position == Some(true)
        }
        (false, _) => false,
    }
}

/// The position's own conditional order, by its id, whose real order the fill may be: that order's id is not known before the
/// first event that names it (`ai`), and its fill may come before.
///
/// Evidence, all of it: a conditional order that closes the position, of this quantity or of the position's; it still stood
/// when the fill was made; and its trigger had begun, or the fill's price is where the trigger is, or beyond. A close by hand at
/// such a price is taken for the stop's as well: then no workflow starts, and a reconcile has to tell.
pub(crate) fn own_conditional(event: &Projection, position: &PositionRow, orders: &[OrderRow]) -> Option<i64> {
    let filled = event.original_quantity.as_ref().or(event.filled_quantity.as_ref());
    let found = orders.iter().find(|order| {
        let is_closing = order.is_algo && matches!(order.kind, OrderKind::StopMarket | OrderKind::ProfitMarket);
        let placed = order.quantity.as_ref().filter(|quantity| quantity.is_positive());
        is_closing && placed.is_none_or(|placed| Some(placed) == filled) && stood(order, event) && {
            order.status == OrderStatus::Triggering.as_str() || is_through_trigger(event, position, order)
        }
    });
    found.map(|order| order.id)
}

/// Whether the order had not been triggered or ended before the fill. What it became since does not matter: an event that comes
/// again finds what it found at first.
fn stood(order: &OrderRow, event: &Projection) -> bool {
    let stands = matches!(OrderStatus::of_column(&order.status), OrderStatus::New | OrderStatus::Triggering);
    let changed_at = order.last.as_ref().map(|mark| mark.transaction_time_ms);
    stands || event.transaction_time_ms.is_some_and(|filled_at| changed_at.is_some_and(|at| at >= filled_at))
}

fn is_through_trigger(event: &Projection, position: &PositionRow, order: &OrderRow) -> bool {
    let Some((trigger, price)) = order.price.as_ref().filter(|price| price.is_positive()).zip(paid(event)) else {
        return false;
    };
    match (order.kind, position.direction) {
        (OrderKind::StopMarket, Direction::Long) | (OrderKind::ProfitMarket, Direction::Short) => price <= trigger,
        _ => price >= trigger,
    }
}

/// The fill's price: the average, else the last.
fn paid(event: &Projection) -> Option<&Decimal> {
    [&event.average_price, &event.last_filled_price].into_iter().flatten().find(|price| price.is_positive())
}

/// The workflow for a locked position; `None` where it is not active any more.
pub(crate) fn replacement(event: &Projection, position: &PositionRow) -> Option<Draft> {
    if !ACTIVE_POSITIONS.contains(&&*position.status) {
        return None;
    }
    let price = paid(event).map(Decimal::as_str);
    let order = event.exchange_order_id.as_deref().or(event.client_order_id.as_deref()).unwrap_or("without an id");
    Some(Draft {
        kind: IntentKind::ExternalClose,
        position_id: position.id,
        order_id: None,
        arguments: json!({
            "positionId": position.id,
            "triggerStatus": "EXTERNAL_FILL",
            "message": format!("Order {order} of {}, which is none of ours, was filled and closes the position", position.symbol),
            "manualCloseDetected": true,
            "manualClosingPrice": price,
        }),
    })
}

#[cfg(test)]
mod tests;
