//! What the number in a contract's name says about its price: `1000PEPE` is a thousand PEPE.
//!
//! Venues sell the same coin in lots of different sizes and write the size into the base asset's name, in front or
//! behind. A price goes from one venue's contract to another's by an exact power of ten, or not at all: a copy without
//! the ratio put prices on the books that were a thousand times wrong (facts/incumbent.md §9, 41).

/// Splits a base asset into its multiplier, as a power of ten, and the asset: `1000PEPE` is (3, `PEPE`).
///
/// A multiplier is exactly `1000`, `10000`, `100000`, `1000000` or `1M`, in front of or behind a name that is not
/// empty and has no further digit on that side: `1INCH`, `LUNA2`, `BROCCOLI714`, `4` and `10000` are names. A name may
/// still look like a multiplier by chance (`1000X`), so a split means nothing alone: see [`shift_between`].
#[must_use]
pub fn split_multiplier(token: &str) -> (u8, &str) {
    prefix(token).or_else(|| suffix(token)).unwrap_or((0, token))
}

/// By which power of ten Binance's price becomes the price of the other venue's contract; `None` if that cannot be known.
///
/// Equal names are equal contracts. Else the multipliers are split off: equal assets differ by their multipliers
/// (`1000FLOKI` to `FLOKI` is -3), different assets without any multiplier are one coin under two names (`BTC` to `XBT`,
/// which only somebody's mapper can claim, is 0), and different assets with a multiplier on either side stay unknown,
/// because the digits may be part of a name.
#[must_use]
pub fn shift_between(binance_token: &str, other_token: &str) -> Option<i8> {
    if binance_token == other_token {
        return Some(0);
    }
    let (from, asset) = split_multiplier(binance_token);
    let (to, other_asset) = split_multiplier(other_token);
    if asset == other_asset || (from == 0 && to == 0) {
        return Some(to as i8 - from as i8);
    }
    None
}

fn prefix(token: &str) -> Option<(u8, &str)> {
    let digits = token.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = token.split_at(digits);
    let (power, rest) = match rest.strip_prefix('M') {
        Some(rest) if number == "1" => (6, rest),
        _ => (power_of_ten(number)?, rest),
    };
    (!rest.is_empty()).then_some((power, rest))
}

fn suffix(token: &str) -> Option<(u8, &str)> {
    let (text, is_millions) = match token.strip_suffix('M') {
        Some(text) => (text, true),
        None => (token, false),
    };
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (rest, number) = text.split_at(text.len() - digits);
    let power = match (is_millions, number) {
        (true, "1") => 6,
        (true, _) => return None,
        (false, number) => power_of_ten(number)?,
    };
    (!rest.is_empty()).then_some((power, rest))
}

fn power_of_ten(number: &str) -> Option<u8> {
    match number {
        "1000" => Some(3),
        "10000" => Some(4),
        "100000" => Some(5),
        "1000000" => Some(6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipliers_in_front_and_behind() {
        for (token, power, asset) in [
            ("1000PEPE", 3, "PEPE"),
            ("10000SATS", 4, "SATS"),
            ("100000ABC", 5, "ABC"),
            ("1000000MOG", 6, "MOG"),
            ("1MBABYDOGE", 6, "BABYDOGE"),
            ("1MCHEEMS", 6, "CHEEMS"),
            ("SHIB1000", 3, "SHIB"),
            ("ABC1000000", 6, "ABC"),
            ("ABC1M", 6, "ABC"),
            ("1000X", 3, "X"),
            ("1000CAT", 3, "CAT"),
            ("1000币安人生", 3, "币安人生"),
            ("币安人生1000", 3, "币安人生"),
        ] {
            check(token, power, asset);
        }
    }

    #[test]
    fn digits_that_are_a_name() {
        for token in [
            "BTC",
            "",
            "4",
            "0G",
            "1",
            "1M",
            "M",
            "1000",
            "10000",
            "1000000",
            "1INCH",
            "1INCHM",
            "2Z",
            "100X",
            "10000000X",
            "2000X",
            "1001X",
            "01000X",
            "11000X",
            "LUNA2",
            "BROCCOLI714",
            "C98",
            "X21000",
            "SHIB100",
            "11MX",
            "A11M",
            "1m2",
            "龙虾",
        ] {
            check(token, 0, token);
        }
    }

    #[test]
    fn sats_1000_to_10000_is_plus_one() {
        assert_eq!(shift_between("1000SATS", "10000SATS"), Some(1));
    }

    #[test]
    fn floki_1000_to_floki_is_minus_three() {
        assert_eq!(shift_between("1000FLOKI", "FLOKI"), Some(-3));
    }

    #[test]
    fn shib_1000_in_front_or_behind_is_zero() {
        assert_eq!(shift_between("1000SHIB", "SHIB1000"), Some(0));
    }

    #[test]
    fn btc_to_xbt_is_zero() {
        assert_eq!(shift_between("BTC", "XBT"), Some(0));
    }

    #[test]
    fn shifts_of_the_field() {
        for (binance, other, shift) in [
            ("BTC", "BTC", Some(0)),
            ("1000X", "1000X", Some(0)),
            ("1000X", "X", Some(-3)),
            ("1MBABYDOGE", "1000000BABYDOGE", Some(0)),
            ("1000CHEEMS", "1MCHEEMS", Some(3)),
            ("1000CAT", "10000CAT", Some(1)),
            ("1000WHY", "10000WHY", Some(1)),
            ("TURBO", "1000TURBO", Some(3)),
            ("LUNA2", "LUNA", Some(0)),
            ("RAYSOL", "RAY", Some(0)),
            ("NEIRO", "1000NEIROCTO", None),
            ("1000LUNC", "LUNA", None),
            ("1000LUNC", "1000LUNA", None),
            ("1000", "10000", Some(0)),
        ] {
            assert_eq!(shift_between(binance, other), shift, "{binance} to {other}");
            assert_eq!(shift_between(other, binance), shift.map(|n: i8| -n), "{other} to {binance}");
        }
    }

    #[track_caller]
    fn check(token: &str, power: u8, asset: &str) {
        assert_eq!(split_multiplier(token), (power, asset), "{token}");
    }
}
