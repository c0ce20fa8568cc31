//! Promise: whatever a private frame or a reply holds, in whatever order, however nested and escaped, we take it for what a
//! plain JSON library takes it for.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "../fuzz/bodies/control_reply.rs"]
mod control_reply;
#[path = "../fuzz/bodies/user_data_frame.rs"]
mod user_data_frame;

use user_data_frame::KEY;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn objects_of_anything(frame in object()) {
        user_data_frame::user_data_frame(frame.as_bytes());
    }

    #[test]
    fn wrappers_of_anything(frame in wrapper()) {
        user_data_frame::user_data_frame(frame.as_bytes());
    }

    #[test]
    fn damaged_frames(frame in wrapper(), at in any::<prop::sample::Index>(), byte in select(br#"{}[],:"\ e0-.tn"#.to_vec())) {
        let mut replaced = frame.clone().into_bytes();
        let at = at.index(replaced.len());
        replaced[at] = byte;
        user_data_frame::user_data_frame(&replaced);
        user_data_frame::user_data_frame(&frame.as_bytes()[..at]);
    }

    #[test]
    fn any_text(text in r#"[\[\]{},:"\\ a-eu0-9.\-+E]{0,60}"#) {
        user_data_frame::user_data_frame(text.as_bytes());
        control_reply::control_reply(text.as_bytes());
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        user_data_frame::user_data_frame(&bytes);
        control_reply::control_reply(&bytes);
    }

    #[test]
    fn replies_of_anything(reply in reply()) {
        control_reply::control_reply(reply.as_bytes());
        user_data_frame::user_data_frame(reply.as_bytes());
    }
}

/// The twins see what they should: without this, a generator of nothing but garbage would pass.
#[test]
fn generators_reach_every_class() {
    use kraite_streams::exchange::binance::user_data::{Class, classify};
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut events, mut replies, mut others, mut wrapped) = (0, 0, 0, 0);
    for _ in 0..500 {
        for frame in [object().boxed(), wrapper().boxed(), reply().boxed()] {
            let frame = frame.new_tree(&mut runner).unwrap().current();
            let read = classify(frame.as_bytes());
            wrapped += usize::from(read.event.len() < frame.len());
            match read.class {
                Class::Event(_) => events += 1,
                Class::Control(_) => replies += 1,
                Class::Other => others += 1,
                Class::NotJson => panic!("{frame}"),
            }
        }
    }
    assert!(events > 100 && replies > 100 && others > 100 && wrapped > 100, "{events} {replies} {others} {wrapped}");
}

/// A key with one of its letters spelled as an escape, now and then.
fn key(keys: Vec<&'static str>) -> impl Strategy<Value = String> {
    (select(keys), any::<prop::sample::Index>(), 0..5_u8).prop_map(|(key, at, spelled)| {
        let (at, escape) = (at.index(key.len()), spelled == 0);
        match escape {
            true => format!("\"{}\\u{:04x}{}\"", &key[..at], key.as_bytes()[at], &key[at + 1..]),
            false => format!("\"{key}\""),
        }
    })
}

fn value() -> impl Strategy<Value = String> {
    let text = select(vec![
        r#""""#,
        r#""ORDER_TRADE_UPDATE""#,
        r#""listenKeyExpired""#,
        r#""serverShutdown""#,
        r#""ALGO\u005fUPDATE""#,
        r#""NEWS""#,
        r#""\"e\":\"listenKeyExpired\"""#,
        r#""\\""#,
        r#""\\\"""#,
        r#""}],{""#,
        r#""\u007b""#,
        r#""币安""#,
        r#""1795419020324""#,
        r#""-7""#,
        r#""+7""#,
        r#""K@TRADE_LITE""#,
        r#""K""#,
    ])
    .prop_map(str::to_owned);
    let key = Just(format!("\"{KEY}\""));
    let number = select(vec![
        "0",
        "-0",
        "2",
        "-1",
        "1795419020324",
        "1.5",
        "18446744073709551615",
        "99999999999999999999",
        "1e3",
    ])
    .prop_map(str::to_owned);
    let word = select(vec!["true", "false", "null", "[]", "{}", "[ ]", "{ }"]).prop_map(str::to_owned);
    let leaf = prop_oneof![6 => text, 1 => key, 3 => number, 1 => word];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            members(ANY.to_vec(), inner.boxed()),
        ]
    })
}

