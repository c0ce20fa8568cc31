//! The listen key of an account: what to ask over REST, and what the answers mean (facts/binance.md §2, §3).
//!
//! POST gives the account's key and extends it by 60 minutes; while one is active it gives the same one, so POST answers
//! every doubt. PUT is the routine. A key is a bearer credential: no formatting shows one, and of a refusal nothing is
//! repeated but codes and times, since the venue's texts hold addresses.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::domain::limits::{API_KEY_LEN_MAX, BAN_MAX, LISTEN_KEY_LEN_MAX, LISTEN_KEY_LEN_MIN};

/// Where listen keys are, below the venue's REST base.
pub const LISTEN_KEY_PATH: &str = "/fapi/v1/listenKey";
/// The header that names the account. There is no signature, no timestamp and no body.
pub const API_KEY_HEADER: &str = "X-MBX-APIKEY";

/// A key that opens one account's stream.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ListenKey(String);

impl ListenKey {
    /// Takes a key as the venue wrote it: [`LISTEN_KEY_LEN_MIN`] to [`LISTEN_KEY_LEN_MAX`] letters, digits or `-._~+/=`.
    ///
    /// # Errors
    /// [`BadListenKey`], which does not repeat the text.
    pub fn new(text: &str) -> Result<ListenKey, BadListenKey> {
        let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !(LISTEN_KEY_LEN_MIN..=LISTEN_KEY_LEN_MAX).contains(&text.len()) {
            return Err(BadListenKey::Length);
        }
        if text.bytes().all(is_sound) { Ok(ListenKey(text.to_owned())) } else { Err(BadListenKey::Character) }
    }

    /// The key itself: for the URL, the database's encrypted column and the mask only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ListenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListenKey(***)")
    }
}

impl fmt::Display for ListenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a text is no listen key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadListenKey {
    /// Too short or too long.
    #[error("a listen key has {LISTEN_KEY_LEN_MIN} to {LISTEN_KEY_LEN_MAX} characters")]
    Length,
    /// Something that no key holds.
    #[error("a listen key holds letters, digits and -._~+/= only")]
    Character,
}

/// A call of [`LISTEN_KEY_PATH`]. Never DELETE: a key may be shared with another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyCall {
    /// The account's key, a new one if there is none.
    Create,
    /// 60 more minutes for the account's key.
    Extend,
}

impl KeyCall {
    /// The HTTP method.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            KeyCall::Create => "POST",
            KeyCall::Extend => "PUT",
        }
    }
}

/// The URL of both calls; `base` is scheme and host.
#[must_use]
pub fn listen_key_url(base: &str) -> String {
    format!("{}{LISTEN_KEY_PATH}", base.trim_end_matches('/'))
}

