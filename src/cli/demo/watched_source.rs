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

/// When the first job of a frame was acknowledged, by the account's row and the frame's hash.
pub type Commits = Arc<Mutex<HashMap<(u64, u128), Wall>>>;

/// A source in front of the source.
pub struct WatchedSource {
    inner: InProcessSource,
    reader: JobReader,
    hands: HashMap<u64, (u64, u128)>,
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
            let frame = self.reader.read(&job.body).ok().filter(|view| view.kind == Kind::Frame.as_str());
            let Some(view) = frame else { continue };
            self.seen += 1;
            if self.drops && self.seen.is_multiple_of(DROPPED_ONE_IN) {
                lost.push(job.ticket);
            } else {
                self.hands.insert(job.ticket, (view.account, frame_hash(view.raw)));
            }
        }
        into.retain(|job| !lost.contains(&job.ticket));
        if lost.is_empty() { Ok(()) } else { self.inner.ack(&lost) }
    }

    fn ack(&mut self, tickets: &[u64]) -> Result<(), PushError> {
        self.inner.ack(tickets)?;
        let now = self.clock.now().wall;
        let mut commits = self.commits.lock();
        for frame in tickets.iter().filter_map(|ticket| self.hands.remove(ticket)) {
            commits.entry(frame).or_insert(now);
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
