//! Where prices go: one session with a database that is opened, lost and opened again by the [writer](super::writer).
//!
//! Control plane but for [`PriceSink::write`], which runs once a tick: it allocates only what the database clients do.

use super::batch::Batch;
use super::board::Slot;
use super::case_when::Transactions;
use crate::domain::{ColumnScale, PriceText};
use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::rows::MapRows;

/// Rows of one write that may be refused by name; with more than this the fault is not a row's.
pub const REFUSED_ROWS_MAX: usize = 64;

/// A database session of the price writer.
pub trait PriceSink: Send {
    /// Where it goes, without a password.
    fn target(&self) -> &str;

    /// Opens the session, takes the single-writer lock and reads what the target table looks like. A session that is open
    /// is closed first.
    ///
    /// # Errors
    /// [`ErrorClass::Held`] names the other writer; the session is closed then.
    fn open(&mut self) -> Result<PriceTarget>;

    /// Whether a session is open.
    fn is_open(&self) -> bool;

    /// Ends the session and gives the lock back.
    fn close(&mut self);

    /// Makes sure that the session is the one that was opened, inserts missing rows of the side table, and reads the rows
    /// of the symbol map.
    ///
    /// # Errors
    /// What the database says.
    fn load_map(&mut self) -> Result<MapRows>;

    /// Whether an unknown symbol gets a row: in the embedded store, which is ours alone.
    fn creates_symbols(&self) -> bool;

    /// Gives unknown symbols their rows. Returns how many are new; none where [`PriceSink::creates_symbols`] is false.
    ///
    /// # Errors
    /// What the database says.
    fn insert_symbols(&mut self, symbols: &mut dyn Iterator<Item = &str>) -> Result<u64>;

    /// Writes a batch; fills `report`. What was not committed is an error or stands in the report, never both.
    ///
    /// # Errors
    /// What the database says where it is not about single rows. Chunks may have been committed before.
    fn write(&mut self, batch: &Batch, report: &mut WriteReport) -> Result<()>;
}

/// What the target table takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceTarget {
    /// Digits of `mark_price`.
    pub scale: ColumnScale,
    /// Where the commits stand.
    pub transactions: Transactions,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Rows committed with their price.
    pub rows_written: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Rows that are not in the table.
    pub missing: Vec<i64>,
    /// Rows whose value the database refused (SQLSTATE class 22 or 23).
    pub refused: Vec<RefusedRow>,
    /// Symbols whose rows could not be written now, because somebody holds a lock on one in the same chunk.
    pub deferred: Vec<Slot>,
    /// Why they were deferred.
    pub deferred_because: Option<StoreError>,
}

impl WriteReport {
    /// Empty again, memory kept.
    pub fn clear(&mut self) {
        self.rows_written = 0;
        self.commits = 0;
        self.missing.clear();
        self.refused.clear();
        self.deferred.clear();
        self.deferred_because = None;
    }

    pub(super) fn refuse(&mut self, row: RefusedRow) -> Result<()> {
        if self.refused.len() == REFUSED_ROWS_MAX {
            let sentence =
                format!("more than {REFUSED_ROWS_MAX} rows refused in one write, the last: {}", row.sentence);
            return Err(StoreError::new(ErrorClass::Other, sentence));
        }
        self.refused.push(row);
        Ok(())
    }
}

/// A row that the database would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// `exchange_symbols.id`.
    pub row_id: i64,
    /// Whose price it was.
    pub slot: Slot,
    /// The price.
    pub price: PriceText,
    /// What the database said.
    pub sentence: String,
}

/// The sentence of the second writer.
pub(super) fn held_by(target: &str, holder: &str) -> StoreError {
    StoreError::new(ErrorClass::Held, format!("another price writer is at work on {target}: {holder}"))
}
