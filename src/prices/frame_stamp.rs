//! Which frame carried a price, and when that frame arrived: the stamp that every value keeps on its way to the row.
//!
//! `mark_price_synced_at` is [`FrameStamp::received_at`], never the time of the write: a price that waited through an
//! outage of the database keeps its old stamp. Writing a [`StampText`] needs no allocation.

use crate::domain::time::STAMP_LEN;
use crate::domain::{Mono, Wall};

/// The frame that carried a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameStamp {
    /// Number of the frame in this process: grows, and no two frames share one.
    pub seq: u64,
    /// Wall clock when the frame was received: what the database is told.
    pub received_at: Wall,
    /// Monotonic clock when the socket became readable: where tick-to-commit starts.
    pub readable_at: Mono,
    /// Number of the connection: grows with each TCP life.
    pub connection: u64,
}

/// What a timestamp column keeps of a second. The text is truncated to it, so that the database has nothing to round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StampPrecision {
    /// `YYYY-MM-DD HH:MM:SS+00`.
    Seconds,
    /// `YYYY-MM-DD HH:MM:SS.mmm+00`.
    #[default]
    Millis,
}

impl StampPrecision {
    /// For a column with this many digits behind the second; fewer than three keep whole seconds.
    #[must_use]
    pub const fn of_column(fraction_digits: u8) -> Self {
        if fraction_digits >= 3 { StampPrecision::Millis } else { StampPrecision::Seconds }
    }
}

/// Length of the longest [`StampText`].
pub const STAMP_TEXT_MAX: usize = STAMP_LEN + OFFSET.len();

const OFFSET: &[u8] = b"+00";

/// A UTC instant as SQL text with its offset, inline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampText {
    bytes: [u8; STAMP_TEXT_MAX],
    len: u8,
}

impl StampText {
    /// `at`, truncated to `precision`.
    #[must_use]
    pub fn new(at: Wall, precision: StampPrecision) -> Self {
        let kept = match precision {
            StampPrecision::Seconds => STAMP_LEN - ".mmm".len(),
            StampPrecision::Millis => STAMP_LEN,
        };
        let mut bytes = [0; STAMP_TEXT_MAX];
        bytes[..kept].copy_from_slice(&at.stamp()[..kept]);
        bytes[kept..kept + OFFSET.len()].copy_from_slice(OFFSET);
        StampText { bytes, len: (kept + OFFSET.len()) as u8 }
    }

    /// The text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a stamp is ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_cut_never_rounded() {
        for (micros, seconds, millis) in [
            (1_795_419_015_999_999, "2026-11-23 07:30:15+00", "2026-11-23 07:30:15.999+00"),
            (1_795_419_015_000_999, "2026-11-23 07:30:15+00", "2026-11-23 07:30:15.000+00"),
            (-1, "1969-12-31 23:59:59+00", "1969-12-31 23:59:59.999+00"),
        ] {
            let at = Wall::from_micros(micros);
            assert_eq!(StampText::new(at, StampPrecision::Seconds).as_str(), seconds);
            assert_eq!(StampText::new(at, StampPrecision::Millis).as_str(), millis);
        }
        assert_eq!(StampPrecision::of_column(0), StampPrecision::Seconds);
        assert_eq!(StampPrecision::of_column(2), StampPrecision::Seconds);
        assert_eq!(StampPrecision::of_column(6), StampPrecision::Millis);
    }
}
