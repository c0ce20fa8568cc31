//! Numbers as PHP's `is_numeric` takes them, read digit by digit: a sign, digits, a point, an exponent, blanks around.

use crate::domain::Decimal;
use crate::domain::limits::DECIMAL_TEXT_MAX;

/// The exact value of a numeric text; `None` for what is no number, or none of at most [`DECIMAL_TEXT_MAX`] bytes when
/// written without an exponent.
pub(super) fn read_decimal(text: &str) -> Option<Decimal> {
    // What the venue writes, all of it.
    if let Some(decimal) = Decimal::parse(text) {
        return Some(decimal);
    }
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let (is_negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let digits = [whole, fraction].concat();
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0');
    if significant.is_empty() {
        return Some(Decimal::zero());
    }
    // Digits before the point of what `significant` begins with; none or fewer where it begins behind the point.
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?.checked_sub(i64::try_from(leading).ok()?)?;
    let width = i64::try_from(DECIMAL_TEXT_MAX).ok()?;
    if significant.len() > DECIMAL_TEXT_MAX || point.abs() > width {
        return None;
    }
    let plain = match usize::try_from(point) {
        Ok(0) | Err(_) => format!("0.{}{significant}", "0".repeat(point.unsigned_abs() as usize)),
        Ok(point) if point >= significant.len() => format!("{significant}{}", "0".repeat(point - significant.len())),
        Ok(point) => format!("{}.{}", &significant[..point], &significant[point..]),
    };
    Decimal::parse(&if is_negative { format!("-{plain}") } else { plain })
}

/// Exponents beyond 18 digits are held at that: no text of ours has so many digits that it mattered.
fn read_exponent(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(sign * digits.parse::<i64>().unwrap_or(i64::MAX).min(999_999_999_999_999_999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        let long_zero = "0".repeat(10_000);
        for (text, expected) in [
            ("86450.10", Some("86450.1")),
            ("1e3", Some("1000")),
            ("1E+3", Some("1000")),
            ("1.25e1", Some("12.5")),
            ("1.25e2", Some("125")),
            ("1.25e-8", Some("0.0000000125")),
            ("-1.164e-4", Some("-0.0001164")),
            ("0.00001e5", Some("1")),
            ("120.0e-1", Some("12")),
            ("9.12345678901e11", Some("912345678901")),
            ("1.7976931348623157e63", Some(&*format!("17976931348623157{}", "0".repeat(47)))),
            ("1e64", None),
            ("1e308", None),
            ("1e-62", Some(&*format!("0.{}1", "0".repeat(61)))),
            ("1e-63", None),
            ("1e999999999999999999999999", None),
            ("1e-999999999999999999999999", None),
            ("0e999999999999999999999999", Some("0")),
            ("-0.0e-7", Some("0")),
            (".5", Some("0.5")),
            ("5.", Some("5")),
            ("+5", Some("5")),
            (" \t5\n ", Some("5")),
            (&*format!("{long_zero}5.5{long_zero}"), Some("5.5")),
            (&*format!("0.{long_zero}e9"), Some("0")),
            (&*format!("0.{long_zero}1e10001"), Some("1")),
            (&*"9".repeat(65), None),
            ("", None),
            (" ", None),
            (".", None),
            ("-", None),
            ("e5", None),
            ("1e", None),
            ("1e+", None),
            ("1e1.5", None),
            ("1e5e5", None),
            ("1.2.3", None),
            ("--1", None),
            ("1 2", None),
            ("0x1A", None),
            ("1_000", None),
            ("NaN", None),
            ("Infinity", None),
            ("\u{0661}", None),
            ("\u{a0}1", None),
        ] {
            assert_eq!(read_decimal(text).as_ref().map(Decimal::as_str), expected, "{text}");
        }
    }
}
