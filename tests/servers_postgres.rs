//! Promise: with PostgreSQL the newest price of every symbol ends in its row, digit for digit and under the time at which
//! it was received, whatever happens to the server in between. Real servers, killed and locked for real.

#![cfg(feature = "servers")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use kraite_streams::domain::{BadPrice, Clock, Instrument, Venue};
use kraite_streams::prices::case_when::{Form, Transactions};
use kraite_streams::prices::price_table::PriceTable;
use kraite_streams::prices::sink_postgres::PostgresSink;
use kraite_streams::prices::writer::{Turn, Writer, WriterSettings};
use kraite_streams::prices::writer_status::{WriterState, WriterStatus};
use kraite_streams::prices::writer_thread;
use kraite_streams::store::ErrorClass;
use kraite_streams::store::postgres::{PostgresOptions, PostgresStore};

#[path = "support/feed.rs"]
mod feed;
#[path = "support/postgres_server.rs"]
mod postgres_server;
use feed::{Feed, TestClock};
use postgres_server::PostgresServer;

const MS: Duration = Duration::from_millis(1);
const SIDE: &str = "exchange_symbol_prices";

struct World {
    clock: Arc<TestClock>,
    feed: Feed,
    writer: Writer,
    symbols: Vec<String>,
    table: &'static str,
    server: PostgresServer,
}