/// Whether a text can be sent as [`API_KEY_HEADER`]: what cannot is a wrong key, and must not break the request apart.
#[must_use]
pub fn is_sendable_api_key(text: &str) -> bool {
    (1..=API_KEY_LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads the answer to [`KeyCall::Create`]. `retry_after` is the header of that name.
///
/// # Errors
/// [`Refusal`]; [`Refusal::Shape`] if the venue was content but there is no key in its answer.
pub fn read_listen_key(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<ListenKey, Refusal> {
    read_answer(status, body, retry_after)?.ok_or(Refusal::Shape)
}

/// Reads the answer to [`KeyCall::Extend`], or to a [`KeyCall::Create`] that was sent to extend: `None` is "unchanged"
/// (`{}` or an empty body). A key that differs from the account's means that it was rotated: open the new socket, verify,
/// record the gap, drop the old one.
///
/// # Errors
/// [`Refusal`].
pub fn read_extension(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<Option<ListenKey>, Refusal> {
    read_answer(status, body, retry_after)
}

fn read_answer(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<Option<ListenKey>, Refusal> {
    let body = body.trim_ascii();
    let answer = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(body) };
    let code = answer.as_ref().ok().and_then(|answer| answer.get("code")).and_then(Value::as_i64);
    let is_content = (200..300).contains(&status);
    // Some calls of this venue answer {"code":200,"msg":"success"}.
    if !is_content || code.is_some_and(|code| code < 0) {
        let message = answer.as_ref().ok().and_then(|answer| answer.get("msg")).and_then(Value::as_str);
        return Err(Refusal::of(status, code, message.unwrap_or_default(), retry_after));
    }
    match answer {
        Ok(Value::Null) => Ok(None),
        Ok(Value::Object(members)) => match members.get("listenKey") {
            None => Ok(None),
            Some(Value::String(text)) => ListenKey::new(text).map(Some).map_err(|_| Refusal::Shape),
            Some(_) => Err(Refusal::Shape),
        },
        Ok(_) | Err(_) => Err(Refusal::Shape),
    }
}

/// Why the venue gave no key, and with it what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// -1125: the key does not exist any more. Never retried by PUT.
    KeyGone,
    /// -1002, -2008, -2014, -2015 or 401: the API key, its addresses or its permissions.
    Credentials {
        /// The venue's code, where it sent one.
        code: Option<i64>,
    },
    /// 418, or -1003 with a time: this address is banned.
    Banned {
        /// The end, ms since 1970 UTC, out of the message.
        until_ms: Option<i64>,
        /// What the header `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// 429 or -1003: too much weight from this address.
    Limited {
        /// What the header `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// -1021 or -5028: this machine's clock.
    Clock,
    /// -1000, -1001, -1006, -1007, -1008, 408 or 5xx: the venue is busy or broken. The call may have succeeded.
    Overload {
        /// What the header `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// 403 (web application firewall) or 451 (this place): this address.
    Blocked {
        /// 403 or 451.
        status: u16,
    },
    /// An answer of success that is no listen-key answer.
    Shape,
    /// Anything else.
    Other {
        /// HTTP status.
        status: u16,
        /// The venue's code, where it sent one.
        code: Option<i64>,
    },
}

impl Refusal {
    fn of(status: u16, code: Option<i64>, message: &str, retry_after: Option<&str>) -> Refusal {
        let until_ms = banned_until(message);
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        match (status, code) {
            (_, Some(-1125)) => Refusal::KeyGone,
            (_, Some(-1002 | -2008 | -2014 | -2015)) => Refusal::Credentials { code },
            (418, _) => Refusal::Banned { until_ms, retry_after },
            (_, Some(-1003)) if until_ms.is_some() => Refusal::Banned { until_ms, retry_after },
            (429, _) | (_, Some(-1003)) => Refusal::Limited { retry_after },
            (_, Some(-1021 | -5028)) => Refusal::Clock,
            (401, _) => Refusal::Credentials { code },
            (403 | 451, _) => Refusal::Blocked { status },
            (408 | 500.., _) | (_, Some(-1000 | -1001 | -1006 | -1007 | -1008)) => Refusal::Overload { retry_after },
            _ => Refusal::Other { status, code },
        }
    }

    /// How long to wait before the next call after `failures` refusals in a row, the first included. `now_ms` is the wall
    /// clock, for bans that name their end. Without jitter: the caller spreads its accounts.
    #[must_use]
    pub fn pause(self, failures: u32, now_ms: i64) -> Duration {
        const MINUTE: u64 = 60;
        match self {
            Refusal::KeyGone => doubling(1, MINUTE, failures),
            Refusal::Overload { retry_after } => retry_after.unwrap_or(doubling(1, MINUTE, failures)).min(BAN_MAX),
            Refusal::Limited { retry_after } => {
                retry_after.unwrap_or(doubling(MINUTE, 10 * MINUTE, failures)).clamp(Duration::from_secs(1), BAN_MAX)
            }
            Refusal::Banned { until_ms, retry_after } => {
                // A second more than the venue says, so that its clock may be behind ours.
                let named = until_ms.map(|until| until.saturating_sub(now_ms).saturating_add(1_000).max(1_000));
                let named = named.and_then(|left| u64::try_from(left).ok()).map(Duration::from_millis);
                retry_after.or(named).unwrap_or(doubling(2 * MINUTE, 60 * MINUTE, failures)).min(BAN_MAX)
            }
            Refusal::Credentials { .. } => doubling(MINUTE, 15 * MINUTE, failures),
            Refusal::Blocked { .. } => doubling(5 * MINUTE, 60 * MINUTE, failures),
            Refusal::Clock | Refusal::Shape | Refusal::Other { .. } => doubling(10, 5 * MINUTE, failures),
        }
    }

    /// Whether only a person can end it: the account is degraded, and retried at a slow pace.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        matches!(self, Refusal::Credentials { .. } | Refusal::Blocked { .. })
    }

    /// Whether the account's key is dead: POST a new one, connect anew, verify, record the gap.
    #[must_use]
    pub const fn needs_new_key(self) -> bool {
        matches!(self, Refusal::KeyGone)
    }

    /// Whether it is about this address rather than this account, so that all calls to this venue pause.
    #[must_use]
    pub const fn concerns_address(self) -> bool {
        matches!(self, Refusal::Banned { .. } | Refusal::Limited { .. } | Refusal::Blocked { .. })
    }

    /// The word used in logs, metrics and the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::KeyGone => "key_gone",
            Refusal::Credentials { .. } => "credentials",
            Refusal::Banned { .. } => "banned",
            Refusal::Limited { .. } => "limited",
            Refusal::Clock => "clock",
            Refusal::Overload { .. } => "overload",
            Refusal::Blocked { .. } => "blocked",
            Refusal::Shape => "shape",
            Refusal::Other { .. } => "other",
        }
    }
}

/// One sentence for people; nothing of the venue's own text is in it.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::KeyGone => f.write_str("the listen key does not exist any more (-1125)"),
            Refusal::Credentials { code } => {
                f.write_str(
                    "the venue rejects this account's API key: check the key, its allowed addresses and permissions",
                )?;
                code.map_or(Ok(()), |code| write!(f, " ({code})"))
            }
            Refusal::Banned { until_ms: Some(until_ms), .. } => {
                write!(f, "the venue has banned this address until {until_ms} (ms since 1970 UTC)")
            }
            Refusal::Banned { until_ms: None, .. } => f.write_str("the venue has banned this address"),
            Refusal::Limited { .. } => f.write_str("too many requests from this address: the venue's weight limit"),
            Refusal::Clock => f.write_str("the venue rejects this machine's clock: synchronise it"),
            Refusal::Overload { .. } => f.write_str("the venue is overloaded or has an internal error"),
            Refusal::Blocked { status: 451 } => {
                f.write_str("the venue does not serve this address's country (HTTP 451): use another source address")
            }
            Refusal::Blocked { status } => write!(f, "the venue's firewall blocks this address (HTTP {status})"),
            Refusal::Shape => f.write_str("the venue's answer holds no listen key"),
            Refusal::Other { status, code: Some(code) } => {
                write!(f, "the venue refuses a listen key (HTTP {status}, code {code})")
            }
            Refusal::Other { status, code: None } => write!(f, "the venue refuses a listen key (HTTP {status})"),
        }
    }
}

