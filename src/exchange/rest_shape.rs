//! Reading REST answers with a loose hand: a member may be a string or a number, absent, null or empty, and a venue may
//! add what it likes; what must be there is named when it is not.

use serde_json::Value;

use crate::domain::Venue;
use crate::domain::limits::SYMBOL_LEN_MAX;

/// Why an answer cannot be read. Says what and where; never longer than a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The venue answered with an error of its own.
    #[error("{venue} instruments: {field} {code} {message:?}")]
    Refused {
        /// Who.
        venue: Venue,
        /// The member that carries the code: `code`, `retCode`.
        field: &'static str,
        /// The venue's code, as text.
        code: String,
        /// The venue's words, cut to 120 characters.
        message: String,
    },
    /// The answer is no JSON: a proxy's or a firewall's page.
    #[error("{venue} instruments: the answer is no JSON, it begins with {start:?}")]
    NotJson {
        /// Who.
        venue: Venue,
        /// The first 120 characters.
        start: String,
    },
    /// A member that carries the list is absent or of another type.
    #[error("{venue} instruments: the answer has no {path}")]
    Missing {
        /// Who.
        venue: Venue,
        /// Where it should be: `result.list`.
        path: &'static str,
    },
}

/// Characters of a venue's text that an error repeats.
const EXCERPT_MAX: usize = 120;

/// Parses a body, or says with what it begins.
pub(super) fn read_json(venue: Venue, body: &[u8]) -> Result<Value, ShapeError> {
    serde_json::from_slice(body).map_err(|_| ShapeError::NotJson {
        venue,
        start: excerpt(&String::from_utf8_lossy(&body[..body.len().min(4 * EXCERPT_MAX)])),
    })
}

/// The error that a code and a message make. `field` names the member with the code, `message` the one with the words.
pub(super) fn refused(venue: Venue, answer: &Value, field: &'static str, message: &str) -> ShapeError {
    ShapeError::Refused {
        venue,
        field,
        code: text_or_number(answer, field).unwrap_or_else(|| "absent".to_owned()),
        message: excerpt(answer.get(message).and_then(Value::as_str).unwrap_or("")),
    }
}

/// A string member that is not empty.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A name for a column: a string member of 1 to [`SYMBOL_LEN_MAX`] bytes without control characters or blanks.
pub(super) fn name<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    text(value, key)
        .filter(|name| name.len() <= SYMBOL_LEN_MAX && !name.chars().any(|c| c.is_control() || c.is_whitespace()))
}

/// A whole number, sent as a number or a string.
pub(super) fn integer(value: &Value, key: &str) -> Option<i64> {
    match value.get(key)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A decimal in plain digits. A string is taken as written; a JSON number, which KuCoin sends as `1.0E-7`, is written out.
pub(super) fn decimal(value: &Value, key: &str) -> Option<String> {
    let text = match value.get(key)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.to_string(),
            None => number.as_f64()?.to_string(),
        },
        _ => return None,
    };
    is_decimal(&text).then_some(text)
}

/// Digits behind the point that count: 3 for `0.0010`.
pub(super) fn fraction_digits(decimal: &str) -> Option<u8> {
    let fraction = decimal.split_once('.').map_or("", |(_, fraction)| fraction.trim_end_matches('0'));
    u8::try_from(fraction.len()).ok()
}

/// `text` percent-encoded for the value of a query.
pub(super) fn query_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn text_or_number(value: &Value, key: &str) -> Option<String> {
    match value.get(key)? {
        Value::String(text) => Some(excerpt(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn is_decimal(text: &str) -> bool {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
    [integer, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decimals_are_plain_digits() {
        for (value, expected) in [
            (json!("0.0010"), Some("0.0010")),
            (json!(0.1), Some("0.1")),
            (json!(1), Some("1")),
            (json!(1.0), Some("1")),
            (json!(1.0e-7), Some("0.0000001")),
            (json!("1e-7"), None),
            (json!("-1"), None),
            (json!(""), None),
            (json!("."), None),
            (json!(null), None),
            (json!([1]), None),
        ] {
            assert_eq!(decimal(&json!({ "x": value }), "x").as_deref(), expected, "{value}");
        }
        for (text, digits) in [("0.0010", 3), ("1", 0), ("1.0", 0), ("10", 0), ("0.00000001", 8)] {
            assert_eq!(fraction_digits(text), Some(digits), "{text}");
        }
    }

    #[test]
    fn names_fit_a_column() {
        for (value, good) in [
            (json!("龙虾USDT"), true),
            (json!("X".repeat(SYMBOL_LEN_MAX)), true),
            (json!("X".repeat(SYMBOL_LEN_MAX + 1)), false),
            (json!("A\u{0}B"), false),
            (json!("A B"), false),
            (json!(""), false),
            (json!(7), false),
        ] {
            assert_eq!(name(&json!({ "x": value }), "x").is_some(), good, "{value}");
        }
        assert_eq!(query_value("first=龙&a-b"), "first%3D%E9%BE%99%26a-b");
    }

    #[test]
    fn a_page_of_html_is_quoted_but_not_repeated() {
        let body = format!("<html>\n<title>403</title>{}", "x".repeat(9_000));
        let error = read_json(Venue::Bybit, body.as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with("bybit instruments: the answer is no JSON, it begins with \"<html>\\n<title>403"),
            "{error}"
        );
        assert!(error.len() < 250, "{error}");
        let error = read_json(Venue::Kucoin, b"").unwrap_err().to_string();
        assert_eq!(error, "kucoin instruments: the answer is no JSON, it begins with \"\"");
    }
}
