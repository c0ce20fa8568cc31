//! A worker on the queue in this process and an SQLite file, fed by the real writer of jobs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Mono, Random};
use kraite_streams::queue::{
    InProcessQueue, InProcessSink, InProcessSource, JobBatch, JobClass, JobRecord, JobShape, JobSink as _, JobWriter,
    Laravel, in_process_queue,
};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::{Ciphertext, NewAccount};
use kraite_streams::store::{StoreUrl, UserDataStore, WorkStore};
use kraite_streams::user_data::apply::Policy;
use kraite_streams::user_data::rules::{Allowlist, IntentSwitches};
use kraite_streams::user_data::worker::{Apply, WorkConfig, WorkParts, Worker};

const PATIENCE: Duration = Duration::from_secs(60);
const EPOCH: [u8; 16] = *b"one life's epoch";

pub fn config() -> WorkConfig {
    WorkConfig {
        threads: 3,
        batch: 8,
        reserve: 64,
        tries: 3,
        backoff: vec![Duration::from_millis(20)],
        disorder_wait: Duration::from_millis(200),
        lease: Duration::from_secs(3),
        retry_after: Duration::from_secs(90),
        connection: "redis".to_owned(),
        queue: "user-data-stream".to_owned(),
        canonical: "binance".to_owned(),
        audit_keep: None,
    }
}

pub fn policy(allowlist: &str) -> Policy {
    Policy {
        allowlist: Allowlist::of_comma_list(allowlist),
        intents: IntentSwitches::default(),
        live_for: Duration::from_secs(900),
    }
}

pub struct Rig {
    folder: tempfile::TempDir,
    accounts: Vec<i64>,
    last: Vec<Option<u64>>,
    position: u64,
    bodies: Vec<String>,
    writer: JobWriter,
    sink: InProcessSink,
    queue: InProcessQueue,
    clock: Arc<dyn Clock>,
    worker: Option<Worker>,
    lives: u64,
}

impl Rig {
    /// This many accounts, and nothing that works yet.
    pub fn new(accounts: usize) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("store.sqlite"));
        let mut store = UserDataStore::new(&url, &UserDataOptions::new("test")).unwrap();
        let secret = Ciphertext::new("x");
        let ids = (0..accounts).map(|number| {
            let name = format!("account {number}");
            let new = NewAccount {
                canonical: "binance",
                name: &name,
                user_id: None,
                uuid: &name,
                api_key: &secret,
                api_secret: &secret,
            };
            store.run(|tables| tables.add_account(&new)).unwrap().unwrap()
        });
        let ids: Vec<i64> = ids.collect();
        assert_eq!(ids[0], 1);
        let job_class = JobClass::parse("App\\Jobs\\Take").unwrap();
        let (sink, queue) = in_process_queue();
        Rig {
            folder,
            last: vec![None; ids.len()],
            accounts: ids,
            position: 0,
            bodies: Vec::new(),
            writer: JobWriter::new(JobShape { job_class, laravel: Laravel::V12, horizon: false }),
            sink,
            queue,
            clock: Arc::new(SystemClock::start()),
            worker: None,
            lives: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store.sqlite")
    }

    fn record<'a>(&self, account: usize, position: u64, previous: Option<u64>, raw: &'a str) -> JobRecord<'a> {
        JobRecord {
            account: self.accounts[account] as u64,
            api_system: 1,
            canonical: "binance",
            epoch: EPOCH,
            position,
            previous,
            received_at: self.clock.now().wall,
            kind: "frame",
            raw: raw.as_bytes(),
        }
    }

    /// The next job of the account, not pushed.
    pub fn body(&mut self, account: usize, raw: &str) -> String {
        self.position += 1;
        let previous = self.last[account].replace(self.position);
        let record = self.record(account, self.position, previous, raw);
        let mut out = Vec::new();
        self.writer.write_job(&record, None, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Pushes the next job of the account.
    pub fn push(&mut self, account: usize, raw: &str) {
        let body = self.body(account, raw);
        self.push_body(&body);
    }

    /// Pushes a body as it is.
    pub fn push_body(&mut self, body: &str) {
        self.bodies.push(body.to_owned());
        let mut batch = JobBatch::new();
        let position = self.bodies.len() as u64;
        batch.add_body(body.as_bytes(), position, self.clock.now().wall, Mono::ZERO);
        self.sink.push(&batch).unwrap();
    }

    /// Pushes bodies that were pushed before.
    pub fn push_again(&mut self, which: std::ops::Range<usize>) {
        for at in which {
            let body = self.bodies[at].clone();
            self.push_body(&body);
        }
    }

    pub fn start(&mut self, config: WorkConfig, apply: Apply) {
        let url = StoreUrl::Sqlite(self.path());
        self.lives += 1;
        let source = InProcessSource::new(self.queue.clone(), self.lives, Arc::clone(&self.clock));
        let parts = WorkParts {
            source: Box::new(source),
            store: Box::new(move || WorkStore::new(&url, &UserDataOptions::new("test")).unwrap()),
            apply,
            policy: policy(""),
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
        assert!(worker.stop(Duration::from_secs(10), &*self.clock), "it stops in time");
    }

    pub fn acked(&self) -> Option<u64> {
        self.queue.acked()
    }

    #[track_caller]
    pub fn wait(&self, what: &str, mut is_so: impl FnMut(&Rig) -> bool) {
        let mut deadline = Instant::now() + PATIENCE;
        let mut applied = 0;
        while !is_so(self) {
            let status = self.worker().status();
            if status.0.applied > applied {
                applied = status.0.applied;
                deadline = Instant::now() + PATIENCE;
            }
            assert!(Instant::now() < deadline, "{what} did not come: {status:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until this life of the worker has applied so many jobs.
    #[track_caller]
    pub fn wait_applied(&self, jobs: u64) {
        self.wait("the jobs", |rig| rig.worker().status().0.applied >= jobs);
    }

    fn connection(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection
    }

    pub fn sql(&self, text: &str) {
        self.connection().execute_batch(text).unwrap();
    }

    pub fn count(&self, table: &str) -> i64 {
        self.connection().query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    pub fn row<T>(&self, query: &str) -> T
    where
        T: for<'r> TryFrom<&'r rusqlite::Row<'r>, Error = rusqlite::Error>,
    {
        self.connection().query_row(query, [], |row| T::try_from(row)).unwrap()
    }

    /// The account's frames in the audit, by id.
    pub fn audit(&self, account: usize) -> Vec<String> {
        let connection = self.connection();
        let mut rows =
            connection.prepare("SELECT raw_payload FROM api_data_stream WHERE account_id = ? ORDER BY id").unwrap();
        let rows = rows.query_map([self.accounts[account]], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// The audit of the account has exactly the frames with these numbers, in this order.
    #[track_caller]
    pub fn assert_audit(&self, account: usize, numbers: impl Iterator<Item = usize>) {
        let found: Vec<usize> = self
            .audit(account)
            .iter()
            .map(|raw| raw.trim_end_matches('}').rsplit(':').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(found, numbers.collect::<Vec<_>>(), "account {account}");
    }
}
