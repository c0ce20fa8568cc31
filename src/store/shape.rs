//! What a price table looks like in the database at hand, read at start and by `check`, never assumed.

use super::error::{ErrorClass, Result, StoreError};
use super::rows::{ColumnKind, ColumnShape};
use crate::domain::ColumnScale;

/// The narrow side table, written by the price writer only.
pub const SIDE_TABLE: &str = "exchange_symbol_prices";
/// The table of instruments.
pub const SYMBOLS_TABLE: &str = "exchange_symbols";
/// At this fillfactor or below, a tick that updates every row in one transaction stays on its pages
/// (facts: measurements §1).
pub const FREE_SPACE_FILLFACTOR: u32 = 70;

/// The column that names a row of a price table.
#[must_use]
pub fn key_column(table: &str) -> &'static str {
    if table.rsplit('.').next() == Some(SIDE_TABLE) { "exchange_symbol_id" } else { "id" }
}

/// A price table as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableShape {
    /// Its columns, in the table's order; empty where the table is not there.
    pub columns: Vec<ColumnShape>,
    /// Table option; 100 where none is set. SQLite has none and says 0: a page's space is not its concern.
    pub fillfactor: u32,
    /// Indexes that contain a price column: each rewrites its entries every tick.
    pub price_indexes: Vec<String>,
    /// Whether a unique index leads with the key column; without one every tick scans.
    pub key_indexed: bool,
    /// What its whole indexes lead with.
    pub leading: Vec<LeadingColumn>,
}

/// The first column of an index that holds every row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeadingColumn {
    /// Its name.
    pub name: String,
    /// Whether the index has no other column and no value twice.
    pub is_unique: bool,
}

impl TableShape {
    /// Whether the table is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        !self.columns.is_empty()
    }

    /// A column by name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnShape> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// What `mark_price` holds without rounding, and the digits of a second that `mark_price_synced_at` keeps.
    ///
    /// # Errors
    /// A table or column that is missing, or whose type no price or stamp goes into (a float, a date).
    pub fn price_columns(&self, table: &str) -> Result<(ColumnScale, u8)> {
        if !self.exists() {
            let sentence = format!("the table {table} is not there; run `kraite-streams migrate`");
            return Err(StoreError::new(ErrorClass::MissingTable, sentence));
        }
        let find = |name: &str| {
            let sentence = || format!("the table {table} has no column {name}; run `kraite-streams migrate`");
            self.column(name).ok_or_else(|| StoreError::new(ErrorClass::MissingColumn, sentence()))
        };
        let unfit = |column: &ColumnShape, wanted: &str| {
            let sentence = format!("{table}.{} is {}; it must be {wanted}", column.name, column.declared);
            StoreError::new(ErrorClass::Other, sentence)
        };
        find(key_column(table))?;
        let price = find("mark_price")?;
        let scale = price.price_scale().ok_or_else(|| unfit(price, "numeric"))?;
        let stamp = find("mark_price_synced_at")?;
        match stamp.kind {
            ColumnKind::Timestamp { fraction_digits, .. } => Ok((scale, fraction_digits)),
            ColumnKind::Text => Ok((scale, 3)),
            _ => Err(unfit(stamp, "a timestamp")),
        }
    }

    /// Whether the pages hold a second version of every row: then one transaction a tick is the fastest, else it is a
    /// regression that grows the file (facts: measurements §1).
    #[must_use]
    pub fn has_free_space(&self) -> bool {
        self.fillfactor <= FREE_SPACE_FILLFACTOR && self.price_indexes.is_empty()
    }

    /// What an owner of the table may want to change, as statements; nothing runs them. `fillfactor` is the one wanted.
    #[must_use]
    pub fn advice(&self, table: &str) -> Vec<String> {
        let mut advice = Vec::new();
        if !self.exists() {
            return advice;
        }
        for index in &self.price_indexes {
            advice.push(format!("DROP INDEX {index};  -- an index on a price column is rewritten with every tick"));
        }
        if self.fillfactor > FREE_SPACE_FILLFACTOR {
            let wanted = if key_column(table) == "id" { 50 } else { 25 };
            advice.push(format!(
                "ALTER TABLE {table} SET (fillfactor = {wanted});  -- then VACUUM FULL {table}; until then each chunk is \
                 its own transaction"
            ));
        }
        if !self.key_indexed {
            advice.push(format!(
                "CREATE UNIQUE INDEX ON {table} ({});  -- without it every tick reads the whole table",
                key_column(table)
            ));
        }
        advice
    }
}

/// What an upsert did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCounts {
    /// New rows.
    pub inserted: u64,
    /// Rows that were there and now hold other values.
    pub updated: u64,
    /// Rows that were there and held these values.
    pub unchanged: u64,
    /// Not written: the venue is not in `api_systems`, the instrument does not trade and has no row, or a unique index
    /// of the table's owner refuses it.
    pub skipped: u64,
}
