//! The table of keys: for each its place, its text for people, its bounds, and how it enters and leaves [`Settings`].

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::values::{connect_file, page, price_path, price_url, rest_base, status_file, store_url, weight_file};
use super::{LogFormat, LogLevel, PriceTarget, Settings, Spelling, Statement};
use crate::domain::Venue;
use crate::domain::limits::CHUNK_ROWS_MAX;

/// What a switch expects.
const SWITCH: &str = "\"on\" or \"off\"";

/// One key of the file.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// What it does and why one would change it; lines of the printed file.
    pub(super) about: &'static [&'static str],
    pub(super) shape: Shape,
}

type PutNumber = fn(&mut Settings, u64);
type TakeNumber = fn(&Settings) -> u64;
type PutText = fn(&mut Settings, &str) -> Result<(), String>;
type TakeText = fn(&Settings) -> String;

/// What a value is.
pub(super) enum Shape {
    /// A whole number within bounds.
    Number { unit: &'static str, range: RangeInclusive<u64>, put: PutNumber, take: TakeNumber },
    /// A text; `put` answers what is wrong with it and what to write instead.
    Text { expects: &'static str, put: PutText, take: TakeText },
}

impl Key {
    /// The value as it stands in a settings file, secrets included.
    pub(super) fn shown(&self, settings: &Settings) -> String {
        match &self.shape {
            Shape::Number { take, .. } => take(settings).to_string(),
            // JSON's escapes are a subset of TOML's, save that TOML also wants DEL escaped.
            Shape::Text { take, .. } => {
                serde_json::Value::from(take(settings)).to_string().replace('\u{7f}', "\\u007F")
            }
        }
    }

    /// Whether a text may also be written as a number.
    pub(super) fn takes_numbers(&self) -> bool {
        NUMBERS_TOO.contains(&(self.section, self.name))
    }

    /// Whether problems may quote the value.
    pub(super) fn is_secret(&self) -> bool {
        SECRETS.contains(&(self.section, self.name))
    }
}

/// Texts that are one number as a rule.
const NUMBERS_TOO: [(&str, &str); 1] = [("work", "backoff_s")];
/// Keys whose value no problem quotes.
const SECRETS: [(&str, &str); 4] =
    [("store", "url"), ("queue", "url"), ("user_data", "app_key"), ("user_data", "app_previous_keys")];

/// Sections with what they are about, in the order of the printed file.
pub(super) const SECTIONS: [(&str, &str); 9] = [
    ("prices", "The mark-price stream and the writer of its prices."),
    ("user_data", "Private streams: one authenticated socket per account."),
    ("user_data.binance", "What an event of Binance's may do."),
    ("spool", "Where private frames are safe on disk before anything acts on them."),
    ("queue", "Where each frame becomes a job: a Laravel queue on Redis, or a queue in this process."),
    ("work", "What takes the jobs: audit row, order change and intent in one transaction."),
    ("store", "The database: PostgreSQL or SQLite."),
    ("net", "Reaching the venues. TLS always verifies; there is no switch to turn that off."),
    ("ops", "What an operator sees: status file, live page, log."),
];

const fn number(
    (section, name): (&'static str, &'static str),
    unit: &'static str,
    range: RangeInclusive<u64>,
    (put, take): (PutNumber, TakeNumber),
    about: &'static [&'static str],
) -> Key {
    Key { section, name, about, shape: Shape::Number { unit, range, put, take } }
}

const fn text(
    (section, name): (&'static str, &'static str),
    expects: &'static str,
    (put, take): (PutText, TakeText),
    about: &'static [&'static str],
) -> Key {
    Key { section, name, about, shape: Shape::Text { expects, put, take } }
}

/// `"on"` or `"off"`.
macro_rules! switch {
    ($($at:ident).+) => {
        (
            |s, word| {
                s.$($at).+ = match word {
                    "on" => true,
                    "off" => false,
                    _ => return Err("write \"on\" or \"off\"".to_owned()),
                };
                Ok(())
            },
            |s| if s.$($at).+ { "on".to_owned() } else { "off".to_owned() },
        )
    };
}

