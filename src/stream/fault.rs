//! What went wrong with an attempt or a connection, as a sentence: layer, host or address, status, and what it means.
//!
//! Everything here is control plane: a fault costs a reconnect, so its text may cost an allocation.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::frame::FrameError;
use super::handshake::UpgradeError;
use super::heartbeat::Missing;
use super::tls_error::TlsError;
use super::url::StreamUrl;
use crate::domain::Layer;
use crate::domain::limits::{CONNECT_HOLD_BANNED, CONNECT_HOLD_LIMITED, CONNECT_HOLD_MAX, FAULT_QUOTE_MAX};

/// One fault of a stream: where it broke, what kind it is, the sentence, and when the next attempt begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it broke.
    pub layer: Layer,
    /// What ledgers count.
    pub kind: FaultKind,
    /// HTTP status of a refused upgrade, or code of the peer's close frame.
    pub status: Option<u16>,
    /// One sentence, beginning with the layer. Holds no path, query or key.
    pub text: String,
    /// Failures in a row, this one included.
    pub attempt: u32,
    /// Wait before the next attempt.
    pub retry_in: Duration,
}

/// The kind of a fault. The words are those of ledgers, logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// The host name did not resolve.
    Unresolved,
    /// No address took the TCP connection.
    Unreachable,
    /// TLS did not come about: certificate, version, alert.
    Untrusted,
    /// The HTTP upgrade was answered with something else.
    Refused,
    /// The attempt took longer than its deadline.
    Timeout,
    /// TCP ended without a close frame.
    Cut,
    /// The peer sent a close frame.
    Closed,
    /// Bytes that TLS or RFC 6455 do not allow.
    Garbage,
    /// A message above the bound.
    Oversize,
    /// No data, or no answer, in time on a connection that is up.
    Stall,
    /// The peer reads nothing of what it makes us send.
    Blocked,
    /// Our own mistake: a panic while this session was stepped.
    Panic,
    /// Nobody read from it for so long that it was closed; it waits until reading is taken up again.
    Paused,
    /// It left the most bytes behind when the memory for such bytes was used up.
    Overflow,
}

impl FaultKind {
    /// All kinds, for tables of counters.
    pub const ALL: [FaultKind; 14] = [
        FaultKind::Unresolved,
        FaultKind::Unreachable,
        FaultKind::Untrusted,
        FaultKind::Refused,
        FaultKind::Timeout,
        FaultKind::Cut,
        FaultKind::Closed,
        FaultKind::Garbage,
        FaultKind::Oversize,
        FaultKind::Stall,
        FaultKind::Blocked,
        FaultKind::Panic,
        FaultKind::Paused,
        FaultKind::Overflow,
    ];

    /// The word used in ledgers, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultKind::Unresolved => "unresolved",
            FaultKind::Unreachable => "unreachable",
            FaultKind::Untrusted => "untrusted",
            FaultKind::Refused => "refused",
            FaultKind::Timeout => "timeout",
            FaultKind::Cut => "cut",
            FaultKind::Closed => "closed",
            FaultKind::Garbage => "garbage",
            FaultKind::Oversize => "oversize",
            FaultKind::Stall => "stall",
            FaultKind::Blocked => "blocked",
            FaultKind::Panic => "panic",
            FaultKind::Paused => "paused",
            FaultKind::Overflow => "overflow",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fault before the session has added attempt and wait.
#[derive(Debug)]
pub(super) struct Cause {
    pub layer: Layer,
    pub kind: FaultKind,
    pub status: Option<u16>,
    pub text: String,
    /// How long the server asks us to stay away.
    pub wait: Duration,
}

impl Cause {
    fn new(layer: Layer, kind: FaultKind, text: String) -> Cause {
        Cause { layer, kind, status: None, text: format!("{layer}: {text}"), wait: Duration::ZERO }
    }

