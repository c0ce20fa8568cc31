-- Where a venue names a token differently: BTC on Binance is XBT on KuCoin. `price_ratio` is what one unit of the other
-- venue's contract costs in units of Binance's; without it the ratio follows from the two names.
CREATE TABLE IF NOT EXISTS token_mappers (
    id INTEGER PRIMARY KEY,
    binance_token TEXT NOT NULL,
    other_token TEXT NOT NULL,
    other_api_system_id INTEGER NOT NULL REFERENCES api_systems (id),
    price_ratio TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT
);
CREATE UNIQUE INDEX token_mappers_binance_other_unique ON token_mappers (binance_token, other_api_system_id);
CREATE INDEX token_mappers_other_token_system_index ON token_mappers (other_token, other_api_system_id);
INSERT INTO token_mappers (binance_token, other_token, other_api_system_id)
    SELECT 'BTC', 'XBT', id FROM api_systems WHERE canonical = 'kucoin';
