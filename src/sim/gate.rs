//! What one source address may do: connection attempts in a window, and request weight in a minute (`facts/binance.md` §3).
//!
//! The venue counts by address, not by account: so one account's mistake starves the others, and a client has to budget.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use tungstenite::http::StatusCode;

use crate::domain::limits::SIM_SOURCES_MAX;
use crate::domain::{Mono, Now};

use super::http::Response;
use super::ledger::Ledger;
use super::private::desk;
use super::private::fault::{ReadFault, VenueFault};
use super::private::reads::Read;

/// Connection attempts of one source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectLimit {
    /// Upgrades asked for, refused ones too.
    pub attempts: usize,
    /// In any such time.
    pub window: Duration,
    /// What becomes of the others.
    pub refusal: ConnectRefusal,
}

impl Default for ConnectLimit {
    /// 300 in five minutes: documented for spot, assumed here.
    fn default() -> Self {
        ConnectLimit { attempts: 300, window: Duration::from_secs(300), refusal: ConnectRefusal::Status(429) }
    }
}

/// How an attempt above the limit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRefusal {
    /// The upgrade is answered with this status.
    Status(u16),
    /// The upgrade succeeds, and a close frame 1008 follows.
    Close1008,
    /// TCP ends without an answer.
    Hangup,
}

/// Request weight of one source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightLimit {
    /// In a minute of the clock; the venue's is 2,400.
    pub per_minute: u32,
    /// So many requests answered with 429 in a row become a ban.
    pub refusals_before_ban: u32,
    /// The first ban; each one after it is twice as long.
    pub ban: Duration,
}

impl Default for WeightLimit {
    fn default() -> Self {
        WeightLimit { per_minute: 2_400, refusals_before_ban: 10, ban: Duration::from_secs(120) }
    }
}

/// Who comes in, and how much it weighs.
#[derive(Debug)]
pub(super) struct Gate {
    connects: Option<ConnectLimit>,
    weight: WeightLimit,
    sources: HashMap<IpAddr, Source>,
    banned_until: Mono,
    limited_until: Mono,
    broken: Option<(Mono, u16)>,
    reads: Option<(Mono, ReadFault)>,
}

#[derive(Debug, Default)]
struct Source {
    attempts: VecDeque<Mono>,
    minute: i64,
    used: u32,
    refusals: u32,
    bans: u32,
    banned_until: Mono,
}

impl Gate {
    pub(super) fn new(connects: Option<ConnectLimit>, weight: WeightLimit) -> Self {
        Gate {
            connects,
            weight,
            sources: HashMap::new(),
            banned_until: Mono::ZERO,
            limited_until: Mono::ZERO,
            broken: None,
            reads: None,
        }
    }

    /// One upgrade is asked for; what becomes of it when it is one too many.
    pub(super) fn connect(&mut self, ip: IpAddr, now: Mono, ledger: &mut Ledger) -> Option<ConnectRefusal> {
        ledger.connects_attempted += 1;
        let limit = self.connects?;
        let attempts = &mut self.source(ip).attempts;
        while attempts.front().is_some_and(|at| now.since(*at) >= limit.window) {
            attempts.pop_front();
        }
        // One more than the limit is enough to know.
        if attempts.len() > limit.attempts {
            attempts.pop_front();
        }
        attempts.push_back(now);
        ledger.connects_in_window_max = ledger.connects_in_window_max.max(attempts.len());
        if attempts.len() <= limit.attempts {
            return None;
        }
        ledger.connects_refused += 1;
        Some(limit.refusal)
    }

    /// One request of this weight; the error where it is refused. `used` is for the header.
    pub(super) fn request(
        &mut self,
        ip: IpAddr,
        weight: u32,
        now: Now,
        ledger: &mut Ledger,
    ) -> (Option<Response>, u32) {
        let (limit, everybody) = (self.weight, self.banned_until);
        let (limited, broken) = (now.mono < self.limited_until, self.broken.filter(|(until, _)| now.mono < *until));
        let source = self.source(ip);
        let minute = now.wall.as_millis().div_euclid(60_000);
        if source.minute != minute {
            (source.minute, source.used, source.refusals) = (minute, 0, 0);
        }
        source.used += weight;
        ledger.weight_total += u64::from(weight);
        ledger.weight_in_minute_max = ledger.weight_in_minute_max.max(source.used);
        if limited || source.used > limit.per_minute {
            source.refusals += 1;
            if source.refusals > limit.refusals_before_ban {
                let lasts = limit.ban * 2u32.saturating_pow(source.bans.min(10));
                source.bans += 1;
                source.refusals = 0;
                source.banned_until = now.mono.plus(lasts);
            }
        }
        let until = source.banned_until.max(everybody);
        let refusal = if now.mono < until {
            ledger.rest_banned += 1;
            let until_ms = now.wall.as_millis() + until.since(now.mono).as_millis() as i64;
            let msg = format!(
                "Way too many requests; IP({ip}) banned until {until_ms}. Please use the websocket for live updates to avoid \
                 bans."
            );
            Some(desk::error(StatusCode::IM_A_TEAPOT, -1003, &msg))
        } else if limited || source.used > limit.per_minute {
            ledger.rest_limited += 1;
            let msg = format!(
                "Too many requests; current limit of IP({ip}) is {} requests per minute. Please use the websocket for live \
                 updates to avoid polling the API.",
                limit.per_minute
            );
            Some(desk::error(StatusCode::TOO_MANY_REQUESTS, -1003, &msg))
        } else {
            broken.map(|(_, status)| desk::refusal(status, -1008))
        };
        (refusal, source.used)
    }

