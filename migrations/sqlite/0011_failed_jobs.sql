-- Laravel's own table (`database-uuids`), so that `queue:retry` takes our failures too (facts/laravel_queue.md §4).
CREATE TABLE IF NOT EXISTS failed_jobs (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    connection TEXT NOT NULL,
    queue TEXT NOT NULL,
    payload TEXT NOT NULL,
    exception TEXT NOT NULL,
    failed_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
