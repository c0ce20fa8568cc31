-- What an order's change asks the application to do. `live_key`: while an intent with it lives, no other is written; `dedupe`:
-- no two are ever the same. A relay sets `pushed_at`; `finished_at` is the application's to set when the workflow has ended.
CREATE TABLE IF NOT EXISTS workflow_intents (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    position_id INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    order_id INTEGER,
    arguments TEXT NOT NULL,
    queue TEXT NOT NULL,
    live_key TEXT NOT NULL,
    dedupe TEXT NOT NULL UNIQUE,
    pushed_at TEXT,
    finished_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX workflow_intents_live_key_index ON workflow_intents (live_key);
CREATE INDEX workflow_intents_unpushed_index ON workflow_intents (id) WHERE pushed_at IS NULL;
CREATE INDEX workflow_intents_order_index ON workflow_intents (order_id);
CREATE INDEX workflow_intents_position_index ON workflow_intents (position_id);
