//! The questions that a sparse stream is asked, and when an answer is missing: one of these per live connection.
//!
//! A ping every `ping_every`. Whether its pong is owed depends on the venue (`bound`): once it has answered one, a missing
//! pong ends the connection; until then the consumer's probe text is the question, and any frame at all is the answer. The
//! backstop holds in any case. A pong counts only with the payload of the newest ping: servers may send pongs unasked.

use std::time::Duration;

use super::liveness::Sparse;
use crate::domain::limits::JITTER_PART;
use crate::domain::{Mono, Random};

/// Payload of a ping of ours: the connection's salt, and a number.
pub(super) type PingPayload = [u8; 8];

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Heartbeat {
    sparse: Sparse,
    /// The last frame of the server, whatever it was.
    heard: Mono,
    next_ping: Mono,
    /// The newest ping, while its pong is awaited.
    asked: Mono,
    next_probe: Mono,
    /// The newest probe, while nothing has come since.
    probed: Mono,
    salt: u32,
    number: u32,
}

/// What is due to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ping(PingPayload),
    Probe,
}

/// What did not come in time, and how long nothing at all came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Pong,
    Reply,
    Anything,
}

impl Heartbeat {
    /// Of a connection that is live since `now`.
    pub fn start(sparse: Sparse, now: Mono, random: &mut Random) -> Heartbeat {
        Heartbeat {
            sparse,
            heard: now,
            next_ping: now.plus(jittered(sparse.ping_every, random)),
            asked: Mono::NEVER,
            next_probe: now.plus(shortened(sparse.probe_every, random)),
            probed: Mono::NEVER,
            salt: random.next_u64() as u32,
            number: 0,
        }
    }

    /// A frame came, of whatever kind. Returns whether it answers a probe.
    pub fn handle_frame(&mut self, now: Mono) -> bool {
        self.heard = now;
        let answers = self.probed != Mono::NEVER;
        self.probed = Mono::NEVER;
        answers
    }

    /// A pong came. Returns how long its ping had waited, when it answers the newest one.
    pub fn handle_pong(&mut self, payload: &[u8], now: Mono) -> Option<Duration> {
        if self.asked == Mono::NEVER || payload != self.payload() {
            return None;
        }
        let waited = now.since(self.asked);
        self.asked = Mono::NEVER;
        Some(waited)
    }

    /// What must be sent now; to be asked only when it can be sent at once. An answer counts from here, so nothing is asked
    /// again before its answer is missed.
    pub fn poll_due(&mut self, now: Mono, bound: bool, random: &mut Random) -> Option<Due> {
        if now >= self.ping_due(bound) {
            self.next_ping = now.plus(jittered(self.sparse.ping_every, random));
            self.asked = now;
            self.number = self.number.wrapping_add(1);
            return Some(Due::Ping(self.payload()));
        }
        if now >= self.probe_due(bound) {
            self.next_probe = now.plus(shortened(self.sparse.probe_every, random));
            self.probed = now;
            return Some(Due::Probe);
        }
        None
    }

    /// The consumer has no probe: no answer is owed.
    pub fn handle_no_probe(&mut self) {
        self.probed = Mono::NEVER;
    }

    /// What should have come by now.
    pub fn missing(&self, now: Mono, bound: bool) -> Option<Missing> {
        if bound && now >= self.asked.plus(self.sparse.reply_within) {
            return Some(Missing::Pong);
        }
        if !bound && now >= self.probed.plus(self.sparse.reply_within) {
            return Some(Missing::Reply);
        }
        (now >= self.heard.plus(self.sparse.backstop)).then_some(Missing::Anything)
    }

    /// How long nothing came.
    pub fn silent(&self, now: Mono) -> Duration {
        now.since(self.heard)
    }

    /// When [`Heartbeat::poll_due`] or [`Heartbeat::missing`] has something to say.
    pub fn deadline(&self, bound: bool) -> Mono {
        let owed = if bound { self.asked } else { self.probed };
        let verdict = owed.plus(self.sparse.reply_within).min(self.heard.plus(self.sparse.backstop));
        self.ping_due(bound).min(self.probe_due(bound)).min(verdict)
    }

    fn ping_due(&self, bound: bool) -> Mono {
        if bound && self.asked != Mono::NEVER { Mono::NEVER } else { self.next_ping }
    }

    fn probe_due(&self, bound: bool) -> Mono {
        if bound || self.probed != Mono::NEVER { Mono::NEVER } else { self.next_probe }
    }

    /// Nobody listened until `now`, or pongs are owed from now on: what was asked before is asked again, and waited for
    /// afresh.
    pub fn restart(&mut self, now: Mono) {
        if std::mem::replace(&mut self.asked, Mono::NEVER) != Mono::NEVER {
            self.next_ping = now;
        }
        if std::mem::replace(&mut self.probed, Mono::NEVER) != Mono::NEVER {
            self.next_probe = now;
        }
        self.heard = now;
    }

    /// From when on answered questions prove health.
    pub fn healthy_after(&self) -> Duration {
        self.sparse.healthy_after
    }

    fn payload(&self) -> PingPayload {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&self.salt.to_be_bytes());
        payload[4..].copy_from_slice(&self.number.to_be_bytes());
        payload
    }
}

