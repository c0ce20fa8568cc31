//! The server's side of one WebSocket: tungstenite reads the client strictly and answers pings and closes; what we send is
//! framed here, because most faults are frames that no library would write.
//!
//! Sans-IO: bytes and `now` in, bytes out. Which streams a connection asked for, and whether the venue would deliver them on
//! its route, is decided here (`facts/binance.md` §0.1, §1.1, §1.4).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use crate::domain::Mono;
use crate::domain::limits::SIM_STREAMS_MAX;

use super::framing::{OPCODE_PING, OPCODE_TEXT, write_frame};
use super::http::percent_decode;
use super::private::side::{PrivateRules, PrivateSide, Whose};

/// The stream of all mark prices, once a second.
pub(super) const ALL_EACH_SECOND: &str = "!markPrice@arr@1s";
/// The same every third second.
pub(super) const ALL_EACH_THIRD_SECOND: &str = "!markPrice@arr";

/// Pings whose echo is still awaited; a flood is 200.
const PINGS_REMEMBERED: usize = 1_024;

/// Which part of the venue a path leads to. A stream asked for on the wrong route is acknowledged and stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/market`: mark prices.
    Market,
    /// `/public`: order books. Nothing of it is simulated.
    Public,
    /// `/private`: user data.
    Private,
    /// The roots `/ws` and `/stream` without a route, silent since 2026-04-23.
    Legacy,
}

/// The route of an upgrade's path, whether payloads are wrapped, and the streams named in it; `None` for other paths.
pub(super) fn read_target(path: &str, query: Option<&str>) -> Option<(Route, bool, Vec<String>)> {
    let (route, rest) = match path.split('/').nth(1)? {
        "market" => (Route::Market, &path["/market".len()..]),
        "public" => (Route::Public, &path["/public".len()..]),
        "private" => (Route::Private, &path["/private".len()..]),
        "ws" | "stream" => (Route::Legacy, path),
        _ => return None,
    };
    let names = |text: &str| -> Vec<String> {
        percent_decode(text).split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    if let Some(tail) = rest.strip_prefix("/ws") {
        let tail = tail.strip_prefix('/').or_else(|| tail.is_empty().then_some(""))?;
        return Some((route, false, names(tail)));
    }
    if !matches!(rest, "/stream" | "/stream/") {
        return None;
    }
    let streams = query.unwrap_or("").split('&').find_map(|pair| pair.strip_prefix("streams=")).unwrap_or("");
    Some((route, true, names(streams)))
}

/// Limits of the venue towards one client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) ping_interval: Duration,
    pub(super) pong_deadline: Duration,
    pub(super) messages_per_second: usize,
    pub(super) private: PrivateRules,
}

/// What reading the client's bytes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) messages: u64,
    pub(super) pongs_matched: u64,
    pub(super) pongs_unsolicited: u64,
    pub(super) outcome: Outcome,
}

/// Whether the conversation goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It does.
    #[default]
    Open,
    /// The client broke RFC 6455; a close 1002 is in the outbox.
    Breach,
    /// Too many messages; a close 1008 is in the outbox.
    TooFast,
    /// Close frames have gone both ways (ours perhaps still in the outbox).
    Closed,
}

/// The server's side of one WebSocket.
pub(super) struct WebSocketSide {
    context: WebSocketContext,
    memory: Memory,
    route: Route,
    wrapped: bool,
    subscriptions: Vec<String>,
    private: Option<Box<PrivateSide>>,
    recent: VecDeque<Mono>,
    /// Pings whose echo is awaited, and until when.
    pings: VecDeque<(Vec<u8>, Mono)>,
    ping_due: Mono,
    closing: bool,
}

