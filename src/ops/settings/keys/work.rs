//! Keys of `[work]` and `[user_data.binance]`.

use std::time::Duration;

use super::{Key, number, one_of, text};
use crate::ops::settings::IntentTarget;
use crate::ops::settings::work_values::{
    backoff, dispatched_executions, failed_connection, intent_class, intent_queue, intents_off,
};

pub(super) const KEYS: &[Key] = &[
    text(
        ("user_data.binance", "dispatched_executions"),
        "execution types with commas between them, to the letter, or \"\"",
        (dispatched_executions, |s| s.user_data.binance.dispatched_executions.join(",")),
        &[
            "Events that may change an order or start a workflow, by execution type. \"\" is shadow mode: every event is kept",
            "in api_data_stream, and nothing else is written. Production of the application that this list comes from:",
            "  \"TRADE,AMENDMENT,CANCELED,EXPIRED,ALGO_NEW,ALGO_CANCELED,ALGO_EXPIRED,ALGO_FILLED\"",
            "Left off there: NEW (noise: it comes with every order placed, whose answer has said so already), REJECTED (is",
            "caught where the order is placed), CALCULATED (liquidations, which are out of its scope). ALGO_FILLED is",
            "ALGO_FINISHED with an executed quantity. A change in this file is taken within seconds and touches no",
            "connection. Read from USER_DATA_STREAM_BINANCE_DISPATCHED_EXECUTIONS too, the application's own variable, which",
            "wins over this file.",
        ],
    ),
    number(
        ("work", "threads"),
        "threads",
        1..=64,
        whole!(usize, work.threads),
        &[
            "Threads that apply jobs, each with a database connection. An account's jobs are applied by one after the other,",
            "so more threads than busy accounts do nothing. SQLite has one writer whatever this is.",
        ],
    ),
    number(
        ("work", "retry_after_s"),
        "s",
        10..=86_400,
        seconds!(work.retry_after),
        &[
            "How long a reservation holds when nobody extends it: write what Laravel's connection has (retry_after), since",
            "workers in PHP and this one put the same jobs back. Jobs of a worker that died come back after it.",
        ],
    ),
    number(
        ("work", "tries"),
        "attempts",
        1..=100,
        whole!(u32, work.tries),
        &[
            "Attempts before a job goes to failed_jobs and its account is marked for reconcile. A lost connection or a",
            "deadlock is tried again in place and counts as none.",
        ],
    ),
    text(
        ("work", "backoff_s"),
        "seconds, or a list like \"1,5,10\"",
        (backoff, |s| {
            let seconds: Vec<String> = s.work.backoff.iter().map(|wait| wait.as_secs().to_string()).collect();
            seconds.join(",")
        }),
        &[
            "Wait before the next attempt, as Laravel's backoff: of a list the first before the second attempt, and so on;",
            "the last holds for all further. Later jobs of the account wait too, so that order is kept.",
        ],
    ),
    number(
        ("work", "batch"),
        "jobs",
        1..=256,
        whole!(usize, work.batch),
        &[
            "Jobs of one account in one transaction, of those that wait already: none waits for a batch. Larger ones catch up",
            "faster and hold an account's locks longer.",
        ],
    ),
    number(
        ("work", "reserve"),
        "jobs",
        1..=65_536,
        whole!(usize, work.reserve),
        &[
            "Jobs in hand, over all accounts: about 3 KB each. It must hold a failing account's backlog and leave room for",
            "the rest. Must not be below batch.",
        ],
    ),
    number(
        ("work", "disorder_wait_ms"),
        "ms",
        0..=60_000,
        millis!(work.disorder_wait),
        &[
            "How long a job waits for the one before it, which it names, when that is neither applied nor in hand. Then it is",
            "applied and counted as disorder. 0: not at all.",
        ],
    ),
    number(
        ("work", "lease_s"),
        "s",
        2..=300,
        seconds!(work.lease),
        &[
            "How long the lease of the active process holds when it is not renewed: another process takes over after it.",
            "Shorter takes over sooner, longer stands a slow Redis. Must be below retry_after_s.",
        ],
    ),
    number(
        ("work", "audit_retain_days"),
        "days",
        0..=36_500,
        (
            |s, n| s.work.audit_retain_days = u32::try_from(n).ok().filter(|&days| days > 0),
            |s| u64::from(s.work.audit_retain_days.unwrap_or(0)),
        ),
        &[
            "How long rows of api_data_stream, workflow_intents and stream_decisions are kept; older ones are deleted in small",
            "batches, an intent not before it is pushed. 0: for ever, as the application itself does. An audit row is about",
            "1.5 KB. Frames older than this count as new if they ever came again.",
        ],
    ),
    number(
        ("work", "intent_live_s"),
        "s",
        1..=86_400,
        seconds!(work.intent_live),
        &[
            "How long an intent keeps others of its workflow and position from being written when nobody sets finished_at.",
            "Longer than the slowest workflow: then four cancelled orders of one position start one replacement.",
        ],
    ),
    text(
        ("work", "intents_off"),
        "kinds with commas between them, or \"\"",
        (intents_off, |s| s.work.intents_off.join(",")),
        &[
            "Kinds of intents that are not written, for a workflow that the application starts by itself: order_correction,",
            "close_position, position_replacement, quantity_sync, apply_wap, open_orders_cancel, external_close,",
            "symbol_block.",
        ],
    ),
    text(
        ("work", "intent_target"),
        "\"store\" or \"redis\"",
        word!(IntentTarget, work.intent_target),
        &[
            "\"store\": rows of workflow_intents are all, and the application reads them. \"redis\": each is also pushed as a",
            "Laravel job, on the Redis of queue.url.",
        ],
    ),
    text(
        ("work", "intent_class"),
        "a class or a namespace that ends in \\, in single quotes, then NAME=class for exceptions, or \"\"",
        (intent_class, |s| s.work.intent_class.0.shown()),
        &[
            "The PHP class of an intent's job, with intentId, workflow, accountId, positionId, orderId and arguments. One",
            "class takes all; a namespace is followed by the workflow's name; ApplyWapJob=App\\Wap is an exception. Needed",
            "where intent_target is \"redis\".",
        ],
    ),
    text(
        ("work", "intent_queue"),
        "what stands before a queue's name, then NAME=queue for exceptions, or \"\"",
        (intent_queue, |s| s.work.intent_queue.0.shown()),
        &[
            "The queues of intents, as Redis holds them: \"kraite-\" makes kraite-priority and kraite-positions of the two, and",
            "\"kraite-,priority=fast\" is an exception.",
        ],
    ),
    text(
        ("work", "failed_connection"),
        "the name of a connection",
        (failed_connection, |s| s.work.failed_connection.clone()),
        &["failed_jobs.connection: Laravel's name for the queue's connection, which queue:retry pushes to."],
    ),
];
