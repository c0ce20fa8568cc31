//! Promise: every private frame that the venue is known to send is taken for what it is, bare or wrapped, and its own bytes
//! come out of a wrapper unchanged; every answer about listen keys has its meaning.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kraite_streams::exchange::binance::control::{Proof, list_subscriptions_request, subscriptions_prove};
use kraite_streams::exchange::binance::listen_key::{ListenKey, Refusal, read_extension, read_listen_key};
use kraite_streams::exchange::binance::user_data::{Class, ControlReply, Demand, EventSet, EventType, classify};

const KEY: &str = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
const ROTATED: &str = "SYNTHETIClistenKeyB0000000000000000000000000000000000000000000BB";

/// Beginnings of fixtures' names, what `e` says in them, and how many they are.
const EVENTS: [(&str, EventType, usize); 17] = [
    ("order_trade_update_", EventType::OrderTradeUpdate, 18),
    ("account_update_", EventType::AccountUpdate, 11),
    ("algo_update_", EventType::AlgoUpdate, 9),
    ("trade_lite", EventType::TradeLite, 2),
    ("margin_call_", EventType::MarginCall, 1),
    ("account_config_update_", EventType::AccountConfigUpdate, 2),
    ("strategy_update", EventType::StrategyUpdate, 1),
    ("grid_update", EventType::GridUpdate, 1),
    ("conditional_order_trigger_reject", EventType::ConditionalOrderTriggerReject, 1),
    ("listen_key_expired", EventType::ListenKeyExpired, 2),
    ("combined_order_trade_update_", EventType::OrderTradeUpdate, 2),
    ("combined_account_update_", EventType::AccountUpdate, 2),
    ("combined_algo_update_", EventType::AlgoUpdate, 2),
    ("combined_listen_key_expired_", EventType::ListenKeyExpired, 2),
    ("combined_margin_call_", EventType::MarginCall, 1),
    ("combined_trade_lite_", EventType::TradeLite, 1),
    ("combined_account_config_update_", EventType::AccountConfigUpdate, 1),
];

/// Fixtures of other kinds.
const OTHERS: [(&str, Class); 4] = [
    ("subscribe_request", Class::Other),
    ("list_subscriptions_reply_key", Class::Control(ControlReply::Result { id: Some(2) })),
    ("list_subscriptions_reply_key_events", Class::Control(ControlReply::Result { id: Some(2) })),
    ("list_subscriptions_request", Class::Other),
];

#[test]
fn every_fixture_has_its_class() {
    let mut seen = BTreeSet::new();
    for (beginning, event_type, count) in EVENTS {
        let files: Vec<_> = names().into_iter().filter(|name| name.starts_with(beginning)).collect();
        assert_eq!(files.len(), count, "{beginning}: {files:?}");
        for name in files {
            check_event(&name, event_type);
            seen.insert(name);
        }
    }
    for (name, class) in OTHERS {
        check(&fixture(name), class);
        seen.insert(name.to_owned());
    }
    assert_eq!(names().into_iter().filter(|name| !name.starts_with("rest_") && !seen.contains(name)).count(), 0);

    check(&shared("subscribe_ack"), Class::Control(ControlReply::Result { id: Some(1) }));
    check(&shared("control_error"), Class::Control(ControlReply::Error { id: Some(9), code: Some(2) }));
    check(&shared("unknown_event"), Class::Event(EventType::Unknown));
    check(&shared("server_shutdown_tolerated"), Class::Event(EventType::ServerShutdown));
    check(&shared("mark_price_arr_small"), Class::Other);
    check(&shared("mark_price_single_combined"), Class::Event(EventType::Unknown));
}

#[test]
fn an_unknown_event_keeps_its_name() {
    let frame = shared("unknown_event");
    let read = classify(&frame);
    assert_eq!((read.name, read.event_time_ms), (Some("SOME_FUTURE_EVENT"), Some(1_795_419_052_124)));
    assert_eq!(read.class.demand(), Demand::Nothing);
    assert_eq!(classify(&shared("server_shutdown_tolerated")).class.demand(), Demand::ReconnectSoon);
}

#[test]
fn an_expiry_in_any_shape_asks_for_a_new_key() {
    let (key, rotated) = (ListenKey::new(KEY).unwrap(), ListenKey::new(ROTATED).unwrap());
    for name in names().into_iter().filter(|name| name.contains("listen_key_expired")) {
        let frame = fixture(&name);
        let read = classify(&frame);
        assert_eq!(
            (read.class.demand(), read.event_time_ms),
            (Demand::NewListenKey, Some(1_795_422_615_123)),
            "{name}"
        );
        assert_eq!((read.names_key(&key), read.names_key(&rotated)), (Some(true), Some(false)), "{name}");
        assert!(!format!("{read:?}").contains("SYNTHETIC"), "{read:?}");
    }
    let bare = br#"{"e":"listenKeyExpired"}"#;
    let read = classify(bare);
    assert_eq!((read.class.demand(), read.names_key(&key)), (Demand::NewListenKey, None));
}

