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
