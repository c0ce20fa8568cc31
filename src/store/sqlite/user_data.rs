//! Accounts, listen keys and gaps on SQLite: [`UserDataTables`]. Stamps are text in UTC, `YYYY-MM-DD HH:MM:SS.mmm`.

use rusqlite::{Connection, OptionalExtension, Row};

use super::SqliteStore;
use crate::domain::Wall;
use crate::store::error::Result;
use crate::store::rows::ApiSystem;
use crate::store::user_data::{FAILURE_COUNT_MAX, UserDataTables, unknown_venue};
use crate::store::user_data_rows::{
    AccountListing, AccountRow, Ciphertext, GapQuery, GapRow, KeepAlive, ListenKeyRow, NewAccount, NewGap,
    NewListenKey, epoch_text, identity, position_column, rounded_up,
};

impl UserDataTables for SqliteStore {
    fn is_usable(&self) -> bool {
        self.check_file().is_ok()
    }

    fn venue_system(&mut self, canonical: &str) -> Result<Option<ApiSystem>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, coalesce(is_active, 1) FROM api_systems WHERE canonical = ?1")?;
        let found = statement.query_row([canonical], |row| {
            Ok(ApiSystem { id: row.get(0)?, canonical: canonical.to_owned(), is_active: row.get(1)? })
        });
        Ok(found.optional()?)
    }

    fn eligible_accounts(&mut self, canonical: &str) -> Result<Vec<AccountRow>> {
        let sql = format!(
            "SELECT a.id, a.api_system_id, s.canonical, a.name, a.binance_api_key, a.binance_api_secret, {} \
             FROM accounts a JOIN api_systems s ON s.id = a.api_system_id \
             WHERE s.canonical = ?1 AND coalesce(a.is_active, 0) <> 0 AND a.deleted_at IS NULL \
             AND a.binance_api_key <> '' AND a.binance_api_secret <> '' ORDER BY a.id",
            millis("a.updated_at")
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([canonical], |row| {
            Ok(AccountRow {
                id: row.get(0)?,
                api_system_id: row.get(1)?,
                canonical: row.get(2)?,
                name: row.get(3)?,
                api_key_ciphertext: Ciphertext::new(row.get::<_, String>(4)?),
                api_secret_ciphertext: Ciphertext::new(row.get::<_, String>(5)?),
                updated_at: wall(row, 6)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn listen_keys(&mut self) -> Result<Vec<ListenKeyRow>> {
        let sql = format!(
            "SELECT account_id, listen_key, {}, {}, {}, last_keep_alive_status, coalesce(failure_count, 0) \
             FROM binance_listen_keys ORDER BY account_id",
            millis("last_created_at"),
            millis("last_keep_alive_at"),
            millis("last_frame_at"),
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([], |row| {
            Ok(ListenKeyRow {
                account_id: row.get(0)?,
                listen_key: Ciphertext::new(row.get::<_, String>(1)?),
                last_created_at: wall(row, 2)?,
                last_keep_alive_at: wall(row, 3)?,
                last_frame_at: wall(row, 4)?,
                last_keep_alive: row.get::<_, Option<String>>(5)?.as_deref().and_then(KeepAlive::from_word),
                failure_count: failures(row.get(6)?),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn put_listen_key(&mut self, key: &NewListenKey<'_>) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO binance_listen_keys (account_id, listen_key, last_created_at, last_keep_alive_at, \
                 last_keep_alive_status, failure_count) VALUES (?1, ?2, ?3, ?3, 'success', 0) \
                 ON CONFLICT (account_id) DO UPDATE SET listen_key = excluded.listen_key, \
                 last_created_at = CASE WHEN ?4 THEN excluded.last_created_at \
                 ELSE coalesce(last_created_at, excluded.last_created_at) END, \
                 last_keep_alive_at = excluded.last_keep_alive_at, last_keep_alive_status = 'success', \
                 failure_count = 0, updated_at = CURRENT_TIMESTAMP",
            )?
            .execute((key.account_id, key.listen_key.as_str(), key.at.to_string(), key.is_new))?;
        Ok(())
    }

    fn keep_alive_succeeded(&mut self, account_id: i64, at: Wall, rotated: Option<&Ciphertext>) -> Result<bool> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE binance_listen_keys SET last_keep_alive_at = ?2, last_keep_alive_status = 'success', \
                 failure_count = 0, listen_key = coalesce(?3, listen_key), \
                 last_created_at = CASE WHEN ?3 IS NULL THEN last_created_at ELSE ?2 END, \
                 updated_at = CURRENT_TIMESTAMP WHERE account_id = ?1",
            )?
            .execute((account_id, at.to_string(), rotated.map(Ciphertext::as_str)))?;
        Ok(changed > 0)
    }

    fn keep_alive_failed(&mut self, account_id: i64) -> Result<Option<u8>> {
        let count = self
            .connection
            .prepare_cached(
                "UPDATE binance_listen_keys SET last_keep_alive_status = 'failure', \
                 failure_count = min(coalesce(failure_count, 0) + 1, ?2), updated_at = CURRENT_TIMESTAMP \
                 WHERE account_id = ?1 RETURNING failure_count",
            )?
            .query_row((account_id, FAILURE_COUNT_MAX), |row| row.get(0))
            .optional()?;
        Ok(count.map(failures))
    }

    fn touch_frames(&mut self, active: &[(i64, Wall)]) -> Result<u64> {
        if active.is_empty() {
            return Ok(0);
        }
        self.in_transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "UPDATE binance_listen_keys SET last_frame_at = ?2, updated_at = CURRENT_TIMESTAMP \
                 WHERE account_id = ?1 AND (last_frame_at IS NULL OR last_frame_at < ?2)",
            )?;
            let mut touched = 0;
            for (account_id, at) in active {
                touched += statement.execute((account_id, at.to_string()))? as u64;
            }
            Ok(touched)
        })
    }

    fn delete_listen_key(&mut self, account_id: i64) -> Result<bool> {
        let mut statement = self.connection.prepare_cached("DELETE FROM binance_listen_keys WHERE account_id = ?1")?;
        Ok(statement.execute([account_id])? > 0)
    }

    fn insert_gap(&mut self, gap: &NewGap<'_>) -> Result<Option<i64>> {
        insert_gap(&self.connection, gap)
    }

    fn insert_gaps(&mut self, gaps: &[NewGap<'_>]) -> Result<()> {
        self.in_transaction(|connection| gaps.iter().try_for_each(|gap| insert_gap(connection, gap).map(|_| ())))
    }

    fn gaps(&mut self, query: &GapQuery) -> Result<Vec<GapRow>> {
        let sql = format!(
            "SELECT id, account_id, api_system_id, {}, {}, reason, epoch, position, {}, outcome FROM stream_gaps \
             WHERE (?1 IS NULL OR account_id = ?1) AND (NOT ?2 OR outcome IS NULL) ORDER BY id DESC LIMIT ?3",
            millis("started_at"),
            millis("ended_at"),
            millis("opened_at"),
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((query.account_id, query.outstanding, query.limit), |row| {
            let epoch: Option<String> = row.get(6)?;
            Ok(GapRow {
                id: row.get(0)?,
                account_id: row.get(1)?,
                api_system_id: row.get(2)?,
                started_at: wall(row, 3)?,
                ended_at: wall(row, 4)?.unwrap_or_default(),
                reason: row.get(5)?,
                identity: identity(epoch.as_deref(), row.get(7)?),
                opened_at: wall(row, 8)?,
                outcome: row.get(9)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn accounts(&mut self) -> Result<Vec<AccountListing>> {
        let mut accounts = {
            let mut statement = self.connection.prepare_cached(
                "SELECT a.id, a.name, s.canonical, coalesce(a.is_active, 0) <> 0, nullif(a.binance_api_key, ''), \
                 coalesce(a.binance_api_secret, '') <> '' FROM accounts a JOIN api_systems s ON s.id = a.api_system_id \
                 WHERE a.deleted_at IS NULL ORDER BY a.id",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(AccountListing {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    canonical: row.get(2)?,
                    is_active: row.get(3)?,
                    api_key: row.get::<_, Option<String>>(4)?.map(Ciphertext::new),
                    has_secret: row.get(5)?,
                    listen_key: None,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()?
        };
        for key in self.listen_keys()? {
            // Both are in ascending id.
            if let Ok(at) = accounts.binary_search_by_key(&key.account_id, |account| account.id) {
                accounts[at].listen_key = Some(key);
            }
        }
        Ok(accounts)
    }

    fn add_account(&mut self, account: &NewAccount<'_>) -> Result<Option<i64>> {
        let system = self.venue_system(account.canonical)?.ok_or_else(|| unknown_venue(account.canonical))?;
        let id = self
            .connection
            .prepare_cached(
                "INSERT INTO accounts (uuid, name, user_id, api_system_id, binance_api_key, binance_api_secret) \
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM accounts \
                 WHERE name = ?2 AND deleted_at IS NULL AND user_id IS ?3) RETURNING id",
            )?
            .query_row(
                (
                    account.uuid,
                    account.name,
                    account.user_id,
                    system.id,
                    account.api_key.as_str(),
                    account.api_secret.as_str(),
                ),
                |row| row.get(0),
            )
            .optional()?;
        Ok(id)
    }

    fn set_account_active(&mut self, account_id: i64, off_because: Option<&str>) -> Result<bool> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE accounts SET is_active = ?2 IS NULL, disabled_reason = ?2, \
                 disabled_at = CASE WHEN ?2 IS NULL THEN NULL ELSE CURRENT_TIMESTAMP END, \
                 updated_at = CURRENT_TIMESTAMP WHERE id = ?1 AND deleted_at IS NULL",
            )?
            .execute((account_id, off_because))?;
        Ok(changed > 0)
    }

    fn remove_account(&mut self, account_id: i64) -> Result<bool> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE accounts SET deleted_at = CURRENT_TIMESTAMP, updated_at = CURRENT_TIMESTAMP \
                 WHERE id = ?1 AND deleted_at IS NULL",
            )?
            .execute([account_id])?;
        Ok(changed > 0)
    }
}

fn insert_gap(connection: &Connection, gap: &NewGap<'_>) -> Result<Option<i64>> {
    let id = connection
        .prepare_cached(
            "INSERT INTO stream_gaps (account_id, api_system_id, started_at, ended_at, reason, epoch, position) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (epoch, position) DO NOTHING RETURNING id",
        )?
        .query_row(
            (
                gap.account_id,
                gap.api_system_id,
                gap.started_at.map(|at| at.to_string()),
                rounded_up(gap.ended_at).to_string(),
                gap.reason,
                gap.identity.map(|(epoch, _)| epoch_text(epoch)),
                gap.identity.map(|(_, position)| position_column(position)),
            ),
            |row| row.get(0),
        )
        .optional()?;
    Ok(id)
}

/// Milliseconds since 1970 of a stamp column.
pub(super) fn millis(column: &str) -> String {
    format!("CAST(round(unixepoch({column}, 'subsec') * 1000) AS INTEGER)")
}

/// What [`millis`] gave.
pub(super) fn wall(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Wall>> {
    Ok(row.get::<_, Option<i64>>(at)?.map(Wall::from_millis))
}

fn failures(count: i64) -> u8 {
    u8::try_from(count.max(0)).unwrap_or(FAILURE_COUNT_MAX)
}
