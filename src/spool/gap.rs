//! The payload of a gap record: a line of JSON, so that a consumer reads it as it reads a frame.

use std::io::Write;

use crate::domain::Wall;

/// Longest reason that a gap keeps.
const REASON_MAX: usize = 64;

/// An account was not live between two instants: what the exchange sent then, nobody saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it was last known alive: never later than the truth. `None`: never before.
    pub silent_since: Option<Wall>,
    /// When it was live again.
    pub live_at: Wall,
    /// A word of ours: `start`, `reconnect`, `key`, `damage`.
    pub reason: String,
}

impl Gap {
    /// Appends `{"silent_since_us":…,"live_at_us":…,"reason":"…"}`.
    ///
    /// Of the reason, 64 letters, digits, `_`, `-` and blanks are kept: it is a word of ours, never the wire's.
    pub fn write(&self, out: &mut Vec<u8>) {
        let written = match self.silent_since {
            Some(at) => write!(out, r#"{{"silent_since_us":{}"#, at.as_micros()),
            None => out.write_all(br#"{"silent_since_us":null"#),
        }
        .and_then(|()| write!(out, r#","live_at_us":{},"reason":""#, self.live_at.as_micros()));
        written.expect("writing to a vector does not fail");
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b' ');
        out.extend(self.reason.bytes().filter(plain).take(REASON_MAX));
        out.extend_from_slice(br#""}"#);
    }

    /// Reads what [`Gap::write`] wrote.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Gap> {
        let text = std::str::from_utf8(payload).ok()?;
        let (since, rest) = text.strip_prefix(r#"{"silent_since_us":"#)?.split_once(r#","live_at_us":"#)?;
        let (live, rest) = rest.split_once(r#","reason":""#)?;
        let silent_since = if since == "null" { None } else { Some(Wall::from_micros(since.parse().ok()?)) };
        let live_at = Wall::from_micros(live.parse().ok()?);
        Some(Gap { silent_since, live_at, reason: rest.strip_suffix(r#""}"#)?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_survives_and_is_json() {
        for silent_since in [None, Some(Wall::from_micros(-1)), Some(Wall::from_micros(1_795_419_015_123_999))] {
            let gap = Gap { silent_since, live_at: Wall::from_micros(7), reason: "key changed".to_owned() };
            let mut payload = Vec::new();
            gap.write(&mut payload);
            assert_eq!(Gap::read(&payload), Some(gap));
            let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(json["live_at_us"], 7);
        }
        let mut payload = Vec::new();
        Gap { silent_since: None, live_at: Wall::default(), reason: "a\"}\\\u{1}é_b".to_owned() }.write(&mut payload);
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&payload).unwrap()["reason"], "a_b");
        assert_eq!(Gap::read(b"{}"), None);
    }
}
