//! Whole rounds through the running worker: from the push of the jobs to the last acknowledgement.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Mono, Random};
use kraite_streams::queue::{
    InProcessSource, JobBatch, JobClass, JobRecord, JobShape, JobSink, JobSource, JobWriter, Laravel, in_process_queue,
};
use kraite_streams::store::WorkStore;
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::user_data::apply::{Policy, apply};
use kraite_streams::user_data::rules::{Allowlist, IntentSwitches};
use kraite_streams::user_data::worker::{WorkConfig, WorkParts, Worker};

use crate::median::Samples;
use crate::work_places::Place;
use crate::{ACCOUNTS, PIECES, order_lives};

const ROUNDS: usize = 3;
/// Cycles of each account in a round: as many jobs as the queue in this process takes at once.
const CYCLES: u64 = 2;
const THREADS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);
pub const EPOCH: [u8; 16] = *b"one life's epoch";

/// Where jobs come from.
pub enum From {
    /// The queue in this process.
    InProcess,
    /// The server at this URL.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "Redis belongs to the servers"))]
    Redis(String),
}

pub fn policy(is_shadow: bool) -> Policy {
    Policy {
        allowlist: Allowlist::of_comma_list(if is_shadow { "" } else { order_lives::ALLOWLIST }),
        intents: IntentSwitches::default(),
        live_for: Duration::from_secs(900),
    }
}

/// The next cycles of all accounts: account and frame, as their sockets would bring them, one account after the other.
pub fn lives(place: &mut Place, cycles: u64) -> Vec<(i64, String)> {
    let mut frames = Vec::new();
    let mut rows = String::new();
    for cycle in place.cycles..place.cycles + cycles {
        let accounts: Vec<_> = (1..=ACCOUNTS).map(|account| order_lives::frames(account, cycle)).collect();
        (1..=ACCOUNTS).for_each(|account| rows.push_str(&order_lives::rows(account, cycle)));
        for step in 0..order_lives::FRAMES {
            frames.extend((1..).zip(&accounts).map(|(account, frames)| (account, frames[step].clone())));
        }
    }
    place.cycles += cycles;
    place.sql(&rows);
    frames
}

/// Writes jobs as the dispatcher does.
pub struct Dispatch {
    writer: JobWriter,
    position: u64,
    last: Vec<Option<u64>>,
    clock: Arc<dyn Clock>,
}

impl Dispatch {
    /// Positions go on behind what other parts of the bench have used.
    pub fn new(position: u64, clock: Arc<dyn Clock>) -> Dispatch {
        let job_class = JobClass::parse("App\\Jobs\\StoreUserDataEvent").expect("a class");
        let shape = JobShape { job_class, laravel: Laravel::V12, horizon: false };
        Dispatch { writer: JobWriter::new(shape), position, last: vec![None; ACCOUNTS as usize + 1], clock }
    }

    pub fn add(&mut self, batch: &mut JobBatch, account: i64, raw: &str) {
        self.position += 1;
        let record = JobRecord {
            account: account as u64,
            api_system: 1,
            canonical: "binance",
            epoch: EPOCH,
            position: self.position,
            previous: self.last[account as usize].replace(self.position),
            received_at: self.clock.now().wall,
            kind: "frame",
            raw: raw.as_bytes(),
        };
        batch.add(&mut self.writer, &record, None, Mono::ZERO).expect("a sound record");
    }
}

/// Sums of a cell's rounds.
struct Cell {
    is_shadow: bool,
    piece: usize,
    times: Samples,
    statements: u64,
    transactions: u64,
}

/// Prints a line for each mode and piece; false if rows are missing or too many.
pub fn measure(place: &mut Place, from: &From) -> bool {
    let queue = if matches!(from, From::InProcess) { "the queue in this process" } else { "a real Redis" };
    let jobs = CYCLES as usize * ACCOUNTS as usize * order_lives::FRAMES;
    println!("\n{}, from {queue}: {THREADS} threads, {jobs} jobs a round, median of {ROUNDS} rounds", place.name);
    let mut cells = Vec::new();
    for is_shadow in [false, true] {
        for piece in PIECES {
            let times = Samples::new(ROUNDS);
            cells.push(Cell { is_shadow, piece, times, statements: 0, transactions: 0 });
        }
    }
    let mut right = true;
    let (mut audited, mut intents) = (place.count("api_data_stream"), place.count("workflow_intents"));
    let mut feed = Feed::new(from);
    for _ in 0..ROUNDS {
        for cell in &mut cells {
            feed.round(place, from, cell);
            let (rows, written) = (place.count("api_data_stream"), place.count("workflow_intents"));
            // One cycle more, which is the warm-up.
            let cycles = (CYCLES as i64 + 1) * ACCOUNTS;
            let wanted = if cell.is_shadow { 0 } else { cycles * order_lives::INTENTS as i64 };
            if (rows - audited, written - intents) != (cycles * order_lives::FRAMES as i64, wanted) {
                println!("wrong: {} audit rows and {} intents of a round", rows - audited, written - intents);
                right = false;
            }
            (audited, intents) = (rows, written);
        }
    }
    println!(
        "{:<28}{:>10}{:>10}{:>10}{:>16}{:>18}",
        "mode, jobs a transaction", "jobs/s", "ms/round", "x of 1", "statements/job", "jobs/transaction"
    );
    let mut of_one = 1.0;
    for cell in &cells {
        let time = cell.times.median().as_secs_f64();
        of_one = if cell.piece == 1 { time } else { of_one };
        let name = format!("{}, at most {}", if cell.is_shadow { "shadow" } else { "applied" }, cell.piece);
        let all = (ROUNDS * jobs) as f64;
        println!(
            "{name:<28}{:>10.0}{:>10.0}{:>10.2}{:>16.2}{:>18.1}",
            jobs as f64 / time,
            time * 1e3,
            of_one / time,
            cell.statements as f64 / all,
            all / cell.transactions as f64
        );
    }
    right
}

