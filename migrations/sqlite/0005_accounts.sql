-- One set of venue credentials a row. Keys and secrets are in Laravel's `encrypted` format, never plain; `deleted_at` is
-- Laravel's soft delete. Of the incumbent's columns these are the ones that this system reads or writes.
CREATE TABLE IF NOT EXISTS accounts (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    user_id INTEGER,
    api_system_id INTEGER NOT NULL REFERENCES api_systems (id),
    can_trade INTEGER NOT NULL DEFAULT 1,
    is_active INTEGER NOT NULL DEFAULT 1,
    disabled_reason TEXT,
    disabled_at TEXT,
    on_hedge_mode INTEGER NOT NULL DEFAULT 0,
    allow_other_positions INTEGER NOT NULL DEFAULT 0,
    allow_other_orders INTEGER NOT NULL DEFAULT 0,
    binance_api_key TEXT,
    binance_api_secret TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP,
    deleted_at TEXT
);
CREATE UNIQUE INDEX accounts_user_id_name_unique ON accounts (user_id, name);
CREATE INDEX accounts_api_system_id_index ON accounts (api_system_id);
