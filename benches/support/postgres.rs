//! A tick on PostgreSQL: the forms and transactions of the CASE text, on the side table with and without free page space.
//!
//! A schema of our own, dropped afterwards.

use std::collections::HashMap;
use std::time::Instant;

use kraite_streams::prices::batch::Batch;
use kraite_streams::prices::case_when::{Form, Layout, StatementText, Transactions};
use kraite_streams::prices::price_table::PriceTable;
use postgres::{Client, NoTls};

use crate::median::Samples;
use crate::price_path::{PricePath, Tick};
use crate::private_postgres::{Failed, with_server};
use crate::rows;

/// Name, fillfactor, form and transactions of each line; the first is the measure.
const VARIANTS: [(&str, u32, Form, Transactions); 4] = [
    ("bucketed, one transaction, fillfactor 25", 25, Form::CaseBucketed, Transactions::One),
    ("plain CASE, one transaction, fillfactor 25", 25, Form::Case, Transactions::One),
    ("bucketed, one transaction, fillfactor 100", 100, Form::CaseBucketed, Transactions::One),
    ("bucketed, per chunk, fillfactor 100", 100, Form::CaseBucketed, Transactions::PerChunk),
];

/// Prints a line for each variant; false if a row does not hold what was sent.
pub fn run(ticks: &[Tick]) -> bool {
    with_server(|url| measure(url, ticks))
}

fn measure(url: &str, ticks: &[Tick]) -> Result<bool, Failed> {
    let mut client = Client::connect(url, NoTls)?;
    let schema = |at: usize| format!("kraite_bench_{}_{at}", std::process::id());
    let table = |at: usize| PriceTable::parse(&format!("{}.exchange_symbol_prices", schema(at)));
    let mut path = PricePath::new(table(0)?, Layout::default());
    path.tick(&ticks[0].wire);
    let mut texts = Vec::new();
    for (at, (_, fillfactor, form, transactions)) in VARIANTS.into_iter().enumerate() {
        texts.push(StatementText::new(table(at)?, Layout { form, transactions, ..Layout::default() }));
        let ids: Vec<_> = path.batch.rows().iter().map(|row| format!("({})", row.row_id)).collect();
        client.batch_execute(&format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {table} (exchange_symbol_id bigint PRIMARY KEY,
             mark_price numeric(36,18), mark_price_synced_at timestamptz(3)) WITH (fillfactor = {fillfactor});
             INSERT INTO {table} (exchange_symbol_id) VALUES {ids}",
            schema = schema(at),
            table = texts[at].table(),
            ids = ids.join(",")
        ))?;
    }
    let outcome = rounds(&mut client, &mut path, &mut texts, ticks);
    for at in 0..texts.len() {
        client.batch_execute(&format!("DROP SCHEMA {} CASCADE", schema(at)))?;
    }
    outcome
}

fn rounds(
    client: &mut Client,
    path: &mut PricePath,
    texts: &mut [StatementText],
    ticks: &[Tick],
) -> Result<bool, Failed> {
    let mut samples = VARIANTS.map(|_| Samples::new(rows::ROUNDS));
    for round in 0..rows::ROUNDS + 5 {
        path.receive(&ticks[round % ticks.len()].wire, |_| ());
        path.take();
        for turn in 0..texts.len() {
            let at = (round + turn) % texts.len();
            let start = Instant::now();
            client.batch_execute(texts[at].build(&path.batch))?;
            samples[at].push(round < 5, start.elapsed());
        }
    }
    let rows = path.batch.rows().len();
    let floor = samples[0].median();
    for ((name, ..), samples) in VARIANTS.iter().zip(&samples) {
        rows::print(&format!("PostgreSQL: {name}"), samples, floor, rows);
    }
    let mut right = true;
    for text in texts.iter() {
        right &= holds(client, text.table(), &path.batch)?;
    }
    Ok(right)
}

fn holds(client: &mut Client, table: &PriceTable, batch: &Batch) -> Result<bool, Failed> {
    let mut found = HashMap::new();
    for row in client.query(&format!("SELECT exchange_symbol_id, trim_scale(mark_price)::text FROM {table}"), &[])? {
        found.insert(row.try_get::<_, i64>(0)?, row.try_get::<_, Option<String>>(1)?);
    }
    let bare = |price: &str| match price.split_once('.') {
        Some(_) => price.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => price.to_owned(),
    };
    let same = |row: &kraite_streams::prices::batch::RowPrice| {
        found.get(&row.row_id).is_some_and(|price| price.as_deref() == Some(&*bare(row.price.as_str())))
    };
    Ok(batch.rows().iter().all(same))
}
