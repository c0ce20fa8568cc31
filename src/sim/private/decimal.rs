//! Exact decimals of the simulated accounts: whole units of 10⁻⁸, and the three ways in which the venue writes them.
//!
//! `facts/binance.md` §4: texts are padded to the symbol's precision or not at all, never comparable as text; a zero is
//! plain `0` in most places.

use std::fmt;

/// Units of one.
pub(in crate::sim) const ONE: i64 = 100_000_000;

/// `a × b`, cut towards zero.
pub(in crate::sim) fn mul(a: i64, b: i64) -> i64 {
    clamp(i128::from(a) * i128::from(b) / i128::from(ONE))
}

/// `a ÷ b`, cut towards zero; zero for a divisor of zero.
pub(in crate::sim) fn div(a: i64, b: i64) -> i64 {
    if b == 0 { 0 } else { clamp(i128::from(a) * i128::from(ONE) / i128::from(b)) }
}

/// Cuts `units` to a multiple of 10^-`places`.
pub(in crate::sim) fn cut(units: i64, places: u32) -> i64 {
    let step = 10i64.pow(8 - places.min(8));
    units / step * step
}

fn clamp(wide: i128) -> i64 {
    wide.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// With exactly this many places, more where the value needs them: `0.120`, `0.00`.
#[derive(Clone, Copy)]
pub(in crate::sim) struct Padded(pub(in crate::sim) i64, pub(in crate::sim) u32);

/// As [`Padded`], but a zero is `0`.
#[derive(Clone, Copy)]
pub(in crate::sim) struct Spare(pub(in crate::sim) i64, pub(in crate::sim) u32);

/// Without trailing zeros: `86450.1`, `0`.
#[derive(Clone, Copy)]
pub(in crate::sim) struct Trimmed(pub(in crate::sim) i64);

impl fmt::Display for Padded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut places = self.1.min(8);
        while places < 8 && cut(self.0, places) != self.0 {
            places += 1;
        }
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / ONE as u64, self.0.unsigned_abs() % ONE as u64);
        if places == 0 {
            return write!(f, "{sign}{whole}");
        }
        let shown = rest / 10u64.pow(8 - places);
        write!(f, "{sign}{whole}.{shown:0width$}", width = places as usize)
    }
}

impl fmt::Display for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("0") } else { Padded(self.0, self.1).fmt(f) }
    }
}

impl fmt::Display for Trimmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Padded(self.0, 0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (units, places, padded, spare, trimmed) in [
            (0, 3, "0.000", "0", "0"),
            (12_000_000, 3, "0.120", "0.120", "0.12"),
            (8_645_010_000_000, 2, "86450.10", "86450.10", "86450.1"),
            (-88_949_208, 8, "-0.88949208", "-0.88949208", "-0.88949208"),
            (-1_000 * ONE, 0, "-1000", "-1000", "-1000"),
            (1, 2, "0.00000001", "0.00000001", "0.00000001"),
        ] {
            let written =
                [Padded(units, places).to_string(), Spare(units, places).to_string(), Trimmed(units).to_string()];
            assert_eq!(written, [padded, spare, trimmed]);
        }
    }

    #[test]
    fn products_and_quotients_are_cut() {
        // A maker's fee as it stands in a real shape: 0.045 × 86450.10 × 0.0002.
        let quote = mul(4_500_000, 8_645_010_000_000);
        assert_eq!(Padded(mul(quote, 20_000), 8).to_string(), "0.77805090");
        assert_eq!(div(quote, 4_500_000), 8_645_010_000_000);
        assert_eq!((div(1, 0), cut(123_456_789, 3), cut(-123_456_789, 0)), (0, 123_400_000, -100_000_000));
    }
}
