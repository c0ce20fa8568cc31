//! A price as the venue wrote it: validated decimal text from the wire to the SQL, never a float.
//!
//! Forty bytes, inline, `Copy`: the board and the batches hold prices without an allocation.

use std::fmt;

use super::limits::{PRICE_FRACTION_DIGITS_MAX, PRICE_INTEGER_DIGITS_MAX};

const LEN_MAX: usize = PRICE_INTEGER_DIGITS_MAX + 1 + PRICE_FRACTION_DIGITS_MAX;

/// A decimal greater than zero: digits, at most one point with digits on both sides, at most
/// [`PRICE_INTEGER_DIGITS_MAX`] before and [`PRICE_FRACTION_DIGITS_MAX`] behind it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PriceText {
    bytes: [u8; LEN_MAX],
    len: u8,
}

/// Why a text is not a price. Counted by kind; such an entry touches neither price nor timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BadPrice {
    /// Not digits with at most one point between them: empty, signed, exponent, text.
    NotDecimal,
    /// Zero.
    NotPositive,
    /// More than [`PRICE_INTEGER_DIGITS_MAX`] digits before the point.
    TooLarge,
    /// More than [`PRICE_FRACTION_DIGITS_MAX`] digits behind the point.
    TooFine,
    /// The target column would overflow.
    ColumnOverflow,
    /// The target column would round, perhaps to zero.
    ColumnRounds,
}

impl BadPrice {
    /// All kinds, for tables of counters.
    pub const ALL: [BadPrice; 6] = [
        BadPrice::NotDecimal,
        BadPrice::NotPositive,
        BadPrice::TooLarge,
        BadPrice::TooFine,
        BadPrice::ColumnOverflow,
        BadPrice::ColumnRounds,
    ];

    /// The word used in logs, ledgers and the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            BadPrice::NotDecimal => "not_decimal",
            BadPrice::NotPositive => "not_positive",
            BadPrice::TooLarge => "too_large",
            BadPrice::TooFine => "too_fine",
            BadPrice::ColumnOverflow => "column_overflow",
            BadPrice::ColumnRounds => "column_rounds",
        }
    }
}

impl fmt::Display for BadPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a `numeric(precision, scale)` column can hold without rounding; [`ColumnScale::UNBOUNDED`] for TEXT or plain
/// `numeric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnScale {
    /// Digits before the point.
    pub integer_digits: u8,
    /// Digits behind the point.
    pub fraction_digits: u8,
}

impl ColumnScale {
    /// Holds every [`PriceText`].
    pub const UNBOUNDED: ColumnScale = ColumnScale {
        integer_digits: PRICE_INTEGER_DIGITS_MAX as u8,
        fraction_digits: PRICE_FRACTION_DIGITS_MAX as u8,
    };

    /// Of `numeric(precision, scale)`; what exceeds our own bounds is cut to them.
    #[must_use]
    pub fn numeric(precision: u32, scale: u32) -> Self {
        let integer = precision.saturating_sub(scale).min(PRICE_INTEGER_DIGITS_MAX as u32);
        let fraction = scale.min(PRICE_FRACTION_DIGITS_MAX as u32);
        ColumnScale { integer_digits: integer as u8, fraction_digits: fraction as u8 }
    }
}

impl PriceText {
    /// Validates `text` and keeps its digits as they are.
    ///
    /// # Errors
    /// The kind of [`BadPrice`]; never a column's.
    pub fn parse(text: &[u8]) -> Result<Self, BadPrice> {
        let point = text.iter().position(|&b| b == b'.');
        let (integer, fraction) = match point {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, &text[..0]),
        };
        let digits = integer.iter().chain(fraction).all(u8::is_ascii_digit);
        if !digits || integer.is_empty() || (point.is_some() && fraction.is_empty()) {
            return Err(BadPrice::NotDecimal);
        }
        if integer.len() > PRICE_INTEGER_DIGITS_MAX {
            return Err(BadPrice::TooLarge);
        }
        if fraction.len() > PRICE_FRACTION_DIGITS_MAX {
            return Err(BadPrice::TooFine);
        }
        if text.iter().all(|&b| matches!(b, b'0' | b'.')) {
            return Err(BadPrice::NotPositive);
        }
        let mut bytes = [0; LEN_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Ok(PriceText { bytes, len: text.len() as u8 })
    }

