//! What is written to SQLite beside prices: missing rows of the side table, instruments, and the row of a symbol that
//! nobody has listed yet.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::SqliteStore;
use crate::domain::{Instrument, Venue};
use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::shape::WriteCounts;

/// Quote assets that a Binance symbol may end in, longer ones before those that they end in.
const QUOTES: [&str; 12] =
    ["FDUSD", "BFUSD", "USDT", "USDC", "BUSD", "TUSD", "USD1", "USD", "BTC", "ETH", "BNB", "EUR"];

impl SqliteStore {
    /// Gives every instrument without a row in the side table one, without a price. Returns how many.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn ensure_price_rows(&mut self) -> Result<u64> {
        let rows = self.connection.execute(
            "INSERT INTO exchange_symbol_prices (exchange_symbol_id) SELECT s.id FROM exchange_symbols s \
             WHERE NOT EXISTS (SELECT 1 FROM exchange_symbol_prices p WHERE p.exchange_symbol_id = s.id)",
            [],
        )?;
        Ok(rows as u64)
    }

    /// Gives symbols of Binance's price stream that have no row one, token and quote split by [`split_symbol`], and a row
    /// in the side table. Returns how many are new. `symbols sync` later replaces the split by what the venue says.
    ///
    /// # Errors
    /// A missing table, or a store that does not know Binance.
    pub fn insert_symbols(&mut self, symbols: &mut dyn Iterator<Item = &str>) -> Result<u64> {
        self.in_transaction(|connection| {
            let system: Option<i64> = connection
                .prepare_cached("SELECT id FROM api_systems WHERE canonical = ?1")?
                .query_row([Venue::Binance.canonical()], |row| row.get(0))
                .optional()?;
            let sentence = || StoreError::new(ErrorClass::Other, "api_systems has no row for binance");
            let system = system.ok_or_else(sentence)?;
            let mut inserted = 0;
            for symbol in symbols {
                inserted += u64::from(insert_symbol(connection, system, symbol)?);
            }
            Ok(inserted)
        })
    }

    /// Writes what venues list: a row is found by its venue and the venue's name of it, else by venue, token and quote
    /// where it has no name yet; a trading instrument without a row gets one. Never deletes, never switches anything on
    /// or off. All or nothing.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn upsert_instruments(&mut self, instruments: &[Instrument]) -> Result<WriteCounts> {
        self.in_transaction(|connection| {
            let mut counts = WriteCounts::default();
            for instrument in instruments {
                upsert(connection, instrument, &mut counts)?;
            }
            Ok(counts)
        })
    }
}

fn insert_symbol(connection: &Connection, system: i64, symbol: &str) -> Result<bool> {
    let (token, quote) = split_symbol(symbol);
    let inserted = connection
        .prepare_cached(
            "INSERT INTO exchange_symbols (api_system_id, token, quote, asset, parsed_trading_pair) \
             SELECT ?1, ?2, ?3, ?4, ?4 WHERE NOT EXISTS (SELECT 1 FROM exchange_symbols WHERE api_system_id = ?1 \
             AND (asset = ?4 OR parsed_trading_pair = ?4 OR (asset IS NULL AND token = ?2 AND quote = ?3)))",
        )?
        .execute((system, token, quote, symbol))?;
    if inserted == 0 {
        return Ok(false);
    }
    connection
        .prepare_cached("INSERT OR IGNORE INTO exchange_symbol_prices (exchange_symbol_id) VALUES (?1)")?
        .execute([connection.last_insert_rowid()])?;
    Ok(true)
}

