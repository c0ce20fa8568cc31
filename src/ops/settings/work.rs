//! `[work]` and `[user_data.binance]`: what takes the jobs, and what an event may change.

use std::time::Duration;

use super::IntentTarget;

/// Words that an allowlist may name: what Binance says in `o.x`, and `ALGO_` with the status of an algo order;
/// `ALGO_FILLED` is `ALGO_FINISHED` with an executed quantity (facts/binance.md §4.1, §4.4; facts/incumbent.md §4.3).
pub const BINANCE_EXECUTIONS: [&str; 15] = [
    "NEW",
    "TRADE",
    "AMENDMENT",
    "CANCELED",
    "EXPIRED",
    "REJECTED",
    "CALCULATED",
    "ALGO_NEW",
    "ALGO_CANCELED",
    "ALGO_EXPIRED",
    "ALGO_REJECTED",
    "ALGO_TRIGGERING",
    "ALGO_TRIGGERED",
    "ALGO_FINISHED",
    "ALGO_FILLED",
];

/// The kinds of intents that can be switched off.
pub const INTENT_KINDS: [&str; 8] = [
    "order_correction",
    "close_position",
    "position_replacement",
    "quantity_sync",
    "apply_wap",
    "open_orders_cancel",
    "external_close",
    "symbol_block",
];

/// The workflows that intents name.
pub const WORKFLOWS: [&str; 7] = [
    "PrepareOrderCorrectionJob",
    "ClosePositionJob",
    "PreparePositionReplacementJob",
    "SyncPositionQuantityFromExchangeJob",
    "ApplyWapJob",
    "CancelPositionOpenOrdersJob",
    "BlockExchangeSymbolJob",
];

/// The logical queues of intents.
pub const INTENT_QUEUES: [&str; 2] = ["priority", "positions"];

/// `[user_data.binance]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VenueSettings {
    /// Execution types that may change anything, each once, all known; empty is shadow mode.
    pub dispatched_executions: Vec<String>,
}

/// `[work]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkSettings {
    /// Threads that apply jobs; an account's are applied by one.
    pub threads: usize,
    /// How long a reservation holds unless it is extended.
    pub retry_after: Duration,
    /// Attempts before a job goes to `failed_jobs`.
    pub tries: u32,
    /// Waits before the second attempt, the third, …; the last one holds for all further. Never empty.
    pub backoff: Vec<Duration>,
    /// Jobs of one account in one transaction.
    pub batch: usize,
    /// Jobs in hand.
    pub reserve: usize,
    /// How long a job waits for its predecessor.
    pub disorder_wait: Duration,
    /// How long the lease of the active process holds unless it is renewed.
    pub lease: Duration,
    /// Days that audit rows are kept; `None` is for ever.
    pub audit_retain_days: Option<u32>,
    /// How long an intent counts as live when nobody says that it has finished.
    pub intent_live: Duration,
    /// Kinds of intents that are not written: of `INTENT_KINDS`, each once.
    pub intents_off: Vec<String>,
    /// Where intents go.
    pub intent_target: IntentTarget,
    /// The class of an intent's job.
    pub intent_class: IntentClasses,
    /// The queue of an intent's job.
    pub intent_queue: IntentQueueNames,
    /// `failed_jobs.connection`.
    pub failed_connection: String,
}

impl WorkSettings {
    /// The wait after the attempt number `attempt`, which counts from 1.
    #[must_use]
    pub fn backoff_after(&self, attempt: u32) -> Duration {
        let at = (attempt.max(1) - 1) as usize;
        self.backoff.get(at).or(self.backoff.last()).copied().unwrap_or_default()
    }
}

impl Default for WorkSettings {
    fn default() -> Self {
        WorkSettings {
            threads: 4,
            retry_after: Duration::from_secs(900),
            tries: 5,
            backoff: vec![Duration::from_secs(10)],
            batch: 16,
            reserve: 1_024,
            disorder_wait: Duration::from_secs(2),
            lease: Duration::from_secs(10),
            audit_retain_days: None,
            intent_live: Duration::from_secs(900),
            intents_off: Vec::new(),
            intent_target: IntentTarget::Store,
            intent_class: IntentClasses::default(),
            intent_queue: IntentQueueNames::default(),
            failed_connection: "redis".to_owned(),
        }
    }
}

