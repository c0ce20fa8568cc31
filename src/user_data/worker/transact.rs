//! One piece of a lane in one transaction: progress locked and the lease's number compared, each job applied, progress written.
//!
//! A transaction whose commit had no answer is done again: audit keys, rules and progress make the second time change nothing.
//! A panic while applying rolls back and costs the job, not the thread.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::disorder::{self, Turn};
use super::job::{JobContent, LaneJob};
use super::lanes::Piece;
use crate::domain::limits::WORK_AUDIT_AHEAD_BYTES_MAX;
use crate::domain::{Clock, Wall};
use crate::store::work::{End, WorkTransaction};
use crate::store::work_rows::Progress;
use crate::store::{Result, StoreError, WorkStore};
use crate::user_data::apply::{AuditOutcome, JobEvent, Outcome, Policy, audit_ahead};

/// What applies one job: [`crate::user_data::apply::apply`], or what a test puts around it.
pub type Apply = Arc<dyn Fn(&mut dyn WorkTransaction, &JobEvent<'_>, &Policy, Wall) -> Result<Outcome> + Send + Sync>;

/// How a transaction ended.
#[derive(Debug)]
pub enum Ended {
    /// Committed.
    Committed {
        /// What became of each job, from the front of the piece.
        outcomes: Vec<Outcome>,
        /// The job behind them waits for the record at this position.
        missing: Option<u64>,
        /// The first job was applied without its predecessor.
        disorder: bool,
    },
    /// This later lease has written: nothing was.
    Fenced(u64),
    /// Nothing was written.
    Failed(StoreError),
    /// A mistake of this program, at this job of the piece; nothing was written.
    Panicked(usize, String),
}

/// Applies as many jobs of the piece as may go together.
pub fn transact(
    store: &mut WorkStore,
    piece: &Piece,
    apply: &Apply,
    (policy, canonical): (&Policy, &str),
    clock: &dyn Clock,
) -> Ended {
    let mut outcomes = Vec::with_capacity(piece.jobs.len());
    let (mut missing, mut disorder, mut fenced) = (None, false, None);
    let mut at = 0;
    let worked = catch_unwind(AssertUnwindSafe(|| {
        store.run(|tables| {
            tables.transaction(&mut |tx| {
                outcomes.clear();
                (missing, disorder, fenced, at) = (None, false, None, 0);
                let Some(account_id) = piece.jobs.iter().find_map(|job| Some(job.content.as_ref().ok()?.account_id))
                else {
                    return Ok(End::RollBack);
                };
                let mut progress = tx.lock_progress(account_id)?;
                if let Some(by) = progress.map(|progress| progress.fence).filter(|&by| by > piece.fence) {
                    fenced = Some(by);
                    return Ok(End::RollBack);
                }
                let straight = straight_run(piece, progress.as_ref());
                if straight > 1 {
                    let events: Vec<_> = piece.jobs[..straight]
                        .iter()
                        .filter_map(|job| Some(event_of(job, job.content.as_ref().ok()?, canonical)))
                        .collect();
                    audit_ahead(tx, &events)?;
                }
                for (index, job) in piece.jobs.iter().enumerate() {
                    at = index;
                    let Ok(content) = &job.content else { break };
                    let turn =
                        content.place.as_ref().map(|place| disorder::turn(progress.as_ref(), piece.passed, place));
                    if let Some(Turn::Missing(position)) = turn {
                        if index > 0 || !piece.waived {
                            missing = Some(position);
                            break;
                        }
                        disorder = true;
                    }
                    let outcome = apply(tx, &event_of(job, content, canonical), policy, clock.now().wall)?;
                    let is_new = outcome.audit != AuditOutcome::Duplicate;
                    if let Some(place) = &content.place {
                        progress = Some(disorder::advance(progress.as_ref(), place, is_new, piece.fence));
                    }
                    outcomes.push(outcome);
                }
                if outcomes.is_empty() {
                    return Ok(End::RollBack);
                }
                if let Some(progress) = &progress {
                    tx.set_progress(account_id, &Progress { fence: piece.fence, ..*progress })?;
                }
                Ok(End::Commit)
            })
        })
    }));
    match worked {
        Ok(Ok(_)) => match fenced {
            Some(by) => Ended::Fenced(by),
            None => Ended::Committed { outcomes, missing, disorder },
        },
        Ok(Err(error)) => Ended::Failed(error),
        Err(panic) => {
            store.close();
            Ended::Panicked(at, said(&*panic))
        }
    }
}

/// How many of the piece's first jobs are certain to be applied one after the other: each names the one before it. Only their
/// audit rows may be written ahead, since a row of a job that then has to wait would stand before that of its predecessor.
fn straight_run(piece: &Piece, progress: Option<&Progress>) -> usize {
    let (mut run, mut bytes, mut before) = (0, 0, None);
    for job in &piece.jobs {
        let Ok(JobContent { place: Some(place), raw, .. }) = &job.content else { break };
        let follows = match before {
            None => !matches!(disorder::turn(progress, piece.passed, place), Turn::Missing(_)),
            Some((epoch, position)) => place.epoch == epoch && place.previous == Some(position),
        };
        bytes += raw.len();
        if !follows || bytes > WORK_AUDIT_AHEAD_BYTES_MAX {
            break;
        }
        before = Some((place.epoch, place.position));
        run += 1;
    }
    run
}

fn event_of<'a>(job: &'a LaneJob, content: &'a JobContent, canonical: &'a str) -> JobEvent<'a> {
    let place = content.place.unwrap_or_default();
    JobEvent {
        account_id: content.account_id,
        api_system_id: content.api_system_id,
        canonical: content.canonical.as_deref().unwrap_or(canonical),
        kind: &content.kind,
        uuid: &job.uuid,
        epoch: place.epoch,
        position: place.position,
        previous: place.previous,
        received_at: content.received_at,
        reserved_at: job.reserved_at,
        raw: &content.raw,
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a mistake of this program: {}", text.unwrap_or("a panic without words"))
}
