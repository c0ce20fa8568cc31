//! The worker's tables on PostgreSQL: [`WorkTables`] over one session with its prepared statements.

use postgres::{IsolationLevel, Row};

use super::PostgresStore;
use super::work_read::{
    Params, Statements, audit_columns, audit_record, decision_row, intent_columns, intent_row, micros, order_columns,
    order_row,
};
use super::work_transaction::{PostgresTransaction, stamp};
use crate::domain::Wall;
use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::user_data_rows::rounded_up;
use crate::store::work::{End, WorkTables, WorkTransaction};
use crate::store::work_rows::{AuditRecord, DecisionRow, FailedJob, IntentRow, OrderRow, Progress, fitted, progress};

/// Every account of `api_data_stream`, one probe of its index (account_id, received_at) each.
macro_rules! audited_accounts {
    () => {
        "WITH RECURSIVE audited AS ( \
         (SELECT account_id FROM api_data_stream ORDER BY account_id LIMIT 1) UNION ALL \
         SELECT (SELECT d.account_id FROM api_data_stream d WHERE d.account_id > audited.account_id \
         ORDER BY d.account_id LIMIT 1) FROM audited WHERE audited.account_id IS NOT NULL) "
    };
}

/// An open session of the worker.
pub struct PostgresWork {
    pub(super) store: PostgresStore,
    statements: Statements,
}

impl PostgresWork {
    /// Takes an open session over.
    ///
    /// # Errors
    /// [`ErrorClass::Refused`] where the database does not keep every character: the text of a frame is no reason to fail.
    pub fn new(mut store: PostgresStore) -> Result<PostgresWork> {
        let encoding = store.rows("SHOW server_encoding")?;
        let encoding = encoding.into_iter().flatten().flatten().next().unwrap_or_default();
        if encoding != "UTF8" {
            let sentence = format!(
                "{} keeps its text in {encoding}, which has no room for every symbol; the worker needs a database that \
                 was created with the encoding UTF8",
                store.target
            );
            return Err(StoreError::new(ErrorClass::Refused, sentence));
        }
        Ok(PostgresWork { store, statements: Statements::default() })
    }

    pub(super) fn execute(&mut self, text: &'static str, params: Params<'_>) -> Result<u64> {
        self.statements.execute(&mut self.store.client, text, params)
    }

    pub(super) fn rows(&mut self, text: &'static str, params: Params<'_>) -> Result<Vec<Row>> {
        self.statements.rows(&mut self.store.client, text, params)
    }

    fn audit(&mut self, text: &'static str, params: Params<'_>) -> Result<Vec<AuditRecord>> {
        self.rows(text, params)?.iter().map(audit_record).collect()
    }
}

impl WorkTables for PostgresWork {
    fn is_usable(&self) -> bool {
        !self.store.is_closed()
    }

    fn statements(&self) -> u64 {
        self.statements.sent()
    }

    fn transaction(&mut self, work: &mut dyn FnMut(&mut dyn WorkTransaction) -> Result<End>) -> Result<End> {
        self.statements.count();
        let transaction =
            self.store.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start()?;
        let mut open = PostgresTransaction::new(transaction, &mut self.statements);
        let mut answer = work(&mut open);
        if open.failed.is_none() && matches!(answer, Ok(End::Commit)) {
            answer = open.flush().map(|()| End::Commit);
        }
        let PostgresTransaction { transaction, statements, failed, .. } = open;
        statements.count();
        match (failed, answer) {
            (Some(error), _) | (None, Err(error)) => {
                // A connection that broke rolls back by itself.
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
            "SELECT account_id::bigint, epoch::text, position::text, fence::text FROM stream_progress \
             WHERE epoch IS NOT NULL ORDER BY account_id",
            &[],
        )?;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(found) = progress(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?).flatten() {
                all.push((row.try_get(0)?, found));
            }
        }
        Ok(all)
    }

