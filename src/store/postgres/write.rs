//! What is written to PostgreSQL beside prices: missing rows of the side table, and instruments.

use super::{PostgresStore, literal, quoted};
use crate::domain::Instrument;
use crate::store::error::Result;
use crate::store::shape::{SIDE_TABLE, SYMBOLS_TABLE, WriteCounts};

/// Instruments of one statement.
const CHUNK: usize = 200;

impl PostgresStore {
    /// Gives every instrument without a row in the side table one, without a price. Returns how many.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn ensure_price_rows(&mut self, side_table: &str) -> Result<u64> {
        let table = quoted(side_table);
        let mut affected = Vec::new();
        // No ON CONFLICT with a target: a table of somebody else's may have its unique index elsewhere.
        self.run(
            &format!(
                "INSERT INTO {table} (exchange_symbol_id) SELECT s.id FROM {SYMBOLS_TABLE} s WHERE NOT EXISTS \
                 (SELECT 1 FROM {table} p WHERE p.exchange_symbol_id = s.id) ON CONFLICT DO NOTHING"
            ),
            &mut affected,
        )?;
        Ok(affected.first().copied().unwrap_or_default())
    }

    /// Writes what venues list: a row is found by its venue and the venue's name of it, else by venue, token and quote
    /// where it has no name yet; a trading instrument without a row gets one. Never deletes, never switches anything on
    /// or off. All or nothing.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn upsert_instruments(&mut self, instruments: &[Instrument]) -> Result<WriteCounts> {
        let mut counts = WriteCounts::default();
        self.execute("BEGIN")?;
        let written = instruments.chunks(CHUNK).try_for_each(|chunk| self.upsert_chunk(chunk, &mut counts));
        let ended = written.and_then(|()| self.execute("COMMIT"));
        if ended.is_err() {
            // A connection that broke rolls back by itself.
            let _ = self.execute("ROLLBACK");
        }
        ended.map(|()| counts)
    }

    fn upsert_chunk(&mut self, instruments: &[Instrument], counts: &mut WriteCounts) -> Result<()> {
        let values: Vec<String> = instruments.iter().map(values).collect();
        let listed = format!(
            "WITH listed (canonical, asset, token, quote, price_precision, quantity_precision, tick_size, min_notional, \
             delivery_ts_ms, trading) AS (VALUES {}), \
             known AS (SELECT a.id AS api_system_id, l.*, (SELECT s.id FROM {SYMBOLS_TABLE} s \
             WHERE s.api_system_id = a.id AND (s.asset = l.asset OR (s.asset IS NULL AND s.token = l.token AND \
             s.quote = l.quote)) ORDER BY s.asset IS NULL, s.id LIMIT 1) AS row_id \
             FROM listed l JOIN api_systems a ON a.canonical = l.canonical)",
            values.join(", ")
        );
        let set = "asset = k.asset, parsed_trading_pair = k.asset, token = k.token, quote = k.quote, \
             price_precision = coalesce(k.price_precision, s.price_precision), \
             quantity_precision = coalesce(k.quantity_precision, s.quantity_precision), \
             tick_size = coalesce(k.tick_size, s.tick_size), min_notional = coalesce(k.min_notional, s.min_notional), \
             delivery_ts_ms = k.delivery_ts_ms";
        let differs = "(s.asset, s.parsed_trading_pair, s.token, s.quote, s.price_precision, s.quantity_precision, \
             s.tick_size, s.min_notional, s.delivery_ts_ms) IS DISTINCT FROM (k.asset, k.asset, k.token, k.quote, \
             coalesce(k.price_precision, s.price_precision), coalesce(k.quantity_precision, s.quantity_precision), \
             coalesce(k.tick_size, s.tick_size), coalesce(k.min_notional, s.min_notional), k.delivery_ts_ms)";
        // One snapshot for all parts, so the insert does not see rows of its own and the counts add up.
        let row = self.rows(&format!(
            "{listed}, updated AS (UPDATE {SYMBOLS_TABLE} s SET {set}, updated_at = CURRENT_TIMESTAMP FROM known k \
             WHERE s.id = k.row_id AND {differs} RETURNING s.id), \
             inserted AS (INSERT INTO {SYMBOLS_TABLE} (api_system_id, asset, parsed_trading_pair, token, quote, \
             price_precision, quantity_precision, tick_size, min_notional, delivery_ts_ms) \
             SELECT api_system_id, asset, asset, token, quote, price_precision, quantity_precision, tick_size, \
             min_notional, delivery_ts_ms FROM known WHERE row_id IS NULL AND trading \
             ON CONFLICT DO NOTHING RETURNING id) \
             SELECT (SELECT count(*) FROM inserted), (SELECT count(*) FROM updated), \
             (SELECT count(DISTINCT row_id) FROM known)"
        ))?;
        let field = |at: usize| {
            row.first().and_then(|row| row[at].as_deref()).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
        };
        let (inserted, updated, known) = (field(0), field(1), field(2));
        counts.inserted += inserted;
        counts.updated += updated;
        counts.unchanged += known.saturating_sub(updated);
        counts.skipped += (instruments.len() as u64).saturating_sub(inserted + known);
        Ok(())
    }

    /// Whether the side table is there.
    ///
    /// # Errors
    /// What the server says.
    pub fn has_side_table(&mut self) -> Result<bool> {
        Ok(self.table_shape(SIDE_TABLE)?.exists())
    }
}

fn values(instrument: &Instrument) -> String {
    let text = |text: &Option<String>| text.as_deref().map_or("NULL".to_owned(), literal);
    let number = |number: Option<i64>| number.map_or("NULL".to_owned(), |number| number.to_string());
    format!(
        "({}, {}, {}, {}, {}::int, {}::int, {}::numeric, {}::numeric, {}::bigint, {})",
        literal(instrument.venue.canonical()),
        literal(&instrument.symbol),
        literal(&instrument.token),
        literal(&instrument.quote),
        number(instrument.price_precision.map(i64::from)),
        number(instrument.quantity_precision.map(i64::from)),
        text(&instrument.tick_size),
        text(&instrument.min_notional),
        number(instrument.delivery_ms),
        instrument.trading
    )
}
