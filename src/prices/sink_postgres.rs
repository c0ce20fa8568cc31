//! Prices into PostgreSQL: the [`CASE … WHEN`](super::case_when) text of a tick as one message, answered once.
//!
//! Where the commits stand is decided from the table when the session opens: pages with room for a second version of each
//! row take one transaction, others one for each chunk (facts: measurements §1). After an error everything is rolled back
//! and, where the error may be a row's, the batch is sent again part by part: a value that the server refuses is halved
//! down to its row, a chunk with a locked row is put off, the others are written.

use std::ops::Range;

use super::batch::Batch;
use super::case_when::{Form, Layout, StatementText, Transactions};
use super::frame_stamp::StampPrecision;
use super::price_table::{PriceTable, TableKind};
use super::sink::{PriceSink, PriceTarget, RefusedRow, WriteReport, held_by};
use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::postgres::{PostgresOptions, PostgresStore, StoreLock};
use crate::store::rows::MapRows;
use crate::store::url::PostgresUrl;

/// Chunks of one write that may wait for somebody's lock; the rest is put off unasked, so that a write stays short.
const LOCKED_CHUNKS_MAX: usize = 2;

/// A session with a PostgreSQL server.
pub struct PostgresSink {
    url: PostgresUrl,
    target: String,
    options: PostgresOptions,
    table: PriceTable,
    form: Form,
    chunk_rows: usize,
    session: Option<PostgresStore>,
    /// Built when the table is known, kept across sessions as long as it fits.
    text: Option<StatementText>,
    affected: Vec<u64>,
    work: Vec<Range<usize>>,
    /// Where the next write in parts begins, so that chunks behind two locked ones are not always those put off.
    turn: usize,
}

impl PostgresSink {
    /// For the server at `url`, not connected yet.
    #[must_use]
    pub fn new(
        url: PostgresUrl,
        options: PostgresOptions,
        table: PriceTable,
        form: Form,
        chunk_rows: usize,
    ) -> PostgresSink {
        let target = url.to_string();
        PostgresSink {
            url,
            target,
            options,
            table,
            form,
            chunk_rows,
            session: None,
            text: None,
            affected: Vec::new(),
            work: Vec::new(),
            turn: 0,
        }
    }

    /// The name of the table as the catalogue knows it.
    fn table_name(&self) -> String {
        let name = self.table.kind().name();
        self.table.schema().map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"))
    }
}

impl PriceSink for PostgresSink {
    fn target(&self) -> &str {
        &self.target
    }

    fn open(&mut self) -> Result<PriceTarget> {
        self.close();
        let mut store = PostgresStore::connect(&self.url, &self.options)?;
        if !store.try_lock(StoreLock::Prices)? {
            let holder = store
                .lock_holder(StoreLock::Prices)?
                .map_or_else(|| "it has just ended".to_owned(), |who| who.to_string());
            return Err(held_by(&self.target, &holder));
        }
        let table = self.table_name();
        let shape = store.table_shape(&table)?;
        let (scale, stamp_digits) = shape.price_columns(&table)?;
        let transactions = if shape.has_free_space() { Transactions::One } else { Transactions::PerChunk };
        let precision = StampPrecision::of_column(stamp_digits);
        let layout = Layout { form: self.form, transactions, chunk_rows: self.chunk_rows, precision };
        if self.text.as_ref().is_none_or(|text| text.layout() != layout) {
            self.text = Some(StatementText::new(self.table.clone(), layout));
        }
        self.session = Some(store);
        Ok(PriceTarget { scale, transactions })
    }

    fn is_open(&self) -> bool {
        self.session.is_some()
    }

    fn close(&mut self) {
        if let Some(store) = self.session.take() {
            store.close();
        }
    }

    fn load_map(&mut self) -> Result<MapRows> {
        let table = self.table_name();
        let store = self.session.as_mut().ok_or_else(closed)?;
        store.check_session()?;
        if !store.lock_is_ours(StoreLock::Prices)? {
            return Err(StoreError::new(ErrorClass::Unreachable, "the session lost its single-writer lock"));
        }
        if self.table.kind() == TableKind::Sidecar {
            store.ensure_price_rows(&table)?;
        }
        store.map_rows()
    }