    pub fn unresolved(url: &StreamUrl, error: &io::Error) -> Cause {
        Cause::new(
            Layer::Resolve,
            FaultKind::Unresolved,
            format!(
                "{} has no address: {}; is this machine online, is the name right, do its resolvers answer",
                url.host(),
                quote(&error.to_string())
            ),
        )
    }

    /// No address of `tried` took the connection; `last` is the newest failure.
    pub fn unreachable(url: &StreamUrl, tried: usize, last: &str) -> Cause {
        let text = if tried == 1 {
            format!("{url} did not take the connection: {last}")
        } else {
            format!("none of {tried} addresses of {url} took the connection; the last: {last}")
        };
        Cause::new(Layer::Connect, FaultKind::Unreachable, text)
    }

    /// The attempt's deadline has passed while it was at `layer`.
    pub fn timeout(url: &StreamUrl, layer: Layer, after: Duration, peer: Option<SocketAddr>) -> Cause {
        let at = peer.map_or_else(|| url.to_string(), |peer| format!("{url} ({peer})"));
        let means = match layer {
            Layer::Resolve => "the name's lookup did not end: the machine's resolvers do not answer",
            Layer::Connect => "no answer to the TCP connect: a firewall drops it, or the network is down",
            Layer::Tls => "TCP is up but the TLS handshake did not end: something between holds it back",
            _ => "TLS is up but the HTTP upgrade was not answered",
        };
        Cause::new(layer, FaultKind::Timeout, format!("{at} was not up after {} s: {means}", after.as_secs_f32()))
    }

    pub fn tls(url: &StreamUrl, peer: SocketAddr, live: bool, error: &TlsError) -> Cause {
        let kind = if live { FaultKind::Garbage } else { FaultKind::Untrusted };
        Cause::new(Layer::Tls, kind, format!("{url} ({peer}): {}", quote(&error.to_string())))
    }

    pub fn upgrade(url: &StreamUrl, peer: SocketAddr, error: &UpgradeError) -> Cause {
        let UpgradeError::Refused { status, retry_after, .. } = *error else {
            let text = format!("{url} ({peer}): {}", quote(&error.to_string()));
            return Cause::new(Layer::Upgrade, FaultKind::Refused, text);
        };
        let text = format!("{url} answered HTTP {status}: {}", status_means(status));
        let wait = retry_after.unwrap_or_default();
        Cause { status: Some(status), wait, ..Cause::new(Layer::Upgrade, FaultKind::Refused, text) }
    }

    /// For how long the venue turns away not this stream but its source address, if it does.
    pub fn turns_away(&self) -> Option<Duration> {
        let usual = match (self.layer, self.status) {
            (Layer::Upgrade, Some(418)) => CONNECT_HOLD_BANNED,
            (Layer::Upgrade, Some(429)) => CONNECT_HOLD_LIMITED,
            _ => return None,
        };
        Some(if self.wait.is_zero() { usual } else { self.wait.min(CONNECT_HOLD_MAX) })
    }

    /// TCP ended in the phase of `layer`; `error` is absent for an orderly end.
    pub fn cut(url: &StreamUrl, peer: SocketAddr, layer: Layer, error: Option<&io::Error>) -> Cause {
        let how = error.map_or_else(|| "ended the connection".to_owned(), |error| quote(&error.to_string()));
        let when = match layer {
            Layer::Tls => "during the TLS handshake",
            Layer::Upgrade => "before it answered the upgrade",
            _ => "without a close frame",
        };
        Cause::new(layer, FaultKind::Cut, format!("{url} ({peer}): {how} {when}"))
    }

    pub fn closed(url: &StreamUrl, code: Option<u16>, reason: &[u8]) -> Cause {
        let text = match code {
            None => format!("{url} closed the stream without a code"),
            Some(code) if reason.is_empty() => format!("{url} closed the stream: {code}, {}", close_means(code)),
            Some(code) => format!(
                "{url} closed the stream: {code}, {}; it says {:?}",
                close_means(code),
                quote(&String::from_utf8_lossy(reason))
            ),
        };
        Cause { status: code, ..Cause::new(Layer::Protocol, FaultKind::Closed, text) }
    }

