-- The narrow side table with one writer. Three quarters of each page stay free (facts: measurements §5); it has no index
-- but its key, and must never get one on the price columns.
CREATE TABLE IF NOT EXISTS exchange_symbol_prices (
    exchange_symbol_id bigint PRIMARY KEY REFERENCES exchange_symbols (id) ON DELETE CASCADE,
    mark_price numeric(36,18),
    mark_price_synced_at timestamptz(3)
) WITH (fillfactor = 25);
