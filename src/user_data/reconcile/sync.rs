//! The safety net without a daemon: compares one account after the other, and applies what nobody heard in the database itself,
//! by the same rules and in transactions like the worker's. So it works while no daemon does (facts/incumbent.md §9, 44).
//!
//! A worker may be at work meanwhile: the account's row of progress is locked, and an event that is applied twice changes
//! nothing. Progress is left alone: these events have no place in the spool.

use std::time::Duration;

use super::conclusion::{Conclusion, RecoveredEvent};
use super::drive::Unfinished;
use super::meter_file::SharedMeter;
use super::ports::AccountRest;
use super::run::Run;
use super::venue_clock::VenueClock;
use crate::domain::Clock;
use crate::domain::limits::{SYNC_ACCOUNT_TIME_USUAL, SYNC_WEIGHT_USUAL};
use crate::store::reconcile::Exposure;
use crate::store::work::End;
use crate::store::{StoreError, WorkStore};
use crate::user_data::apply::{JobEvent, Policy, apply};
use crate::user_data::control::ports::ColumnCipher;
use crate::user_data::weight_meter::WeightClass;

/// In place of a job's uuid in `stream_decisions`.
const JOB: &str = "sync-orders";

/// What the comparison works with.
pub struct SyncOrders<'a> {
    /// `api_systems.canonical` of the venue.
    pub canonical: &'a str,
    /// The database.
    pub store: WorkStore,
    /// Reads the venue.
    pub rest: &'a dyn AccountRest,
    /// Laravel's columns.
    pub cipher: &'a dyn ColumnCipher,
    /// The address's weight.
    pub meter: &'a SharedMeter,
    /// The process's clock.
    pub clock: &'a dyn Clock,
    /// The venue's, as far as it is known.
    pub venue_clock: VenueClock,
    /// What events may do.
    pub policy: Policy,
    /// This run's: 128 random bits, in place of a spool's.
    pub epoch: [u8; 16],
    /// Whether to go on.
    pub goes_on: &'a dyn Fn() -> bool,
}

/// What was found for one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// What was missed, and what has drifted.
    pub conclusion: Conclusion,
    /// Audit rows that were written.
    pub audited: usize,
    /// Intents that were written.
    pub intents: Vec<&'static str>,
}

impl SyncOrders<'_> {
    /// Accounts with something to lose: those with positions first, of these the one that was asked longest ago, by whomever.
    ///
    /// # Errors
    /// The database's.
    pub fn exposures(&mut self) -> Result<Vec<Exposure>, StoreError> {
        let canonical = self.canonical;
        let mut exposures = self.store.run(|tables| tables.exposures(canonical))?;
        exposures.sort_by_key(|exposure| (exposure.positions == 0, exposure.asked_at, exposure.account_id));
        Ok(exposures)
    }

    /// How long it takes to ask `accounts` from now on, one after the other, if nobody else uses the address's weight.
    #[must_use]
    pub fn time_for(&self, accounts: usize) -> Duration {
        let weight = self.meter.time_for(WeightClass::SyncOrders, SYNC_WEIGHT_USUAL, accounts as u64, self.clock.now());
        weight.max(SYNC_ACCOUNT_TIME_USUAL.saturating_mul(u32::try_from(accounts).unwrap_or(u32::MAX)))
    }

    /// Compares one account, and with `writes` applies what is to be applied.
    ///
    /// # Errors
    /// [`Unfinished`]: this account could not be compared, or none can now.
    pub fn account(&mut self, exposure: &Exposure, writes: bool) -> Result<SyncReport, Unfinished> {
        let mut run = Run {
            account: exposure.account_id,
            canonical: self.canonical,
            heals: !self.policy.allowlist.is_empty(),
            store: &mut self.store,
            rest: self.rest,
            cipher: self.cipher,
            meter: self.meter,
            clock: self.clock,
            venue_clock: &self.venue_clock,
            goes_on: self.goes_on,
        };
        let found = run.sync_orders(None);
        if writes {
            run.note_asked(&found).map_err(Unfinished::because)?;
        }
        let mut report = SyncReport { conclusion: found?.conclusion, ..SyncReport::default() };
        if writes && !report.conclusion.events.is_empty() {
            let events = std::mem::take(&mut report.conclusion.events);
            let applied = self.apply(exposure, &events);
            report.conclusion.events = events;
            (report.audited, report.intents) = applied.map_err(Unfinished::because)?;
        }
        Ok(report)
    }

    fn apply(
        &mut self,
        exposure: &Exposure,
        events: &[RecoveredEvent],
    ) -> Result<(usize, Vec<&'static str>), StoreError> {
        let (policy, canonical, epoch) = (&self.policy, self.canonical, self.epoch);
        let now = self.clock.now().wall;
        let mut done = (0, Vec::new());
        self.store.run(|tables| {
            tables.transaction(&mut |tx| {
                done = (0, Vec::new());
                tx.lock_progress(exposure.account_id)?;
                for (position, event) in (1_u64..).zip(events) {
                    let job = JobEvent {
                        account_id: exposure.account_id,
                        api_system_id: exposure.api_system_id,
                        canonical,
                        kind: "recovered",
                        uuid: JOB,
                        epoch,
                        position,
                        previous: None,
                        received_at: now,
                        reserved_at: now,
                        raw: event.text.as_bytes(),
                    };
                    let outcome = apply(tx, &job, policy, now)?;
                    done.0 += usize::from(outcome.audit == crate::user_data::apply::AuditOutcome::Inserted);
                    done.1.extend(outcome.intents);
                }
                Ok(End::Commit)
            })
        })?;
        Ok(done)
    }
}
