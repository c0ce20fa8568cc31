//! Counters of the intake. Every entry of every whole frame is counted exactly once: accepted, or rejected by kind.

use crate::domain::BadPrice;
use crate::exchange::binance::mark_price::{BadEntry, FrameFault};

/// What came, and what became of it, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeCounts {
    /// Messages.
    pub frames: u64,
    /// Messages refused as a whole, by [`FrameFault`].
    pub frame_faults: [u64; FrameFault::ALL.len()],
    /// Replies to requests.
    pub control: u64,
    /// Well-formed messages without a usable row.
    pub no_usable_row: u64,
    /// Frames that were cut into their entries, because the whole would not parse or held an escape.
    pub split_frames: u64,
    /// Frames whose entries were mostly ahead of our clock.
    pub clock_behind_frames: u64,
    /// Entries of whole frames.
    pub entries: u64,
    /// Entries put on the board.
    pub accepted: u64,
    /// Symbols seen for the first time.
    pub new_symbols: u64,
    /// Values on the board that were overwritten before the writer took them.
    pub conflated: u64,
    /// Entries of the other market (COIN-M).
    pub other_market: u64,
    /// Entries that could not be read, by [`BadEntry`].
    pub bad_entry: [u64; BadEntry::ALL.len()],
    /// Entries whose price is none, by [`BadPrice`]; the column's kinds are the writer's and stay 0 here.
    pub bad_price: [u64; BadPrice::ALL.len()],
    /// Entries whose event time is too far ahead of our clock.
    pub ahead: u64,
    /// Entries older than what the same connection already said.
    pub stale: u64,
    /// Entries of a symbol that the same frame names again later.
    pub repeated: u64,
    /// Entries of symbols beyond `SYMBOLS_MAX`.
    pub table_full: u64,
}

impl IntakeCounts {
    /// Entries that were not accepted.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected_by_kind().map(|(_, count)| count).sum()
    }

    /// Why entries were not accepted: the word used in ledgers and the status file, and how many.
    pub fn rejected_by_kind(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let prices = BadPrice::ALL.into_iter().map(|kind| (kind.as_str(), self.bad_price[kind as usize]));
        let entries = BadEntry::ALL.into_iter().map(|kind| (kind.as_str(), self.bad_entry[kind as usize]));
        let others = [
            ("other_market", self.other_market),
            ("ahead", self.ahead),
            ("stale", self.stale),
            ("repeated", self.repeated),
            ("table_full", self.table_full),
        ];
        prices.chain(entries).chain(others)
    }

    /// Why messages were refused as a whole.
    pub fn frame_faults_by_kind(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        FrameFault::ALL.into_iter().map(|kind| (kind.as_str(), self.frame_faults[kind as usize]))
    }

    /// Of one frame that nothing is known about yet.
    pub(super) fn one_frame() -> Self {
        IntakeCounts { frames: 1, ..IntakeCounts::default() }
    }

    /// Adds the counts of one frame.
    pub(super) fn add(&mut self, frame: &IntakeCounts) {
        let IntakeCounts {
            frames,
            frame_faults,
            control,
            no_usable_row,
            split_frames,
            clock_behind_frames,
            entries,
            accepted,
            new_symbols,
            conflated,
            other_market,
            bad_entry,
            bad_price,
            ahead,
            stale,
            repeated,
            table_full,
        } = self;
        for (total, more) in [
            (frames, frame.frames),
            (control, frame.control),
            (no_usable_row, frame.no_usable_row),
            (split_frames, frame.split_frames),
            (clock_behind_frames, frame.clock_behind_frames),
            (entries, frame.entries),
            (accepted, frame.accepted),
            (new_symbols, frame.new_symbols),
            (conflated, frame.conflated),
            (other_market, frame.other_market),
            (ahead, frame.ahead),
            (stale, frame.stale),
            (repeated, frame.repeated),
            (table_full, frame.table_full),
        ] {
            *total += more;
        }
        let arrays = [
            (&mut frame_faults[..], &frame.frame_faults[..]),
            (&mut bad_entry[..], &frame.bad_entry[..]),
            (&mut bad_price[..], &frame.bad_price[..]),
        ];
        for (totals, more) in arrays {
            totals.iter_mut().zip(more).for_each(|(total, more)| *total += more);
        }
    }
}
