//! Which form writes a tick to SQLite fastest: prepared single-row updates or CASE text, in one transaction.

use std::collections::HashMap;

use kraite_streams::prices::batch::Batch;
use kraite_streams::prices::case_when::{Form, Layout, StatementText};
use kraite_streams::prices::frame_stamp::{StampPrecision, StampText};
use kraite_streams::prices::price_table::{PriceLiteral, PriceTable};
use rusqlite::Connection;

use crate::median::Samples;
use crate::price_path::{PricePath, Tick};
use crate::rows;

const PREPARED: &str = "UPDATE exchange_symbol_prices SET mark_price = ?2, mark_price_synced_at = ?3 \
                        WHERE exchange_symbol_id = ?1";

/// Prints a line for each form; false if a row does not hold what was sent.
pub fn run(ticks: &[Tick]) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = || PriceTable::parse("exchange_symbol_prices").expect("a known table").with_literal(PriceLiteral::Text);
    let mut path = PricePath::new(table(), Layout::default());
    path.tick(&ticks[0].wire);
    let layouts = [Form::Case, Form::CaseBucketed].map(|form| Layout { form, ..Layout::default() });
    let mut texts = layouts.map(|layout| StatementText::new(table(), layout));
    let databases = [0, 1, 2].map(|at| open(&folder.path().join(format!("{at}.db")), &path.batch));
    let mut samples = [(); 3].map(|()| Samples::new(rows::ROUNDS));

    for round in 0..rows::ROUNDS + 5 {
        path.receive(&ticks[round % ticks.len()].wire, |_| ());
        path.take();
        for turn in 0..3 {
            let at = (round + turn) % 3;
            samples[at].time(round < 5, || match at {
                0 => write_prepared(&databases[0], &path.batch),
                _ => databases[at].execute_batch(texts[at - 1].build(&path.batch)).expect("the statements are sound"),
            });
        }
    }

    let rows = path.batch.rows().len();
    let floor = samples[0].median();
    let names = ["prepared row updates", "CASE, 500 rows", "CASE in buckets, 500 rows"];
    for (name, samples) in names.iter().zip(&samples) {
        rows::print(&format!("SQLite, one transaction: {name}"), samples, floor, rows);
    }
    databases.iter().all(|database| holds(database, &path.batch))
}

fn open(file: &std::path::Path, batch: &Batch) -> Connection {
    let mut database = Connection::open(file).expect("a database file");
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             CREATE TABLE exchange_symbol_prices (exchange_symbol_id INTEGER PRIMARY KEY, mark_price TEXT,
                mark_price_synced_at TEXT)",
        )
        .expect("an empty database");
    let transaction = database.transaction().expect("a transaction");
    for row in batch.rows() {
        transaction
            .execute("INSERT INTO exchange_symbol_prices (exchange_symbol_id) VALUES (?1)", [row.row_id])
            .expect("ids are unique");
    }
    transaction.commit().expect("the rows are in");
    database
}

fn write_prepared(database: &Connection, batch: &Batch) {
    database.execute_batch("BEGIN IMMEDIATE").expect("one writer");
    {
        let mut update = database.prepare_cached(PREPARED).expect("a sound statement");
        for group in batch.groups() {
            let stamp = StampText::new(group.received_at, StampPrecision::Millis);
            for row in &batch.rows()[group.rows.clone()] {
                update.execute((row.row_id, row.price.as_str(), stamp.as_str())).expect("the row is there");
            }
        }
    }
    database.execute_batch("COMMIT").expect("one writer");
}

fn holds(database: &Connection, batch: &Batch) -> bool {
    let mut select =
        database.prepare("SELECT exchange_symbol_id, mark_price FROM exchange_symbol_prices").expect("sound");
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("sound");
    let found: HashMap<i64, String> = rows.collect::<Result<_, _>>().expect("every row has a price");
    batch.rows().iter().all(|row| found.get(&row.row_id).is_some_and(|price| price == row.price.as_str()))
}
