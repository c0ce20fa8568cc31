//! How much REST weight the source address has left, and who may use it (facts/binance.md §3, §6).
//!
//! The venue counts 2,400 a minute for all accounts and products of an address; one account's mistake starves all others, and
//! whoever goes on after a 429 is banned. So one meter stands before every call: it holds the sum of any 60 s below the limit,
//! counts what the venue's header tells of others' calls, and keeps shares: keeping listen keys alive is never refused by a
//! budget, only by a ban; a reconcile leaves room for keys; the safety net leaves room for reconciles.
//!
//! When the venue counts a call nobody here knows: some time between its start and its answer. So a call counts from its start
//! until a window after its answer, and one that nobody answered as if it were answered as late as it can be.
//!
//! Sans-IO: time is passed in. [`SharedMeter`](super::reconcile::meter_file::SharedMeter) puts it into a file that all
//! processes of the box use. Control plane.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::Mono;
use crate::domain::limits::{
    WEIGHT_ANSWER_MAX, WEIGHT_HOLD_MAX, WEIGHT_RECONCILE_PERCENT, WEIGHT_SYNC_PERCENT, WEIGHT_WINDOW,
    WEIGHTS_COUNTED_MAX,
};

/// What a call is for; the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightClass {
    /// Listen keys: created, extended, renewed.
    Keys,
    /// Closing a gap.
    Reconcile,
    /// The safety net.
    SyncOrders,
}

impl WeightClass {
    /// All classes, the most important first.
    pub const ALL: [WeightClass; 3] = [WeightClass::Keys, WeightClass::Reconcile, WeightClass::SyncOrders];

    /// Its place in [`WeightClass::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            WeightClass::Keys => "keys",
            WeightClass::Reconcile => "reconcile",
            WeightClass::SyncOrders => "sync_orders",
        }
    }
}

/// The answer to "may I call?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightPermit {
    /// Yes, and it is counted: hand this back with the answer.
    Now(Call),
    /// No; ask again then. Nothing is counted.
    At(Mono),
}

/// A call that may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    number: u64,
    asked_at: Mono,
}

/// A call that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// When the venue counted it at the latest.
    pub at: Mono,
    /// How much.
    pub weight: u32,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct WeightMeter {
    limit: u32,
    /// Each with its [`Call`]'s number, by the latest time at which it can have been counted.
    spent: VecDeque<(Spent, u64)>,
    calls: u64,
    /// The newest header: what the venue had counted then, of everybody at this address.
    told: Option<Spent>,
    /// No call before, whatever it is for.
    banned_until: Mono,
    /// No call of a class before: 429 stops one class after the other.
    held_until: [Mono; 3],
    /// When the newest 429 was read.
    limited_at: Option<Mono>,
    /// No call but for keys before: the firewall, with its status.
    blocked: (Mono, u16),
}

impl WeightMeter {
    /// A meter for `limit` a minute.
    #[must_use]
    pub fn new(limit: u32) -> WeightMeter {
        WeightMeter {
            limit,
            spent: VecDeque::new(),
            calls: 0,
            told: None,
            banned_until: Mono::ZERO,
            held_until: [Mono::ZERO; 3],
            limited_at: None,
            blocked: (Mono::ZERO, 0),
        }
    }

    /// What a class may fill the minute up to.
    #[must_use]
    pub const fn ceiling(&self, class: WeightClass) -> u32 {
        match class {
            WeightClass::Keys => self.limit,
            WeightClass::Reconcile => self.limit / 100 * WEIGHT_RECONCILE_PERCENT,
            WeightClass::SyncOrders => self.limit / 100 * WEIGHT_SYNC_PERCENT,
        }
    }

    /// May a call of `weight` begin? Counted where it may.
    ///
    /// # Panics
    /// If `weight` is more than the class may ever use: no time would come.
    pub fn permit(&mut self, class: WeightClass, weight: u32, now: Mono) -> WeightPermit {
        self.forget(now);
        let ceiling = self.ceiling(class);
        assert!(weight <= ceiling, "a call of weight {weight} never fits into {ceiling}");
        let blocked_until = if class == WeightClass::Keys { Mono::ZERO } else { self.blocked.0 };
        let not_before = self.banned_until.max(self.held_until[class.index()]).max(blocked_until);
        if now < not_before {
            return WeightPermit::At(not_before);
        }
        if class != WeightClass::Keys
            && let Some(at) = self.fits_at(ceiling - weight, now)
        {
            return WeightPermit::At(at);
        }
        WeightPermit::Now(self.begin(weight, now))
    }

