//! PHP's `serialize()` text, byte for byte (facts/laravel_queue.md §6): what stands in `data.command` of a Laravel job.
//!
//! Written, never read here: `O:` an object with public properties, `s:` text with its length in bytes, `i:`, `d:`, `b:`,
//! `N;`, `a:` an array. Nothing follows the last `}`: PHP 8.3 warns of it, and a warning is an exception in an application.

use std::io::Write as _;

use super::digits;
use super::json::{At, Document, Value};

/// `s:<bytes>:"<text>";`
pub fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"s:");
    digits::write_uint(text.len() as u64, out);
    out.extend_from_slice(b":\"");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\";");
}

/// `i:<value>;`
pub fn write_int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"i:");
    digits::write_int(value, out);
    out.push(b';');
}

/// `O:<bytes>:"<class>":<properties>:{` — the caller writes the properties and closes with [`close`].
pub fn open_object(class: &str, properties: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"O:");
    digits::write_uint(class.len() as u64, out);
    out.extend_from_slice(b":\"");
    out.extend_from_slice(class.as_bytes());
    out.extend_from_slice(b"\":");
    digits::write_uint(properties as u64, out);
    out.extend_from_slice(b":{");
}

/// The end of what [`open_object`] or [`open_array`] began.
pub fn close(out: &mut Vec<u8>) {
    out.push(b'}');
}

/// The document as PHP's `json_decode(…, true)` has it: objects and lists are arrays, canonical decimal keys are integers.
pub fn write_document(document: &Document, at: At, out: &mut Vec<u8>) {
    match document.value(at) {
        Value::Null => out.extend_from_slice(b"N;"),
        Value::Bool(value) => out.extend_from_slice(if value { b"b:1;" } else { b"b:0;" }),
        Value::Int(value) => write_int(value, out),
        Value::Double(value) => write_double(value, out),
        Value::Text(span) => write_text(document.text(span), out),
        Value::List(count) => {
            open_array(count, out);
            for (index, child) in document.children(at).enumerate() {
                write_int(index as i64, out);
                write_document(document, child, out);
            }
            out.push(b'}');
        }
        Value::Object(count) => {
            open_array(count, out);
            for child in document.children(at) {
                let key = document.key(child);
                match canonical_int(key) {
                    Some(value) => write_int(value, out),
                    None => write_text(key, out),
                }
                write_document(document, child, out);
            }
            out.push(b'}');
        }
    }
}

/// `a:<count>:{` — the caller writes key and value in turn and closes with [`close`].
pub fn open_array(count: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"a:");
    digits::write_uint(u64::from(count), out);
    out.extend_from_slice(b":{");
}

/// A key that PHP turns into an integer: decimal, no plus, no leading zero, no `-0`, within 64 bits.
fn canonical_int(key: &[u8]) -> Option<i64> {
    let digits = key.strip_prefix(b"-").unwrap_or(key);
    let canonical = match digits {
        [b'0'] => digits.len() == key.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(key).ok()?.parse().ok()
}

/// `serialize_precision = -1`: the shortest digits that read back equal; fixed from 1e-4 up to 1e17, else `d.dE+x`.
fn write_double(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"d:");
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"INF" } else { b"-INF" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else {
        // Rust's `{:e}` has the shortest digits: `-1.2345e-7`.
        let mut scratch = [0u8; 40];
        let mut cursor = &mut scratch[..];
        write!(cursor, "{value:e}").expect("a double in exponent form is below 40 bytes");
        let left = cursor.len();
        let text = &scratch[..40 - left];
        let (sign, text) = text.strip_prefix(b"-").map_or((&b""[..], text), |rest| (&b"-"[..], rest));
        let split = text.iter().position(|&b| b == b'e').expect("exponent form has an e");
        let exponent: i32 =
            std::str::from_utf8(&text[split + 1..]).expect("ASCII").parse().expect("the exponent of a double");
        let first = text[0];
        let rest = if split > 1 { &text[2..split] } else { &text[..0] };
        out.extend_from_slice(sign);
        if (-4..17).contains(&exponent) {
            if exponent < 0 {
                out.extend_from_slice(b"0.");
                out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
                out.push(first);
                out.extend_from_slice(rest);
            } else {
                let whole = exponent as usize;
                out.push(first);
                out.extend_from_slice(&rest[..whole.min(rest.len())]);
                out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(rest.len())));
                if rest.len() > whole {
                    out.push(b'.');
                    out.extend_from_slice(&rest[whole..]);
                }
            }
        } else {
            out.push(first);
            out.push(b'.');
            out.extend_from_slice(if rest.is_empty() { b"0" } else { rest });
            out.push(b'E');
            out.push(if exponent < 0 { b'-' } else { b'+' });
            digits::write_uint(u64::from(exponent.unsigned_abs()), out);
        }
    }
    out.push(b';');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors whose right side is what PHP 8.2 prints for `serialize(json_decode($left, true))`.
    const VECTORS: &[(&str, &str)] = &[
        ("null", "N;"),
        ("true", "b:1;"),
        ("[]", "a:0:{}"),
        ("{}", "a:0:{}"),
        ("\"\"", "s:0:\"\";"),
        ("\"\u{e9}\u{1f600}\"", "s:6:\"\u{e9}\u{1f600}\";"),
        (r#""a\u0000b""#, "s:3:\"a\0b\";"),
        ("-0", "i:0;"),
        ("-0.0", "d:-0;"),
        ("1.0", "d:1;"),
        ("1e3", "d:1000;"),
        ("0.1", "d:0.1;"),
        ("100.0", "d:100;"),
        ("0.0001", "d:0.0001;"),
        ("0.00012345", "d:0.00012345;"),
        ("0.00001", "d:1.0E-5;"),
        ("-0.000012345", "d:-1.2345E-5;"),
        ("1e16", "d:10000000000000000;"),
        ("1e17", "d:1.0E+17;"),
        ("123456789012345.678", "d:123456789012345.67;"),
        ("123456789012345678901234567890", "d:1.2345678901234568E+29;"),
        ("9223372036854775807", "i:9223372036854775807;"),
        ("9223372036854775808", "d:9.223372036854776E+18;"),
        ("1e999", "d:INF;"),
        ("[1,\"2\",[3]]", "a:3:{i:0;i:1;i:1;s:1:\"2\";i:2;a:1:{i:0;i:3;}}"),
        (
            r#"{"0":1,"-5":2,"00":3,"-0":4,"+1":5,"":6,"9223372036854775807":7,"9223372036854775808":8,"1.5":9," 1":10}"#,
            "a:10:{i:0;i:1;i:-5;i:2;s:2:\"00\";i:3;s:2:\"-0\";i:4;s:2:\"+1\";i:5;s:0:\"\";i:6;i:9223372036854775807;i:7;\
             s:19:\"9223372036854775808\";i:8;s:3:\"1.5\";i:9;s:2:\" 1\";i:10;}",
        ),
        (r#"{"a":1,"b":2,"a":3}"#, "a:2:{s:1:\"a\";i:3;s:1:\"b\";i:2;}"),
    ];

    #[test]
    fn vectors() {
        let mut document = Document::new();
        let mut out = Vec::new();
        for (json, php) in VECTORS {
            let at = document.read(json.as_bytes()).unwrap();
            out.clear();
            write_document(&document, at, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), *php, "{json}");
        }
    }
}
