//! A real PostgreSQL, a real Redis, the real producer, and worker processes; what lies in the database is held against what
//! was pushed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock as _, Mono};
use kraite_streams::queue::{
    JobBatch, JobClass, JobRecord, JobShape, JobSink as _, JobWriter, Laravel, QueueKeys, RedisConfig, RedisProducer,
    RedisUrl,
};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::{Ciphertext, NewAccount};
use kraite_streams::store::{StoreUrl, UserDataStore};

use crate::daemon_process::{Daemon, PATIENCE, run, write_settings};
use crate::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;

pub const SETTINGS: &str = "kraite-streams.toml";
pub const QUEUE: &str = "user-data-stream";
const PREFIX: &str = "laravel_database_";
const EPOCH: [u8; 16] = *b"the spool's life";
/// Frames of each order: NEW, two partial fills, the last fill.
const FRAMES: usize = 4;

pub struct Rig {
    pub postgres: PostgresServer,
    pub redis: RedisServer,
    folder: tempfile::TempDir,
    accounts: usize,
    orders: usize,
}

impl Rig {
    /// Accounts with so many positions each, of each of which the take-profit is about to be filled.
    pub fn start(accounts: usize, orders: usize) -> Rig {
        let rig = Rig {
            postgres: PostgresServer::start(),
            redis: RedisServer::start(&[]),
            folder: tempfile::tempdir().unwrap(),
            accounts,
            orders,
        };
        rig.prepare();
        rig
    }

    fn prepare(&self) {
        self.write_settings(self.folder.path(), &[]);
        let (code, out, err) = run(self.folder.path(), &["--settings", SETTINGS, "migrate"]);
        assert_eq!(code, 0, "{out}{err}");
        let url = StoreUrl::parse(&self.postgres.url_text("postgres")).unwrap();
        let mut store = UserDataStore::new(&url, &UserDataOptions::new("test")).unwrap();
        let secret = Ciphertext::new("x");
        let mut client = self.postgres.client("postgres");
        for account in 1..=self.accounts {
            let name = format!("account {account}");
            let new = NewAccount {
                canonical: "binance",
                name: &name,
                user_id: None,
                uuid: &name,
                api_key: &secret,
                api_secret: &secret,
            };
            let id = store.run(|tables| tables.add_account(&new)).unwrap().unwrap();
            assert_eq!(id, account as i64);
            client
                .batch_execute(&format!(
                    "WITH p AS (INSERT INTO positions (account_id, parsed_trading_pair, status, direction) \
                     SELECT {account}, 'S' || n || 'USDT', 'active', 'LONG' FROM generate_series(1, {}) n ORDER BY n \
                     RETURNING id, parsed_trading_pair) \
                     INSERT INTO orders (position_id, client_order_id, type, status, reference_status, side, \
                     exchange_order_id, quantity, price, reference_quantity, reference_price) \
                     SELECT id, 'c{account}-' || id, 'PROFIT-LIMIT', 'NEW', 'NEW', 'SELL', \
                     {account}000000 + substring(parsed_trading_pair from '[0-9]+')::bigint, 3, 100, 3, 100 FROM p",
                    self.orders
                ))
                .unwrap();
        }
    }

    fn settings(&self, more: &[&str]) -> Vec<String> {
        let mut lines = vec![
            format!("store.url = \"{}\"", self.postgres.url_text("postgres")),
            "store.connect_timeout_s = 2".to_owned(),
            format!("queue.url = \"{}\"", self.redis.url()),
            "queue.job_class = 'App\\Jobs\\UserDataEvent'".to_owned(),
            format!("queue.prefix = \"{PREFIX}\""),
            format!("queue.name = \"{QUEUE}\""),
            "work.lease_s = 3".to_owned(),
            "work.threads = 3".to_owned(),
            "work.intent_target = \"redis\"".to_owned(),
            "work.intent_class = 'App\\Jobs\\TakeIntent'".to_owned(),
            "user_data.binance.dispatched_executions = \"TRADE,AMENDMENT,CANCELED,EXPIRED\"".to_owned(),
        ];
        lines.extend(more.iter().map(|&line| line.to_owned()));
        lines
    }

