-- When an account was last asked for its orders (`asked_at`), and when they were last compared with the local ones in full
-- (`compared_at`): the safety net asks the stalest first, whichever process it runs in.
CREATE TABLE IF NOT EXISTS order_comparisons (
    account_id bigint PRIMARY KEY,
    asked_at timestamptz(3) NOT NULL,
    compared_at timestamptz(3)
) WITH (fillfactor = 70);