    fn creates_symbols(&self) -> bool {
        false
    }

    fn insert_symbols(&mut self, _symbols: &mut dyn Iterator<Item = &str>) -> Result<u64> {
        Ok(0)
    }

    fn write(&mut self, batch: &Batch, report: &mut WriteReport) -> Result<()> {
        report.clear();
        let store = self.session.as_mut().ok_or_else(closed)?;
        let text = self.text.as_mut().expect("an open session has its text");
        let mut send = Send { store, text, affected: &mut self.affected, report };
        match send.whole(batch) {
            Err(error) if matches!(error.class(), ErrorClass::Data | ErrorClass::Transient) => {
                send.report.clear();
                self.turn = self.turn.wrapping_add(1);
                send.in_parts(batch, &mut self.work, self.turn)
            }
            outcome => outcome,
        }
    }
}

struct Send<'a> {
    store: &'a mut PostgresStore,
    text: &'a mut StatementText,
    affected: &'a mut Vec<u64>,
    report: &'a mut WriteReport,
}

impl Send<'_> {
    /// The batch as one message.
    fn whole(&mut self, batch: &Batch) -> Result<()> {
        self.text.build(batch);
        self.run()?;
        self.count(batch)
    }

    /// Each chunk on its own, beginning with chunk number `turn`; a chunk with a refused value in halves.
    fn in_parts(&mut self, batch: &Batch, work: &mut Vec<Range<usize>>, turn: usize) -> Result<()> {
        self.text.build(batch);
        work.clear();
        // A stack: what comes first is on top.
        work.extend(self.text.chunks().iter().rev().map(|chunk| chunk.rows.clone()));
        let chunks = work.len().max(1);
        work.rotate_right(turn % chunks);
        let mut locked = 0;
        while let Some(rows) = work.pop() {
            if locked >= LOCKED_CHUNKS_MAX {
                self.report.deferred.extend(batch.rows()[rows].iter().map(|row| row.slot));
                continue;
            }
            self.text.build_part(batch, rows.clone());
            match self.run() {
                Ok(()) => self.count(batch)?,
                Err(error) if error.class() == ErrorClass::Transient => {
                    locked += 1;
                    self.report.deferred.extend(batch.rows()[rows].iter().map(|row| row.slot));
                    self.report.deferred_because = Some(error);
                }
                Err(error) if error.class() == ErrorClass::Data && rows.len() == 1 => {
                    let row = &batch.rows()[rows.start];
                    let sentence = error.sentence().to_owned();
                    self.report.refuse(RefusedRow {
                        row_id: row.row_id,
                        slot: row.slot,
                        price: row.price,
                        sentence,
                    })?;
                }
                Err(error) if error.class() == ErrorClass::Data => {
                    let middle = rows.start + rows.len() / 2;
                    work.push(middle..rows.end);
                    work.push(rows.start..middle);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends the text that was built; rolls back after any error.
    fn run(&mut self) -> Result<()> {
        let sent = self.store.run(self.text.as_str(), self.affected);
        if sent.is_err() && !self.store.is_closed() {
            self.store.execute("ROLLBACK")?;
        }
        sent
    }

    /// Compares the affected rows of each statement with the rows sent, and names those that are not there.
    fn count(&mut self, batch: &Batch) -> Result<()> {
        let chunks = self.text.chunks();
        // BEGIN and COMMIT answer too: around each chunk, or once around all.
        let own = self.affected.len() == 3 * chunks.len();
        for (at, chunk) in chunks.iter().enumerate() {
            let affected = self.affected.get(if own { 3 * at + 1 } else { at + 1 }).copied().unwrap_or_default();
            self.report.rows_written += affected;
            if affected < chunk.rows.len() as u64 {
                let ids: Vec<i64> = batch.rows()[chunk.rows.clone()].iter().map(|row| row.row_id).collect();
                let table = self.text.table();
                self.report.missing.extend(self.store.missing_rows(table.sql(), table.key(), &ids)?);
            }
        }
        self.report.commits += if own { chunks.len() as u64 } else { 1 };
        Ok(())
    }
}

fn closed() -> StoreError {
    StoreError::new(ErrorClass::Unreachable, "the session is closed")
}
