//! What can go wrong on demand, and scripts that spread it over a run.
//!
//! A fault goes to all live price connections at once. It waits, in order, until there is one, each has already had a whole
//! frame, and a tick has passed since the fault before: so a script exercises each of them however slowly the client
//! reconnects. Those that wait at the door need no live connection.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::Random;

use super::private::fault::{AccountFault, ExpiryNotice, Injection};

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// TCP ends at once: no close frame, no close_notify, unsent bytes lost.
    Cut,
    /// A close frame 1001, then the ordinary end.
    Close,
    /// The socket stays open and pings are answered, but no data flows, for this long or until the client reconnects.
    Stall {
        /// [`Duration::MAX`] = until the client reconnects.
        lasts: Duration,
    },
    /// Random bytes inside TLS where a frame should start (reserved bits set), then nothing more.
    Garbage,
    /// Random bytes where a TLS record should start, then nothing more.
    TlsGarbage,
    /// A whole text frame whose JSON stops in the middle. Its entries do not count.
    Unbalanced,
    /// One entry of each [`BadEntry`](super::poison::BadEntry) kind, twice, among the good ones of the next frame.
    BadPrices,
    /// A text frame that announces more than 4 MiB and streams it.
    Oversize,
    /// 200 pings in one write.
    PingFlood,
    /// The connection is cut; the next upgrade's 101 carries the first data frame in the same write.
    GluedFrames,
    /// The next message in several fragments, with pings between them.
    Fragmented,
    /// The connection is cut; the next upgrade is answered with this status.
    RefuseUpgrade {
        /// HTTP status: 451 and 403 are geo-blocks, 503 is the venue itself.
        status: u16,
    },
    /// The connection is cut, and for this long nobody listens on the port.
    RefuseConnect {
        /// How long.
        lasts: Duration,
    },
    /// The connection is cut; the next one is accepted, but TLS is answered this much later.
    SlowHandshake {
        /// How much later.
        delay: Duration,
    },
    /// Half of a data frame, then the end of TCP.
    HalfFrame,
    /// An empty array before the next frame.
    EmptyArray,
    /// The next frame twice.
    DuplicateFrame,
    /// A third of the symbols are absent from the next frame.
    MissingSymbols,
    /// After the next frame, the frame of the tick before it once more: old `E`, old prices.
    OldFrame,
}

impl FaultKind {
    /// Every kind, with ordinary parameters.
    pub const ALL: [FaultKind; 19] = [
        FaultKind::Cut,
        FaultKind::Close,
        FaultKind::Stall { lasts: Duration::MAX },
        FaultKind::Garbage,
        FaultKind::TlsGarbage,
        FaultKind::Unbalanced,
        FaultKind::BadPrices,
        FaultKind::Oversize,
        FaultKind::PingFlood,
        FaultKind::GluedFrames,
        FaultKind::Fragmented,
        FaultKind::RefuseUpgrade { status: 503 },
        FaultKind::RefuseConnect { lasts: Duration::from_millis(1_500) },
        FaultKind::SlowHandshake { delay: Duration::from_millis(1_500) },
        FaultKind::HalfFrame,
        FaultKind::EmptyArray,
        FaultKind::DuplicateFrame,
        FaultKind::MissingSymbols,
        FaultKind::OldFrame,
    ];

