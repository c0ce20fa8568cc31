//! `[user_data]`, `[spool]` and `[queue]`: from an account's socket to the job that a worker takes.

use std::path::PathBuf;
use std::time::Duration;

use super::{PrivateSpelling, SecretUrl, SpoolSync, VenueSettings};
use crate::domain::limits::ROTATE_AFTER;
use crate::domain::limits::SYNC_ORDERS_EVERY;
use crate::ops::encrypter::Cipher;
use crate::ops::secret::Secret;

/// `[user_data]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDataSettings {
    /// `wss://host[:port]`, without a path.
    pub url: String,
    /// REST base for listen keys; `None` is that of `net.rest_binance`, else the venue's own.
    pub rest: Option<String>,
    /// How a private stream is asked for.
    pub spelling: PrivateSpelling,
    /// Between two looks for accounts that came, went or changed.
    pub discovery: Duration,
    /// An account's listen key is extended no more often than this.
    pub keep_alive_min: Duration,
    /// … and no less often than this.
    pub keep_alive_max: Duration,
    /// Between two durable liveness marks: a gap's start is early by this much at most.
    pub liveness_mark: Duration,
    /// Whether gaps are closed over REST.
    pub reconcile: bool,
    /// From one round of the safety net to the next; zero: there is none.
    pub sync_orders: Duration,
    /// A connection is replaced at this age, before the venue cuts it; zero: never.
    pub rotate_after: Duration,
    /// Threads that read sockets.
    pub threads: usize,
    /// Threads for REST calls and database rows.
    pub control_threads: usize,
    /// Laravel's `APP_KEY`.
    pub app_key: Option<Secret>,
    /// Laravel's `APP_PREVIOUS_KEYS`: with commas between them, the newest first.
    pub app_previous_keys: Option<Secret>,
    /// What listen keys and accounts are written with; either is read.
    pub cipher: Cipher,
    /// The file that holds the key where `app_key` is not set; `None` is [`UserDataSettings::key_file_beside`] the
    /// embedded database.
    pub app_key_file: Option<PathBuf>,
    /// What Binance's events may do.
    pub binance: VenueSettings,
}

impl UserDataSettings {
    /// The key file that embedded mode makes for itself: the database's name and `.app-key`.
    #[must_use]
    pub fn key_file_beside(database: &std::path::Path) -> PathBuf {
        let mut path = database.as_os_str().to_owned();
        path.push(".app-key");
        PathBuf::from(path)
    }
}

impl Default for UserDataSettings {
    fn default() -> Self {
        UserDataSettings {
            url: "wss://fstream.binance.com".to_owned(),
            rest: None,
            spelling: PrivateSpelling::Auto,
            discovery: Duration::from_secs(60),
            keep_alive_min: Duration::from_secs(60),
            keep_alive_max: Duration::from_secs(25 * 60),
            liveness_mark: Duration::from_secs(10),
            reconcile: true,
            sync_orders: SYNC_ORDERS_EVERY,
            rotate_after: ROTATE_AFTER,
            threads: 1,
            control_threads: 4,
            app_key: None,
            app_previous_keys: None,
            cipher: Cipher::Aes256Cbc,
            app_key_file: None,
            binance: VenueSettings::default(),
        }
    }
}

/// `[spool]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// The folder; made where it is not there, for its owner only.
    pub folder: PathBuf,
    /// When a frame may be handed on.
    pub sync: SpoolSync,
    /// How long frames wait for the `fdatasync` of their group.
    pub sync_interval: Duration,
    /// Bytes at which a new segment begins.
    pub segment_bytes: u64,
    /// Bytes of all segments; above it frames are refused and sockets no longer read.
    pub bytes_max: u64,
    /// Of these, what one account may hold unacknowledged, in percent; above it only that account waits.
    pub account_share_percent: u8,
    /// Bytes of the file system that stay free.
    pub free_min: u64,
    /// How long acknowledged segments are kept.
    pub retain: Duration,
}

impl SpoolSettings {
    /// What one account may hold unacknowledged, in bytes.
    #[must_use]
    pub fn account_bytes_max(&self) -> u64 {
        self.bytes_max / 100 * u64::from(self.account_share_percent)
    }
}

impl Default for SpoolSettings {
    fn default() -> Self {
        SpoolSettings {
            folder: PathBuf::from("kraite-streams.spool"),
            sync: SpoolSync::Interval,
            sync_interval: Duration::from_millis(5),
            segment_bytes: 64 << 20,
            bytes_max: 8 << 30,
            account_share_percent: 12,
            free_min: 64 << 20,
            retain: Duration::from_secs(24 * 3_600),
        }
    }
}

/// `[queue]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Where jobs go.
    pub target: QueueTarget,
    /// Laravel's `database.redis.options.prefix`.
    pub prefix: String,
    /// The queue's name as Redis holds it.
    pub name: String,
    /// PHP class of the job; there on Redis.
    pub job_class: Option<String>,
    /// Laravel's major version.
    pub laravel: u8,
    /// Whether Horizon's pending records are written.
    pub horizon: bool,
    /// Horizon's prefix, which replaces [`QueueSettings::prefix`] in its own keys.
    pub horizon_prefix: String,
    /// Whether the queue's name stands in braces, so that a cluster keeps its keys on one node.
    pub hash_tag: bool,
    /// Jobs waiting on the queue above which dispatch pauses.
    pub depth_max: u64,
    /// Jobs of one push.
    pub batch: usize,
    /// How long a job waits for others of its push.
    pub age: Duration,
    /// PEM file of authorities trusted for `rediss://` beside the built-in ones.
    pub extra_roots: Option<PathBuf>,
    /// How long one connection is tried.
    pub connect_timeout: Duration,
    /// How long an answer is waited for.
    pub answer_timeout: Duration,
}

/// `queue.url`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueTarget {
    /// The queue inside this process.
    InProcess,
    /// A Redis server, or the one that a Sentinel names.
    Redis(SecretUrl),
}

impl QueueTarget {
    /// The word for the queue inside this process.
    pub const IN_PROCESS: &'static str = "in_process";
}

impl Default for QueueSettings {
    fn default() -> Self {
        QueueSettings {
            target: QueueTarget::InProcess,
            prefix: "laravel_database_".to_owned(),
            name: "user-data-stream".to_owned(),
            job_class: None,
            laravel: 12,
            horizon: false,
            horizon_prefix: "laravel_horizon:".to_owned(),
            hash_tag: false,
            depth_max: 100_000,
            batch: 256,
            age: Duration::from_millis(2),
            extra_roots: None,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(5),
        }
    }
}
