//! Who is reconciled next. Accounts with a gap come first, of these the exposed ones, of these the one that waits longest;
//! then the safety net's round. One task an account at a time; what fails waits, longer each time, and says why. Sans-IO.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::drive::Unfinished;
use crate::domain::limits::{RECONCILE_RETRY_MAX, RECONCILE_RETRY_MIN};
use crate::domain::{Mono, Now, Random, Wall};
use crate::store::reconcile::{Exposure, WaitingGaps};

/// What is done for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Its gaps are closed.
    Gaps,
    /// Its orders are compared.
    Sync,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct ReconcileQueue {
    entries: BTreeMap<i64, Entry>,
    round: Round,
    random: Random,
}

#[derive(Debug, Default)]
struct Entry {
    gaps: u64,
    newest_id: i64,
    waiting_since: Wall,
    is_exposed: bool,
    has_positions: bool,
    wants_sync: bool,
    asked_at: Option<Wall>,
    running: Option<Task>,
    failures: u32,
    not_before: Mono,
    /// It failed for the database's sake, which answers at the next look.
    awaits_database: bool,
    trouble: Option<Arc<str>>,
}

/// The safety net's round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    started_at: Option<Mono>,
    left: usize,
}

/// How many are where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Accounts with gaps that nobody closes at the moment.
    pub waiting: usize,
    /// Accounts that are being reconciled.
    pub running: usize,
    /// Accounts whose reconcile could not be finished, each with why.
    pub degraded: Vec<(i64, Arc<str>)>,
    /// Accounts that the safety net's round has not asked for yet.
    pub sync_left: usize,
}

impl ReconcileQueue {
    /// Nobody waits.
    #[must_use]
    pub fn new(random: Random) -> ReconcileQueue {
        ReconcileQueue { entries: BTreeMap::new(), round: Round::default(), random }
    }

    /// What the database says: who has gaps, and who something to lose.
    pub fn handle_look(&mut self, waiting: &[WaitingGaps], exposed: &[Exposure]) {
        for entry in self.entries.values_mut() {
            (entry.gaps, entry.is_exposed) = (0, false);
            if std::mem::take(&mut entry.awaits_database) {
                entry.not_before = Mono::ZERO;
            }
        }
        for gaps in waiting {
            let entry = self.entries.entry(gaps.account_id).or_default();
            (entry.gaps, entry.newest_id, entry.waiting_since) = (gaps.gaps, gaps.newest_id, gaps.waiting_since);
        }
        for exposure in exposed {
            let entry = self.entries.entry(exposure.account_id).or_default();
            (entry.is_exposed, entry.has_positions) = (true, exposure.positions > 0);
            entry.asked_at = entry.asked_at.max(exposure.asked_at);
        }
        self.entries.retain(|_, entry| {
            if entry.gaps == 0 && !entry.wants_sync && entry.running.is_none() {
                (entry.failures, entry.trouble) = (0, None);
            }
            entry.gaps > 0 || entry.is_exposed || entry.wants_sync || entry.running.is_some()
        });
    }

    /// A round of the safety net begins, over all exposed accounts; `false` while one is under way.
    pub fn start_round(&mut self, now: Now) -> bool {
        if self.round.started_at.is_some() {
            return false;
        }
        let mut left = 0;
        for entry in self.entries.values_mut().filter(|entry| entry.is_exposed) {
            entry.wants_sync = true;
            left += 1;
        }
        self.round = Round { started_at: (left > 0).then_some(now.mono), left };
        true
    }

    /// The next task of an account that is ready, which is when its stream is live.
    pub fn poll(&mut self, now: Now, mut is_ready: impl FnMut(i64) -> bool) -> Option<(i64, Task)> {
        let due = self.entries.iter().filter(|(_, entry)| entry.running.is_none() && entry.not_before <= now.mono);
        let of_gaps = due.clone().filter(|(_, entry)| entry.gaps > 0);
        let mut gaps: Vec<_> = of_gaps.map(|(&id, entry)| ((!entry.is_exposed, entry.waiting_since), id)).collect();
        gaps.sort_unstable();
        let of_round = due.filter(|(_, entry)| entry.wants_sync && entry.gaps == 0);
        let rank = |entry: &Entry| (!entry.is_exposed, !entry.has_positions, entry.asked_at);
        let mut round: Vec<_> = of_round.map(|(&id, entry)| (rank(entry), id)).collect();
        round.sort_unstable();
        let gaps = gaps.into_iter().map(|(_, id)| (id, Task::Gaps));
        let round = round.into_iter().map(|(_, id)| (id, Task::Sync));
        let (id, task) = gaps.chain(round).find(|(id, _)| is_ready(*id))?;
        self.entries.get_mut(&id)?.running = Some(task);
        Some((id, task))
    }

