-- What the newest applied event said of an order, beside the application's row: a later event is held against it.
-- `child_ended` is the status in which the real order of a triggered algo order ended. Goes with its order.
CREATE TABLE IF NOT EXISTS order_progress (
    order_id INTEGER PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    transaction_time_ms INTEGER,
    filled_quantity TEXT,
    child_ended TEXT,
    updated_at TEXT
);
