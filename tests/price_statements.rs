//! Promise: what the statements say is what the rows hold, digit for digit, in every form and every chunk size. SQLite
//! executes the text that the price path built, and every row is compared.
#![cfg(feature = "embedded")]

use std::collections::BTreeMap;

use kraite_streams::domain::{Mono, PriceText, Wall};
use kraite_streams::prices::batch::{Batch, RowPrice};
use kraite_streams::prices::board::Slot;
use kraite_streams::prices::case_when::{Form, Layout, StatementText, Transactions};
use kraite_streams::prices::frame_stamp::{FrameStamp, StampPrecision, StampText};
use kraite_streams::prices::price_table::{PriceLiteral, PriceTable};
use proptest::prelude::*;
use rusqlite::Connection;

const OLD: (&str, &str) = ("1.0", "old");

/// Rows of distinct ids; each opens a new frame or stays in the one before.
fn rows() -> impl Strategy<Value = Vec<(i64, String, bool)>> {
    let id = prop_oneof![3 => 1i64..2_000, 1 => any::<i64>()];
    let price = prop_oneof!["[0-9]{1,6}\\.[0-9]{1,8}", "[0-9]{1,20}", "0{0,2}[0-9]{1,18}\\.[0-9]{1,18}"];
    let sound = price.prop_filter("greater than zero", |text| PriceText::parse(text.as_bytes()).is_ok());
    prop::collection::vec((id, sound, prop::bool::weighted(0.02)), 1..300).prop_map(|mut rows| {
        let mut seen = std::collections::HashSet::new();
        rows.retain(|(id, _, _)| seen.insert(*id));
        rows
    })
}

fn layout() -> impl Strategy<Value = Layout> {
    let form = prop_oneof![Just(Form::Case), Just(Form::CaseBucketed)];
    let transactions = prop_oneof![Just(Transactions::One), Just(Transactions::PerChunk)];
    let precision = prop_oneof![Just(StampPrecision::Seconds), Just(StampPrecision::Millis)];
    let chunk_rows = prop_oneof![Just(500usize), 1usize..140];
    (form, transactions, precision, chunk_rows).prop_map(|(form, transactions, precision, chunk_rows)| Layout {
        form,
        transactions,
        chunk_rows,
        precision,
    })
}

/// A table with the batch's rows and one that no statement may touch.
fn database(table: &PriceTable, ids: impl Iterator<Item = i64>) -> Connection {
    let database = Connection::open_in_memory().unwrap();
    let (name, key) = (table.sql(), table.key());
    database
        .execute_batch(&format!(
            "CREATE TABLE {name} ({key} INTEGER PRIMARY KEY, mark_price TEXT, mark_price_synced_at TEXT)"
        ))
        .unwrap();
    for id in ids {
        database.execute(&format!("INSERT INTO {name} VALUES (?1, ?2, ?3)"), (id, OLD.0, OLD.1)).unwrap();
    }
    database
}

fn contents(database: &Connection, table: &PriceTable) -> BTreeMap<i64, (String, String)> {
    let sql = format!("SELECT {}, mark_price, mark_price_synced_at FROM {}", table.key(), table.sql());
    let mut statement = database.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn run(rows: &[(i64, String, bool)], layout: Layout, table: &str) {
    let table = PriceTable::parse(table).unwrap().with_literal(PriceLiteral::Text);
    let mut batch = Batch::new();
    let mut expected = BTreeMap::new();
    let mut seq = 1;
    for (row_id, price, new_frame) in rows {
        seq += u64::from(*new_frame);
        let received_at = Wall::from_micros(1_795_419_015_000_000 + seq as i64 * 777_777);
        let stamp = FrameStamp { seq, received_at, readable_at: Mono::ZERO, connection: 1 };
        let row = RowPrice { row_id: *row_id, slot: Slot(0), price: PriceText::parse(price.as_bytes()).unwrap() };
        batch.push(&stamp, row);
        let stamp = StampText::new(received_at, layout.precision).as_str().to_owned();
        expected.insert(*row_id, (price.clone(), stamp));
    }
    let stranger = (0..).find(|id| !expected.contains_key(id)).unwrap();
    expected.insert(stranger, (OLD.0.to_owned(), OLD.1.to_owned()));

    // The message as a whole.
    let mut text = StatementText::new(table.clone(), layout);
    let whole = database(&table, expected.keys().copied());
    whole.execute_batch(text.build(&batch)).unwrap();
    assert_eq!(contents(&whole, &table), expected);

    // Statement by statement: the chunks cover the batch in order, and affect as many rows as they say.
    let chunks = text.chunks().to_vec();
    let single = database(&table, expected.keys().copied());
    let mut next = 0;
    for chunk in &chunks {
        assert_eq!(chunk.rows.start, next);
        assert!(chunk.rows.len() <= layout.chunk_rows);
        next = chunk.rows.end;
        assert_eq!(single.execute(text.statement(chunk), []).unwrap(), chunk.rows.len());
    }
    assert_eq!(next, batch.rows().len());
    assert_eq!(contents(&single, &table), expected);

    // Halved down to single rows, as after an error.
    let halved = database(&table, expected.keys().copied());
    let mut parts: Vec<_> = chunks.iter().map(|chunk| chunk.rows.clone()).collect();
    while let Some(part) = parts.pop() {
        if part.len() > 1 {
            let middle = part.start + part.len() / 2;
            parts.extend([part.start..middle, middle..part.end]);
        } else {
            halved.execute_batch(text.build_part(&batch, part)).unwrap();
        }
    }
    assert_eq!(contents(&halved, &table), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_row_holds_its_own_digits(rows in rows(), layout in layout(), sidecar in any::<bool>()) {
        run(&rows, layout, if sidecar { "exchange_symbol_prices" } else { "main.exchange_symbols" });
    }
}
