//! Replies of the venue to what we asked: subscriptions over the socket against a naive twin, listen keys over REST against
//! the promise that no refusal repeats what the venue wrote.
//!
//! Run by the fuzz target `control_reply`, and on stable by `tests/fuzz_corpus.rs` and `tests/user_data_twin.rs`.

use kraite_streams::exchange::binance::control::{Proof, subscriptions_prove};
use kraite_streams::exchange::binance::listen_key::{ListenKey, Refusal, read_extension, read_listen_key};
use kraite_streams::exchange::binance::user_data::{EventSet, EventType};
use serde_json::Value;

/// The key that the corpus's replies name.
pub const KEY: &str = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
/// The number of the request that they answer.
pub const ID: u64 = 2;

/// Any bytes are a reply that somebody may send.
pub fn control_reply(input: &[u8]) {
    let proof = subscriptions_prove(input, ID, &ListenKey::new(KEY).unwrap());
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        compare_with_twin(input, proof, &value);
    }
    for status in [200, 400, 401, 403, 418, 429, 503] {
        read_key(status, input);
    }
}

fn compare_with_twin(input: &[u8], proof: Proof, value: &Value) {
    // An id in a string of escaped digits is none of ours.
    if input.contains(&b'\\') && value.get("id").is_some_and(Value::is_string) {
        return;
    }
    let has = |name| value.get(name).is_some();
    let id = value.get("id").and_then(|id| id.as_u64().or_else(|| id.as_str()?.parse().ok()));
    let is_wrapper = value.get("stream").is_some_and(Value::is_string) && has("data");
    let is_error = has("error") && has("id") || !(has("result") && has("id")) && has("code") && has("msg");
    let expected = if has("e") || is_wrapper || !value.is_object() {
        Proof::NotThisReply
    } else if is_error {
        match id {
            None | Some(ID) => {
                assert!(matches!(proof, Proof::Error { .. }), "{proof:?}");
                return;
            }
            Some(_) => Proof::NotThisReply,
        }
    } else {
        match (value.get("result").and_then(Value::as_array), id) {
            (Some(list), Some(ID)) => twin_proof(list),
            _ => Proof::NotThisReply,
        }
    };
    assert_eq!(proof, expected);
}

fn twin_proof(list: &[Value]) -> Proof {
    let items: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    if items.contains(&KEY) {
        return Proof::Named { absent: EventSet::none() };
    }
    let is_named = |event: &EventType| items.contains(&format!("{KEY}@{event}").as_str());
    if is_named(&EventType::OrderTradeUpdate) {
        Proof::Named { absent: EventType::SUBSCRIBED.into_iter().filter(|event| !is_named(event)).collect() }
    } else {
        Proof::Missing
    }
}

/// Reads `body` as an answer to both calls, which must agree, and checks that a refusal shows nothing of it.
fn read_key(status: u16, body: &[u8]) {
    let extension = read_extension(status, body, None);
    let created = read_listen_key(status, body, None);
    match &extension {
        Ok(Some(key)) => assert_eq!(created.as_ref(), Ok(key)),
        Ok(None) => assert_eq!(created, Err(Refusal::Shape)),
        Err(refusal) => {
            assert_eq!(created, Err(*refusal));
            assert!(refusal.pause(1, 0).as_secs() >= 1, "{refusal:?} would be retried at once");
        }
    }
    let shown =
        format!("{extension:?} {created:?} {}", extension.as_ref().err().map_or(String::new(), Refusal::to_string));
    assert!(!shown.contains("SYNTHETIC") && !shown.contains("203.0.113"), "{shown}");
    if let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(body)
        && let Some(text) = members.get("listenKey").and_then(Value::as_str)
    {
        assert!(ListenKey::new(text).is_err() || !shown.contains(text), "{shown}");
    }
}
