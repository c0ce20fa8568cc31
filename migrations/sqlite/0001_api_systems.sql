-- Venues. One column a line: the migrator reads the declared columns from this text.
CREATE TABLE IF NOT EXISTS api_systems (
    id INTEGER PRIMARY KEY,
    canonical TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    is_exchange INTEGER NOT NULL DEFAULT 1,
    is_active INTEGER NOT NULL DEFAULT 1,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT
);
INSERT INTO api_systems (canonical, name) VALUES
    ('binance', 'Binance'),
    ('bybit', 'Bybit'),
    ('kucoin', 'KuCoin'),
    ('bitget', 'Bitget');
