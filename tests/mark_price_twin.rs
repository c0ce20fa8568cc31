//! Promise: whatever an entry holds, in whatever order and however escaped, we read what a plain JSON library reads.

use kraite_streams::exchange::binance::mark_price::{BadEntry, FrameKind, MarkPriceParser};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "../fuzz/bodies/mark_price.rs"]
mod body;

use body::{Seen, read, twin_entry};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arrays_of_anything(elements in vec(element(), 0..12), wrapper in wrapper(), blank in blank()) {
        let mut frame = wrapper.0.into_bytes();
        frame.push(b'[');
        for (place, element) in elements.iter().enumerate() {
            if place > 0 {
                frame.push(b',');
            }
            frame.extend_from_slice(blank.as_bytes());
            frame.extend_from_slice(&element.text);
        }
        frame.extend_from_slice(blank.as_bytes());
        frame.push(b']');
        frame.extend_from_slice(wrapper.1.as_bytes());

        let expected: Vec<Seen> = elements
            .iter()
            .map(|one| if one.refused { Seen::Bad(BadEntry::Unparsable) } else { twin_entry(&one.text) })
            .collect();
        let (outcome, seen) = read(&mut MarkPriceParser::new(), &frame);
        prop_assert!(matches!(outcome, Ok(FrameKind::Prices { .. })), "{:?}", outcome);
        prop_assert_eq!(seen, expected, "{}", String::from_utf8_lossy(&frame));
        body::mark_price(&frame);
    }

    #[test]
    fn any_text(text in r#"[\[\]{},:"\\ a-e0-9.\-]{0,60}"#) {
        body::mark_price(text.as_bytes());
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        body::mark_price(&bytes);
    }
}

#[derive(Clone, Debug)]
struct Element {
    text: Vec<u8>,
    /// serde_json may read it, simd-json must not.
    refused: bool,
}

fn element() -> impl Strategy<Value = Element> {
    let sound = object(member().boxed()).prop_map(|text| Element { text: text.into_bytes(), refused: false });
    let poisoned = (object(member().boxed()), poison(), any::<bool>()).prop_map(|(object, poison, first)| {
        let poison = [br#""zz":"#, poison.as_slice()].concat();
        let inside = &object.as_bytes()[1..object.len() - 1];
        let parts: Vec<&[u8]> = match (inside.is_empty(), first) {
            (true, _) => vec![b"{", &poison, b"}"],
            (false, true) => vec![b"{", &poison, b",", inside, b"}"],
            (false, false) => vec![b"{", inside, b",", &poison, b"}"],
        };
        Element { text: parts.concat(), refused: true }
    });
    let other = select(vec!["null", "17", r#""x""#, "[1,{}]", "{}", r#"[{"s":"A","p":"1"}]"#])
        .prop_map(|text| Element { text: text.into(), refused: false });
    prop_oneof![6 => sound, 2 => poisoned, 1 => other]
}

/// Values that make simd-json refuse all around them.
fn poison() -> impl Strategy<Value = Vec<u8>> {
    select(vec![
        b"123456789012345678901234567890".to_vec(),
        br#""\ud83d""#.to_vec(),
        br#""\udc00x""#.to_vec(),
        br#""\u00g0""#.to_vec(),
        br#""\x""#.to_vec(),
        b"\"\x01\"".to_vec(),
        b"\"\xff\"".to_vec(),
        b"\"\xe5\xb8\"".to_vec(),
        b"tru".to_vec(),
        b"01".to_vec(),
        b"".to_vec(),
        [[b'['; 80], [b']'; 80]].concat(),
    ])
}

/// An object of members in any order, some of them twice.
fn object(member: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    (vec(member, 0..9), blank())
        .prop_map(|(members, blank)| format!("{{{}}}", members.join(&format!("{blank},{blank}"))))
}

fn member() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => pair("s", prop_oneof![6 => string(symbol()), 1 => any_value()]),
        4 => pair("p", prop_oneof![6 => string("[0-9.]{0,12}"), 1 => any_value()]),
        2 => pair("e", prop_oneof![9 => string(Just("markPriceUpdate".to_owned())), 1 => any_value()]),
        2 => pair("st", prop_oneof![3 => Just("1".to_owned()), 1 => select(vec!["2", "\"1\"", "\"2\"", "null", "3", "1.0"]).prop_map(str::to_owned)]),
        2 => pair("E", prop_oneof![any::<i64>().prop_map(|n| n.to_string()), any::<i64>().prop_map(|n| format!("\"{n}\"")), any_value()]),
        2 => ("[a-zA-Z]{0,3}", any_value()).prop_map(|(key, value)| format!("\"_{key}\":{value}")),
    ]
}

fn pair(name: &'static str, value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (string(Just(name.to_owned())), blank(), value)
        .prop_map(|(key, blank, value)| format!("{key}{blank}:{blank}{value}"))
}

fn symbol() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Z0-9]{1,6}(USDT|USDC|BTC)",
        "[A-Z]{1,4}USDT?_(PERP|[0-9]{5,7})",
        "[币安人生龙虾]{1,5}USDT",
        ".{0,30}",
        "[A-Z]{60,70}",
    ]
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["null", "true", "false", "0", "-17", "1.5", "2e3", "[]", "{}", r#"[[1],{"s":"N","p":"9"}]"#])
            .prop_map(str::to_owned),
        string(".{0,12}"),
    ]
}

/// A JSON string; every character raw or escaped, as chance has it.
fn string(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (text, prop_oneof![3 => Just(0_u64), 1 => any::<u64>()]).prop_map(|(text, escaped)| {
        let mut out = String::from("\"");
        for (place, c) in text.chars().enumerate() {
            let mut units = [0; 2];
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                _ if c < ' ' || escaped >> (place % 64) & 1 == 1 => {
                    for unit in c.encode_utf16(&mut units) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => out.push(c),
            }
        }
        out + "\""
    })
}

fn blank() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"]
}

/// What stands before and behind the array.
fn wrapper() -> impl Strategy<Value = (String, String)> {
    select(vec![
        ("", ""),
        (" ", "\r\n"),
        (r#"{"stream":"!markPrice@arr@1s","data":"#, "}"),
        (r#"{"data" : "#, r#","stream":"x"}"#),
        (r#"{"x":"\"[{,","data":"#, "}"),
        (r#"{"d\u0061ta":"#, "}"),
        (r#"{"data":[7],"data":"#, "}"),
        (r#"{"id":123456789012345678901234567890,"data":"#, r#","y":nul}"#),
    ])
    .prop_map(|(before, behind)| (before.to_owned(), behind.to_owned()))
}
