//! The worker's tables on SQLite: [`WorkTables`] over one open file.

use std::cell::Cell;

use rusqlite::{Params, Row, TransactionBehavior};

use super::SqliteStore;
use super::work_read::{
    audit_columns, audit_record, decision_row, intent_columns, intent_row, json_list, micros, millis, order_columns,
    order_row,
};
use super::work_transaction::SqliteTransaction;
use crate::domain::Wall;
use crate::store::error::Result;
use crate::store::user_data_rows::rounded_up;
use crate::store::work::{End, WorkTables, WorkTransaction};
use crate::store::work_rows::{
    AuditRecord, DecisionRow, FailedJob, IntentRow, OrderRow, Progress, fitted, micros_stamp, progress,
};

/// All statements of the worker stay prepared, and some of the other roles'.
const STATEMENTS_KEPT: usize = 64;

/// An open file as the worker uses it.
pub struct SqliteWork {
    pub(super) store: SqliteStore,
    statements: Cell<u64>,
}

impl SqliteWork {
    /// Takes over a file that was migrated and opened with `synchronous = FULL`.
    #[must_use]
    pub fn new(store: SqliteStore) -> SqliteWork {
        store.connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        SqliteWork { store, statements: Cell::new(0) }
    }

    pub(super) fn execute(&self, text: &str, params: impl Params) -> Result<u64> {
        self.count();
        Ok(self.store.connection.prepare_cached(text)?.execute(params)? as u64)
    }

    pub(super) fn rows<T>(
        &self,
        text: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.count();
        let mut statement = self.store.connection.prepare_cached(text)?;
        let rows = statement.query_map(params, read)?.collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }

    fn count(&self) {
        self.statements.set(self.statements.get() + 1);
    }

    /// Every account of `api_data_stream`, one probe of its index (account_id, received_at) each.
    fn accounts_with_audit(&self) -> Result<Vec<i64>> {
        let found: Vec<Option<i64>> = self.rows(
            "WITH RECURSIVE audited (account_id) AS (SELECT min(account_id) FROM api_data_stream UNION ALL \
             SELECT (SELECT min(d.account_id) FROM api_data_stream d WHERE d.account_id > audited.account_id) \
             FROM audited WHERE audited.account_id IS NOT NULL) SELECT account_id FROM audited",
            [],
            |row| row.get(0),
        )?;
        Ok(found.into_iter().flatten().collect())
    }
}

impl WorkTables for SqliteWork {
    fn is_usable(&self) -> bool {
        self.store.check_file().is_ok()
    }

    fn statements(&self) -> u64 {
        self.statements.get()
    }

    fn transaction(&mut self, work: &mut dyn FnMut(&mut dyn WorkTransaction) -> Result<End>) -> Result<End> {
        let transaction = self.store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // BEGIN, and how it ends.
        self.statements.set(self.statements.get() + 2);
        let mut open =
            SqliteTransaction { connection: &transaction, statements: &self.statements, failed: None, account: None };
        let answer = work(&mut open);
        let failed = open.failed;
        match (failed, answer) {
            (Some(error), _) | (None, Err(error)) => {
                // Some faults have rolled back already.
                let _ = transaction.rollback();
                Err(error)
            }
            (None, Ok(End::Commit)) => {
                transaction.commit()?;
                Ok(End::Commit)
            }
            (None, Ok(End::RollBack)) => {
                transaction.rollback()?;
                Ok(End::RollBack)
            }
        }
    }

    fn all_progress(&mut self) -> Result<Vec<(i64, Progress)>> {
        let rows = self.rows(
            "SELECT account_id, epoch, CAST(position AS TEXT), CAST(fence AS TEXT) FROM stream_progress \
             WHERE epoch IS NOT NULL ORDER BY account_id",
            [],
            |row| {
                let field = |at| row.get::<_, Option<String>>(at);
                let found = progress(field(1)?.as_deref(), field(2)?.as_deref(), field(3)?.as_deref());
                Ok((row.get(0)?, found.flatten()))
            },
        )?;
        Ok(rows.into_iter().filter_map(|(account, found)| Some((account, found?))).collect())
    }

    fn audited_keys(&mut self, keys: &[String]) -> Result<Vec<String>> {
        self.rows(
            "SELECT idempotency_key FROM api_data_stream WHERE idempotency_key IN (SELECT value FROM json_each(?1))",
            [json_list(keys)?],
            |row| row.get(0),
        )
    }