/// A whole number at a place in [`Settings`], whose type holds the key's range.
macro_rules! whole {
    ($kind:ident, $($at:ident).+) => {
        (|s, n| s.$($at).+ = n as $kind, |s| s.$($at).+ as u64)
    };
}
/// A duration in milliseconds at a place in [`Settings`].
macro_rules! millis {
    ($($at:ident).+) => {
        (|s, n| s.$($at).+ = Duration::from_millis(n), |s| s.$($at).+.as_millis() as u64)
    };
}
/// A duration in seconds at a place in [`Settings`].
macro_rules! seconds {
    ($($at:ident).+) => {
        (|s, n| s.$($at).+ = Duration::from_secs(n), |s| s.$($at).+.as_secs())
    };
}
/// One word of a closed set.
macro_rules! word {
    ($kind:ident, $($at:ident).+) => {
        (
            |s, word| {
                s.$($at).+ = $kind::from_word(word).ok_or_else(|| one_of($kind::ALL.iter().map(|v| v.as_str())))?;
                Ok(())
            },
            |s| s.$($at).+.as_str().to_owned(),
        )
    };
}
/// A path that may be left out.
macro_rules! maybe_path {
    ($($at:ident).+) => {
        (
            |s, path| {
                s.$($at).+ = (!path.is_empty()).then(|| PathBuf::from(path));
                Ok(())
            },
            |s| s.$($at).+.as_ref().map_or(String::new(), |path| path.display().to_string()),
        )
    };
}
/// A venue's REST base.
macro_rules! rest {
    ($venue:ident) => {
        (
            |s, base| {
                s.net.rest[Venue::$venue as usize] = if base.is_empty() { None } else { Some(rest_base(base)?) };
                Ok(())
            },
            |s| s.net.rest[Venue::$venue as usize].clone().unwrap_or_default(),
        )
    };
}

mod queue;
mod user_data;
mod work;

/// All keys; those of one section in the order of the printed file.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> + Clone {
    [KEYS, user_data::KEYS, queue::KEYS, work::KEYS].into_iter().flatten()
}

