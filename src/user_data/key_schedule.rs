//! When which listen key is asked for or extended, sans-IO: times, answers and randomness come in, calls go out.
//!
//! Keep-alives follow one beat for all accounts: at each stroke the key that was extended longest ago is next. So every key
//! is extended once an interval, calls are spread evenly however accounts come and go, and somebody's keep-alive is always
//! fresh (facts/incumbent.md §1.2, §11.1). Keep-alives and new keys are lanes of their own, each with its pace; neither
//! waits for the other. A refusal that is about this address stops both lanes, and afterwards one call goes ahead alone: who
//! goes on after a 429 is banned (facts/binance.md §3). The first keep-alive is PUT; every one on doubt is POST, which
//! extends the same key. DELETE is never sent.

mod address;
#[cfg(test)]
mod tests;
mod times;
#[cfg(test)]
mod week;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::address::Address;
use self::times::Times;
use crate::domain::limits::{
    DISCOVERY_SPACING_MIN, KEEP_ALIVE_FRESH, KEEP_ALIVE_SECOND_TRY, KEEP_ALIVE_SPACING, KEY_CREATE_SPACING,
    LISTEN_KEY_DOUBT_AFTER, WEIGHT_BUSY, WEIGHT_FULL,
};
use crate::domain::{Mono, Now, Random, Wall};
use crate::exchange::binance::listen_key::{KeyCall, Refusal};

/// Which calls somebody takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Extends a key that an account has.
    KeepAlive,
    /// Gets a key for an account that has none.
    Create,
}

/// How often one account's key is extended: 60 s × accounts, within these bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// No more often than this.
    pub min: Duration,
    /// No less often than this.
    pub max: Duration,
}

impl Pace {
    /// Between two keep-alives of one account, with this many accounts in health.
    #[must_use]
    pub fn interval(&self, accounts: usize) -> Duration {
        let spread = KEEP_ALIVE_FRESH.saturating_mul(u32::try_from(accounts).unwrap_or(u32::MAX));
        spread.clamp(self.min, self.max.max(self.min))
    }

    /// Between two keep-alives of any account.
    #[must_use]
    pub fn beat(&self, accounts: usize) -> Duration {
        self.interval(accounts) / u32::try_from(accounts).unwrap_or(u32::MAX).max(1)
    }

    /// A key that old is extended at once, beat or not: after a standstill or a ban.
    fn overdue(&self) -> Duration {
        (self.max + self.max / 5).min(LISTEN_KEY_DOUBT_AFTER)
    }
}

/// One call to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose key.
    pub account: i64,
    /// POST or PUT.
    pub call: KeyCall,
    /// The lane it came from.
    pub lane: Lane,
    ticket: u64,
    is_beat: bool,
}

/// What came of a call, as far as times are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The key, or "unchanged".
    Granted,
    /// The venue said no.
    Refused(Refusal),
    /// Nobody answered; the call may have succeeded.
    Nothing,
}

/// What an answer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing: the account has gone or started anew since.
    Stale,
    /// The account has a key for another hour; `is_first` if it had none before.
    Granted {
        /// It had none, or a dead one.
        is_first: bool,
    },
    /// Its key is dead; a new one will be asked for.
    KeyGone,
    /// Tried again in about so long.
    Failed {
        /// Until the next try.
        retry_in: Duration,
    },
}

/// The schedule of all accounts of one venue and source address.
#[derive(Debug)]
pub struct KeySchedule {
    pace: Pace,
    accounts: BTreeMap<i64, Times>,
    address: Address,
    beat_at: Mono,
    /// The last stroke's call failed, and another account has been called on for it.
    is_second_try: bool,
    keep_alive_from: Mono,
    create_from: Mono,
    /// When somebody last asked for refused accounts to be tried at once.
    hurried_at: Option<Mono>,
    /// No new key is asked for: nobody could record what its socket brings.
    are_creates_held: bool,
    /// Whose new keys come before others'.
    preferred: Arc<BTreeSet<i64>>,
    tickets: u64,
}