    /// The word used in ledgers, logs and scripts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultKind::Cut => "cut",
            FaultKind::Close => "close",
            FaultKind::Stall { .. } => "stall",
            FaultKind::Garbage => "garbage",
            FaultKind::TlsGarbage => "tls_garbage",
            FaultKind::Unbalanced => "unbalanced",
            FaultKind::BadPrices => "bad_prices",
            FaultKind::Oversize => "oversize",
            FaultKind::PingFlood => "ping_flood",
            FaultKind::GluedFrames => "glued_frames",
            FaultKind::Fragmented => "fragmented",
            FaultKind::RefuseUpgrade { .. } => "refuse_upgrade",
            FaultKind::RefuseConnect { .. } => "refuse_connect",
            FaultKind::SlowHandshake { .. } => "slow_handshake",
            FaultKind::HalfFrame => "half_frame",
            FaultKind::EmptyArray => "empty_array",
            FaultKind::DuplicateFrame => "duplicate_frame",
            FaultKind::MissingSymbols => "missing_symbols",
            FaultKind::OldFrame => "old_frame",
        }
    }

    /// Whether a client has to open a new connection because of it.
    #[must_use]
    pub const fn ends_connection(self) -> bool {
        match self {
            FaultKind::Cut
            | FaultKind::Close
            | FaultKind::Garbage
            | FaultKind::TlsGarbage
            | FaultKind::Oversize
            | FaultKind::GluedFrames
            | FaultKind::RefuseUpgrade { .. }
            | FaultKind::RefuseConnect { .. }
            | FaultKind::SlowHandshake { .. }
            | FaultKind::HalfFrame => true,
            FaultKind::Stall { lasts } => lasts.as_secs() == Duration::MAX.as_secs(),
            FaultKind::Unbalanced
            | FaultKind::BadPrices
            | FaultKind::PingFlood
            | FaultKind::Fragmented
            | FaultKind::EmptyArray
            | FaultKind::DuplicateFrame
            | FaultKind::MissingSymbols
            | FaultKind::OldFrame => false,
        }
    }

    /// Whether it changes the next tick's frames, rather than something at once.
    #[must_use]
    pub const fn waits_for_tick(self) -> bool {
        matches!(
            self,
            FaultKind::Unbalanced
                | FaultKind::BadPrices
                | FaultKind::Fragmented
                | FaultKind::HalfFrame
                | FaultKind::EmptyArray
                | FaultKind::DuplicateFrame
                | FaultKind::MissingSymbols
                | FaultKind::OldFrame
        )
    }

    /// What a demo should leave for it: the fault, a backoff after a first failure, a handshake and a tick.
    const fn demo_cost(self) -> Duration {
        match self {
            FaultKind::Stall { .. } => Duration::from_millis(4_500),
            FaultKind::RefuseConnect { .. } | FaultKind::RefuseUpgrade { .. } | FaultKind::SlowHandshake { .. } => {
                Duration::from_millis(4_000)
            }
            _ if self.ends_connection() => Duration::from_millis(2_000),
            _ => Duration::from_millis(1_000),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FaultKind {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        FaultKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

/// A word that names no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFault(pub String);

impl fmt::Display for UnknownFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown fault {:?}: expected one of", self.0)?;
        FaultKind::ALL.iter().try_for_each(|kind| write!(f, " {kind}"))
    }
}

impl std::error::Error for UnknownFault {}

/// Faults at times, counted from when the script is handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    steps: VecDeque<(Duration, Injection)>,
}

impl Script {
    /// These faults at these times; sorted here.
    #[must_use]
    pub fn new<F: Into<Injection>>(steps: Vec<(Duration, F)>) -> Self {
        Script::default().and(steps)
    }

    /// This script and these steps; those at the same time stay in this order.
    #[must_use]
    pub fn and<F: Into<Injection>>(self, steps: Vec<(Duration, F)>) -> Self {
        let more = steps.into_iter().map(|(at, fault)| (at, fault.into()));
        let mut all: Vec<_> = self.steps.into_iter().chain(more).collect();
        all.sort_by_key(|(at, _)| *at);
        Script { steps: all.into() }
    }

