//! The real worker on the queue in this process, on either database, fed with jobs by the real writer.

#![allow(dead_code, reason = "shared by several test binaries, each of which uses a part")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Mono, Random, Wall};
use kraite_streams::queue::{
    InProcessQueue, InProcessSink, InProcessSource, JobBatch, JobClass, JobRecord, JobShape, JobSink as _, JobWriter,
    Laravel, in_process_queue,
};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::{StoreUrl, WorkStore};
use kraite_streams::user_data::apply::{Policy, apply};
use kraite_streams::user_data::worker::{WorkConfig, WorkParts, Worker};

const PATIENCE: Duration = Duration::from_secs(60);
pub const EPOCH: [u8; 16] = *b"one life's epoch";

/// The queue, and the worker on it.
pub struct Line {
    writer: JobWriter,
    sink: InProcessSink,
    queue: InProcessQueue,
    clock: Arc<dyn Clock>,
    bodies: Vec<Vec<u8>>,
    sent: u64,
    expected: u64,
    lives: u64,
    worker: Option<Worker>,
}

impl Line {
    pub fn new() -> Line {
        let job_class = JobClass::parse("App\\Jobs\\Take").unwrap();
        let (sink, queue) = in_process_queue();
        Line {
            writer: JobWriter::new(JobShape { job_class, laravel: Laravel::V12, horizon: false }),
            sink,
            queue,
            clock: Arc::new(SystemClock::start()),
            bodies: Vec::new(),
            sent: 0,
            expected: 0,
            lives: 0,
            worker: None,
        }
    }

    pub fn start(&mut self, url: &StoreUrl, policy: Policy) {
        (self.lives, self.expected) = (self.lives + 1, 0);
        let config = WorkConfig {
            threads: 3,
            batch: 8,
            reserve: 256,
            tries: 1,
            backoff: Vec::new(),
            disorder_wait: Duration::from_secs(30),
            lease: Duration::from_secs(30),
            retry_after: Duration::from_secs(90),
            connection: "redis".to_owned(),
            queue: "user-data-stream".to_owned(),
            canonical: "binance".to_owned(),
            audit_keep: None,
        };
        let url = url.clone();
        let parts = WorkParts {
            source: Box::new(InProcessSource::new(self.queue.clone(), self.lives, Arc::clone(&self.clock))),
            store: Box::new(move || WorkStore::new(&url, &UserDataOptions::new("test")).unwrap()),
            apply: Arc::new(apply),
            policy,
            relay: None,
            clock: Arc::clone(&self.clock),
            random: Random::from_seed(self.lives),
        };
        self.worker = Some(Worker::start(config, parts).unwrap());
    }

    pub fn worker(&self) -> &Worker {
        self.worker.as_ref().expect("it was started")
    }

    pub fn stop(&mut self) {
        let mut worker = self.worker.take().expect("it was started");
        assert!(worker.stop(Duration::from_secs(30), &*self.clock), "it stops in time");
    }

    /// A job of its own; its number.
    pub fn push(&mut self, record: &JobRecord<'_>) -> usize {
        let mut body = Vec::new();
        self.writer.write_job(record, None, &mut body).unwrap();
        self.bodies.push(body);
        let at = self.bodies.len() - 1;
        self.push_again(at);
        at
    }

    /// Jobs that were pushed as jobs of their own.
    pub fn pushed(&self) -> usize {
        self.bodies.len()
    }

    pub fn now(&self) -> Wall {
        self.clock.now().wall
    }

    /// A job that was pushed before.
    pub fn push_again(&mut self, at: usize) {
        (self.sent, self.expected) = (self.sent + 1, self.expected + 1);
        let mut batch = JobBatch::new();
        batch.add_body(&self.bodies[at], self.sent, self.clock.now().wall, Mono::ZERO);
        self.sink.push(&batch).unwrap();
    }

    /// Until every job that was pushed is applied.
    pub fn wait(&self) {
        let (mut deadline, mut applied) = (Instant::now() + PATIENCE, 0);
        loop {
            let (status, lanes) = self.worker().status();
            if status.applied >= self.expected {
                return;
            }
            if status.applied > applied {
                (applied, deadline) = (status.applied, Instant::now() + PATIENCE);
            }
            assert!(status.failed == 0 && Instant::now() < deadline, "{status:?} {lanes:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
