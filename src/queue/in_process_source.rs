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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::domain::{Now, Random, Wall};
    use crate::queue::{
        InProcessSink, JobBatch, JobClass, JobReader, JobRecord, JobShape, JobSink as _, JobWriter, Laravel,
        in_process_queue,
    };

    #[derive(Default)]
    struct TestClock(AtomicU64);

    impl TestClock {
        fn advance(&self, by: Duration) {
            self.0.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    impl Clock for TestClock {
        fn now(&self) -> Now {
            Now { mono: Mono::from_nanos(self.0.load(Ordering::Relaxed)), wall: Wall::default() }
        }
    }

    struct Rig {
        sink: InProcessSink,
        queue: InProcessQueue,
        source: InProcessSource,
        clock: Arc<TestClock>,
        writer: JobWriter,
        next: u64,
    }

    impl Rig {
        fn new() -> Self {
            let (sink, queue) = in_process_queue();
            let clock = Arc::new(TestClock::default());
            let source = InProcessSource::new(queue.clone(), 7, Arc::clone(&clock) as Arc<dyn Clock>);
            let job_class = JobClass::parse("Job").unwrap();
            let writer = JobWriter::new(JobShape { job_class, laravel: Laravel::V12, horizon: false });
            Rig { sink, queue, source, clock, writer, next: 1 }
        }

        fn push(&mut self, jobs: u64) {
            let mut batch = JobBatch::new();
            for position in self.next..self.next + jobs {
                let record = JobRecord {
                    account: 1,
                    api_system: 1,
                    canonical: "binance",
                    epoch: [0; 16],
                    position,
                    previous: None,
                    received_at: Wall::default(),
                    kind: "frame",
                    raw: b"{}",
                };
                batch.add(&mut self.writer, &record, None, Mono::ZERO).unwrap();
            }
            self.next += jobs;
            self.sink.push(&batch).unwrap();
        }

        /// Position, attempt, ticket.
        fn take(&mut self, max: usize) -> Vec<(u64, u64, u64)> {
            let mut jobs = Vec::new();
            self.source.reserve(max, Duration::ZERO, &mut jobs).unwrap();
            let position = |job: &SourceJob| JobReader::new().read(&job.body).unwrap().position;
            jobs.iter().map(|job| (position(job), job.attempt, job.ticket)).collect()
        }
    }

    #[test]
    fn batches_come_in_order_and_acked_is_a_prefix() {
        let mut rig = Rig::new();
        assert_eq!(rig.take(5), []);
        rig.push(5);
        assert_eq!(rig.take(3), [(1, 1, 1), (2, 1, 2), (3, 1, 3)]);
        assert_eq!(rig.source.depth(), 2);
        rig.source.ack(&[3, 2, 99]).unwrap();
        assert_eq!(rig.sink.acked(), None);
        rig.source.ack(&[1, 2]).unwrap();
        assert_eq!(rig.sink.acked(), Some(3));
    }

    #[test]
    fn a_released_job_comes_in_its_place_when_it_is_due() {
        let mut rig = Rig::new();
        rig.push(4);
        rig.take(2);
        rig.source.release(1, Duration::from_secs(10)).unwrap();
        rig.source.release(2, Duration::from_secs(5)).unwrap();
        assert_eq!(rig.source.depth(), 2);
        assert_eq!(rig.take(1), [(3, 1, 3)]);
        rig.clock.advance(Duration::from_secs(10));
        assert_eq!(rig.take(9), [(1, 2, 4), (2, 2, 5), (4, 1, 6)]);
        rig.source.ack(&[1, 2, 3, 5, 6]).unwrap();
        assert_eq!(rig.sink.acked(), None, "an old ticket does nothing");
        rig.source.ack(&[4]).unwrap();
        assert_eq!(rig.sink.acked(), Some(4));
        rig.push(1);
        rig.take(1);
        rig.source.release(7, Duration::from_millis(1)).unwrap();
        let mut jobs = Vec::new();
        rig.source.reserve(1, Duration::from_secs(60), &mut jobs).unwrap();
        assert_eq!(jobs[0].attempt, 2, "a wait ends when a job becomes due");
    }

    #[test]
    fn what_is_handed_back_was_never_tried_and_what_is_dropped_was() {
        let mut rig = Rig::new();
        rig.push(4);
        rig.take(3);
        rig.source.release(2, Duration::from_secs(1)).unwrap();
        rig.source.hand_back().unwrap();
        assert_eq!(rig.take(9).iter().map(|job| (job.0, job.1)).collect::<Vec<_>>(), [(1, 1), (2, 2), (3, 1), (4, 1)]);
        let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
        rig.source = InProcessSource::new(rig.queue.clone(), 8, clock);
        assert_eq!(rig.take(1), [(1, 2, 1)]);
    }

    #[test]
    fn the_fence_is_greater_than_the_databases() {
        let mut rig = Rig::new();
        rig.source.set_fence_floor(6);
        assert_eq!(rig.source.keep_lease(), Ok(Lease::Held { fence: 7 }));
        rig.source.set_fence_floor(7);
        assert_eq!(rig.source.keep_lease(), Ok(Lease::Held { fence: 7 }), "one's own is no news");
        rig.push(1);
        rig.take(1);
        rig.source.set_fence_floor(9);
        assert_eq!(rig.source.keep_lease(), Ok(Lease::Held { fence: 10 }));
        assert_eq!(rig.take(1), [(1, 2, 2)], "what was in hand is the queue's again");

        let mut rig = Rig::new();
        rig.source.set_fence_floor(7);
        assert_eq!(rig.source.keep_lease(), Ok(Lease::Held { fence: 8 }), "before the first time it is another's");
    }

    #[test]
    fn any_order_of_what_may_happen_loses_nothing() {
        for seed in 0..50 {
            let mut random = Random::from_seed(seed);
            let mut rig = Rig::new();
            let (mut hands, mut committed) = (Vec::new(), std::collections::BTreeSet::new());
            while committed.len() < 300 {
                match random.below(6) {
                    0 if rig.next <= 300 => {
                        let jobs = (1 + random.below(9)).min(301 - rig.next);
                        rig.push(jobs);
                    }
                    1 | 2 if !hands.is_empty() => {
                        let (position, ticket) = hands.swap_remove(random.below(hands.len() as u64) as usize);
                        rig.source.ack(&[ticket]).unwrap();
                        assert!(committed.insert(position), "{position} was handed out after its commit");
                    }
                    3 if !hands.is_empty() => {
                        let (_, ticket) = hands.swap_remove(random.below(hands.len() as u64) as usize);
                        rig.source.release(ticket, Duration::from_millis(random.below(20))).unwrap();
                    }
                    4 if random.below(20) == 0 => {
                        rig.source.hand_back().unwrap();
                        hands.clear();
                    }
                    _ => {
                        rig.clock.advance(Duration::from_millis(3));
                        let max = 1 + random.below(7) as usize;
                        hands.extend(rig.take(max).into_iter().map(|(position, _, ticket)| (position, ticket)));
                    }
                }
                let prefix = (1..).take_while(|position| committed.contains(position)).last();
                assert_eq!(rig.sink.acked(), prefix, "seed {seed}");
            }
            assert_eq!(rig.queue.depth(), 0);
        }
    }
}
