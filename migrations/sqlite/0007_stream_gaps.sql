-- A row means: between `started_at` and `ended_at` nobody listened for this account, and a venue does not replay.
-- `started_at` is never later than the truth; NULL is "never listened before". `epoch` and `position` name the spool's gap
-- record, so that a record written twice is one row. From `opened_at` on: what a reconcile made of it.
CREATE TABLE IF NOT EXISTS stream_gaps (
    id INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE RESTRICT,
    api_system_id INTEGER NOT NULL REFERENCES api_systems (id),
    started_at TEXT,
    ended_at TEXT NOT NULL,
    reason TEXT NOT NULL,
    epoch TEXT,
    position INTEGER,
    opened_at TEXT,
    reconciled_at TEXT,
    outcome TEXT,
    outcome_note TEXT,
    recovered_count INTEGER,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX stream_gaps_identity_unique ON stream_gaps (epoch, position);
CREATE INDEX stream_gaps_account_ended_index ON stream_gaps (account_id, ended_at);
