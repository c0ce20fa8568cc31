//! Promise: in the embedded store the newest price of every symbol ends in its row, digit for digit and under the time at
//! which it was received, whatever happens to the file in between.

#![cfg(feature = "embedded")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kraite_streams::domain::Clock;
use kraite_streams::prices::price_table::PriceTable;
use kraite_streams::prices::sink_sqlite::SqliteSink;
use kraite_streams::prices::writer::{Turn, Writer, WriterSettings};
use kraite_streams::prices::writer_status::{WriterState, WriterStatus};
use kraite_streams::prices::writer_thread;
use kraite_streams::store::ErrorClass;
use rusqlite::Connection;

#[path = "support/feed.rs"]
mod feed;
use feed::{Feed, TestClock};

const MS: Duration = Duration::from_millis(1);

struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    clock: Arc<TestClock>,
    feed: Feed,
    writer: Writer,
    table: &'static str,
}

impl World {
    fn new(table: &'static str) -> World {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kraite.sqlite");
        let clock = Arc::new(TestClock::default());
        let feed = Feed::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let writer = writer(&path, table, &feed);
        World { _folder: folder, path, clock, feed, writer, table }
    }

    /// Turns the writer for `time`, moving the clock to where it wants to go next.
    fn run(&mut self, time: Duration) {
        let end = self.clock.now().mono.plus(time);
        loop {
            let now = self.clock.now();
            let next = match self.writer.turn(now) {
                Turn::Pause(until) | Turn::Idle(until) => until,
                Turn::Done => return,
            };
            if next >= end {
                self.clock.advance(end.since(now.mono));
                return;
            }
            self.clock.advance(next.since(now.mono).max(MS));
        }
    }

    fn status(&self) -> WriterStatus {
        self.writer.shared().status()
    }

