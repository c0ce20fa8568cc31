//! What a reconcile reads and writes, on PostgreSQL: [`ReconcileTables`].

use super::PostgresWork;
use super::work_read::{micros, order_columns, order_row};
use super::work_transaction::stamp;
use crate::domain::Wall;
use crate::domain::order::OPENED_POSITIONS;
use crate::store::error::Result;
use crate::store::reconcile::{
    Exposure, GapVerdict, LocalOrder, ReconcileTables, WORKING_ORDERS, WaitingGaps, standing,
};
use crate::store::user_data::UserDataTables as _;
use crate::store::user_data_rows::{AccountRow, GapQuery, GapRow};
use crate::store::work_rows::fitted;

impl ReconcileTables for PostgresWork {
    fn gaps_waiting(&mut self, canonical: &str) -> Result<Vec<WaitingGaps>> {
        let rows = self.rows(
            concat!(
                "SELECT g.account_id::bigint, count(*)::bigint, max(g.id)::bigint, ",
                micros!("min(g.ended_at)"),
                ", CASE WHEN bool_or(a.deleted_at IS NOT NULL) THEN 'removed' \
                 WHEN bool_or(coalesce(a.is_active::int, 0) <> 0 AND a.binance_api_key::text <> '' \
                 AND a.binance_api_secret::text <> '') THEN 'streamed' ELSE 'off' END \
                 FROM stream_gaps g JOIN accounts a ON a.id = g.account_id JOIN api_systems s ON s.id = a.api_system_id \
                 WHERE g.outcome IS NULL AND s.canonical = $1::text GROUP BY g.account_id ORDER BY g.account_id"
            ),
            &[&canonical],
        )?;
        let read = |row: &postgres::Row| {
            Ok(WaitingGaps {
                account_id: row.try_get(0)?,
                gaps: row.try_get::<_, i64>(1)?.unsigned_abs(),
                newest_id: row.try_get(2)?,
                waiting_since: row.try_get::<_, Option<i64>>(3)?.map(Wall::from_micros).unwrap_or_default(),
                standing: standing(row.try_get(4)?),
            })
        };
        rows.iter().map(read).collect()
    }

    fn waiting_gaps_of(&mut self, account_id: i64, limit: u32) -> Result<Vec<GapRow>> {
        let mut gaps = self.store.gaps(&GapQuery { account_id: Some(account_id), outstanding: true, limit })?;
        gaps.reverse();
        Ok(gaps)
    }

    fn gaps_taken_up(&mut self, ids: &[i64], at: Wall) -> Result<()> {
        self.execute(
            "UPDATE stream_gaps SET opened_at = $2::text::timestamptz, updated_at = CURRENT_TIMESTAMP \
             WHERE id = ANY ($1::bigint[]) AND opened_at IS NULL",
            &[&ids, &stamp(at)],
        )?;
        Ok(())
    }

    fn settle_gap(&mut self, id: i64, verdict: &GapVerdict<'_>) -> Result<()> {
        self.execute(
            "UPDATE stream_gaps SET outcome = $2::text, outcome_note = $3::text, \
             recovered_count = coalesce(recovered_count, 0) + $4::bigint, \
             reconciled_at = CASE WHEN $2::text IS NULL THEN reconciled_at ELSE $5::text::timestamptz END, \
             updated_at = CURRENT_TIMESTAMP WHERE id = $1::bigint AND outcome IS NULL",
            &[
                &id,
                &verdict.outcome,
                &fitted(verdict.note, 255),
                &i64::try_from(verdict.recovered).unwrap_or(i64::MAX),
                &stamp(verdict.at),
            ],
        )?;
        Ok(())
    }

    fn give_up_gaps(&mut self, account_id: i64, verdict: &GapVerdict<'_>) -> Result<u64> {
        self.execute(
            "UPDATE stream_gaps SET outcome = $2::text, outcome_note = $3::text, \
             recovered_count = coalesce(recovered_count, 0), reconciled_at = $4::text::timestamptz, \
             updated_at = CURRENT_TIMESTAMP WHERE account_id = $1::bigint AND outcome IS NULL",
            &[&account_id, &verdict.outcome, &fitted(verdict.note, 255), &stamp(verdict.at)],
        )
    }

    fn account_row(&mut self, canonical: &str, account_id: i64) -> Result<Option<AccountRow>> {
        let accounts = self.store.eligible_accounts(canonical)?;
        Ok(accounts.into_iter().find(|account| account.id == account_id))
    }

