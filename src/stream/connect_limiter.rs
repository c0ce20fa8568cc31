//! When may an attempt begin? Venues count connection attempts per source address and window (facts/binance.md §3).
//!
//! A sliding window without I/O, clock or randomness: at most `limit` attempts in any span of `window`. Of them, shares are
//! kept for the price streams and for accounts with open positions: a class may take what is free above the *unused* part
//! of the shares of the classes before it, so that ordinary accounts in a mass reconnect never keep an important one
//! waiting. The answer of [`ConnectLimiter::permit`] is exact: the first instant at which the attempt fits if nobody else
//! comes. One limiter per source address; who waits asks in line (`event_loop` keeps one line per class).
//!
//! Control plane: a linear look at the window an attempt.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::limits::{
    CONNECT_WINDOW, CONNECTS_DEFAULT, CONNECTS_EXPOSED_PART, CONNECTS_MAX, CONNECTS_PRICES_PART,
};
use crate::domain::{Mono, Now};

/// How much waiting for a connection hurts, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConnectClass {
    /// A price stream: everybody's prices.
    Prices,
    /// An account with open positions.
    Exposed,
    /// Any other account.
    Ordinary,
}

impl ConnectClass {
    /// All classes, the most important first.
    pub const ALL: [ConnectClass; 3] = [ConnectClass::Prices, ConnectClass::Exposed, ConnectClass::Ordinary];

    /// Its place in [`ConnectClass::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ConnectClass::Prices => "prices",
            ConnectClass::Exposed => "exposed",
            ConnectClass::Ordinary => "ordinary",
        }
    }
}

/// The answer to "may I connect?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Yes, and it is counted.
    Now,
    /// No; ask again then. Nothing is counted.
    At(Mono),
}

/// Whom the event loop asks before each attempt. Must answer at once.
pub trait ConnectGate: Send + Sync {
    /// May an attempt of `class` begin? [`Permit::Now`] counts it.
    fn permit(&self, class: ConnectClass, now: Now) -> Permit;

    /// The venue has turned this address away: nobody begins an attempt for `pause`, [`CONNECT_HOLD_MAX`] at most.
    ///
    /// [`CONNECT_HOLD_MAX`]: crate::domain::limits::CONNECT_HOLD_MAX
    fn hold(&self, pause: Duration, now: Now);

    /// How long nobody may begin an attempt because of that; zero while somebody may.
    fn held_for(&self, now: Now) -> Duration;

    /// The attempt of `class` that was counted at `at` has brought about a connection, and is now over, whatever became of it.
    /// The venue has counted it some time in between: it leaves the window by the later time.
    fn handle_reached(&self, _class: ConnectClass, _at: Mono, _now: Now) {}

    /// The attempt of `class` that was counted at `at` found nobody: no connection came about, so the venue cannot have
    /// counted it, and it is taken back.
    fn handle_unreached(&self, _class: ConnectClass, _at: Mono, _now: Now) {}

    /// Grows whenever the venue is reached again after it was out of reach: who waits because of that need not any longer.
    fn recoveries(&self) -> u64 {
        0
    }

    /// Why attempts are not counted together with other processes' at the moment, as a sentence; they are limited all the
    /// same.
    fn warning(&self) -> Option<String>;
}

/// Lets everybody through: for a single stream, whose backoff is limit enough.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl ConnectGate for OpenGate {
    fn permit(&self, _class: ConnectClass, _now: Now) -> Permit {
        Permit::Now
    }

    /// Its one stream has kept the wait itself.
    fn hold(&self, _pause: Duration, _now: Now) {}

    fn held_for(&self, _now: Now) -> Duration {
        Duration::ZERO
    }

    fn warning(&self) -> Option<String> {
        None
    }
}

/// How many attempts, in which time, and what of them is kept for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectLimit {
    limit: usize,
    window: Duration,
    /// Kept for each class; nothing for the last.
    reserved: [usize; 3],
}

impl Default for ConnectLimit {
    fn default() -> Self {
        ConnectLimit::new(CONNECTS_DEFAULT, CONNECT_WINDOW)
    }
}

impl ConnectLimit {
    /// `limit` attempts (1..=[`CONNECTS_MAX`], else the nearest) in `window`, with the usual shares: a thirtieth for
    /// prices, a sixth for accounts with open positions, at least one each where at least three are allowed.
    #[must_use]
    pub fn new(limit: usize, window: Duration) -> ConnectLimit {
        let limit = limit.clamp(1, CONNECTS_MAX);
        let least = usize::from(limit >= 3);
        let (prices, exposed) = ((limit / CONNECTS_PRICES_PART).max(least), (limit / CONNECTS_EXPOSED_PART).max(least));
        ConnectLimit { limit, window, reserved: [prices, exposed, 0] }
    }

    /// With other shares. Whatever they are, one attempt stays for ordinary accounts.
    #[must_use]
    pub fn with_reserved(mut self, prices: usize, exposed: usize) -> ConnectLimit {
        let prices = prices.min(self.limit - 1);
        self.reserved = [prices, exposed.min(self.limit - 1 - prices), 0];
        self
    }

