//! What each field becomes, the sound and the nasty. Whole frames are pinned in `tests/projection_frames.rs`.

use super::*;

fn order(members: &str) -> Projection {
    project(format!(r#"{{"e":"ORDER_TRADE_UPDATE","E":2,"T":1,"o":{{{members}}}}}"#).as_bytes())
}

fn algo(members: &str) -> Projection {
    project(format!(r#"{{"e":"ALGO_UPDATE","E":2,"T":1,"o":{{{members}}}}}"#).as_bytes())
}

fn shown(decimal: &Option<Decimal>) -> Option<&str> {
    decimal.as_ref().map(Decimal::as_str)
}

#[test]
fn kinds_follow_from_the_name() {
    for (name, kind) in [
        (r#""ORDER_TRADE_UPDATE""#, EventKind::OrderUpdate),
        (r#""CONDITIONAL_ORDER_TRADE_UPDATE""#, EventKind::OrderUpdate),
        (r#""ALGO\u005fUPDATE""#, EventKind::OrderUpdate),
        (r#""ACCOUNT_UPDATE""#, EventKind::AccountUpdate),
        (r#""MARGIN_CALL""#, EventKind::MarginCall),
        (r#""listenKeyExpired""#, EventKind::ListenKeyExpired),
        (r#""LISTENKEYEXPIRED""#, EventKind::Other),
        (r#""TRADE_LITE""#, EventKind::Other),
        (r#""ORDER_TRADE_UPDATE ""#, EventKind::Other),
        ("5", EventKind::Other),
        ("null", EventKind::Other),
    ] {
        let projection = project(format!(r#"{{"e":{name},"o":{{"X":"NEW"}}}}"#).as_bytes());
        assert_eq!(projection.kind, kind, "{name}");
        let is_order = kind == EventKind::OrderUpdate;
        assert_eq!(projection.normalized_status, is_order.then_some(OrderStatus::New), "{name}");
        assert_eq!(projection.native_status.is_some(), is_order, "{name}");
        assert_eq!(projection.misfits, 0, "{name}");
    }
    assert_eq!(project(br#"{"e":"a","e":"ACCOUNT_UPDATE"}"#).kind, EventKind::AccountUpdate);
    assert_eq!(project(br#"{"e":5}"#).raw_event_type, "5");
}

#[test]
fn what_is_no_event_is_projected_to_nothing() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_order = format!(r#"{{"e":"ORDER_TRADE_UPDATE","o":{}1{}}}"#, r#"{"o":"#.repeat(200), "}".repeat(200));
    let cut = r#"{"e":"ORDER_TRADE_UPDATE","o":{"i":1}"#;
    for event in ["", " ", "{", "nul", "17", "[]", "{}", r#""ORDER_TRADE_UPDATE""#, cut, &deep, &deep_order] {
        assert_eq!(project(event.as_bytes()), Projection::default(), "{:.60}", event);
    }
    assert_eq!(project(b"{\"e\":\"ORDER_TRADE_UPDATE\",\"o\":{\"c\":\"\xff\"}}"), Projection::default());
}

#[test]
fn statuses_are_mapped_twice() {
    use OrderStatus::{Cancelled, Expired, Filled, New, PartiallyFilled, Rejected, Triggered, Triggering, Unknown};
    for (native, normalized, status, algo_status) in [
        (r#""NEW""#, New, New, New),
        (r#""PARTIALLY_FILLED""#, PartiallyFilled, PartiallyFilled, PartiallyFilled),
        (r#""FILLED""#, Filled, Filled, Filled),
        (r#""CANCELED""#, Cancelled, Cancelled, Cancelled),
        (r#""CANCELLED""#, Unknown, Unknown, Unknown),
        (r#""EXPIRED""#, Expired, Expired, Expired),
        (r#""REJECTED""#, Rejected, Rejected, Rejected),
        (r#""EXPIRED_IN_MATCH""#, Unknown, Expired, Expired),
        (r#""TRIGGERING""#, Unknown, Unknown, Triggering),
        (r#""TRIGGERED""#, Unknown, Unknown, Triggered),
        (r#""FINISHED""#, Unknown, Unknown, Cancelled),
        (r#""new""#, Unknown, Unknown, Unknown),
        (r#""""#, Unknown, Unknown, Unknown),
        ("null", Unknown, Unknown, Unknown),
    ] {
        let members = format!(r#""X":{native}"#);
        let (regular, conditional) = (order(&members), algo(&members));
        assert_eq!((regular.normalized_status, regular.status), (Some(normalized), Some(status)), "{native}");
        let both = (conditional.normalized_status, conditional.status);
        assert_eq!(both, (Some(normalized), Some(algo_status)), "{native}");
        assert_eq!((regular.misfits, conditional.misfits), (0, 0), "{native}");
    }
    assert_eq!(project(br#"{"e":"ALGO_UPDATE"}"#).status, Some(Unknown));
    assert_eq!(project(br#"{"e":"TRADE_LITE","X":"NEW"}"#).status, None);
}

#[test]
fn a_finished_algo_order_is_what_it_executed() {
    use OrderStatus::{Cancelled, Filled, PartiallyFilled, Unknown};
    let alias = Some(ALGO_FILLED);
    for (members, status, expected, misfits) in [
        (r#""aq":"0.120","q":"0.120""#, Filled, alias, 0),
        (r#""aq":"0.12","q":"0.120000""#, Filled, alias, 0),
        (r#""aq":"0.2","q":"0.12""#, Filled, alias, 0),
        (r#""aq":"0.119","q":"0.12""#, PartiallyFilled, alias, 0),
        (r#""aq":0.119,"q":12e-2"#, PartiallyFilled, alias, 0),
        (r#""aq":"0.00000","q":"0.12""#, Cancelled, None, 0),
        (r#""aq":"","q":"0.12""#, Cancelled, None, 0),
        (r#""aq":null,"q":"0.12""#, Cancelled, None, 0),
        (r#""q":"0.12""#, Cancelled, None, 0),
        (r#""aq":"-1","q":"0.12""#, Cancelled, None, 0),
        (r#""aq":"0","q":"0""#, Cancelled, None, 0),
        (r#""aq":"5","q":"0""#, Filled, alias, 0),
        (r#""aq":"5""#, Filled, alias, 0),
        (r#""aq":"1","q":"1.123456789""#, PartiallyFilled, alias, 1),
        (r#""aq":"1.123456789","q":"2""#, PartiallyFilled, alias, 0),
        (r#""aq":"much","q":"0.12""#, Unknown, None, 1),
        (r#""aq":[],"q":"0.12""#, Unknown, None, 1),
    ] {
        let projection = algo(&format!(r#""X":"FINISHED",{members}"#));
        assert_eq!(projection.status, Some(status), "{members}");
        assert_eq!(projection.normalized_status, Some(Unknown), "{members}");
        assert_eq!(projection.execution_type.as_deref(), Some("ALGO_FINISHED"), "{members}");
        assert_eq!((projection.execution_alias, projection.misfits), (expected, misfits), "{members}");
    }
    assert_eq!(algo(r#""X":"TRIGGERED","aq":"1","q":"2""#).execution_alias, None);
}

#[test]
fn ids_and_words_fit_their_columns_or_are_counted() {
    let (full, over) = (format!("\"{}\"", "é".repeat(64)), format!("\"{}\"", "é".repeat(65)));
    let full_text = "é".repeat(64);
    for (value, expected, misfits) in [
        ("18446744073709551615", Some("18446744073709551615"), 0),
        ("8389765500000000001", Some("8389765500000000001"), 0),
        (r#""8389765500000000001""#, Some("8389765500000000001"), 0),
        ("99999999999999999999999", Some("99999999999999999999999"), 0),
        ("9.12345678901e11", Some("912345678901"), 0),
        ("1e400", None, 1),
        ("-7", Some("-7"), 0),
        ("0", Some("0"), 0),
        (r#""""#, None, 0),
        ("null", None, 0),
        ("true", None, 1),
        ("[]", None, 1),
        ("{}", None, 1),
        (r#""a\u0000b""#, None, 1),
        (r#""\ud83d""#, None, 1),
        (r#""\ud83d\ude00\n\/""#, Some("😀\n/"), 0),
        (r#"" x ""#, Some(" x "), 0),
        (&*full, Some(&*full_text), 0),
        (&*over, None, 1),
    ] {
        let projection = order(&format!(r#""i":{value}"#));
        assert_eq!((projection.exchange_order_id.as_deref(), projection.misfits), (expected, misfits), "{value}");
        let projection = order(&format!(r#""c":{value}"#));
        assert_eq!((projection.client_order_id.as_deref(), projection.misfits), (expected, misfits), "{value}");
        let projection = algo(&format!(r#""\u0061id":{value}"#));
        assert_eq!((projection.exchange_order_id.as_deref(), projection.misfits), (expected, misfits), "{value}");
        let projection = algo(&format!(r#""caid":{value}"#));
        assert_eq!((projection.client_order_id.as_deref(), projection.misfits), (expected, misfits), "{value}");
        let projection = algo(&format!(r#""ai":{value}"#));
        let expected = expected.filter(|id| *id != "0");
        assert_eq!((projection.triggered_order_id.as_deref(), projection.misfits), (expected, misfits), "{value}");
    }
    for (key, length) in [("s", 40), ("X", 40), ("x", 40)] {
        let fits = |length: usize| order(&format!(r#""{key}":"{}""#, "币".repeat(length))).misfits;
        assert_eq!((fits(length), fits(length + 1)), (0, 1), "{key}");
    }
    let name = |length: usize| project(format!(r#"{{"e":"{}"}}"#, "x".repeat(length)).as_bytes());
    assert_eq!((name(64).raw_event_type.len(), name(64).misfits), (64, 0));
    assert_eq!((name(65).raw_event_type.len(), name(65).misfits), (0, 1));
    assert_eq!(order(&format!(r#""c":"{}""#, "x".repeat(1 << 20))).misfits, 1);
}

#[test]
fn decimals_keep_every_digit_or_are_counted() {
    for (value, expected, misfits) in [
        (r#""86450.10""#, Some("86450.1"), 0),
        (r#""0.00011640""#, Some("0.0001164"), 0),
        (r#""4.10499999""#, Some("4.10499999"), 0),
        (r#""-3""#, Some("-3"), 0),
        ("0.1", Some("0.1"), 0),
        ("1.164e-4", Some("0.0001164"), 0),
        (r#""1.164E-4""#, Some("0.0001164"), 0),
        ("123456789012.12345678", Some("123456789012.12345678"), 0),
        ("1234567890123", None, 1),
        ("0.123456789", None, 1),
        ("1e-9", None, 1),
        ("1e999999999", None, 1),
        (r#""0.1234567800000""#, Some("0.12345678"), 0),
        (r#""""#, None, 0),
        ("null", None, 0),
        (r#""market""#, None, 1),
        (r#""1,5""#, None, 1),
        ("true", None, 1),
        ("[1]", None, 1),
    ] {
        type Column = fn(&Projection) -> &Option<Decimal>;
        let columns: [(&str, Column); 6] = [
            ("p", |p| &p.price),
            ("ap", |p| &p.average_price),
            ("q", |p| &p.original_quantity),
            ("z", |p| &p.filled_quantity),
            ("L", |p| &p.last_filled_price),
            ("l", |p| &p.last_filled_quantity),
        ];
        for (key, column) in columns {
            let projection = order(&format!(r#""{key}":"7","{key}":{value}"#));
            assert_eq!((shown(column(&projection)), projection.misfits), (expected, misfits), "{key} {value}");
        }
        let projection = algo(&format!(r#""tp":{value},"p":"5","ap":"x","z":"x""#));
        assert_eq!((shown(&projection.price), projection.misfits), (expected, misfits), "{value}");
    }
}

#[test]
fn times_are_milliseconds() {
    for (times, event_time, transaction_time, misfits) in [
        (r#""E":1795419020324,"T":1795419020323"#, Some(1_795_419_020_324), Some(1_795_419_020_323), 0),
        (r#""E":"1795419020324""#, Some(1_795_419_020_324), None, 0),
        (r#""T":5"#, Some(5), Some(5), 0),
        (r#""E":null,"T":"5""#, Some(5), Some(5), 0),
        (r#""E":"soon","T":5"#, Some(5), Some(5), 1),
        (r#""E":1.795419020324e12"#, Some(1_795_419_020_324), None, 0),
        (r#""E":0"#, Some(0), None, 0),
        (r#""E":1.5"#, None, None, 1),
        (r#""E":-1"#, None, None, 1),
        (r#""E":253402300799999"#, Some(253_402_300_799_999), None, 0),
        (r#""E":253402300800000"#, None, None, 1),
        (r#""E":99999999999999999999,"T":{}"#, None, None, 2),
        (r#""x":1"#, None, None, 0),
    ] {
        for name in ["ORDER_TRADE_UPDATE", "ALGO_UPDATE", "ACCOUNT_UPDATE", "listenKeyExpired"] {
            let projection = project(format!(r#"{{"e":"{name}",{times},"o":{{"T":9,"E":9}}}}"#).as_bytes());
            let read = (projection.event_time_ms, projection.transaction_time_ms, projection.misfits);
            assert_eq!(read, (event_time, transaction_time, misfits), "{name} {times}");
        }
    }
}

#[test]
fn flags_and_sides_are_tolerant() {
    for (value, expected, misfits) in [
        ("true", Some(true), 0),
        (r#""true""#, Some(true), 0),
        ("1", Some(true), 0),
        (r#""1""#, Some(true), 0),
        ("false", Some(false), 0),
        (r#""false""#, Some(false), 0),
        ("0", Some(false), 0),
        (r#""0""#, Some(false), 0),
        ("null", None, 0),
        (r#""""#, None, 0),
        ("2", None, 1),
        (r#""yes""#, None, 1),
        ("[true]", None, 1),
    ] {
        let (regular, conditional) = (order(&format!(r#""R":{value}"#)), algo(&format!(r#""cp":{value}"#)));
        assert_eq!((regular.reduce_only, regular.misfits), (expected, misfits), "{value}");
        assert_eq!((conditional.close_position, conditional.misfits), (expected, misfits), "{value}");
        let (regular, conditional) = (order(&format!(r#""cp":{value}"#)), algo(&format!(r#""R":{value}"#)));
        assert_eq!((regular.close_position, conditional.reduce_only), (None, None), "not theirs: {value}");
        assert_eq!((regular.misfits, conditional.misfits), (0, 0), "{value}");
    }
    for (members, side, position_side, misfits) in [
        (r#""S":"BUY","ps":"BOTH""#, Some(Side::Buy), Some(PositionSide::Both), 0),
        (r#""S":" sell ","ps":"long""#, Some(Side::Sell), Some(PositionSide::Long), 0),
        (r#""S":null,"ps":"SHORT""#, None, Some(PositionSide::Short), 0),
        (r#""S":"HOLD","ps":5"#, None, None, 2),
    ] {
        for projection in [order(members), algo(members)] {
            let read = (projection.side, projection.position_side, projection.misfits);
            assert_eq!(read, (side, position_side, misfits), "{members}");
        }
    }
}

#[test]
fn the_venues_own_orders_are_forced() {
    let long = "x".repeat(100);
    for (members, expected) in [
        (r#""x":"CALCULATED""#.to_owned(), true),
        (r#""x":"TRADE","c":"autoclose-123""#.to_owned(), true),
        (r#""x":"TRADE","c":"adl_autoclose""#.to_owned(), true),
        (r#""x":"TRADE","c":"adl_autoclose_7""#.to_owned(), true),
        (r#""x":"TRADE","c":"settlement_autoclose-7""#.to_owned(), true),
        (r#""x":"TRADE","c":"auto\u0063lose-7""#.to_owned(), true),
        (format!(r#""x":"TRADE","c":"autoclose-{long}""#), true),
        (r#""x":"TRADE","c":"autoclose""#.to_owned(), false),
        (r#""x":"TRADE","c":"my-autoclose-1""#.to_owned(), false),
        (r#""x":"TRADE","c":"AUTOCLOSE-1""#.to_owned(), false),
        (r#""x":"calculated""#.to_owned(), false),
        (r#""x":"TRADE""#.to_owned(), false),
    ] {
        assert_eq!(order(&members).is_forced, expected, "{members}");
    }
    assert!(algo(r#""caid":"autoclose-1""#).is_forced && !algo(r#""caid":"qa-1","x":"CALCULATED""#).is_forced);
}

#[test]
fn positions_are_whole_or_passed_over() {
    for (list, expected, misfits) in [
        (r#"[{"s":" btcusdt\n","ps":"both","pa":"0.00000000"}]"#, &[("BTCUSDT", PositionSide::Both, "0")][..], 0),
        (r#"[{"s":"A","ps":"SHORT","pa":-2.5e0}]"#, &[("A", PositionSide::Short, "-2.5")], 0),
        (
            r#"[{"s":"A","ps":"LONG","pa":"1"},{"s":"A","ps":"SHORT","pa":"0"}]"#,
            &[("A", PositionSide::Long, "1"), ("A", PositionSide::Short, "0")],
            0,
        ),
        (r#"[{"ps":"LONG","pa":"1"},{"s":"A","pa":"1"},{"s":"A","ps":"LONG"},{}]"#, &[], 0),
        (r#"[{"s":"","ps":"LONG","pa":"1"},{"s":" ","ps":"LONG","pa":"1"},{"s":"A","ps":"","pa":""}]"#, &[], 0),
        (r#"[{"s":"A","ps":"SIDEWAYS","pa":"1"},{"s":"A","ps":"LONG","pa":"x"},{"s":5,"ps":"LONG","pa":"1"}]"#, &[], 3),
        (r#"[1,null,[],{"s":"B","ps":"BOTH","pa":"5"}]"#, &[("B", PositionSide::Both, "5")], 2),
        ("[]", &[], 0),
        ("[ ]", &[], 0),
        ("null", &[], 0),
        ("{}", &[], 1),
        ("5", &[], 1),
    ] {
        for event in [
            format!(r#"{{"e":"ACCOUNT_UPDATE","a":{{"B":[],"P":{list},"m":"ORDER"}}}}"#),
            format!(r#"{{"a":5,"a":{{"P":[{{"s":"X","ps":"BOTH","pa":"1"}}],"\u0050":{list}}},"e":"ACCOUNT_UPDATE"}}"#),
        ] {
            let projection = project(event.as_bytes());
            let read: Vec<_> =
                projection.positions.iter().map(|p| (p.symbol.as_str(), p.side, p.quantity.as_str())).collect();
            assert_eq!((&*read, projection.misfits), (expected, misfits), "{event}");
        }
    }
    assert!(project(br#"{"e":"MARGIN_CALL","a":{"P":[{"s":"A","ps":"BOTH","pa":"1"}]}}"#).positions.is_empty());
    let entry = r#"{"s":"A","ps":"BOTH","pa":"1"}"#;
    for (count, misfits) in [(EVENT_POSITIONS_MAX, 0), (EVENT_POSITIONS_MAX + 9, 1)] {
        let list = vec![entry; count].join(",");
        let projection = project(format!(r#"{{"e":"ACCOUNT_UPDATE","a":{{"P":[{list}]}}}}"#).as_bytes());
        assert_eq!((projection.positions.len(), projection.misfits), (EVENT_POSITIONS_MAX, misfits));
    }
}

#[test]
fn bodies_of_another_shape_are_counted() {
    for (event, misfits) in [
        (r#"{"e":"ORDER_TRADE_UPDATE"}"#, 0),
        (r#"{"e":"ORDER_TRADE_UPDATE","o":null}"#, 0),
        (r#"{"e":"ORDER_TRADE_UPDATE","o":[]}"#, 1),
        (r#"{"e":"ORDER_TRADE_UPDATE","o":"x"}"#, 1),
        (r#"{"e":"ALGO_UPDATE","o":7}"#, 1),
        (r#"{"e":"ACCOUNT_UPDATE","a":7}"#, 1),
        (r#"{"e":"ACCOUNT_UPDATE","o":7}"#, 0),
        (r#"{"e":"TRADE_LITE","o":7,"a":7}"#, 0),
    ] {
        assert_eq!(project(event.as_bytes()).misfits, misfits, "{event}");
    }
}
