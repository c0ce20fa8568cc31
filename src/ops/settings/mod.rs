//! Settings: what may be changed without a rebuild, checked in full before anything starts.
//!
//! Precedence, the later wins: built-in default, settings file, environment. The file is `--settings FILE`, else
//! `$KRAITE_SETTINGS`, else `kraite-streams.toml` in the working directory; without one the defaults run. Every key has an
//! environment twin `KRAITE_<SECTION>_<KEY>` (`KRAITE_STORE_URL`), meant for secrets; an empty variable counts as not set.
//! Relative paths, in both, start at the working directory of the process.
//!
//! `keys` is the one table of keys; reading, printing and comparing all walk it, so a key cannot be half known. All
//! problems are reported together, each with place, value and remedy.

mod keys;
mod nearest;
mod print;
mod queue_values;
mod read;
mod secret_url;
mod user_data;
mod values;
mod work;
mod work_values;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use read::{Problem, SettingsError};
pub use secret_url::SecretUrl;
pub use user_data::{QueueSettings, QueueTarget, SpoolSettings, UserDataSettings};
pub use work::{
    BINANCE_EXECUTIONS, INTENT_QUEUES, IntentClasses, IntentQueueNames, VenueSettings, WORKFLOWS, WorkSettings,
};

use crate::domain::Venue;
use crate::domain::limits::{CHUNK_ROWS_MAX, CONNECT_DEADLINE, DATA_SILENCE_EXIT, DATA_SILENCE_MAX, WEIGHT_LIMIT};

/// The file looked for when none is named.
pub const SETTINGS_FILE: &str = "kraite-streams.toml";
/// The environment variable that names the file.
pub const SETTINGS_VARIABLE: &str = "KRAITE_SETTINGS";

/// All settings, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The price stream and its writer.
    pub prices: PricesSettings,
    /// The private streams.
    pub user_data: UserDataSettings,
    /// Their frames on disk.
    pub spool: SpoolSettings,
    /// Where each becomes a job.
    pub queue: QueueSettings,
    /// What takes them.
    pub work: WorkSettings,
    /// The database.
    pub store: StoreSettings,
    /// Reaching the venues.
    pub net: NetSettings,
    /// What an operator sees.
    pub ops: OpsSettings,
}

/// `[prices]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricesSettings {
    /// `wss://host[:port]`, without a path.
    pub url: String,
    /// How the stream is asked for.
    pub spelling: Spelling,
    /// Replaces the path that `spelling` stands for; begins with `/`.
    pub path: Option<String>,
    /// From the first dirty symbol to the write.
    pub settle: Duration,
    /// From the start of one write to the start of the next, at least.
    pub write_interval: Duration,
    /// Rows of one `UPDATE`.
    pub chunk_rows: usize,
    /// The text of the `UPDATE`.
    pub statement: Statement,
    /// The table that takes the prices.
    pub table: PriceTarget,
    /// Between two reads of the symbol map.
    pub map_reload: Duration,
    /// Silence after which the stream reconnects.
    pub silence: Duration,
    /// Silence after which the process ends with code 75; longer than `silence`.
    pub silence_exit: Duration,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// `postgres://…` or `sqlite:path`.
    pub url: SecretUrl,
    /// PEM file of authorities trusted for the database beside the built-in ones.
    pub extra_roots: Option<PathBuf>,
    /// How long a statement waits for a lock.
    pub lock_timeout: Duration,
    /// How long a statement runs.
    pub statement_timeout: Duration,
    /// How long a connection is tried.
    pub connect_timeout: Duration,
    /// How long a second price writer waits for the first to go.
    pub writer_lock_wait: Duration,
}

/// `[net]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetSettings {
    /// PEM file of authorities trusted for venues beside the built-in ones.
    pub extra_roots: Option<PathBuf>,
    /// From the start of an attempt to the upgraded connection; also of one REST request.
    pub connect_deadline: Duration,
    /// Connection attempts of this machine within [`NetSettings::connect_window`].
    pub connects_per_window: u32,
    /// The window that they are counted in.
    pub connect_window: Duration,
    /// Where the processes of this machine count them together.
    pub connect_file: PathBuf,
    /// REST weight of this machine's address in a minute, all processes and products together.
    pub rest_weight: u32,
    /// Where the processes of this machine count it together.
    pub weight_file: PathBuf,
    /// REST base per venue, in the order of [`Venue::ALL`]; `None` is the venue's own public endpoint.
    pub rest: [Option<String>; 4],
}

impl NetSettings {
    /// The REST base that replaces the venue's own, if one is set.
    #[must_use]
    pub fn rest_base(&self, venue: Venue) -> Option<&str> {
        self.rest[venue as usize].as_deref()
    }
}

