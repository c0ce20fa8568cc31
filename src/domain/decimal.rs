//! Exact decimals: what a venue writes as text and a database keeps as `decimal(20,8)` or TEXT. Compared digit by digit,
//! never through a float: `4.10499999` and `4.105` are two prices, `0` and `0.00000000` are one.

use std::cmp::Ordering;
use std::fmt;

use super::limits::DECIMAL_TEXT_MAX;

/// A decimal in canonical text: no `+`, no exponent, no needless zero, no `-0`. So equal values have equal texts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Decimal(Box<str>);

impl Decimal {
    /// Reads `-?digits[.digits]`, at most [`DECIMAL_TEXT_MAX`] bytes; a digit before the point is needed, as in JSON.
    #[must_use]
    pub fn parse(text: &str) -> Option<Decimal> {
        if text.len() > DECIMAL_TEXT_MAX {
            return None;
        }
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (digits, ""),
        };
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        if whole.is_empty() && fraction.is_empty() {
            return Some(Decimal::zero());
        }
        let mut canonical = String::with_capacity(text.len() + 1);
        if is_negative {
            canonical.push('-');
        }
        canonical.push_str(if whole.is_empty() { "0" } else { whole });
        if !fraction.is_empty() {
            canonical.push('.');
            canonical.push_str(fraction);
        }
        Some(Decimal(canonical.into()))
    }

    /// 0.
    #[must_use]
    pub fn zero() -> Decimal {
        Decimal("0".into())
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is 0.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        &*self.0 == "0"
    }

    /// Whether it is more than 0.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        !self.is_zero() && !self.is_negative()
    }

    /// Whether it is less than 0.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.0.starts_with('-')
    }

    /// The sum, exact; `None` beyond 38 digits.
    #[must_use]
    pub fn plus(&self, other: &Decimal) -> Option<Decimal> {
        let places = self.parts().1.len().max(other.parts().1.len());
        Some(Decimal::of_units(self.units(places)?.checked_add(other.units(places)?)?, places))
    }

    /// The difference, exact; `None` beyond 38 digits.
    #[must_use]
    pub fn minus(&self, other: &Decimal) -> Option<Decimal> {
        let places = self.parts().1.len().max(other.parts().1.len());
        Some(Decimal::of_units(self.units(places)?.checked_sub(other.units(places)?)?, places))
    }

    /// In units of 10^-`places`, which must be enough for its fraction.
    fn units(&self, places: usize) -> Option<i128> {
        let (whole, fraction) = self.parts();
        let mut units: i128 = 0;
        let zeros = std::iter::repeat_n(b'0', places - fraction.len());
        for digit in whole.bytes().chain(fraction.bytes()).chain(zeros) {
            units = units.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        Some(if self.is_negative() { -units } else { units })
    }

    fn of_units(units: i128, places: usize) -> Decimal {
        let digits = format!("{:0>width$}", units.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let sign = if units < 0 { "-" } else { "" };
        let text = if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") };
        Decimal::parse(&text).expect("digits with a sign and a point are a decimal, and 40 bytes are short enough")
    }

    /// Whether a column `decimal(precision, scale)` holds it without rounding.
    #[must_use]
    pub fn fits(&self, precision: usize, scale: usize) -> bool {
        let (whole, fraction) = self.parts();
        let whole = if whole == "0" { 0 } else { whole.len() };
        whole <= precision - scale && fraction.len() <= scale
    }

    /// Digits before and behind the point, without the sign.
    fn parts(&self) -> (&str, &str) {
        let digits = self.0.strip_prefix('-').unwrap_or(&self.0);
        digits.split_once('.').unwrap_or((digits, ""))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative(), other.is_negative()) {
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            _ => {}
        }
        let ((whole, fraction), (other_whole, other_fraction)) = (self.parts(), other.parts());
        let magnitude = whole.len().cmp(&other_whole.len()).then_with(|| whole.cmp(other_whole));
        let magnitude = magnitude.then_with(|| fraction.cmp(other_fraction));
        if self.is_negative() { magnitude.reverse() } else { magnitude }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_canonical_or_nothing() {
        for (text, expected) in [
            ("0", Some("0")),
            ("-0.000", Some("0")),
            ("0.00000000", Some("0")),
            ("007.50", Some("7.5")),
            ("-0.10", Some("-0.1")),
            ("1001816", Some("1001816")),
            ("4.10499999", Some("4.10499999")),
            ("", None),
            ("-", None),
            (".5", None),
            ("5.", None),
            ("1e3", None),
            ("+1", None),
            ("1.2.3", None),
            ("1,5", None),
            (" 1", None),
            ("NaN", None),
            ("\u{0661}", None),
        ] {
            assert_eq!(Decimal::parse(text).as_ref().map(Decimal::as_str), expected, "{text}");
        }
        assert_eq!(Decimal::parse(&"9".repeat(DECIMAL_TEXT_MAX + 1)), None);
    }

    #[test]
    fn order_is_that_of_the_values() {
        let ascending = ["-10", "-9.5", "-9.05", "-0.1", "0", "0.0000000001", "0.1", "0.11", "0.2", "2", "9.99", "10"];
        for (at, text) in ascending.iter().enumerate() {
            for (other_at, other) in ascending.iter().enumerate() {
                let (left, right) = (Decimal::parse(text).unwrap(), Decimal::parse(other).unwrap());
                assert_eq!(left.cmp(&right), at.cmp(&other_at), "{text} {other}");
            }
        }
    }

    #[test]
    fn sums_are_exact() {
        for (left, right, sum, difference) in [
            ("0.1", "0.2", "0.3", "-0.1"),
            ("0.120", "0.075", "0.195", "0.045"),
            ("1", "0.00000001", "1.00000001", "0.99999999"),
            ("-5", "5", "0", "-10"),
            ("99999999999999999999", "1", "100000000000000000000", "99999999999999999998"),
        ] {
            let (left, right) = (Decimal::parse(left).unwrap(), Decimal::parse(right).unwrap());
            assert_eq!(left.plus(&right).unwrap().as_str(), sum);
            assert_eq!(left.minus(&right).unwrap().as_str(), difference);
        }
        let huge = Decimal::parse(&"9".repeat(DECIMAL_TEXT_MAX)).unwrap();
        assert_eq!((huge.plus(&Decimal::zero()), huge.minus(&huge)), (None, None));
    }

    #[test]
    fn a_column_holds_what_it_holds() {
        for (text, fits) in [
            ("999999999999.99999999", true),
            ("1000000000000", false),
            ("0.00000001", true),
            ("0.000000001", false),
            ("-999999999999.5", true),
            ("0", true),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().fits(20, 8), fits, "{text}");
        }
    }
}
