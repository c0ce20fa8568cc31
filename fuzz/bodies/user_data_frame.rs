//! The classification of private frames against a naive twin: serde_json values, owned, one rule after the other.
//!
//! Run by the fuzz target `user_data_frame`, and on stable by `tests/fuzz_corpus.rs` and `tests/user_data_twin.rs`.

use kraite_streams::domain::limits::EVENT_DEPTH_MAX;
use kraite_streams::exchange::binance::listen_key::ListenKey;
use kraite_streams::exchange::binance::user_data::{Class, ControlReply, EventType, Frame, classify};
use serde::de::IgnoredAny;
use serde_json::Value;

/// The key that expiry events of the corpus name.
pub const KEY: &str = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";

/// Any bytes are a frame that somebody may send.
pub fn user_data_frame(input: &[u8]) {
    let frame = classify(input);
    check_alone(input, &frame);
    let is_json = serde_json::from_slice::<IgnoredAny>(input).is_ok()
        && std::str::from_utf8(input).is_ok()
        && depth(input) <= EVENT_DEPTH_MAX;
    assert_eq!(frame.class != Class::NotJson, is_json, "JSON or not");
    // serde_json refuses lone surrogates and numbers beyond f64, which are JSON nevertheless.
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        compare_with_twin(input, &frame, &value);
    }
}

/// What holds for every frame.
fn check_alone(input: &[u8], frame: &Frame<'_>) {
    assert_eq!(&input[frame.span.clone()], frame.event, "span and bytes differ");
    let shown = format!("{frame:?}");
    assert!(!shown.contains("SYNTHETIC"), "{shown}");
    if let Class::Event(_) = frame.class {
        let again = classify(frame.event);
        assert_eq!((again.class, again.event), (frame.class, frame.event), "the recorded bytes say something else");
        assert_eq!((again.name, again.event_time_ms), (frame.name, frame.event_time_ms));
        assert!(frame.name.is_some() && frame.class.is_recorded());
    }
}

fn compare_with_twin(input: &[u8], frame: &Frame<'_>, value: &Value) {
    let escaped = input.contains(&b'\\');
    let wrapped = match (value.get("e"), value.get("stream"), value.get("data")) {
        (None, Some(Value::String(stream)), Some(data)) => Some((stream, data)),
        _ => None,
    };
    match wrapped {
        None => assert_eq!((frame.event, frame.suffix), (input, &b""[..])),
        Some((stream, data)) => {
            assert_eq!(&serde_json::from_slice::<Value>(frame.event).unwrap(), data);
            assert_eq!(frame.event.trim_ascii(), frame.event);
            let suffix = stream.find('@').map_or("", |at| &stream[at..]);
            assert!(escaped || frame.suffix == suffix.as_bytes(), "{:?} instead of {suffix:?}", frame.suffix);
        }
    }
    let event = wrapped.map_or(value, |(_, data)| data);
    let class = match (event.get("e"), wrapped) {
        (Some(Value::String(name)), _) => Class::Event(twin_type(name)),
        (None, None) => twin_reply(event).map_or(Class::Other, Class::Control),
        _ => Class::Other,
    };
    assert!(is_same_class(frame.class, class, escaped), "{:?} instead of {class:?}", frame.class);
    let Class::Event(_) = class else {
        assert_eq!((frame.name, frame.event_time_ms), (None, None));
        return;
    };
    assert!(escaped || frame.name == event["e"].as_str(), "{:?}", frame.name);
    let time = event.get("E").and_then(twin_integer);
    assert!(is_same_integer(frame.event_time_ms, time, escaped), "{:?} instead of {time:?}", frame.event_time_ms);
    let key = ListenKey::new(KEY).unwrap();
    let named = event.get("listenKey").and_then(Value::as_str).map(|named| named == KEY);
    assert_eq!(frame.names_key(&key), named);
}

fn twin_type(name: &str) -> EventType {
    match name {
        "ORDER_TRADE_UPDATE" => EventType::OrderTradeUpdate,
        "ACCOUNT_UPDATE" => EventType::AccountUpdate,
        "ALGO_UPDATE" => EventType::AlgoUpdate,
        "TRADE_LITE" => EventType::TradeLite,
        "MARGIN_CALL" => EventType::MarginCall,
        "ACCOUNT_CONFIG_UPDATE" => EventType::AccountConfigUpdate,
        "STRATEGY_UPDATE" => EventType::StrategyUpdate,
        "GRID_UPDATE" => EventType::GridUpdate,
        "CONDITIONAL_ORDER_TRIGGER_REJECT" => EventType::ConditionalOrderTriggerReject,
        "listenKeyExpired" => EventType::ListenKeyExpired,
        "serverShutdown" => EventType::ServerShutdown,
        _ => EventType::Unknown,
    }
}

/// The reply that an object is, by the shapes of facts/binance.md §1.4.
pub fn twin_reply(value: &Value) -> Option<ControlReply> {
    let object = value.as_object()?;
    let id = object.get("id").and_then(|id| id.as_u64().or_else(|| id.as_str()?.parse().ok()));
    let code = |holder: &Value| holder.get("code").and_then(twin_integer);
    if let Some(error) = object.get("error").filter(|_| object.contains_key("id")) {
        Some(ControlReply::Error { id, code: code(error) })
    } else if object.contains_key("result") && object.contains_key("id") {
        Some(ControlReply::Result { id })
    } else if object.contains_key("code") && object.contains_key("msg") {
        Some(ControlReply::Error { id, code: code(value) })
    } else {
        None
    }
}

/// `-0` is an integer of ours and a float of serde_json's.
fn twin_integer(value: &Value) -> Option<i64> {
    let is_negative_zero = value.as_f64().is_some_and(|number| number == 0.0 && number.is_sign_negative());
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).or(is_negative_zero.then_some(0))
}

/// Escaped digits inside of a string are none of ours, and `-0.0` is no integer.
fn is_same_integer(ours: Option<i64>, theirs: Option<i64>, escaped: bool) -> bool {
    ours == theirs || ours.is_none() && (escaped || theirs == Some(0))
}

fn is_same_class(ours: Class, theirs: Class, escaped: bool) -> bool {
    match (ours, theirs) {
        (Class::Control(ours), Class::Control(theirs)) => match (ours, theirs) {
            (ControlReply::Result { id }, ControlReply::Result { id: other }) => id == other || escaped,
            (ControlReply::Error { id, code }, ControlReply::Error { id: other, code: other_code }) => {
                (id == other || escaped) && is_same_integer(code, other_code, escaped)
            }
            _ => false,
        },
        _ => ours == theirs,
    }
}

/// Of brackets outside of strings.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
