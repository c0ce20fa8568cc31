//! How rows of the worker's tables are asked for on PostgreSQL, and read: every column is cast to one of four types, so
//! that a table of somebody else's (integer ids, booleans as small integers, stamps without a zone) reads alike.

use std::collections::HashMap;

use postgres::types::ToSql;
use postgres::{GenericClient, Row, Statement};

use crate::domain::order::{OrderKind, OrderStatus};
use crate::domain::{Decimal, Wall};
use crate::store::error::Result;
use crate::store::user_data_rows::identity;
use crate::store::work_rows::{
    AuditColumns, AuditRecord, DecisionRow, IntentRow, OrderRow, PositionRow, direction, mark,
};

/// Microseconds since 1970 of a stamp column; the session's zone is UTC.
macro_rules! micros {
    ($column:literal) => {
        concat!("(extract(epoch FROM ", $column, ") * 1000000)::bigint")
    };
}

/// Of `orders o LEFT JOIN order_progress m`.
macro_rules! order_columns {
    () => {
        "o.id::bigint, o.position_id::bigint, o.type::text, o.status::text, o.reference_status::text, \
         o.client_order_id::text, o.exchange_order_id::text, coalesce(o.is_algo::int, 0) <> 0, o.quantity::text, \
         o.price::text, o.reference_quantity::text, o.reference_price::text, o.filled_at IS NOT NULL, \
         m.transaction_time_ms::bigint, m.filled_quantity::text, m.child_ended::text"
    };
}

/// Of `positions p`.
macro_rules! position_columns {
    () => {
        concat!(
            "p.id::bigint, p.account_id::bigint, p.parsed_trading_pair::text, p.exchange_symbol_id::bigint, \
             p.status::text, p.direction::text, ",
            micros!("p.created_at")
        )
    };
}

/// Of `api_data_stream d`. `created_at` says nothing about milliseconds where the column keeps whole seconds.
macro_rules! audit_columns {
    () => {
        concat!(
            "d.id::bigint, d.account_id::bigint, d.api_system_id::bigint, d.raw_event_type::text, d.event_type::text, \
             d.exchange_order_id::text, d.client_order_id::text, d.symbol::text, d.status::text, \
             d.normalized_status::text, d.price::text, d.average_price::text, d.original_quantity::text, \
             d.filled_quantity::text, d.last_filled_price::text, d.last_filled_quantity::text, ",
            micros!("d.event_time"),
            ", ",
            micros!("d.received_at"),
            ", CASE WHEN (SELECT c.atttypmod < 0 OR c.atttypmod >= 3 FROM pg_attribute c \
             WHERE c.attrelid = to_regclass('api_data_stream') AND c.attname = 'created_at') THEN ",
            micros!("d.created_at"),
            " END, d.raw_payload::text, d.idempotency_key::text"
        )
    };
}

/// Of `workflow_intents i`.
macro_rules! intent_columns {
    () => {
        concat!(
            "i.id, i.name::text, i.position_id, i.account_id, i.order_id, i.arguments::text, i.queue::text, \
             i.dedupe::text, ",
            micros!("i.created_at"),
            ", ",
            micros!("i.pushed_at"),
            ", ",
            micros!("i.finished_at")
        )
    };
}

pub(super) use {audit_columns, intent_columns, micros, order_columns, position_columns};

/// Parameters of a statement, each with its type in the statement's text.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The session's prepared statements, by their text, and how many have been sent.
#[derive(Default)]
pub(super) struct Statements {
    prepared: HashMap<&'static str, Statement>,
    sent: u64,
}

impl Statements {
    fn prepared(&mut self, client: &mut impl GenericClient, text: &'static str) -> Result<Statement> {
        if let Some(statement) = self.prepared.get(text) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(text)?;
        self.prepared.insert(text, statement.clone());
        Ok(statement)
    }

    /// How many rows the statement touched.
    pub(super) fn execute(
        &mut self,
        client: &mut impl GenericClient,
        text: &'static str,
        params: Params<'_>,
    ) -> Result<u64> {
        let statement = self.prepared(client, text)?;
        self.count();
        Ok(client.execute(&statement, params)?)
    }