impl World {
    /// A migrated database with `count` Binance symbols; `sql` runs before the writer is built.
    fn new(table: &'static str, count: usize, sql: &str) -> World {
        let server = PostgresServer::start();
        let symbols = prepare(&server, count);
        server.client("postgres").batch_execute(sql).unwrap();
        let clock = Arc::new(TestClock::default());
        let feed = Feed::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let writer = writer(&server, table, &feed);
        World { clock, feed, writer, symbols, table, server }
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

    /// One frame with all symbols, their price `base` and the symbol's number.
    fn tick(&mut self, base: u64) -> String {
        let prices: Vec<String> = (0..self.symbols.len()).map(|n| format!("{base}.{n:08}")).collect();
        let frame: Vec<_> = self.symbols.iter().map(String::as_str).zip(prices.iter().map(String::as_str)).collect();
        self.feed.frame(&frame)
    }

    fn status(&self) -> WriterStatus {
        self.writer.shared().status()
    }

    fn sql(&self, text: &str) {
        self.server.client("postgres").batch_execute(text).unwrap();
    }

    /// `(asset, price, stamp)` of all rows, as text.
    fn rows(&self) -> Vec<(String, String, String)> {
        rows(&self.server, self.table)
    }

    #[track_caller]
    fn check_all(&self, base: u64, stamp: &str) {
        for (n, (asset, price, found)) in self.rows().into_iter().enumerate() {
            assert_eq!((price, found.as_str()), (format!("{base}.{n:08}0000000000"), stamp), "{asset}");
        }
    }
}

fn prepare(server: &PostgresServer, count: usize) -> Vec<String> {
    let mut store = PostgresStore::connect(&server.url("postgres"), &PostgresOptions::command("a test")).unwrap();
    store.migrate().unwrap();
    let instruments: Vec<Instrument> = (0..count).map(|n| instrument(&format!("T{n:04}"))).collect();
    assert_eq!(store.upsert_instruments(&instruments).unwrap().inserted, count as u64);
    instruments.into_iter().map(|instrument| instrument.symbol).collect()
}

fn instrument(token: &str) -> Instrument {
    Instrument {
        venue: Venue::Binance,
        symbol: format!("{token}USDT"),
        token: token.to_owned(),
        quote: "USDT".to_owned(),
        price_precision: Some(8),
        quantity_precision: None,
        tick_size: None,
        min_notional: None,
        delivery_ms: None,
        trading: true,
    }
}

fn writer(server: &PostgresServer, table: &str, feed: &Feed) -> Writer {
    let options = PostgresOptions::prices("kraite-streams prices, a test");
    let table = PriceTable::parse(table).unwrap();
    let sink = PostgresSink::new(server.url("postgres"), options, table, Form::CaseBucketed, 100);
    Writer::new(Arc::clone(&feed.board), Box::new(sink), Arc::clone(&feed.clock), WriterSettings::default())
}

fn rows(server: &PostgresServer, table: &str) -> Vec<(String, String, String)> {
    let key = if table == SIDE { "exchange_symbol_id" } else { "id" };
    let sql = format!(
        "SELECT s.asset, coalesce(p.mark_price::text, ''), coalesce(to_char(p.mark_price_synced_at AT TIME ZONE 'UTC', \
         'YYYY-MM-DD HH24:MI:SS.MS'), '') FROM {table} p JOIN exchange_symbols s ON s.id = p.{key} ORDER BY s.asset"
    );
    let found = server.client("postgres").query(&sql, &[]).unwrap();
    found.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[test]
fn every_row_is_right_after_a_kill_and_a_restart() {
    let mut world = World::new(SIDE, 250, "");
    world.tick(1);
    world.run(600 * MS);
    assert_eq!(world.status().rows_written, 250);
    world.tick(2);
    world.run(600 * MS);
    world.server.kill();
    let stamp = world.tick(3);
    world.run(Duration::from_secs(2));
    assert_eq!(world.status().state, WriterState::Away(ErrorClass::Unreachable));
    // Only one symbol ticks on; all the others keep value and time of the last frame that had them.
    let alone = world.feed.frame(&[("T0000USDT", "9.5")]);
    world.run(Duration::from_secs(20));
    world.server.restart();
    world.run(Duration::from_secs(6));
    assert_eq!(world.status().state, WriterState::Writing, "{}", world.status().sentence);
    let rows = world.rows();
    assert_eq!((rows[0].1.as_str(), rows[0].2.as_str()), ("9.500000000000000000", alone.as_str()));
    for (n, (asset, price, found)) in rows.iter().enumerate().skip(1) {
        assert_eq!((price.as_str(), found), (format!("3.{n:08}0000000000").as_str(), &stamp), "{asset}");
    }
    assert!(world.status().sessions >= 2);
    assert!(!format!("{:?}", world.status()).contains(postgres_server::PASSWORD));
}

#[test]
fn a_thread_survives_two_kills_under_a_running_feed() {
    let mut server = PostgresServer::start();
    let symbols = prepare(&server, 60);
    let clock: Arc<dyn Clock> = Arc::new(kraite_streams::domain::time::SystemClock::start());
    let mut feed = Feed::new(Arc::clone(&clock));
    let writer = writer(&server, SIDE, &feed);
    let mut handle = writer_thread::spawn(writer, Arc::clone(&feed.board), clock).unwrap();
    let mut stamp = String::new();
    let mut base = 0;
    let mut ticks = |feed: &mut Feed, count: usize| {
        for _ in 0..count {
            base += 1;
            let prices: Vec<String> = (0..symbols.len()).map(|n| format!("{base}.{n}")).collect();
            let frame: Vec<_> = symbols.iter().map(String::as_str).zip(prices.iter().map(String::as_str)).collect();
            stamp = feed.frame(&frame);
            std::thread::sleep(40 * MS);
        }
        (base, stamp.clone())
    };
    for _ in 0..2 {
        ticks(&mut feed, 20);
        server.kill();
        ticks(&mut feed, 20);
        server.restart();
    }
    let (base, stamp) = ticks(&mut feed, 1);
    let deadline = Instant::now() + Duration::from_secs(30);
    let right = |server: &PostgresServer| {
        rows(server, SIDE).iter().all(|(asset, price, found)| {
            let n: usize = asset[1..5].parse().unwrap();
            let digits = price.trim_end_matches('0').trim_end_matches('.');
            let expected = format!("{base}.{n}");
            found == &stamp && digits == expected.trim_end_matches('0').trim_end_matches('.')
        })
    };
    while !right(&server) {
        assert!(Instant::now() < deadline, "{:?}", handle.status());
        std::thread::sleep(50 * MS);
    }
    assert!(handle.stop(Duration::from_secs(10)));
    assert_eq!(handle.status().state, WriterState::Stopped);
}

#[test]
fn a_locked_row_holds_up_its_chunk_only_and_not_for_ever() {
    let mut world = World::new(SIDE, 300, "");
    world.tick(1);
    world.run(600 * MS);
    let mut locker = world.server.client("postgres");
    let mut lock = locker.transaction().unwrap();
    lock.execute("SELECT 1 FROM exchange_symbol_prices WHERE exchange_symbol_id = 5 FOR UPDATE", &[]).unwrap();
    let stamp = world.tick(2);
    world.run(600 * MS);
    assert_eq!(world.status().state, WriterState::Away(ErrorClass::Transient));
    let rows = world.rows();
    assert!(rows[4].1.starts_with("1."), "{:?}", rows[4]);
    let written = rows.iter().filter(|(_, price, found)| price.starts_with("2.") && *found == stamp).count();
    assert_eq!(written, 200, "the two chunks without the locked row");
    lock.rollback().unwrap();
    world.run(Duration::from_secs(6));
    assert_eq!(world.status().state, WriterState::Writing);
    world.check_all(2, &stamp);
}

#[test]
fn many_locked_rows_do_not_starve_the_others() {
    let mut world = World::new(SIDE, 500, "");
    world.tick(1);
    world.run(600 * MS);
    let mut locker = world.server.client("postgres");
    let mut lock = locker.transaction().unwrap();
    // One row in each of the first three chunks of five.
    let locked = "SELECT 1 FROM exchange_symbol_prices WHERE exchange_symbol_id IN (50, 150, 250) FOR UPDATE";
    lock.execute(locked, &[]).unwrap();
    let stamp = world.tick(2);
    world.run(Duration::from_secs(3));
    assert_eq!(world.status().state, WriterState::Away(ErrorClass::Transient));
    let written = world.rows().iter().filter(|(_, _, found)| *found == stamp).count();
    assert_eq!(written, 200, "the two chunks without a locked row");
    lock.rollback().unwrap();
    world.run(Duration::from_secs(6));
    world.check_all(2, &stamp);
}

#[test]
fn a_server_that_answers_nothing_holds_up_the_writer_only() {
    let server = PostgresServer::start();
    prepare(&server, 2);
    let clock: Arc<dyn Clock> = Arc::new(kraite_streams::domain::time::SystemClock::start());
    let mut feed = Feed::new(Arc::clone(&clock));
    let writer = writer(&server, SIDE, &feed);
    let mut handle = writer_thread::spawn(writer, Arc::clone(&feed.board), clock).unwrap();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(10 * MS);
        }
    };
    feed.frame(&[("T0000USDT", "1")]);
    wait("first write", &|| handle.status().rows_written == 1);
    let query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'kraite-streams%'";
    let backend: i32 = server.client("postgres").query_one(query, &[]).unwrap().get(0);
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &backend.to_string()]).status().unwrap();
        assert!(sent.success());
    };
    signal("-STOP");
    feed.frame(&[("T0000USDT", "2")]);
    wait("a write under way", &|| handle.status().writing_since.is_some());
    let stamp = feed.frame(&[("T0000USDT", "3"), ("T0001USDT", "4")]);
    assert!(!handle.stop(200 * MS), "nobody waits for it for ever");
    assert!(!handle.is_done());
    signal("-CONT");
    assert!(handle.stop(Duration::from_secs(10)));
    let rows = rows(&server, SIDE);
    assert_eq!((rows[0].1.as_str(), &rows[0].2), ("3.000000000000000000", &stamp));
    assert_eq!((rows[1].1.as_str(), &rows[1].2), ("4.000000000000000000", &stamp));
}

