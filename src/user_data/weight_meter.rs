//! How much REST weight the source address has left, and who may use it (facts/binance.md §3, §6).
//!
//! The venue counts 2,400 a minute for all accounts and products of an address; one account's mistake starves all others, and
//! whoever goes on after a 429 is banned. So one meter stands before every call: it holds the sum of any 60 s below the limit,
//! counts what the venue's header tells of others' calls, and keeps shares: keeping listen keys alive is never refused by a
//! budget, only by a ban; a reconcile leaves room for keys; the safety net leaves room for reconciles.
//!
//! Sans-IO: time is passed in. [`SharedMeter`](super::reconcile::meter_file::SharedMeter) puts it into a file that all
//! processes of the box use. Control plane.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::Mono;
use crate::domain::limits::{
    WEIGHT_HOLD_MAX, WEIGHT_RECONCILE_PERCENT, WEIGHT_SYNC_PERCENT, WEIGHT_WINDOW, WEIGHTS_COUNTED_MAX,
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
    /// Yes, and it is counted.
    Now,
    /// No; ask again then. Nothing is counted.
    At(Mono),
}

/// A call that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// When.
    pub at: Mono,
    /// How much.
    pub weight: u32,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct WeightMeter {
    limit: u32,
    spent: VecDeque<Spent>,
    /// The newest header: what the venue had counted then, of everybody at this address.
    told: Option<Spent>,
    /// No call before, whatever it is for.
    banned_until: Mono,
    /// No call of a class before: 429 stops one class after the other.
    held_until: [Mono; 3],
}

impl WeightMeter {
    /// A meter for `limit` a minute.
    #[must_use]
    pub fn new(limit: u32) -> WeightMeter {
        WeightMeter { limit, spent: VecDeque::new(), told: None, banned_until: Mono::ZERO, held_until: [Mono::ZERO; 3] }
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
        let not_before = self.banned_until.max(self.held_until[class.index()]);
        if now < not_before {
            return WeightPermit::At(not_before);
        }
        if class != WeightClass::Keys
            && let Some(at) = self.fits_at(ceiling - weight, now)
        {
            return WeightPermit::At(at);
        }
        self.record(Spent { at: now, weight });
        WeightPermit::Now
    }

    /// Counts a call without asking: another process made it.
    pub fn record(&mut self, spent: Spent) {
        if self.spent.len() == WEIGHTS_COUNTED_MAX {
            // Two calls become one of the later time: never less than the truth.
            let first = self.spent.pop_front().map_or(0, |first| first.weight);
            if let Some(second) = self.spent.front_mut() {
                second.weight += first;
            }
        }
        let at = self.spent.partition_point(|other| other.at <= spent.at);
        self.spent.insert(at, spent);
    }

