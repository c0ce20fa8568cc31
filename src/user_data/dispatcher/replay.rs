//! A rewound stretch, less what consumers have applied: a server that forgot everything has the spool read again from its
//! oldest record, a day of it, of which all but the last moments is done.
//!
//! Two questions, since each alone misleads. How far an account is says where looking is worth while, at the price of one
//! question. That an event is done says its own row: one that the queue lost before a worker had it may lie below its account's
//! progress, since a worker waits for a missing record only so long. A record without that proof is pushed again, which does
//! no harm; so is everything as soon as nobody answers.

use std::collections::HashMap;
use std::time::Duration;

use super::Dispatcher;
use crate::domain::limits::REPLAY_LOOK_MAX;
use crate::queue::job_uuid;
use crate::spool::{AccountId, Disk, Identity, Kind, Reader, Record};
use crate::user_data::apply::audit_key;

/// What consumers have applied, as far as somebody can say it within a bounded time.
pub trait AppliedEvents: Send {
    /// Each account's last applied record; `None`: not known now. Nothing is there where consumers keep no such account.
    fn progress(&mut self) -> Option<Vec<(AccountId, Identity)>>;

    /// Of each of these events, whether it is done; `None`: not known now.
    fn done(&mut self, events: Vec<EventName>) -> Option<Vec<bool>>;
}

/// By what an event is known in the consumers' tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName {
    /// `api_data_stream.idempotency_key`: it was applied.
    pub audit_key: String,
    /// `failed_jobs.uuid`: it has failed for good, and somebody has been told.
    pub job_uuid: String,
}

/// The stretch at hand.
#[derive(Debug)]
pub(super) struct Replay {
    /// Behind the last record that was handed out before the rewind.
    until: u64,
    /// Of accounts whose last applied record is this spool's; `None` before it was asked for.
    progress: Option<HashMap<AccountId, u64>>,
    /// Of the records at hand, those that are done, ascending.
    done: Vec<u64>,
    /// What looking has taken so far.
    took: Duration,
    skipped: u64,
}

impl Replay {
    pub fn new(until: u64) -> Replay {
        Replay { until, progress: None, done: Vec::new(), took: Duration::ZERO, skipped: 0 }
    }

    /// Whether this record at hand is done.
    pub fn is_done(&self, position: u64) -> bool {
        self.done.binary_search(&position).is_ok()
    }

    /// Notes that the record is left out.
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// How far each account is, of those whose last applied record is in this spool: positions grow through all epochs of one
    /// folder, and another folder's say nothing here.
    fn ask_progress<D: Disk>(&mut self, applied: &mut dyn AppliedEvents, reader: &Reader<D>) -> Option<()> {
        if self.progress.is_none() {
            let known = applied.progress()?.into_iter().filter(|(_, identity)| reader.holds(*identity));
            self.progress = Some(known.map(|(account, identity)| (account, identity.position)).collect());
        }
        Some(())
    }

    /// Whether the record may be done: then it is worth a look. A gap is pushed in any case, there are few.
    fn is_worth_a_look(&self, record: &Record<'_>) -> bool {
        let position = record.identity.position;
        let applied = self.progress.as_ref().and_then(|progress| progress.get(&record.account)).copied();
        matches!(record.kind, Kind::Frame | Kind::Recovered)
            && position < self.until
            && applied.is_some_and(|applied| position <= applied)
    }
}

impl<D: Disk> Dispatcher<D> {
    /// Finds out which of the records at hand are done already. Whether it had to ask for them.
    pub(super) fn look_for_done(&mut self) -> bool {
        let Some(mut replay) = self.replay.take() else { return false };
        replay.done.clear();
        let first = self.read.iter().next().map(|record| record.identity.position);
        if first.is_some_and(|position| position >= replay.until) {
            tracing::info!("the queue is filled again: {} records were applied before and left out", replay.skipped);
            return false;
        }
        let started = self.parts.clock.now().mono;
        let Some(has_asked) = self.ask_done(&mut replay) else {
            tracing::warn!("nobody says now what is applied already: the rest of the spool is pushed as it is");
            return false;
        };
        if replay.progress.as_ref().is_some_and(HashMap::is_empty) {
            return false;
        }
        replay.took += self.parts.clock.now().mono.since(started);
        if replay.took > REPLAY_LOOK_MAX {
            tracing::warn!(
                "looking up what is applied already takes too long: the rest of the spool is pushed as it is"
            );
            replay.until = 0;
        }
        self.replay = Some(replay);
        has_asked
    }

    fn ask_done(&mut self, replay: &mut Replay) -> Option<bool> {
        replay.ask_progress(&mut *self.parts.applied, &self.parts.reader)?;
        let (mut positions, mut names) = (Vec::new(), Vec::new());
        for record in self.read.iter().filter(|record| replay.is_worth_a_look(record)) {
            // Whoever has progress is in the database, whose ids are no larger.
            let account = i64::try_from(record.account.0).unwrap_or_default();
            positions.push(record.identity.position);
            names.push(EventName {
                audit_key: audit_key(account, i64::from(record.exchange.0), record.payload),
                job_uuid: job_uuid(record.identity.epoch.0, record.identity.position),
            });
        }
        if names.is_empty() {
            return Some(false);
        }
        let done = self.parts.applied.done(names)?;
        replay
            .done
            .extend(positions.into_iter().zip(done).filter_map(|(position, is_done)| is_done.then_some(position)));
        Some(true)
    }
}