    /// What became of a task; `newest_id` is the newest gap that it closed. How long the round took that ends with it.
    pub fn handle_done(&mut self, account: i64, outcome: Result<i64, Unfinished>, now: Now) -> Option<Duration> {
        let entry = self.entries.get_mut(&account)?;
        let task = entry.running.take()?;
        match outcome {
            Ok(newest_id) => {
                (entry.failures, entry.trouble, entry.not_before) = (0, None, Mono::ZERO);
                if task == Task::Gaps && entry.newest_id <= newest_id {
                    entry.gaps = 0;
                }
            }
            Err(Unfinished::Interrupted) => return None,
            Err(unfinished) => {
                entry.awaits_database = matches!(unfinished, Unfinished::Database(_));
                entry.failures = entry.failures.saturating_add(1);
                let doubled = RECONCILE_RETRY_MIN.saturating_mul(1 << entry.failures.saturating_sub(1).min(16));
                let pause = doubled.min(RECONCILE_RETRY_MAX);
                let jitter = self.random.below(pause.as_millis() as u64 / 4 + 1);
                entry.not_before = now.mono.plus(pause).plus(Duration::from_millis(jitter));
                entry.trouble = unfinished.sentence().cloned();
            }
        }
        // A round asks once, and a reconcile finds what it would; who failed is asked again in the next.
        (entry.wants_sync, entry.asked_at) = (false, Some(now.wall));
        self.round.left = self.entries.values().filter(|entry| entry.wants_sync).count();
        if self.round.left > 0 {
            return None;
        }
        self.round.started_at.take().map(|started| now.mono.since(started))
    }

    /// Accounts that the round still waits for, though their streams are down, are left to their gaps.
    pub fn skip_unready(&mut self, mut is_ready: impl FnMut(i64) -> bool) {
        for (&id, entry) in &mut self.entries {
            if entry.wants_sync && entry.running.is_none() && !is_ready(id) {
                entry.wants_sync = false;
            }
        }
        self.round.left = self.entries.values().filter(|entry| entry.wants_sync).count();
        if self.round.left == 0 {
            self.round.started_at = None;
        }
    }