    pub fn frame(url: &StreamUrl, error: FrameError) -> Cause {
        let oversize = matches!(error, FrameError::Oversize { .. });
        let kind = if oversize { FaultKind::Oversize } else { FaultKind::Garbage };
        Cause::new(Layer::Protocol, kind, format!("{url}: {error}"))
    }

    pub fn silence(url: &StreamUrl, silent: Duration) -> Cause {
        Cause::new(
            Layer::Silence,
            FaultKind::Stall,
            format!("{url} is connected but sent no data for {} s (pings do not count)", silent.as_secs()),
        )
    }

    /// `missing` did not come; nothing at all came for `silent`.
    pub fn unanswered(url: &StreamUrl, missing: Missing, silent: Duration) -> Cause {
        let silent = silent.as_secs();
        let text = match missing {
            Missing::Pong => format!("{url} did not answer our ping; the last frame came {silent} s ago"),
            Missing::Reply => format!("{url} did not answer our question; the last frame came {silent} s ago"),
            Missing::Anything => format!("{url} is connected but sent nothing for {silent} s, not even a ping"),
        };
        Cause::new(Layer::Silence, FaultKind::Stall, text)
    }

    pub fn paused(url: &StreamUrl, paused: Duration) -> Cause {
        Cause::new(
            Layer::Silence,
            FaultKind::Paused,
            format!(
                "{url} was not read for {} s, because its messages have no room here; closed until they have",
                paused.as_secs()
            ),
        )
    }

    pub fn slept(url: &StreamUrl, slept: Duration) -> Cause {
        Cause::new(
            Layer::Silence,
            FaultKind::Stall,
            format!(
                "this machine or process stood still for {} s, which no connection to {url} survives",
                slept.as_secs()
            ),
        )
    }

    pub fn overflow(url: &StreamUrl) -> Cause {
        Cause::new(
            Layer::Protocol,
            FaultKind::Overflow,
            format!("{url} left the largest unfinished message when the memory for those was used up"),
        )
    }

    pub fn blocked(url: &StreamUrl) -> Cause {
        Cause::new(Layer::Protocol, FaultKind::Blocked, format!("{url} makes us answer but reads none of the answers"))
    }

    pub fn panic(url: &StreamUrl) -> Cause {
        Cause::new(
            Layer::Protocol,
            FaultKind::Panic,
            format!(
                "a panic while bytes of {url} were handled: a mistake of this program; the connection starts afresh"
            ),
        )
    }
}

fn status_means(status: u16) -> &'static str {
    match status {
        300..=399 => "the stream has moved; correct the stream's URL",
        400 => "it does not understand the stream's name; check the stream's URL",
        401 => "it wants credentials that a public stream does not need; check the stream's URL",
        403 => "its firewall refuses this address",
        404 => "there is no stream under this path; check the stream's URL",
        418 | 429 => "too many connects from this address; it is banned for a while",
        451 => "it does not serve this country or network",
        500..=599 => "trouble on its side",
        _ => "not the 101 of a WebSocket upgrade",
    }
}

/// Meanings as the venues use the codes (facts/binance.md §3).
fn close_means(code: u16) -> &'static str {
    match code {
        1000 => "normal end",
        1001 => "going away, as at the 24 h cut or a restart",
        1002 => "it saw a protocol error of ours",
        1006 => "abnormal end",
        1008 => "policy: pongs missing, or too many messages of ours",
        1009 => "a message of ours was too big",
        1011 => "trouble on its side",
        1012 => "it restarts",
        1013 => "it is overloaded",
        _ => "a code without a common meaning",
    }
}

/// What another party wrote, made safe for one line of a log.
fn quote(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(FAULT_QUOTE_MAX).collect()
}
