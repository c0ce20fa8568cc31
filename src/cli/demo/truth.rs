//! The table held against the simulator: an arithmetic of its own, so that the program's is not its own judge.
//!
//! Prices are compared as integers of 10^-18; the power of ten between two contract sizes is the one that the simulator's
//! list has written down by hand.

use std::collections::{BTreeMap, HashMap};

use crate::sim::SimHandle;
use crate::store::rows::PricedRow;

/// Digits behind the point of the integers compared.
const FRACTION_DIGITS: u32 = 18;

/// What one row has to hold.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Binance's symbol.
    pub source: String,
    /// Price = Binance's × 10^shift.
    pub shift: i8,
}

/// Rows that must hold a price, by exchange and the exchange's symbol.
pub type Book = HashMap<(String, String), Expected>;

/// The rows that the simulator's lists call for: dated contracts have no row on other venues and none of their own here
/// unless the stream made one, so they are judged only where a row exists.
pub fn book(sim: &SimHandle) -> Book {
    let binance = sim.listed().iter().filter(|listed| !listed.contract.is_coin_m()).map(|listed| {
        (("binance".to_owned(), listed.symbol.clone()), Expected { source: listed.symbol.clone(), shift: 0 })
    });
    let others = sim.cross_listings().iter().filter_map(|cross| {
        let source = cross.source.as_ref()?;
        let key = (cross.venue.canonical().to_owned(), cross.symbol.clone());
        Some((key, Expected { source: source.symbol.clone(), shift: source.shift }))
    });
    binance.chain(others).collect()
}

/// How the table compares.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Rows right, by exchange; those with a shift apart.
    pub right: BTreeMap<String, usize>,
    /// Rows right whose price is shifted.
    pub right_shifted: usize,
    /// Rows that differ, unshifted: a sentence each.
    pub wrong: Vec<String>,
    /// Rows that differ, shifted.
    pub wrong_shifted: Vec<String>,
}

/// Holds `rows` against the newest valid prices of the exchange.
pub fn compare(rows: &[PricedRow], book: &Book, truth: &BTreeMap<String, String>) -> Comparison {
    let mut comparison = Comparison::default();
    let mut seen = 0;
    for row in rows {
        let Some(expected) = book.get(&(row.exchange.clone(), row.symbol.clone())) else { continue };
        let Some(price) = truth.get(&expected.source) else { continue };
        seen += 1;
        let wanted = scaled(price).and_then(|units| shifted(units, expected.shift));
        let held = row.price.as_deref().and_then(scaled);
        let (wrong, is_shifted) = match expected.shift {
            0 => (&mut comparison.wrong, false),
            _ => (&mut comparison.wrong_shifted, true),
        };
        if wanted.is_some() && wanted == held {
            *comparison.right.entry(row.exchange.clone()).or_default() += 1;
            comparison.right_shifted += usize::from(is_shifted);
        } else {
            let holds = row.price.as_deref().unwrap_or("nothing");
            let sentence = format!(
                "{} {} holds {holds}, Binance's {} × 10^{} is {price} × 10^{}",
                row.exchange, row.symbol, expected.source, expected.shift, expected.shift
            );
            wrong.push(sentence);
        }
    }
    if seen == 0 {
        comparison.wrong.push("no row of the table belongs to a symbol of the exchange".to_owned());
    }
    comparison
}

/// A decimal text in units of 10^-18; `None` for what is none or does not fit.
pub fn scaled(text: &str) -> Option<u128> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    if integer.is_empty() || fraction.len() > FRACTION_DIGITS as usize {
        return None;
    }
    let units: u128 = integer.parse().ok()?;
    let padded = format!("{fraction:0<width$}", width = FRACTION_DIGITS as usize);
    let rest: u128 = padded.parse().ok()?;
    units.checked_mul(10u128.pow(FRACTION_DIGITS))?.checked_add(rest)
}

fn shifted(units: u128, shift: i8) -> Option<u128> {
    let power = 10u128.checked_pow(u32::from(shift.unsigned_abs()))?;
    if shift >= 0 { units.checked_mul(power) } else { units.is_multiple_of(power).then(|| units / power) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_compare_by_value() {
        assert_eq!(scaled("1.50"), scaled("1.5"));
        assert_eq!(scaled("1"), Some(10u128.pow(18)));
        assert_eq!(shifted(scaled("0.00012340").unwrap(), 1), scaled("0.001234"));
        assert_eq!(shifted(scaled("0.10123").unwrap(), -3), scaled("0.00010123"));
        for none in ["", ".5", "x", "-1", "1e5", "NaN", "0.0000000000000000001"] {
            assert_eq!(scaled(none), None, "{none}");
        }
    }
}