impl KeySchedule {
    /// Without accounts.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        KeySchedule {
            pace,
            accounts: BTreeMap::new(),
            address: Address::default(),
            beat_at: Mono::ZERO,
            is_second_try: false,
            keep_alive_from: Mono::ZERO,
            create_from: Mono::ZERO,
            hurried_at: None,
            are_creates_held: false,
            preferred: Arc::default(),
            tickets: 0,
        }
    }

    /// New keys of these accounts come before those of others that are due, too.
    pub fn prefer(&mut self, accounts: Arc<BTreeSet<i64>>) {
        self.preferred = accounts;
    }

    /// An account needs its first key. One that is there already starts anew.
    pub fn add(&mut self, account: i64, now: Mono) {
        let times = Times {
            has_key: false,
            asks_at: now,
            extended_at: now,
            asked_new_at: None,
            renewals: 0,
            failures: 0,
            is_doubtful: false,
            in_flight: None,
        };
        self.accounts.insert(account, times);
    }

    /// The account is no longer streamed. An answer still on its way will be stale.
    pub fn remove(&mut self, account: i64) {
        self.accounts.remove(&account);
    }

    /// The account's key is dead, or of other credentials: a new one is asked for, at once unless keys keep dying young.
    pub fn renew(&mut self, account: i64, now: Mono) {
        if let Some(times) = self.accounts.get_mut(&account) {
            times.renew(now);
        }
    }

    /// Its credentials have changed: earlier refusals say nothing about the new ones.
    pub fn start_over(&mut self, account: i64, now: Mono) {
        if let Some(times) = self.accounts.get_mut(&account) {
            (times.has_key, times.asks_at, times.failures, times.in_flight) = (false, now, 0, None);
        }
    }

    /// Somebody has mended what the venue refused: accounts that wait after failures are called on now, each lane at its own
    /// pace, and not while this address is held. However often it is said, an account is called on once in
    /// [`DISCOVERY_SPACING_MIN`] for it. A refusal that comes again waits as long as it would have.
    pub fn retry_failed(&mut self, now: Mono) {
        let from = match self.hurried_at {
            Some(ahead) if ahead > now => ahead,
            Some(before) => now.max(before.plus(DISCOVERY_SPACING_MIN)),
            None => now,
        };
        self.hurried_at = Some(from);
        for times in self.accounts.values_mut().filter(|times| times.failures > 0) {
            times.asks_at = times.asks_at.min(from);
        }
    }

    /// Whether new keys wait: while the spool is shut nobody could record what their sockets bring. Keys that accounts have
    /// are extended all the same.
    pub fn hold_creates(&mut self, are_held: bool) {
        self.are_creates_held = are_held;
    }

    /// Something is odd about the account's key: it is asked for by POST soon.
    pub fn doubt(&mut self, account: i64, now: Mono) {
        if let Some(times) = self.accounts.get_mut(&account)
            && times.has_key
        {
            times.is_doubtful = true;
            times.asks_at = times.asks_at.min(now);
        }
    }

    /// What the venue says this address has used in this minute. Near the limit new keys wait for the next minute, and at
    /// the limit keep-alives too.
    pub fn note_used_weight(&mut self, used: u32, now: Now) {
        let left = 61_000_000 - now.wall.as_micros().rem_euclid(60_000_000);
        let next_minute = now.mono.plus(Duration::from_micros(left.unsigned_abs()));
        if used >= WEIGHT_BUSY {
            self.create_from = self.create_from.max(next_minute);
        }
        if used >= WEIGHT_FULL {
            self.keep_alive_from = self.keep_alive_from.max(next_minute);
        }
    }

    /// The next call of one of `lanes`, if its time has come. Each must be settled.
    pub fn poll(&mut self, lanes: &[Lane], now: Mono) -> Option<Order> {
        let (lane, next) = lanes
            .iter()
            .filter_map(|&lane| self.next(lane).map(|next| (lane, next)))
            .filter(|(_, next)| next.at <= now)
            .min_by_key(|(_, next)| next.at)?;
        if next.is_beat {
            let beat = self.pace.beat(self.healthy());
            let stroke = self.beat_at.plus(beat);
            self.beat_at = if now.since(stroke) > beat { now } else { stroke.min(now) };
        }
        match lane {
            Lane::KeepAlive => self.keep_alive_from = now.plus(KEEP_ALIVE_SPACING),
            Lane::Create => self.create_from = now.plus(KEY_CREATE_SPACING),
        }
        self.tickets += 1;
        self.address.started(self.tickets);
        let times = self.accounts.get_mut(&next.account)?;
        times.in_flight = Some(self.tickets);
        let is_sure = times.has_key
            && times.failures == 0
            && !times.is_doubtful
            && now.since(times.extended_at) < LISTEN_KEY_DOUBT_AFTER;
        if !times.has_key {
            times.asked_new_at = Some(now);
        }
        let call = if is_sure { KeyCall::Extend } else { KeyCall::Create };
        Some(Order { account: next.account, call, lane, ticket: self.tickets, is_beat: next.is_beat })
    }

    /// The answer to `order`.
    pub fn settle(&mut self, order: &Order, answer: Answer, now: Now, random: &mut Random) -> Settled {
        self.address.settle(order.ticket, answer, now, random);
        let healthy = self.healthy();
        let current = self.accounts.get_mut(&order.account).filter(|times| times.in_flight == Some(order.ticket));
        let Some(times) = current else { return Settled::Stale };
        times.in_flight = None;
        if let Answer::Granted = answer {
            let is_first = !times.has_key;
            times.granted(now.mono);
            self.is_second_try = false;
            if healthy == 0 {
                self.beat_at = now.mono;
            }
            return Settled::Granted { is_first };
        }
        if let Answer::Refused(refusal) = answer
            && refusal.needs_new_key()
            && times.has_key
        {
            times.renew(now.mono);
            return Settled::KeyGone;
        }
        let is_about_address = matches!(answer, Answer::Refused(refusal) if refusal.concerns_address());
        let retry_in = if is_about_address {
            // The account has done nothing wrong: it goes on as soon as the address may.
            times.asks_at = now.mono;
            self.address.held_for(now.mono)
        } else {
            times.failures = times.failures.saturating_add(1);
            let refusal = match answer {
                Answer::Refused(refusal) => refusal,
                _ => Refusal::Overload { retry_after: None },
            };
            let pause = jittered(refusal.pause(times.failures, now.wall.as_millis()), random);
            times.asks_at = now.mono.plus(pause);
            pause
        };
        if order.is_beat && !is_about_address && !self.is_second_try {
            self.is_second_try = true;
            let sooner = self.pace.beat(self.healthy()).saturating_sub(KEEP_ALIVE_SECOND_TRY);
            let back = now.mono.as_nanos().saturating_sub(u64::try_from(sooner.as_nanos()).unwrap_or(u64::MAX));
            self.beat_at = self.beat_at.min(Mono::from_nanos(back));
        }
        Settled::Failed { retry_in }
    }

    /// An account whose key nobody could extend for an hour: it must be taken for dead, and a new one is asked for. Each is
    /// given once.
    pub fn poll_lost(&mut self, now: Mono) -> Option<i64> {
        let is_lost = |times: &Times| times.has_key && times.lost_at() <= now;
        let (&account, times) = self.accounts.iter_mut().find(|(_, times)| is_lost(times))?;
        times.has_key = false;
        times.asks_at = if times.failures == 0 { now } else { times.asks_at.min(now.plus(KEEP_ALIVE_FRESH)) };
        Some(account)
    }

    /// When [`KeySchedule::poll`] for these lanes or [`KeySchedule::poll_lost`] may have something again.
    #[must_use]
    pub fn next_deadline(&self, lanes: &[Lane]) -> Mono {
        let calls = lanes.iter().filter_map(|&lane| self.next(lane)).map(|next| next.at);
        let losses = self.accounts.values().filter(|times| times.has_key).map(Times::lost_at);
        calls.chain(losses).min().unwrap_or(Mono::NEVER)
    }

    /// Until when the venue lets nobody call from this address; `None` while it does.
    #[must_use]
    pub fn address_held_until(&self, now: Now) -> Option<Wall> {
        let left = self.address.held_for(now.mono);
        let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX);
        (!left.is_zero()).then(|| Wall::from_micros(now.wall.as_micros().saturating_add(micros)))
    }

    /// How long this address is banned as far as answers have said so; zero while it is not.
    #[must_use]
    pub fn address_banned_for(&self, now: Mono) -> Duration {
        self.address.banned_for(now)
    }

    /// Accounts that have a key and no failure since its last extension.
    #[must_use]
    pub fn healthy(&self) -> usize {
        self.accounts.values().filter(|times| times.is_healthy()).count()
    }

    fn next(&self, lane: Lane) -> Option<Next> {
        let open_from = self.address.open_from()?;
        let idle = self.accounts.iter().filter(|(_, times)| times.in_flight.is_none());
        let next = match lane {
            Lane::Create if self.are_creates_held => return None,
            Lane::Create => {
                let from = self.create_from.max(open_from);
                let wanting = idle.filter(|(_, times)| !times.has_key);
                let (&account, times) = wanting.min_by_key(|&(account, times)| {
                    (times.asks_at.max(from), !self.preferred.contains(account), times.asks_at)
                })?;
                Next { at: times.asks_at.max(from), account, is_beat: false }
            }
            Lane::KeepAlive => {
                let stroke = self.beat_at.plus(self.pace.beat(self.healthy()));
                let overdue = self.pace.overdue();
                let due = |times: &Times| {
                    let own = times.asks_at.min(times.extended_at.plus(overdue));
                    // A retry waits for its own time; the beat is for those in health.
                    match times.is_healthy() {
                        true => (own.min(stroke), stroke < own),
                        false => (times.asks_at, false),
                    }
                };
                let holding = idle.filter(|(_, times)| times.has_key);
                let (&account, times) = holding.min_by_key(|(_, times)| (due(times).0, times.extended_at))?;
                let (at, is_beat) = due(times);
                Next { at: at.max(self.keep_alive_from), account, is_beat }
            }
        };
        Some(Next { at: next.at.max(open_from), ..next })
    }
}

struct Next {
    at: Mono,
    account: i64,
    is_beat: bool,
}

/// Between three and five quarters of `pause`, so that accounts that failed together do not come back together.
fn jittered(pause: Duration, random: &mut Random) -> Duration {
    let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX / 2);
    Duration::from_micros(micros - micros / 4 + random.below(micros / 2 + 1))
}
