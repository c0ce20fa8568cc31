//! The queue of embedded mode: the same jobs and the same meaning of acknowledged, without a server.
//!
//! What stands here is memory only; the spool behind it is what lasts. So a job counts as acknowledged when its consumer has
//! *committed* it, and the spool's position follows the longest prefix of jobs that are: after a crash everything else is pushed
//! again. A full queue refuses the whole batch, and the dispatcher waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::batch::JobBatch;
use super::sink::{JobSink, PushError, PushErrorClass, Pushed, SinkHealth};
use crate::domain::limits::{IN_PROCESS_BYTES_MAX, IN_PROCESS_JOBS_MAX, PUSH_BYTES_MAX, PUSH_JOBS_MAX};

/// The consumer's end; clones share the queue.
#[derive(Clone, Debug)]
pub struct InProcessQueue {
    shared: Arc<Shared>,
}

/// The dispatcher's end.
#[derive(Debug)]
pub struct InProcessSink {
    shared: Arc<Shared>,
}

/// A job in a consumer's hands. Dropping it without [`Reserved::ack`] puts it back, in its old place, with one more attempt.
#[derive(Debug)]
pub struct Reserved {
    shared: Arc<Shared>,
    sequence: u64,
    body: Vec<u8>,
    attempt: u32,
    settled: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct State {
    slots: VecDeque<Slot>,
    /// The sequence number of the first slot.
    first: u64,
    /// No ready job stands before this sequence number.
    next_ready: u64,
    ready: usize,
    /// Jobs that are not acknowledged, and their bytes.
    jobs: usize,
    bytes: usize,
    acked: Option<u64>,
    /// Emptied bodies for the next jobs.
    spares: Vec<Vec<u8>>,
    closed: bool,
}

#[derive(Debug)]
struct Slot {
    position: u64,
    body: Vec<u8>,
    len: usize,
    attempts: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ready,
    Reserved,
    Acked,
}

/// Both ends of a new queue.
#[must_use]
pub fn in_process_queue() -> (InProcessSink, InProcessQueue) {
    let shared = Arc::new(Shared { state: Mutex::default(), ready: Condvar::new() });
    (InProcessSink { shared: Arc::clone(&shared) }, InProcessQueue { shared })
}

impl InProcessQueue {
    /// Takes the oldest job that nobody has, waiting for one until `timeout`. None when there is none, or the queue is closed.
    #[must_use]
    pub fn reserve(&self, timeout: Duration) -> Option<Reserved> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if state.ready > 0 {
                break;
            }
            if self.shared.ready.wait_until(&mut state, deadline).timed_out() && state.ready == 0 {
                return None;
            }
        }
        let (sequence, body, attempt) = state.take_ready();
        drop(state);
        Some(Reserved { shared: Arc::clone(&self.shared), sequence, body, attempt, settled: false })
    }

    /// Jobs that are not acknowledged yet.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.shared.state.lock().jobs
    }

    /// Whether [`InProcessQueue::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.state.lock().closed
    }

    /// The spool's position up to which every job is acknowledged. None before the first.
    #[must_use]
    pub fn acked(&self) -> Option<u64> {
        self.shared.state.lock().acked
    }

    /// Lets every waiting and later [`InProcessQueue::reserve`] return none. Jobs in hand can still be acknowledged.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.ready.notify_all();
    }
}

impl Reserved {
    /// The job, as a Redis worker would have popped it.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// 1 for the first time.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The consumer has committed what the job asked for.
    pub fn ack(mut self) {
        self.settled = true;
        let body = std::mem::take(&mut self.body);
        self.shared.state.lock().ack(self.sequence, body);
    }

    /// Puts it back, in its old place, as if it had never been taken.
    pub fn hand_back(self) {
        self.shared.state.lock().slot(self.sequence).attempts -= 1;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.settled {
            let body = std::mem::take(&mut self.body);
            self.shared.state.lock().release(self.sequence, body);
            self.shared.ready.notify_one();
        }
    }
}

impl State {
    /// # Panics
    /// If no job is ready: the caller looked.
    fn take_ready(&mut self) -> (u64, Vec<u8>, u32) {
        let from = (self.next_ready.max(self.first) - self.first) as usize;
        let at = (from..self.slots.len())
            .find(|&at| self.slots[at].stage == Stage::Ready)
            .expect("`ready` counts the slots that are ready");
        let slot = &mut self.slots[at];
        slot.stage = Stage::Reserved;
        slot.attempts += 1;
        let sequence = self.first + at as u64;
        self.next_ready = sequence + 1;
        self.ready -= 1;
        (sequence, std::mem::take(&mut slot.body), slot.attempts)
    }

