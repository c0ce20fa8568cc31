//! What stands between the in-process queue and the worker in the demo: it notes when each frame's audit row was committed.
//!
//! The worker acknowledges a job once its transaction is committed, so the acknowledgement is a moment just behind the commit.
//! Under `--break frames_are_audited` it acknowledges every tenth frame itself, and the worker never sees it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::{Clock, Wall};
use crate::queue::{InProcessSource, JobReader, JobSource, Lease, PushError, SourceJob};
use crate::sim::frame_hash;
use crate::spool::Kind;

/// Under `--break frames_are_audited`, one in so many frames is lost.
const DROPPED_ONE_IN: u64 = 10;

/// What was acknowledged.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// When the first job of a frame was, by the account's row and the frame's hash.
    pub frames: HashMap<(u64, u128), Wall>,
    /// Jobs of events that a reconcile has recovered: nothing has brought them, so they have no time under way.
    pub recovered: u64,
}

/// The same, shared.
pub type Commits = Arc<Mutex<Acknowledged>>;

/// A job in the worker's hands.
enum Held {
    Frame(u64, u128),
    Recovered,
}

/// A source in front of the source.
pub struct WatchedSource {
    inner: InProcessSource,
    reader: JobReader,
    hands: HashMap<u64, Held>,
    commits: Commits,
    clock: Arc<dyn Clock>,
    drops: bool,
    seen: u64,
}

impl WatchedSource {
    /// In front of `inner`; with `drops` it loses frames.
    pub fn new(inner: InProcessSource, commits: Commits, clock: Arc<dyn Clock>, drops: bool) -> Self {
        WatchedSource { inner, reader: JobReader::new(), hands: HashMap::new(), commits, clock, drops, seen: 0 }
    }
}

impl JobSource for WatchedSource {
    fn keep_lease(&mut self) -> Result<Lease, PushError> {
        self.inner.keep_lease()
    }

    fn set_fence_floor(&mut self, floor: u64) {
        self.inner.set_fence_floor(floor);
    }

    fn reserve(&mut self, max: usize, wait: Duration, into: &mut Vec<SourceJob>) -> Result<(), PushError> {
        let known = into.len();
        self.inner.reserve(max, wait, into)?;
        let mut lost = Vec::new();
        for job in &into[known..] {
            let Ok(view) = self.reader.read(&job.body) else { continue };
            if view.kind == Kind::Recovered.as_str() {
                self.hands.insert(job.ticket, Held::Recovered);
            }
            if view.kind != Kind::Frame.as_str() {
                continue;
            }
            self.seen += 1;
            if self.drops && self.seen.is_multiple_of(DROPPED_ONE_IN) {
                lost.push(job.ticket);
            } else {
                self.hands.insert(job.ticket, Held::Frame(view.account, frame_hash(view.raw)));
            }
        }
        into.retain(|job| !lost.contains(&job.ticket));
        if lost.is_empty() { Ok(()) } else { self.inner.ack(&lost) }
    }

    fn ack(&mut self, tickets: &[u64]) -> Result<(), PushError> {
        self.inner.ack(tickets)?;
        let now = self.clock.now().wall;
        let mut commits = self.commits.lock();
        for held in tickets.iter().filter_map(|ticket| self.hands.remove(ticket)) {
            match held {
                Held::Frame(account, hash) => drop(commits.frames.entry((account, hash)).or_insert(now)),
                Held::Recovered => commits.recovered += 1,
            }
        }
        Ok(())
    }

    fn release(&mut self, ticket: u64, delay: Duration) -> Result<(), PushError> {
        self.hands.remove(&ticket);
        self.inner.release(ticket, delay)
    }

    fn extend(&mut self) -> Result<(), PushError> {
        self.inner.extend()
    }

    fn hand_back(&mut self) -> Result<(), PushError> {
        self.hands.clear();
        self.inner.hand_back()
    }

    fn put_aside(&self) -> u64 {
        self.inner.put_aside()
    }

    fn depth(&self) -> u64 {
        self.inner.depth()
    }
}
