//! One transaction of the worker on SQLite: [`WorkTransaction`]. `BEGIN IMMEDIATE` makes it the file's only writer, so a
//! lock of a row is nothing but its reading.

use std::cell::Cell;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::work_read::json_list;
use super::work_read::{millis, order_columns, order_row, position_columns, position_row};
use crate::domain::order::OrderStatus;
use crate::domain::{Decimal, Wall};
use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::user_data_rows::{NewGap, epoch_text, position_column, rounded_up};
use crate::store::work::WorkTransaction;
use crate::store::work_rows::{
    AccountFacts, AuditRow, DecisionRow, NewIntent, OrderChange, OrderRow, PositionRow, Progress, column_stamp,
    earliest_receipt, fitted, micros_stamp, progress,
};

/// An open transaction, and the first fault in it: as on PostgreSQL, nothing is kept after one.
pub(super) struct SqliteTransaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) statements: &'a Cell<u64>,
    pub(super) failed: Option<StoreError>,
    /// As it was read in this transaction: nobody else writes meanwhile.
    pub(super) account: Option<AccountFacts>,
}

impl SqliteTransaction<'_> {
    fn execute(&mut self, text: &str, params: impl Params) -> Result<u64> {
        self.count();
        let answer = self.connection.prepare_cached(text).and_then(|mut statement| statement.execute(params));
        self.noted(answer.map(|rows| rows as u64))
    }

    fn row<T>(
        &mut self,
        text: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.count();
        let answer =
            self.connection.prepare_cached(text).and_then(|mut statement| statement.query_row(params, read).optional());
        self.noted(answer)
    }

    fn rows<T>(
        &mut self,
        text: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.count();
        let answer =
            self.connection.prepare_cached(text).and_then(|mut statement| statement.query_map(params, read)?.collect());
        self.noted(answer)
    }

    fn count(&self) {
        self.statements.set(self.statements.get() + 1);
    }

    fn noted<T>(&mut self, answer: rusqlite::Result<T>) -> Result<T> {
        let answer = answer.map_err(StoreError::from);
        if let Err(error) = &answer
            && self.failed.is_none()
        {
            self.failed = Some(error.clone());
        }
        answer
    }
}

