//! The dispatcher's look into the worker's tables, on a thread of its own: a database that stands still holds that thread up,
//! and the dispatcher for a bounded time only.
//!
//! The thread begins with the first question, that is, when a queue's server has lost what it had taken. While it waits for an
//! answer that nobody wants any more, further questions are answered at once with "not known".

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::thread::spawn;
use crate::domain::limits::{REPLAY_ANSWER_FIRST, REPLAY_ANSWER_MAX};
use crate::spool::{AccountId, Epoch, Identity};
use crate::store::{Result, WorkStore};
use crate::user_data::dispatcher::{AppliedEvents, EventName};

/// A session that nobody needs for so long is closed.
const SESSION_IDLE_MAX: Duration = Duration::from_secs(10);

enum Question {
    Progress(Sender<Result<Vec<(AccountId, Identity)>>>),
    Done(Vec<EventName>, Sender<Result<Vec<bool>>>),
}

/// See the module's documentation.
pub struct AppliedLook {
    /// Until the thread begins.
    store: Option<WorkStore>,
    questions: Sender<Question>,
    asked: Receiver<Question>,
}

impl AppliedLook {
    /// Looks into the tables behind `store`; contacts nothing yet.
    #[must_use]
    pub fn new(store: WorkStore) -> AppliedLook {
        let (questions, asked) = bounded(1);
        AppliedLook { store: Some(store), questions, asked }
    }

    fn ask<T>(&mut self, question: impl FnOnce(Sender<Result<T>>) -> Question, bound: Duration) -> Option<T> {
        if let Some(store) = self.store.take() {
            let asked = self.asked.clone();
            let begun: io::Result<_> = spawn("applied-look", move || run(store, &asked));
            if let Err(error) = begun {
                tracing::warn!("no thread to look into the worker's tables with: {error}");
            }
        }
        let (reply, answer) = bounded(1);
        self.questions.try_send(question(reply)).ok()?;
        match answer.recv_timeout(bound) {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::warn!("the worker's tables cannot be read: {error}");
                None
            }
            Err(_) => {
                tracing::warn!("the database has not said within {} s what is applied", bound.as_secs());
                None
            }
        }
    }
}

impl AppliedEvents for AppliedLook {
    fn progress(&mut self) -> Option<Vec<(AccountId, Identity)>> {
        self.ask(Question::Progress, REPLAY_ANSWER_FIRST)
    }

    fn done(&mut self, events: Vec<EventName>) -> Option<Vec<bool>> {
        self.ask(|reply| Question::Done(events, reply), REPLAY_ANSWER_MAX)
    }
}

/// Answers until nobody can ask any more. An answer that nobody waits for is dropped.
fn run(mut store: WorkStore, asked: &Receiver<Question>) {
    loop {
        match asked.recv_timeout(SESSION_IDLE_MAX) {
            Ok(Question::Progress(reply)) => drop(reply.send(progress(&mut store))),
            Ok(Question::Done(events, reply)) => drop(reply.send(done(&mut store, &events))),
            Err(RecvTimeoutError::Timeout) => store.close(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn progress(store: &mut WorkStore) -> Result<Vec<(AccountId, Identity)>> {
    let rows = store.run(|tables| tables.all_progress())?;
    let rows = rows.into_iter().filter_map(|(account, progress)| {
        let identity = Identity { epoch: Epoch(progress.epoch), position: progress.position };
        Some((AccountId(u64::try_from(account).ok()?), identity))
    });
    Ok(rows.collect())
}

fn done(store: &mut WorkStore, events: &[EventName]) -> Result<Vec<bool>> {
    let keys: Vec<String> = events.iter().map(|event| event.audit_key.clone()).collect();
    let audited: HashSet<String> = store.run(|tables| tables.audited_keys(&keys))?.into_iter().collect();
    let missing = events.iter().filter(|event| !audited.contains(&event.audit_key));
    let uuids: Vec<String> = missing.map(|event| event.job_uuid.clone()).collect();
    let failed: HashSet<String> = match uuids.is_empty() {
        true => HashSet::new(),
        false => store.run(|tables| tables.failed_uuids(&uuids))?.into_iter().collect(),
    };
    Ok(events.iter().map(|event| audited.contains(&event.audit_key) || failed.contains(&event.job_uuid)).collect())
}
