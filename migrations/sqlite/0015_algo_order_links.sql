-- A triggered algo order becomes a real order under a new id: later events of that id belong to the algo order's row.
CREATE TABLE IF NOT EXISTS algo_order_links (
    id INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL,
    symbol TEXT NOT NULL,
    exchange_order_id TEXT NOT NULL,
    order_id INTEGER NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX algo_order_links_identity_unique ON algo_order_links (account_id, exchange_order_id, symbol);
CREATE INDEX algo_order_links_order_index ON algo_order_links (order_id);
