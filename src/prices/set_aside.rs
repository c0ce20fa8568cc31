//! Rows that are not written until the symbol map is loaded again: missing from the table, refused by the database, or
//! with a price that does not fit. Each is said once, by name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::batch::RowPrice;
use super::sink::WriteReport;
use super::target::Target;
use super::writer_status::Names;
use crate::domain::{BadPrice, PriceText};

/// The rows that are set aside. Bounded by the rows of the map.
#[derive(Debug, Default)]
pub(super) struct SetAside {
    missing: HashSet<i64>,
    /// The refused price, and the sentence that names the row.
    refused: HashMap<i64, (PriceText, String)>,
    misfits: HashSet<i64>,
}

impl SetAside {
    /// Whether `row_id` gets no `price` now: it is missing, or refused this very price.
    pub(super) fn holds(&self, row_id: i64, price: &PriceText) -> bool {
        self.missing.contains(&row_id) || self.refused.get(&row_id).is_some_and(|(refused, _)| refused == price)
    }

    /// Whether one of `targets` lacks its newest price because of this.
    pub(super) fn concerns(&self, targets: &[Target]) -> bool {
        let concerns = |row_id: &i64| self.missing.contains(row_id) || self.refused.contains_key(row_id);
        targets.iter().any(|target| concerns(&target.row_id))
    }

    /// Says once that a price does not fit its column.
    pub(super) fn handle_misfit(&mut self, symbol: &str, row_id: i64, price: &PriceText, kind: BadPrice) {
        if self.misfits.insert(row_id) {
            tracing::warn!(symbol, row_id, %price, %kind, "price does not fit its column");
        }
    }

    /// Takes in what a write reported. Returns whether anything changed.
    pub(super) fn handle_report(&mut self, report: &WriteReport, names: &[Arc<str>], written: &[RowPrice]) -> bool {
        // A row whose next price was taken is refused no longer.
        let before = self.refused.len();
        if before > 0 {
            for row in written {
                if self.refused.get(&row.row_id).is_some_and(|(refused, _)| *refused != row.price) {
                    self.refused.remove(&row.row_id);
                }
            }
        }
        let changed = before != self.refused.len() || !report.refused.is_empty() || !report.missing.is_empty();
        if !report.missing.is_empty() {
            self.missing.extend(&report.missing);
            let names = self.missing();
            tracing::warn!(rows = names.count, ids = %names, "rows of the symbol map are not in the price table");
        }
        for row in &report.refused {
            let symbol = &*names[row.slot.index()];
            let (row_id, price) = (row.row_id, row.price);
            tracing::warn!(symbol, row_id, %price, error = row.sentence, "row quarantined: the database refused its price");
            self.refused.insert(row_id, (price, format!("{symbol} (row {row_id}): {}", row.sentence)));
        }
        changed
    }

    /// Every row gets another chance.
    pub(super) fn clear(&mut self) {
        self.missing.clear();
        self.refused.clear();
        self.misfits.clear();
    }

    /// Ids that the table lacks.
    pub(super) fn missing(&self) -> Names {
        let mut ids: Vec<i64> = self.missing.iter().copied().collect();
        ids.sort_unstable();
        Names::collect(ids.iter().map(i64::to_string))
    }

    /// Rows that the database refused, with its words.
    pub(super) fn refused(&self) -> Names {
        let mut rows: Vec<_> = self.refused.iter().collect();
        rows.sort_unstable_by_key(|(row_id, _)| **row_id);
        Names::collect(rows.into_iter().map(|(_, (_, sentence))| sentence.clone()))
    }
}
