//! A consumer whose clock the test moves, and what lies on the server.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Now, Random, Wall};
use kraite_streams::queue::{
    JobReader, JobSource as _, Lease, PushError, PushErrorClass, QueueKeys, RedisConfig, RedisSource, Reservation,
    SourceJob,
};

use crate::redis_server::RedisServer;
use crate::rig::{PREFIX, QUEUE, config};

pub const RETRY_AFTER: Duration = Duration::from_secs(90);

/// The system's clocks, the wall's set forward.
pub struct TestClock {
    system: SystemClock,
    ahead: AtomicI64,
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.ahead.fetch_add(by.as_micros() as i64, Ordering::Relaxed);
    }

    /// Unix seconds.
    pub fn seconds(&self) -> i64 {
        self.now().wall.as_micros() / 1_000_000
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let Now { mono, wall } = self.system.now();
        Now { mono, wall: Wall::from_micros(wall.as_micros() + self.ahead.load(Ordering::Relaxed)) }
    }
}

pub struct Side {
    pub source: RedisSource,
    pub clock: Arc<TestClock>,
}

impl Side {
    /// A consumer with a lease that no test outlives by accident.
    pub fn new(server: &RedisServer) -> Side {
        Side::with(config(&server.url()), Duration::from_secs(600))
    }

    pub fn with(config: RedisConfig, lease: Duration) -> Side {
        static SEEDS: AtomicU64 = AtomicU64::new(1);
        let clock = Arc::new(TestClock { system: SystemClock::start(), ahead: AtomicI64::new(0) });
        let seed = u64::from(std::process::id()) << 32 | SEEDS.fetch_add(1, Ordering::Relaxed);
        let reservation = Reservation { retry_after: RETRY_AFTER, lease };
        let handed = Arc::clone(&clock) as Arc<dyn Clock>;
        Side { source: RedisSource::new(config, reservation, handed, &mut Random::from_seed(seed)), clock }
    }

    /// A consumer that holds the lease.
    #[track_caller]
    pub fn holding(server: &RedisServer) -> Side {
        let mut side = Side::new(server);
        side.hold();
        side
    }

    /// Takes or keeps the lease; its fence.
    #[track_caller]
    pub fn hold(&mut self) -> u64 {
        match self.source.keep_lease().unwrap() {
            Lease::Held { fence } => fence,
            Lease::Standby => panic!("{:?} holds the lease", self.source.holder()),
        }
    }

    /// Up to `max` jobs that are there.
    #[track_caller]
    pub fn take(&mut self, max: usize) -> Vec<SourceJob> {
        let mut jobs = Vec::new();
        self.source.reserve(max, Duration::ZERO, &mut jobs).unwrap();
        jobs
    }
}

/// A way to the server on which requests can be held up and arrive late.
pub struct SlowRoad {
    port: u16,
    state: Arc<Mutex<Traffic>>,
}

#[derive(Default)]
struct Traffic {
    connections: usize,
    /// Connections with a smaller number stand still.
    held_below: usize,
}

impl SlowRoad {
    pub fn to(server: &RedisServer) -> SlowRoad {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<Traffic>>::default();
        let (shared, target) = (Arc::clone(&state), server.port());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
                let mut traffic = shared.lock().unwrap();
                let number = traffic.connections;
                traffic.connections += 1;
                drop(traffic);
                let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
                let state = Arc::clone(&shared);
                std::thread::spawn(move || carry(client, server, || state.lock().unwrap().held_below > number));
            }
        });
        SlowRoad { port, state }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What is sent on the connections of now arrives only after [`SlowRoad::release`].
    pub fn hold(&self) {
        let mut state = self.state.lock().unwrap();
        state.held_below = state.connections;
    }

    pub fn release(&self) {
        self.state.lock().unwrap().held_below = 0;
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_held: impl Fn() -> bool) {
    let mut chunk = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut chunk) {
        while is_held() {
            std::thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&chunk[..len]).is_err() {
            return;
        }
    }
}

/// The answer is that the lease is not held.
#[track_caller]
pub fn lost<T: std::fmt::Debug>(answer: Result<T, PushError>) {
    assert_eq!(answer.unwrap_err().class, PushErrorClass::LeaseLost);
}

pub fn keys() -> QueueKeys {
    QueueKeys::new(PREFIX, QUEUE, false)
}

/// Positions and attempts.
#[track_caller]
pub fn shown(jobs: &[SourceJob]) -> Vec<(u64, u64)> {
    let mut reader = JobReader::new();
    jobs.iter()
        .map(|job| {
            let view = reader.read(&job.body).unwrap();
            assert_eq!(view.attempts + 1, job.attempt);
            (view.position, job.attempt)
        })
        .collect()
}

/// These positions, each with this attempt.
pub fn each(positions: impl IntoIterator<Item = u64>, attempt: u64) -> Vec<(u64, u64)> {
    positions.into_iter().map(|position| (position, attempt)).collect()
}

pub fn list(client: &mut redis::Connection, key: &str) -> Vec<Vec<u8>> {
    redis::cmd("LRANGE").arg(key).arg(0).arg(-1).query(client).unwrap()
}

/// Members and scores.
pub fn set(client: &mut redis::Connection, key: &str) -> Vec<(Vec<u8>, i64)> {
    redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES").query(client).unwrap()
}

pub fn push_raw(client: &mut redis::Connection, body: &[u8]) {
    redis::cmd("RPUSH").arg(keys().queue).arg(body).exec(client).unwrap();
    redis::cmd("RPUSH").arg(keys().notify).arg("1").exec(client).unwrap();
}

/// Nothing of any job is left, and a token for each job that waits.
#[track_caller]
pub fn check_counts(client: &mut redis::Connection, waiting: usize, in_hand: usize) {
    let keys = keys();
    assert_eq!(list(client, &keys.queue).len(), waiting, "jobs that wait");
    assert_eq!(list(client, &keys.notify).len(), waiting, "tokens");
    assert_eq!(set(client, &keys.in_hand).len(), in_hand, "in hand");
    assert_eq!(set(client, &keys.reserved).len(), in_hand, "reserved");
}
