//! Requests over a private connection and their replies (facts/binance.md §1.3, §1.4): the proof that a connection is
//! subscribed to its account. A handshake with a bogus listen key succeeds too, so "connected" proves nothing.

use super::event_type::{EventSet, EventType};
use super::listen_key::ListenKey;
use super::outline::{self, Span, skip_blanks, strip_text};
use super::user_data::ControlReply;
use super::wrapper::{Members, inside, integer};
use super::{grammar, user_data};

/// The text of a request that asks what this connection is subscribed to; the reply repeats `id`. It also serves as a probe
/// of a stream that may be silent for hours.
#[must_use]
pub fn list_subscriptions_request(id: u64) -> String {
    format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#)
}

/// What a frame says about a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The reply names the key.
    Named {
        /// The events of [`EventType::SUBSCRIBED`] that the reply leaves out; none where it names the key as a whole.
        absent: EventSet,
    },
    /// The reply names other things, or nothing, or this key without its order updates: this URL's spelling does not work.
    Missing,
    /// The venue refused the request.
    Error {
        /// Its code, where it is an integer.
        code: Option<i64>,
    },
    /// Another frame: an event, or the reply to another request.
    NotThisReply,
}

/// Reads the reply to [`list_subscriptions_request`]: `{"result":["<key>"],"id":n}` or
/// `{"result":["<key>@<EVENT>",…],"id":n}`.
///
/// A refusal without a number is taken for the answer, since nothing else may be under way on a private connection.
#[must_use]
pub fn subscriptions_prove(reply: &[u8], id: u64, key: &ListenKey) -> Proof {
    let user_data::Class::Control(control) = user_data::classify(reply).class else { return Proof::NotThisReply };
    match control {
        ControlReply::Error { id: other, code } if other.is_none_or(|other| other == id) => Proof::Error { code },
        ControlReply::Result { id: Some(other) } if other == id => read_subscriptions(reply, key),
        ControlReply::Error { .. } | ControlReply::Result { .. } => Proof::NotThisReply,
    }
}

fn read_subscriptions(reply: &[u8], key: &ListenKey) -> Proof {
    debug_assert!(grammar::is_json(reply), "classified before");
    let Some(list) = Members::of(reply, skip_blanks(reply, 0)).result else { return Proof::NotThisReply };
    if reply.get(list.start) != Some(&b'[') {
        return Proof::NotThisReply;
    }
    let mut named = EventSet::default();
    for item in outline::elements(reply, list.start) {
        match inside(reply, &item).and_then(|inside| strip_text(&reply[inside], key.expose().as_bytes())) {
            Some(b"") => return Proof::Named { absent: EventSet::default() },
            Some(rest) => {
                if let Some(event) = strip_text(rest, b"@") {
                    named.insert(EventType::of_text(event));
                }
            }
            None => {}
        }
    }
    if named.contains(EventType::OrderTradeUpdate) {
        Proof::Named { absent: EventSet::subscribed().without(named) }
    } else {
        Proof::Missing
    }
}

/// The reply that the members of a frame are, if they are one.
pub(super) fn read_reply(frame: &[u8], members: &Members) -> Option<ControlReply> {
    if members.event.is_some() {
        return None;
    }
    let id = members.id.as_ref().and_then(|value| integer(frame, value));
    let code = |value: &Option<Span>| value.as_ref().and_then(|value| integer(frame, value));
    match (&members.error, &members.result, &members.id) {
        (Some(error), _, Some(_)) => {
            Some(ControlReply::Error { id, code: code(&Members::of(frame, error.start).code) })
        }
        (None, Some(_), Some(_)) => Some(ControlReply::Result { id }),
        _ if members.code.is_some() && members.msg.is_some() => {
            Some(ControlReply::Error { id, code: code(&members.code) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
    const WHOLE: Proof = Proof::Named { absent: EventSet::none() };

    #[test]
    fn requests_are_spelled_as_documented() {
        assert_eq!(list_subscriptions_request(2), r#"{"method":"LIST_SUBSCRIPTIONS","id":2}"#);
    }

    #[test]
    fn replies_prove_or_do_not() {
        let partly = Proof::Named {
            absent: EventSet::subscribed()
                .without([EventType::OrderTradeUpdate, EventType::TradeLite].into_iter().collect()),
        };
        for (reply, expected) in [
            (r#"{"result":["KEY"],"id":2}"#, WHOLE),
            (r#" { "id" : 2 , "result" : [ "other" , "KEY" ] } "#, WHOLE),
            (r#"{"result":["KEY@ORDER_TRADE_UPDATE","KEY@TRADE_LITE","KEY@NEWS"],"id":2}"#, partly),
            (r#"{"result":["KEY\u0040ORDER_TRADE_UPDATE","KEY@TRADE_LITE"],"id":2}"#, partly),
            (r#"{"result":["KEY@TRADE_LITE"],"id":2}"#, Proof::Missing),
            (r#"{"result":["KEYx"],"id":2}"#, Proof::Missing),
            (r#"{"result":["xKEY"],"id":2}"#, Proof::Missing),
            (r#"{"result":["KEY@"],"id":2}"#, Proof::Missing),
            (r#"{"result":["KEYx@ORDER_TRADE_UPDATE"],"id":2}"#, Proof::Missing),
            (r#"{"result":[],"id":2}"#, Proof::Missing),
            (r#"{"result":[["KEY"],{"a":"KEY"},5,null],"id":2}"#, Proof::Missing),
            (r#"{"result":["!markPrice@arr@1s"],"id":2}"#, Proof::Missing),
            (r#"{"result":["KEY"],"id":3}"#, Proof::NotThisReply),
            (r#"{"result":null,"id":2}"#, Proof::NotThisReply),
            (r#"{"result":["KEY"]}"#, Proof::NotThisReply),
            (r#"{"e":"listenKeyExpired","result":["KEY"],"id":2}"#, Proof::NotThisReply),
            (r#"{"result":["KEY"],"id":2"#, Proof::NotThisReply),
            (r#"{"error":{"code":2,"msg":"KEY"},"id":2}"#, Proof::Error { code: Some(2) }),
            (r#"{"error":{"code":2,"msg":"x"},"id":1}"#, Proof::NotThisReply),
            (r#"{"code":-1,"msg":"x"}"#, Proof::Error { code: Some(-1) }),
        ] {
            check(reply, expected);
        }
    }

    #[track_caller]
    fn check(reply: &str, expected: Proof) {
        let proof = subscriptions_prove(reply.replace("KEY", KEY).as_bytes(), 2, &ListenKey::new(KEY).unwrap());
        assert_eq!(proof, expected, "{reply}");
    }
}
