//! What of a private frame goes into the spool: the event's own bytes, without the wrapper whose stream name holds the
//! listen key, and with every listen key in the event overwritten.
//!
//! Byte walks without allocation, over input that may be anything: a frame that is no JSON is recorded as it is, but for
//! what looks like a listen key in it.

use std::ops::Range;

/// A frame taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of `data`, or the whole frame where there is no wrapper.
    pub bytes: &'a [u8],
    /// What follows the listen key in the stream's name, with its `@`; empty where there is none.
    pub suffix: &'a [u8],
}

/// Takes off `{"stream":"<key>@<EVENT>","data":…}`: exactly these two members, in either order.
///
/// Anything else is no wrapper, and the whole frame is the event.
#[must_use]
pub fn read_event(frame: &[u8]) -> Event<'_> {
    match unwrap(frame) {
        Some((stream, data)) => {
            let name = &frame[stream];
            let suffix = name.iter().position(|&b| b == b'@').map_or(&name[..0], |at| &name[at..]);
            Event { bytes: &frame[data], suffix }
        }
        None => Event { bytes: frame, suffix: &[] },
    }
}

/// Masks everything that may be a listen key: [`mask_listen_key`], the key part of a `stream` member (a wrapper that
/// was not taken off), and each occurrence of the account's own key.
pub fn mask(bytes: &mut [u8], listen_key: &[u8]) {
    mask_members(bytes);
    mask_secret(bytes, listen_key);
}

/// Overwrites the value of each `listenKey` member with `*`, length unchanged.
///
/// At any depth, with any whitespace, with escapes in the name (`listen\u004bey`) and in the value. A string value
/// keeps its quotes; of a number each digit becomes `1`, so that JSON stays JSON; of an object or array all strings and
/// digits inside go. A value that never ends is overwritten to the end of the input.
pub fn mask_listen_key(bytes: &mut [u8]) {
    mask_named(bytes, false);
}

/// Overwrites each occurrence of `secret` with `*`. Nothing for a secret of fewer than 8 bytes, which is none.
pub fn mask_secret(bytes: &mut [u8], secret: &[u8]) {
    if secret.len() < 8 {
        return;
    }
    let mut at = 0;
    while at + secret.len() <= bytes.len() {
        match bytes[at..].iter().position(|&b| b == secret[0]) {
            Some(found) => at += found,
            None => return,
        }
        if bytes[at..].starts_with(secret) {
            bytes[at..at + secret.len()].fill(b'*');
            at += secret.len();
        } else {
            at += 1;
        }
    }
}

fn mask_members(bytes: &mut [u8]) {
    mask_named(bytes, true);
}

/// Looks at each quote that is not escaped, wherever the walk believes strings to begin: in a damaged frame that belief
/// may be off by one, and a key must not slip through because of it.
fn mask_named(bytes: &mut [u8], stream_too: bool) {
    let mut at = 0;
    let mut escaped = false;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => escaped = !escaped,
            b'"' if !escaped => {
                if let Some(value) = member_value(bytes, at, b"listenKey") {
                    at = mask_value(bytes, value);
                    continue;
                }
                if stream_too && let Some(value) = member_value(bytes, at, b"stream") {
                    mask_stream_name(bytes, value);
                }
            }
            _ => escaped = false,
        }
        if bytes[at] == b'"' {
            escaped = false;
        }
        at += 1;
    }
}

/// Where the value begins, if a member named `name` begins with the quote at `at`.
fn member_value(bytes: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let mut i = at + 1;
    for &wanted in name {
        let (byte, len) = unescaped(bytes.get(i..)?)?;
        if byte != wanted {
            return None;
        }
        i += len;
    }
    if bytes.get(i) != Some(&b'"') {
        return None;
    }
    i = skip_space(bytes, i + 1);
    if bytes.get(i) != Some(&b':') {
        return None;
    }
    Some(skip_space(bytes, i + 1))
}

/// The first character of a string's inside, if it is ASCII, and how many bytes spell it.
fn unescaped(bytes: &[u8]) -> Option<(u8, usize)> {
    match *bytes.first()? {
        b'"' => None,
        b'\\' => {
            if *bytes.get(1)? != b'u' {
                return None;
            }
            let mut code = 0_u32;
            for &digit in bytes.get(2..6)? {
                code = code * 16 + char::from(digit).to_digit(16)?;
            }
            Some((u8::try_from(code).ok().filter(u8::is_ascii)?, 6))
        }
        byte => Some((byte, 1)),
    }
}