    /// The digits, as SQL and JSON take them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a price is ASCII")
    }

    /// This price times 10^`exponent`, exactly: only the point moves. The result has no needless zeros before the point,
    /// and keeps the zeros behind it that the venue sent.
    ///
    /// # Errors
    /// [`BadPrice::TooLarge`] or [`BadPrice::TooFine`] when the moved point leaves too many digits on one side.
    pub fn shifted(&self, exponent: i8) -> Result<Self, BadPrice> {
        if exponent == 0 {
            return Ok(*self);
        }
        // The significant digits without a point, and where the point stands in them.
        let mut digits = [0u8; LEN_MAX];
        let mut count = 0usize;
        let mut point = None;
        for &b in self.as_bytes() {
            if b == b'.' {
                point = Some(count);
            } else {
                digits[count] = b;
                count += 1;
            }
        }
        let digits = &digits[..count];
        let moved = point.unwrap_or(count) as i32 + i32::from(exponent);
        let leading = digits.iter().take_while(|&&b| b == b'0').count() as i32;
        let integer_len = (moved - leading).max(1) as usize;
        let fraction_len = (count as i32 - moved).max(0) as usize;
        if integer_len > PRICE_INTEGER_DIGITS_MAX {
            return Err(BadPrice::TooLarge);
        }
        if fraction_len > PRICE_FRACTION_DIGITS_MAX {
            // Zeros at the end carry nothing; with them gone the price may still fit.
            let trailing = digits.iter().rev().take_while(|&&b| b == b'0').count();
            if fraction_len - trailing.min(fraction_len) > PRICE_FRACTION_DIGITS_MAX {
                return Err(BadPrice::TooFine);
            }
        }
        let fraction_len = fraction_len.min(PRICE_FRACTION_DIGITS_MAX);
        let at = |position: i32| -> u8 {
            usize::try_from(position).ok().and_then(|i| digits.get(i).copied()).unwrap_or(b'0')
        };
        let mut bytes = [0; LEN_MAX];
        let mut len = 0;
        for position in (moved - integer_len as i32)..moved {
            bytes[len] = at(position);
            len += 1;
        }
        if fraction_len > 0 {
            bytes[len] = b'.';
            len += 1;
            for position in moved..moved + fraction_len as i32 {
                bytes[len] = at(position);
                len += 1;
            }
        }
        Ok(PriceText { bytes, len: len as u8 })
    }

    /// Whether a column holds this price digit for digit. Zeros at the end behind the point do not count.
    ///
    /// # Errors
    /// [`BadPrice::ColumnOverflow`] or [`BadPrice::ColumnRounds`].
    pub fn check_column(&self, column: ColumnScale) -> Result<(), BadPrice> {
        let text = self.as_bytes();
        let (integer, fraction) = match text.iter().position(|&b| b == b'.') {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, &text[..0]),
        };
        let leading = integer.iter().take_while(|&&b| b == b'0').count();
        let trailing = fraction.iter().rev().take_while(|&&b| b == b'0').count();
        if integer.len() - leading > usize::from(column.integer_digits) {
            return Err(BadPrice::ColumnOverflow);
        }
        if fraction.len() - trailing > usize::from(column.fraction_digits) {
            return Err(BadPrice::ColumnRounds);
        }
        Ok(())
    }
}

impl fmt::Debug for PriceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for PriceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn price(text: &str) -> PriceText {
        PriceText::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_a_price() {
        for good in
            ["1", "0.1", "86537.10501823", "00.10", "99999999999999999999.999999999999999999", "0.000000000000000001"]
        {
            assert_eq!(price(good).as_str(), good);
        }
        for (bad, kind) in [
            ("", BadPrice::NotDecimal),
            (".", BadPrice::NotDecimal),
            ("1.", BadPrice::NotDecimal),
            (".5", BadPrice::NotDecimal),
            ("-1", BadPrice::NotDecimal),
            ("+1", BadPrice::NotDecimal),
            ("1e5", BadPrice::NotDecimal),
            ("1.2.3", BadPrice::NotDecimal),
            (" 1", BadPrice::NotDecimal),
            ("NaN", BadPrice::NotDecimal),
            ("1,5", BadPrice::NotDecimal),
            ("\u{661}", BadPrice::NotDecimal),
            ("0", BadPrice::NotPositive),
            ("0.00000000", BadPrice::NotPositive),
            ("100000000000000000000", BadPrice::TooLarge),
            ("0.0000000000000000001", BadPrice::TooFine),
        ] {
            assert_eq!(PriceText::parse(bad.as_bytes()), Err(kind), "{bad}");
        }
    }

    #[test]
    fn a_shift_moves_only_the_point() {
        for (text, exponent, moved) in [
            ("0.00010123", 3, "0.10123"),
            ("0.00010123", 1, "0.0010123"),
            ("0.10123", -3, "0.00010123"),
            ("12.5", 1, "125"),
            ("12.5", 3, "12500"),
            ("125", -1, "12.5"),
            ("125", -3, "0.125"),
            ("125", -5, "0.00125"),
            ("100", -2, "1.00"),
            ("0.50", 1, "5.0"),
            ("7", 0, "7"),
            ("0.000000000000000010", -1, "0.000000000000000001"),
        ] {
            assert_eq!(price(text).shifted(exponent).unwrap().as_str(), moved, "{text} by {exponent}");
        }
        assert_eq!(price("99999999999999999999").shifted(1), Err(BadPrice::TooLarge));
        assert_eq!(price("0.000000000000000001").shifted(-1), Err(BadPrice::TooFine));
    }

    #[test]
    fn a_column_holds_or_refuses() {
        let column = ColumnScale::numeric(20, 8);
        for good in ["999999999999.99999999", "0.00000001", "0.000000010000", "000000000000001"] {
            assert_eq!(price(good).check_column(column), Ok(()), "{good}");
        }
        assert_eq!(price("0.000000001").check_column(column), Err(BadPrice::ColumnRounds));
        assert_eq!(price("1000000000000").check_column(column), Err(BadPrice::ColumnOverflow));
        assert_eq!(ColumnScale::numeric(1000, 500), ColumnScale { integer_digits: 20, fraction_digits: 18 });
    }

    #[test]
    fn there_and_back_is_the_same_value() {
        let mut random = crate::domain::Random::from_seed(11);
        for _ in 0..10_000 {
            let integer = random.below(1_000_000_000);
            let fraction = random.below(100_000_000);
            let Ok(price) = PriceText::parse(format!("{integer}.{fraction:08}").as_bytes()) else { continue };
            let exponent = random.below(13) as i8 - 6;
            let there = price.shifted(exponent).unwrap();
            let back = there.shifted(-exponent).unwrap();
            let trim = |p: &PriceText| {
                let text = p.as_str().trim_start_matches('0').to_owned();
                if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
            };
            assert_eq!(trim(&back), trim(&price), "{price} by {exponent} is {there}");
        }
    }
}
