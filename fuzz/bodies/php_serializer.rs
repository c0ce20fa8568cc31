//! The JSON reader and the PHP serializer against a naive twin: serde_json's values, and a reader of PHP's text of the test's own.
//!
//! `php_serializer` is the fuzz target's body; the tests and the envelope's body use the rest.

use kraite_streams::queue::json::Document;
use kraite_streams::queue::php;
use serde_json::Value;

/// A value as PHP has it. Arrays are sorted by key: serde_json forgets the order.
#[derive(Clone, Debug, PartialEq)]
pub enum Php {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Vec<u8>),
    Array(Vec<(Key, Php)>),
    Object(Vec<u8>, Vec<(Key, Php)>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Int(i64),
    Text(Vec<u8>),
}

/// Any bytes may stand in a frame.
pub fn php_serializer(input: &[u8]) {
    let mut document = Document::new();
    let ours = document.read(input);
    let theirs = serde_json::from_slice::<Value>(input);
    match (ours, theirs) {
        (Ok(root), theirs) => {
            let mut text = Vec::new();
            php::write_document(&document, root, &mut text);
            assert!(std::str::from_utf8(&text).is_ok(), "a document's PHP text is UTF-8");
            let read = read_php(&text);
            match theirs {
                Ok(value) => assert_same(&read, &twin(&value)),
                Err(error) => assert!(is_limit_of_the_twin(&error), "{error}: {}", String::from_utf8_lossy(input)),
            }
        }
        (Err(_), Err(_)) => {}
        (Err(error), Ok(_)) => panic!("{error}: {}", String::from_utf8_lossy(input)),
    }
}

/// Nested deeper than 128, or a number beyond a double.
pub fn is_limit_of_the_twin(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    text.starts_with("recursion limit exceeded") || text.starts_with("number out of range")
}

/// serde_json's value as `json_decode` has it.
pub fn twin(value: &Value) -> Php {
    match value {
        Value::Null => Php::Null,
        Value::Bool(value) => Php::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => Php::Int(value),
            None => Php::Double(number.as_f64().unwrap()),
        },
        Value::String(text) => Php::Text(text.clone().into_bytes()),
        Value::Array(list) => {
            Php::Array(list.iter().enumerate().map(|(at, value)| (Key::Int(at as i64), twin(value))).collect())
        }
        Value::Object(map) => {
            let mut array: Vec<_> = map
                .iter()
                .map(|(key, value)| {
                    let number = key.parse::<i64>().ok().filter(|number| number.to_string() == *key);
                    (number.map_or_else(|| Key::Text(key.clone().into_bytes()), Key::Int), twin(value))
                })
                .collect();
            array.sort_by(|a, b| a.0.cmp(&b.0));
            Php::Array(array)
        }
    }
}

/// Equal, up to what serde_json does not keep: it is up to an ulp off (facts: its `float_roundtrip` is off), and `-0` is a double.
#[track_caller]
pub fn assert_same(ours: &Php, theirs: &Php) {
    match (ours, theirs) {
        (Php::Int(0), Php::Double(zero)) if *zero == 0.0 => {}
        (Php::Double(a), Php::Double(b)) => {
            let ulps = a.to_bits().abs_diff(b.to_bits());
            assert!(ulps <= 4 || a == b, "{a:e} instead of {b:e}");
        }
        (Php::Array(a), Php::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{ours:?} instead of {theirs:?}");
            for ((key, value), (other_key, other)) in a.iter().zip(b) {
                assert_eq!(key, other_key);
                assert_same(value, other);
            }
        }
        _ => assert_eq!(ours, theirs),
    }
}

/// Reads PHP's text strictly: every length counted, nothing behind the value.
#[track_caller]
pub fn read_php(text: &[u8]) -> Php {
    let mut rest = text;
    let value = value(&mut rest);
    assert!(rest.is_empty(), "bytes behind the value: {:?}", String::from_utf8_lossy(rest));
    value
}

fn value(rest: &mut &[u8]) -> Php {
    let kind = take(rest, 1)[0];
    if kind == b'N' {
        expect(rest, b";");
        return Php::Null;
    }
    expect(rest, b":");
    match kind {
        b'b' => match until(rest, b';') {
            "1" => Php::Bool(true),
            "0" => Php::Bool(false),
            other => panic!("b:{other};"),
        },
        b'i' => Php::Int(integer(until(rest, b';'))),
        b'd' => Php::Double(double(until(rest, b';'))),
        b's' => Php::Text(text(rest, b";")),
        b'a' => {
            let count = integer(until(rest, b':'));
            Php::Array(members(rest, count))
        }
        b'O' => {
            let class = text(rest, b":");
            let count = integer(until(rest, b':'));
            Php::Object(class, members(rest, count))
        }
        other => panic!("kind {}", char::from(other)),
    }
}

fn members(rest: &mut &[u8], count: i64) -> Vec<(Key, Php)> {
    expect(rest, b"{");
    let mut members = Vec::new();
    for _ in 0..count {
        let key = match value(rest) {
            Php::Int(key) => Key::Int(key),
            Php::Text(key) => Key::Text(key),
            other => panic!("key {other:?}"),
        };
        members.push((key, value(rest)));
    }
    expect(rest, b"}");
    members.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(members.windows(2).all(|pair| pair[0].0 != pair[1].0), "a key stands twice");
    members
}

fn text(rest: &mut &[u8], behind: &[u8]) -> Vec<u8> {
    let len = integer(until(rest, b':'));
    expect(rest, b"\"");
    let text = take(rest, len as usize).to_vec();
    expect(rest, b"\"");
    expect(rest, behind);
    text
}

fn integer(text: &str) -> i64 {
    let value: i64 = text.parse().unwrap();
    assert_eq!(value.to_string(), text, "not as PHP writes it");
    value
}

fn double(text: &str) -> f64 {
    match text {
        "INF" => f64::INFINITY,
        "-INF" => f64::NEG_INFINITY,
        _ => {
            let plain = text.strip_prefix('-').unwrap_or(text);
            let (mantissa, exponent) = plain.split_once('E').map_or((plain, None), |(m, e)| (m, Some(e)));
            assert!(mantissa.starts_with(|c: char| c.is_ascii_digit()), "{text}");
            if let Some(exponent) = exponent {
                assert!(mantissa.contains('.') && exponent.starts_with(['+', '-']), "{text}");
            }
            text.parse().unwrap()
        }
    }
}

fn until<'t>(rest: &mut &'t [u8], end: u8) -> &'t str {
    let at = rest.iter().position(|&byte| byte == end).expect("an end");
    let found = take(rest, at);
    expect(rest, &[end]);
    std::str::from_utf8(found).unwrap()
}

fn expect(rest: &mut &[u8], bytes: &[u8]) {
    assert_eq!(take(rest, bytes.len()), bytes);
}

fn take<'t>(rest: &mut &'t [u8], len: usize) -> &'t [u8] {
    let (found, behind) = rest.split_at(len);
    *rest = behind;
    found
}
