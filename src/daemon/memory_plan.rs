//! What the price role may hold at most, item by item: printed at start and by `check`, so that nobody guesses.
//!
//! These are upper bounds of what is reserved; most of it stays untouched, so resident memory is far below.

use std::fmt;

use super::wiring;
use crate::domain::limits::{PRICE_MESSAGE_MAX, READ_PER_TURN_MAX};
use crate::ops::Settings;
use crate::prices::batch::Batch;
use crate::prices::board::PriceBoard;
use crate::prices::case_when::{Layout, StatementText, Transactions};
use crate::prices::frame_stamp::StampPrecision;
use crate::prices::intake::Intake;

/// The sum and its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What, and how many bytes.
    pub items: Vec<(&'static str, usize)>,
}

impl MemoryPlan {
    /// Of the price role with these settings.
    #[must_use]
    pub fn of_prices(settings: &Settings) -> MemoryPlan {
        let layout = Layout {
            form: wiring::statement_form(settings),
            transactions: Transactions::PerChunk,
            chunk_rows: settings.prices.chunk_rows,
            precision: StampPrecision::of_column(3),
        };
        // The kept tape of simd-json: 24 bytes a node, measured 639 KB for 118 KB of text (facts/measurements.md §1).
        let tape = PRICE_MESSAGE_MAX / 8 * 24 + PRICE_MESSAGE_MAX;
        MemoryPlan {
            items: vec![
                ("loop: ciphertext of one turn", READ_PER_TURN_MAX),
                ("loop: plaintext, one message", PRICE_MESSAGE_MAX + READ_PER_TURN_MAX),
                ("loop: simd-json tape and indexes, largest message", tape),
                ("loop: intake, symbol table and staging", Intake::bytes_max()),
                ("board: newest price of every symbol", PriceBoard::bytes_max()),
                ("writer: batch", Batch::bytes_max()),
                ("writer: statement text", StatementText::bytes_max(&wiring::price_table(settings), layout)),
                (
                    "writer: the database client's copy of the text",
                    StatementText::bytes_max(&wiring::price_table(settings), layout),
                ),
                ("TLS: one record in rustls, per record and freed", 18 << 10),
            ],
        }
    }

    /// All items together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.items.iter().map(|(_, bytes)| bytes).sum()
    }

    /// One line in the log.
    pub fn log(&self) {
        tracing::info!("memory plan: at most {:.1} MiB reserved", mib(self.total()));
        for (what, bytes) in &self.items {
            tracing::debug!("memory plan: {:8.2} MiB  {what}", mib(*bytes));
        }
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, bytes) in &self.items {
            writeln!(f, "{:8.2} MiB  {what}", mib(*bytes))?;
        }
        write!(f, "{:8.2} MiB  together, at most", mib(self.total()))
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plan is a promise: a change that raises it has to say so here.
    #[test]
    fn the_plan_stays_below_its_bound() {
        let plan = MemoryPlan::of_prices(&Settings::default());
        assert!(plan.total() < 64 << 20, "{plan}");
        assert!(plan.items.iter().all(|(_, bytes)| *bytes > 0), "{plan}");
    }
}