    fn sql(&self) -> Connection {
        let connection = Connection::open(&self.path).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    fn row(&self, asset: &str) -> (Option<String>, Option<String>) {
        row(&self.sql(), self.table, asset)
    }

    #[track_caller]
    fn check(&self, asset: &str, price: &str, stamp: &str) {
        assert_eq!(self.row(asset), (Some(price.to_owned()), Some(stamp.to_owned())), "{asset}");
    }
}

fn writer(path: &Path, table: &str, feed: &Feed) -> Writer {
    let sink = SqliteSink::new(path, &PriceTable::parse(table).unwrap(), "a test, process 7");
    Writer::new(Arc::clone(&feed.board), Box::new(sink), Arc::clone(&feed.clock), WriterSettings::default())
}

fn row(connection: &Connection, table: &str, asset: &str) -> (Option<String>, Option<String>) {
    let key = if table == "exchange_symbols" { "id" } else { "exchange_symbol_id" };
    let sql = format!(
        "SELECT p.mark_price, p.mark_price_synced_at FROM {table} p JOIN exchange_symbols s ON s.id = p.{key} \
         WHERE s.asset = ?1"
    );
    connection.query_row(&sql, [asset], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[test]
fn the_first_ticks_create_rows_and_one_write_takes_both_frames() {
    for table in ["exchange_symbols", "exchange_symbol_prices"] {
        let mut world = World::new(table);
        world.run(10 * MS);
        assert_eq!(world.status().state, WriterState::Writing);
        let first = world.feed.frame(&[("BTCUSDT", "86537.10501823"), ("我踏马来了USDT", "0.00000001")]);
        world.run(20 * MS);
        let second = world.feed.frame(&[("MSTRUSDT", "00172.34464290")]);
        assert_eq!(world.status().rows_written, 0, "not settled yet");
        world.run(10 * MS);
        let status = world.status();
        assert_eq!((status.rows_written, status.writes, status.commits), (3, 1, 1));
        assert_eq!(status.tick_to_commit_us.count, 2, "one sample a frame");
        assert!(status.tick_to_commit_us.max >= 25_000);
        world.check("BTCUSDT", "86537.10501823", &first);
        world.check("我踏马来了USDT", "0.00000001", &first);
        world.check("MSTRUSDT", "00172.34464290", &second);
        // The next write waits for its interval, and then takes the newest value only.
        world.feed.frame(&[("BTCUSDT", "86537.2")]);
        world.run(100 * MS);
        let newest = world.feed.frame(&[("BTCUSDT", "86537.3")]);
        world.run(200 * MS);
        assert_eq!(world.status().writes, 1);
        world.run(300 * MS);
        assert_eq!((world.status().writes, world.status().rows_written), (2, 4));
        world.check("BTCUSDT", "86537.3", &newest);
        assert_eq!(world.status().symbols_unmapped, 0);
    }
}

#[test]
fn a_locked_file_keeps_the_newest_value_and_its_time() {
    let mut world = World::new("exchange_symbol_prices");
    world.feed.frame(&[("BTCUSDT", "1"), ("ETHUSDT", "2")]);
    world.run(600 * MS);
    let locker = world.sql();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let kept = world.feed.frame(&[("ETHUSDT", "2.5")]);
    world.feed.frame(&[("BTCUSDT", "1.1")]);
    world.run(600 * MS);
    assert_eq!(world.status().state, WriterState::Away(ErrorClass::Transient));
    let newest = world.feed.frame(&[("BTCUSDT", "1.2")]);
    locker.execute_batch("COMMIT").unwrap();
    world.run(Duration::from_secs(6));
    assert_eq!(world.status().state, WriterState::Writing);
    assert_eq!(world.status().sentence, "");
    world.check("BTCUSDT", "1.2", &newest);
    world.check("ETHUSDT", "2.5", &kept);
}

#[test]
fn a_missing_table_and_a_missing_file_come_back() {
    let mut world = World::new("exchange_symbol_prices");
    world.feed.frame(&[("BTCUSDT", "1")]);
    world.run(600 * MS);
    world.sql().execute_batch("ALTER TABLE exchange_symbol_prices RENAME TO away").unwrap();
    let newest = world.feed.frame(&[("BTCUSDT", "1.5")]);
    world.run(Duration::from_secs(1));
    assert_eq!(world.status().state, WriterState::Away(ErrorClass::MissingTable));
    assert!(world.status().sentence.contains("exchange_symbol_prices"), "{}", world.status().sentence);
    world.sql().execute_batch("ALTER TABLE away RENAME TO exchange_symbol_prices").unwrap();
    world.run(Duration::from_secs(6));
    assert_eq!(world.status().state, WriterState::Writing);
    world.check("BTCUSDT", "1.5", &newest);
    // A deleted file is noticed with the next load of the map, and filled anew from the board.
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", world.path.display()));
    }
    world.run(Duration::from_secs(310));
    assert_eq!(world.status().state, WriterState::Writing);
    world.check("BTCUSDT", "1.5", &newest);
}

#[test]
fn an_outage_is_one_line_and_its_end_another() {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut world = World::new("exchange_symbol_prices");
        world.feed.frame(&[("BTCUSDT", "1")]);
        world.run(600 * MS);
        world.sql().execute_batch("ALTER TABLE exchange_symbol_prices RENAME TO away").unwrap();
        for _ in 0..30 {
            world.feed.frame(&[("BTCUSDT", "2")]);
            world.run(Duration::from_secs(1));
        }
        world.sql().execute_batch("ALTER TABLE away RENAME TO exchange_symbol_prices").unwrap();
        world.run(Duration::from_secs(6));
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    assert_eq!(count("prices cannot be written"), 1, "{text}");
    assert_eq!(count("writing prices again"), 1, "{text}");
    assert_eq!(count(" WARN "), 1, "{text}");
    assert!(text.contains("lasted_s=3"), "{text}");
}

#[test]
fn a_reload_reaches_new_rows_without_a_tick() {
    let mut world = World::new("exchange_symbol_prices");
    let stamp = world.feed.frame(&[("BTCUSDT", "86537.10501823"), ("1000SATSUSDT", "0.00010123")]);
    world.run(600 * MS);
    world
        .sql()
        .execute_batch(
            "INSERT INTO exchange_symbols (api_system_id, token, quote, asset) SELECT id, 'XBT', 'USDT', 'XBTUSDTM' \
             FROM api_systems WHERE canonical = 'kucoin'; \
             INSERT INTO exchange_symbols (api_system_id, token, quote, asset) SELECT id, 'BTC', 'USDT', 'BTCUSDT:bybit' \
             FROM api_systems WHERE canonical = 'bybit'; \
             INSERT INTO exchange_symbols (api_system_id, token, quote, asset) SELECT id, '10000SATS', 'USDT', \
             '10000SATSUSDTM' FROM api_systems WHERE canonical = 'kucoin'; \
             INSERT INTO token_mappers (binance_token, other_token, other_api_system_id) SELECT '1000SATS', '10000SATS', \
             id FROM api_systems WHERE canonical = 'kucoin';",
        )
        .unwrap();
    world.writer.shared().request_reload();
    world.run(600 * MS);
    world.check("XBTUSDTM", "86537.10501823", &stamp);
    world.check("BTCUSDT:bybit", "86537.10501823", &stamp);
    world.check("10000SATSUSDTM", "0.0010123", &stamp);
    assert_eq!(world.status().tick_to_commit_us.count, 1, "a value written again is no news");
}

#[test]
fn a_row_that_refuses_is_named_and_hurts_nobody() {
    let mut world = World::new("exchange_symbols");
    world.feed.frame(&[("BTCUSDT", "1"), ("ETHUSDT", "2"), ("BNBUSDT", "3")]);
    world.run(600 * MS);
    world
        .sql()
        .execute_batch(
            "CREATE TRIGGER no BEFORE UPDATE ON exchange_symbols WHEN NEW.mark_price = '6.66' \
             BEGIN SELECT raise(ABORT, 'not this one'); END",
        )
        .unwrap();
    let stamp = world.feed.frame(&[("BTCUSDT", "1.1"), ("ETHUSDT", "6.66"), ("BNBUSDT", "3.1")]);
    world.run(600 * MS);
    let status = world.status();
    assert_eq!(status.state, WriterState::Writing);
    assert_eq!(status.quarantined.count, 1);
    assert!(status.quarantined.first[0].starts_with("ETHUSDT (row "), "{}", status.quarantined);
    world.check("BTCUSDT", "1.1", &stamp);
    world.check("BNBUSDT", "3.1", &stamp);
    assert_eq!(world.row("ETHUSDT").0.as_deref(), Some("2"));
    let next = world.feed.frame(&[("ETHUSDT", "2.2")]);
    world.run(600 * MS);
    world.check("ETHUSDT", "2.2", &next);
    assert_eq!(world.status().quarantined.count, 0);
}

#[test]
fn a_row_that_is_gone_is_named_until_the_map_is_loaded_again() {
    let mut world = World::new("exchange_symbol_prices");
    world.feed.frame(&[("BTCUSDT", "1"), ("ETHUSDT", "2")]);
    world.run(600 * MS);
    world.sql().execute_batch("DELETE FROM exchange_symbol_prices WHERE exchange_symbol_id = 2").unwrap();
    let stamp = world.feed.frame(&[("BTCUSDT", "1.1"), ("ETHUSDT", "2.1")]);
    world.run(600 * MS);
    assert_eq!(world.status().missing.first, ["2"]);
    world.check("BTCUSDT", "1.1", &stamp);
    world.writer.shared().request_reload();
    world.run(600 * MS);
    assert_eq!(world.status().missing.count, 0);
    world.check("ETHUSDT", "2.1", &stamp);
}

#[test]
fn a_file_locked_while_symbols_appear_gets_their_rows_later() {
    let mut world = World::new("exchange_symbol_prices");
    world.run(MS);
    let locker = world.sql();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let stamp = world.feed.frame(&[("BTCUSDT", "1"), ("ETHUSDT", "2")]);
    world.run(Duration::from_secs(1));
    assert_eq!(world.status().state, WriterState::Away(ErrorClass::Transient));
    locker.execute_batch("COMMIT").unwrap();
    world.run(Duration::from_secs(6));
    assert_eq!(world.status().state, WriterState::Writing);
    world.check("BTCUSDT", "1", &stamp);
    world.check("ETHUSDT", "2", &stamp);
}

#[test]
fn a_second_writer_waits_and_then_refuses_by_name() {
    let mut world = World::new("exchange_symbol_prices");
    world.run(MS);
    let mut second = writer(&world.path, "exchange_symbol_prices", &world.feed);
    let mut waited = Duration::ZERO;
    let status = loop {
        match second.turn(world.clock.now()) {
            Turn::Pause(until) => {
                let pause = until.since(world.clock.now().mono);
                assert_eq!(second.shared().status().state, WriterState::WaitingForLock);
                waited += pause;
                world.clock.advance(pause);
            }
            Turn::Idle(_) => panic!("two writers at once"),
            Turn::Done => break second.shared().status(),
        }
    };
    assert_eq!(status.state, WriterState::Refused);
    assert!(status.sentence.contains("a test, process 7"), "{}", status.sentence);
    assert!((Duration::from_secs(10)..Duration::from_secs(16)).contains(&waited), "{waited:?}");
    // Once the first one has stopped, the next start succeeds.
    world.writer.shared().request_stop();
    assert_eq!(world.writer.turn(world.clock.now()), Turn::Done);
    let mut third = writer(&world.path, "exchange_symbol_prices", &world.feed);
    assert!(matches!(third.turn(world.clock.now()), Turn::Idle(_)));
}

#[test]
fn quiet_symbols_are_named_once_and_forgiven() {
    let mut world = World::new("exchange_symbol_prices");
    world.feed.frame(&[("BTCUSDT", "1"), ("TONUSDT", "2")]);
    for _ in 0..8 {
        world.run(Duration::from_secs(10));
        world.feed.frame(&[("BTCUSDT", "1")]);
    }
    world.run(Duration::from_secs(10));
    assert_eq!(world.status().unseen.first, ["TONUSDT"]);
    // A row whose symbol the stream never showed, as after a rename.
    world
        .sql()
        .execute_batch(
            "INSERT INTO exchange_symbols (api_system_id, token, quote, asset, parsed_trading_pair) \
             VALUES (1, 'OLD', 'USDT', 'OLDUSDT', 'OLDUSDT')",
        )
        .unwrap();
    world.writer.shared().request_reload();
    world.run(Duration::from_secs(11));
    assert_eq!(world.status().unseen.first, ["OLDUSDT", "TONUSDT"]);
    world.feed.frame(&[("TONUSDT", "2")]);
    world.feed.frame(&[("OLDUSDT", "2")]);
    world.run(Duration::from_secs(11));
    assert_eq!(world.status().unseen.count, 0);
}

#[test]
fn the_thread_writes_the_last_tick_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kraite.sqlite");
    let clock: Arc<dyn Clock> = Arc::new(kraite_streams::domain::time::SystemClock::start());
    let mut feed = Feed::new(Arc::clone(&clock));
    let writer = writer(&path, "exchange_symbol_prices", &feed);
    let mut handle = writer_thread::spawn(writer, Arc::clone(&feed.board), clock).unwrap();
    feed.frame(&[("BTCUSDT", "1")]);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while handle.status().rows_written == 0 {
        assert!(std::time::Instant::now() < deadline, "{:?}", handle.status());
        std::thread::sleep(5 * MS);
    }
    let stamp = feed.frame(&[("BTCUSDT", "2"), ("ETHUSDT", "3")]);
    assert!(handle.stop(Duration::from_secs(10)));
    assert!(handle.is_done());
    assert_eq!(handle.status().state, WriterState::Stopped);
    let connection = Connection::open(&path).unwrap();
    assert_eq!(row(&connection, "exchange_symbol_prices", "BTCUSDT"), (Some("2".into()), Some(stamp.clone())));
    assert_eq!(row(&connection, "exchange_symbol_prices", "ETHUSDT"), (Some("3".into()), Some(stamp)));
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
