-- Every private event, once: `idempotency_key` is of account, system and the recorded bytes. `raw_payload` is the frame byte
-- for byte, so never jsonb, which reorders; `received_at` is the daemon's clock (facts/incumbent.md §1.1).
CREATE TABLE IF NOT EXISTS api_data_stream (
    id INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE RESTRICT,
    api_system_id INTEGER NOT NULL REFERENCES api_systems (id) ON DELETE RESTRICT,
    raw_event_type TEXT NOT NULL,
    event_type TEXT NOT NULL,
    exchange_order_id TEXT,
    client_order_id TEXT,
    symbol TEXT,
    status TEXT,
    normalized_status TEXT,
    price TEXT,
    average_price TEXT,
    original_quantity TEXT,
    filled_quantity TEXT,
    last_filled_price TEXT,
    last_filled_quantity TEXT,
    event_time TEXT,
    received_at TEXT NOT NULL,
    raw_payload TEXT NOT NULL,
    idempotency_key TEXT NOT NULL UNIQUE,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX api_data_stream_account_received_idx ON api_data_stream (account_id, received_at);
CREATE INDEX api_data_stream_system_event_idx ON api_data_stream (api_system_id, event_type, received_at);
CREATE INDEX api_data_stream_exchange_order_idx ON api_data_stream (exchange_order_id);
CREATE INDEX api_data_stream_symbol_received_idx ON api_data_stream (symbol, received_at);
CREATE INDEX api_data_stream_norm_status_idx ON api_data_stream (normalized_status, received_at);