    /// Counts a call that begins, without asking: whether it may has been found out already.
    pub fn begin(&mut self, weight: u32, now: Mono) -> Call {
        self.calls += 1;
        self.insert(Spent { at: now.plus(WEIGHT_ANSWER_MAX), weight }, self.calls);
        Call { number: self.calls, asked_at: now }
    }

    /// The call is answered: it has been counted by now.
    pub fn end(&mut self, call: Call, now: Mono) {
        if let Some(at) = self.spent.iter().rposition(|(_, number)| *number == call.number)
            && let Some((spent, _)) = self.spent.remove(at)
        {
            self.insert(Spent { at: spent.at.min(now), ..spent }, 0);
        }
    }

    /// Counts a call without asking: another process made it.
    pub fn record(&mut self, spent: Spent) {
        self.insert(spent, 0);
    }

    fn insert(&mut self, spent: Spent, number: u64) {
        if self.spent.len() == WEIGHTS_COUNTED_MAX {
            // Two calls become one of the later time: never less than the truth.
            let first = self.spent.pop_front().map_or(0, |(first, _)| first.weight);
            if let Some((second, _)) = self.spent.front_mut() {
                second.weight = second.weight.saturating_add(first);
            }
        }
        let at = self.spent.partition_point(|(other, _)| other.at <= spent.at);
        self.spent.insert(at, (spent, number));
    }

    /// The limit of a minute.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// The calls that are counted, the oldest first.
    pub fn spent(&self) -> impl Iterator<Item = Spent> {
        self.spent.iter().map(|(spent, _)| *spent)
    }

    /// What the venue told last, and when.
    #[must_use]
    pub const fn told(&self) -> Option<Spent> {
        self.told
    }

    /// A class is stopped until then: another process was told so.
    pub fn hold(&mut self, class: WeightClass, until: Mono) {
        let held = &mut self.held_until[class.index()];
        *held = (*held).max(until);
    }

    /// The header `x-mbx-used-weight-1m` of the answer to `call`. A lower number is newer truth, since the venue's minute has
    /// turned, unless the call was under way already when the higher one was told: then the answers have overtaken each other.
    pub fn handle_told(&mut self, call: Call, used: u32, now: Mono) {
        if self.told.is_none_or(|told| told.at < call.asked_at || told.weight <= used) {
            self.take_told(Spent { at: now, weight: used });
        }
    }

    /// What the venue told somebody, as of then: everything that had been answered by then is in it.
    pub fn take_told(&mut self, told: Spent) {
        self.told = Some(told);
    }

    /// 429 for `call`: stops the least important class that still goes, for `pause`; one for a call that began after it was
    /// known stops the next.
    pub fn handle_limited(&mut self, call: Call, pause: Duration, now: Mono) {
        let until = now.plus(pause.clamp(WEIGHT_WINDOW, WEIGHT_HOLD_MAX));
        // Calls that were out together are refused together: that is one refusal.
        if self.limited_at.is_none_or(|at| at < call.asked_at) {
            let going = [WeightClass::SyncOrders, WeightClass::Reconcile]
                .into_iter()
                .find(|class| self.held_until[class.index()] <= now)
                .unwrap_or(WeightClass::Reconcile);
            for class in [WeightClass::SyncOrders, WeightClass::Reconcile] {
                if class >= going {
                    self.hold(class, until);
                }
            }
        }
        self.limited_at = Some(now);
        // The venue has counted more than we know: as if the minute were full.
        let known = self.told.filter(|told| told.at.plus(WEIGHT_WINDOW) > now).map_or(0, |told| told.weight);
        self.take_told(Spent { at: now, weight: known.max(self.limit) });
    }

    /// 403 or 451: nothing but keys, which have a pace of their own for it.
    pub fn handle_blocked(&mut self, status: u16, until: Mono) {
        self.blocked = (self.blocked.0.max(until), status);
    }

    /// The firewall's status and how long it is heeded, if it is.
    #[must_use]
    pub fn blocked_until(&self, now: Mono) -> Option<(Mono, u16)> {
        (self.blocked.0 > now).then_some(self.blocked)
    }

    /// 418, or -1003 with a time: nothing at all until then, keys neither, since each call makes it longer.
    pub fn handle_banned(&mut self, until: Mono) {
        self.banned_until = self.banned_until.max(until);
    }

