//! Where a price goes, and what it is there: contract sizes of the venues differ by powers of ten.

use crate::domain::{BadPrice, ColumnScale, PriceText};

/// A row that a symbol's price goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// `exchange_symbols.id`.
    pub row_id: i64,
    /// The exchange that lists it.
    pub api_system_id: i64,
    /// The row's price is Binance's times 10^`shift`.
    pub shift: i8,
}

impl Target {
    /// What this row is given for `price`.
    ///
    /// # Errors
    /// The kind of [`BadPrice`] when the shifted price has too many digits, or `column` would round or overflow.
    pub fn price(&self, price: &PriceText, column: ColumnScale) -> Result<PriceText, BadPrice> {
        let price = price.shifted(self.shift)?;
        price.check_column(column)?;
        Ok(price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_price_must_fit_its_column() {
        let price = PriceText::parse(b"0.00010123").unwrap();
        let target = |shift| Target { row_id: 1, api_system_id: 3, shift };
        let column = ColumnScale::numeric(20, 8);
        assert_eq!(target(1).price(&price, column).unwrap().as_str(), "0.0010123");
        assert_eq!(target(-1).price(&price, column), Err(BadPrice::ColumnRounds));
        assert_eq!(target(-1).price(&price, ColumnScale::UNBOUNDED).unwrap().as_str(), "0.000010123");
        assert_eq!(target(18).price(&price, column), Err(BadPrice::ColumnOverflow));
        assert_eq!(target(-18).price(&price, column), Err(BadPrice::TooFine));
    }
}