impl std::error::Error for Refusal {}

/// `first` seconds, twice as long after each further failure, `max` seconds at most.
fn doubling(first: u64, max: u64, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    Duration::from_secs((first << doublings).min(max))
}

/// The time behind `banned until`, ms since 1970 UTC.
fn banned_until(message: &str) -> Option<i64> {
    let (_, behind) = message.split_once("banned until ")?;
    let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    behind[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
    const NOW: i64 = 1_795_419_600_000;

    #[test]
    fn keys_are_bounded_and_never_shown() {
        let key = ListenKey::new(KEY).unwrap();
        assert_eq!((key.expose(), format!("{key:?} {key}")), (KEY, "ListenKey(***) ***".to_owned()));
        for (text, expected) in [
            ("a".repeat(15), BadListenKey::Length),
            ("a".repeat(257), BadListenKey::Length),
            (String::new(), BadListenKey::Length),
            (format!("{KEY}@"), BadListenKey::Character),
            (format!("{KEY}\""), BadListenKey::Character),
            (format!("{KEY} "), BadListenKey::Character),
            (format!("{KEY}\r\n"), BadListenKey::Character),
            (format!("{KEY}é"), BadListenKey::Character),
        ] {
            assert_eq!(ListenKey::new(&text), Err(expected), "{text}");
            assert!(!expected.to_string().contains(KEY));
        }
        assert_eq!(listen_key_url("https://fapi.binance.com/"), "https://fapi.binance.com/fapi/v1/listenKey");
        assert_eq!((KeyCall::Create.method(), KeyCall::Extend.method()), ("POST", "PUT"));
    }

    #[test]
    fn api_keys_that_cannot_be_sent() {
        assert!(is_sendable_api_key(KEY));
        for text in ["", "a b", "a\r\nHost: x", "é", "a\u{7f}", &"a".repeat(257)] {
            assert!(!is_sendable_api_key(text), "{text:?}");
        }
    }

    #[test]
    fn contented_answers() {
        let key = Ok(Some(ListenKey::new(KEY).unwrap()));
        let body = format!(r#"{{"listenKey":"{KEY}"}}"#);
        check(200, &body, key.clone());
        check(200, &format!(" {body}\r\n"), key.clone());
        check(201, &format!(r#"{{"code":200,"listenKey":"{KEY}","more":[1]}}"#), key);
        for unchanged in ["{}", "", " ", "null", r#"{"code":200,"msg":"success"}"#] {
            check(200, unchanged, Ok(None));
            assert_eq!(read_listen_key(200, unchanged.as_bytes(), None), Err(Refusal::Shape), "{unchanged}");
        }
        for odd in [r#"{"listenKey":""}"#, r#"{"listenKey":5}"#, r#"{"listenKey":null}"#, "[]", "<html>", "{", "\"x\""]
        {
            check(200, odd, Err(Refusal::Shape));
        }
        assert_eq!(read_listen_key(200, b"\xff", None), Err(Refusal::Shape));
    }

    #[test]
    fn refusals_by_code_and_status() {
        let limited = Refusal::Limited { retry_after: None };
        let overload = Refusal::Overload { retry_after: None };
        let banned = |until_ms| Refusal::Banned { until_ms, retry_after: None };
        for (status, body, expected) in [
            (400, r#"{"code":-1125,"msg":"This listenKey does not exist."}"#, Refusal::KeyGone),
            (200, r#"{"code":-1125,"msg":""}"#, Refusal::KeyGone),
            (401, r#"{"code":-2015,"msg":"x"}"#, Refusal::Credentials { code: Some(-2015) }),
            (400, r#"{"code":-2014}"#, Refusal::Credentials { code: Some(-2014) }),
            (403, r#"{"code":-2015}"#, Refusal::Credentials { code: Some(-2015) }),
            (401, "", Refusal::Credentials { code: None }),
            (
                418,
                r#"{"code":-1003,"msg":"IP(1.2.3.4) banned until 1795419615000. Please"}"#,
                banned(Some(NOW + 15_000)),
            ),
            (429, r#"{"code":-1003,"msg":"IP banned until 1795419615000"}"#, banned(Some(NOW + 15_000))),
            (418, "<html>", banned(None)),
            (418, r#"{"code":-1003,"msg":"banned until tomorrow"}"#, banned(None)),
            (418, r#"{"code":-1003,"msg":"banned until 99999999999999999999"}"#, banned(None)),
            (429, r#"{"code":-1003,"msg":"Too many requests"}"#, limited),
            (200, r#"{"code":-1003}"#, limited),
            (429, "", limited),
            (400, r#"{"code":-1021}"#, Refusal::Clock),
            (400, r#"{"code":-5028}"#, Refusal::Clock),
            (503, r#"{"code":-1008}"#, overload),
            (400, r#"{"code":-1001}"#, overload),
            (500, "", overload),
            (502, "<html>", overload),
            (599, "", overload),
            (408, "", overload),
            (403, "<html>", Refusal::Blocked { status: 403 }),
            (
                451,
                r#"{"code":0,"msg":"Service unavailable from a restricted location"}"#,
                Refusal::Blocked { status: 451 },
            ),
            (404, "", Refusal::Other { status: 404, code: None }),
            (400, r#"{"code":-1022}"#, Refusal::Other { status: 400, code: Some(-1022) }),
            (400, r#"{"code":"-1125"}"#, Refusal::Other { status: 400, code: None }),
            (302, "", Refusal::Other { status: 302, code: None }),
        ] {
            check(status, body, Err(expected));
        }
        let after = |text| read_extension(429, b"", Some(text));
        assert_eq!(after(" 17 "), Err(Refusal::Limited { retry_after: Some(Duration::from_secs(17)) }));
        for text in ["", "-1", "Wed, 21 Oct 2026 07:28:00 GMT", "1.5"] {
            assert_eq!(after(text), Err(limited), "{text}");
        }
    }

    #[test]
    fn every_refusal_has_its_pace() {
        let seconds = |s| Some(Duration::from_secs(s));
        let banned = |until_ms, retry_after| Refusal::Banned { until_ms, retry_after };
        for (refusal, paces) in [
            (Refusal::KeyGone, [1, 2, 4, 60]),
            (Refusal::Overload { retry_after: None }, [1, 2, 4, 60]),
            (Refusal::Overload { retry_after: seconds(30) }, [30; 4]),
            (Refusal::Limited { retry_after: None }, [60, 120, 240, 600]),
            (Refusal::Limited { retry_after: seconds(0) }, [1; 4]),
            (Refusal::Limited { retry_after: seconds(u64::MAX) }, [BAN_MAX.as_secs(); 4]),
            (banned(Some(NOW + 15_000), None), [16; 4]),
            (banned(Some(NOW - 15_000), None), [1; 4]),
            (banned(Some(i64::MAX), None), [BAN_MAX.as_secs(); 4]),
            (banned(Some(i64::MIN), None), [1; 4]),
            (banned(Some(NOW + 15_000), seconds(90)), [90; 4]),
            (banned(None, None), [120, 240, 480, 3_600]),
            (Refusal::Credentials { code: None }, [60, 120, 240, 900]),
            (Refusal::Blocked { status: 403 }, [300, 600, 1_200, 3_600]),
            (Refusal::Clock, [10, 20, 40, 300]),
            (Refusal::Shape, [10, 20, 40, 300]),
        ] {
            let paused: Vec<_> = [1, 2, 3, u32::MAX].map(|failures| refusal.pause(failures, NOW).as_secs()).into();
            assert_eq!(paused, paces, "{refusal:?}");
            assert_eq!(refusal.needs_new_key(), refusal == Refusal::KeyGone);
        }
        assert!(Refusal::Credentials { code: None }.is_permanent() && !Refusal::KeyGone.is_permanent());
        assert!(banned(None, None).concerns_address() && !Refusal::Credentials { code: None }.concerns_address());
    }

    /// The answer, and that neither form of an error repeats the venue's text.
    #[track_caller]
    fn check(status: u16, body: &str, expected: Result<Option<ListenKey>, Refusal>) {
        let answer = read_extension(status, body.as_bytes(), None);
        assert_eq!(answer, expected, "{status} {body}");
        if let Err(refusal) = answer {
            let shown = format!("{refusal} {refusal:?}");
            assert!(!shown.contains("1.2.3.4") && !shown.contains("html"), "{shown}");
        }
    }
}
