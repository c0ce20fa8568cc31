-- What the newest applied event said of an order, beside the application's row: a later event is held against it.
-- `child_ended` is the status in which the real order of a triggered algo order ended. Goes with its order.
CREATE TABLE IF NOT EXISTS order_progress (
    order_id bigint PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    transaction_time_ms bigint,
    filled_quantity text,
    child_ended varchar(32),
    updated_at timestamptz(3)
) WITH (fillfactor = 70);