    /// The end of the ban, if there is one.
    #[must_use]
    pub fn banned_until(&self, now: Mono) -> Option<Mono> {
        (self.banned_until > now).then_some(self.banned_until)
    }

    /// Until when a class is stopped by a 429, if it is.
    #[must_use]
    pub fn held_until(&self, class: WeightClass, now: Mono) -> Option<Mono> {
        let until = self.held_until[class.index()];
        (until > now).then_some(until)
    }

    /// What is used of the last 60 s, as far as it is known.
    #[must_use]
    pub fn used(&self, now: Mono) -> u32 {
        self.used_at(now)
    }

    /// How long `n` calls of `weight` each take from now on, if nobody else comes: what `check` prints.
    #[must_use]
    pub fn time_for(&self, class: WeightClass, weight: u32, n: u64, now: Mono) -> Duration {
        let per_window = u64::from(self.ceiling(class) / weight.max(1)).max(1);
        let free = u64::from(self.ceiling(class).saturating_sub(self.used_at(now)) / weight.max(1));
        if n <= free {
            return Duration::ZERO;
        }
        let windows = (n - free).div_ceil(per_window);
        WEIGHT_WINDOW.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX))
    }

    /// The first instant at which no more than `room` is used; `None`: now.
    fn fits_at(&self, room: u32, now: Mono) -> Option<Mono> {
        if self.used_at(now) <= room {
            return None;
        }
        // Use shrinks only when something leaves the window.
        let ends = self.spent.iter().map(|(spent, _)| spent.at).chain(self.told.map(|told| told.at));
        let ends = ends.map(|at| at.plus(WEIGHT_WINDOW)).filter(|&end| end > now);
        ends.filter(|&end| self.used_at(end) <= room).min().or(Some(now.plus(WEIGHT_WINDOW)))
    }

    fn used_at(&self, now: Mono) -> u32 {
        let inside = || self.spent().filter(|spent| spent.at.plus(WEIGHT_WINDOW) > now);
        let own = inside().fold(0_u32, |sum, spent| sum.saturating_add(spent.weight));
        match self.told {
            Some(told) if told.at.plus(WEIGHT_WINDOW) > now => {
                // What is under way lies ahead, and is not in it.
                let since = self.spent().filter(|spent| spent.at > told.at);
                own.max(since.fold(told.weight, |sum, spent| sum.saturating_add(spent.weight)))
            }
            _ => own,
        }
    }

    /// Gives up what has left the window.
    pub fn forget(&mut self, now: Mono) {
        while self.spent.front().is_some_and(|(spent, _)| spent.at.plus(WEIGHT_WINDOW) <= now) {
            self.spent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use WeightClass::{Keys, Reconcile, SyncOrders};

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    fn meter() -> WeightMeter {
        WeightMeter::new(2_400)
    }

    /// A call that is answered at once.
    fn call(meter: &mut WeightMeter, class: WeightClass, weight: u32, now: Mono) -> Result<Call, Mono> {
        match meter.permit(class, weight, now) {
            WeightPermit::Now(call) => {
                meter.end(call, now);
                Ok(call)
            }
            WeightPermit::At(then) => Err(then),
        }
    }

    #[test]
    fn classes_leave_room_for_the_more_important() {
        let mut meter = meter();
        let many = |meter: &mut WeightMeter, class, weight| {
            (0..10_000).take_while(|_| call(meter, class, weight, at(0)).is_ok()).count()
        };
        assert_eq!(many(&mut meter, SyncOrders, 90), 13);
        assert_eq!(many(&mut meter, Reconcile, 90), 7);
        assert_eq!(meter.used(at(0)), 20 * 90);
        assert!(call(&mut meter, Keys, 1, at(0)).is_ok());
        assert_eq!(call(&mut meter, SyncOrders, 90, at(1)), Err(at(60)));
        assert!(call(&mut meter, SyncOrders, 90, at(60)).is_ok());
    }

    #[test]
    fn a_call_counts_until_a_window_after_its_answer() {
        let mut meter = meter();
        let WeightPermit::Now(first) = meter.permit(Reconcile, 1_800, at(0)) else { panic!("the minute is empty") };
        let late = at(60).plus(WEIGHT_ANSWER_MAX);
        assert_eq!(call(&mut meter, Reconcile, 1, at(1)), Err(late), "it may be counted as late as that");
        meter.end(first, at(4));
        assert_eq!(call(&mut meter, Reconcile, 1, at(5)), Err(at(64)));
        meter.end(first, at(9));
        assert_eq!(call(&mut meter, Reconcile, 1, at(5)), Err(at(64)), "an answer counts once");
        assert!(call(&mut meter, Reconcile, 1, at(64)).is_ok());
    }

    #[test]
    fn what_others_used_counts_by_the_header() {
        let mut meter = meter();
        let first = call(&mut meter, Keys, 1, at(10)).unwrap();
        meter.handle_told(first, 1_780, at(10));
        assert_eq!(call(&mut meter, Reconcile, 40, at(11)), Err(at(70)));
        let WeightPermit::Now(slow) = meter.permit(Reconcile, 20, at(11)) else { panic!("it fits") };
        assert_eq!(meter.used(at(11)), 1_800, "what is under way is not in what was told");
        let quick = call(&mut meter, Keys, 1, at(12)).unwrap();
        meter.handle_told(quick, 1_801, at(12));
        meter.end(slow, at(13));
        // Its answer was written before the quick one's.
        meter.handle_told(slow, 1_800, at(13));
        assert_eq!(meter.used(at(13)), 1_821);
        // A lower number of a later call is newer truth: the venue's minute has turned.
        let later = call(&mut meter, Keys, 1, at(30)).unwrap();
        meter.handle_told(later, 5, at(30));
        assert_eq!(meter.used(at(30)), 23);
    }

    #[test]
    fn limits_stop_class_by_class_and_a_ban_stops_all() {
        let mut meter = meter();
        let one = call(&mut meter, Reconcile, 1, at(0)).unwrap();
        let other = call(&mut meter, Reconcile, 1, at(0)).unwrap();
        let held = |meter: &WeightMeter, now| [SyncOrders, Reconcile].map(|class| meter.held_until(class, at(now)));
        meter.handle_limited(one, Duration::from_secs(1), at(1));
        assert_eq!(held(&meter, 2), [Some(at(61)), None]);
        meter.handle_limited(other, Duration::from_secs(1), at(2));
        assert_eq!(held(&meter, 2), [Some(at(61)), None], "both were out together");
        assert_eq!(call(&mut meter, Reconcile, 1, at(3)), Err(at(62)), "the minute counts as full");
        let next = call(&mut meter, Keys, 1, at(3)).unwrap();
        meter.handle_limited(next, Duration::from_secs(120), at(3));
        assert_eq!(held(&meter, 4), [Some(at(123)); 2]);
        meter.handle_blocked(451, at(200));
        assert_eq!(meter.blocked_until(at(150)), Some((at(200), 451)));
        assert_eq!(call(&mut meter, Reconcile, 1, at(150)), Err(at(200)));
        assert!(call(&mut meter, Keys, 1, at(150)).is_ok());
        meter.handle_banned(at(500));
        for class in WeightClass::ALL {
            assert_eq!(call(&mut meter, class, 1, at(250)), Err(at(500)));
        }
        assert!(call(&mut meter, Keys, 1, at(500)).is_ok());
    }

    #[test]
    fn time_for_a_host_wide_return() {
        let meter = meter();
        let minutes = |n| meter.time_for(Reconcile, 90, n, at(0)).as_secs() / 60;
        assert_eq!([minutes(20), minutes(21), minutes(40), minutes(2_000)], [0, 1, 1, 99]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is asked, no 60 s hold more than the limit but for keys, and an answer "then" is an instant that fits.
        #[test]
        fn no_window_is_overfull(asks in prop::collection::vec((0_u64..5_000, 1_u32..120, 0_usize..3), 1..400)) {
            let mut meter = WeightMeter::new(1_200);
            let mut now = 0;
            let mut granted: Vec<(u64, u32)> = Vec::new();
            for (step, weight, class) in asks {
                now += step;
                let mono = Mono::from_nanos(now * 1_000_000);
                let class = WeightClass::ALL[class];
                match call(&mut meter, class, weight, mono) {
                    Ok(_) if class != Keys => {
                        granted.push((now, weight));
                        let inside = |&&(at, _): &&(u64, u32)| at + 60_000 > now;
                        let sum: u32 = granted.iter().filter(inside).map(|&(_, weight)| weight).sum();
                        prop_assert!(sum <= meter.ceiling(class));
                    }
                    Ok(_) => {}
                    Err(then) => {
                        prop_assert!(then > mono);
                        let mut copy = meter.clone();
                        prop_assert!(call(&mut copy, class, weight, then).is_ok());
                    }
                }
            }
        }
    }
}
