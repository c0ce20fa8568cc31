//! Accounts, listen keys and gaps on PostgreSQL: [`UserDataTables`].
//!
//! The tables may be a Laravel application's, moved from MySQL: booleans may be small integers, stamps may lack a zone (the
//! session's is UTC), indexes may be missing. One message a call, so that another program which writes the same row never
//! sees half of a change.

use std::fmt::Write as _;

use super::{PostgresStore, literal};
use crate::domain::Wall;
use crate::domain::order::OPENED_POSITIONS;
use crate::store::error::Result;
use crate::store::reconcile::WORKING_ORDERS;
use crate::store::rows::ApiSystem;
use crate::store::user_data::{FAILURE_COUNT_MAX, UserDataTables, none_without_tables, unknown_venue};
use crate::store::user_data_rows::{
    AccountListing, AccountRow, Ciphertext, GapQuery, GapRow, KeepAlive, ListenKeyRow, NewAccount, NewGap,
    NewListenKey, epoch_text, identity, position_column, rounded_up,
};

impl UserDataTables for PostgresStore {
    fn is_usable(&self) -> bool {
        !self.is_closed()
    }

    fn venue_system(&mut self, canonical: &str) -> Result<Option<ApiSystem>> {
        let rows = self.rows(&format!(
            "SELECT id, coalesce(is_active::int, 1) <> 0 FROM api_systems WHERE canonical = {}",
            literal(canonical)
        ))?;
        Ok(rows.into_iter().find_map(|row| {
            let [id, is_active] = <[Option<String>; 2]>::try_from(row).ok()?;
            let is_active = is_active.as_deref() == Some("t");
            Some(ApiSystem { id: id?.parse().ok()?, canonical: canonical.to_owned(), is_active })
        }))
    }

    fn eligible_accounts(&mut self, canonical: &str) -> Result<Vec<AccountRow>> {
        let rows = self.rows(&format!(
            "SELECT a.id, a.api_system_id, s.canonical, a.name, a.binance_api_key, a.binance_api_secret, {} \
             FROM accounts a JOIN api_systems s ON s.id = a.api_system_id \
             WHERE s.canonical = {} AND coalesce(a.is_active::int, 0) <> 0 AND a.deleted_at IS NULL \
             AND a.binance_api_key <> '' AND a.binance_api_secret <> '' ORDER BY a.id",
            micros("a.updated_at"),
            literal(canonical)
        ))?;
        Ok(rows.into_iter().filter_map(account_row).collect())
    }

    fn exposed_accounts(&mut self, canonical: &str) -> Result<Vec<i64>> {
        let words = |words: &[&str]| words.iter().map(|word| literal(word)).collect::<Vec<_>>().join(", ");
        let of_venue = format!("s.canonical = {}", literal(canonical));
        let rows = self.rows(&format!(
            "SELECT a.id FROM positions p JOIN accounts a ON a.id = p.account_id \
             JOIN api_systems s ON s.id = a.api_system_id WHERE {of_venue} AND p.status::text IN ({}) \
             UNION SELECT a.id FROM orders o JOIN positions p ON p.id = o.position_id \
             JOIN accounts a ON a.id = p.account_id JOIN api_systems s ON s.id = a.api_system_id \
             WHERE {of_venue} AND o.exchange_order_id <> '' AND o.status::text IN ({}) ORDER BY 1",
            words(&OPENED_POSITIONS),
            words(&WORKING_ORDERS)
        ));
        let id = |mut row: Vec<Option<String>>| row.pop().flatten()?.parse().ok();
        none_without_tables(rows.map(|rows| rows.into_iter().filter_map(id).collect()))
    }

    fn listen_keys(&mut self) -> Result<Vec<ListenKeyRow>> {
        let rows = self.rows(&format!(
            "SELECT account_id, listen_key, {}, {}, {}, last_keep_alive_status, coalesce(failure_count, 0) \
             FROM binance_listen_keys ORDER BY account_id",
            micros("last_created_at"),
            micros("last_keep_alive_at"),
            micros("last_frame_at"),
        ))?;
        Ok(rows.into_iter().filter_map(listen_key_row).collect())
    }