    /// Attempts in a window.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The window.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Attempts in a window that an ordinary account may count on.
    #[must_use]
    pub fn ordinary(&self) -> usize {
        self.limit - self.reserved.iter().sum::<usize>()
    }
}

/// One attempt that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When.
    pub at: Mono,
    /// By whom.
    pub class: ConnectClass,
}

/// The window of one source address.
#[derive(Clone, Debug)]
pub struct ConnectLimiter {
    limit: ConnectLimit,
    /// Attempts within the window, the oldest first.
    attempts: VecDeque<Attempt>,
}

impl ConnectLimiter {
    /// An empty window.
    #[must_use]
    pub fn new(limit: ConnectLimit) -> ConnectLimiter {
        ConnectLimiter { limit, attempts: VecDeque::new() }
    }

    /// What it holds to.
    #[must_use]
    pub fn limit(&self) -> ConnectLimit {
        self.limit
    }

    /// May an attempt of `class` begin? [`Permit::Now`] counts it.
    pub fn permit(&mut self, class: ConnectClass, now: Mono) -> Permit {
        self.forget(now);
        let at = self.earliest(class, now);
        if at > now {
            return Permit::At(at);
        }
        self.record(Attempt { at: now, class });
        Permit::Now
    }

    /// Counts an attempt that was begun elsewhere, or earlier.
    pub fn record(&mut self, attempt: Attempt) {
        let place = self.attempts.partition_point(|earlier| earlier.at <= attempt.at);
        self.attempts.insert(place, attempt);
        // More than the limit can only come from elsewhere; the newest decide.
        while self.attempts.len() > self.limit.limit {
            self.attempts.pop_front();
        }
    }

    /// Takes an attempt back that has turned out to be none.
    pub fn take_back(&mut self, attempt: Attempt) {
        if let Some(place) = self.attempts.iter().rposition(|counted| *counted == attempt) {
            self.attempts.remove(place);
        }
    }