    fn write_settings(&self, folder: &Path, more: &[&str]) {
        let lines = self.settings(more);
        write_settings(folder, SETTINGS, None, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// A folder of its own for another worker.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A worker process in the folder of this name.
    pub fn work(&self, name: &str, more: &[&str]) -> Daemon {
        let lines = self.settings(more);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        Daemon::start_command("work", &self.folder(name), SETTINGS, None, &lines, &[])
    }

    /// All frames, in the order in which they are pushed: account and text.
    pub fn frames(&self) -> Vec<(usize, String)> {
        let mut frames = Vec::new();
        for number in 1..=self.orders {
            for step in 0..FRAMES {
                for account in 1..=self.accounts {
                    frames.push((account, frame(account, number, step)));
                }
            }
        }
        frames
    }

    /// Pushes all frames with the real producer, in batches with pauses between.
    pub fn feed(&self, pause: Duration) -> Feed {
        let keys = QueueKeys::new(PREFIX, QUEUE, false);
        let url = RedisUrl::parse(&self.redis.url()).unwrap();
        let mut producer = RedisProducer::new(RedisConfig::new(url, keys, "the test's spool"));
        let job_class = JobClass::parse("App\\Jobs\\UserDataEvent").unwrap();
        let mut writer = JobWriter::new(JobShape { job_class, laravel: Laravel::V12, horizon: false });
        let frames = self.frames();
        let accounts = self.accounts;
        let (pushed, cancel) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, cancelled) = (Arc::clone(&pushed), Arc::clone(&cancel));
        let thread = std::thread::spawn(move || {
            let clock = SystemClock::start();
            let mut last = vec![None; accounts + 1];
            let mut position = 0;
            for chunk in frames.chunks(8) {
                let mut batch = JobBatch::new();
                for (account, text) in chunk {
                    position += 1;
                    let record = JobRecord {
                        account: *account as u64,
                        api_system: 1,
                        canonical: "binance",
                        epoch: EPOCH,
                        position,
                        previous: last[*account].replace(position),
                        received_at: clock.now().wall,
                        kind: "frame",
                        raw: text.as_bytes(),
                    };
                    batch.add(&mut writer, &record, None, Mono::ZERO).unwrap();
                }
                while let Err(error) = producer.push(&batch) {
                    assert!(!cancelled.load(Ordering::Acquire), "{error}");
                    std::thread::sleep(Duration::from_millis(20));
                }
                count.fetch_add(chunk.len(), Ordering::AcqRel);
                std::thread::sleep(pause);
            }
        });
        Feed { thread: Some(thread), pushed, cancel, total: self.accounts * self.orders * FRAMES }
    }

    /// Audit rows, where the database answers.
    pub fn audited(&self) -> Option<i64> {
        let url = self.postgres.url_text("postgres");
        let mut config: postgres::Config = url.parse().ok()?;
        config.connect_timeout(Duration::from_secs(1)).options("-c statement_timeout=2000");
        let mut client = config.connect(postgres::NoTls).ok()?;
        client.query_one("SELECT COUNT(*) FROM api_data_stream", &[]).ok().map(|row| row.get(0))
    }

    /// Waits for all frames; as long as rows come, the wait goes on.
    #[track_caller]
    pub fn wait_all(&self, feed: &mut Feed, daemons: &[&Daemon]) {
        let mut deadline = Instant::now() + PATIENCE;
        let mut before = None;
        loop {
            let now = self.audited();
            if now == Some(feed.total as i64) && feed.is_done() && self.left() == (0, 0, 0) {
                feed.join();
                return;
            }
            if now > before {
                before = now;
                deadline = Instant::now() + PATIENCE;
            }
            assert!(
                Instant::now() < deadline,
                "{now:?} of {} rows, pushed {}, left {:?}\n{}",
                feed.total,
                feed.pushed(),
                self.left(),
                daemons.iter().map(|daemon| daemon.log(SETTINGS)).collect::<Vec<_>>().join("\n--\n")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Jobs on the queue, reserved, and in a worker's hand.
    pub fn left(&self) -> (u64, u64, u64) {
        let mut redis = self.redis.client();
        let key = format!("{PREFIX}queues:{QUEUE}");
        let ready = redis::cmd("LLEN").arg(&key).query(&mut redis).unwrap();
        let reserved = redis::cmd("ZCARD").arg(format!("{key}:reserved")).query(&mut redis).unwrap();
        let in_hand = redis::cmd("ZCARD").arg(format!("{key}:kraite-inhand")).query(&mut redis).unwrap();
        (ready, reserved, in_hand)
    }

    /// Every frame is one audit row, per account in order; every order is filled; every position has exactly its intents, and
    /// each was pushed; nothing failed.
    #[track_caller]
    pub fn assert_exact(&self) {
        let mut client = self.postgres.client("postgres");
        for account in 1..=self.accounts {
            let rows = client
                .query(
                    "SELECT raw_payload::text, idempotency_key FROM api_data_stream WHERE account_id = $1 ORDER BY id",
                    &[&(account as i64)],
                )
                .unwrap();
            let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let wanted = self.frames().into_iter().filter(|(whose, _)| *whose == account);
            let wanted: Vec<String> = wanted.map(|(_, text)| text).collect();
            for (at, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                assert_eq!(found, wanted, "account {account}, row {at}");
            }
            assert_eq!(found.len(), wanted.len(), "account {account}");
        }
        let count =
            |client: &mut postgres::Client, query: &str| -> i64 { client.query_one(query, &[]).unwrap().get(0) };
        let orders = (self.accounts * self.orders) as i64;
        assert_eq!(count(&mut client, "SELECT COUNT(*) FROM failed_jobs"), 0);
        assert_eq!(count(&mut client, "SELECT COUNT(*) FROM orders WHERE status = 'FILLED'"), orders);
        assert_eq!(count(&mut client, "SELECT COUNT(*) FROM workflow_intents WHERE name = 'ClosePositionJob'"), orders);
        let doubled =
            "SELECT COUNT(*) FROM (SELECT 1 FROM workflow_intents GROUP BY name, position_id HAVING COUNT(*) > 1) d";
        assert_eq!(count(&mut client, doubled), 0, "an intent came twice");
        let wrong = "SELECT COUNT(*) FROM stream_gaps";
        assert_eq!(count(&mut client, wrong), 0, "an account was marked for a reconcile");
    }

    /// Waits until the relay has pushed every intent, and holds the application's queues against the table.
    #[track_caller]
    pub fn assert_intents_pushed(&self, daemon: &Daemon) {
        let mut client = self.postgres.client("postgres");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left: i64 =
                client.query_one("SELECT COUNT(*) FROM workflow_intents WHERE pushed_at IS NULL", &[]).unwrap().get(0);
            if left == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{left} intents are not pushed\n{}", daemon.log(SETTINGS));
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut redis = self.redis.client();
        let mut pushed = std::collections::BTreeSet::new();
        for queue in ["priority", "positions"] {
            let key = format!("{PREFIX}queues:{queue}");
            let bodies: Vec<String> = redis::cmd("LRANGE").arg(&key).arg(0).arg(-1).query(&mut redis).unwrap();
            for body in bodies {
                let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                assert_eq!(body["displayName"], "App\\Jobs\\TakeIntent");
                // At least once: the receiver takes an id once.
                pushed.insert(body["kraite_intent"]["id"].as_str().unwrap().parse::<i64>().unwrap());
            }
        }
        let rows = client.query("SELECT id FROM workflow_intents ORDER BY id", &[]).unwrap();
        let rows: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(pushed.into_iter().collect::<Vec<_>>(), rows);
    }
}

/// Frames on their way.
pub struct Feed {
    thread: Option<JoinHandle<()>>,
    pushed: Arc<AtomicUsize>,
    cancel: Arc<AtomicBool>,
    pub total: usize,
}

impl Feed {
    pub fn pushed(&self) -> usize {
        self.pushed.load(Ordering::Acquire)
    }

    pub fn is_done(&self) -> bool {
        self.pushed() == self.total
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Release);
    }
}

fn frame(account: usize, number: usize, step: usize) -> String {
    let (execution, status, last, filled) = [
        ("NEW", "NEW", 0, 0),
        ("TRADE", "PARTIALLY_FILLED", 1, 1),
        ("TRADE", "PARTIALLY_FILLED", 1, 2),
        ("TRADE", "FILLED", 1, 3),
    ][step];
    let time = 1_795_420_000_000_u64 + (number * FRAMES + step) as u64;
    let order = account * 1_000_000 + number;
    format!(
        r#"{{"e":"ORDER_TRADE_UPDATE","E":{time},"T":{time},"o":{{"s":"S{number}USDT","c":"x-{order}","S":"SELL","o":"LIMIT","f":"GTC","q":"3","p":"100","ap":"100","sp":"0","x":"{execution}","X":"{status}","i":{order},"l":"{last}","z":"{filled}","L":"100","T":{time},"t":{time},"R":true,"ps":"BOTH","cp":false}}}}"#
    )
}