/// `[ops]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpsSettings {
    /// The JSON status file.
    pub status_file: PathBuf,
    /// Between two of its replacements.
    pub status_interval: Duration,
    /// Between two summary lines in the log.
    pub summary_interval: Duration,
    /// Where the live page listens; `None` is off.
    pub page: Option<SocketAddr>,
    /// Shape of a log line.
    pub log_format: LogFormat,
    /// The least severe level that is logged.
    pub log_level: LogLevel,
    /// The log file; `None` is standard error.
    pub log_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            prices: PricesSettings {
                url: "wss://fstream.binance.com".to_owned(),
                spelling: Spelling::Combined,
                path: None,
                settle: Duration::from_millis(25),
                write_interval: Duration::from_millis(500),
                chunk_rows: CHUNK_ROWS_MAX,
                statement: Statement::CaseBucketed,
                table: PriceTarget::ExchangeSymbols,
                map_reload: Duration::from_secs(300),
                silence: DATA_SILENCE_MAX,
                silence_exit: DATA_SILENCE_EXIT,
            },
            store: StoreSettings {
                url: SecretUrl::new("sqlite:kraite-streams.sqlite"),
                extra_roots: None,
                lock_timeout: Duration::from_millis(500),
                statement_timeout: Duration::from_millis(900),
                connect_timeout: Duration::from_secs(5),
                writer_lock_wait: Duration::from_secs(60),
            },
            user_data: UserDataSettings::default(),
            spool: SpoolSettings::default(),
            queue: QueueSettings::default(),
            work: WorkSettings::default(),
            net: NetSettings {
                extra_roots: None,
                connect_deadline: CONNECT_DEADLINE,
                connects_per_window: 300,
                connect_window: Duration::from_secs(300),
                connect_file: PathBuf::from("kraite-streams.connects"),
                rest_weight: WEIGHT_LIMIT,
                weight_file: PathBuf::from("kraite-streams.weight"),
                rest: [const { None }; 4],
            },
            ops: OpsSettings {
                status_file: PathBuf::from("kraite-streams.status.json"),
                status_interval: Duration::from_secs(2),
                summary_interval: Duration::from_secs(60),
                page: Some(SocketAddr::from(([127, 0, 0, 1], 8787))),
                log_format: LogFormat::Text,
                log_level: LogLevel::Info,
                log_file: None,
            },
        }
    }
}

/// Where settings came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This file.
    File(PathBuf),
    /// No file was named and none lay in the working directory.
    Defaults,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Defaults => f.write_str("built-in defaults (no settings file)"),
        }
    }
}

impl Settings {
    /// Reads file and environment of this process.
    ///
    /// # Errors
    /// [`SettingsError::Unreadable`] for a named file that cannot be read, [`SettingsError::Bad`] with every problem found.
    pub fn load(named: Option<&Path>) -> Result<(Settings, Origin), SettingsError> {
        let environment: Vec<_> = std::env::vars_os().collect();
        Settings::load_with(named, &environment)
    }

    fn load_with(
        named: Option<&Path>,
        environment: &[(std::ffi::OsString, std::ffi::OsString)],
    ) -> Result<(Settings, Origin), SettingsError> {
        let variable = environment.iter().find(|(name, value)| name == SETTINGS_VARIABLE && !value.is_empty());
        let named = named.map(Path::to_path_buf).or_else(|| variable.map(|(_, value)| PathBuf::from(value)));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(SETTINGS_FILE));
        let (text, origin) = match std::fs::read_to_string(&path) {
            Ok(text) => (text, Origin::File(path.clone())),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                (String::new(), Origin::Defaults)
            }
            Err(error) => return Err(SettingsError::Unreadable { path, error: error.to_string() }),
        };
        let settings = read::read(&text, &path.display().to_string(), environment)?;
        Ok((settings, origin))
    }

    /// Reads `text` alone, as if it were the file `file`, without the environment.
    ///
    /// # Errors
    /// [`SettingsError::Bad`] with every problem found.
    pub fn parse(text: &str, file: &str) -> Result<Settings, SettingsError> {
        read::read(text, file, &[])
    }

    /// The default settings as a commented file, which [`Settings::parse`] turns back into exactly the defaults.
    #[must_use]
    pub fn default_file() -> String {
        print::default_file()
    }

    /// Names of the keys (`prices.settle_ms`) whose value differs, without the values.
    #[must_use]
    pub fn changed_keys(&self, other: &Settings) -> Vec<String> {
        keys::keys()
            .filter(|key| key.shown(self) != key.shown(other))
            .map(|key| format!("{}.{}", key.section, key.name))
            .collect()
    }
}

/// Declares an enum whose variants are the words of a setting.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// Every variant.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The word in the settings file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The variant of a word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                $name::ALL.iter().copied().find(|variant| variant.as_str() == word)
            }
        }
    };
}

words! {
    /// How the price stream is asked for.
    Spelling {
        /// `/market/stream?streams=…`: payloads arrive wrapped.
        Combined = "combined",
        /// `/market/ws/…`: payloads arrive bare.
        Raw = "raw",
    }
}
words! {
    /// How a private stream is asked for.
    PrivateSpelling {
        /// Each in this order, until the venue lists the subscription; what delivered is remembered.
        Auto = "auto",
        /// `/private/ws?listenKey=…&events=…`.
        Query = "query",
        /// `/private/stream?streams=…`: payloads arrive wrapped.
        Stream = "stream",
        /// `/private/ws/<key>`.
        Path = "path",
    }
}
words! {
    /// When a spooled frame may be handed on.
    SpoolSync {
        /// Once it is written; synced within the interval.
        Interval = "interval",
        /// Once it is synced.
        Always = "always",
    }
}
words! {
    /// Where intents go.
    IntentTarget {
        /// Rows alone, which the application reads.
        Store = "store",
        /// Rows, and a job for each.
        Redis = "redis",
    }
}
words! {
    /// The text of the price `UPDATE`.
    Statement {
        /// One flat `CASE id WHEN … END`.
        Case = "case",
        /// The same nested in ranges of 32 ids; 0.55 of the time.
        CaseBucketed = "case_bucketed",
    }
}
words! {
    /// The table that takes the prices.
    PriceTarget {
        /// `exchange_symbols`, key `id`.
        ExchangeSymbols = "exchange_symbols",
        /// The narrow side table, key `exchange_symbol_id`.
        ExchangeSymbolPrices = "exchange_symbol_prices",
    }
}
words! {
    /// Shape of a log line.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
words! {
    /// Severity, the most severe first.
    LogLevel {
        /// What an operator must act on.
        Error = "error",
        /// What an operator should know.
        Warn = "warn",
        /// State changes and summaries.
        Info = "info",
        /// Each attempt, each write.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

#[cfg(test)]
mod tests;