    /// The limit of a minute.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// The calls that are counted, the oldest first.
    pub fn spent(&self) -> impl Iterator<Item = Spent> {
        self.spent.iter().copied()
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

    /// The header `x-mbx-used-weight-1m` of an answer.
    pub fn handle_told(&mut self, used: u32, now: Mono) {
        // What the venue has counted includes what we have counted up to now.
        self.told = Some(Spent { at: now, weight: used });
    }

    /// 429: stops the least important class that still goes, for `pause`; a second one within it stops the next.
    pub fn handle_limited(&mut self, pause: Duration, now: Mono) {
        let until = now.plus(pause.clamp(WEIGHT_WINDOW, WEIGHT_HOLD_MAX));
        let going = [WeightClass::SyncOrders, WeightClass::Reconcile]
            .into_iter()
            .find(|class| self.held_until[class.index()] <= now)
            .unwrap_or(WeightClass::Reconcile);
        for class in [WeightClass::SyncOrders, WeightClass::Reconcile] {
            if class >= going {
                let held = &mut self.held_until[class.index()];
                *held = (*held).max(until);
            }
        }
        // The venue has counted more than we know: as if the minute were full.
        self.told = Some(Spent { at: now, weight: self.limit });
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
        let ends = self.spent.iter().map(|spent| spent.at).chain(self.told.map(|told| told.at));
        let ends = ends.map(|at| at.plus(WEIGHT_WINDOW)).filter(|&end| end > now);
        ends.filter(|&end| self.used_at(end) <= room).min().or(Some(now.plus(WEIGHT_WINDOW)))
    }

    fn used_at(&self, now: Mono) -> u32 {
        let sum = |from: Mono| {
            let inside = self.spent.iter().filter(|spent| spent.at.plus(WEIGHT_WINDOW) > now && spent.at >= from);
            inside.fold(0_u32, |sum, spent| sum.saturating_add(spent.weight))
        };
        let own = sum(Mono::ZERO);
        match self.told {
            Some(told) if told.at.plus(WEIGHT_WINDOW) > now => {
                let since = self.spent.iter().filter(|spent| spent.at > told.at && spent.at <= now);
                own.max(since.fold(told.weight, |sum, spent| sum.saturating_add(spent.weight)))
            }
            _ => own,
        }
    }

    /// Gives up what has left the window.
    pub fn forget(&mut self, now: Mono) {
        while self.spent.front().is_some_and(|spent| spent.at.plus(WEIGHT_WINDOW) <= now) {
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

    #[test]
    fn classes_leave_room_for_the_more_important() {
        let mut meter = meter();
        let many = |meter: &mut WeightMeter, class, weight| {
            (0..10_000).take_while(|_| meter.permit(class, weight, at(0)) == WeightPermit::Now).count()
        };
        assert_eq!(many(&mut meter, SyncOrders, 90), 13);
        assert_eq!(many(&mut meter, Reconcile, 90), 8);
        assert_eq!(meter.used(at(0)), 21 * 90);
        assert_eq!(meter.permit(Keys, 1, at(0)), WeightPermit::Now);
        assert_eq!(meter.permit(SyncOrders, 90, at(1)), WeightPermit::At(at(60)));
        assert_eq!(meter.permit(SyncOrders, 90, at(60)), WeightPermit::Now);
    }

    #[test]
    fn what_others_used_counts_by_the_header() {
        let mut meter = meter();
        meter.handle_told(1_900, at(10));
        assert_eq!(meter.permit(Reconcile, 40, at(11)), WeightPermit::At(at(70)));
        assert_eq!(meter.permit(Reconcile, 20, at(11)), WeightPermit::Now);
        assert_eq!(meter.used(at(11)), 1_920);
        assert_eq!(meter.permit(Keys, 1, at(11)), WeightPermit::Now);
        // A lower number is newer truth: the venue's minute has turned.
        meter.handle_told(5, at(30));
        assert_eq!(meter.used(at(30)), 21);
    }

    #[test]
    fn limits_stop_class_by_class_and_a_ban_stops_all() {
        let mut meter = meter();
        meter.handle_limited(Duration::from_secs(1), at(0));
        assert_eq!((meter.held_until(SyncOrders, at(1)), meter.held_until(Reconcile, at(1))), (Some(at(60)), None));
        assert_eq!(meter.permit(Keys, 1, at(1)), WeightPermit::Now);
        meter.handle_limited(Duration::from_secs(120), at(2));
        assert_eq!(meter.held_until(Reconcile, at(3)), Some(at(122)));
        assert_eq!(meter.held_until(SyncOrders, at(3)), Some(at(122)));
        meter.handle_banned(at(500));
        for class in WeightClass::ALL {
            assert_eq!(meter.permit(class, 1, at(200)), WeightPermit::At(at(500)));
        }
        assert_eq!(meter.permit(Keys, 1, at(500)), WeightPermit::Now);
    }

    #[test]
    fn time_for_a_host_wide_return() {
        let meter = meter();
        let minutes = |n| meter.time_for(Reconcile, 90, n, at(0)).as_secs() / 60;
        assert_eq!([minutes(21), minutes(22), minutes(42), minutes(2_000)], [0, 1, 1, 95]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is asked, no 60 s hold more than the limit but for keys, and an answer "then" is the first instant.
        #[test]
        fn no_window_is_overfull(asks in prop::collection::vec((0_u64..5_000, 1_u32..120, 0_usize..3), 1..400)) {
            let mut meter = WeightMeter::new(1_200);
            let mut now = 0;
            let mut granted: Vec<(u64, u32)> = Vec::new();
            for (step, weight, class) in asks {
                now += step;
                let mono = Mono::from_nanos(now * 1_000_000);
                let class = WeightClass::ALL[class];
                match meter.permit(class, weight, mono) {
                    WeightPermit::Now if class != Keys => {
                        granted.push((now, weight));
                        let inside = |&&(at, _): &&(u64, u32)| at + 60_000 > now;
                        let sum: u32 = granted.iter().filter(inside).map(|&(_, weight)| weight).sum();
                        prop_assert!(sum <= meter.ceiling(class));
                    }
                    WeightPermit::Now => {}
                    WeightPermit::At(then) => {
                        prop_assert!(then > mono);
                        let mut copy = meter.clone();
                        prop_assert_eq!(copy.permit(class, weight, then), WeightPermit::Now);
                    }
                }
            }
        }
    }
}
