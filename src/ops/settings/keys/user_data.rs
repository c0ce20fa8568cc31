//! Keys of `[user_data]` and `[spool]`.

use std::path::PathBuf;
use std::time::Duration;

use super::{Key, REST_EXPECTS, SWITCH, number, one_of, text};
use crate::domain::limits::ROTATE_HOURS_MAX;
use crate::ops::encrypter::Cipher;
use crate::ops::secret::Secret;
use crate::ops::settings::values::{private_url, rest_base, spool_folder};
use crate::ops::settings::{PrivateSpelling, SpoolSync};

const MIB: u64 = 1 << 20;

/// A secret that may be left out.
macro_rules! maybe_secret {
    ($($at:ident).+) => {
        (
            |s, text| {
                s.$($at).+ = (!text.trim().is_empty()).then(|| Secret::new(text.trim()));
                Ok(())
            },
            |s| s.$($at).+.as_ref().map_or(String::new(), |secret| secret.expose().to_owned()),
        )
    };
}

pub(super) const KEYS: &[Key] = &[
    text(
        ("user_data", "url"),
        "wss://host or wss://host:port",
        (private_url, |s| s.user_data.url.clone()),
        &["Where private streams are served. The path follows from `spelling`."],
    ),
    text(
        ("user_data", "rest"),
        REST_EXPECTS,
        (
            |s, base| {
                s.user_data.rest = if base.is_empty() { None } else { Some(rest_base(base)?) };
                Ok(())
            },
            |s| s.user_data.rest.clone().unwrap_or_default(),
        ),
        &["REST base for listen keys. \"\": net.rest_binance, else the venue's public endpoint."],
    ),
    text(
        ("user_data", "spelling"),
        "\"auto\", \"query\", \"stream\" or \"path\"",
        word!(PrivateSpelling, user_data.spelling),
        &[
            "How a private stream is asked for: \"query\" is /private/ws?listenKey=…&events=…, \"stream\" is",
            "/private/stream?streams=…, \"path\" is /private/ws/<key>. \"auto\" tries them in this order until the venue lists",
            "the subscription, and remembers what delivered: its pages and its servers have disagreed before.",
        ],
    ),
    number(
        ("user_data", "discovery_s"),
        "s",
        5..=3_600,
        seconds!(user_data.discovery),
        &["Between two looks for accounts that came, went or changed. An account needs no restart."],
    ),
    number(
        ("user_data", "keep_alive_min_s"),
        "s",
        10..=1_800,
        seconds!(user_data.keep_alive_min),
        &[
            "A listen key is extended every 60 s times the number of accounts, but no more often than this: one call a minute",
            "keeps MAX(last_keep_alive_at) fresh, which other programs read as a sign of life (below 120 s).",
        ],
    ),
    number(
        ("user_data", "keep_alive_max_s"),
        "s",
        60..=2_700,
        seconds!(user_data.keep_alive_max),
        &["… and no less often than this. A key lives 60 minutes: the default leaves room for two failures."],
    ),
    number(
        ("user_data", "liveness_mark_s"),
        "s",
        1..=300,
        seconds!(user_data.liveness_mark),
        &[
            "Between two durable marks of who is live. After a crash a gap begins at the last mark: shorter marks make",
            "shorter reconciles, longer ones spare the disk.",
        ],
    ),
    text(
        ("user_data", "reconcile"),
        SWITCH,
        switch!(user_data.reconcile),
        &[
            "Closes gaps: after every break of a stream orders, fills and positions are read over REST (about 150 weight an",
            "account), and what nobody heard becomes jobs like the rest. \"off\": gaps stay rows of stream_gaps for somebody else.",
        ],
    ),
    number(
        ("user_data", "sync_orders_s"),
        "s",
        0..=86_400,
        seconds!(user_data.sync_orders),
        &[
            "From one round of the safety net to the next: the orders of every account with open orders or positions are compared",
            "with the venue's. 0: never; `kraite-streams sync-orders` does it from cron.",
        ],
    ),
    number(
        ("user_data", "rotate_h"),
        "h",
        0..=ROTATE_HOURS_MAX,
        (
            |s, hours| s.user_data.rotate_after = Duration::from_secs(hours * 3_600),
            |s| s.user_data.rotate_after.as_secs() / 3_600,
        ),
        &[
            "A connection is replaced at this age, give or take 1/46 (half an hour of 23 h), while both are read: no frame is",
            "missed. The venue cuts at 24 h, which costs a gap and a reconcile. 0: connections are left to the venue.",
        ],
    ),
    number(
        ("user_data", "threads"),
        "threads",
        1..=64,
        whole!(usize, user_data.threads),
        &["Threads that read sockets. One carries thousands of accounts; raise it when one core is busy with TLS."],
    ),
    number(
        ("user_data", "control_threads"),
        "threads",
        1..=64,
        whole!(usize, user_data.control_threads),
        &["Threads for REST calls and database rows, so that a slow answer for one account holds up few others."],
    ),
    text(
        ("user_data", "app_key"),
        "Laravel's key, base64:…, or \"\"",
        maybe_secret!(user_data.app_key),
        &[
            "Laravel's APP_KEY, which the columns of `accounts` are encrypted with. Keep it out of this file: the environment's",
            "APP_KEY is read too, and KRAITE_USER_DATA_APP_KEY wins over it. \"\": app_key_file.",
        ],
    ),
    text(
        ("user_data", "app_previous_keys"),
        "keys with commas between them, or \"\"",
        maybe_secret!(user_data.app_previous_keys),
        &[
            "Laravel's APP_PREVIOUS_KEYS (read from the environment too): what app_key cannot decrypt is tried with these.",
        ],
    ),
    text(
        ("user_data", "cipher"),
        "\"AES-256-CBC\" or \"AES-256-GCM\"",
        (
            |s, name| {
                let wanted = || one_of([Cipher::Aes256Cbc, Cipher::Aes256Gcm].map(Cipher::as_str).into_iter());
                s.user_data.cipher = name.parse().map_err(|_| wanted())?;
                Ok(())
            },
            |s| s.user_data.cipher.as_str().to_owned(),
        ),
        &["Laravel's app.cipher: what is written, so that the application can read it. Either is read."],
    ),
    text(
        ("user_data", "app_key_file"),
        "the path of a file, or \"\"",
        maybe_path!(user_data.app_key_file),
        &[
            "File with the key, read where app_key is not set: Laravel's .env, or one that holds the key alone. \"\": with an",
            "SQLite store the file beside it that ends in .app-key, made by `accounts add` with a random key, for its owner",
            "only. Losing it loses the credentials: back it up, but not together with the database.",
        ],
    ),
    text(
        ("spool", "folder"),
        "the path of a folder",
        (spool_folder, |s| s.spool.folder.display().to_string()),
        &[
            "Where private frames are kept until they are dispatched, and spool.retain_h longer. On a local disk: it is",
            "synced many times a second. One process at a time uses it.",
        ],
    ),
    text(
        ("spool", "sync"),
        "\"interval\" or \"always\"",
        word!(SpoolSync, spool.sync),
        &[
            "\"interval\": a frame is handed on once it is written, and synced within sync_ms; a killed process loses nothing, a",
            "power cut at most that long, inside a gap record. \"always\": synced before it is handed on.",
        ],
    ),
    number(
        ("spool", "sync_ms"),
        "ms",
        1..=1_000,
        millis!(spool.sync_interval),
        &["How long frames wait for the sync of their group. Shorter is more writes for the disk."],
    ),
    number(
        ("spool", "segment_mb"),
        "MiB",
        1..=4_096,
        (|s, n| s.spool.segment_bytes = n * MIB, |s| s.spool.segment_bytes / MIB),
        &["Size of one file. Files are deleted whole, so larger ones free their space later."],
    ),
    number(
        ("spool", "max_mb"),
        "MiB",
        64..=16_777_216,
        (|s, n| s.spool.bytes_max = n * MIB, |s| s.spool.bytes_max / MIB),
        &[
            "Size of all files. When they are full sockets are no longer read, loudly. 2,000 frames a second fill 8 GiB in an hour.",
        ],
    ),
    number(
        ("spool", "account_share_percent"),
        "percent of max_mb",
        1..=100,
        whole!(u8, spool.account_share_percent),
        &["What one account may hold before only that account is paused: one flood must not fill the spool of all."],
    ),
    number(
        ("spool", "free_min_mb"),
        "MiB",
        1..=1_048_576,
        (|s, n| s.spool.free_min = n * MIB, |s| s.spool.free_min / MIB),
        &[
            "Free space of the file system below which frames are refused, so that a database on the same disk lives on.",
        ],
    ),
    number(
        ("spool", "retain_h"),
        "h",
        0..=8_760,
        (|s, n| s.spool.retain = Duration::from_secs(n * 3_600), |s| s.spool.retain.as_secs() / 3_600),
        &[
            "How long dispatched files are kept, while there is room: a Redis that accepted jobs and lost its memory is filled",
            "again from them.",
        ],
    ),
];
