//! A thread that works on lanes: takes a piece, applies it, and says what comes next for its lane.

use std::sync::Arc;

use parking_lot::Mutex;

use super::failing;
use super::lanes::{Lanes, Piece, Then, Verdict};
use super::retry::{Blame, blame, retry_after};
use super::status::Meters;
use super::transact::{Apply, Ended, transact};
use super::{PolicyCell, WorkConfig};
use crate::domain::limits::WORK_IDLE_MAX;
use crate::domain::{Clock, Random};
use crate::store::{StoreError, WorkStore};
use crate::user_data::apply::{AuditOutcome, Outcome};

/// The reason in the row of `stream_gaps` where an event could not be understood in full.
pub const NEEDS_RECONCILE_REASON: &str = "event_incomplete";

/// See the module's documentation.
pub(super) struct LaneThread {
    pub lanes: Arc<Lanes>,
    pub store: WorkStore,
    pub apply: Apply,
    pub policy: Arc<PolicyCell>,
    pub config: Arc<WorkConfig>,
    pub meters: Arc<Mutex<Meters>>,
    pub clock: Arc<dyn Clock>,
    pub random: Random,
}

impl LaneThread {
    /// Works until the lanes are closed.
    pub fn run(mut self, is_stopping: &dyn Fn() -> bool) {
        while !is_stopping() {
            if let Some(piece) = self.lanes.take(&*self.clock, WORK_IDLE_MAX) {
                let before = self.store.statements();
                let verdict = self.work(&piece);
                self.meters.lock().status.statements += self.store.statements() - before;
                self.lanes.put_down(&piece, verdict, self.clock.now());
            }
        }
    }

    /// Works on one piece.
    fn work(&mut self, piece: &Piece) -> Verdict {
        let first = &piece.jobs[0];
        if let Some(why) = piece.failing.clone().or_else(|| first.content.as_ref().err().map(|why| why.as_str().into()))
        {
            return self.fail(piece, why);
        }
        let policy = self.policy.read();
        match transact(&mut self.store, piece, &self.apply, (&policy, &self.config.canonical), &*self.clock) {
            Ended::Committed { outcomes, missing, disorder } => self.committed(piece, &outcomes, missing, disorder),
            Ended::Fenced(by) => Verdict { done: 0, then: Then::Fenced(by) },
            Ended::Failed(error) => match blame(error.class()) {
                Blame::Surroundings => self.retry(piece, error.sentence().into()),
                Blame::Job if piece.jobs.len() > 1 => Verdict { done: 0, then: Then::Alone(piece.jobs.len()) },
                Blame::Job => self.spend(piece, error.sentence()),
            },
            Ended::Panicked(at, said) => {
                self.meters.lock().status.panics += 1;
                tracing::error!("{said} (job {})", piece.jobs[at].uuid);
                if piece.jobs.len() > 1 {
                    return Verdict { done: 0, then: Then::Alone(piece.jobs.len()) };
                }
                self.spend(piece, &said)
            }
        }
    }

    fn committed(&mut self, piece: &Piece, outcomes: &[Outcome], missing: Option<u64>, disorder: bool) -> Verdict {
        let now = self.clock.now();
        let done = outcomes.len();
        // Before the acknowledgement: a job whose mark was not written comes again.
        for (job, outcome) in piece.jobs.iter().zip(outcomes) {
            if let (true, Ok(content)) = (outcome.needs_reconcile, &job.content)
                && let Err(error) = self.store.run(|tables| {
                    let (account, system) = (content.account_id, content.api_system_id);
                    tables.request_reconcile(account, system, NEEDS_RECONCILE_REASON, now.wall)
                })
            {
                return self.retry(piece, error.sentence().into());
            }
        }
        {
            let mut meters = self.meters.lock();
            for (job, outcome) in piece.jobs.iter().zip(outcomes) {
                if let Ok(content) = &job.content {
                    meters.committed(content.received_at, job.reserved_at, now.wall);
                }
                let status = &mut meters.status;
                status.applied += 1;
                status.duplicates += u64::from(outcome.audit == AuditOutcome::Duplicate);
                status.gaps += u64::from(outcome.audit == AuditOutcome::NoRow);
                status.misfits += u64::from(outcome.misfits);
                status.reconciles += u64::from(outcome.needs_reconcile);
                status.intents += outcome.intents.len() as u64;
            }
            meters.status.transactions += u64::from(done > 0);
            meters.status.disorder += u64::from(disorder);
        }
        let Some(position) = missing else { return Verdict { done, then: Then::Go } };
        // A wait that has begun goes on, also when the piece was put down meanwhile.
        let since = if done == 0 { piece.missing_since.unwrap_or(now.mono) } else { now.mono };
        let until = since.plus(self.config.disorder_wait);
        let then = if now.mono >= until {
            tracing::warn!("the record at position {position} has not come before its next; going on without it");
            Then::Waive
        } else {
            Then::Missing { position, until }
        };
        Verdict { done, then }
    }

    /// The job is tried again; nobody is to blame.
    fn retry(&mut self, piece: &Piece, why: Arc<str>) -> Verdict {
        self.meters.lock().status.retries += 1;
        if piece.failures == 0 {
            tracing::warn!("jobs wait: {why}");
        }
        let after = retry_after(piece.failures.saturating_add(1), &mut self.random);
        Verdict { done: 0, then: Then::Retry { after, why, spent: false, failing: piece.failing.clone() } }
    }

    /// The job is to blame: it is tried again after the backoff, up to its tries.
    fn spend(&mut self, piece: &Piece, why: &str) -> Verdict {
        self.meters.lock().status.attempts += 1;
        let job = &piece.jobs[0];
        let spent = piece.spent + 1;
        tracing::warn!("job {} failed, attempt {spent} of {}: {why}", job.uuid, self.config.tries);
        if spent >= self.config.tries {
            return self.fail(piece, why.into());
        }
        let why = format!("attempt {spent} of {} failed: {why}", self.config.tries).into();
        let after = self.config.backoff.get(piece.spent as usize).or(self.config.backoff.last()).copied();
        Verdict { done: 0, then: Then::Retry { after: after.unwrap_or_default(), why, spent: true, failing: None } }
    }

    /// The job has failed for good: its row, and the lane goes on.
    fn fail(&mut self, piece: &Piece, why: Arc<str>) -> Verdict {
        let job = &piece.jobs[0];
        let place = (self.config.connection.as_str(), self.config.queue.as_str());
        match failing::record(&mut self.store, job, place, &why, self.clock.now().wall) {
            Ok(()) => {
                tracing::error!("job {} is in failed_jobs: {why}", job.uuid);
                let mut meters = self.meters.lock();
                meters.status.failed += 1;
                meters.status.unreadable += u64::from(job.content.is_err());
                meters.status.reconciles += u64::from(job.content.is_ok());
                Verdict { done: 1, then: Then::Go }
            }
            Err(error) => self.keep_failing(piece, why, &error),
        }
    }

    fn keep_failing(&mut self, piece: &Piece, why: Arc<str>, error: &StoreError) -> Verdict {
        let sentence = format!("failed_jobs takes no row: {}", error.sentence());
        match self.retry(piece, sentence.into()) {
            Verdict { then: Then::Retry { after, why: held, spent, .. }, .. } => {
                Verdict { done: 0, then: Then::Retry { after, why: held, spent, failing: Some(why) } }
            }
            other => other,
        }
    }
}
