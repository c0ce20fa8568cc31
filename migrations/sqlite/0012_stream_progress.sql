-- How far an account's jobs are applied, in the epoch of a spool; a row whose `epoch` is NULL was only ever locked. A worker
-- whose lease is below `fence` has lost it and writes nothing. Rewritten with every job, so half of each page stays free.
CREATE TABLE IF NOT EXISTS stream_progress (
    account_id INTEGER PRIMARY KEY,
    epoch TEXT,
    position TEXT,
    fence TEXT,
    updated_at TEXT
);
