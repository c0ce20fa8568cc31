//! Prices into SQLite: one prepared row update, run for every row in one transaction (0.18 of what chunked CASE takes
//! there; facts: measurements §7). The file is ours: it is created and migrated without being asked.

use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::batch::Batch;
use super::case_when::Transactions;
use super::price_table::{PriceTable, TableKind};
use super::sink::{PriceSink, PriceTarget, RefusedRow, WriteReport, held_by};
use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::rows::MapRows;
use crate::store::sqlite::{FileLock, SqliteStore};

/// The embedded store's session.
pub struct SqliteSink {
    path: PathBuf,
    target: String,
    holder: String,
    kind: TableKind,
    update: String,
    session: Option<(SqliteStore, FileLock)>,
}

impl SqliteSink {
    /// For the file at `path`, not opened yet. `holder` is who the lock file names.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, table: &PriceTable, holder: impl Into<String>) -> Self {
        let path = path.into();
        let (name, key) = (table.kind().name(), table.key());
        SqliteSink {
            target: format!("sqlite:{}", path.display()),
            path,
            holder: holder.into(),
            kind: table.kind(),
            update: format!("UPDATE {name} SET mark_price = ?1, mark_price_synced_at = ?2 WHERE {key} = ?3"),
            session: None,
        }
    }

    fn store(&mut self) -> Result<&mut SqliteStore> {
        let closed = || StoreError::new(ErrorClass::Unreachable, "the session is closed");
        self.session.as_mut().map(|(store, _)| store).ok_or_else(closed)
    }
}

impl PriceSink for SqliteSink {
    fn target(&self) -> &str {
        &self.target
    }

    fn open(&mut self) -> Result<PriceTarget> {
        self.close();
        let lock = FileLock::try_take(&self.path, &self.holder)?;
        let lock = lock.ok_or_else(|| held_by(&self.target, &FileLock::holder(&self.path)))?;
        let mut store = SqliteStore::open(&self.path)?;
        store.migrate()?;
        let table = self.kind.name();
        let (scale, _) = store.table_shape(table)?.price_columns(table)?;
        self.session = Some((store, lock));
        Ok(PriceTarget { scale, transactions: Transactions::One })
    }

    fn is_open(&self) -> bool {
        self.session.is_some()
    }

    fn close(&mut self) {
        self.session = None;
    }

    fn load_map(&mut self) -> Result<MapRows> {
        let sidecar = self.kind == TableKind::Sidecar;
        let store = self.store()?;
        store.check_file()?;
        if sidecar {
            store.ensure_price_rows()?;
        }
        store.map_rows()
    }

    fn creates_symbols(&self) -> bool {
        true
    }

    fn insert_symbols(&mut self, symbols: &mut dyn Iterator<Item = &str>) -> Result<u64> {
        self.store()?.insert_symbols(symbols)
    }

    fn write(&mut self, batch: &Batch, report: &mut WriteReport) -> Result<()> {
        report.clear();
        let Some((store, _)) = &mut self.session else {
            return Err(StoreError::new(ErrorClass::Unreachable, "the session is closed"));
        };
        let update = self.update.as_str();
        store.in_transaction(|connection| {
            let mut statement = connection.prepare_cached(update)?;
            for group in batch.groups() {
                let stamp = group.received_at.stamp();
                let stamp = std::str::from_utf8(&stamp).expect("a stamp is ASCII");
                for row in &batch.rows()[group.rows.clone()] {
                    match statement.execute((row.price.as_str(), stamp, row.row_id)) {
                        Ok(0) => report.missing.push(row.row_id),
                        Ok(_) => report.rows_written += 1,
                        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                            report.refuse(RefusedRow {
                                row_id: row.row_id,
                                slot: row.slot,
                                price: row.price,
                                sentence: error.to_string(),
                            })?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Ok(())
        })?;
        report.commits = 1;
        Ok(())
    }
}