    fn slot(&mut self, sequence: u64) -> &mut Slot {
        let at = (sequence - self.first) as usize;
        let slot = &mut self.slots[at];
        assert_eq!(slot.stage, Stage::Reserved, "a job in hand is reserved");
        slot
    }

    fn ack(&mut self, sequence: u64, body: Vec<u8>) {
        let slot = self.slot(sequence);
        slot.stage = Stage::Acked;
        self.bytes -= slot.len;
        self.jobs -= 1;
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.stage == Stage::Acked) {
            self.acked = Some(self.acked.map_or(slot.position, |acked| acked.max(slot.position)));
            self.first += 1;
        }
        self.keep_spare(body);
    }

    fn release(&mut self, sequence: u64, body: Vec<u8>) {
        let slot = self.slot(sequence);
        slot.stage = Stage::Ready;
        slot.body = body;
        self.ready += 1;
        self.next_ready = self.next_ready.min(sequence);
    }

    fn keep_spare(&mut self, mut body: Vec<u8>) {
        if self.spares.len() < 2 * PUSH_JOBS_MAX && body.capacity() <= PUSH_BYTES_MAX / PUSH_JOBS_MAX {
            body.clear();
            self.spares.push(body);
        }
    }
}

impl JobSink for InProcessSink {
    fn push(&mut self, batch: &JobBatch) -> Result<Pushed, PushError> {
        let mut state = self.shared.state.lock();
        // Acknowledged slots behind one in hand still take room, so that they are bounded too.
        if state.slots.len() + batch.len() > IN_PROCESS_JOBS_MAX
            || state.bytes + batch.byte_len() > IN_PROCESS_BYTES_MAX
        {
            let text = format!("the in-process queue is full: {} jobs, {} bytes", state.jobs, state.bytes);
            return Err(PushError::refused(PushErrorClass::Full, text));
        }
        for job in batch.jobs() {
            let mut body = state.spares.pop().unwrap_or_default();
            body.extend_from_slice(job.body);
            let len = body.len();
            state.slots.push_back(Slot { position: job.position, body, len, attempts: 0, stage: Stage::Ready });
            state.bytes += len;
        }
        state.jobs += batch.len();
        state.ready += batch.len();
        let depth = state.jobs as u64;
        drop(state);
        match batch.len() {
            0 => {}
            1 => drop(self.shared.ready.notify_one()),
            _ => drop(self.shared.ready.notify_all()),
        }
        Ok(Pushed { depth, ..Pushed::default() })
    }

    fn acked(&self) -> Option<u64> {
        self.shared.state.lock().acked
    }