#[test]
fn a_wrapped_event_is_the_bare_one() {
    for (wrapped, bare, suffix) in [
        ("combined_order_trade_update_key", "order_trade_update_trade_filled", ""),
        ("combined_order_trade_update_key_event", "order_trade_update_trade_filled", "@ORDER_TRADE_UPDATE"),
        ("combined_account_update_key_event", "account_update_order", "@ACCOUNT_UPDATE"),
        ("combined_algo_update_key", "algo_update_triggered", ""),
        ("combined_listen_key_expired_key_event", "listen_key_expired", "@listenKeyExpired"),
        ("combined_margin_call_key_event", "margin_call_cross", "@MARGIN_CALL"),
        ("combined_trade_lite_key_event", "trade_lite", "@TRADE_LITE"),
        ("combined_account_config_update_key_event", "account_config_update_leverage", "@ACCOUNT_CONFIG_UPDATE"),
    ] {
        let frame = fixture(wrapped);
        let read = classify(&frame);
        assert_eq!(read.event, fixture(bare), "{wrapped}");
        assert_eq!(read.suffix, suffix.as_bytes(), "{wrapped}");
    }
    assert_eq!(fixture("order_trade_update_trade_filled"), fixture("order_trade_update_duplicate_of_trade_filled"));
}

#[test]
fn subscriptions_are_proved() {
    let whole = Proof::Named { absent: EventSet::none() };
    for (name, expected) in [
        ("list_subscriptions_reply_key", whole),
        ("list_subscriptions_reply_key_events", whole),
        ("listen_key_expired", Proof::NotThisReply),
        ("order_trade_update_new", Proof::NotThisReply),
    ] {
        assert_eq!(subscriptions_prove(&fixture(name), 2, &ListenKey::new(KEY).unwrap()), expected, "{name}");
    }
    for (name, id, expected) in [
        ("list_subscriptions_reply_empty", 2, Proof::Missing),
        ("list_subscriptions_reply_mark_price", 2, Proof::Missing),
        ("subscribe_ack", 1, Proof::NotThisReply),
        ("subscribe_ack", 2, Proof::NotThisReply),
        ("control_error", 9, Proof::Error { code: Some(2) }),
        ("control_error", 2, Proof::NotThisReply),
    ] {
        assert_eq!(subscriptions_prove(&shared(name), id, &ListenKey::new(KEY).unwrap()), expected, "{name}");
    }
    let reply = fixture("list_subscriptions_reply_key_events");
    assert_eq!(subscriptions_prove(&reply, 2, &ListenKey::new(ROTATED).unwrap()), Proof::Missing);
    assert_eq!(list_subscriptions_request(2).as_bytes(), fixture("list_subscriptions_request"));
}

#[test]
fn rest_answers_have_their_meaning() {
    let key = |text| Ok(Some(ListenKey::new(text).unwrap()));
    for (name, status, expected) in [
        ("rest_listen_key_post", 200, key(KEY)),
        ("rest_listen_key_put", 200, key(KEY)),
        ("rest_listen_key_put_rotated", 200, key(ROTATED)),
        ("rest_listen_key_delete", 200, Ok(None)),
        ("rest_error_1003_418", 418, Err(Refusal::Banned { until_ms: Some(1_795_419_615_000), retry_after: None })),
        ("rest_error_1003_429", 429, Err(Refusal::Limited { retry_after: None })),
        ("rest_error_1008_503", 503, Err(Refusal::Overload { retry_after: None })),
        ("rest_error_1021", 400, Err(Refusal::Clock)),
        ("rest_error_1022", 400, Err(Refusal::Other { status: 400, code: Some(-1022) })),
        ("rest_error_1125", 400, Err(Refusal::KeyGone)),
        ("rest_error_2013", 400, Err(Refusal::Other { status: 400, code: Some(-2013) })),
        ("rest_error_2015", 401, Err(Refusal::Credentials { code: Some(-2015) })),
    ] {
        let answer = read_extension(status, &fixture(name), None);
        assert_eq!(answer, expected, "{name}");
        let created = read_listen_key(status, &fixture(name), Some("7"));
        match (answer, created) {
            (Ok(Some(key)), Ok(created)) => assert_eq!(key, created, "{name}"),
            (Ok(None), created) => assert_eq!(created, Err(Refusal::Shape), "{name}"),
            (Err(refusal), Err(created)) => {
                assert_eq!(refusal.as_str(), created.as_str(), "{name}");
                let shown = format!("{refusal} {refusal:?}");
                assert!(!shown.contains("203.0.113.7"), "{name}: {shown}");
                if let Refusal::Limited { retry_after } | Refusal::Overload { retry_after } = created {
                    assert_eq!(retry_after, Some(Duration::from_secs(7)), "{name}");
                }
            }
            (answer, created) => panic!("{name}: {answer:?} and {created:?}"),
        }
    }
}

#[track_caller]
fn check_event(name: &str, event_type: EventType) {
    let frame = fixture(name);
    let read = check(&frame, Class::Event(event_type));
    let is_wrapped = name.starts_with("combined_");
    assert_eq!(read != frame.as_slice(), is_wrapped, "{name}");
    let twin: serde_json::Value = serde_json::from_slice(read).unwrap();
    assert_eq!(twin["e"], event_type.as_str(), "{name}");
    let classified = classify(&frame);
    assert_eq!(classified.name, Some(event_type.as_str()), "{name}");
    let time = twin["E"].as_i64().or_else(|| twin["E"].as_str()?.parse().ok());
    assert!(time.is_some() && classified.event_time_ms == time, "{name}");
}

/// The event's bytes.
#[track_caller]
fn check(frame: &[u8], class: Class) -> &[u8] {
    let read = classify(frame);
    assert_eq!(read.class, class, "{}", String::from_utf8_lossy(frame));
    assert_eq!(read.class.is_recorded(), !matches!(class, Class::Control(_)));
    assert_eq!(&frame[read.span.clone()], read.event);
    read.event
}

fn names() -> Vec<String> {
    let files = fs::read_dir(folder().join("user_data")).unwrap();
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(folder().join("user_data").join(name).with_extension("json")).unwrap()
}

fn shared(name: &str) -> Vec<u8> {
    fs::read(folder().join(name).with_extension("json")).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}
