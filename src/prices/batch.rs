//! The rows of one write, grouped by the frame that carried their prices.
//!
//! A fixed buffer of the writer's, filled anew for every write: no allocation in steady state.

use std::ops::Range;

use super::board::Slot;
use super::frame_stamp::FrameStamp;
use crate::domain::limits::{ROWS_MAX, SYMBOLS_MAX};
use crate::domain::{PriceText, Wall};

/// A row and the price that it gets, already shifted to the row's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPrice {
    /// `exchange_symbols.id`.
    pub row_id: i64,
    /// Whose price it is: to name the symbol, or to put the price back.
    pub slot: Slot,
    /// The price.
    pub price: PriceText,
}

/// Rows that stand together and come from one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Number of the frame.
    pub seq: u64,
    /// When the frame was received: the rows' `mark_price_synced_at`.
    pub received_at: Wall,
    /// Where they stand in [`Batch::rows`].
    pub rows: Range<usize>,
}

/// The rows of one write, in the order of the frames and of the feed.
#[derive(Debug)]
pub struct Batch {
    rows: Vec<RowPrice>,
    groups: Vec<Group>,
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

impl Batch {
    /// Empty, with room for all rows there can be.
    #[must_use]
    pub fn new() -> Self {
        Batch { rows: Vec::with_capacity(ROWS_MAX), groups: Vec::with_capacity(SYMBOLS_MAX) }
    }

    /// Memory of a batch, for the memory plan.
    #[must_use]
    pub const fn bytes_max() -> usize {
        ROWS_MAX * size_of::<RowPrice>() + SYMBOLS_MAX * size_of::<Group>()
    }

    /// Takes all rows out.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.groups.clear();
    }

    /// Adds a row. Rows of one frame must come one after another; a row must come once.
    ///
    /// # Panics
    /// With more than [`ROWS_MAX`] rows or [`SYMBOLS_MAX`] groups: the map holds no more rows, the board no more symbols.
    pub fn push(&mut self, stamp: &FrameStamp, row: RowPrice) {
        let at = self.rows.len();
        assert!(at < ROWS_MAX, "a batch holds at most ROWS_MAX rows");
        match self.groups.last_mut() {
            Some(group) if group.seq == stamp.seq => group.rows.end = at + 1,
            _ => {
                assert!(self.groups.len() < SYMBOLS_MAX, "each group carries at least one symbol");
                self.groups.push(Group { seq: stamp.seq, received_at: stamp.received_at, rows: at..at + 1 });
            }
        }
        self.rows.push(row);
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &[RowPrice] {
        &self.rows
    }

    /// The groups: they cover the rows without a hole, in order.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