impl WebSocketSide {
    /// After the upgrade.
    pub(super) fn new(route: Route, wrapped: bool, subscriptions: Vec<String>, rules: &Rules, now: Mono) -> Self {
        let config = WebSocketConfig::default().read_buffer_size(4 << 10).max_message_size(Some(64 << 10));
        WebSocketSide {
            context: WebSocketContext::new(Role::Server, Some(config)),
            memory: Memory::default(),
            route,
            wrapped,
            subscriptions,
            private: None,
            recent: VecDeque::new(),
            pings: VecDeque::new(),
            ping_due: now.plus(rules.ping_interval),
            closing: false,
        }
    }

    /// The same for a private connection.
    pub(super) fn private(wrapped: bool, private: PrivateSide, rules: &Rules, now: Mono) -> Self {
        let side = WebSocketSide::new(Route::Private, wrapped, Vec::new(), rules, now);
        WebSocketSide { private: Some(Box::new(private)), ..side }
    }

    /// Which part of the venue it leads to.
    pub(super) fn route(&self) -> Route {
        self.route
    }

    /// The private part, on a private connection.
    pub(super) fn private_mut(&mut self) -> Option<&mut PrivateSide> {
        self.private.as_deref_mut()
    }

    /// Bytes of events held back.
    pub(super) fn held_len(&self) -> usize {
        self.private.as_ref().map_or(0, |side| side.held_len())
    }

    /// When the next event held back wants to be sent.
    pub(super) fn held_due(&self) -> Mono {
        self.private.as_ref().map_or(Mono::NEVER, |side| side.held_due())
    }

    /// A close frame has gone out; nothing is delivered any more.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// When it wants to be looked at.
    pub(super) fn due(&self) -> Mono {
        if self.closing {
            return Mono::NEVER;
        }
        let pong_due = self.pings.front().map_or(Mono::NEVER, |(_, due)| *due);
        self.ping_due.min(pong_due)
    }

    /// Whether `stream` is delivered here.
    pub(super) fn delivers(&self, stream: &str) -> bool {
        self.route == Route::Market && !self.closing && self.subscriptions.iter().any(|name| name == stream)
    }

    /// The payload of a stream event as this connection wants it: wrapped or bare.
    pub(super) fn payload(&self, stream: &str, event: &[u8]) -> Vec<u8> {
        if !self.wrapped {
            return event.to_vec();
        }
        let mut out = Vec::with_capacity(event.len() + 64);
        let _ = write!(out, "{{\"stream\":\"{stream}\",\"data\":");
        out.extend_from_slice(event);
        out.push(b'}');
        out
    }

