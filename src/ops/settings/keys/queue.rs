//! Keys of `[queue]`.

use std::path::PathBuf;
use std::time::Duration;

use super::{Key, SWITCH, number, text};
use crate::ops::settings::QueueTarget;
use crate::ops::settings::queue_values::{horizon_prefix, job_class, name, prefix, url};

pub(super) const KEYS: &[Key] = &[
    text(
        ("queue", "url"),
        "redis://host:6379/0, rediss://…, redis+sentinel://host:26379,host:26379/service, or \"in_process\"",
        (url, |s| match &s.queue.target {
            QueueTarget::InProcess => QueueTarget::IN_PROCESS.to_owned(),
            QueueTarget::Redis(url) => url.expose().to_owned(),
        }),
        &[
            "Where jobs go. \"in_process\" needs nothing installed; \"redis://user:password@host:port/database\" is the queue of",
            "a Laravel application, rediss:// the same over TLS. Keep the password out of this file: set KRAITE_QUEUE_URL.",
        ],
    ),
    text(
        ("queue", "prefix"),
        "the prefix of Laravel's Redis connection, or \"\"",
        (prefix, |s| s.queue.prefix.clone()),
        &[
            "Laravel's database.redis.options.prefix, to the letter: with another one no worker ever sees a job. Laravel 12",
            "makes \"<app name>_database_\" of APP_NAME, Laravel 13 \"<app-name>-database-\".",
        ],
    ),
    text(
        ("queue", "name"),
        "the name of a queue",
        (name, |s| s.queue.name.clone()),
        &[
            "The queue as Redis holds it, where a worker listens: a fleet may put its host in front (\"<host>-user-data-stream\").",
        ],
    ),
    text(
        ("queue", "job_class"),
        "a PHP class like 'App\\Jobs\\ProcessUserDataEvent' (in single quotes), or \"\"",
        (job_class, |s| s.queue.job_class.clone().unwrap_or_default()),
        &[
            "The job's class, a plain queueable one with accountId, apiSystemId, apiSystemCanonical and payload. Needed on Redis:",
            "there is no default, since a job of a class that the application lacks fails, one and all.",
        ],
    ),
    number(
        ("queue", "laravel"),
        "major version",
        12..=13,
        whole!(u8, queue.laravel),
        &[
            "Laravel's version, so that a job is byte for byte what it would have pushed itself. Either reads the other's.",
        ],
    ),
    text(
        ("queue", "horizon"),
        SWITCH,
        switch!(queue.horizon),
        &["Writes Horizon's records of a pending job, so that its dashboard lists it: four more commands a job."],
    ),
    text(
        ("queue", "horizon_prefix"),
        "Horizon's prefix",
        (horizon_prefix, |s| s.queue.horizon_prefix.clone()),
        &["config horizon.prefix, which replaces `prefix` in Horizon's own keys."],
    ),
    text(
        ("queue", "hash_tag"),
        SWITCH,
        switch!(queue.hash_tag),
        &[
            "Puts the name in braces, so that a Redis Cluster keeps a queue's keys together. Laravel 13 does so on a cluster by",
            "itself, Laravel 12 never: there the application's own queue name must have them.",
        ],
    ),
    number(
        ("queue", "depth_max"),
        "jobs",
        100..=100_000_000,
        (|s, n| s.queue.depth_max = n, |s| s.queue.depth_max),
        &[
            "Jobs waiting on the queue above which dispatch pauses, so that a worker that is away costs disk, not Redis's memory.",
            "A job takes about 3 KB there.",
        ],
    ),
    number(
        ("queue", "batch"),
        "jobs",
        1..=4_096,
        whole!(usize, queue.batch),
        &["Jobs of one push: one MULTI with two RPUSH, however many."],
    ),
    number(
        ("queue", "age_ms"),
        "ms",
        0..=1_000,
        millis!(queue.age),
        &["How long a job waits for others of its push. 0: not at all."],
    ),
    text(
        ("queue", "extra_roots"),
        "the path of a PEM file, or \"\"",
        maybe_path!(queue.extra_roots),
        &["Certificate authorities trusted for rediss:// beside the built-in ones (PEM). \"\": none."],
    ),
    number(
        ("queue", "connect_timeout_s"),
        "s",
        1..=60,
        seconds!(queue.connect_timeout),
        &["How long one connection to Redis is tried; it is tried again for ever."],
    ),
    number(
        ("queue", "answer_timeout_s"),
        "s",
        1..=60,
        seconds!(queue.answer_timeout),
        &[
            "How long an answer of Redis is waited for. Then the connection is given up, and the push is made again",
            "under the same uuids.",
        ],
    ),
];