    /// The attempts of the window, the oldest first.
    pub fn attempts(&self) -> impl Iterator<Item = Attempt> + '_ {
        self.attempts.iter().copied()
    }

    /// Drops what lies before the window that ends at `now`.
    pub fn forget(&mut self, now: Mono) {
        while self.attempts.front().is_some_and(|attempt| self.expiry(*attempt) <= now) {
            self.attempts.pop_front();
        }
    }

    /// How long until the last of `n` ordinary accounts may connect, when all want to from `now` on and nobody else does.
    #[must_use]
    pub fn time_to_all(&self, n: usize, now: Mono) -> Duration {
        let Some(last) = n.checked_sub(1) else { return Duration::ZERO };
        // From the second round on, each attempt follows the one a share before it by exactly a window.
        let share = self.limit.ordinary();
        let (rounds, in_round) = (last / share, last % share + 1);
        let mut window = self.clone();
        let mut at = now;
        for _ in 0..in_round {
            while let Permit::At(later) = window.permit(ConnectClass::Ordinary, at) {
                at = later;
            }
        }
        at.since(now).saturating_add(self.limit.window.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX)))
    }

    /// How long until the last of `exposed` accounts with open positions may connect, and the last of `ordinary` ones, when all
    /// want to from `now` on and nobody else does.
    #[must_use]
    pub fn times_to_all(&self, exposed: usize, ordinary: usize, now: Mono) -> (Duration, Duration) {
        let mut window = self.clone();
        let mut at = now;
        for _ in 0..exposed {
            while let Permit::At(later) = window.permit(ConnectClass::Exposed, at) {
                at = later;
            }
        }
        // Some ordinary ones may go before the last exposed one: no later than this.
        let of_exposed = at.since(now);
        (of_exposed, of_exposed.saturating_add(window.time_to_all(ordinary, at)))
    }

    fn expiry(&self, attempt: Attempt) -> Mono {
        attempt.at.plus(self.limit.window)
    }

    /// The first instant from `now` on at which one of `class` fits.
    fn earliest(&self, class: ConnectClass, now: Mono) -> Mono {
        let mut used = [0; 3];
        self.attempts.iter().for_each(|attempt| used[attempt.class.index()] += 1);
        let mut at = now;
        let mut expiring = self.attempts.iter();
        while !self.fits(class, used) {
            let oldest = *expiring.next().expect("one attempt fits into an empty window");
            used[oldest.class.index()] -= 1;
            at = self.expiry(oldest);
        }
        at
    }

    /// Whether one more of `class` leaves the classes before it the unused part of their shares.
    fn fits(&self, class: ConnectClass, used: [usize; 3]) -> bool {
        let kept: usize = (0..class.index()).map(|more| self.limit.reserved[more].saturating_sub(used[more])).sum();
        used.iter().sum::<usize>() + kept < self.limit.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Random;

    const fn at_s(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    fn granted(limiter: &mut ConnectLimiter, class: ConnectClass, now: Mono, wanted: usize) -> usize {
        (0..wanted).take_while(|_| limiter.permit(class, now) == Permit::Now).count()
    }

    #[test]
    fn shares_are_kept_and_the_answer_is_exact() {
        use ConnectClass::{Exposed, Ordinary, Prices};
        let limit = ConnectLimit::default();
        assert_eq!((limit.limit(), limit.ordinary()), (300, 240));
        let mut limiter = ConnectLimiter::new(limit);
        assert_eq!(granted(&mut limiter, Ordinary, at_s(10), 1_000), 240);
        assert_eq!(limiter.permit(Ordinary, at_s(11)), Permit::At(at_s(310)));
        assert_eq!(granted(&mut limiter, Exposed, at_s(11), 1_000), 50);
        assert_eq!(granted(&mut limiter, Prices, at_s(12), 1_000), 10);
        assert_eq!(limiter.permit(Prices, at_s(12)), Permit::At(at_s(310)));
        // What a class has used of its share is not kept for it a second time.
        assert_eq!(granted(&mut limiter, Ordinary, at_s(310), 1_000), 240);
        assert_eq!(limiter.permit(Prices, at_s(311)), Permit::Now, "the 50 expired: its share is free again");
        assert_eq!(limiter.permit(Ordinary, at_s(312)), Permit::At(at_s(610)));
    }

    #[test]
    fn a_small_limit_still_serves_everybody() {
        for limit in 1..40 {
            for (prices, exposed) in [(0, 0), (1, 1), (100, 100)] {
                let limit = ConnectLimit::new(limit, Duration::from_secs(60)).with_reserved(prices, exposed);
                assert!(limit.ordinary() >= 1);
                let mut limiter = ConnectLimiter::new(limit);
                let all = ConnectClass::ALL.map(|class| granted(&mut limiter, class, at_s(1), 1_000));
                assert_eq!(all.iter().sum::<usize>(), limit.limit(), "prices may take all");
            }
        }
        assert_eq!(ConnectLimit::new(0, Duration::from_secs(1)).limit(), 1);
        assert_eq!(ConnectLimit::new(usize::MAX, Duration::from_secs(1)).limit(), CONNECTS_MAX);
    }

    #[test]
    fn no_span_holds_more_than_the_limit_whatever_is_asked() {
        for seed in 0..20 {
            let mut random = Random::from_seed(seed);
            let limit = ConnectLimit::new(random.below(50) as usize + 1, Duration::from_secs(100));
            let mut limiter = ConnectLimiter::new(limit);
            let (mut now, mut granted) = (at_s(5), Vec::new());
            let mut promised: Option<(ConnectClass, Mono)> = None;
            for _ in 0..3_000 {
                let class = ConnectClass::ALL[random.below(3) as usize];
                now = now.plus(Duration::from_millis(random.below(3_000)));
                if let Some((class, at)) = promised.take() {
                    // Nobody came in between: the promise holds, and not a moment earlier.
                    assert_eq!(limiter.clone().permit(class, at), Permit::Now);
                    let before = Mono::from_nanos(at.as_nanos() - 1);
                    assert_eq!(limiter.clone().permit(class, before), Permit::At(at));
                }
                match limiter.permit(class, now) {
                    Permit::Now => granted.push(now),
                    Permit::At(at) => promised = Some((class, at)),
                }
            }
            for (first, at) in granted.iter().enumerate() {
                let inside = granted[first..].iter().take_while(|later| later.since(*at) < limit.window()).count();
                assert!(inside <= limit.limit(), "seed {seed}: {inside} within a window");
            }
        }
    }

    #[test]
    fn time_to_all_is_what_asking_would_take() {
        for (n, seconds) in [(0, 0), (1, 0), (240, 0), (241, 300), (480, 300), (481, 600), (2_000, 2_400)] {
            let limiter = ConnectLimiter::new(ConnectLimit::default());
            assert_eq!(limiter.time_to_all(n, at_s(7)), Duration::from_secs(seconds), "{n}");
        }
        for seed in 0..20 {
            let mut random = Random::from_seed(seed);
            let limit = ConnectLimit::new(random.below(30) as usize + 1, Duration::from_secs(100));
            let mut limiter = ConnectLimiter::new(limit);
            let mut now = at_s(5);
            for _ in 0..random.below(60) {
                now = now.plus(Duration::from_millis(random.below(4_000)));
                limiter.permit(ConnectClass::ALL[random.below(3) as usize], now);
            }
            let n = random.below(100) as usize;
            let (mut asked, mut at) = (limiter.clone(), now);
            for _ in 0..n {
                while let Permit::At(later) = asked.permit(ConnectClass::Ordinary, at) {
                    at = later;
                }
            }
            assert_eq!(limiter.time_to_all(n, now), at.since(now), "seed {seed}, {n} accounts");
        }
        assert!(
            ConnectLimiter::new(ConnectLimit::default()).time_to_all(usize::MAX, at_s(0))
                > Duration::from_secs(1 << 30)
        );
    }
}