    fn failed_uuids(&mut self, uuids: &[String]) -> Result<Vec<String>> {
        self.rows(
            "SELECT uuid FROM failed_jobs WHERE uuid IN (SELECT value FROM json_each(?1))",
            [json_list(uuids)?],
            |row| row.get(0),
        )
    }

    fn insert_failed_job(&mut self, job: &FailedJob<'_>) -> Result<()> {
        self.execute(
            "INSERT INTO failed_jobs (uuid, connection, queue, payload, exception, failed_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (uuid) DO NOTHING",
            (
                fitted(job.uuid, 255),
                fitted(job.connection, usize::MAX),
                fitted(job.queue, usize::MAX),
                fitted(job.payload, usize::MAX),
                fitted(job.exception, usize::MAX),
                job.failed_at.to_string(),
            ),
        )?;
        Ok(())
    }

    fn request_reconcile(&mut self, account_id: i64, api_system_id: i64, reason: &str, at: Wall) -> Result<()> {
        self.execute(
            "INSERT INTO stream_gaps (account_id, api_system_id, started_at, ended_at, reason) \
             SELECT ?1, ?2, ?4, ?5, ?3 WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?1) \
             AND NOT EXISTS (SELECT 1 FROM stream_gaps WHERE account_id = ?1 AND reason = ?3 AND epoch IS NULL \
             AND opened_at IS NULL AND outcome IS NULL)",
            (account_id, api_system_id, fitted(reason, 64), at.to_string(), rounded_up(at).to_string()),
        )?;
        Ok(())
    }

    fn unpushed_intents(&mut self, limit: u32) -> Result<Vec<IntentRow>> {
        self.rows(
            concat!(
                "SELECT ",
                intent_columns!(),
                " FROM workflow_intents i WHERE i.pushed_at IS NULL ORDER BY i.id LIMIT ?1"
            ),
            [limit],
            intent_row,
        )
    }