#[test]
fn a_read_only_server_and_a_missing_table_are_waited_for() {
    let mut world = World::new(SIDE, 20, "");
    world.tick(1);
    world.run(600 * MS);
    let read_only = |world: &World, on: &str| {
        world.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {on}"));
        world.sql("SELECT pg_reload_conf()");
        std::thread::sleep(200 * MS);
    };
    read_only(&world, "on");
    world.tick(2);
    world.run(Duration::from_secs(2));
    assert_eq!(world.status().state, WriterState::Away(ErrorClass::ReadOnly), "{}", world.status().sentence);
    let stamp = world.tick(3);
    read_only(&world, "off");
    world.run(Duration::from_secs(6));
    world.check_all(3, &stamp);
    world.sql("ALTER TABLE exchange_symbol_prices RENAME TO away");
    let stamp = world.tick(4);
    world.run(Duration::from_secs(2));
    assert_eq!(world.status().state, WriterState::Away(ErrorClass::MissingTable), "{}", world.status().sentence);
    world.sql("ALTER TABLE away RENAME TO exchange_symbol_prices");
    world.run(Duration::from_secs(6));
    assert_eq!(world.status().state, WriterState::Writing);
    world.check_all(4, &stamp);
}

#[test]
fn a_column_decides_what_fits_and_stamps_are_cut_not_rounded() {
    let mut world = World::new(
        SIDE,
        3,
        "ALTER TABLE exchange_symbol_prices ALTER mark_price TYPE numeric(20,8), \
         ALTER mark_price_synced_at TYPE timestamp(0)",
    );
    world.clock.advance(999 * MS);
    world.feed.frame(&[("T0000USDT", "0.5"), ("T0001USDT", "0.5"), ("T0002USDT", "0.5")]);
    world.run(600 * MS);
    let second = "2026-11-23 07:30:15.000".to_owned();
    world.feed.frame(&[
        ("T0000USDT", "0.000000001"),
        ("T0001USDT", "1000000000000"),
        ("T0002USDT", "999999999999.99999999"),
    ]);
    world.run(600 * MS);
    let rows = world.rows();
    assert_eq!((&rows[0].1[..], &rows[0].2), ("0.50000000", &second), "neither price nor stamp of a bad price");
    assert_eq!((&rows[1].1[..], &rows[1].2), ("0.50000000", &second));
    assert_eq!(rows[2].1, "999999999999.99999999");
    let bad = |kind| world.status().bad_prices[BadPrice::ALL.iter().position(|found| *found == kind).unwrap()];
    assert_eq!((bad(BadPrice::ColumnRounds), bad(BadPrice::ColumnOverflow)), (1, 1));
    assert_eq!(world.status().state, WriterState::Writing);
}

