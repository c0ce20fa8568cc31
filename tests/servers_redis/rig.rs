//! A producer, and the jobs it pushes.

use std::time::Duration;

use kraite_streams::domain::{Mono, Wall};
use kraite_streams::queue::{
    Forgot, JobBatch, JobClass, JobRecord, JobShape, JobSink as _, JobWriter, Laravel, PushError, PushErrorClass,
    Pushed, QueueKeys, RedisConfig, RedisProducer, RedisUrl, Watermark,
};

use crate::redis_server::{RedisServer, wait_for};

pub const PREFIX: &str = "kraite_database_";
pub const QUEUE: &str = "kraite-user-data-stream";
pub const CLASS: &str = r"App\Jobs\StoreUserDataEvent";
pub const EPOCH: [u8; 16] = [0xe1; 16];

/// Short enough for a test, long enough for a busy machine.
pub const ANSWER: Duration = Duration::from_millis(1_500);

pub fn config(url: &str) -> RedisConfig {
    let keys = QueueKeys::new(PREFIX, QUEUE, false);
    let mut config = RedisConfig::new(RedisUrl::parse(url).unwrap(), keys, "host-a");
    config.answer_timeout = ANSWER;
    config.connect_timeout = ANSWER;
    config
}

/// Pushes jobs of growing positions, and remembers which are on the queue.
pub struct Rig {
    pub producer: RedisProducer,
    pub writer: JobWriter,
    pub next: u64,
    /// Bodies of what was pushed, in order.
    pub pushed: Vec<Vec<u8>>,
}

impl Rig {
    pub fn new(server: &RedisServer) -> Rig {
        Rig::with(config(&server.url()))
    }

    pub fn with(config: RedisConfig) -> Rig {
        let shape = JobShape {
            job_class: JobClass::parse(CLASS).unwrap(),
            laravel: Laravel::V12,
            horizon: config.horizon.is_some(),
        };
        Rig { producer: RedisProducer::new(config), writer: JobWriter::new(shape), next: 1, pushed: Vec::new() }
    }

    /// The next `jobs` jobs.
    pub fn batch(&mut self, jobs: u64) -> JobBatch {
        let positions = self.next..self.next + jobs;
        self.next += jobs;
        self.batch_of(positions)
    }

    pub fn batch_of(&mut self, positions: std::ops::Range<u64>) -> JobBatch {
        let mut batch = JobBatch::new();
        for position in positions {
            let raw = format!("{{\"e\":\"ORDER_TRADE_UPDATE\",\"E\":{position},\"s\":\"币/é\\n\"}}");
            batch.add(&mut self.writer, &record(position, raw.as_bytes()), None, Mono::ZERO).unwrap();
        }
        batch
    }

    /// Pushes, with success.
    #[track_caller]
    pub fn push(&mut self, batch: &JobBatch) -> Pushed {
        let pushed = self.producer.push(batch).unwrap();
        self.pushed.extend(bodies(batch));
        pushed
    }

    /// Pushes the next `jobs`, with success.
    #[track_caller]
    pub fn push_next(&mut self, jobs: u64) -> Pushed {
        let batch = self.batch(jobs);
        self.push(&batch)
    }

    /// Pushes, and is refused for certain.
    #[track_caller]
    pub fn refuse(&mut self, batch: &JobBatch, class: PushErrorClass) -> PushError {
        let error = self.producer.push(batch).unwrap_err();
        assert_eq!((error.class, error.doubtful), (class, false), "{error}");
        error
    }

    /// Pushes, and stays without an answer.
    #[track_caller]
    pub fn doubt(&mut self, batch: &JobBatch, class: PushErrorClass) -> PushError {
        let error = self.producer.push(batch).unwrap_err();
        assert_eq!((error.class, error.doubtful), (class, true), "{error}");
        error
    }

    /// Pushes the same batch until the server takes it.
    #[track_caller]
    pub fn push_until_done(&mut self, batch: &JobBatch) -> Pushed {
        let mut done = None;
        let producer = &mut self.producer;
        wait_for("a server that takes jobs", || {
            done = producer.push(batch).ok();
            done.is_some()
        });
        self.pushed.extend(bodies(batch));
        done.unwrap()
    }

    /// The next push finds out that the server forgot.
    #[track_caller]
    pub fn forgot(&mut self, batch: &JobBatch) -> Forgot {
        let mut found = None;
        let producer = &mut self.producer;
        wait_for("what the server forgot", || {
            let error = producer.push(batch).expect_err("the server forgot");
            found = error.forgot;
            assert_eq!(error.class == PushErrorClass::Forgot, found.is_some(), "{error}");
            found.is_some()
        });
        found.unwrap()
    }

    /// The queue holds what was pushed: those bodies, once, in this order, and a token for each.
    #[track_caller]
    pub fn check(&self, server: &RedisServer) {
        self.check_on(&mut server.client());
    }

    #[track_caller]
    pub fn check_on(&self, client: &mut redis::Connection) {
        let (queue, tokens) = lists(client, &self.producer.config().keys);
        assert_eq!(queue.len(), self.pushed.len());
        assert!(queue == self.pushed, "the queue holds other jobs or another order");
        assert_eq!(tokens, vec![b"1".to_vec(); queue.len()]);
        assert_eq!(self.producer.acked(), Some(self.next - 1));
    }
}

pub fn record(position: u64, raw: &[u8]) -> JobRecord<'_> {
    JobRecord {
        account: 7,
        api_system: 1,
        canonical: "binance",
        epoch: EPOCH,
        position,
        previous: position.checked_sub(1),
        received_at: Wall::from_micros(1_795_420_185_800_150),
        kind: "frame",
        raw,
    }
}

pub fn bodies(batch: &JobBatch) -> Vec<Vec<u8>> {
    batch.jobs().map(|job| job.body.to_vec()).collect()
}

pub fn mark(position: u64) -> Option<Watermark> {
    Some(Watermark { epoch: EPOCH, position })
}

/// Queue and tokens.
pub fn lists(client: &mut redis::Connection, keys: &QueueKeys) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut list = |key: &str| redis::cmd("LRANGE").arg(key).arg(0).arg(-1).query(client).unwrap();
    (list(&keys.queue), list(&keys.notify))
}

pub fn set(client: &mut redis::Connection, name: &str, value: &str) {
    redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(client).unwrap();
}