    fn intents_pushed(&mut self, ids: &[i64], at: Wall) -> Result<()> {
        self.store.in_transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "UPDATE workflow_intents SET pushed_at = ?2, updated_at = CURRENT_TIMESTAMP \
                 WHERE id = ?1 AND pushed_at IS NULL",
            )?;
            for id in ids {
                statement.execute((id, at.to_string()))?;
            }
            Ok(())
        })
    }

    fn delete_audit_before(&mut self, before: Wall, limit: u32) -> Result<u64> {
        let accounts = self.accounts_with_audit()?;
        self.store.in_transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "DELETE FROM api_data_stream WHERE id IN (SELECT id FROM api_data_stream WHERE account_id = ?1 \
                 AND received_at < ?2 ORDER BY received_at LIMIT ?3)",
            )?;
            let (before, mut left) = (before.to_string(), limit);
            for account in accounts {
                let deleted = statement.execute((account, &before, left))?;
                left = left.saturating_sub(u32::try_from(deleted).unwrap_or(u32::MAX));
                if left == 0 {
                    break;
                }
            }
            Ok(u64::from(limit - left))
        })
    }

    fn delete_intents_before(&mut self, before: Wall, only_pushed: bool, limit: u32) -> Result<u64> {
        self.execute(
            "DELETE FROM workflow_intents WHERE id IN (SELECT id FROM (SELECT id, created_at FROM workflow_intents \
             WHERE NOT ?2 OR pushed_at IS NOT NULL OR finished_at IS NOT NULL ORDER BY id LIMIT ?3) \
             WHERE created_at < ?1)",
            (before.to_string(), only_pushed, limit),
        )
    }

    fn delete_decisions_before(&mut self, before: Wall, limit: u32) -> Result<u64> {
        self.execute(
            "DELETE FROM stream_decisions WHERE id IN (SELECT id FROM (SELECT id, decided_at FROM stream_decisions \
             ORDER BY id LIMIT ?2) WHERE decided_at < ?1)",
            (micros_stamp(before), limit),
        )
    }

    fn audit_of_order(&mut self, id: &str, account: Option<i64>, limit: u32) -> Result<Vec<AuditRecord>> {
        let by_exchange_id = self.rows(
            concat!(
                "SELECT ",
                audit_columns!(),
                " FROM api_data_stream d WHERE d.exchange_order_id IN ( \
                 SELECT ?1 UNION SELECT exchange_order_id FROM orders WHERE client_order_id = ?1 UNION \
                 SELECT l.exchange_order_id FROM algo_order_links l JOIN orders o ON o.id = l.order_id \
                 WHERE o.exchange_order_id = ?1 UNION \
                 SELECT l.exchange_order_id FROM algo_order_links l JOIN orders o ON o.id = l.order_id \
                 WHERE o.client_order_id = ?1) \
                 AND (?2 IS NULL OR d.account_id = ?2) ORDER BY d.received_at, d.id LIMIT ?3"
            ),
            (id, account, limit),
            audit_record,
        )?;
        if !by_exchange_id.is_empty() {
            return Ok(by_exchange_id);
        }
        self.rows(
            concat!(
                "SELECT ",
                audit_columns!(),
                " FROM api_data_stream d WHERE d.client_order_id = ?1 AND (?2 IS NULL OR d.account_id = ?2) \
                 ORDER BY d.received_at, d.id LIMIT ?3"
            ),
            (id, account, limit),
            audit_record,
        )
    }

    fn audit_since(&mut self, since: Wall, after: i64, limit: u32) -> Result<Vec<AuditRecord>> {
        let since = since.to_string();
        let mut after = after;
        // The first page must not read the table's whole past; the sign keeps the primary key out of the plan.
        if after <= 0 {
            let mut first: Option<i64> = None;
            for account in self.accounts_with_audit()? {
                let found: Vec<Option<i64>> = self.rows(
                    "SELECT min(+id) FROM api_data_stream WHERE account_id = ?1 AND received_at >= ?2",
                    (account, &since),
                    |row| row.get(0),
                )?;
                first = [first, found.into_iter().flatten().next()].into_iter().flatten().min();
            }
            let Some(first) = first else { return Ok(Vec::new()) };
            after = after.max(first - 1);
        }
        self.rows(
            concat!(
                "SELECT ",
                audit_columns!(),
                " FROM api_data_stream d WHERE d.id > ?2 AND +d.received_at >= ?1 ORDER BY d.id LIMIT ?3"
            ),
            (since, after, limit),
            audit_record,
        )
    }

    fn audited_accounts(&mut self) -> Result<Vec<i64>> {
        self.accounts_with_audit()
    }

    fn audit_of_account(&mut self, account_id: i64, since: Wall, after: i64, limit: u32) -> Result<Vec<AuditRecord>> {
        self.rows(
            concat!(
                "SELECT ",
                audit_columns!(),
                " FROM api_data_stream d WHERE d.account_id = ?1 AND (d.received_at, d.id) > \
                 (coalesce((SELECT received_at FROM api_data_stream WHERE id = ?3), ?2), ?3) \
                 ORDER BY d.received_at, d.id LIMIT ?4"
            ),
            (account_id, since.to_string(), after, limit),
            audit_record,
        )
    }

    fn orders_of_id(&mut self, id: &str, account: Option<i64>) -> Result<Vec<(i64, OrderRow)>> {
        self.rows(
            concat!(
                "SELECT p.account_id, ",
                order_columns!(),
                " FROM (SELECT id FROM orders WHERE exchange_order_id = ?1 \
                 UNION SELECT id FROM orders WHERE client_order_id = ?1) found \
                 JOIN orders o ON o.id = found.id JOIN positions p ON p.id = o.position_id \
                 LEFT JOIN order_progress m ON m.order_id = o.id WHERE ?2 IS NULL OR p.account_id = ?2 ORDER BY o.id"
            ),
            (id, account),
            |row| Ok((row.get(0)?, order_row(row, 1)?)),
        )
    }

    fn decisions(&mut self, order_id: Option<i64>, keys: &[String]) -> Result<Vec<DecisionRow>> {
        let keys = json_list(keys)?;
        self.rows(
            concat!(
                "SELECT idempotency_key, account_id, order_id, epoch, position, job_uuid, rule, note, ",
                micros!("reserved_at"),
                ", ",
                micros!("decided_at"),
                " FROM stream_decisions WHERE order_id = ?1 OR idempotency_key IN (SELECT value FROM json_each(?2)) \
                 ORDER BY id"
            ),
            (order_id, keys),
            decision_row,
        )
    }

    fn intents_of(&mut self, order_id: Option<i64>, position_id: Option<i64>, limit: u32) -> Result<Vec<IntentRow>> {
        self.rows(
            concat!(
                "SELECT ",
                intent_columns!(),
                " FROM workflow_intents i WHERE i.order_id = ?1 \
                 OR (i.position_id = ?2 AND (i.order_id IS NULL OR ?1 IS NULL)) ORDER BY i.id LIMIT ?3"
            ),
            (order_id, position_id, limit),
            intent_row,
        )
    }
}