    fn exposures(&mut self, canonical: &str) -> Result<Vec<Exposure>> {
        let rows = self.rows(
            concat!(
                "SELECT p.account_id::bigint, max(a.api_system_id)::bigint, \
             count(DISTINCT p.id) FILTER (WHERE p.status::text = ANY ($2::text[]))::bigint, count(o.id)::bigint, ",
                micros!("max(c.asked_at)"),
                ", ",
                micros!("max(c.compared_at)"),
                " FROM positions p JOIN accounts a ON a.id = p.account_id JOIN api_systems s ON s.id = a.api_system_id \
             LEFT JOIN orders o ON o.position_id = p.id AND o.exchange_order_id <> '' \
             AND o.status::text = ANY ($3::text[]) \
             LEFT JOIN order_comparisons c ON c.account_id = p.account_id \
             WHERE s.canonical = $1::text AND (p.status::text = ANY ($2::text[]) OR o.id IS NOT NULL) \
             GROUP BY p.account_id ORDER BY p.account_id"
            ),
            &[&canonical, &&OPENED_POSITIONS[..], &&WORKING_ORDERS[..]],
        )?;
        let read = |row: &postgres::Row| {
            Ok(Exposure {
                account_id: row.try_get(0)?,
                api_system_id: row.try_get(1)?,
                positions: row.try_get::<_, i64>(2)?.unsigned_abs(),
                orders: row.try_get::<_, i64>(3)?.unsigned_abs(),
                asked_at: row.try_get::<_, Option<i64>>(4)?.map(Wall::from_micros),
                compared_at: row.try_get::<_, Option<i64>>(5)?.map(Wall::from_micros),
            })
        };
        rows.iter().map(read).collect()
    }

    fn note_asked(&mut self, account_id: i64, at: Wall, is_compared: bool) -> Result<()> {
        self.execute(
            "INSERT INTO order_comparisons AS c (account_id, asked_at, compared_at) VALUES ($1::bigint, \
             $2::text::timestamptz, CASE WHEN $3::boolean THEN $2::text::timestamptz END) ON CONFLICT (account_id) \
             DO UPDATE SET asked_at = excluded.asked_at, compared_at = coalesce(excluded.compared_at, c.compared_at)",
            &[&account_id, &stamp(at), &is_compared],
        )?;
        Ok(())
    }

    fn working_orders(&mut self, account_id: i64, unplaced_since: Wall, limit: u32) -> Result<Vec<LocalOrder>> {
        let rows = self.rows(
            concat!(
                "SELECT coalesce(p.parsed_trading_pair::text, ''), ",
                order_columns!(),
                " FROM positions p JOIN orders o ON o.position_id = p.id \
                 LEFT JOIN order_progress m ON m.order_id = o.id \
                 WHERE p.account_id = $1::bigint AND (o.exchange_order_id <> '' \
                 OR o.client_order_id <> '' AND o.created_at >= $4::text::timestamptz) \
                 AND o.status::text = ANY ($2::text[]) ORDER BY o.id LIMIT $3::bigint"
            ),
            &[&account_id, &&WORKING_ORDERS[..], &i64::from(limit), &stamp(unplaced_since)],
        )?;
        rows.iter().map(|row| Ok(LocalOrder { symbol: row.try_get(0)?, order: order_row(row, 1)? })).collect()
    }

    fn opened_symbols(&mut self, account_id: i64) -> Result<Vec<String>> {
        let rows = self.rows(
            "SELECT DISTINCT parsed_trading_pair::text FROM positions WHERE account_id = $1::bigint \
             AND parsed_trading_pair <> '' AND status::text = ANY ($2::text[]) ORDER BY 1",
            &[&account_id, &&OPENED_POSITIONS[..]],
        )?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    fn events_since(&mut self, account_id: i64, since: Wall, after: i64, limit: u32) -> Result<Vec<(i64, String)>> {
        // Adding 0 keeps the primary key out of the plan: the account's index says where `since` is.
        let rows = self.rows(
            "SELECT id::bigint, raw_payload::text FROM api_data_stream WHERE account_id = $1::bigint \
             AND received_at >= $2::text::timestamptz AND id + 0 > $3::bigint \
             AND event_type IN ('order_update', 'account_update') ORDER BY id + 0 LIMIT $4::bigint",
            &[&account_id, &stamp(since), &after, &i64::from(limit)],
        )?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}
