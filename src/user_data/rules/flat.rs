//! The venue says that a position is flat: its opening orders must not be filled any more (facts/incumbent.md §4.5). Take
//! profit and stop are left to the workflows that see them expire.

use serde_json::json;

use super::intent::{Draft, IntentKind};
use crate::domain::order::{Direction, OPENED_POSITIONS, OrderKind, OrderStatus, PositionSide};
use crate::exchange::projection::PositionEntry;
use crate::store::work_rows::{OrderRow, PositionRow};

/// The one position that the entry is about, by its id, among those of its symbol that are open; the sentence says why none.
pub(crate) fn the_position(entry: &PositionEntry, candidates: &[PositionRow]) -> Result<i64, String> {
    let mut matching = candidates.iter().filter(|position| is_meant(position, Some(entry.side)));
    match (matching.next(), matching.next()) {
        (Some(position), None) => Ok(position.id),
        (None, _) => Err(format!("{} is flat, and no position of it is open here", entry.symbol)),
        (Some(_), Some(_)) => Err(format!("{} is flat, but several positions of it are open here", entry.symbol)),
    }
}

/// Whether the position was there at `at_ms`, ms since 1970 UTC. Its stamp has whole seconds, perhaps rounded up.
pub(crate) fn is_as_old(position: &PositionRow, at_ms: i64) -> bool {
    position.created_at.is_none_or(|at| at.as_millis() <= at_ms.saturating_add(1_000))
}

/// Whether a side of the venue means this position: LONG and SHORT their direction, BOTH or none any.
pub(crate) fn is_meant(position: &PositionRow, side: Option<PositionSide>) -> bool {
    match side {
        Some(PositionSide::Long) => position.direction == Direction::Long,
        Some(PositionSide::Short) => position.direction == Direction::Short,
        Some(PositionSide::Both) | None => true,
    }
}

/// The cancel of the opening orders of a locked position; `None` where it is not open any more or none of them works.
pub(crate) fn cancel(position: &PositionRow, orders: &[OrderRow]) -> Option<Draft> {
    if !OPENED_POSITIONS.contains(&&*position.status) || !orders.iter().any(is_live_opening) {
        return None;
    }
    Some(Draft {
        kind: IntentKind::OpenOrdersCancel,
        position_id: position.id,
        order_id: None,
        arguments: json!({ "positionId": position.id, "openingOrdersOnly": true }),
    })
}

fn is_live_opening(order: &OrderRow) -> bool {
    order.kind == OrderKind::Limit
        && !order.is_algo
        && OrderStatus::of_column(&order.status).is_working()
        && order.exchange_order_id.as_deref().is_some_and(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Decimal;
    use crate::user_data::rules::test_rows::{order, position};

    #[test]
    fn an_entry_means_one_position_or_none() {
        let long = position(1, "active", Direction::Long);
        let short = position(2, "closing", Direction::Short);
        for (side, candidates, meant) in [
            (PositionSide::Both, vec![&long], Some(1)),
            (PositionSide::Both, vec![&short], Some(2)),
            (PositionSide::Both, vec![&long, &short], None),
            (PositionSide::Long, vec![&long, &short], Some(1)),
            (PositionSide::Short, vec![&long, &short], Some(2)),
            (PositionSide::Short, vec![&long], None),
            (PositionSide::Long, vec![&long, &long], None),
            (PositionSide::Both, vec![], None),
        ] {
            let entry = PositionEntry { symbol: "SOLUSDT".to_owned(), side, quantity: Decimal::zero() };
            let candidates: Vec<PositionRow> = candidates.into_iter().cloned().collect();
            assert_eq!(the_position(&entry, &candidates).ok(), meant, "{side:?} {candidates:?}");
        }
    }

    #[test]
    fn a_position_that_was_made_later_is_another_one() {
        let mut row = position(1, "opening", Direction::Long);
        assert!(is_as_old(&row, 0), "nobody knows when it was made");
        for (made_s, at_ms, expected) in [(100, 100_000, true), (101, 100_400, true), (102, 100_400, false)] {
            row.created_at = Some(crate::domain::Wall::from_millis(made_s * 1_000));
            assert_eq!(is_as_old(&row, at_ms), expected, "{made_s} {at_ms}");
        }
    }

    #[test]
    fn only_a_live_opening_order_is_worth_a_cancel() {
        for (status, kind, is_algo, id, wanted) in [
            ("NEW", OrderKind::Limit, false, Some("1"), true),
            ("PARTIALLY_FILLED", OrderKind::Limit, false, Some("1"), true),
            ("FILLED", OrderKind::Limit, false, Some("1"), false),
            ("CANCELLED", OrderKind::Limit, false, Some("1"), false),
            ("TRIGGERING", OrderKind::Limit, false, Some("1"), false),
            ("NEW", OrderKind::Limit, true, Some("1"), false),
            ("NEW", OrderKind::Limit, false, None, false),
            ("NEW", OrderKind::Limit, false, Some(""), false),
            ("NEW", OrderKind::ProfitLimit, false, Some("1"), false),
            ("NEW", OrderKind::StopMarket, false, Some("1"), false),
            ("NEW", OrderKind::Market, false, Some("1"), false),
        ] {
            let mut order = order(kind, status);
            order.is_algo = is_algo;
            order.exchange_order_id = id.map(str::to_owned);
            for (at, is_open) in [("active", true), ("closing", true), ("closed", false), ("failed", false)] {
                let draft = cancel(&position(1, at, Direction::Long), std::slice::from_ref(&order));
                assert_eq!(draft.is_some(), wanted && is_open, "{kind:?} {status} {is_algo} {id:?} {at}");
            }
        }
    }

    #[test]
    fn the_arguments_are_the_incumbents() {
        let draft = cancel(&position(41, "active", Direction::Long), &[order(OrderKind::Limit, "NEW")]).unwrap();
        assert_eq!(draft.arguments, json!({ "positionId": 41, "openingOrdersOnly": true }));
        assert_eq!((draft.kind.workflow(), draft.kind.queue()), ("CancelPositionOpenOrdersJob", "priority"));
    }
}