    /// The statement's rows.
    pub(super) fn rows(
        &mut self,
        client: &mut impl GenericClient,
        text: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let statement = self.prepared(client, text)?;
        self.count();
        Ok(client.query(&statement, params)?)
    }

    /// One more is sent: a round trip each.
    pub(super) fn count(&mut self) {
        self.sent += 1;
    }

    /// How many were sent; preparing one, which happens once a session, is left out.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }
}

pub(super) fn order_row(row: &Row, from: usize) -> Result<OrderRow> {
    Ok(OrderRow {
        id: row.try_get(from)?,
        position_id: row.try_get(from + 1)?,
        kind: OrderKind::of_column(&text(row, from + 2)?),
        status: text(row, from + 3)?,
        reference_status: row.try_get(from + 4)?,
        client_order_id: row.try_get(from + 5)?,
        exchange_order_id: row.try_get(from + 6)?,
        is_algo: row.try_get(from + 7)?,
        quantity: decimal(row, from + 8)?,
        price: decimal(row, from + 9)?,
        reference_quantity: decimal(row, from + 10)?,
        reference_price: decimal(row, from + 11)?,
        is_filled_at_set: row.try_get(from + 12)?,
        last: mark(row.try_get(from + 13)?, row.try_get(from + 14)?),
        child_ended: row.try_get::<_, Option<&str>>(from + 15)?.map(OrderStatus::of_column),
    })
}

/// `None` where the position has no direction yet.
pub(super) fn position_row(row: &Row) -> Result<Option<PositionRow>> {
    let Some(direction) = direction(row.try_get(5)?) else { return Ok(None) };
    Ok(Some(PositionRow {
        id: row.try_get(0)?,
        account_id: row.try_get(1)?,
        symbol: text(row, 2)?,
        exchange_symbol_id: row.try_get(3)?,
        status: text(row, 4)?,
        direction,
        created_at: wall(row, 6)?,
    }))
}

pub(super) fn audit_record(row: &Row) -> Result<AuditRecord> {
    Ok(AuditRecord {
        id: row.try_get(0)?,
        account_id: row.try_get(1)?,
        api_system_id: row.try_get(2)?,
        columns: AuditColumns {
            raw_event_type: text(row, 3)?,
            event_type: text(row, 4)?,
            exchange_order_id: row.try_get(5)?,
            client_order_id: row.try_get(6)?,
            symbol: row.try_get(7)?,
            status: row.try_get(8)?,
            normalized_status: row.try_get(9)?,
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

pub(super) fn intent_row(row: &Row) -> Result<IntentRow> {
    Ok(IntentRow {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        position_id: row.try_get(2)?,
        account_id: row.try_get(3)?,
        order_id: row.try_get(4)?,
        arguments: row.try_get(5)?,
        queue: row.try_get(6)?,
        dedupe: row.try_get(7)?,
        created_at: wall(row, 8)?,
        pushed_at: wall(row, 9)?,
        finished_at: wall(row, 10)?,
    })
}

pub(super) fn decision_row(row: &Row) -> Result<DecisionRow> {
    let (epoch, _) = identity(row.try_get(3)?, Some(0)).unwrap_or_default();
    Ok(DecisionRow {
        idempotency_key: row.try_get(0)?,
        account_id: row.try_get(1)?,
        order_id: row.try_get(2)?,
        identity: (epoch, text(row, 4)?.parse().unwrap_or_default()),
        job_uuid: row.try_get(5)?,
        rule: row.try_get(6)?,
        note: row.try_get(7)?,
        reserved_at: wall(row, 8)?.unwrap_or_default(),
        decided_at: wall(row, 9)?.unwrap_or_default(),
    })
}

fn text(row: &Row, at: usize) -> Result<String> {
    Ok(row.try_get::<_, Option<String>>(at)?.unwrap_or_default())
}

/// A decimal from its text, so digit for digit; NaN is none.
fn decimal(row: &Row, at: usize) -> Result<Option<Decimal>> {
    Ok(row.try_get::<_, Option<&str>>(at)?.and_then(Decimal::parse))
}

fn wall(row: &Row, at: usize) -> Result<Option<Wall>> {
    Ok(row.try_get::<_, Option<i64>>(at)?.map(Wall::from_micros))
}