/// A rule for most names, and exceptions from it: `rest, NAME=text, …`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) rest: String,
    pub(super) exceptions: Vec<(String, String)>,
}

impl Names {
    fn exception(&self, name: &str) -> Option<&str> {
        self.exceptions.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    pub(super) fn shown(&self) -> String {
        let rest = (!self.rest.is_empty()).then(|| self.rest.clone());
        let exceptions = self.exceptions.iter().map(|(name, text)| format!("{name}={text}"));
        rest.into_iter().chain(exceptions).collect::<Vec<_>>().join(",")
    }
}

/// `work.intent_class`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntentClasses(pub(super) Names);

impl IntentClasses {
    /// The PHP class of the job that asks for `workflow`; `None` where no class is named for it.
    #[must_use]
    pub fn class(&self, workflow: &str) -> Option<String> {
        let Names { rest, .. } = &self.0;
        match self.0.exception(workflow) {
            Some(class) => Some(class.to_owned()),
            None if rest.ends_with('\\') => Some(format!("{rest}{workflow}")),
            None => (!rest.is_empty()).then(|| rest.clone()),
        }
    }
}

/// `work.intent_queue`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntentQueueNames(pub(super) Names);

impl IntentQueueNames {
    /// The queue as Redis holds it, without Laravel's prefix, of the logical queue `queue`.
    #[must_use]
    pub fn name(&self, queue: &str) -> String {
        self.0.exception(queue).map_or_else(|| format!("{}{queue}", self.0.rest), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, SettingsError};
    use super::*;

    fn work(lines: &str) -> WorkSettings {
        Settings::parse(&format!("[work]\n{lines}\n"), "f").unwrap().work
    }

    #[test]
    fn the_allowlist_is_exact_and_empty_unless_set() {
        assert!(Settings::default().user_data.binance.dispatched_executions.is_empty());
        for (text, words) in [
            ("", &[][..]),
            (" , ,", &[]),
            (" TRADE,, ALGO_FILLED ,TRADE", &["TRADE", "ALGO_FILLED"]),
            (
                "TRADE,AMENDMENT,CANCELED,EXPIRED,ALGO_NEW,ALGO_CANCELED,ALGO_EXPIRED,ALGO_FILLED",
                &[
                    "TRADE",
                    "AMENDMENT",
                    "CANCELED",
                    "EXPIRED",
                    "ALGO_NEW",
                    "ALGO_CANCELED",
                    "ALGO_EXPIRED",
                    "ALGO_FILLED",
                ],
            ),
        ] {
            for file in [
                format!("[user_data.binance]\ndispatched_executions = {text:?}\n"),
                format!("[user_data]\nthreads = 2\nbinance.dispatched_executions = {text:?}\n"),
                format!("user_data.binance.dispatched_executions = {text:?}\n"),
            ] {
                let settings = Settings::parse(&file, "f").unwrap();
                assert_eq!(settings.user_data.binance.dispatched_executions, words, "{file}");
            }
        }
        let known = Settings::parse(
            &format!("[user_data.binance]\ndispatched_executions = {:?}", BINANCE_EXECUTIONS.join(",")),
            "f",
        );
        assert_eq!(known.unwrap().user_data.binance.dispatched_executions, BINANCE_EXECUTIONS);
    }

    #[test]
    fn the_allowlist_comes_from_the_environment_too() {
        let theirs = ("USER_DATA_STREAM_BINANCE_DISPATCHED_EXECUTIONS", "TRADE, AMENDMENT,");
        let ours = ("KRAITE_USER_DATA_BINANCE_DISPATCHED_EXECUTIONS", "CANCELED");
        let file = "[user_data.binance]\ndispatched_executions = \"NEW\"\n";
        for (environment, words) in [
            (&[theirs][..], &["TRADE", "AMENDMENT"][..]),
            (&[ours], &["CANCELED"]),
            (&[ours, theirs], &["CANCELED"]),
            (&[(theirs.0, "")], &["NEW"]),
            (&[("KRAITE_USER_DATA_THREADS", "2")], &["NEW"]),
        ] {
            let environment: Vec<_> = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
            let settings = super::super::read::read(file, "f", &environment).unwrap();
            assert_eq!(settings.user_data.binance.dispatched_executions, words, "{environment:?}");
        }
        let typo = [(theirs.0.into(), "TRADES".into())];
        let error = super::super::read::read(file, "f", &typo).unwrap_err().to_string();
        assert!(error.starts_with("environment variable USER_DATA_STREAM_BINANCE_DISPATCHED_EXECUTIONS: "), "{error}");
        assert!(error.ends_with("; did you mean TRADE?"), "{error}");
    }

    #[test]
    fn waits_follow_the_list_and_stay_at_its_end() {
        let settings = work("backoff_s = \" 1, 5,10 \"");
        for (attempt, seconds) in [(0, 1), (1, 1), (2, 5), (3, 10), (4, 10), (u32::MAX, 10)] {
            assert_eq!(settings.backoff_after(attempt), Duration::from_secs(seconds), "{attempt}");
        }
        assert_eq!(work("backoff_s = 7").backoff_after(2), Duration::from_secs(7));
        assert_eq!(WorkSettings::default().backoff_after(3), Duration::from_secs(10));
    }

    #[test]
    fn classes_and_queues_have_a_rule_and_exceptions() {
        for (text, workflow, class) in [
            (r"", "ApplyWapJob", None),
            (r"App\Jobs\Take", "ApplyWapJob", Some(r"App\Jobs\Take")),
            (r"App\Jobs\", "ApplyWapJob", Some(r"App\Jobs\ApplyWapJob")),
            (r"App\Jobs\, ApplyWapJob = App\Wap", "ApplyWapJob", Some(r"App\Wap")),
            (r"ApplyWapJob=App\Wap", "ApplyWapJob", Some(r"App\Wap")),
            (r"ApplyWapJob=App\Wap", "ClosePositionJob", None),
        ] {
            let read = work(&format!("intent_class = '{text}'"));
            assert_eq!(read.intent_class.class(workflow).as_deref(), class, "{text}");
        }
        for (text, queue, name) in [
            ("", "priority", "priority"),
            ("kraite-", "positions", "kraite-positions"),
            ("kraite-,priority=fast", "priority", "fast"),
            ("priority=fast", "positions", "positions"),
        ] {
            let read = work(&format!("intent_queue = {text:?}"));
            assert_eq!(read.intent_queue.name(queue), name, "{text}");
        }
    }

    #[test]
    fn every_bad_value_is_a_sentence() {
        let executions = BINANCE_EXECUTIONS.join(", ");
        let kinds = INTENT_KINDS.join(", ");
        for (text, sentence) in [
            ("[work]\nthreads = 65", "f line 2: work.threads is 65: write a whole number from 1 to 64 (threads)".to_owned()),
            ("[work]\ntries = 0", "f line 2: work.tries is 0: write a whole number from 1 to 100 (attempts)".to_owned()),
            (
                "[work]\nbackoff_s = \"1,soon\"",
                "f line 2: work.backoff_s is \"1,soon\": write 1 to 16 whole numbers from 0 to 3600 with commas between them".to_owned(),
            ),
            (
                "[work]\nbackoff_s = 3601",
                "f line 2: work.backoff_s is \"3601\": write 1 to 16 whole numbers from 0 to 3600 with commas between them".to_owned(),
            ),
            (
                "[work]\nintents_off = \"ClosePosition\"",
                format!("f line 2: work.intents_off is \"ClosePosition\": \"ClosePosition\" is none of {kinds}; did you mean close_position?"),
            ),
            (
                "[user_data.binance]\ndispatched_executions = \"TRADE,ALGO\"",
                format!("f line 2: user_data.binance.dispatched_executions is \"TRADE,ALGO\": \"ALGO\" is none of {executions}"),
            ),
            (
                "[user_data]\nbinance.dispatched_executions = \"trade\"",
                format!("f line 2: user_data.binance.dispatched_executions is \"trade\": \"trade\" is none of {executions}; did you mean TRADE?"),
            ),
            (
                "[user_data.binance]\ndispatched = \"TRADE\"",
                "f line 2: unknown key user_data.binance.dispatched: [user_data.binance] has dispatched_executions".to_owned(),
            ),
            (
                "[user_data.bybit]\ndispatched_executions = \"TRADE\"",
                "f line 1: unknown key user_data.bybit: [user_data] has url, rest, spelling, discovery_s, keep_alive_min_s, keep_alive_max_s, liveness_mark_s, reconcile, sync_orders_s, rotate_h, threads, control_threads, app_key, app_previous_keys, cipher, app_key_file, binance".to_owned(),
            ),
            (
                "[user_data]\nbinance = \"TRADE\"",
                "f line 2: user_data.binance is a section: write its keys below [user_data.binance]".to_owned(),
            ),
            ("[user_data]\ndispatched_executions = \"\"", "f line 2: unknown key user_data.dispatched_executions: it belongs to [user_data.binance]".to_owned()),
            (
                "[work]\nintent_class = 'App\\Jobs\\Take, ClosePosition=App\\Close'",
                "f line 2: work.intent_class is \"App\\\\Jobs\\\\Take, ClosePosition=App\\\\Close\": \"ClosePosition\" is none of PrepareOrderCorrectionJob, ClosePositionJob, PreparePositionReplacementJob, SyncPositionQuantityFromExchangeJob, ApplyWapJob, CancelPositionOpenOrdersJob, BlockExchangeSymbolJob; did you mean ClosePositionJob?".to_owned(),
            ),
            (
                "[work]\nintent_class = '\\App\\Jobs\\'",
                "f line 2: work.intent_class is \"\\\\App\\\\Jobs\\\\\": write the full class name in single quotes, without a leading \\".to_owned(),
            ),
            (
                "[work]\nintent_class = 'A, B'",
                "f line 2: work.intent_class is \"A, B\": write one text without = at most, and NAME=text for the exceptions".to_owned(),
            ),
            (
                "[work]\nintent_queue = 'low=x'",
                "f line 2: work.intent_queue is \"low=x\": \"low\" is none of priority, positions".to_owned(),
            ),
            (
                "[work]\nintent_queue = 'a:b'",
                "f line 2: work.intent_queue is \"a:b\": name a queue, without blanks or colons and without the prefix".to_owned(),
            ),
            ("[work]\nfailed_connection = \"\"", "f line 2: work.failed_connection is \"\": name Laravel's queue connection, as its config/queue.php does".to_owned()),
            (
                "[work]\nbatch = 32\nreserve = 16",
                "f: work.batch (32) must not be above work.reserve (16): a transaction takes jobs that are in hand".to_owned(),
            ),
            (
                "[work]\nlease_s = 60\nretry_after_s = 60",
                "f: work.lease_s (60) must be below work.retry_after_s (60): the next holder must be there before jobs come back".to_owned(),
            ),
            (
                "[work]\nintent_target = \"redis\"",
                "f: work.intent_target is \"redis\" and queue.url is \"in_process\": intents are pushed where the queue is\nf: work.intent_class names no class for PrepareOrderCorrectionJob: with work.intent_target \"redis\" each workflow needs one; `kraite-streams print laravel-adapter --intents` prints one for all".to_owned(),
            ),
            (
                "[queue]\nurl = \"redis://h\"\njob_class = 'A'\n[work]\nintent_target = \"redis\"\nintent_class = 'ClosePositionJob=A'",
                "f: work.intent_class names no class for PrepareOrderCorrectionJob: with work.intent_target \"redis\" each workflow needs one; `kraite-streams print laravel-adapter --intents` prints one for all".to_owned(),
            ),
        ] {
            let error: SettingsError = Settings::parse(text, "f").unwrap_err();
            assert_eq!(error.to_string(), sentence, "{text}");
        }
        Settings::parse(
            "[queue]\nurl = \"redis://h\"\njob_class = 'A'\n[work]\nintent_target = \"redis\"\nintent_class = 'B'",
            "f",
        )
        .unwrap();
    }
}