/// Keys of the sections that have no file of their own.
const KEYS: &[Key] = &[
    text(
        ("prices", "url"),
        "wss://host or wss://host:port",
        (price_url, |s| s.prices.url.clone()),
        &["Where the stream is served. Venues move their streams: this is a setting so that a move needs no release."],
    ),
    text(
        ("prices", "spelling"),
        "\"combined\" or \"raw\"",
        word!(Spelling, prices.spelling),
        &[
            "How the stream is asked for: \"combined\" is /market/stream?streams=…, \"raw\" is /market/ws/….",
            "Both payload shapes are read either way.",
        ],
    ),
    text(
        ("prices", "path"),
        "a path that begins with /, or \"\"",
        (price_path, |s| s.prices.path.clone().unwrap_or_default()),
        &["Path and query that replace those of `spelling`. \"\": those of `spelling`."],
    ),
    number(
        ("prices", "settle_ms"),
        "ms",
        0..=1_000,
        millis!(prices.settle),
        &["From the first changed symbol to the write, so that one write takes the whole frame."],
    ),
    number(
        ("prices", "write_interval_ms"),
        "ms",
        100..=60_000,
        millis!(prices.write_interval),
        &[
            "From the start of one write to the start of the next, at least. A tick comes as two frames, so 1000 would hold",
            "the second one back for a second. Raise it to spare a busy database.",
        ],
    ),
    number(
        ("prices", "chunk_rows"),
        "rows",
        1..=CHUNK_ROWS_MAX as u64,
        whole!(usize, prices.chunk_rows),
        &["Rows of one UPDATE. CASE is searched from the top for every row, so larger is slower."],
    ),
    text(
        ("prices", "statement"),
        "\"case_bucketed\" or \"case\"",
        word!(Statement, prices.statement),
        &["\"case_bucketed\" nests ranges of 32 ids and takes 0.55 of the time; \"case\" is the flat text."],
    ),
    text(
        ("prices", "table"),
        "\"exchange_symbols\" or \"exchange_symbol_prices\"",
        word!(PriceTarget, prices.table),
        &[
            "The table that takes the prices. \"exchange_symbol_prices\" is narrow and kept at a low fillfactor: choose it when",
            "other writers touch exchange_symbols.",
        ],
    ),
    number(
        ("prices", "map_reload_s"),
        "s",
        5..=86_400,
        seconds!(prices.map_reload),
        &["Between two reads of the symbol map. SIGHUP reads it at once."],
    ),
    number(
        ("prices", "silence_s"),
        "s",
        1..=3_600,
        seconds!(prices.silence),
        &["Without a price for this long, the stream reconnects. Pings do not count."],
    ),
    number(
        ("prices", "silence_exit_s"),
        "s",
        2..=86_400,
        seconds!(prices.silence_exit),
        &[
            "Without a price for this long, `prices` ends with code 75, and the supervisor starts a fresh process.",
            "Must be above silence_s.",
        ],
    ),
    text(
        ("store", "url"),
        "postgres://user@host/database or sqlite:FILE",
        (store_url, |s| s.store.url.expose().to_owned()),
        &[
            "\"sqlite:FILE\" is the embedded store, which is created and migrated without being asked.",
            "\"postgres://user@host:5432/database?sslmode=verify-full\" is PostgreSQL. Keep the password out of this file:",
            "set KRAITE_STORE_URL instead.",
        ],
    ),
    text(
        ("store", "extra_roots"),
        "the path of a PEM file, or \"\"",
        maybe_path!(store.extra_roots),
        &["Certificate authorities trusted for the database beside the built-in ones (PEM). \"\": none."],
    ),
    number(
        ("store", "lock_timeout_ms"),
        "ms",
        50..=60_000,
        millis!(store.lock_timeout),
        &["How long a statement of the price writer waits for a lock. The newest prices are written once it is gone."],
    ),
    number(
        ("store", "statement_timeout_ms"),
        "ms",
        100..=600_000,
        millis!(store.statement_timeout),
        &[
            "How long a statement of the price writer may run: below a second, since the next tick brings newer prices.",
            "Must be above lock_timeout_ms.",
        ],
    ),
    number(
        ("store", "connect_timeout_s"),
        "s",
        1..=60,
        seconds!(store.connect_timeout),
        &["How long one connection to the database is tried; it is tried again for ever."],
    ),
    number(
        ("store", "writer_lock_wait_s"),
        "s",
        0..=3_600,
        seconds!(store.writer_lock_wait),
        &[
            "How long a second price writer waits for the first to go before it gives up. The lock of a machine that",
            "vanished is released after 45 s.",
        ],
    ),
    text(
        ("net", "extra_roots"),
        "the path of a PEM file, or \"\"",
        maybe_path!(net.extra_roots),
        &[
            "Certificate authorities trusted for venues beside the built-in ones (PEM): a proxy's, or the simulator's.",
            "\"\": none.",
        ],
    ),
    number(
        ("net", "connect_deadline_s"),
        "s",
        1..=60,
        seconds!(net.connect_deadline),
        &[
            "From the start of a connection attempt to its end, name resolution, TLS and upgrade included; also of one",
            "REST request.",
        ],
    ),
    number(
        ("net", "connects_per_window"),
        "attempts",
        10..=10_000,
        whole!(u32, net.connects_per_window),
        &[
            "Connection attempts of this machine within connect_window_s. 300 in 5 minutes is what Binance documents for one",
            "address; more is an address banned, and with it every account. Prices and exposed accounts have a share of their own.",
        ],
    ),
    number(
        ("net", "connect_window_s"),
        "s",
        10..=3_600,
        seconds!(net.connect_window),
        &["The window that attempts are counted in."],
    ),
    text(
        ("net", "connect_file"),
        "the path of a file",
        (connect_file, |s| s.net.connect_file.display().to_string()),
        &[
            "Where processes that share this machine's address count their attempts together, under a lock: name the same file",
            "for all of them.",
        ],
    ),
    number(
        ("net", "rest_weight"),
        "weight",
        200..=1_000_000,
        whole!(u32, net.rest_weight),
        &[
            "REST weight of this machine's address in a minute. 2400 is Binance's, for USDⓈ-M and COIN-M together: more is an",
            "address banned. Reconciles fill it up to 75 %, the safety net up to 50 %; listen keys always have room.",
        ],
    ),
    text(
        ("net", "weight_file"),
        "the path of a file",
        (weight_file, |s| s.net.weight_file.display().to_string()),
        &["Where processes that share this machine's address count their REST weight together: the same file for all."],
    ),
    text(
        ("net", "rest_binance"),
        REST_EXPECTS,
        rest!(Binance),
        &["REST base of each venue, for `symbols sync`. \"\": the venue's public endpoint."],
    ),
    text(("net", "rest_bybit"), REST_EXPECTS, rest!(Bybit), &[]),
    text(("net", "rest_kucoin"), REST_EXPECTS, rest!(Kucoin), &[]),
    text(("net", "rest_bitget"), REST_EXPECTS, rest!(Bitget), &[]),
    text(
        ("ops", "status_file"),
        "the path of a file",
        (status_file, |s| s.ops.status_file.display().to_string()),
        &["JSON status, replaced atomically; `kraite-streams status` reads it. Its folder must be writable."],
    ),
    number(
        ("ops", "status_interval_s"),
        "s",
        1..=300,
        seconds!(ops.status_interval),
        &["Between two replacements. A file older than three of them counts as stale."],
    ),
    number(
        ("ops", "summary_interval_s"),
        "s",
        1..=86_400,
        seconds!(ops.summary_interval),
        &["Between two summary lines in the log."],
    ),
    text(
        ("ops", "page"),
        "an address like \"127.0.0.1:8787\", or \"off\"",
        (page, |s| s.ops.page.map_or("off".to_owned(), |a| a.to_string())),
        &[
            "Where the live page, /status.json and /metrics are served. It only shows, and it asks for no password: keep it on",
            "loopback or a private network. A port that is taken costs the page, never the stream.",
        ],
    ),
    text(
        ("ops", "log_format"),
        "\"text\" or \"json\"",
        word!(LogFormat, ops.log_format),
        &["\"text\" for people, \"json\" for machines (one object a line). Times are UTC."],
    ),
    text(
        ("ops", "log_level"),
        "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        word!(LogLevel, ops.log_level),
        &["The least severe level that is logged."],
    ),
    text(
        ("ops", "log_file"),
        "the path of a file, or \"\"",
        maybe_path!(ops.log_file),
        &["Log file, opened again on SIGHUP so that it can be rotated. \"\": standard error."],
    ),
];

const REST_EXPECTS: &str = "https://host, or \"\"";

fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    format!("write one of {}", words.join(", "))
}
