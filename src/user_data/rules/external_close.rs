//! A fill that is none of ours and closes a position: somebody closed it by hand (facts/incumbent.md §4.6). Attributed on
//! evidence only; the workflow that it starts asks the venue before it does anything.

use serde_json::json;

use super::flat::is_meant;
use super::intent::{Draft, IntentKind};
use crate::domain::order::{ACTIVE_POSITIONS, Direction, OrderStatus, PositionSide, Side};
use crate::exchange::projection::Projection;
use crate::store::work_rows::{AccountFacts, PositionRow};

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

/// The workflow for a locked position; `None` where it is not active any more.
pub(crate) fn replacement(event: &Projection, position: &PositionRow) -> Option<Draft> {
    if !ACTIVE_POSITIONS.contains(&&*position.status) {
        return None;
    }
    let price = [&event.average_price, &event.last_filled_price]
        .into_iter()
        .flatten()
        .find(|price| price.is_positive())
        .map(|price| price.as_str());
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
