//! Algo orders (facts/binance.md §4.4): NEW → TRIGGERING → TRIGGERED → FINISHED, where triggering makes a real order with an
//! id of its own (`ai`), whose events come as a regular order's.
//!
//! The algo order's row follows the algo order's events only; the real order's end is noted beside it. It decides where
//! FINISHED leaves a question: a part was executed, so the row is PARTIALLY_FILLED until the real order's end is known, which
//! may have come before. And a real order that was filled makes any end of the algo order a fill. So it does not matter which
//! of the two ends comes first.

use super::{OrderDecision, Rule, Step, chosen_price, local_status, weight};
use crate::domain::order::OrderStatus;
use crate::domain::{Decimal, Wall};
use crate::exchange::projection::Projection;
use crate::store::work_rows::{OrderChange, OrderMark, OrderRow};
use crate::user_data::rules::decision::Decision;

/// The stage of an end: behind TRIGGERED, which nothing else may leave.
const ENDED: u8 = 3;

/// An event of the algo order itself.
pub(super) fn decide(order: &OrderRow, event: &Projection, status: OrderStatus, now: Wall) -> OrderDecision {
    let stage = stage(status);
    let is_finished = event.native_status.as_deref() == Some("FINISHED")
        || matches!(status, OrderStatus::Filled | OrderStatus::PartiallyFilled);
    let executed = || event.executed_quantity.clone().unwrap_or_else(Decimal::zero);
    let step = Step {
        status: if stage == ENDED { resolved(status, order.child_ended) } else { status },
        rank: stage,
        local_rank: self::stage(local_status(order)),
        mark: OrderMark {
            transaction_time_ms: event.transaction_time_ms.unwrap_or(0),
            // At one instant a FINISHED, which says how much, outweighs another end.
            filled_quantity: is_finished.then(executed),
        },
        price: chosen_price(event, status),
    };
    step.decide(order, event, now)
}

/// An event of the real order that an algo order has become.
pub(super) fn decide_real_order(order: &OrderRow, event: &Projection, status: OrderStatus, now: Wall) -> OrderDecision {
    if stage(status) != ENDED || status == OrderStatus::PartiallyFilled {
        let note = format!("the algo order's real order is {status}; the algo order stays {}", order.status);
        return OrderDecision::nothing(Rule::RealOrder, note);
    }
    let ended = order.child_ended.filter(|known| weight(*known) > weight(status)).unwrap_or(status);
    let child_ended = (order.child_ended != Some(ended)).then_some(ended);
    let local = local_status(order);
    let end = if is_partly_finished(order, local) { OrderStatus::PartiallyFilled } else { local };
    let becomes = if stage(local) == ENDED { resolved(end, Some(ended)) } else { local };
    if becomes == local {
        let rule = if child_ended.is_some() { Rule::RealOrder } else { Rule::Unchanged };
        let note = format!("the algo order's real order ended {ended}; the algo order stays {}", order.status);
        return OrderDecision { decision: Decision::new(rule, note), change: None, child_ended };
    }
    let filled_at = (becomes == OrderStatus::Filled && !order.is_filled_at_set)
        .then(|| event.transaction_time_ms.map_or(now, Wall::from_millis));
    let mark = order.last.clone().unwrap_or(OrderMark { transaction_time_ms: 0, filled_quantity: None });
    let note = format!("applied: the algo order's real order ended, {} to {becomes}", order.status);
    OrderDecision {
        decision: Decision::new(Rule::Applied, note),
        change: Some(OrderChange { status: becomes, price: None, filled_at, mark }),
        child_ended,
    }
}

fn stage(status: OrderStatus) -> u8 {
    match status {
        OrderStatus::New => 0,
        OrderStatus::Triggering => 1,
        OrderStatus::Triggered => 2,
        _ => ENDED,
    }
}

/// What the algo order's own end and the real order's come to.
fn resolved(end: OrderStatus, child_ended: Option<OrderStatus>) -> OrderStatus {
    match child_ended {
        Some(OrderStatus::Filled) => OrderStatus::Filled,
        Some(ended) if end == OrderStatus::PartiallyFilled => ended,
        _ => end,
    }
}

/// Whether the row stands where a FINISHED with a part executed put it, so that the real order's end decides.
fn is_partly_finished(order: &OrderRow, local: OrderStatus) -> bool {
    let executed = order.last.as_ref().and_then(|mark| mark.filled_quantity.as_ref());
    local != OrderStatus::Filled && stage(local) == ENDED && executed.is_some_and(Decimal::is_positive)
}
