//! One transaction of the worker on PostgreSQL: [`WorkTransaction`].
//!
//! READ COMMITTED whatever the database's default: a statement that waited for a row's lock then reads the row as the other
//! one left it. The account's row of `stream_progress` is locked first and serializes all workers, so what only they write
//! (`order_progress`, the links, the intents) is settled by then. Decimals, stamps and ids travel as text.

use std::collections::HashMap;
use std::time::Duration;

use postgres::{Row, Transaction};

use super::work_read::{Params, Statements, micros, order_columns, order_row, position_columns, position_row};
use crate::domain::order::OrderStatus;
use crate::domain::{Decimal, Wall};
use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::user_data_rows::{NewGap, epoch_text, position_column, rounded_up};
use crate::store::work::WorkTransaction;
use crate::store::work_rows::{
    AccountFacts, AuditRow, DecisionRow, NewIntent, OrderChange, OrderRow, PositionRow, Progress, column_stamp,
    earliest_receipt, fitted, progress,
};

/// An open transaction, and the first fault in it: after one the server answers COMMIT with a ROLLBACK and no error.
pub(super) struct PostgresTransaction<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) statements: &'a mut Statements,
    pub(super) failed: Option<StoreError>,
    /// As read together with its progress.
    account: Option<AccountFacts>,
    /// Keys of audit rows that are inserted ahead, and whether they were new; asked for once.
    pub(super) audited: HashMap<String, bool>,
    /// Written in one statement before the commit: nothing in a transaction reads them.
    decisions: Vec<DecisionRow>,
    /// Keys of those that may take the place of an earlier one, and the rules of such.
    pub(super) replacing: Vec<String>,
    pub(super) replaced: Vec<String>,
}

impl<'a> PostgresTransaction<'a> {
    pub(super) fn new(transaction: Transaction<'a>, statements: &'a mut Statements) -> Self {
        let (audited, decisions) = (HashMap::new(), Vec::new());
        let (replacing, replaced) = (Vec::new(), Vec::new());
        PostgresTransaction {
            transaction,
            statements,
            failed: None,
            account: None,
            audited,
            decisions,
            replacing,
            replaced,
        }
    }

