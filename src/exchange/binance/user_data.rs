//! Says what a private frame is, without touching it: its class, the bytes of the event itself, `e` and `E`.
//!
//! This is all that the loop needs: whether a frame is recorded (everything but replies to our own requests is), which
//! bytes are recorded, and whether the venue asks for a new listen key or a new connection. What an order did is read
//! later, from the recorded bytes. A frame that is not JSON to the last byte is never taken for a reply or a request.
//!
//! Data plane: two walks over the bytes, no allocation, no mutation, and the wire cannot make it panic.

use std::fmt;
use std::ops::Range;

pub use super::event_type::{EventSet, EventType};
use super::listen_key::ListenKey;
use super::outline::{key_is, skip_blanks};
use super::wrapper::{Members, inside, integer};
use super::{control, grammar};

/// A frame, classified. Everything in it points into the frame's own bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame<'f> {
    /// What it is.
    pub class: Class,
    /// The event's own bytes: the value of a wrapper's `data`, or the whole frame where there is no wrapper.
    pub event: &'f [u8],
    /// Where they lie in the frame.
    pub span: Range<usize>,
    /// What follows the listen key in the wrapper's stream name, with its `@`; empty where there is none.
    pub suffix: &'f [u8],
    /// The raw text of `e`; `None` where it is absent or no string. Longer than any sane name if the venue wants it so.
    pub name: Option<&'f str>,
    /// `E`, ms since 1970 UTC, sent as a number or a string; `None` where it is absent or neither.
    pub event_time_ms: Option<i64>,
    /// The raw text of the event's `listenKey`.
    listen_key: Option<&'f [u8]>,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An object with a text in `e`.
    Event(EventType),
    /// The answer to a request of ours.
    Control(ControlReply),
    /// Sound JSON that is neither.
    Other,
    /// No JSON, or nested deeper than any reader of it goes.
    NotJson,
}

/// The answer to a request of ours. `id` is the request's, `None` where the venue did not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlReply {
    /// `{"result":…,"id":n}`: done. It says nothing about data flowing.
    Result {
        /// The request's number.
        id: Option<u64>,
    },
    /// `{"error":{"code":…,"msg":…},"id":n}` or `{"code":…,"msg":…}`: refused.
    Error {
        /// The request's number.
        id: Option<u64>,
        /// The venue's code, where it is an integer.
        code: Option<i64>,
    },
}

/// What a frame asks of the stream that it came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing.
    Nothing,
    /// The listen key is dead: a new key, a new connection, proof, a gap record.
    NewListenKey,
    /// The server goes away: a new connection soon, with the same key.
    ReconnectSoon,
}

impl Class {
    /// Whether the spool takes it: everything but protocol control, the unknown and the malformed included.
    #[must_use]
    pub const fn is_recorded(self) -> bool {
        !matches!(self, Class::Control(_))
    }

    /// What it asks for.
    #[must_use]
    pub const fn demand(self) -> Demand {
        match self {
            Class::Event(EventType::ListenKeyExpired) => Demand::NewListenKey,
            Class::Event(EventType::ServerShutdown) => Demand::ReconnectSoon,
            _ => Demand::Nothing,
        }
    }

    /// The word used in logs, metrics and the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Event(event_type) => event_type.as_str(),
            Class::Control(ControlReply::Result { .. }) => "control_result",
            Class::Control(ControlReply::Error { .. }) => "control_error",
            Class::Other => "other",
            Class::NotJson => "not_json",
        }
    }
}

impl Frame<'_> {
    /// Whether the event's `listenKey` is `key`; `None` if it names none. An expiry that names a key which was already
    /// replaced is old news; one that names none is taken at its word.
    #[must_use]
    pub fn names_key(&self, key: &ListenKey) -> Option<bool> {
        self.listen_key.map(|raw| key_is(raw, key.expose().as_bytes()))
    }
}

/// Neither the event's bytes nor a stream's name: both may hold a listen key.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("class", &self.class)
            .field("span", &self.span)
            .field("event_time_ms", &self.event_time_ms)
            .finish_non_exhaustive()
    }
}

/// Classifies one WebSocket message of a private connection, bare or wrapped, whatever the URL's spelling was.
#[must_use]
pub fn classify(frame: &[u8]) -> Frame<'_> {
    let whole = 0..frame.len();
    if !grammar::is_json(frame) {
        return Frame::new(frame, Class::NotJson, whole);
    }
    let outer = Members::of(frame, skip_blanks(frame, 0));
    let Some(wrapper) = outer.wrapper(frame) else {
        return read_event(frame, whole, &outer).unwrap_or_else(|| {
            let class = control::read_reply(frame, &outer).map_or(Class::Other, Class::Control);
            Frame::new(frame, class, 0..frame.len())
        });
    };
    let inner = Members::of(frame, wrapper.event.start);
    let event = read_event(frame, wrapper.event.clone(), &inner);
    Frame { suffix: &frame[wrapper.suffix], ..event.unwrap_or_else(|| Frame::new(frame, Class::Other, wrapper.event)) }
}