    /// A fault towards everybody; those of the door are not for here.
    pub(super) fn strike(&mut self, fault: VenueFault, now: Mono) {
        match fault {
            VenueFault::Ban { lasts } => self.banned_until = now.plus(lasts),
            VenueFault::RateLimit { lasts } => self.limited_until = now.plus(lasts),
            VenueFault::RestErrors { status, lasts } => self.broken = Some((now.plus(lasts), status)),
            VenueFault::Reads { fault, lasts } => self.reads = Some((now.plus(lasts), fault)),
            VenueFault::RefuseConnects { .. } | VenueFault::Outage { .. } | VenueFault::StaleReads { .. } => {}
        }
    }

    /// What is wrong with all signed reads.
    pub(super) fn read_fault(&self, now: Mono) -> Option<ReadFault> {
        self.reads.filter(|(until, _)| now < *until).map(|(_, fault)| fault)
    }

    fn source(&mut self, ip: IpAddr) -> &mut Source {
        if self.sources.len() >= SIM_SOURCES_MAX && !self.sources.contains_key(&ip) {
            self.sources.clear();
        }
        self.sources.entry(ip).or_default()
    }
}

/// What a request to this path weighs (`facts/binance.md` §6).
pub(super) fn weight(path: &str, has_symbol: bool) -> u32 {
    match path {
        "/fapi/v1/premiumIndex" if !has_symbol => 10,
        _ => Read::of(path).map_or(1, |read| read.weight(has_symbol)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::domain::Wall;

    fn at(ms: i64) -> Now {
        Now { mono: Mono::from_nanos(ms as u64 * 1_000_000), wall: Wall::from_millis(ms) }
    }

    #[test]
    fn attempts_are_counted_by_address_and_refused_ones_count_too() {
        let limit = ConnectLimit { attempts: 3, window: Duration::from_secs(10), ..ConnectLimit::default() };
        let mut gate = Gate::new(Some(limit), WeightLimit::default());
        let mut ledger = Ledger::default();
        let mut ask =
            |ms, last| gate.connect(Ipv4Addr::new(127, 0, 0, last).into(), at(ms).mono, &mut ledger).is_none();
        for (ms, address, admitted) in [
            (0, 1, true),
            (1, 1, true),
            (2, 1, true),
            (3, 1, false),
            (3, 2, true),
            (9_999, 1, false),
            (10_002, 1, true), // Those of 3 ms and 9,999 ms are in the window, this one is the third.
            (10_002, 1, false),
            (30_000, 1, true),
        ] {
            assert_eq!(ask(ms, address), admitted, "{ms} ms from .{address}");
        }
        assert_eq!((ledger.connects_attempted, ledger.connects_refused, ledger.connects_in_window_max), (9, 3, 4));
    }

    #[test]
    fn weight_of_a_minute_then_429_then_a_ban() {
        let rules = WeightLimit { per_minute: 20, refusals_before_ban: 2, ban: Duration::from_secs(100) };
        let mut gate = Gate::new(None, rules);
        let mut ledger = Ledger::default();
        let mut ask = |ms, weight| {
            let (refusal, used) = gate.request(Ipv4Addr::LOCALHOST.into(), weight, at(ms), &mut ledger);
            (refusal.map_or(200, |response| response.status.as_u16()), used)
        };
        for (ms, weight, answer) in [
            (0, 10, (200, 10)),
            (1, 10, (200, 20)),
            (2, 1, (429, 21)),
            (3, 1, (429, 22)),
            (60_000, 1, (200, 1)), // A new minute.
            (60_001, 20, (429, 21)),
            (60_002, 1, (429, 22)),
            (60_003, 1, (418, 23)),
            (120_000, 1, (418, 1)),
            (160_003, 1, (200, 2)),
        ] {
            assert_eq!(ask(ms, weight), answer, "{ms} ms");
        }
        assert_eq!((ledger.rest_limited, ledger.rest_banned, ledger.weight_in_minute_max), (4, 2, 23));
    }
}
