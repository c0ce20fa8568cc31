//! The listen key of an account: what to ask over REST, and what the answers mean (facts/binance.md §2, §3).
//!
//! POST gives the account's key and extends it by 60 minutes; while one is active it gives the same one, so POST answers
//! every doubt. PUT is the routine. A key is a bearer credential: no formatting shows one, and of a refusal nothing is
//! repeated but codes and times, since the venue's texts hold addresses.

use std::fmt;

use serde_json::Value;

pub use super::refusal::Refusal;
use crate::domain::limits::{API_KEY_LEN_MAX, LISTEN_KEY_LEN_MAX, LISTEN_KEY_LEN_MIN};

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
