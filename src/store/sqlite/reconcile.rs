//! What a reconcile reads and writes, on SQLite: [`ReconcileTables`].

use super::SqliteWork;
use super::user_data::wall;
use super::work_read::{millis, order_columns, order_row};
use crate::domain::Wall;
use crate::domain::order::OPENED_POSITIONS;
use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::reconcile::{
    Exposure, GapVerdict, LocalOrder, ReconcileTables, WORKING_ORDERS, WaitingGaps, standing,
};
use crate::store::user_data::UserDataTables as _;
use crate::store::user_data_rows::{AccountRow, GapQuery, GapRow};
use crate::store::work_rows::fitted;

impl ReconcileTables for SqliteWork {
    fn gaps_waiting(&mut self, canonical: &str) -> Result<Vec<WaitingGaps>> {
        self.rows(
            concat!(
                "SELECT g.account_id, count(*), max(g.id), ",
                millis!("min(g.ended_at)"),
                ", CASE WHEN a.deleted_at IS NOT NULL THEN 'removed' WHEN coalesce(a.is_active, 0) <> 0 \
                 AND a.binance_api_key <> '' AND a.binance_api_secret <> '' THEN 'streamed' ELSE 'off' END \
                 FROM stream_gaps g JOIN accounts a ON a.id = g.account_id JOIN api_systems s ON s.id = a.api_system_id \
                 WHERE g.outcome IS NULL AND s.canonical = ?1 GROUP BY g.account_id ORDER BY g.account_id"
            ),
            [canonical],
            |row| {
                Ok(WaitingGaps {
                    account_id: row.get(0)?,
                    gaps: row.get::<_, i64>(1)?.unsigned_abs(),
                    newest_id: row.get(2)?,
                    waiting_since: wall(row, 3)?.unwrap_or_default(),
                    standing: standing(&row.get::<_, String>(4)?),
                })
            },
        )
    }

    fn waiting_gaps_of(&mut self, account_id: i64, limit: u32) -> Result<Vec<GapRow>> {
        let mut gaps = self.store.gaps(&GapQuery { account_id: Some(account_id), outstanding: true, limit })?;
        gaps.reverse();
        Ok(gaps)
    }

    fn gaps_taken_up(&mut self, ids: &[i64], at: Wall) -> Result<()> {
        self.execute(
            "UPDATE stream_gaps SET opened_at = ?2, updated_at = CURRENT_TIMESTAMP \
             WHERE id IN (SELECT value FROM json_each(?1)) AND opened_at IS NULL",
            (list(ids)?, at.to_string()),
        )?;
        Ok(())
    }

    fn settle_gap(&mut self, id: i64, verdict: &GapVerdict<'_>) -> Result<()> {
        self.execute(
            "UPDATE stream_gaps SET outcome = ?2, outcome_note = ?3, \
             recovered_count = coalesce(recovered_count, 0) + ?4, \
             reconciled_at = CASE WHEN ?2 IS NULL THEN reconciled_at ELSE ?5 END, updated_at = CURRENT_TIMESTAMP \
             WHERE id = ?1 AND outcome IS NULL",
            (
                id,
                verdict.outcome,
                fitted(verdict.note, 255),
                i64::try_from(verdict.recovered).unwrap_or(i64::MAX),
                verdict.at.to_string(),
            ),
        )?;
        Ok(())
    }

    fn give_up_gaps(&mut self, account_id: i64, verdict: &GapVerdict<'_>) -> Result<u64> {
        let changed = self.execute(
            "UPDATE stream_gaps SET outcome = ?2, outcome_note = ?3, recovered_count = coalesce(recovered_count, 0), \
             reconciled_at = ?4, updated_at = CURRENT_TIMESTAMP WHERE account_id = ?1 AND outcome IS NULL",
            (account_id, verdict.outcome, fitted(verdict.note, 255), verdict.at.to_string()),
        )?;
        Ok(changed)
    }

    fn account_row(&mut self, canonical: &str, account_id: i64) -> Result<Option<AccountRow>> {
        let accounts = self.store.eligible_accounts(canonical)?;
        Ok(accounts.into_iter().find(|account| account.id == account_id))
    }

