-- A position of an account: what the application believes to hold. Only `status` is ever written from a stream. Of the
-- incumbent's columns these are the ones that this system reads, writes or tells people (facts/incumbent.md §1.9).
CREATE TABLE IF NOT EXISTS positions (
    id INTEGER PRIMARY KEY,
    uuid TEXT,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE RESTRICT,
    exchange_symbol_id INTEGER REFERENCES exchange_symbols (id),
    parsed_trading_pair TEXT,
    status TEXT NOT NULL DEFAULT 'new',
    direction TEXT,
    quantity TEXT,
    opening_price TEXT,
    closing_price TEXT,
    margin TEXT,
    first_profit_price TEXT,
    total_limit_orders INTEGER,
    was_waped INTEGER NOT NULL DEFAULT 0,
    waped_at TEXT,
    opened_at TEXT,
    closed_at TEXT,
    closed_by TEXT,
    error_message TEXT,
    pnl TEXT,
    manually_closed_at TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX positions_account_pair_index ON positions (account_id, parsed_trading_pair);