fn upsert(connection: &Connection, instrument: &Instrument, counts: &mut WriteCounts) -> Result<()> {
    let system: Option<i64> = connection
        .prepare_cached("SELECT id FROM api_systems WHERE canonical = ?1")?
        .query_row([instrument.venue.canonical()], |row| row.get(0))
        .optional()?;
    let Some(system) = system else {
        counts.skipped += 1;
        return Ok(());
    };
    let known: Option<i64> = connection
        .prepare_cached(
            "SELECT id FROM exchange_symbols WHERE api_system_id = ?1 AND (asset = ?2 OR (asset IS NULL AND token = ?3 \
             AND quote = ?4)) ORDER BY asset IS NULL, id LIMIT 1",
        )?
        .query_row((system, &instrument.symbol, &instrument.token, &instrument.quote), |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => {
            let changed = connection
                .prepare_cached(
                    "UPDATE exchange_symbols SET asset = :asset, parsed_trading_pair = :asset, token = :token, \
                     quote = :quote, price_precision = coalesce(:price, price_precision), \
                     quantity_precision = coalesce(:quantity, quantity_precision), \
                     tick_size = coalesce(:tick, tick_size), min_notional = coalesce(:notional, min_notional), \
                     delivery_ts_ms = :delivery, updated_at = CURRENT_TIMESTAMP \
                     WHERE id = :id AND NOT (asset IS :asset AND parsed_trading_pair IS :asset AND token IS :token \
                     AND quote IS :quote AND price_precision IS coalesce(:price, price_precision) \
                     AND quantity_precision IS coalesce(:quantity, quantity_precision) \
                     AND tick_size IS coalesce(:tick, tick_size) AND min_notional IS coalesce(:notional, min_notional) \
                     AND delivery_ts_ms IS :delivery)",
                )?
                .execute(named_params! {
                    ":id": id,
                    ":asset": instrument.symbol,
                    ":token": instrument.token,
                    ":quote": instrument.quote,
                    ":price": instrument.price_precision,
                    ":quantity": instrument.quantity_precision,
                    ":tick": instrument.tick_size,
                    ":notional": instrument.min_notional,
                    ":delivery": instrument.delivery_ms,
                })?;
            if changed == 0 { counts.unchanged += 1 } else { counts.updated += 1 }
        }
        None if instrument.trading => {
            let inserted = connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO exchange_symbols (api_system_id, asset, parsed_trading_pair, token, quote, \
                     price_precision, quantity_precision, tick_size, min_notional, delivery_ts_ms) \
                     VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute((
                    system,
                    &instrument.symbol,
                    &instrument.token,
                    &instrument.quote,
                    instrument.price_precision,
                    instrument.quantity_precision,
                    &instrument.tick_size,
                    &instrument.min_notional,
                    instrument.delivery_ms,
                ))?;
            if inserted == 0 { counts.skipped += 1 } else { counts.inserted += 1 }
        }
        None => counts.skipped += 1,
    }
    Ok(())
}

/// Token and quote of a Binance symbol, by its ending: `BTCUSDT` is `BTC` and `USDT`, `ETHUSDT_261225` keeps its date in
/// the token so that it never shares a price with the perpetual. A symbol with no known ending is all token with an empty
/// quote: it gets its own price and matches no other exchange's row.
#[must_use]
pub fn split_symbol(symbol: &str) -> (String, String) {
    let (pair, date) = symbol.split_once('_').map_or((symbol, None), |(pair, date)| (pair, Some(date)));
    for quote in QUOTES {
        if let Some(token) = pair.strip_suffix(quote).filter(|token| !token.is_empty()) {
            let token = date.map_or_else(|| token.to_owned(), |date| format!("{token}_{date}"));
            return (token, quote.to_owned());
        }
    }
    (symbol.to_owned(), String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_splits_at_a_known_quote() {
        for (symbol, token, quote) in [
            ("BTCUSDT", "BTC", "USDT"),
            ("1000PEPEUSDC", "1000PEPE", "USDC"),
            ("ETHBTC", "ETH", "BTC"),
            ("BTCFDUSD", "BTC", "FDUSD"),
            ("我踏马来了USDT", "我踏马来了", "USDT"),
            ("ETHUSDT_261225", "ETH_261225", "USDT"),
            ("USDT", "USDT", ""),
            ("BTCDOM", "BTCDOM", ""),
        ] {
            assert_eq!(split_symbol(symbol), (token.to_owned(), quote.to_owned()), "{symbol}");
        }
    }
}
