-- An order of a position. `status` is the exchange's truth, `reference_status` the application's intent; from a stream only
-- `status`, `price`, `filled_at` and the acknowledgement in `reference_status` are written (facts/incumbent.md §1.8, §4.4).
-- An algo order's `exchange_order_id` is its algo id. Ids are text: an exchange's pass 2^63.
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY,
    position_id INTEGER NOT NULL REFERENCES positions (id) ON DELETE RESTRICT,
    uuid TEXT,
    client_order_id TEXT UNIQUE,
    type TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'NEW',
    reference_status TEXT,
    side TEXT,
    position_side TEXT,
    exchange_order_id TEXT,
    quantity TEXT,
    reference_quantity TEXT,
    price TEXT,
    reference_price TEXT,
    is_algo INTEGER NOT NULL DEFAULT 0,
    original_price TEXT,
    original_quantity TEXT,
    recreated_from_order_id INTEGER UNIQUE,
    opened_at TEXT,
    filled_at TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_orders_pos_status_created ON orders (position_id, status, created_at);
CREATE INDEX idx_orders_created_at ON orders (created_at);
CREATE INDEX ord_exchange_order_id_idx ON orders (exchange_order_id);