    /// For a demo of `seconds`: bad prices, cut, stall, garbage and oversize always, in seeded order; then, while there is
    /// room, the others. The first second and the last quarter (three seconds at least) stay clean.
    #[must_use]
    pub fn demo(seconds: u64, seed: u64) -> Self {
        let total = Duration::from_secs(seconds);
        let start = Duration::from_secs(1);
        let room = total.saturating_sub((total / 4).max(Duration::from_secs(3))).saturating_sub(start);
        let mut random = Random::from_seed(seed ^ 0x5c91_2b7d);
        let mut core = [
            FaultKind::BadPrices,
            FaultKind::Cut,
            FaultKind::Stall { lasts: Duration::MAX },
            FaultKind::Garbage,
            FaultKind::Oversize,
        ];
        shuffle(&mut core, &mut random);
        let mut more = [
            FaultKind::Fragmented,
            FaultKind::DuplicateFrame,
            FaultKind::Unbalanced,
            FaultKind::MissingSymbols,
            FaultKind::PingFlood,
            FaultKind::RefuseUpgrade { status: 503 },
            FaultKind::OldFrame,
            FaultKind::GluedFrames,
            FaultKind::Close,
            FaultKind::EmptyArray,
            FaultKind::HalfFrame,
            FaultKind::TlsGarbage,
            FaultKind::RefuseConnect { lasts: Duration::from_millis(1_500) },
        ];
        shuffle(&mut more, &mut random);
        let mut chosen = core.to_vec();
        let mut cost: Duration = core.iter().map(|kind| kind.demo_cost()).sum();
        for kind in more {
            if cost + kind.demo_cost() <= room {
                cost += kind.demo_cost();
                chosen.push(kind);
            }
        }
        shuffle(&mut chosen[..], &mut random);
        let mut before = Duration::ZERO;
        let steps = chosen.into_iter().map(|kind| {
            // In a run too short for all of it the times are squeezed; the faults still come one after the other.
            let at = if cost > room { before.mul_f64(room.as_secs_f64() / cost.as_secs_f64()) } else { before };
            before += kind.demo_cost();
            (start + at, kind.into())
        });
        Script { steps: steps.collect() }
    }

    /// This script and faults of `accounts` accounts, each in a seeded order of its own: those that a client survives within
    /// seconds. The first second and the last quarter (three seconds at least) stay clean.
    ///
    /// A client needs seconds to find out what it missed in a break, so breaks of one account leave it the time. The first
    /// account's first one is a socket that is deaf for seconds, while its orders live on.
    #[must_use]
    pub fn with_accounts(self, seconds: u64, seed: u64, accounts: usize) -> Self {
        const EACH: Duration = Duration::from_millis(1_500);
        const DEAF_MAX: Duration = Duration::from_secs(3);
        const BREAK_EVERY: Duration = Duration::from_secs(6);
        let total = Duration::from_secs(seconds);
        let end = total.saturating_sub((total / 4).max(Duration::from_secs(3)));
        // A reconcile that begins with the account's first connection has been through by then, if there is the time.
        let start = Duration::from_secs(1);
        let first_break = start + (end.saturating_sub(start) / 3).min(Duration::from_secs(4));
        let mut random = Random::from_seed(seed ^ 0x00ac_c007);
        let mut steps = Vec::new();
        for account in 0..accounts {
            let mut breaks = [
                AccountFault::Cut,
                AccountFault::Close,
                AccountFault::HalfFrame,
                AccountFault::Garbage,
                AccountFault::Oversize,
                AccountFault::ExpireKey { notice: ExpiryNotice::Number },
            ];
            let mut others = [
                AccountFault::Malformed,
                AccountFault::Flood { frames: 500 },
                AccountFault::Duplicate,
                AccountFault::Replay,
                AccountFault::Reorder,
                AccountFault::Stall { lasts: Duration::from_millis(500) },
            ];
            shuffle(&mut breaks, &mut random);
            shuffle(&mut others, &mut random);
            let deaf = AccountFault::Silence { lasts: DEAF_MAX.min(total / 5) };
            let mut breaks = (account == 0).then_some(deaf).into_iter().chain(breaks.into_iter().cycle());
            let mut others = others.into_iter().cycle();
            let (mut at, mut next_break) = (start + EACH * account as u32 / accounts as u32, first_break);
            while at + EACH <= end {
                let is_break = at + EACH > next_break;
                let fault = if is_break { breaks.next() } else { others.next() };
                if is_break {
                    next_break = at + BREAK_EVERY;
                }
                steps.extend(fault.map(|fault| (at, fault.on(account))));
                at += EACH;
            }
        }
        self.and(steps)
    }

