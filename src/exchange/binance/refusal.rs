//! Why the venue gave no listen key, and the policy that follows from it: how long to wait, whether a person must act,
//! whether the key is dead, whether the whole address is meant (facts/binance.md §2, §3).

use std::fmt;
use std::time::Duration;

use crate::domain::limits::BAN_MAX;

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
    /// What an answer that is no success means; `message` is the venue's text.
    pub(super) fn of(status: u16, code: Option<i64>, message: &str, retry_after: Option<&str>) -> Refusal {
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

    const NOW: i64 = 1_795_419_600_000;

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
}