    /// Writes what waits for the commit.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.decisions.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.decisions);
        self.insert_decisions(&rows)
    }

    pub(super) fn execute(&mut self, text: &'static str, params: Params<'_>) -> Result<u64> {
        let answer = self.statements.execute(&mut self.transaction, text, params);
        self.noted(answer)
    }

    pub(super) fn rows(&mut self, text: &'static str, params: Params<'_>) -> Result<Vec<Row>> {
        let answer = self.statements.rows(&mut self.transaction, text, params);
        self.noted(answer)
    }

    fn order(&mut self, text: &'static str, params: Params<'_>) -> Result<Option<OrderRow>> {
        self.rows(text, params)?.first().map(|row| order_row(row, 0)).transpose()
    }

    fn noted<T>(&mut self, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer
            && self.failed.is_none()
        {
            self.failed = Some(error.clone());
        }
        answer
    }

    fn progress_row(&mut self, account_id: i64) -> Result<Option<Option<Progress>>> {
        let rows = self.rows(
            "SELECT p.epoch::text, p.position::text, p.fence::text, a.id::bigint, a.api_system_id::bigint, \
             coalesce(a.on_hedge_mode::int, 0) <> 0 FROM stream_progress p LEFT JOIN accounts a ON a.id = p.account_id \
             WHERE p.account_id = $1::bigint FOR UPDATE OF p",
            &[&account_id],
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        if let Some(id) = row.try_get(3)? {
            self.account = Some(AccountFacts { id, api_system_id: row.try_get(4)?, on_hedge_mode: row.try_get(5)? });
        }
        let found = progress(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        found.map(Some).ok_or_else(|| unreadable_progress(account_id))
    }
}

impl WorkTransaction for PostgresTransaction<'_> {
    fn lock_progress(&mut self, account_id: i64) -> Result<Option<Progress>> {
        if let Some(found) = self.progress_row(account_id)? {
            return Ok(found);
        }
        self.execute(
            "INSERT INTO stream_progress (account_id) VALUES ($1::bigint) ON CONFLICT (account_id) DO NOTHING",
            &[&account_id],
        )?;
        Ok(self.progress_row(account_id)?.flatten())
    }

    fn set_progress(&mut self, account_id: i64, progress: &Progress) -> Result<()> {
        self.execute(
            "INSERT INTO stream_progress (account_id, epoch, position, fence, updated_at) \
             VALUES ($1::bigint, $2::text, $3::text::numeric, $4::text::numeric, CURRENT_TIMESTAMP) \
             ON CONFLICT (account_id) DO UPDATE SET epoch = excluded.epoch, position = excluded.position, \
             fence = excluded.fence, updated_at = excluded.updated_at",
            &[&account_id, &epoch_text(progress.epoch), &progress.position.to_string(), &progress.fence.to_string()],
        )?;
        Ok(())
    }

    fn insert_audit(&mut self, row: &AuditRow<'_>) -> Result<bool> {
        if let Some(is_new) = self.audited.get_mut(row.idempotency_key) {
            return Ok(std::mem::take(is_new));
        }
        let columns = row.columns;
        let inserted = self.execute(
            "INSERT INTO api_data_stream (account_id, api_system_id, raw_event_type, event_type, exchange_order_id, \
             client_order_id, symbol, status, normalized_status, price, average_price, original_quantity, \
             filled_quantity, last_filled_price, last_filled_quantity, event_time, received_at, raw_payload, \
             idempotency_key, created_at, updated_at) \
             VALUES ($1::bigint, $2::bigint, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text, $9::text, \
             $10::text::numeric, $11::text::numeric, $12::text::numeric, $13::text::numeric, $14::text::numeric, \
             $15::text::numeric, $16::text::timestamptz, $17::text::timestamptz, $18::text::json, $19::text, \
             clock_timestamp(), clock_timestamp()) \
             ON CONFLICT (idempotency_key) DO NOTHING",
            &[
                &row.account_id,
                &row.api_system_id,
                &columns.raw_event_type,
                &columns.event_type,
                &columns.exchange_order_id,
                &columns.client_order_id,
                &columns.symbol,
                &columns.status,
                &columns.normalized_status,
                &digits(columns.price.as_ref()),
                &digits(columns.average_price.as_ref()),
                &digits(columns.original_quantity.as_ref()),
                &digits(columns.filled_quantity.as_ref()),
                &digits(columns.last_filled_price.as_ref()),
                &digits(columns.last_filled_quantity.as_ref()),
                &columns.event_time.and_then(column_stamp).map(zoned),
                &stamp(row.received_at),
                &row.raw_payload,
                &row.idempotency_key,
            ],
        )?;
        Ok(inserted > 0)
    }

    fn recorded_of_order(&mut self, account_id: i64, exchange_order_id: &str) -> Result<Vec<String>> {
        let rows = self.rows(
            "SELECT raw_payload::text FROM api_data_stream WHERE exchange_order_id = $1::text \
             AND account_id = $2::bigint ORDER BY id",
            &[&exchange_order_id, &account_id],
        )?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    fn recorded_account_updates(&mut self, account_id: i64, since: Wall) -> Result<Vec<String>> {
        let rows = self.rows(
            "SELECT raw_payload::text FROM api_data_stream WHERE account_id = $1::bigint \
             AND received_at >= $2::text::timestamptz AND event_type = 'account_update' \
             AND event_time >= $3::text::timestamptz ORDER BY id",
            &[&account_id, &stamp(earliest_receipt(since)), &stamp(since)],
        )?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    fn insert_audit_ahead(&mut self, rows: &[AuditRow<'_>]) -> Result<()> {
        self.insert_audits(rows)
    }

    fn account(&mut self, account_id: i64) -> Result<Option<AccountFacts>> {
        if let Some(account) = self.account.filter(|account| account.id == account_id) {
            return Ok(Some(account));
        }
        let rows = self.rows(
            "SELECT id::bigint, api_system_id::bigint, coalesce(on_hedge_mode::int, 0) <> 0 FROM accounts \
             WHERE id = $1::bigint",
            &[&account_id],
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(AccountFacts { id: row.try_get(0)?, api_system_id: row.try_get(1)?, on_hedge_mode: row.try_get(2)? }))
    }

    fn find_order(
        &mut self,
        account_id: i64,
        api_system_id: i64,
        symbol: Option<&str>,
        exchange_order_id: Option<&str>,
        client_order_id: Option<&str>,
    ) -> Result<Option<OrderRow>> {
        self.order(
            concat!(
                "SELECT ",
                order_columns!(),
                " FROM (SELECT id AS order_id, 1 AS way FROM orders WHERE exchange_order_id = $4::text \
                 UNION ALL SELECT id, 2 FROM orders WHERE client_order_id = $5::text \
                 UNION ALL SELECT order_id, 3 FROM algo_order_links WHERE account_id = $1::bigint \
                 AND exchange_order_id = $4::text AND ($3::text IS NULL OR symbol = $3::text)) found \
                 JOIN orders o ON o.id = found.order_id JOIN positions p ON p.id = o.position_id \
                 JOIN accounts a ON a.id = p.account_id LEFT JOIN order_progress m ON m.order_id = o.id \
                 WHERE p.account_id = $1::bigint AND a.api_system_id = $2::bigint \
                 ORDER BY found.way, CASE WHEN p.parsed_trading_pair = $3::text THEN 0 \
                 WHEN p.parsed_trading_pair IS NULL THEN 1 ELSE 2 END, o.id DESC LIMIT 1"
            ),
            &[&account_id, &api_system_id, &symbol, &exchange_order_id, &client_order_id],
        )
    }

    fn lock_position(&mut self, position_id: i64) -> Result<Option<PositionRow>> {
        let rows = self.rows(
            concat!("SELECT ", position_columns!(), " FROM positions p WHERE p.id = $1::bigint FOR UPDATE"),
            &[&position_id],
        )?;
        rows.first().map_or(Ok(None), position_row)
    }

    fn positions(&mut self, account_id: i64, symbol: &str, statuses: &[&str]) -> Result<Vec<PositionRow>> {
        let rows = self.rows(
            concat!(
                "SELECT ",
                position_columns!(),
                " FROM positions p WHERE p.account_id = $1::bigint AND p.parsed_trading_pair = $2::text \
                 AND p.status = ANY ($3::text[]) ORDER BY p.id"
            ),
            &[&account_id, &symbol, &statuses],
        )?;
        rows.iter().filter_map(|row| position_row(row).transpose()).collect()
    }

    fn lock_order(&mut self, order_id: i64) -> Result<Option<OrderRow>> {
        self.order(
            concat!(
                "SELECT ",
                order_columns!(),
                " FROM orders o LEFT JOIN order_progress m ON m.order_id = o.id WHERE o.id = $1::bigint FOR UPDATE OF o"
            ),
            &[&order_id],
        )
    }

    fn orders_of_position(&mut self, position_id: i64) -> Result<Vec<OrderRow>> {
        let rows = self.rows(
            concat!(
                "SELECT ",
                order_columns!(),
                " FROM orders o LEFT JOIN order_progress m ON m.order_id = o.id WHERE o.position_id = $1::bigint \
                 ORDER BY o.id"
            ),
            &[&position_id],
        )?;
        rows.iter().map(|row| order_row(row, 0)).collect()
    }

    fn update_order(&mut self, order_id: i64, change: &OrderChange) -> Result<()> {
        self.execute(
            "WITH changed AS (UPDATE orders SET status = $2::text, price = coalesce($3::text::numeric, price), \
             filled_at = coalesce(filled_at, $4::text::timestamptz), updated_at = CURRENT_TIMESTAMP \
             WHERE id = $1::bigint RETURNING id) \
             INSERT INTO order_progress (order_id, transaction_time_ms, filled_quantity, updated_at) \
             SELECT id, $5::bigint, $6::text, CURRENT_TIMESTAMP FROM changed \
             ON CONFLICT (order_id) DO UPDATE SET transaction_time_ms = excluded.transaction_time_ms, \
             filled_quantity = excluded.filled_quantity, updated_at = excluded.updated_at",
            &[
                &order_id,
                &change.status.as_str(),
                &digits(change.price.as_ref()),
                &change.filled_at.map(stamp),
                &change.mark.transaction_time_ms,
                &digits(change.mark.filled_quantity.as_ref()),
            ],
        )?;
        Ok(())
    }

    fn set_reference_status(&mut self, order_id: i64, status: &str) -> Result<()> {
        self.execute(
            "UPDATE orders SET reference_status = $2::text, updated_at = CURRENT_TIMESTAMP WHERE id = $1::bigint",
            &[&order_id, &status],
        )?;
        Ok(())
    }

    fn set_position_status(&mut self, position_id: i64, status: &str) -> Result<()> {
        self.execute(
            "UPDATE positions SET status = $2::text, updated_at = CURRENT_TIMESTAMP WHERE id = $1::bigint",
            &[&position_id, &status],
        )?;
        Ok(())
    }

    fn link_triggered(&mut self, account_id: i64, symbol: &str, exchange_order_id: &str, order_id: i64) -> Result<()> {
        self.execute(
            "INSERT INTO algo_order_links (account_id, symbol, exchange_order_id, order_id) \
             VALUES ($1::bigint, $2::text, $3::text, $4::bigint) \
             ON CONFLICT (account_id, exchange_order_id, symbol) DO NOTHING",
            &[&account_id, &symbol, &exchange_order_id, &order_id],
        )?;
        Ok(())
    }

    fn set_child_ended(&mut self, order_id: i64, status: OrderStatus) -> Result<()> {
        self.execute(
            "INSERT INTO order_progress (order_id, child_ended, updated_at) VALUES ($1::bigint, $2::text, CURRENT_TIMESTAMP) \
             ON CONFLICT (order_id) DO UPDATE SET child_ended = excluded.child_ended, updated_at = excluded.updated_at",
            &[&order_id, &status.as_str()],
        )?;
        Ok(())
    }

    fn has_live_intent(&mut self, live_key: &str, now: Wall, live_for: Duration) -> Result<bool> {
        let since = Wall::from_micros(now.as_micros().saturating_sub_unsigned(live_for.as_micros() as u64));
        let rows = self.rows(
            "SELECT EXISTS (SELECT 1 FROM workflow_intents WHERE live_key = $1::text AND finished_at IS NULL \
             AND created_at >= $2::text::timestamptz)",
            &[&live_key, &stamp(since)],
        )?;
        rows.first().map_or(Ok(false), |row| Ok(row.try_get(0)?))
    }

    fn insert_intent(&mut self, intent: &NewIntent) -> Result<bool> {
        let inserted = self.execute(
            "INSERT INTO workflow_intents (name, position_id, account_id, order_id, arguments, queue, live_key, dedupe, \
             created_at, updated_at) \
             VALUES ($1::text, $2::bigint, $3::bigint, $4::bigint, $5::text::json, $6::text, $7::text, $8::text, \
             $9::text::timestamptz, CURRENT_TIMESTAMP) ON CONFLICT (dedupe) DO NOTHING",
            &[
                &intent.name,
                &intent.position_id,
                &intent.account_id,
                &intent.order_id,
                &intent.arguments,
                &intent.queue,
                &intent.live_key,
                &intent.dedupe,
                &stamp(intent.at),
            ],
        )?;
        Ok(inserted > 0)
    }

    fn insert_decision(&mut self, decision: &DecisionRow, replaced: &[&str]) -> Result<()> {
        if !replaced.is_empty() {
            self.replacing.push(decision.idempotency_key.clone());
            self.replaced = replaced.iter().map(|&rule| rule.to_owned()).collect();
        }
        // One statement may touch a row once.
        let key = &decision.idempotency_key;
        match self.decisions.iter_mut().find(|waiting| waiting.idempotency_key == *key) {
            Some(waiting) if replaced.contains(&waiting.rule.as_str()) => waiting.clone_from(decision),
            Some(_) => {}
            None => self.decisions.push(decision.clone()),
        }
        Ok(())
    }

    fn insert_gap(&mut self, gap: &NewGap<'_>) -> Result<()> {
        self.execute(
            "INSERT INTO stream_gaps (account_id, api_system_id, started_at, ended_at, reason, epoch, position, \
             created_at, updated_at) \
             SELECT $1::bigint, $2::bigint, $3::text::timestamptz, $4::text::timestamptz, $5::text, $6::text, \
             $7::bigint, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP \
             WHERE NOT EXISTS (SELECT 1 FROM stream_gaps WHERE epoch = $6::text AND position = $7::bigint) \
             ON CONFLICT DO NOTHING",
            &[
                &gap.account_id,
                &gap.api_system_id,
                &gap.started_at.map(stamp),
                &stamp(rounded_up(gap.ended_at)),
                &fitted(gap.reason, 64),
                &gap.identity.map(|(epoch, _)| epoch_text(epoch)),
                &gap.identity.map(|(_, position)| position_column(position)),
            ],
        )?;
        Ok(())
    }
}

/// A stamp of our own clocks as text that both kinds of timestamp read alike, the session's zone being UTC.
pub(super) fn stamp(at: Wall) -> String {
    zoned(at.to_string())
}

pub(super) fn zoned(stamp: String) -> String {
    stamp + "+00"
}

pub(super) fn digits(decimal: Option<&Decimal>) -> Option<&str> {
    decimal.map(Decimal::as_str)
}

fn unreadable_progress(account_id: i64) -> StoreError {
    let sentence = format!(
        "the row of stream_progress of account {account_id} cannot be read: epoch is 32 hex digits, position and fence \
         are numbers; delete the row, and its jobs are applied from the next one on"
    );
    StoreError::new(ErrorClass::Data, sentence)
}