    /// What is left, in order.
    pub fn steps(&self) -> impl Iterator<Item = (Duration, Injection)> {
        self.steps.iter().copied()
    }

    /// The next fault whose time has come, `elapsed` after the script began.
    pub(super) fn poll_due(&mut self, elapsed: Duration) -> Option<Injection> {
        let &(at, kind) = self.steps.front()?;
        (at <= elapsed).then(|| {
            self.steps.pop_front();
            kind
        })
    }
}

fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for last in (1..all.len()).rev() {
        all.swap(last, random.below(last as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("nothing".parse::<FaultKind>().unwrap_err().to_string().contains("half_frame"));
    }

    #[test]
    fn a_demo_of_twenty_seconds_exercises_the_five_and_leaves_the_end_clean() {
        for seed in 0..200 {
            let script = Script::demo(20, seed);
            assert_eq!(script, Script::demo(20, seed));
            let steps: Vec<_> = script.steps().collect();
            for must in ["bad_prices", "cut", "stall", "garbage", "oversize"] {
                assert!(steps.iter().any(|(_, kind)| kind.as_str() == must), "{must}, seed {seed}");
            }
            assert!(steps.is_sorted_by_key(|(at, _)| *at));
            let (last, Injection::Prices(kind)) = steps[steps.len() - 1] else { panic!("prices only") };
            assert!(last + kind.demo_cost() <= Duration::from_secs(15), "{steps:?}");
        }
        let names = |seed| Script::demo(20, seed).steps().map(|(_, kind)| kind.as_str()).collect::<Vec<_>>();
        assert_ne!(names(1), names(2));
        assert!(Script::demo(60, 1).steps().count() > Script::demo(20, 1).steps().count());
        assert_eq!(Script::demo(3, 1).steps().count(), 5);
    }

    #[test]
    fn accounts_join_a_demo_and_leave_its_ends_clean() {
        for (seconds, accounts) in [(20, 3), (60, 1), (3, 5), (0, 0)] {
            let script = Script::demo(seconds, 7).with_accounts(seconds, 7, accounts);
            assert_eq!(script, Script::demo(seconds, 7).with_accounts(seconds, 7, accounts));
            let steps: Vec<_> = script.steps().collect();
            assert!(steps.is_sorted_by_key(|(at, _)| *at));
            let of = |account| {
                let is_of = move |step: &&(Duration, Injection)| matches!(step.1, Injection::Account { account: a, .. } if a == account);
                steps.iter().filter(is_of).map(|(at, fault)| (*at, fault.as_str())).collect::<Vec<_>>()
            };
            for account in 0..accounts {
                let times = of(account);
                assert_eq!(times.is_empty(), seconds < 6, "{seconds} s, account {account}");
                let clean_from = Duration::from_secs((seconds * 3 / 4).min(seconds.saturating_sub(3)));
                assert!(times.iter().all(|(at, _)| (Duration::from_secs(1)..clean_from).contains(at)), "{times:?}");
                let gentle = ["malformed", "flood", "duplicate", "replay", "reorder", "stall"];
                let breaks: Vec<_> = times.iter().filter(|(_, fault)| !gentle.contains(fault)).collect();
                assert_eq!(breaks.is_empty(), seconds < 6, "{times:?}");
                assert_eq!(breaks.first().is_some_and(|(_, fault)| *fault == "silence"), account == 0 && seconds >= 6);
                let apart = breaks.windows(2).all(|two| two[1].0 - two[0].0 >= Duration::from_millis(4_500));
                assert!(apart, "no time for a reconcile: {breaks:?}");
            }
            assert!(accounts < 2 || seconds < 6 || of(0) != of(1));
        }
    }
}
