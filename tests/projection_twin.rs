//! Promise: whatever an event's members hold, in whatever order and however often, the worker reads in them what a plain JSON
//! library and the incumbent's rules read in them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "../fuzz/bodies/projection.rs"]
mod projection;

use projection::projection as check;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_of_anything(event in event()) {
        check(event.as_bytes());
    }

    #[test]
    fn damaged_events(event in event(), at in any::<prop::sample::Index>(), byte in select(br#"{}[],:"\ e0-.tn"#.to_vec())) {
        let mut replaced = event.clone().into_bytes();
        let at = at.index(replaced.len());
        replaced[at] = byte;
        check(&replaced);
        check(&event.as_bytes()[..at]);
    }

    #[test]
    fn numbers_of_every_spelling(text in r#"[ +\-]?[0-9]{0,30}\.?[0-9]{0,12}([eE][+\-]?[0-9]{0,3})?[ x]?"#) {
        check(format!(r#"{{"e":"ORDER_TRADE_UPDATE","o":{{"p":"{text}","q":"{text}"}}}}"#).as_bytes());
        check(format!(r#"{{"e":"ALGO_UPDATE","o":{{"X":"FINISHED","aq":"{text}","q":"1"}}}}"#).as_bytes());
        check(format!(r#"{{"e":"ORDER_TRADE_UPDATE","o":{{"p":{text},"i":{text}}}}}"#).as_bytes());
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }
}

/// The twins see what they should: without this, a generator of nothing but garbage would pass.
#[test]
fn generators_reach_every_kind() {
    use kraite_streams::exchange::EventKind;
    use kraite_streams::exchange::binance::project;
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut orders, mut algos, mut accounts, mut positions, mut sound, mut finished, mut prices) =
        (0, 0, 0, 0, 0, 0, 0);
    for _ in 0..2_000 {
        let event = event().new_tree(&mut runner).unwrap().current();
        let read = project(event.as_bytes());
        orders += usize::from(read.kind == EventKind::OrderUpdate && !read.is_algo);
        algos += usize::from(read.is_algo);
        accounts += usize::from(read.kind == EventKind::AccountUpdate);
        positions += read.positions.len();
        sound += usize::from(read.misfits == 0);
        finished += usize::from(read.execution_alias.is_some());
        prices += usize::from(read.price.is_some());
    }
    assert!(
        orders > 200
            && algos > 200
            && accounts > 200
            && positions > 100
            && sound > 200
            && finished > 20
            && prices > 100,
        "{orders} {algos} {accounts} {positions} {sound} {finished} {prices}"
    );
}

fn event() -> impl Strategy<Value = String> {
    let name = select(vec![
        r#""ORDER_TRADE_UPDATE""#,
        r#""ORDER_TRADE_UPDATE""#,
        r#""CONDITIONAL_ORDER_TRADE_UPDATE""#,
        r#""ALGO_UPDATE""#,
        r#""ALGO\u005fUPDATE""#,
        r#""ACCOUNT_UPDATE""#,
        r#""ACCOUNT_UPDATE""#,
        r#""MARGIN_CALL""#,
        r#""listenKeyExpired""#,
        r#""NEWS""#,
        "5",
        "null",
    ]);
    let body = prop_oneof![8 => order(), 1 => value()];
    let account = prop_oneof![8 => account(), 1 => value()];
    let more = vec((select(vec!["e", "E", "T", "o", "a", "x"]), value()), 0..3);
    (name, time(), time(), body, account, more, any::<bool>()).prop_map(|(name, e, t, body, account, more, first)| {
        let more: String = more.iter().map(|(key, value)| format!("\"{key}\":{value},")).collect();
        match first {
            true => format!(r#"{{{more}"e":{name},"E":{e},"T":{t},"o":{body},"a":{account}}}"#),
            false => format!(r#"{{{more} "a" : {account},"o":{body} ,"\u0054":{t},"e":{name}}}"#),
        }
    })
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![8 => select(vec!["1795419020324", "\"1795419020323\"", "0", "253402300800000"]).prop_map(str::to_owned), 1 => value()]
}

/// Members that may come twice, with a word that fits now and then.
fn order() -> impl Strategy<Value = String> {
    let keys = select(vec![
        "i", "c", "s", "X", "x", "S", "ps", "p", "ap", "q", "z", "L", "l", "R", "cp", "aid", "caid", "ai", "aq", "tp",
        "T",
    ]);
    let status = select(vec![
        "NEW",
        "PARTIALLY_FILLED",
        "FILLED",
        "CANCELED",
        "EXPIRED",
        "EXPIRED_IN_MATCH",
        "REJECTED",
        "TRIGGERING",
        "TRIGGERED",
        "FINISHED",
        "FINISHED",
        "FINISHED",
    ])
    .prop_map(|status| format!("\"X\":\"{status}\""));
    let member = (keys, value()).prop_map(|(key, value)| format!("\"{key}\":{value}"));
    let number = (select(vec!["aq", "q", "p", "tp", "z", "ap"]), number())
        .prop_map(|(key, number)| format!("\"{key}\":\"{number}\""));
    vec(prop_oneof![2 => member, 1 => status, 1 => number], 0..14)
        .prop_map(|members| format!("{{{}}}", members.join(",")))
}

fn account() -> impl Strategy<Value = String> {
    let side = select(vec![r#""BOTH""#, r#""LONG""#, r#""SHORT""#, r#""long ""#, r#""UP""#]).prop_map(str::to_owned);
    let symbol = select(vec![r#""BTCUSDT""#, r#"" ethusdt\n""#, r#""""#, r#""币安USDT""#]).prop_map(str::to_owned);
    let quantity = number().prop_map(|number| format!("\"{number}\""));
    let entry = (
        prop_oneof![6 => symbol, 1 => value()],
        prop_oneof![6 => side, 1 => value()],
        prop_oneof![6 => quantity, 1 => value()],
    )
        .prop_map(|(symbol, side, quantity)| format!(r#"{{"s":{symbol},"ps":{side},"pa":{quantity}}}"#));
    let list =
        vec(prop_oneof![8 => entry, 1 => value()], 0..5).prop_map(|entries| format!("[ {} ]", entries.join(" , ")));
    prop_oneof![8 => list, 1 => value()].prop_map(|list| format!(r#"{{"B":[],"P":{list}}}"#))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[0-3]\\.?[0-9]{1,3}", 1 => "-?[0-9]{1,13}\\.[0-9]{1,10}", 1 => "[1-9]e-?[0-9]"]
}

fn value() -> impl Strategy<Value = String> {
    let word = select(vec![
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[1]",
        r#""""#,
        r#"" ""#,
        r#""1""#,
        r#""true""#,
        r#""BUY""#,
        r#""LONG""#,
        r#""TRADE""#,
        r#""CALCULATED""#,
        r#""autoclose-1""#,
        r#""adl_autoclose""#,
        r#""settlement_auto\u0063lose-7""#,
        r#""a\u0000b""#,
        r#""\u0000""#,
        r#""\"\\\/""#,
        r#""币安""#,
        "0",
        "1",
        "-0",
        "912345678901",
        "18446744073709551615",
        "99999999999999999999",
        "1.5",
        "1.5e-4",
        "1e300",
        r#""0.00000000""#,
        r#""0.123456789""#,
        r#""1234567890123.5""#,
    ])
    .prop_map(str::to_owned);
    let long = (select(vec!['x', 'é', '币', '1']), 38..70_usize)
        .prop_map(|(letter, length)| format!("\"{}\"", String::from(letter).repeat(length)));
    prop_oneof![8 => word, 1 => long, 2 => number().prop_map(|number| format!("\"{number}\""))]
}