    /// Bytes of the client, decrypted. Answers are put in the outbox.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8], rules: &Rules, whose: Whose<'_>, now: Mono) -> Received {
        self.memory.incoming.extend(bytes);
        let mut received = Received::default();
        loop {
            match self.context.read(&mut self.memory) {
                Ok(Message::Pong(payload)) if self.take_ping(&payload) => received.pongs_matched += 1,
                Ok(message) => {
                    let closed = message.is_close();
                    if self.closing {
                        // Only the client's close frame is of interest now.
                        continue;
                    }
                    if !closed {
                        received.messages += 1;
                        received.pongs_unsolicited += u64::from(matches!(message, Message::Pong(_)));
                        if self.is_too_fast(rules, now) {
                            self.close(CloseCode::Policy, "Too many requests");
                            received.outcome = Outcome::TooFast;
                            return received;
                        }
                    }
                    if let Message::Text(text) = message {
                        let answer = self.answer(text.as_str(), &rules.private, whose);
                        write_frame(OPCODE_TEXT, true, answer.as_bytes(), &mut self.memory.outgoing);
                    }
                }
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return received,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    received.outcome = Outcome::Closed;
                    return received;
                }
                Err(_) if self.closing => {
                    received.outcome = Outcome::Closed;
                    return received;
                }
                Err(_) => {
                    self.close(CloseCode::Protocol, "protocol error");
                    received.outcome = Outcome::Breach;
                    return received;
                }
            }
        }
    }

    /// Sends a ping when one is due; whether one was sent.
    pub(super) fn poll_ping(&mut self, rules: &Rules, now: Mono, now_ms: i64) -> bool {
        if now < self.ping_due || self.closing {
            return false;
        }
        self.ping_due = now.plus(rules.ping_interval);
        self.ping(now_ms.to_string().into_bytes(), rules, now);
        true
    }

    /// Puts a ping in the outbox and expects its echo.
    pub(super) fn ping(&mut self, payload: Vec<u8>, rules: &Rules, now: Mono) {
        write_frame(OPCODE_PING, true, &payload, &mut self.memory.outgoing);
        if self.pings.len() == PINGS_REMEMBERED {
            self.pings.pop_front();
        }
        self.pings.push_back((payload, now.plus(rules.pong_deadline)));
    }

    /// Whether an echo is overdue.
    pub(super) fn is_pong_overdue(&self, now: Mono) -> bool {
        !self.closing && self.pings.front().is_some_and(|(_, due)| now >= *due)
    }

    /// Puts a close frame in the outbox; nothing is delivered afterwards.
    pub(super) fn close(&mut self, code: CloseCode, reason: &'static str) {
        self.closing = true;
        let frame = CloseFrame { code, reason: reason.into() };
        let _ = self.context.close(&mut self.memory, Some(frame));
        let _ = self.context.flush(&mut self.memory);
    }

    /// Bytes to send, in order, before anything that is written from now on.
    pub(super) fn take_outbox(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.memory.outgoing)
    }

    /// Takes the ping that `payload` echoes, and those before it: RFC 6455 §5.5.3 lets a client answer the newest only.
    fn take_ping(&mut self, payload: &[u8]) -> bool {
        let Some(at) = self.pings.iter().position(|(ping, _)| ping == payload) else { return false };
        self.pings.drain(..=at);
        true
    }

    fn is_too_fast(&mut self, rules: &Rules, now: Mono) -> bool {
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|at| now.since(*at) >= Duration::from_secs(1)) {
            self.recent.pop_front();
        }
        self.recent.len() > rules.messages_per_second
    }

    /// The reply to a control message (facts/binance.md §1.4).
    fn answer(&mut self, text: &str, rules: &PrivateRules, whose: Whose<'_>) -> String {
        // The venue's key order: result or error first.
        let error = |msg: &str, id: &Value| format!(r#"{{"error":{{"code":2,"msg":{}}},"id":{id}}}"#, json!(msg));
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            return r#"{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}}"#.to_owned();
        };
        let id = &request["id"];
        if !(id.is_u64() || id.is_string() || id.is_null()) {
            return error("Invalid request: request ID must be an unsigned integer", &Value::Null);
        }
        let names = || -> Option<Vec<String>> {
            let params = request["params"].as_array()?;
            params.iter().map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let result = match request["method"].as_str().unwrap_or("") {
            "SUBSCRIBE" => {
                let have = self.private.as_ref().map_or(self.subscriptions.len(), |side| side.subscriptions.len());
                names().filter(|names| have + names.len() <= SIM_STREAMS_MAX).map(|names| {
                    if let Some(private) = &mut self.private {
                        private.subscribe(self.wrapped, &names, whose);
                        return Value::Null;
                    }
                    let fresh: Vec<_> = names.into_iter().filter(|name| !self.subscriptions.contains(name)).collect();
                    self.subscriptions.extend(fresh);
                    Value::Null
                })
            }
            "UNSUBSCRIBE" => names().map(|names| {
                if let Some(private) = &mut self.private {
                    private.unsubscribe(&names);
                }
                self.subscriptions.retain(|name| !names.contains(name));
                Value::Null
            }),
            "LIST_SUBSCRIPTIONS" => match &mut self.private {
                Some(private) => Some(json!(private.listed(rules, whose))),
                None => Some(json!(self.subscriptions)),
            },
            "SET_PROPERTY" => match (request["params"][0].as_str(), request["params"][1].as_bool()) {
                (Some("combined"), Some(wrapped)) => {
                    self.wrapped = wrapped;
                    Some(Value::Null)
                }
                _ => None,
            },
            "GET_PROPERTY" => (request["params"][0] == "combined").then(|| json!(self.wrapped)),
            method => {
                let msg = format!(
                    "Invalid request: unknown variant `{method}`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, \
                     `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
                );
                return error(&msg, id);
            }
        };
        match result {
            Some(result) => format!(r#"{{"result":{result},"id":{id}}}"#),
            None => error("Invalid request: wrong params", id),
        }
    }
}

/// The "socket" that tungstenite sees.
#[derive(Default)]
struct Memory {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.incoming.read(out)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::private::Spellings;

    #[test]
    fn targets() {
        let all = ALL_EACH_SECOND;
        for (path, query, expected) in [
            ("/market/ws/!markPrice@arr@1s", None, Some((Route::Market, false, vec![all]))),
            (
                "/market/ws/%21markPrice%40arr%401s/btcusdt@markPrice",
                None,
                Some((Route::Market, false, vec![all, "btcusdt@markPrice"])),
            ),
            ("/market/stream", Some("streams=!markPrice@arr@1s"), Some((Route::Market, true, vec![all]))),
            ("/market/stream", None, Some((Route::Market, true, vec![]))),
            ("/market/ws", None, Some((Route::Market, false, vec![]))),
            ("/ws/!markPrice@arr@1s", None, Some((Route::Legacy, false, vec![all]))),
            ("/stream", Some("streams=!markPrice@arr@1s"), Some((Route::Legacy, true, vec![all]))),
            ("/private/ws", Some("listenKey=K&events=A"), Some((Route::Private, false, vec![]))),
            ("/public/ws/btcusdt@bookTicker", None, Some((Route::Public, false, vec!["btcusdt@bookTicker"]))),
            ("/market/wsx", None, None),
            ("/market", None, None),
            ("/", None, None),
            ("/fapi/v1/time", None, None),
        ] {
            let read = read_target(path, query);
            let expected =
                expected.map(|(r, w, names)| (r, w, names.into_iter().map(str::to_owned).collect::<Vec<_>>()));
            assert_eq!(read, expected, "{path}");
        }
    }

    #[test]
    fn a_pong_answers_its_ping_and_those_before() {
        let rules = Rules {
            ping_interval: Duration::from_secs(180),
            pong_deadline: Duration::from_secs(600),
            messages_per_second: 10,
            private: PrivateRules { spellings: Spellings::default(), lists_unknown_keys: false, lists_dead_keys: true },
        };
        let mut side = WebSocketSide::new(Route::Market, true, Vec::new(), &rules, Mono::ZERO);
        let at = |s| Mono::ZERO.plus(Duration::from_secs(s));
        assert!(!side.poll_ping(&rules, at(179), 1));
        assert!(side.poll_ping(&rules, at(180), 1));
        assert!(side.poll_ping(&rules, at(360), 2));
        assert!(!side.is_pong_overdue(at(779)));
        assert!(side.is_pong_overdue(at(780)));
        assert!(!side.take_ping(b"other"));
        assert!(side.poll_ping(&rules, at(540), 3));
        assert!(side.take_ping(b"2"));
        assert!(!side.take_ping(b"1"));
        assert!(!side.is_pong_overdue(at(1_139)));
        assert!(side.is_pong_overdue(at(1_140)));
        assert!(side.take_ping(b"3"));
        assert!(!side.is_pong_overdue(at(10_000)));
        let mut sent = Vec::new();
        write_frame(OPCODE_PING, true, b"1", &mut sent);
        write_frame(OPCODE_PING, true, b"2", &mut sent);
        write_frame(OPCODE_PING, true, b"3", &mut sent);
        assert_eq!(side.take_outbox(), sent);
    }
}