/// The event that the members are, if they are one.
fn read_event<'f>(frame: &'f [u8], span: Range<usize>, members: &Members) -> Option<Frame<'f>> {
    let name = &frame[inside(frame, members.event.as_ref()?)?];
    let listen_key = members.listen_key.as_ref().and_then(|value| inside(frame, value));
    Some(Frame {
        name: std::str::from_utf8(name).ok(),
        event_time_ms: members.event_time.as_ref().and_then(|value| integer(frame, value)),
        listen_key: listen_key.map(|inside| &frame[inside]),
        ..Frame::new(frame, Class::Event(EventType::of_text(name)), span)
    })
}

impl<'f> Frame<'f> {
    fn new(frame: &'f [u8], class: Class, span: Range<usize>) -> Frame<'f> {
        let event = &frame[span.clone()];
        Frame { class, event, span, suffix: &[], name: None, event_time_ms: None, listen_key: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRED: Class = Class::Event(EventType::ListenKeyExpired);
    const ORDER: Class = Class::Event(EventType::OrderTradeUpdate);

    #[test]
    fn wrappers_are_dropped_in_every_shape() {
        for (frame, event, suffix) in [
            (r#"{"stream":"K@E","data":{"e":"ORDER_TRADE_UPDATE"}}"#, r#"{"e":"ORDER_TRADE_UPDATE"}"#, "@E"),
            (r#" { "data" : {"e":"ORDER_TRADE_UPDATE"} ,"stream":"K" } "#, r#"{"e":"ORDER_TRADE_UPDATE"}"#, ""),
            (
                r#"{"str\u0065am":"K@","d\u0061ta":{ "e" : "ORDER_TRADE_UPDATE" }}"#,
                r#"{ "e" : "ORDER_TRADE_UPDATE" }"#,
                "@",
            ),
            (r#"{"stream":"K@A@B","data":{"e":"ORDER_TRADE_UPDATE"},"v":2}"#, r#"{"e":"ORDER_TRADE_UPDATE"}"#, "@A@B"),
            (r#"{"data":1,"stream":"K","data":{"e":"ORDER_TRADE_UPDATE"}}"#, r#"{"e":"ORDER_TRADE_UPDATE"}"#, ""),
            (
                r#"{"stream":"K","data":{"e":"ORDER_TRADE_UPDATE","data":{"e":"x"},"stream":"L@x"}}"#,
                r#"{"e":"ORDER_TRADE_UPDATE","data":{"e":"x"},"stream":"L@x"}"#,
                "",
            ),
        ] {
            let read = check(frame, ORDER);
            assert_eq!(read.event, event.as_bytes(), "{frame}");
            assert_eq!(read.suffix, suffix.as_bytes(), "{frame}");
        }
        for (frame, event) in [
            (r#"{"stream":"K","data":[{"e":"ORDER_TRADE_UPDATE"}]}"#, r#"[{"e":"ORDER_TRADE_UPDATE"}]"#),
            (r#"{"stream":"K","data":null}"#, "null"),
            (
                r#"{"stream":"K","data":{"stream":"L","data":{"e":"ORDER_TRADE_UPDATE"}}}"#,
                r#"{"stream":"L","data":{"e":"ORDER_TRADE_UPDATE"}}"#,
            ),
            (r#"{"stream":"K","data":{"result":null,"id":1}}"#, r#"{"result":null,"id":1}"#),
        ] {
            assert_eq!(check(frame, Class::Other).event, event.as_bytes(), "{frame}");
        }
    }

    #[test]
    fn what_is_no_wrapper_stays_whole() {
        for (frame, class) in [
            (r#"{"stream":5,"data":{"e":"ORDER_TRADE_UPDATE"}}"#, Class::Other),
            (r#"{"stream":"K"}"#, Class::Other),
            (r#"{"data":{"e":"ORDER_TRADE_UPDATE"}}"#, Class::Other),
            (r#"{"e":"ORDER_TRADE_UPDATE","stream":"K","data":{"e":"x"}}"#, ORDER),
            (r#"{"e":5,"stream":"K","data":{"e":"x"}}"#, Class::Other),
            (r#" {"e":"ORDER_TRADE_UPDATE"} "#, ORDER),
            (r#"[{"e":"ORDER_TRADE_UPDATE"}]"#, Class::Other),
            (r#"{"stream":"K","data":{"e":"ORDER_TRADE_UPDATE"}}}"#, Class::NotJson),
        ] {
            let read = check(frame, class);
            assert_eq!((read.event, read.suffix), (frame.as_bytes(), &b""[..]), "{frame}");
        }
    }

    #[test]
    fn only_the_events_own_e_counts() {
        for (frame, class) in [
            (r#"{"o":{"e":"listenKeyExpired"},"e":"ORDER_TRADE_UPDATE"}"#, ORDER),
            (r#"{"o":"\",\"e\":\"listenKeyExpired","e":"ORDER_TRADE_UPDATE"}"#, ORDER),
            (r#"{"o":[{"e":"listenKeyExpired"}]}"#, Class::Other),
            (r#"{"\"e\"":"listenKeyExpired"}"#, Class::Other),
            (r#"{"e\\":"listenKeyExpired"}"#, Class::Other),
            (r#"{"e":"listenKeyExpired\\"}"#, Class::Event(EventType::Unknown)),
            (r#"{"e":["listenKeyExpired"]}"#, Class::Other),
            (r#"{"e":"listenKeyExpired","e":"ORDER_TRADE_UPDATE"}"#, ORDER),
            (r#"{"\u0065":"\u006cistenKeyExpired"}"#, EXPIRED),
            (r#"{"e":""}"#, Class::Event(EventType::Unknown)),
            (r#"{"E":"listenKeyExpired"}"#, Class::Other),
            (r#"{"e":"listenKeyExpired""#, Class::NotJson),
            (r#"{"e":"listenKeyExpired",}"#, Class::NotJson),
            ("", Class::NotJson),
            ("ping", Class::NotJson),
            ("17", Class::Other),
        ] {
            check(frame, class);
        }
    }

    #[test]
    fn event_times_come_as_number_or_text() {
        for (time, expected) in [
            ("1795422615123", Some(1_795_422_615_123)),
            (r#""1795422615123""#, Some(1_795_422_615_123)),
            ("-5", Some(-5)),
            ("null", None),
            ("1.5", None),
            ("1e3", None),
            (r#""soon""#, None),
            (r#""""#, None),
            ("[1]", None),
            ("99999999999999999999", None),
        ] {
            let frame = format!(r#"{{"e":"listenKeyExpired","E":{time},"x":{{"E":1}}}}"#);
            assert_eq!(check(&frame, EXPIRED).event_time_ms, expected, "{frame}");
        }
    }

    #[test]
    fn an_expiry_may_name_its_key() {
        let key = ListenKey::new("SYNTHETIClistenKey/A00").unwrap();
        for (frame, expected) in [
            (r#"{"e":"listenKeyExpired"}"#, None),
            (r#"{"e":"listenKeyExpired","listenKey":null}"#, None),
            (r#"{"e":"listenKeyExpired","listenKey":"SYNTHETIClistenKey/A00"}"#, Some(true)),
            (r#"{"e":"listenKeyExpired","listenKey":"SYNTHETIClistenKey\/A0\u0030"}"#, Some(true)),
            (r#"{"e":"listenKeyExpired","listenKey":"SYNTHETIClistenKey/A0"}"#, Some(false)),
            (r#"{"stream":"x","data":{"e":"listenKeyExpired","listenKey":"other"}}"#, Some(false)),
        ] {
            let read = check(frame, EXPIRED);
            assert_eq!(read.names_key(&key), expected, "{frame}");
            assert_eq!(read.class.demand(), Demand::NewListenKey);
            assert!(!format!("{read:?}").contains("SYNTH"), "{read:?}");
        }
    }

    #[test]
    fn replies_need_their_whole_shape() {
        let result = |id| Class::Control(ControlReply::Result { id });
        let error = |id, code| Class::Control(ControlReply::Error { id, code });
        for (frame, class) in [
            (r#"{"result":null,"id":1}"#, result(Some(1))),
            (r#"{"id":18446744073709551615,"result":[]}"#, result(Some(u64::MAX))),
            (r#"{"result":null,"id":null}"#, result(None)),
            (r#"{"result":null,"id":-1}"#, result(None)),
            (r#"{"result":null,"id":"7"}"#, result(Some(7))),
            (r#"{"error":{"code":2,"msg":"x"},"id":9}"#, error(Some(9), Some(2))),
            (r#"{"error":{"msg":"x","code":"2"},"id":null}"#, error(None, Some(2))),
            (r#"{"error":"x","id":9}"#, error(Some(9), None)),
            (r#"{"code":-1121,"msg":"x"}"#, error(None, Some(-1121))),
            (r#"{"id":4,"msg":"x","code":3}"#, error(Some(4), Some(3))),
            (r#"{"result":null}"#, Class::Other),
            (r#"{"error":{"code":2}}"#, Class::Other),
            (r#"{"code":1}"#, Class::Other),
            (r#"{"id":1}"#, Class::Other),
            (r#"{"e":"ORDER_TRADE_UPDATE","result":null,"id":1}"#, ORDER),
            (r#"{"e":null,"result":null,"id":1}"#, Class::Other),
            (r#"{"result":nil,"id":1}"#, Class::NotJson),
            (r#"[{"result":null,"id":1}]"#, Class::Other),
        ] {
            let read = check(frame, class);
            assert_eq!(read.class.is_recorded(), !matches!(class, Class::Control(_)), "{frame}");
        }
    }

    #[track_caller]
    fn check(frame: &str, class: Class) -> Frame<'_> {
        let read = classify(frame.as_bytes());
        assert_eq!(read.class, class, "{frame}");
        assert_eq!(&frame.as_bytes()[read.span.clone()], read.event);
        read
    }
}
