-- The narrow side table with one writer. The price columns must never be indexed.
CREATE TABLE IF NOT EXISTS exchange_symbol_prices (
    exchange_symbol_id INTEGER PRIMARY KEY REFERENCES exchange_symbols (id) ON DELETE CASCADE,
    mark_price TEXT,
    mark_price_synced_at TEXT
);