    fn put_listen_key(&mut self, key: &NewListenKey<'_>) -> Result<()> {
        let (account, at, text) = (key.account_id, stamp(key.at), literal(key.listen_key.as_str()));
        let created = if key.is_new { at.clone() } else { format!("coalesce(last_created_at, {at})") };
        // An upsert by hand: a table of somebody else's may lack the unique index that ON CONFLICT would need. A row that
        // appears between the two statements makes the second one write nothing; then the first is right.
        let message = format!(
            "UPDATE binance_listen_keys SET listen_key = {text}, last_created_at = {created}, last_keep_alive_at = {at}, \
             last_keep_alive_status = 'success', failure_count = 0, updated_at = CURRENT_TIMESTAMP \
             WHERE account_id = {account}; \
             INSERT INTO binance_listen_keys (account_id, listen_key, last_created_at, last_keep_alive_at, \
             last_keep_alive_status, failure_count, created_at, updated_at) \
             SELECT {account}, {text}, {at}, {at}, 'success', 0, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP \
             WHERE NOT EXISTS (SELECT 1 FROM binance_listen_keys WHERE account_id = {account}) ON CONFLICT DO NOTHING"
        );
        let mut affected = Vec::new();
        self.run(&message, &mut affected)?;
        if affected.iter().sum::<u64>() == 0 {
            self.run(&message, &mut affected)?;
        }
        Ok(())
    }

    fn keep_alive_succeeded(&mut self, account_id: i64, at: Wall, rotated: Option<&Ciphertext>) -> Result<bool> {
        let at = stamp(at);
        let rotated = rotated
            .map_or(String::new(), |key| format!(", listen_key = {}, last_created_at = {at}", literal(key.as_str())));
        self.change_one(&format!(
            "UPDATE binance_listen_keys SET last_keep_alive_at = {at}, last_keep_alive_status = 'success', \
             failure_count = 0{rotated}, updated_at = CURRENT_TIMESTAMP WHERE account_id = {account_id}"
        ))
    }

    fn keep_alive_failed(&mut self, account_id: i64) -> Result<Option<u8>> {
        let rows = self.rows(&format!(
            "UPDATE binance_listen_keys SET last_keep_alive_status = 'failure', \
             failure_count = least(coalesce(failure_count, 0) + 1, {FAILURE_COUNT_MAX}), updated_at = CURRENT_TIMESTAMP \
             WHERE account_id = {account_id} RETURNING failure_count"
        ))?;
        Ok(rows.into_iter().next().map(|row| failures(row.into_iter().next().flatten())))
    }

    fn touch_frames(&mut self, active: &[(i64, Wall)]) -> Result<u64> {
        if active.is_empty() {
            return Ok(0);
        }
        let mut values = String::new();
        for (account, at) in active {
            let comma = if values.is_empty() { "" } else { ", " };
            write!(values, "{comma}({account}::bigint, {}::timestamptz)", stamp(*at)).expect("a string takes it");
        }
        let mut affected = Vec::new();
        self.run(
            &format!(
                "UPDATE binance_listen_keys k SET last_frame_at = v.at, updated_at = CURRENT_TIMESTAMP \
                 FROM (VALUES {values}) AS v (account_id, at) WHERE k.account_id = v.account_id \
                 AND (k.last_frame_at IS NULL OR k.last_frame_at < v.at)"
            ),
            &mut affected,
        )?;
        Ok(affected.first().copied().unwrap_or_default())
    }

    fn delete_listen_key(&mut self, account_id: i64) -> Result<bool> {
        self.change_one(&format!("DELETE FROM binance_listen_keys WHERE account_id = {account_id}"))
    }

    fn insert_gap(&mut self, gap: &NewGap<'_>) -> Result<Option<i64>> {
        let rows = self.rows(&insert_gap(gap))?;
        Ok(rows.into_iter().find_map(|row| row.into_iter().next().flatten()?.parse().ok()))
    }

