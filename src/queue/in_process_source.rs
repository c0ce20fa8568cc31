//! The in-process queue as the worker's source: the lease is always held, jobs come in batches, and what is released comes again
//! in its old place once its delay is over.
//!
//! The worker's attempts live in the queue, not in the bodies. Everything in hand goes back with the source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::in_process::{InProcessQueue, Reserved};
use super::sink::PushError;
use super::source::{JobSource, Lease, SourceJob};
use crate::domain::limits::FENCE_MAX;
use crate::domain::{Clock, Mono};

/// Reserves from an in-process queue.
pub struct InProcessSource {
    queue: InProcessQueue,
    clock: Arc<dyn Clock>,
    fence: u64,
    is_held: bool,
    hands: BTreeMap<u64, Reserved>,
    /// Released, by the time when they are due.
    delayed: BTreeMap<(Mono, u64), Reserved>,
    next_ticket: u64,
    depth: u64,
}

impl InProcessSource {
    /// The consumer's end of `queue`. `fence` must be greater than that of every process before this one: the time of the start
    /// in ms, say; what the database knows better comes by [`JobSource::set_fence_floor`].
    #[must_use]
    pub fn new(queue: InProcessQueue, fence: u64, clock: Arc<dyn Clock>) -> Self {
        InProcessSource {
            queue,
            clock,
            fence: fence.clamp(1, FENCE_MAX),
            is_held: false,
            hands: BTreeMap::new(),
            delayed: BTreeMap::new(),
            next_ticket: 1,
            depth: 0,
        }
    }

    /// Lets go of the jobs whose time has come; the queue has them again, in their places.
    fn put_back_due(&mut self, now: Mono) {
        while let Some(first) = self.delayed.first_entry()
            && first.key().0 <= now
        {
            drop(first.remove());
        }
    }
}

impl JobSource for InProcessSource {
    fn keep_lease(&mut self) -> Result<Lease, PushError> {
        self.is_held = true;
        Ok(Lease::Held { fence: self.fence })
    }

    fn set_fence_floor(&mut self, floor: u64) {
        let floor = floor.min(FENCE_MAX);
        // Before the first time, an equal one is another process's.
        if floor > self.fence || floor == self.fence && !self.is_held {
            self.fence = floor + 1;
            self.hands.clear();
        }
    }

    fn reserve(&mut self, max: usize, wait: Duration, into: &mut Vec<SourceJob>) -> Result<(), PushError> {
        let mut now = self.clock.now().mono;
        let deadline = now.plus(wait);
        let mut taken = 0;
        while taken < max {
            self.put_back_due(now);
            let until = match self.delayed.first_key_value() {
                Some((&(due, _), _)) => due.min(deadline),
                None => deadline,
            };
            let patience = if taken == 0 { until.since(now) } else { Duration::ZERO };
            let Some(reserved) = self.queue.reserve(patience) else {
                if taken > 0 || until == deadline || self.queue.is_closed() {
                    break;
                }
                now = until.max(self.clock.now().mono);
                continue;
            };
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            into.push(SourceJob { ticket, body: reserved.body().to_vec(), attempt: u64::from(reserved.attempt()) });
            self.hands.insert(ticket, reserved);
            taken += 1;
        }
        self.depth = (self.queue.depth() as u64).saturating_sub((self.hands.len() + self.delayed.len()) as u64);
        Ok(())
    }

    fn ack(&mut self, tickets: &[u64]) -> Result<(), PushError> {
        for ticket in tickets {
            if let Some(reserved) = self.hands.remove(ticket) {
                reserved.ack();
            }
        }
        Ok(())
    }

    fn release(&mut self, ticket: u64, delay: Duration) -> Result<(), PushError> {
        if let Some(reserved) = self.hands.remove(&ticket) {
            self.delayed.insert((self.clock.now().mono.plus(delay), ticket), reserved);
        }
        Ok(())
    }

    /// Nothing to renew: reservations here do not lapse.
    fn extend(&mut self) -> Result<(), PushError> {
        Ok(())
    }

    fn hand_back(&mut self) -> Result<(), PushError> {
        std::mem::take(&mut self.hands).into_values().for_each(Reserved::hand_back);
        self.delayed.clear();
        Ok(())
    }

    /// None: bodies here are our own.
    fn put_aside(&self) -> u64 {
        0
    }

    fn depth(&self) -> u64 {
        self.depth
    }
}
