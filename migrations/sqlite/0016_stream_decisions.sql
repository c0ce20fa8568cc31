-- What became of an order event, and which rule decided; only where an allowlist is set. `idempotency_key` is that of the
-- audit row, `epoch` and `position` are the spooled record's.
CREATE TABLE IF NOT EXISTS stream_decisions (
    id INTEGER PRIMARY KEY,
    idempotency_key TEXT NOT NULL UNIQUE,
    account_id INTEGER NOT NULL,
    order_id INTEGER,
    epoch TEXT NOT NULL,
    position TEXT NOT NULL,
    job_uuid TEXT NOT NULL,
    rule TEXT NOT NULL,
    note TEXT NOT NULL,
    reserved_at TEXT NOT NULL,
    decided_at TEXT NOT NULL
);
CREATE INDEX stream_decisions_order_index ON stream_decisions (order_id);