/// Overwrites the value that begins at `at`; where it ends.
fn mask_value(bytes: &mut [u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(b'"') => mask_string(bytes, at),
        Some(b'{' | b'[') => {
            let mut depth = 0_usize;
            let mut i = at;
            while i < bytes.len() {
                match bytes[i] {
                    b'"' => {
                        i = mask_string(bytes, i);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return i + 1;
                        }
                    }
                    b'0'..=b'9' => bytes[i] = b'1',
                    _ => {}
                }
                i += 1;
            }
            i
        }
        Some(_) => {
            let mut i = at;
            while i < bytes.len() && !matches!(bytes[i], b',' | b'}' | b']' | b'"') && !bytes[i].is_ascii_whitespace() {
                if bytes[i].is_ascii_digit() {
                    bytes[i] = b'1';
                }
                i += 1;
            }
            i
        }
        None => at,
    }
}

/// Overwrites the inside of the string whose opening quote is at `at`; behind its closing quote, or the end.
fn mask_string(bytes: &mut [u8], at: usize) -> usize {
    let end = string_end(bytes, at).unwrap_or(bytes.len());
    bytes[at + 1..end].fill(b'*');
    (end + 1).min(bytes.len())
}

fn mask_stream_name(bytes: &mut [u8], at: usize) {
    if bytes.get(at) == Some(&b'"') {
        let end = string_end(bytes, at).unwrap_or(bytes.len());
        let name = &mut bytes[at + 1..end];
        let key = name.iter().position(|&b| b == b'@').unwrap_or(name.len());
        name[..key].fill(b'*');
    }
}

/// The closing quote of the string whose opening quote is at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut i = at + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b'"' => return Some(i),
            _ => i += 1,
        }
    }
    None
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The inside of the stream's name and the value of `data`.
fn unwrap(frame: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let mut at = expect(frame, skip_space(frame, 0), b'{')?;
    let (mut stream, mut data) = (None, None);
    loop {
        at = skip_space(frame, at);
        if let Some(value) = member_value(frame, at, b"stream").filter(|_| frame[at] == b'"') {
            expect(frame, value, b'"')?;
            let end = string_end(frame, value)?;
            if stream.replace(value + 1..end).is_some() {
                return None;
            }
            at = end + 1;
        } else if let Some(value) = member_value(frame, at, b"data").filter(|_| frame[at] == b'"') {
            let end = value_end(frame, value)?;
            if data.replace(value..end).is_some() {
                return None;
            }
            at = end;
        } else {
            return None;
        }
        at = skip_space(frame, at);
        match frame.get(at)? {
            b',' => at += 1,
            b'}' => {
                return (skip_space(frame, at + 1) == frame.len()).then_some((stream?, data?));
            }
            _ => return None,
        }
    }
}

fn expect(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (bytes.get(at) == Some(&byte)).then_some(at + 1)
}