    fn health(&mut self) -> Result<SinkHealth, PushError> {
        Ok(SinkHealth { depth: self.shared.state.lock().jobs as u64, ..SinkHealth::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limits::JOB_RAW_MAX;
    use crate::domain::{Mono, Random, Wall};
    use crate::queue::job::{JobRecord, JobShape, JobWriter, Laravel};
    use crate::queue::{JobClass, JobReader};

    struct Rig {
        sink: InProcessSink,
        queue: InProcessQueue,
        writer: JobWriter,
        next: u64,
    }

    impl Rig {
        fn new() -> Self {
            let (sink, queue) = in_process_queue();
            let job_class = JobClass::parse("Job").unwrap();
            let writer = JobWriter::new(JobShape { job_class, laravel: Laravel::V12, horizon: false });
            Rig { sink, queue, writer, next: 1 }
        }

        fn batch(&mut self, jobs: usize, raw: &[u8]) -> JobBatch {
            let mut batch = JobBatch::new();
            for _ in 0..jobs {
                let record = JobRecord {
                    account: 1,
                    api_system: 1,
                    canonical: "binance",
                    epoch: [0; 16],
                    position: self.next,
                    previous: None,
                    received_at: Wall::default(),
                    kind: "frame",
                    raw,
                };
                batch.add(&mut self.writer, &record, None, Mono::ZERO).unwrap();
                self.next += 1;
            }
            batch
        }

        fn push(&mut self, jobs: usize) {
            let batch = self.batch(jobs, b"{}");
            self.sink.push(&batch).unwrap();
        }

        fn take(&self) -> Option<(u64, Reserved)> {
            let reserved = self.queue.reserve(Duration::ZERO)?;
            let position = JobReader::new().read(reserved.body()).unwrap().position;
            Some((position, reserved))
        }
    }

    #[test]
    fn acknowledged_is_the_longest_committed_prefix() {
        let mut rig = Rig::new();
        assert!(rig.take().is_none());
        rig.push(3);
        let [a, b, c] = [(); 3].map(|()| rig.take().unwrap());
        assert_eq!([a.0, b.0, c.0], [1, 2, 3]);
        assert_eq!(rig.sink.acked(), None);
        b.1.ack();
        assert_eq!(rig.sink.acked(), None);
        a.1.ack();
        assert_eq!(rig.sink.acked(), Some(2));
        assert_eq!(rig.sink.health().unwrap().depth, 1);
        c.1.ack();
        assert_eq!(rig.sink.acked(), Some(3));
        assert_eq!(rig.queue.depth(), 0);
    }

    #[test]
    fn a_dropped_job_comes_again_in_its_place() {
        let mut rig = Rig::new();
        rig.push(3);
        let (first, reserved) = rig.take().unwrap();
        assert_eq!((first, reserved.attempt()), (1, 1));
        let (second, _kept) = rig.take().unwrap();
        drop(reserved);
        let (again, reserved) = rig.take().unwrap();
        assert_eq!((second, again, reserved.attempt()), (2, 1, 2));
        assert_eq!(rig.take().unwrap().0, 3);
    }

    #[test]
    fn a_full_queue_takes_nothing_of_a_batch() {
        let mut rig = Rig::new();
        for _ in 0..IN_PROCESS_JOBS_MAX / PUSH_JOBS_MAX {
            rig.push(PUSH_JOBS_MAX);
        }
        let batch = rig.batch(1, b"{}");
        assert_eq!(rig.sink.push(&batch).unwrap_err().class, PushErrorClass::Full);
        // The second of two in hand is committed: its place is free only when the first one is.
        let (first, second) = (rig.take().unwrap().1, rig.take().unwrap().1);
        second.ack();
        assert_eq!(rig.sink.push(&batch).unwrap_err().class, PushErrorClass::Full);
        first.ack();
        assert_eq!(rig.sink.push(&batch).unwrap().depth, IN_PROCESS_JOBS_MAX as u64 - 1);

        let mut rig = Rig::new();
        let large = rig.batch(1, &vec![b' '; JOB_RAW_MAX]);
        let fit = IN_PROCESS_BYTES_MAX / large.byte_len();
        for _ in 0..fit {
            rig.sink.push(&large).unwrap();
        }
        assert_eq!(rig.sink.push(&large).unwrap_err().class, PushErrorClass::Full);
    }

    #[test]
    fn consumers_wait_and_a_closed_queue_lets_them_go() {
        let mut rig = Rig::new();
        let waiting = |queue: InProcessQueue| {
            std::thread::spawn(move || queue.reserve(Duration::from_secs(60)).map(Reserved::ack).is_some())
        };
        let consumer = waiting(rig.queue.clone());
        rig.push(1);
        assert!(consumer.join().unwrap());
        let consumers = [(); 3].map(|()| waiting(rig.queue.clone()));
        rig.queue.close();
        for consumer in consumers {
            assert!(!consumer.join().unwrap());
        }
        rig.push(1);
        assert!(rig.take().is_none());
    }

    #[test]
    fn any_order_of_commits_and_failures_loses_nothing() {
        for seed in 0..50 {
            let mut random = Random::from_seed(seed);
            let mut rig = Rig::new();
            let (mut hands, mut committed) = (Vec::new(), std::collections::BTreeSet::new());
            while committed.len() < 400 {
                if rig.next <= 400 && random.below(4) == 0 {
                    let jobs = (1 + random.below(9)).min(401 - rig.next) as usize;
                    rig.push(jobs);
                }
                match random.below(3) {
                    0 if !hands.is_empty() => {
                        let (position, reserved): (u64, Reserved) =
                            hands.swap_remove(random.below(hands.len() as u64) as usize);
                        reserved.ack();
                        assert!(committed.insert(position), "{position} was handed out after its commit");
                    }
                    1 if random.below(3) == 0 => drop(hands.pop()),
                    _ => hands.extend(rig.take()),
                }
                let prefix = (1..).take_while(|position| committed.contains(position)).last();
                assert_eq!(rig.sink.acked(), prefix, "seed {seed}");
            }
            assert_eq!((rig.queue.depth(), rig.sink.acked()), (0, Some(400)));
        }
    }
}
