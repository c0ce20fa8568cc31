//! Positions: what fills make of them, and what they realise.

use std::sync::Arc;

use super::book::Instrument;
use super::decimal::{Spare, Trimmed, div, mul};

/// A position, open or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionTruth {
    /// What is held.
    pub instrument: Arc<Instrument>,
    /// `ps`.
    pub position_side: &'static str,
    /// Isolated margin; cross otherwise.
    pub is_isolated: bool,
    /// `T` of the newest event that changed it; 0 before.
    pub updated_ms: i64,
    pub(in crate::sim) amount: i64,
    pub(in crate::sim) entry: i64,
    pub(in crate::sim) realized: i64,
    pub(in crate::sim) wallet: i64,
}

impl PositionTruth {
    /// `pa`, signed, as the wire has it.
    #[must_use]
    pub fn amount_text(&self) -> String {
        Spare(self.amount, self.instrument.quantity_places).to_string()
    }

    /// `ep`, as the wire has it.
    #[must_use]
    pub fn entry_text(&self) -> String {
        Trimmed(self.entry).to_string()
    }

    /// Adds a signed quantity at a price; what it realises, before fees.
    pub(super) fn apply(&mut self, signed: i64, price: i64) -> i64 {
        let before = self.amount;
        // In hedge mode a side never turns over.
        let after = match self.position_side {
            "LONG" => (before + signed).max(0),
            "SHORT" => (before + signed).min(0),
            _ => before + signed,
        };
        self.amount = after;
        let closed = if before.signum() == signed.signum() { 0 } else { before.abs().min((after - before).abs()) };
        let realized = mul(closed, price - self.entry) * before.signum();
        if after == 0 {
            self.entry = 0;
        } else if closed == 0 {
            let quote = mul(before.abs(), self.entry) + mul((after - before).abs(), price);
            self.entry = div(quote, after.abs());
        } else if after.signum() != before.signum() {
            self.entry = price;
        }
        self.realized += realized;
        realized
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::private::book::AccountBook;
    use crate::sim::private::decimal::ONE;

    pub(in crate::sim) fn instrument() -> Arc<Instrument> {
        let symbol = "BTCUSDT".into();
        Arc::new(Instrument { symbol, price_places: 1, quantity_places: 3, position: 0, first_order_id: 1 })
    }

    #[test]
    fn positions_open_grow_shrink_close_and_turn() {
        let mut book = AccountBook::default();
        let position = book.position_mut(&instrument(), "BOTH", false);
        for (signed, price, amount, entry, realized) in [
            (ONE, 100, "1.000", "100", 0),
            (ONE, 200, "2.000", "150", 0),
            (-ONE, 160, "1.000", "150", 10),
            (-ONE, 140, "0", "0", -10),
            (-ONE, 140, "-1.000", "140", 0),
            (2 * ONE, 130, "1.000", "130", 10),
        ] {
            assert_eq!(position.apply(signed, price * ONE), realized * ONE);
            assert_eq!((position.amount_text().as_str(), position.entry_text().as_str()), (amount, entry));
        }
        let long = book.position_mut(&instrument(), "LONG", true);
        long.apply(ONE, 100 * ONE);
        assert_eq!(long.apply(-2 * ONE, 110 * ONE), 10 * ONE);
        assert_eq!(long.amount_text(), "0");
    }
}