const ANY: [&str; 11] = ["e", "E", "o", "T", "listenKey", "stream", "data", "id", "result", "code", "msg"];

fn members(keys: Vec<&'static str>, value: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    (vec((key(keys), value), 0..6), blank()).prop_map(|(members, blank)| {
        let members: Vec<_> =
            members.iter().map(|(key, value)| format!("{blank}{key}{blank}:{blank}{value}{blank}")).collect();
        format!("{{{}{blank}}}", members.join(","))
    })
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just(""), 1 => select(vec![" ", "\n\t", "\r\n  "])]
}

/// An object that is an event more often than not. Another `e` among the other members may come before its own.
fn object() -> impl Strategy<Value = String> {
    let name = prop_oneof![8 => names(), 1 => value().boxed()];
    let event = (members(ANY.to_vec(), value().boxed()), key(vec!["e"]), name).prop_map(|(object, key, name)| {
        let inside = object[1..object.len() - 1].trim();
        let comma = if inside.is_empty() { "" } else { "," };
        format!("{{{inside}{comma}{key}:{name}}}")
    });
    prop_oneof![3 => event, 1 => members(ANY.to_vec(), value().boxed())]
}

fn names() -> impl Strategy<Value = String> {
    let known =
        vec!["ORDER_TRADE_UPDATE", "TRADE_LITE", "listenKeyExpired", "serverShutdown", "NEWS", "", "ALGO\\u005fUPDATE"];
    select(known).prop_map(|name| format!("\"{name}\""))
}

fn wrapper() -> impl Strategy<Value = String> {
    let stream =
        (key(vec!["stream"]), select(vec![r#""K""#, r#""K@ORDER_TRADE_UPDATE""#, r#""@""#, r#""K@a@b""#, "5"]));
    let data = (key(vec!["data"]), prop_oneof![4 => object(), 1 => value().boxed()]);
    let more = prop_oneof![3 => Just(String::new()), 1 => value().prop_map(|value| format!("\"v\":{value},"))];
    (stream, data, more, any::<bool>(), blank()).prop_map(|((stream, name), (data, value), more, first, blank)| {
        let (stream, data) = (format!("{stream}:{blank}{name}"), format!("{data}{blank}:{blank}{value}"));
        let (one, two) = if first { (stream, data) } else { (data, stream) };
        format!("{blank}{{{more}{one}{blank},{blank}{two}{blank}}}{blank}")
    })
}

fn reply() -> impl Strategy<Value = String> {
    let item = prop_oneof![
        4 => select(vec!["", "@ORDER_TRADE_UPDATE", "@TRADE_LITE", "@listenKeyExpired", "@NEWS", "\\u0040ALGO_UPDATE", "x", "@"])
            .prop_map(|tail| format!("\"{KEY}{tail}\"")),
        1 => value().boxed(),
    ];
    let list = vec(item, 0..5).prop_map(|items| format!("[{}]", items.join(" , ")));
    let result = prop_oneof![4 => list, 1 => value().boxed()];
    let error = members(vec!["code", "msg"], value().boxed());
    let id = prop_oneof![4 => Just("2".to_owned()), 1 => value().boxed()];
    prop_oneof![
        4 => (key(vec!["result"]), result, key(vec!["id"]), id.clone(), any::<bool>())
            .prop_map(|(result, list, id, number, first)| match first {
                true => format!("{{{result}:{list},{id}:{number}}}"),
                false => format!("{{{id}:{number},{result}:{list}}}"),
            }),
        1 => (error, id).prop_map(|(error, id)| format!("{{\"error\":{error},\"id\":{id}}}")),
        1 => members(ANY.to_vec(), value().boxed()),
    ]
}
