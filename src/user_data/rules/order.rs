//! How an event changes an order: a fold whose end does not depend on the order in which events come, nor on how often.
//!
//! An order is where its furthest event put it. Further means: a higher rank (NEW 0, PARTIALLY_FILLED 1, all ends 2), then
//! the matching engine's time `T`, then the cumulative filled quantity, then a fixed order of the statuses, then the price.
//! What the newest applied event said is kept in [`OrderMark`]; the application writes statuses too (its polling does), so
//! the rank is always taken from the row.
//!
//! The price is the stated one while an order works and the average once it has ended; one that is not positive is no
//! information and never written. So the fold holds for orders as venues send them: a stated price is positive in all
//! events of an order or in none (a market order's), and an average appears with the first fill and stays.
//!
//! Algo orders are in `algo`'s hands: NEW 0, TRIGGERING 1, TRIGGERED 2, their own ends 3.

mod algo;

use std::cmp::Ordering;

use super::decision::{Decision, Rule};
use crate::domain::order::OrderStatus;
use crate::domain::{Decimal, Wall};
use crate::exchange::projection::Projection;
use crate::store::work_rows::{OrderChange, OrderMark, OrderRow};

/// What to write to an order, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderDecision {
    /// Word and sentence.
    pub decision: Decision,
    /// What is written to the order; `None`: nothing.
    pub change: Option<OrderChange>,
    /// The status to be noted as the end of an algo order's real order; `None`: nothing to note.
    pub child_ended: Option<OrderStatus>,
}

impl OrderDecision {
    fn nothing(rule: Rule, note: String) -> OrderDecision {
        OrderDecision { decision: Decision::new(rule, note), change: None, child_ended: None }
    }
}

/// What `event` does to `order`, as its row is under its lock. `now` stands for the fill's time where the event has none.
#[must_use]
pub fn decide(order: &OrderRow, event: &Projection, now: Wall) -> OrderDecision {
    let Some(status) = event.status.filter(|status| *status != OrderStatus::Unknown) else {
        let word = event.native_status.as_deref().unwrap_or("none");
        return OrderDecision::nothing(Rule::UnknownStatus, format!("status {word} is unknown and not written"));
    };
    if event.is_algo {
        return algo::decide(order, event, status, now);
    }
    if order.is_algo {
        return algo::decide_real_order(order, event, status, now);
    }
    let step = Step {
        status,
        rank: rank(status),
        local_rank: rank(local_status(order)),
        mark: OrderMark {
            transaction_time_ms: event.transaction_time_ms.unwrap_or(0),
            filled_quantity: event.filled_quantity.clone(),
        },
        price: chosen_price(event, status),
    };
    step.decide(order, event, now)
}

/// The rank of a regular order's status; every word but three is an end (facts/incumbent.md §4.4).
fn rank(status: OrderStatus) -> u8 {
    match status {
        OrderStatus::New => 0,
        OrderStatus::PartiallyFilled | OrderStatus::Triggering => 1,
        _ => 2,
    }
}

/// The status in the row; a word of somebody else is [`OrderStatus::Unknown`], an end.
fn local_status(order: &OrderRow) -> OrderStatus {
    OrderStatus::of_column(&order.status)
}

/// Stated while it works, average once it has ended, if that is positive; `None`: no information.
fn chosen_price<'e>(event: &'e Projection, status: OrderStatus) -> Option<&'e Decimal> {
    let positive = |price: &'e Option<Decimal>| price.as_ref().filter(|price| price.is_positive());
    match status.is_working() {
        true => positive(&event.price),
        false => positive(&event.average_price).or_else(|| positive(&event.price)),
    }
}

/// The fixed order of statuses at one instant: a fill outweighs the other ends.
fn weight(status: OrderStatus) -> u8 {
    match status {
        OrderStatus::Unknown => 0,
        OrderStatus::New => 1,
        OrderStatus::Triggering => 2,
        OrderStatus::PartiallyFilled => 3,
        OrderStatus::Triggered => 4,
        OrderStatus::Rejected => 5,
        OrderStatus::Expired => 6,
        OrderStatus::Cancelled => 7,
        OrderStatus::Filled => 8,
    }
}

/// An event, ready to be held against an order.
struct Step<'e> {
    status: OrderStatus,
    rank: u8,
    local_rank: u8,
    mark: OrderMark,
    price: Option<&'e Decimal>,
}

impl Step<'_> {
    fn decide(self, order: &OrderRow, event: &Projection, now: Wall) -> OrderDecision {
        let local = local_status(order);
        if self.rank < self.local_rank {
            let note = format!("rank guard: {} > {}", order.status, self.status);
            return OrderDecision::nothing(Rule::RankGuard, note);
        }
        let further = match (&order.last, self.rank == self.local_rank) {
            (Some(mark), true) => self.against(mark, local, order.price.as_ref()),
            _ => Ordering::Greater,
        };
        match further {
            Ordering::Greater => self.apply(order, local, event, now),
            Ordering::Equal => {
                let note = format!("nothing new: the order is {} already", order.status);
                OrderDecision::nothing(Rule::Unchanged, note)
            }
            Ordering::Less => self.fill_price_in(order, local),
        }
    }

    /// Whether the event is further than what was applied, both of one rank.
    fn against(&self, mark: &OrderMark, local: OrderStatus, local_price: Option<&Decimal>) -> Ordering {
        let told = (self.mark.transaction_time_ms, &self.mark.filled_quantity, weight(self.status));
        let known = (mark.transaction_time_ms, &mark.filled_quantity, weight(local));
        told.cmp(&known).then_with(|| match self.price {
            Some(_) => self.price.cmp(&local_price),
            None => Ordering::Equal,
        })
    }

    fn apply(self, order: &OrderRow, local: OrderStatus, event: &Projection, now: Wall) -> OrderDecision {
        let price = self.price.filter(|price| order.price.as_ref() != Some(price)).cloned();
        let filled_at = (self.status == OrderStatus::Filled && !order.is_filled_at_set)
            .then(|| event.transaction_time_ms.map_or(now, Wall::from_millis));
        let mut note = match local == self.status {
            true => format!("applied: {} again", self.status),
            false => format!("applied: {} to {}", order.status, self.status),
        };
        if let Some(price) = &price {
            note.push_str(&format!(" at {price}"));
        }
        let change = OrderChange { status: self.status, price, filled_at, mark: self.mark };
        OrderDecision { decision: Decision::new(Rule::Applied, note), change: Some(change), child_ended: None }
    }

    /// An older event of an end changes nothing, but the price of an order that has none: no information gives way to some.
    fn fill_price_in(self, order: &OrderRow, local: OrderStatus) -> OrderDecision {
        let is_missing = order.price.as_ref().is_none_or(|price| !price.is_positive());
        if let (Some(price), Some(mark)) = (self.price, &order.last)
            && is_missing
            && self.rank == rank(OrderStatus::Filled)
            && local != OrderStatus::Unknown
        {
            let change = OrderChange { status: local, price: Some(price.clone()), filled_at: None, mark: mark.clone() };
            let note = format!("older than what is applied, but the order had no price: {price}");
            return OrderDecision {
                decision: Decision::new(Rule::PriceFilledIn, note),
                change: Some(change),
                child_ended: None,
            };
        }
        let known = order.last.as_ref().map_or(0, |mark| mark.transaction_time_ms);
        let note = format!("older than what is applied: T {} against {known}", self.mark.transaction_time_ms);
        OrderDecision::nothing(Rule::Older, note)
    }
}

#[cfg(test)]
mod tests;
