//! What a checker reads and sets up in SQLite: every row with its price, and token mappers.

use super::SqliteStore;
use crate::store::error::Result;
use crate::store::rows::{PricedRow, TokenMapper};

impl SqliteStore {
    /// Every row of `exchange_symbols` with the price it holds now.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn priced_rows(&self) -> Result<Vec<PricedRow>> {
        let mut statement = self.connection().prepare_cached(
            "SELECT s.id, a.canonical, coalesce(s.asset, s.token || s.quote), s.token, s.mark_price, s.mark_price_synced_at \
             FROM exchange_symbols s JOIN api_systems a ON a.id = s.api_system_id ORDER BY s.id",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(PricedRow {
                id: row.get(0)?,
                exchange: row.get(1)?,
                symbol: row.get(2)?,
                token: row.get(3)?,
                price: row.get(4)?,
                synced_at: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Adds token mappers, or changes those with the same Binance token and exchange. All or nothing.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn upsert_token_mappers(&mut self, mappers: &[TokenMapper]) -> Result<()> {
        self.in_transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "INSERT INTO token_mappers (binance_token, other_token, other_api_system_id, price_ratio) \
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT (binance_token, other_api_system_id) \
                 DO UPDATE SET other_token = excluded.other_token, price_ratio = excluded.price_ratio",
            )?;
            for mapper in mappers {
                statement.execute((
                    &mapper.binance_token,
                    &mapper.other_token,
                    mapper.other_api_system_id,
                    &mapper.price_ratio,
                ))?;
            }
            Ok(())
        })
    }
}