/// Behind the JSON value that begins at `at`: brackets are counted, not matched; scalars are taken as they are.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => Some(string_end(bytes, at)? + 1),
        b'{' | b'[' => {
            let mut depth = 0_usize;
            let mut i = at;
            while i < bytes.len() {
                match bytes[i] {
                    b'"' => i = string_end(bytes, i)?,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(i + 1);
                        }
                    }
                    _ => {}
                }
                i += 1;
            }
            None
        }
        _ => {
            let end = bytes[at..].iter().position(|b| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace())?;
            (end > 0).then_some(at + end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn wrappers_are_taken_off() {
        check_event(
            br#"{"stream":"KEY@ORDER_TRADE_UPDATE","data":{"e":"x"}}"#,
            br#"{"e":"x"}"#,
            b"@ORDER_TRADE_UPDATE",
        );
        check_event(b" { \"data\" : [ 1 , \"}\" ] ,\n\"stream\" : \"KEY\" } ", b"[ 1 , \"}\" ]", b"");
        check_event(br#"{"str\u0065am":"K@a","data":null}"#, b"null", b"@a");
        check_event(br#"{"stream":"K@a","data":"t\"}ext"}"#, br#""t\"}ext""#, b"@a");
        for whole in [
            &br#"{"e":"listenKeyExpired","E":1}"#[..],
            br#"{"stream":"K@a","data":{},"more":1}"#,
            br#"{"stream":"K@a"}"#,
            br#"{"stream":"K@a","stream":"K","data":1}"#,
            br#"{"stream":"K@a","data":{}} x"#,
            br#"{"stream":"K@a","data":{"#,
            br#"{"stream":5,"data":{}}"#,
            br#"{"stream":"K@a","data":}"#,
            b"{",
            b"",
            b"\xff\xfe",
        ] {
            check_event(whole, whole, b"");
        }
    }

    #[test]
    fn listen_keys_are_masked() {
        for (before, after) in [
            (r#"{"listenKey":"abc"}"#, r#"{"listenKey":"***"}"#),
            (r#"{ "listenKey" : "a\"c" , "x":"abc"}"#, r#"{ "listenKey" : "****" , "x":"abc"}"#),
            (r#"{"a":[{"listen\u004Bey":"abc"}]}"#, r#"{"a":[{"listen\u004Bey":"***"}]}"#),
            (r#"{"listenKey":""}"#, r#"{"listenKey":""}"#),
            (r#"{"listenKey":12305}"#, r#"{"listenKey":11111}"#),
            (r#"{"listenKey":-7}"#, r#"{"listenKey":-1}"#),
            (r#"{"listenKey":null,"b":"c"}"#, r#"{"listenKey":null,"b":"c"}"#),
            (r#"{"listenKey":["abc",{"k":"d"}],"b":"c"}"#, r#"{"listenKey":["***",{"*":"*"}],"b":"c"}"#),
            (r#"{"x":"listenKey","b":"c"}"#, r#"{"x":"listenKey","b":"c"}"#),
            (r#"{"listenKeys":"abc","xlistenKey":"abc"}"#, r#"{"listenKeys":"abc","xlistenKey":"abc"}"#),
            (r#"{"a\"listenKey":"abc"}"#, r#"{"a\"listenKey":"abc"}"#),
            (r#"{"a\\":"b","listenKey":"abc"}"#, r#"{"a\\":"b","listenKey":"***"}"#),
            (r#"" {"listenKey":"abc"}"#, r#"" {"listenKey":"***"}"#),
            (r#"{"listenKey":"abc"#, r#"{"listenKey":"***"#),
            (r#"{"listenKey":"ab\"#, r#"{"listenKey":"***"#),
            (r#"{"listenKey":"#, r#"{"listenKey":"#),
        ] {
            let mut bytes = before.as_bytes().to_vec();
            mask_listen_key(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), after, "{before}");
        }
    }

    #[test]
    fn a_wrapper_that_stays_and_the_known_key_are_masked() {
        let mut bytes = br#"{"stream":"SECRETKEY@a","data":{},"more":"SECRETKEY SECRETKE SECRETKEY"}"#.to_vec();
        mask(&mut bytes, b"SECRETKEY");
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"stream":"*********@a","data":{},"more":"********* SECRETKE *********"}"#
        );
        let mut bytes = b"short".to_vec();
        mask_secret(&mut bytes, b"short");
        assert_eq!(bytes, b"short");
    }

    fn arb_json() -> impl Strategy<Value = Value> {
        let name = prop_oneof![Just("listenKey".to_owned()), "[a-zA-Z\"\\\\ \u{e9}]{0,10}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[listenKey\"\\\\:{} a-z\u{e9}\u{1}]{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The twin: a walk of the parsed document.
    fn expected(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if name == "listenKey" { *value = Value::from("gone") } else { expected(value) }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(expected),
            _ => {}
        }
    }

    fn without_keys(mut value: Value) -> Value {
        expected(&mut value);
        value
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn only_listen_keys_change(document in arb_json(), pretty: bool) {
            let text = if pretty { serde_json::to_vec_pretty(&document) } else { serde_json::to_vec(&document) }.unwrap();
            let mut masked = text.clone();
            mask_listen_key(&mut masked);
            prop_assert_eq!(masked.len(), text.len());
            let read: Value = serde_json::from_slice(&masked).unwrap();
            check_masked(&read);
            prop_assert_eq!(without_keys(read), without_keys(document));
        }

        #[test]
        fn any_bytes_are_taken(mut bytes in prop::collection::vec(prop_oneof![
            Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'}'), Just(b':'), Just(b','), any::<u8>()], 0..80),
            at in 0..80_usize) {
            let key = br#""listenKey":"#;
            let at = at.min(bytes.len());
            bytes.splice(at..at, key.iter().copied());
            let len = bytes.len();
            let _ = read_event(&bytes);
            mask(&mut bytes, b"whatever");
            prop_assert_eq!(bytes.len(), len);
        }

        #[test]
        fn a_wrapped_event_comes_out_whole(document in arb_json(), suffix in "(@[A-Z_]{0,20})?", first: bool) {
            let data = serde_json::to_string(&document).unwrap();
            let frame = if first { format!(r#"{{"stream":"KEY{suffix}","data":{data}}}"#) }
                else { format!(r#"{{"data":{data},"stream":"KEY{suffix}"}}"#) };
            check_event(frame.as_bytes(), data.as_bytes(), suffix.as_bytes());
        }
    }

    fn check_masked(value: &Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match (name.as_str(), value) {
                        ("listenKey", Value::String(text)) => assert!(text.bytes().all(|b| b == b'*'), "{text}"),
                        _ => check_masked(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(check_masked),
            _ => {}
        }
    }

    #[track_caller]
    fn check_event(frame: &[u8], bytes: &[u8], suffix: &[u8]) {
        let event = read_event(frame);
        assert_eq!(
            (String::from_utf8_lossy(event.bytes), String::from_utf8_lossy(event.suffix)),
            (String::from_utf8_lossy(bytes), String::from_utf8_lossy(suffix))
        );
    }
}
