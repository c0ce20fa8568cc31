-- Instruments of all venues. Decimals are TEXT: what the venue wrote, digit for digit. The price columns must never be
-- indexed.
CREATE TABLE IF NOT EXISTS exchange_symbols (
    id INTEGER PRIMARY KEY,
    api_system_id INTEGER NOT NULL REFERENCES api_systems (id),
    token TEXT NOT NULL,
    quote TEXT NOT NULL,
    asset TEXT,
    parsed_trading_pair TEXT,
    is_marked_for_delisting INTEGER NOT NULL DEFAULT 0,
    is_price_aligned INTEGER NOT NULL DEFAULT 1,
    delivery_ts_ms INTEGER,
    price_precision INTEGER,
    quantity_precision INTEGER,
    tick_size TEXT,
    min_notional TEXT,
    mark_price TEXT,
    mark_price_synced_at TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT
);
CREATE UNIQUE INDEX exchange_symbols_system_asset_unique ON exchange_symbols (api_system_id, asset);
CREATE INDEX exchange_symbols_token_quote_index ON exchange_symbols (token, quote);
