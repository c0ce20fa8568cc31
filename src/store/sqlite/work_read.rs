//! How rows of the worker's tables are asked for on SQLite, and read. Decimals and large numbers are text, digit for digit.

use rusqlite::Row;

use super::user_data::wall;
use crate::domain::order::{OrderKind, OrderStatus};
use crate::domain::{Decimal, Wall};
use crate::store::user_data_rows::identity;
use crate::store::work_rows::{
    AuditColumns, AuditRecord, DecisionRow, IntentRow, OrderRow, PositionRow, direction, mark,
};
use crate::store::{ErrorClass, Result, StoreError};

/// Texts as `json_each` takes them apart again.
pub(super) fn json_list<T: serde::Serialize>(texts: &[T]) -> Result<String> {
    serde_json::to_string(texts).map_err(|error| StoreError::new(ErrorClass::Other, error.to_string()))
}

/// Milliseconds since 1970 of a stamp column.
macro_rules! millis {
    ($column:literal) => {
        concat!("CAST(round(unixepoch(", $column, ", 'subsec') * 1000) AS INTEGER)")
    };
}

/// Microseconds since 1970 of a stamp column with six digits of a second: SQLite itself counts in milliseconds.
macro_rules! micros {
    ($column:literal) => {
        concat!("unixepoch(substr(", $column, ", 1, 19)) * 1000000 + CAST(substr(", $column, ", 21, 6) AS INTEGER)")
    };
}

/// Of `orders o LEFT JOIN order_progress m`.
macro_rules! order_columns {
    () => {
        "o.id, o.position_id, o.type, o.status, o.reference_status, o.client_order_id, o.exchange_order_id, \
         coalesce(o.is_algo, 0) <> 0, CAST(o.quantity AS TEXT), CAST(o.price AS TEXT), \
         CAST(o.reference_quantity AS TEXT), CAST(o.reference_price AS TEXT), o.filled_at IS NOT NULL, \
         m.transaction_time_ms, m.filled_quantity, m.child_ended"
    };
}

/// Of `positions p`.
macro_rules! position_columns {
    () => {
        concat!(
            "p.id, p.account_id, p.parsed_trading_pair, p.exchange_symbol_id, p.status, p.direction, ",
            millis!("p.created_at")
        )
    };
}

/// Of `api_data_stream d`.
macro_rules! audit_columns {
    () => {
        concat!(
            "d.id, d.account_id, d.api_system_id, d.raw_event_type, d.event_type, d.exchange_order_id, \
             d.client_order_id, d.symbol, d.status, d.normalized_status, d.price, d.average_price, \
             d.original_quantity, d.filled_quantity, d.last_filled_price, d.last_filled_quantity, ",
            millis!("d.event_time"),
            ", ",
            millis!("d.received_at"),
            ", CASE WHEN length(d.created_at) >= 23 THEN ",
            millis!("d.created_at"),
            " END, d.raw_payload, d.idempotency_key"
        )
    };
}

/// Of `workflow_intents i`.
macro_rules! intent_columns {
    () => {
        concat!(
            "i.id, i.name, i.position_id, i.account_id, i.order_id, i.arguments, i.queue, i.dedupe, ",
            millis!("i.created_at"),
            ", ",
            millis!("i.pushed_at"),
            ", ",
            millis!("i.finished_at")
        )
    };
}

pub(super) use {audit_columns, intent_columns, micros, millis, order_columns, position_columns};

pub(super) fn order_row(row: &Row<'_>, from: usize) -> rusqlite::Result<OrderRow> {
    Ok(OrderRow {
        id: row.get(from)?,
        position_id: row.get(from + 1)?,
        kind: OrderKind::of_column(&text(row, from + 2)?),
        status: text(row, from + 3)?,
        reference_status: row.get(from + 4)?,
        client_order_id: row.get(from + 5)?,
        exchange_order_id: row.get(from + 6)?,
        is_algo: row.get(from + 7)?,
        quantity: decimal(row, from + 8)?,
        price: decimal(row, from + 9)?,
        reference_quantity: decimal(row, from + 10)?,
        reference_price: decimal(row, from + 11)?,
        is_filled_at_set: row.get(from + 12)?,
        last: mark(row.get(from + 13)?, row.get::<_, Option<String>>(from + 14)?.as_deref()),
        child_ended: row.get::<_, Option<String>>(from + 15)?.as_deref().map(OrderStatus::of_column),
    })
}

/// `None` where the position has no direction yet.
pub(super) fn position_row(row: &Row<'_>) -> rusqlite::Result<Option<PositionRow>> {
    let Some(direction) = direction(row.get::<_, Option<String>>(5)?.as_deref()) else { return Ok(None) };
    Ok(Some(PositionRow {
        id: row.get(0)?,
        account_id: row.get(1)?,
        symbol: text(row, 2)?,
        exchange_symbol_id: row.get(3)?,
        status: text(row, 4)?,
        direction,
        created_at: wall(row, 6)?,
    }))
}

pub(super) fn audit_record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    Ok(AuditRecord {
        id: row.get(0)?,
        account_id: row.get(1)?,
        api_system_id: row.get(2)?,
        columns: AuditColumns {
            raw_event_type: text(row, 3)?,
            event_type: text(row, 4)?,
            exchange_order_id: row.get(5)?,
            client_order_id: row.get(6)?,
            symbol: row.get(7)?,
            status: row.get(8)?,
            normalized_status: row.get(9)?,
            price: decimal(row, 10)?,
            average_price: decimal(row, 11)?,
            original_quantity: decimal(row, 12)?,
            filled_quantity: decimal(row, 13)?,
            last_filled_price: decimal(row, 14)?,
            last_filled_quantity: decimal(row, 15)?,
            event_time: wall(row, 16)?,
        },
        received_at: wall(row, 17)?.unwrap_or_default(),
        created_at: wall(row, 18)?,
        raw_payload: text(row, 19)?,
        idempotency_key: text(row, 20)?,
    })
}

pub(super) fn intent_row(row: &Row<'_>) -> rusqlite::Result<IntentRow> {
    Ok(IntentRow {
        id: row.get(0)?,
        name: row.get(1)?,
        position_id: row.get(2)?,
        account_id: row.get(3)?,
        order_id: row.get(4)?,
        arguments: row.get(5)?,
        queue: row.get(6)?,
        dedupe: row.get(7)?,
        created_at: wall(row, 8)?,
        pushed_at: wall(row, 9)?,
        finished_at: wall(row, 10)?,
    })
}

pub(super) fn decision_row(row: &Row<'_>) -> rusqlite::Result<DecisionRow> {
    let (epoch, _) = identity(row.get::<_, Option<String>>(3)?.as_deref(), Some(0)).unwrap_or_default();
    Ok(DecisionRow {
        idempotency_key: row.get(0)?,
        account_id: row.get(1)?,
        order_id: row.get(2)?,
        identity: (epoch, text(row, 4)?.parse().unwrap_or_default()),
        job_uuid: row.get(5)?,
        rule: row.get(6)?,
        note: row.get(7)?,
        reserved_at: Wall::from_micros(row.get::<_, Option<i64>>(8)?.unwrap_or_default()),
        decided_at: Wall::from_micros(row.get::<_, Option<i64>>(9)?.unwrap_or_default()),
    })
}

fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(row.get::<_, Option<String>>(at)?.unwrap_or_default())
}

fn decimal(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Decimal>> {
    Ok(row.get::<_, Option<String>>(at)?.as_deref().and_then(Decimal::parse))
}