    fn insert_gaps(&mut self, gaps: &[NewGap<'_>]) -> Result<()> {
        // Several statements in one simple query are one transaction.
        let text: Vec<String> = gaps.iter().map(insert_gap).collect();
        self.run(&text.join("; "), &mut Vec::new())
    }

    fn gaps(&mut self, query: &GapQuery) -> Result<Vec<GapRow>> {
        let account = query.account_id.map_or(String::new(), |id| format!(" AND account_id = {id}"));
        let outstanding = if query.outstanding { " AND outcome IS NULL" } else { "" };
        let rows = self.rows(&format!(
            "SELECT id, account_id, api_system_id, {}, {}, reason, epoch, position, {}, outcome FROM stream_gaps \
             WHERE true{account}{outstanding} ORDER BY id DESC LIMIT {}",
            micros("started_at"),
            micros("ended_at"),
            micros("opened_at"),
            query.limit,
        ))?;
        Ok(rows.into_iter().filter_map(gap_row).collect())
    }

    fn accounts(&mut self) -> Result<Vec<AccountListing>> {
        let rows = self.rows(
            "SELECT a.id, a.name, s.canonical, coalesce(a.is_active::int, 0) <> 0, nullif(a.binance_api_key, ''), \
             coalesce(a.binance_api_secret, '') <> '' \
             FROM accounts a JOIN api_systems s ON s.id = a.api_system_id WHERE a.deleted_at IS NULL ORDER BY a.id",
        )?;
        let mut accounts: Vec<AccountListing> = rows.into_iter().filter_map(listing).collect();
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
        let (name, user) = (literal(account.name), account.user_id.map_or("NULL".to_owned(), |id| id.to_string()));
        // '1' is what a boolean and a small integer both read.
        let rows = self.rows(&format!(
            "INSERT INTO accounts (uuid, name, user_id, api_system_id, is_active, binance_api_key, binance_api_secret, \
             created_at, updated_at) \
             SELECT {}, {name}, {user}::bigint, {}, '1', {}, {}, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP \
             WHERE NOT EXISTS (SELECT 1 FROM accounts WHERE name = {name} AND deleted_at IS NULL \
             AND user_id IS NOT DISTINCT FROM {user}::bigint) RETURNING id",
            literal(account.uuid),
            system.id,
            literal(account.api_key.as_str()),
            literal(account.api_secret.as_str()),
        ))?;
        Ok(rows.into_iter().find_map(|row| row.into_iter().next().flatten()?.parse().ok()))
    }

    fn set_account_active(&mut self, account_id: i64, off_because: Option<&str>) -> Result<bool> {
        let (on, at, reason) = match off_because {
            None => ("'1'", "NULL", "NULL".to_owned()),
            Some(reason) => ("'0'", "CURRENT_TIMESTAMP", literal(reason)),
        };
        self.change_one(&format!(
            "UPDATE accounts SET is_active = {on}, disabled_at = {at}, disabled_reason = {reason}, \
             updated_at = CURRENT_TIMESTAMP WHERE id = {account_id} AND deleted_at IS NULL"
        ))
    }

    fn remove_account(&mut self, account_id: i64) -> Result<bool> {
        self.change_one(&format!(
            "UPDATE accounts SET deleted_at = CURRENT_TIMESTAMP, updated_at = CURRENT_TIMESTAMP \
             WHERE id = {account_id} AND deleted_at IS NULL"
        ))
    }
}

impl PostgresStore {
    /// Whether the statement touched a row.
    fn change_one(&mut self, text: &str) -> Result<bool> {
        let mut affected = Vec::new();
        self.run(text, &mut affected)?;
        Ok(affected.first().is_some_and(|rows| *rows > 0))
    }
}

fn insert_gap(gap: &NewGap<'_>) -> String {
    let (epoch, position) = match gap.identity {
        Some((epoch, position)) => (literal(&epoch_text(epoch)), position_column(position).to_string()),
        None => ("NULL".to_owned(), "NULL".to_owned()),
    };
    format!(
        "INSERT INTO stream_gaps (account_id, api_system_id, started_at, ended_at, reason, epoch, position, \
         created_at, updated_at) \
         SELECT {}, {}, {}::timestamptz, {}::timestamptz, {}, {epoch}, {position}::bigint, CURRENT_TIMESTAMP, \
         CURRENT_TIMESTAMP \
         WHERE NOT EXISTS (SELECT 1 FROM stream_gaps WHERE epoch = {epoch} AND position = {position}::bigint) \
         ON CONFLICT DO NOTHING RETURNING id",
        gap.account_id,
        gap.api_system_id,
        gap.started_at.map_or("NULL".to_owned(), stamp),
        stamp(rounded_up(gap.ended_at)),
        literal(gap.reason),
    )
}

/// A stamp as a literal that both kinds of timestamp read alike, the session's zone being UTC.
pub(super) fn stamp(at: Wall) -> String {
    format!("'{at}+00'")
}

/// Microseconds since 1970 of a stamp column.
pub(super) fn micros(column: &str) -> String {
    format!("(extract(epoch FROM {column}) * 1000000)::bigint")
}

/// What [`micros`] gave.
fn wall(field: Option<String>) -> Option<Wall> {
    field?.parse().ok().map(Wall::from_micros)
}

fn account_row(row: Vec<Option<String>>) -> Option<AccountRow> {
    let [id, system, canonical, name, key, secret, updated] = <[Option<String>; 7]>::try_from(row).ok()?;
    Some(AccountRow {
        id: id?.parse().ok()?,
        api_system_id: system?.parse().ok()?,
        canonical: canonical?,
        name: name.unwrap_or_default(),
        api_key_ciphertext: Ciphertext::new(key?),
        api_secret_ciphertext: Ciphertext::new(secret?),
        updated_at: wall(updated),
    })
}

fn listing(row: Vec<Option<String>>) -> Option<AccountListing> {
    let [id, name, canonical, is_active, key, has_secret] = <[Option<String>; 6]>::try_from(row).ok()?;
    Some(AccountListing {
        id: id?.parse().ok()?,
        name: name.unwrap_or_default(),
        canonical: canonical?,
        is_active: is_active.as_deref() == Some("t"),
        api_key: key.map(Ciphertext::new),
        has_secret: has_secret.as_deref() == Some("t"),
        listen_key: None,
    })
}

fn listen_key_row(row: Vec<Option<String>>) -> Option<ListenKeyRow> {
    let [account, key, created, kept, frame, status, failed] = <[Option<String>; 7]>::try_from(row).ok()?;
    Some(ListenKeyRow {
        account_id: account?.parse().ok()?,
        listen_key: Ciphertext::new(key.unwrap_or_default()),
        last_created_at: wall(created),
        last_keep_alive_at: wall(kept),
        last_frame_at: wall(frame),
        last_keep_alive: status.as_deref().and_then(KeepAlive::from_word),
        failure_count: failures(failed),
    })
}

fn failures(field: Option<String>) -> u8 {
    let count = field.and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
    u8::try_from(count.max(0)).unwrap_or(FAILURE_COUNT_MAX)
}

fn gap_row(row: Vec<Option<String>>) -> Option<GapRow> {
    let [id, account, system, started, ended, reason, epoch, position, opened, outcome] =
        <[Option<String>; 10]>::try_from(row).ok()?;
    Some(GapRow {
        id: id?.parse().ok()?,
        account_id: account?.parse().ok()?,
        api_system_id: system?.parse().ok()?,
        started_at: wall(started),
        ended_at: wall(ended)?,
        reason: reason.unwrap_or_default(),
        identity: identity(epoch.as_deref(), position.and_then(|text| text.parse().ok())),
        opened_at: wall(opened),
        outcome,
    })
}