    fn audited_keys(&mut self, keys: &[String]) -> Result<Vec<String>> {
        let found = "SELECT idempotency_key::text FROM api_data_stream WHERE idempotency_key = ANY ($1::text[])";
        self.rows(found, &[&keys])?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    fn failed_uuids(&mut self, uuids: &[String]) -> Result<Vec<String>> {
        let found = "SELECT uuid::text FROM failed_jobs WHERE uuid = ANY ($1::text[])";
        self.rows(found, &[&uuids])?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    fn insert_failed_job(&mut self, job: &FailedJob<'_>) -> Result<()> {
        // A table of somebody else's may lack the unique index on uuid.
        self.execute(
            "INSERT INTO failed_jobs (uuid, connection, queue, payload, exception, failed_at) \
             SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::text::timestamptz \
             WHERE NOT EXISTS (SELECT 1 FROM failed_jobs WHERE uuid = $1::text) ON CONFLICT DO NOTHING",
            &[
                &fitted(job.uuid, 255),
                &fitted(job.connection, usize::MAX),
                &fitted(job.queue, usize::MAX),
                &fitted(job.payload, usize::MAX),
                &fitted(job.exception, usize::MAX),
                &stamp(job.failed_at),
            ],
        )?;
        Ok(())
    }

    fn request_reconcile(&mut self, account_id: i64, api_system_id: i64, reason: &str, at: Wall) -> Result<()> {
        self.execute(
            "INSERT INTO stream_gaps (account_id, api_system_id, started_at, ended_at, reason, created_at, updated_at) \
             SELECT $1::bigint, $2::bigint, $4::text::timestamptz, $5::text::timestamptz, $3::text, CURRENT_TIMESTAMP, \
             CURRENT_TIMESTAMP WHERE EXISTS (SELECT 1 FROM accounts WHERE id = $1::bigint) \
             AND NOT EXISTS (SELECT 1 FROM stream_gaps WHERE account_id = $1::bigint AND reason = $3::text \
             AND epoch IS NULL AND opened_at IS NULL AND outcome IS NULL)",
            &[&account_id, &api_system_id, &fitted(reason, 64), &stamp(at), &stamp(rounded_up(at))],
        )?;
        Ok(())
    }

    fn unpushed_intents(&mut self, limit: u32) -> Result<Vec<IntentRow>> {
        let rows = self.rows(
            concat!(
                "SELECT ",
                intent_columns!(),
                " FROM workflow_intents i WHERE i.pushed_at IS NULL ORDER BY i.id LIMIT $1::bigint"
            ),
            &[&i64::from(limit)],
        )?;
        rows.iter().map(intent_row).collect()
    }

    fn intents_pushed(&mut self, ids: &[i64], at: Wall) -> Result<()> {
        self.execute(
            "UPDATE workflow_intents SET pushed_at = $2::text::timestamptz, updated_at = CURRENT_TIMESTAMP \
             WHERE id = ANY ($1::bigint[]) AND pushed_at IS NULL",
            &[&ids, &stamp(at)],
        )?;
        Ok(())
    }

    fn delete_audit_before(&mut self, before: Wall, limit: u32) -> Result<u64> {
        self.execute(
            concat!(
                "DELETE FROM api_data_stream WHERE id = ANY (ARRAY(",
                audited_accounts!(),
                "SELECT old.id FROM audited CROSS JOIN LATERAL (SELECT d.id FROM api_data_stream d \
                 WHERE d.account_id = audited.account_id AND d.received_at < $1::text::timestamptz \
                 ORDER BY d.received_at LIMIT $2::bigint) old LIMIT $2::bigint))"
            ),
            &[&stamp(before), &i64::from(limit)],
        )
    }

    fn delete_intents_before(&mut self, before: Wall, only_pushed: bool, limit: u32) -> Result<u64> {
        self.execute(
            "DELETE FROM workflow_intents WHERE id IN (SELECT id FROM (SELECT id, created_at FROM workflow_intents \
             WHERE NOT $2::boolean OR pushed_at IS NOT NULL OR finished_at IS NOT NULL \
             ORDER BY id LIMIT $3::bigint) oldest WHERE created_at < $1::text::timestamptz)",
            &[&stamp(before), &only_pushed, &i64::from(limit)],
        )
    }

    fn delete_decisions_before(&mut self, before: Wall, limit: u32) -> Result<u64> {
        self.execute(
            "DELETE FROM stream_decisions WHERE id IN (SELECT id FROM (SELECT id, decided_at FROM stream_decisions \
             ORDER BY id LIMIT $2::bigint) oldest WHERE decided_at < $1::text::timestamptz)",
            &[&stamp(before), &i64::from(limit)],
        )
    }

    fn audit_of_order(&mut self, id: &str, account: Option<i64>, limit: u32) -> Result<Vec<AuditRecord>> {
        let by_exchange_id = self.audit(
            concat!(
                "SELECT ",
                audit_columns!(),
                " FROM api_data_stream d WHERE d.exchange_order_id = ANY (ARRAY( \
                 SELECT $1::text UNION SELECT exchange_order_id::text FROM orders WHERE client_order_id = $1::text UNION \
                 SELECT l.exchange_order_id::text FROM algo_order_links l JOIN orders o ON o.id = l.order_id \
                 WHERE o.exchange_order_id = $1::text UNION \
                 SELECT l.exchange_order_id::text FROM algo_order_links l JOIN orders o ON o.id = l.order_id \
                 WHERE o.client_order_id = $1::text)) \
                 AND ($2::bigint IS NULL OR d.account_id = $2::bigint) \
                 ORDER BY d.received_at, d.id LIMIT $3::bigint"
            ),
            &[&id, &account, &i64::from(limit)],
        )?;
        if !by_exchange_id.is_empty() {
            return Ok(by_exchange_id);
        }
        self.audit(
            concat!(
                "SELECT ",
                audit_columns!(),
                " FROM api_data_stream d WHERE d.client_order_id = $1::text \
                 AND ($2::bigint IS NULL OR d.account_id = $2::bigint) ORDER BY d.received_at, d.id LIMIT $3::bigint"
            ),
            &[&id, &account, &i64::from(limit)],
        )
    }

    fn audit_since(&mut self, since: Wall, after: i64, limit: u32) -> Result<Vec<AuditRecord>> {
        // The first page must not read the table's whole past; adding 0 keeps the primary key out of the plan.
        let rows = if after > 0 {
            Vec::new()
        } else {
            self.rows(
                concat!(
                    audited_accounts!(),
                    "SELECT min(first.id)::bigint FROM audited CROSS JOIN LATERAL (SELECT min(d.id + 0) AS id \
                     FROM api_data_stream d WHERE d.account_id = audited.account_id \
                     AND d.received_at >= $1::text::timestamptz) first"
                ),
                &[&stamp(since)],
            )?
        };
        let after = match rows.first() {
            None => after,
            Some(row) => match row.try_get::<_, Option<i64>>(0)? {
                None => return Ok(Vec::new()),
                Some(first) => after.max(first - 1),
            },
        };
        self.audit(
            concat!(
                "SELECT ",
                audit_columns!(),
                " FROM api_data_stream d WHERE d.id > $2::bigint AND d.received_at >= $1::text::timestamptz \
                 ORDER BY d.id LIMIT $3::bigint"
            ),
            &[&stamp(since), &after, &i64::from(limit)],
        )
    }

    fn audited_accounts(&mut self) -> Result<Vec<i64>> {
        let rows = self.rows(
            concat!(
                audited_accounts!(),
                "SELECT account_id::bigint FROM audited WHERE account_id IS NOT NULL ORDER BY account_id"
            ),
            &[],
        )?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    fn audit_of_account(&mut self, account_id: i64, since: Wall, after: i64, limit: u32) -> Result<Vec<AuditRecord>> {
        self.audit(
            concat!(
                "SELECT ",
                audit_columns!(),
                " FROM api_data_stream d WHERE d.account_id = $1::bigint AND (d.received_at, d.id) > \
                 (coalesce((SELECT received_at FROM api_data_stream WHERE id = $3::bigint), $2::text::timestamptz), \
                 $3::bigint) ORDER BY d.received_at, d.id LIMIT $4::bigint"
            ),
            &[&account_id, &stamp(since), &after, &i64::from(limit)],
        )
    }

    fn orders_of_id(&mut self, id: &str, account: Option<i64>) -> Result<Vec<(i64, OrderRow)>> {
        let rows = self.rows(
            concat!(
                "SELECT p.account_id::bigint, ",
                order_columns!(),
                " FROM (SELECT id FROM orders WHERE exchange_order_id = $1::text \
                 UNION SELECT id FROM orders WHERE client_order_id = $1::text) found \
                 JOIN orders o ON o.id = found.id JOIN positions p ON p.id = o.position_id \
                 LEFT JOIN order_progress m ON m.order_id = o.id \
                 WHERE $2::bigint IS NULL OR p.account_id = $2::bigint ORDER BY o.id"
            ),
            &[&id, &account],
        )?;
        rows.iter().map(|row| Ok((row.try_get(0)?, order_row(row, 1)?))).collect()
    }

    fn decisions(&mut self, order_id: Option<i64>, keys: &[String]) -> Result<Vec<DecisionRow>> {
        let rows = self.rows(
            concat!(
                "SELECT idempotency_key, account_id, order_id, epoch, position::text, job_uuid, rule, note, ",
                micros!("reserved_at"),
                ", ",
                micros!("decided_at"),
                " FROM stream_decisions WHERE order_id = $1::bigint OR idempotency_key = ANY ($2::text[]) ORDER BY id"
            ),
            &[&order_id, &keys],
        )?;
        rows.iter().map(decision_row).collect()
    }

    fn intents_of(&mut self, order_id: Option<i64>, position_id: Option<i64>, limit: u32) -> Result<Vec<IntentRow>> {
        let rows = self.rows(
            concat!(
                "SELECT ",
                intent_columns!(),
                " FROM workflow_intents i WHERE i.order_id = $1::bigint \
                 OR (i.position_id = $2::bigint AND (i.order_id IS NULL OR $1::bigint IS NULL)) \
                 ORDER BY i.id LIMIT $3::bigint"
            ),
            &[&order_id, &position_id, &i64::from(limit)],
        )?;
        rows.iter().map(intent_row).collect()
    }
}