/// Makes a source and its sink, each time for another life of the worker.
struct Feed {
    dispatch: Dispatch,
    clock: Arc<dyn Clock>,
    lives: u64,
}

impl Feed {
    fn new(_: &From) -> Feed {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        Feed { dispatch: Dispatch::new(0, Arc::clone(&clock)), clock, lives: 0 }
    }

    fn open(&mut self, from: &From) -> (Box<dyn JobSink>, Box<dyn JobSource>) {
        self.lives += 1;
        match from {
            From::InProcess => {
                let (sink, queue) = in_process_queue();
                (Box::new(sink), Box::new(InProcessSource::new(queue, self.lives, Arc::clone(&self.clock))))
            }
            #[cfg(feature = "server")]
            From::Redis(url) => {
                use kraite_streams::queue::{
                    QueueKeys, RedisConfig, RedisProducer, RedisSource, RedisUrl, Reservation,
                };

                let config = |name: &str| {
                    let url = RedisUrl::parse(url).expect("a URL of our own server");
                    RedisConfig::new(url, QueueKeys::new("bench_", "user-data-stream", false), name)
                };
                let config_of_work = work_config(1);
                let terms = Reservation { retry_after: config_of_work.retry_after, lease: config_of_work.lease };
                let mut random = Random::from_seed(self.lives);
                let source = RedisSource::new(config("bench:worker"), terms, Arc::clone(&self.clock), &mut random);
                (Box::new(RedisProducer::new(config("bench"))), Box::new(source))
            }
            #[cfg(not(feature = "server"))]
            From::Redis(_) => unreachable!("there are no servers"),
        }
    }

    fn round(&mut self, place: &mut Place, from: &From, cell: &mut Cell) {
        let (warm_up, measured) = (lives(place, 1), lives(place, CYCLES));
        let (mut sink, source) = self.open(from);
        let url = place.url().clone();
        let parts = WorkParts {
            source,
            store: Box::new(move || WorkStore::new(&url, &UserDataOptions::new("bench")).expect("a store")),
            apply: Arc::new(apply),
            policy: policy(cell.is_shadow),
            relay: None,
            clock: Arc::clone(&self.clock),
            random: Random::from_seed(self.lives),
        };
        let mut worker = Worker::start(work_config(cell.piece), parts).expect("threads");
        self.push(&mut *sink, &warm_up);
        wait(&worker, warm_up.len());
        let before = worker.status().0;
        let begun = Instant::now();
        self.push(&mut *sink, &measured);
        wait(&worker, warm_up.len() + measured.len());
        cell.times.push(false, begun.elapsed());
        let after = worker.status().0;
        cell.statements += after.statements - before.statements;
        cell.transactions += after.transactions - before.transactions;
        assert!(worker.stop(PATIENCE, &*self.clock), "it stops");
    }

    fn push(&mut self, sink: &mut dyn JobSink, frames: &[(i64, String)]) {
        let mut batch = JobBatch::new();
        let mut frames = frames.iter().peekable();
        while frames.peek().is_some() {
            batch.clear();
            while !batch.is_full()
                && let Some((account, raw)) = frames.next()
            {
                self.dispatch.add(&mut batch, *account, raw);
            }
            sink.push(&batch).expect("the queue takes them");
        }
    }
}

fn wait(worker: &Worker, jobs: usize) {
    let until = Instant::now() + PATIENCE;
    loop {
        let (status, lanes) = worker.status();
        // Nothing in hand: all of it is acknowledged, too.
        if status.applied >= jobs as u64 && lanes.jobs == 0 {
            assert_eq!((status.applied, status.duplicates, status.failed), (jobs as u64, 0, 0), "each job once");
            return;
        }
        assert!(Instant::now() < until, "{} of {jobs} jobs are applied", status.applied);
        thread::sleep(Duration::from_millis(1));
    }
}

fn work_config(piece: usize) -> WorkConfig {
    WorkConfig {
        threads: THREADS,
        batch: piece,
        reserve: 1_024,
        tries: 1,
        backoff: Vec::new(),
        disorder_wait: Duration::from_secs(30),
        lease: Duration::from_secs(30),
        retry_after: Duration::from_secs(90),
        connection: "redis".to_owned(),
        queue: "user-data-stream".to_owned(),
        canonical: "binance".to_owned(),
        audit_keep: None,
    }
}