    /// The round is another process's now: what has not begun is left to it.
    pub fn abandon_round(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.wants_sync = false);
        self.round = Round::default();
    }

    /// What to show.
    #[must_use]
    pub fn status(&self) -> QueueStatus {
        let entries = || self.entries.iter();
        let troubles = entries().filter_map(|(&id, entry)| Some((id, Arc::clone(entry.trouble.as_ref()?))));
        QueueStatus {
            waiting: entries().filter(|(_, entry)| entry.gaps > 0 && entry.running.is_none()).count(),
            running: entries().filter(|(_, entry)| entry.running.is_some()).count(),
            degraded: troubles.collect(),
            sync_left: self.round.left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::reconcile::Standing;

    fn at(seconds: u64) -> Now {
        Now { mono: Mono::from_nanos(seconds * 1_000_000_000), wall: Wall::default() }
    }

    fn gaps(account_id: i64, newest_id: i64, since_s: i64) -> WaitingGaps {
        let waiting_since = Wall::from_millis(since_s * 1_000);
        WaitingGaps { account_id, gaps: 1, newest_id, waiting_since, standing: Standing::Streamed }
    }

    fn exposed(account_id: i64) -> Exposure {
        Exposure { account_id, api_system_id: 1, positions: 1, orders: 0, asked_at: None, compared_at: None }
    }

    fn queue() -> ReconcileQueue {
        ReconcileQueue::new(Random::from_seed(1))
    }

    #[test]
    fn the_exposed_come_first_then_the_stalest_and_rounds_last() {
        let mut queue = queue();
        queue.handle_look(&[gaps(1, 1, 50), gaps(2, 2, 10), gaps(3, 3, 30)], &[exposed(3), exposed(4)]);
        assert!(queue.start_round(at(0)));
        let mut order = Vec::new();
        while let Some(next) = queue.poll(at(0), |id| id != 2) {
            order.push(next);
        }
        assert_eq!(order, [(3, Task::Gaps), (1, Task::Gaps), (4, Task::Sync)]);
        assert_eq!(queue.poll(at(0), |_| true), Some((2, Task::Gaps)));
        assert_eq!((queue.status().running, queue.start_round(at(0))), (4, false));
        // A gap that came while the account was reconciled is not closed by that.
        queue.handle_look(&[gaps(3, 9, 60)], &[exposed(3), exposed(4)]);
        assert_eq!(queue.handle_done(3, Ok(3), at(1)), None);
        assert_eq!(queue.poll(at(1), |_| true), Some((3, Task::Gaps)));
        assert_eq!(queue.handle_done(3, Ok(9), at(2)), None);
        assert_eq!(queue.status().sync_left, 1);
        assert_eq!(queue.handle_done(4, Ok(0), at(7)), Some(Duration::from_secs(7)));
        assert_eq!(queue.poll(at(7), |id| id == 3), None, "a reconcile has found what the round would");
    }

    #[test]
    fn a_round_asks_those_with_positions_first_and_of_these_the_stalest_whoever_asked_it() {
        let mut queue = queue();
        let asked = |account_id, positions, at_s: Option<i64>| Exposure {
            positions,
            orders: 1,
            asked_at: at_s.map(|at| Wall::from_millis(at * 1_000)),
            ..exposed(account_id)
        };
        queue.handle_look(&[], &[asked(1, 1, Some(90)), asked(2, 1, Some(30)), asked(3, 0, None), asked(4, 2, None)]);
        assert!(queue.start_round(at(0)));
        let order = |queue: &mut ReconcileQueue| -> Vec<i64> {
            std::iter::from_fn(|| queue.poll(at(0), |_| true)).map(|(id, _)| id).collect()
        };
        assert_eq!(order(&mut queue), [4, 2, 1, 3]);
        // Another process has the lease: what has not begun is left, and what has ends no round.
        queue.abandon_round();
        for id in 1..=4 {
            assert_eq!(queue.handle_done(id, Ok(0), at(1)), None);
        }
        assert_eq!((order(&mut queue), queue.status()), (vec![], QueueStatus::default()));
        assert!(queue.start_round(at(2)), "it came back");
    }

    #[test]
    fn what_failed_for_the_databases_sake_begins_anew_when_it_answers() {
        let mut queue = queue();
        queue.handle_look(&[gaps(1, 1, 0)], &[]);
        for now in 0..8 {
            assert_eq!(queue.poll(at(now), |_| true), Some((1, Task::Gaps)), "{now}");
            queue.handle_done(1, Err(Unfinished::Database("the database: it is away".into())), at(now));
            assert_eq!((queue.poll(at(now), |_| true), queue.status().degraded.len()), (None, 1));
            queue.handle_look(&[gaps(1, 1, 0)], &[]);
        }
    }

    #[test]
    fn a_failure_waits_longer_each_time_and_is_visible_until_it_is_mended() {
        let mut queue = queue();
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            queue.handle_look(&[gaps(1, 1, 0)], &[]);
            let from = now;
            while queue.poll(at(now), |_| true).is_none() {
                now += 1;
            }
            pauses.push(now - from);
            queue.handle_done(1, Err(Unfinished::because("it is shut")), at(now));
        }
        assert!(pauses.is_sorted_by(|one, next| one <= next || *next >= 300), "{pauses:?}");
        assert!(pauses[1] >= 2 && (300..=376).contains(pauses.last().unwrap()), "{pauses:?}");
        assert_eq!(queue.status().degraded, [(1, "it is shut".into())]);
        now += 400;
        assert_eq!(queue.poll(at(now), |_| true), Some((1, Task::Gaps)));
        queue.handle_done(1, Err(Unfinished::Interrupted), at(now));
        assert_eq!(queue.poll(at(now), |_| true), Some((1, Task::Gaps)), "nobody was at fault");
        queue.handle_done(1, Ok(1), at(now));
        assert_eq!(queue.status(), QueueStatus::default());
    }
}