    fn exposures(&mut self, canonical: &str) -> Result<Vec<Exposure>> {
        self.rows(
            concat!(
                "SELECT p.account_id, max(a.api_system_id), \
             count(DISTINCT CASE WHEN p.status IN (SELECT value FROM json_each(?2)) THEN p.id END), count(o.id), ",
                millis!("max(c.asked_at)"),
                ", ",
                millis!("max(c.compared_at)"),
                " FROM positions p JOIN accounts a ON a.id = p.account_id JOIN api_systems s ON s.id = a.api_system_id \
             LEFT JOIN orders o ON o.position_id = p.id AND o.exchange_order_id <> '' \
             AND o.status IN (SELECT value FROM json_each(?3)) \
             LEFT JOIN order_comparisons c ON c.account_id = p.account_id \
             WHERE s.canonical = ?1 AND (p.status IN (SELECT value FROM json_each(?2)) OR o.id IS NOT NULL) \
             GROUP BY p.account_id ORDER BY p.account_id"
            ),
            (canonical, list(&OPENED_POSITIONS)?, list(&WORKING_ORDERS)?),
            |row| {
                Ok(Exposure {
                    account_id: row.get(0)?,
                    api_system_id: row.get(1)?,
                    positions: row.get::<_, i64>(2)?.unsigned_abs(),
                    orders: row.get::<_, i64>(3)?.unsigned_abs(),
                    asked_at: wall(row, 4)?,
                    compared_at: wall(row, 5)?,
                })
            },
        )
    }

    fn note_asked(&mut self, account_id: i64, at: Wall, is_compared: bool) -> Result<()> {
        self.execute(
            "INSERT INTO order_comparisons (account_id, asked_at, compared_at) VALUES (?1, ?2, iif(?3, ?2, NULL)) \
             ON CONFLICT (account_id) DO UPDATE SET asked_at = excluded.asked_at, \
             compared_at = coalesce(excluded.compared_at, compared_at)",
            (account_id, at.to_string(), is_compared),
        )?;
        Ok(())
    }

    fn working_orders(&mut self, account_id: i64, unplaced_since: Wall, limit: u32) -> Result<Vec<LocalOrder>> {
        self.rows(
            concat!(
                "SELECT coalesce(p.parsed_trading_pair, ''), ",
                order_columns!(),
                " FROM positions p JOIN orders o ON o.position_id = p.id \
                 LEFT JOIN order_progress m ON m.order_id = o.id \
                 WHERE p.account_id = ?1 AND (o.exchange_order_id <> '' OR o.client_order_id <> '' AND o.created_at >= ?4) \
                 AND o.status IN (SELECT value FROM json_each(?2)) ORDER BY o.id LIMIT ?3"
            ),
            (account_id, list(&WORKING_ORDERS)?, limit, unplaced_since.to_string()),
            |row| Ok(LocalOrder { symbol: row.get(0)?, order: order_row(row, 1)? }),
        )
    }

    fn opened_symbols(&mut self, account_id: i64) -> Result<Vec<String>> {
        self.rows(
            "SELECT DISTINCT parsed_trading_pair FROM positions WHERE account_id = ?1 AND parsed_trading_pair <> '' \
             AND status IN (SELECT value FROM json_each(?2)) ORDER BY parsed_trading_pair",
            (account_id, list(&OPENED_POSITIONS)?),
            |row| row.get(0),
        )
    }

    fn events_since(&mut self, account_id: i64, since: Wall, after: i64, limit: u32) -> Result<Vec<(i64, String)>> {
        // The sign keeps the primary key out of the plan: the account's index says where `since` is.
        self.rows(
            "SELECT id, raw_payload FROM api_data_stream WHERE account_id = ?1 AND received_at >= ?2 AND +id > ?3 \
             AND event_type IN ('order_update', 'account_update') ORDER BY +id LIMIT ?4",
            (account_id, since.to_string(), after, limit),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }
}

/// A list as `json_each` takes it.
fn list(values: &(impl serde::Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(values).map_err(|error| StoreError::new(ErrorClass::Other, error.to_string()))
}