impl WorkTransaction for SqliteTransaction<'_> {
    fn lock_progress(&mut self, account_id: i64) -> Result<Option<Progress>> {
        let found = self.row(
            "SELECT epoch, CAST(position AS TEXT), CAST(fence AS TEXT) FROM stream_progress WHERE account_id = ?1",
            [account_id],
            |row| {
                let field = |at| row.get::<_, Option<String>>(at);
                Ok(progress(field(0)?.as_deref(), field(1)?.as_deref(), field(2)?.as_deref()))
            },
        )?;
        match found {
            None => Ok(None),
            Some(found) => found.ok_or_else(|| unreadable_progress(account_id)),
        }
    }

    fn set_progress(&mut self, account_id: i64, progress: &Progress) -> Result<()> {
        self.execute(
            "INSERT INTO stream_progress (account_id, epoch, position, fence, updated_at) \
             VALUES (?1, ?2, ?3, ?4, CURRENT_TIMESTAMP) ON CONFLICT (account_id) DO UPDATE SET epoch = excluded.epoch, \
             position = excluded.position, fence = excluded.fence, updated_at = excluded.updated_at",
            (account_id, epoch_text(progress.epoch), progress.position.to_string(), progress.fence.to_string()),
        )?;
        Ok(())
    }

    fn insert_audit(&mut self, row: &AuditRow<'_>) -> Result<bool> {
        let columns = row.columns;
        let inserted = self.execute(
            "INSERT INTO api_data_stream (account_id, api_system_id, raw_event_type, event_type, exchange_order_id, \
             client_order_id, symbol, status, normalized_status, price, average_price, original_quantity, \
             filled_quantity, last_filled_price, last_filled_quantity, event_time, received_at, raw_payload, \
             idempotency_key, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
             strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now')) \
             ON CONFLICT (idempotency_key) DO NOTHING",
            rusqlite::params![
                row.account_id,
                row.api_system_id,
                columns.raw_event_type,
                columns.event_type,
                columns.exchange_order_id,
                columns.client_order_id,
                columns.symbol,
                columns.status,
                columns.normalized_status,
                digits(columns.price.as_ref()),
                digits(columns.average_price.as_ref()),
                digits(columns.original_quantity.as_ref()),
                digits(columns.filled_quantity.as_ref()),
                digits(columns.last_filled_price.as_ref()),
                digits(columns.last_filled_quantity.as_ref()),
                columns.event_time.and_then(column_stamp),
                row.received_at.to_string(),
                row.raw_payload,
                row.idempotency_key,
            ],
        )?;
        Ok(inserted > 0)
    }

    fn recorded_of_order(&mut self, account_id: i64, exchange_order_id: &str) -> Result<Vec<String>> {
        self.rows(
            "SELECT raw_payload FROM api_data_stream WHERE exchange_order_id = ?1 AND account_id = ?2 ORDER BY id",
            (exchange_order_id, account_id),
            |row| row.get(0),
        )
    }

    fn recorded_account_updates(&mut self, account_id: i64, since: Wall) -> Result<Vec<String>> {
        self.rows(
            "SELECT raw_payload FROM api_data_stream WHERE account_id = ?1 AND received_at >= ?2 \
             AND event_type = 'account_update' AND event_time >= ?3 ORDER BY id",
            (account_id, earliest_receipt(since).to_string(), since.to_string()),
            |row| row.get(0),
        )
    }

    fn account(&mut self, account_id: i64) -> Result<Option<AccountFacts>> {
        if self.account.is_none_or(|account| account.id != account_id) {
            self.account = self.row(
                "SELECT id, api_system_id, coalesce(on_hedge_mode, 0) <> 0 FROM accounts WHERE id = ?1",
                [account_id],
                |row| Ok(AccountFacts { id: row.get(0)?, api_system_id: row.get(1)?, on_hedge_mode: row.get(2)? }),
            )?;
        }
        Ok(self.account)
    }

    fn find_order(
        &mut self,
        account_id: i64,
        api_system_id: i64,
        symbol: Option<&str>,
        exchange_order_id: Option<&str>,
        client_order_id: Option<&str>,
    ) -> Result<Option<OrderRow>> {
        self.row(
            concat!(
                "SELECT ",
                order_columns!(),
                " FROM (SELECT id AS order_id, 1 AS way FROM orders WHERE exchange_order_id = ?4 \
                 UNION ALL SELECT id, 2 FROM orders WHERE client_order_id = ?5 \
                 UNION ALL SELECT order_id, 3 FROM algo_order_links WHERE account_id = ?1 \
                 AND exchange_order_id = ?4 AND (?3 IS NULL OR symbol = ?3)) found \
                 JOIN orders o ON o.id = found.order_id JOIN positions p ON p.id = o.position_id \
                 JOIN accounts a ON a.id = p.account_id LEFT JOIN order_progress m ON m.order_id = o.id \
                 WHERE p.account_id = ?1 AND a.api_system_id = ?2 \
                 ORDER BY found.way, CASE WHEN p.parsed_trading_pair = ?3 THEN 0 \
                 WHEN p.parsed_trading_pair IS NULL THEN 1 ELSE 2 END, o.id DESC LIMIT 1"
            ),
            (account_id, api_system_id, symbol, exchange_order_id, client_order_id),
            |row| order_row(row, 0),
        )
    }

    fn lock_position(&mut self, position_id: i64) -> Result<Option<PositionRow>> {
        let found = self.row(
            concat!("SELECT ", position_columns!(), " FROM positions p WHERE p.id = ?1"),
            [position_id],
            position_row,
        )?;
        Ok(found.flatten())
    }

    fn positions(&mut self, account_id: i64, symbol: &str, statuses: &[&str]) -> Result<Vec<PositionRow>> {
        let found = self.rows(
            concat!(
                "SELECT ",
                position_columns!(),
                " FROM positions p WHERE p.account_id = ?1 AND p.parsed_trading_pair = ?2 ORDER BY p.id"
            ),
            (account_id, symbol),
            position_row,
        )?;
        Ok(found.into_iter().flatten().filter(|position| statuses.contains(&position.status.as_str())).collect())
    }

    fn lock_order(&mut self, order_id: i64) -> Result<Option<OrderRow>> {
        self.row(
            concat!(
                "SELECT ",
                order_columns!(),
                " FROM orders o LEFT JOIN order_progress m ON m.order_id = o.id WHERE o.id = ?1"
            ),
            [order_id],
            |row| order_row(row, 0),
        )
    }

    fn orders_of_position(&mut self, position_id: i64) -> Result<Vec<OrderRow>> {
        self.rows(
            concat!(
                "SELECT ",
                order_columns!(),
                " FROM orders o LEFT JOIN order_progress m ON m.order_id = o.id WHERE o.position_id = ?1 ORDER BY o.id"
            ),
            [position_id],
            |row| order_row(row, 0),
        )
    }

    fn update_order(&mut self, order_id: i64, change: &OrderChange) -> Result<()> {
        let changed = self.execute(
            "UPDATE orders SET status = ?2, price = coalesce(?3, price), filled_at = coalesce(filled_at, ?4), \
             updated_at = CURRENT_TIMESTAMP WHERE id = ?1",
            (
                order_id,
                change.status.as_str(),
                digits(change.price.as_ref()),
                change.filled_at.map(|at| at.to_string()),
            ),
        )?;
        if changed == 0 {
            return Ok(());
        }
        self.execute(
            "INSERT INTO order_progress (order_id, transaction_time_ms, filled_quantity, updated_at) \
             VALUES (?1, ?2, ?3, CURRENT_TIMESTAMP) ON CONFLICT (order_id) DO UPDATE SET \
             transaction_time_ms = excluded.transaction_time_ms, filled_quantity = excluded.filled_quantity, \
             updated_at = excluded.updated_at",
            (order_id, change.mark.transaction_time_ms, digits(change.mark.filled_quantity.as_ref())),
        )?;
        Ok(())
    }

    fn set_reference_status(&mut self, order_id: i64, status: &str) -> Result<()> {
        self.execute(
            "UPDATE orders SET reference_status = ?2, updated_at = CURRENT_TIMESTAMP WHERE id = ?1",
            (order_id, status),
        )?;
        Ok(())
    }

    fn set_position_status(&mut self, position_id: i64, status: &str) -> Result<()> {
        self.execute(
            "UPDATE positions SET status = ?2, updated_at = CURRENT_TIMESTAMP WHERE id = ?1",
            (position_id, status),
        )?;
        Ok(())
    }

    fn link_triggered(&mut self, account_id: i64, symbol: &str, exchange_order_id: &str, order_id: i64) -> Result<()> {
        self.execute(
            "INSERT INTO algo_order_links (account_id, symbol, exchange_order_id, order_id) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (account_id, exchange_order_id, symbol) DO NOTHING",
            (account_id, symbol, exchange_order_id, order_id),
        )?;
        Ok(())
    }

    fn set_child_ended(&mut self, order_id: i64, status: OrderStatus) -> Result<()> {
        self.execute(
            "INSERT INTO order_progress (order_id, child_ended, updated_at) VALUES (?1, ?2, CURRENT_TIMESTAMP) \
             ON CONFLICT (order_id) DO UPDATE SET child_ended = excluded.child_ended, updated_at = excluded.updated_at",
            (order_id, status.as_str()),
        )?;
        Ok(())
    }

    fn has_live_intent(&mut self, live_key: &str, now: Wall, live_for: Duration) -> Result<bool> {
        let since = Wall::from_micros(now.as_micros().saturating_sub_unsigned(live_for.as_micros() as u64));
        let found = self.row(
            "SELECT EXISTS (SELECT 1 FROM workflow_intents WHERE live_key = ?1 AND finished_at IS NULL \
             AND created_at >= ?2)",
            (live_key, since.to_string()),
            |row| row.get(0),
        )?;
        Ok(found.unwrap_or_default())
    }

    fn insert_intent(&mut self, intent: &NewIntent) -> Result<bool> {
        let inserted = self.execute(
            "INSERT INTO workflow_intents (name, position_id, account_id, order_id, arguments, queue, live_key, dedupe, \
             created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (dedupe) DO NOTHING",
            (
                intent.name,
                intent.position_id,
                intent.account_id,
                intent.order_id,
                &intent.arguments,
                intent.queue,
                &intent.live_key,
                &intent.dedupe,
                intent.at.to_string(),
            ),
        )?;
        Ok(inserted > 0)
    }

    fn insert_decision(&mut self, decision: &DecisionRow, replaced: &[&str]) -> Result<()> {
        let (epoch, position) = decision.identity;
        self.execute(
            "INSERT INTO stream_decisions (idempotency_key, account_id, order_id, epoch, position, job_uuid, rule, note, \
             reserved_at, decided_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
             ON CONFLICT (idempotency_key) DO UPDATE SET account_id = excluded.account_id, order_id = excluded.order_id, \
             epoch = excluded.epoch, position = excluded.position, job_uuid = excluded.job_uuid, rule = excluded.rule, \
             note = excluded.note, reserved_at = excluded.reserved_at, decided_at = excluded.decided_at \
             WHERE stream_decisions.rule IN (SELECT value FROM json_each(?11))",
            (
                &decision.idempotency_key,
                decision.account_id,
                decision.order_id,
                epoch_text(epoch),
                position.to_string(),
                fitted(&decision.job_uuid, 255),
                fitted(&decision.rule, 40),
                fitted(&decision.note, 255),
                micros_stamp(decision.reserved_at),
                micros_stamp(decision.decided_at),
                json_list(replaced)?,
            ),
        )?;
        Ok(())
    }

    fn insert_gap(&mut self, gap: &NewGap<'_>) -> Result<()> {
        self.execute(
            "INSERT INTO stream_gaps (account_id, api_system_id, started_at, ended_at, reason, epoch, position) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (epoch, position) DO NOTHING",
            (
                gap.account_id,
                gap.api_system_id,
                gap.started_at.map(|at| at.to_string()),
                rounded_up(gap.ended_at).to_string(),
                fitted(gap.reason, 64),
                gap.identity.map(|(epoch, _)| epoch_text(epoch)),
                gap.identity.map(|(_, position)| position_column(position)),
            ),
        )?;
        Ok(())
    }
}

fn digits(decimal: Option<&Decimal>) -> Option<&str> {
    decimal.map(Decimal::as_str)
}

fn unreadable_progress(account_id: i64) -> StoreError {
    let sentence = format!(
        "the row of stream_progress of account {account_id} cannot be read: epoch is 32 hex digits, position and fence \
         are numbers; delete the row, and its jobs are applied from the next one on"
    );
    StoreError::new(ErrorClass::Data, sentence)
}