#[test]
fn a_refused_value_is_halved_down_to_its_row() {
    let mut world = World::new(SIDE, 250, "ALTER TABLE exchange_symbol_prices ADD CHECK (mark_price <> 2.00000123)");
    let stamp = world.tick(2);
    world.run(600 * MS);
    let status = world.status();
    assert_eq!((status.state, status.quarantined.count), (WriterState::Writing, 1));
    assert!(status.quarantined.first[0].starts_with("T0123USDT (row 124)"), "{}", status.quarantined);
    let rows = world.rows();
    assert_eq!(rows[123].1, "");
    assert_eq!(rows.iter().filter(|(_, price, found)| price.starts_with("2.") && *found == stamp).count(), 249);
    // The same value is not tried again; the next one is.
    world.tick(2);
    world.run(600 * MS);
    assert_eq!(world.status().quarantined.count, 1);
    let stamp = world.tick(3);
    world.run(600 * MS);
    world.check_all(3, &stamp);
    assert_eq!(world.status().quarantined.count, 0);
}

#[test]
fn the_table_decides_where_the_commits_stand_and_the_side_table_stays_flat() {
    let mut world = World::new(SIDE, 250, "");
    world.tick(1);
    world.run(600 * MS);
    assert_eq!(world.status().transactions, Some(Transactions::One));
    assert_eq!(world.status().commits, 1);
    let size = |world: &World| -> i64 {
        let row = world.server.client("postgres").query_one("SELECT pg_relation_size('exchange_symbol_prices')", &[]);
        row.unwrap().get(0)
    };
    let before = size(&world);
    for base in 2..302 {
        world.tick(base);
        world.run(500 * MS);
    }
    world.run(600 * MS);
    assert_eq!(world.status().rows_written, 301 * 250);
    assert!(size(&world) <= before * 2, "{before} -> {}", size(&world));

    let mut world = World::new("exchange_symbols", 250, "ALTER TABLE exchange_symbols RESET (fillfactor)");
    let stamp = world.tick(7);
    world.run(600 * MS);
    assert_eq!(world.status().transactions, Some(Transactions::PerChunk));
    assert_eq!((world.status().commits, world.status().rows_written), (3, 250));
    world.check_all(7, &stamp);
    world.sql("DELETE FROM exchange_symbols WHERE id = 9");
    world.tick(8);
    world.run(600 * MS);
    assert_eq!(world.status().missing.first, ["9"]);
    assert_eq!(world.status().rows_written, 250 + 249);
}

#[test]
fn a_second_writer_is_told_who_is_there() {
    let mut world = World::new(SIDE, 1, "");
    world.run(MS);
    assert_eq!(world.status().state, WriterState::Writing);
    let mut second = writer(&world.server, SIDE, &world.feed);
    while let Turn::Pause(until) = second.turn(world.clock.now()) {
        world.clock.advance(until.since(world.clock.now().mono));
    }
    let status = second.shared().status();
    assert_eq!(status.state, WriterState::Refused);
    for part in ["another price writer", "kraite-streams prices, a test", "127.0.0.1"] {
        assert!(status.sentence.contains(part), "{}", status.sentence);
    }
    world.writer.shared().request_stop();
    world.run(MS);
    let mut third = writer(&world.server, SIDE, &world.feed);
    assert!(matches!(third.turn(world.clock.now()), Turn::Idle(_)), "{}", third.shared().status().sentence);
}