/// `every`, give or take one part in [`JITTER_PART`].
fn jittered(every: Duration, random: &mut Random) -> Duration {
    let part = every / JITTER_PART;
    every - part + drawn(2 * part, random)
}

/// `every` or up to one part in [`JITTER_PART`] less.
fn shortened(every: Duration, random: &mut Random) -> Duration {
    every - drawn(every / JITTER_PART, random)
}

fn drawn(below: Duration, random: &mut Random) -> Duration {
    Duration::from_nanos(random.below(u64::try_from(below.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at_ms(millis: u64) -> Mono {
        Mono::from_nanos(millis * 1_000_000)
    }

    /// What happens to a connection within `seconds`, in steps of 100 ms, when it answers pings until `pongs_until` and
    /// probes until `replies_until` (both in s): the second and the verdict.
    fn check(bound: bool, pongs_until: u64, replies_until: u64, seconds: u64, expected: Option<Missing>) {
        for seed in 0..50 {
            let mut random = Random::from_seed(seed);
            let mut heartbeat = Heartbeat::start(Sparse::default(), at_ms(0), &mut random);
            let mut verdict = None;
            for step in 0..seconds * 10 {
                let now = at_ms(step * 100);
                match heartbeat.poll_due(now, bound, &mut random) {
                    Some(Due::Ping(payload)) if step < pongs_until * 10 => {
                        heartbeat.handle_frame(now);
                        assert_eq!(heartbeat.handle_pong(b"unasked!", now), None);
                        assert_eq!(heartbeat.handle_pong(&payload, now), Some(Duration::ZERO));
                        assert_eq!(heartbeat.handle_pong(&payload, now), None, "once");
                    }
                    Some(Due::Probe) if step < replies_until * 10 => assert!(heartbeat.handle_frame(now)),
                    _ => {}
                }
                if let Some(missing) = heartbeat.missing(now, bound) {
                    assert!(now >= heartbeat.deadline(bound), "the deadline says when to ask");
                    let dead = if bound { pongs_until } else { replies_until };
                    let found_ms = step * 100 - dead * 1_000;
                    let bounds = if missing == Missing::Anything { 0..=600_100 } else { 0..=60_000 };
                    assert!(bounds.contains(&found_ms), "seed {seed}: found {found_ms} ms after its death");
                    verdict = Some(missing);
                    break;
                }
            }
            assert_eq!(verdict, expected, "seed {seed}");
        }
    }

    const DAY: u64 = 86_400;

    #[test]
    fn a_quiet_day_raises_nothing_and_a_dead_peer_is_found_within_a_minute() {
        check(true, DAY, 0, DAY / 4, None);
        check(false, DAY, DAY, DAY / 4, None);
        // A venue that answers no ping, but probes.
        check(false, 0, DAY, DAY / 4, None);
        for dead in [0, 17, 100, 1_000] {
            check(true, dead, DAY, 2_000, Some(Missing::Pong));
            check(false, 0, dead, 2_000, Some(Missing::Reply));
        }
    }

    #[test]
    fn without_a_probe_the_backstop_is_what_is_left() {
        let mut random = Random::from_seed(1);
        let mut heartbeat = Heartbeat::start(Sparse::default(), at_ms(0), &mut random);
        for step in 0..5_999 {
            if heartbeat.poll_due(at_ms(step * 100), false, &mut random) == Some(Due::Probe) {
                heartbeat.handle_no_probe();
            }
            assert_eq!(heartbeat.missing(at_ms(step * 100), false), None);
        }
        assert_eq!(heartbeat.missing(at_ms(600_000), false), Some(Missing::Anything));
    }

    #[test]
    fn a_question_more_often_than_its_answer_may_take_is_still_missed() {
        let quick = Duration::from_millis(500);
        let sparse = Sparse { ping_every: quick, probe_every: quick, ..Sparse::default() };
        for bound in [true, false] {
            let mut random = Random::from_seed(1);
            let mut heartbeat = Heartbeat::start(sparse, at_ms(0), &mut random);
            let found = (0..1_000).find(|step| {
                heartbeat.poll_due(at_ms(step * 100), bound, &mut random);
                heartbeat.missing(at_ms(step * 100), bound).is_some()
            });
            assert!((150..160).contains(&found.unwrap()), "{found:?}");
        }
    }

    #[test]
    fn what_nobody_could_hear_is_asked_again() {
        let mut random = Random::from_seed(1);
        let mut heartbeat = Heartbeat::start(Sparse::default(), at_ms(0), &mut random);
        let Some(Due::Ping(first)) = heartbeat.poll_due(at_ms(36_000), true, &mut random) else { panic!("no ping") };
        assert_eq!(heartbeat.missing(at_ms(51_000), true), Some(Missing::Pong));
        heartbeat.restart(at_ms(3_600_000));
        assert_eq!(heartbeat.missing(at_ms(3_600_000), true), None);
        let Some(Due::Ping(second)) = heartbeat.poll_due(at_ms(3_600_000), true, &mut random) else {
            panic!("no ping")
        };
        assert_ne!(first, second);
        assert_eq!(heartbeat.handle_pong(&first, at_ms(3_600_001)), None);
        assert_eq!(heartbeat.missing(at_ms(3_615_000), true), Some(Missing::Pong));
    }
}
