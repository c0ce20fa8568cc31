-- A row means: this account is being streamed. `listen_key` is in Laravel's `encrypted` format. Other programs read
-- MAX(last_keep_alive_at) as a sign of life, and last_frame_at as "this socket lives" (pings count).
CREATE TABLE IF NOT EXISTS binance_listen_keys (
    id INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL UNIQUE REFERENCES accounts (id) ON DELETE RESTRICT,
    listen_key TEXT NOT NULL,
    last_created_at TEXT,
    last_keep_alive_at TEXT,
    last_frame_at TEXT,
    last_keep_alive_status TEXT,
    failure_count INTEGER NOT NULL DEFAULT 0,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP
);
