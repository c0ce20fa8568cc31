//! From text and environment to checked [`Settings`], or to every problem at once.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::keys::{Key, SECTIONS, Shape, keys};
use super::nearest::nearest;
use super::work::WORKFLOWS;
use super::{IntentTarget, QueueTarget, Settings};

/// Why there are no settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// A named file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// What is written there cannot be.
    Bad(Vec<Problem>),
}

/// One thing that is wrong. Never quotes a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file line 7`, or `environment variable NAME`.
    pub place: String,
    /// What is wrong and what to write instead.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::Unreadable { path, error } => {
                write!(f, "cannot read the settings file {}: {error}. Name another with --settings", path.display())
            }
            SettingsError::Bad(problems) => {
                for (at, problem) in problems.iter().enumerate() {
                    write!(f, "{}{problem}", if at == 0 { "" } else { "\n" })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for SettingsError {}

/// A value on its way in.
enum Raw<'v> {
    Number(i128),
    Text(&'v str),
    /// From the environment: a number or a text, as the key wants it.
    Word(&'v str),
    Other(&'static str),
}

pub(super) fn read(text: &str, file: &str, environment: &[(OsString, OsString)]) -> Result<Settings, SettingsError> {
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    read_file(text, file, &mut settings, &mut problems);
    read_environment(environment, &mut settings, &mut problems);
    check_relations(&settings, file, &mut problems);
    if problems.is_empty() { Ok(settings) } else { Err(SettingsError::Bad(problems)) }
}

fn read_file(text: &str, file: &str, settings: &mut Settings, problems: &mut Vec<Problem>) {
    let at = |offset: usize| format!("{file} line {}", line_of(text, offset));
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        // The error's own text would quote the line, which may hold a password.
        Err(error) => {
            let place = error.span().map_or_else(|| file.to_owned(), |span| at(span.start));
            problems.push(Problem { place, what: format!("not TOML: {}", error.message()) });
            return;
        }
    };
    for (section, table) in document.get_ref() {
        let (name, place) = (section.get_ref().as_ref(), at(section.span().start));
        let Some(table) = table.get_ref().as_table() else {
            let home = keys().find(|key| key.name == name).map(|key| key.section);
            let what = match home {
                Some(home) => format!("{name} stands outside a section: move it below [{home}]"),
                None => format!("unknown key {name:?}: keys stand below {}", section_list()),
            };
            problems.push(Problem { place, what });
            continue;
        };
        if !SECTIONS.iter().any(|(known, _)| *known == name) {
            let near = nearest(name, SECTIONS.iter().map(|(known, _)| *known));
            let remedy =
                near.map_or_else(|| format!("there are {}", section_list()), |near| format!("did you mean [{near}]?"));
            problems.push(Problem { place, what: format!("unknown section [{name}]: {remedy}") });
            continue;
        }
        read_section(name, table, &at, settings, problems);
    }
}

/// A section's keys, and those of the sections within it.
fn read_section(
    section: &str,
    table: &DeTable<'_>,
    at: &dyn Fn(usize) -> String,
    settings: &mut Settings,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in table {
        let (key_name, place) = (key.get_ref().as_ref(), at(key.span().start));
        let inner = format!("{section}.{key_name}");
        if SECTIONS.iter().any(|(known, _)| *known == inner) {
            match value.get_ref() {
                DeValue::Table(table) => read_section(&inner, table, at, settings, problems),
                _ => {
                    let what = format!("{inner} is a section: write its keys below [{inner}]");
                    problems.push(Problem { place, what });
                }
            }
            continue;
        }
        let Some(key) = keys().find(|key| key.section == section && key.name == key_name) else {
            problems.push(Problem { place, what: unknown_key(section, key_name) });
            continue;
        };
        let raw = match value.get_ref() {
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Raw::Number(number),
                Err(_) => Raw::Other("a number out of all bounds"),
            },
            DeValue::String(text) => Raw::Text(text),
            DeValue::Float(_) => Raw::Other("a fraction"),
            DeValue::Boolean(_) => Raw::Other("true or false"),
            DeValue::Datetime(_) => Raw::Other("a date"),
            DeValue::Array(_) => Raw::Other("a list"),
            DeValue::Table(_) => Raw::Other("a table"),
        };
        if let Err(what) = put(key, &raw, settings) {
            problems.push(Problem { place, what });
        }
    }
}

/// Variables that a Laravel application has set already; a variable of our own wins over them.
const LARAVEL_VARIABLES: [(&str, &str, &str); 3] = [
    ("APP_KEY", "user_data", "app_key"),
    ("APP_PREVIOUS_KEYS", "user_data", "app_previous_keys"),
    ("USER_DATA_STREAM_BINANCE_DISPATCHED_EXECUTIONS", "user_data.binance", "dispatched_executions"),
];

fn read_environment(environment: &[(OsString, OsString)], settings: &mut Settings, problems: &mut Vec<Problem>) {
    for (variable, section, name) in LARAVEL_VARIABLES {
        let Some((_, value)) = environment.iter().find(|(name, value)| name == variable && !value.is_empty()) else {
            continue;
        };
        let key = keys().find(|key| key.section == section && key.name == name).expect("a key of the table");
        let text = value.to_str().ok_or_else(|| "is not UTF-8".to_owned());
        if let Err(what) = text.and_then(|text| put(key, &Raw::Word(text), settings)) {
            problems.push(Problem { place: format!("environment variable {variable}"), what });
        }
    }
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        // Of a section and one within it, the inner one.
        let sections = SECTIONS.iter().filter_map(|(section, _)| {
            let prefix = format!("KRAITE_{}_", section.to_ascii_uppercase().replace('.', "_"));
            name.strip_prefix(&prefix).map(|rest| (*section, rest.to_ascii_lowercase()))
        });
        let Some((section, rest)) = sections.max_by_key(|(section, _)| section.len()) else {
            continue;
        };
        let place = format!("environment variable {name}");
        let result = match (keys().find(|key| key.section == section && key.name == rest), value.to_str()) {
            (None, _) => Err(unknown_key(section, &rest)),
            (Some(_), None) => Err("is not UTF-8".to_owned()),
            (Some(_), Some("")) => Ok(()),
            (Some(key), Some(value)) => put(key, &Raw::Word(value), settings),
        };
        if let Err(what) = result {
            problems.push(Problem { place, what });
        }
    }
}

/// Puts one value into the settings, or says what is wrong with it.
fn put(key: &Key, raw: &Raw<'_>, settings: &mut Settings) -> Result<(), String> {
    let name = format!("{}.{}", key.section, key.name);
    match &key.shape {
        Shape::Number { unit, range, put, .. } => {
            let bounds = format!("write a whole number from {} to {} ({unit})", range.start(), range.end());
            let number = match raw {
                Raw::Number(number) => Ok(*number),
                Raw::Word(word) => word.trim().parse().map_err(|_| format!("{word:?}")),
                Raw::Text(text) => Err(format!("the text {text:?}")),
                Raw::Other(kind) => Err((*kind).to_owned()),
            }
            .map_err(|found| format!("{name} is {found}: {bounds}"))?;
            let fitting = u64::try_from(number).ok().filter(|number| range.contains(number));
            put(settings, fitting.ok_or_else(|| format!("{name} is {number}: {bounds}"))?);
            Ok(())
        }
        Shape::Text { expects, put, .. } => {
            let text = match raw {
                Raw::Text(text) | Raw::Word(text) => *text,
                Raw::Number(number) if key.takes_numbers() => &number.to_string(),
                Raw::Number(_) if key.is_secret() => return Err(format!("{name} is a number: write {expects}")),
                Raw::Number(number) => return Err(format!("{name} is the number {number}: write {expects}")),
                Raw::Other(kind) => return Err(format!("{name} is {kind}: write {expects}")),
            };
            let found = if key.is_secret() { "not usable".to_owned() } else { format!("{text:?}") };
            if text.contains(char::is_control) {
                return Err(format!("{name} holds a control character: write {expects}"));
            }
            put(settings, text).map_err(|remedy| format!("{name} is {found}: {remedy}"))
        }
    }
}

fn check_relations(settings: &Settings, file: &str, problems: &mut Vec<Problem>) {
    let Settings { prices, user_data, spool, queue, work, store, ops, .. } = settings;
    let mut require = |holds: bool, what: String| {
        if !holds {
            problems.push(Problem { place: file.to_owned(), what });
        }
    };
    require(
        prices.settle < prices.write_interval,
        format!(
            "prices.settle_ms ({}) must be below prices.write_interval_ms ({}): the wait for a whole frame is part of \
             the interval",
            prices.settle.as_millis(),
            prices.write_interval.as_millis()
        ),
    );
    require(
        prices.silence < prices.silence_exit,
        format!(
            "prices.silence_s ({}) must be below prices.silence_exit_s ({}): reconnecting is tried before a fresh process",
            prices.silence.as_secs(),
            prices.silence_exit.as_secs()
        ),
    );
    require(
        store.lock_timeout < store.statement_timeout,
        format!(
            "store.lock_timeout_ms ({}) must be below store.statement_timeout_ms ({}): the wait for a lock is part of \
             the statement",
            store.lock_timeout.as_millis(),
            store.statement_timeout.as_millis()
        ),
    );
    require(
        user_data.keep_alive_min <= user_data.keep_alive_max,
        format!(
            "user_data.keep_alive_min_s ({}) must not be above user_data.keep_alive_max_s ({})",
            user_data.keep_alive_min.as_secs(),
            user_data.keep_alive_max.as_secs()
        ),
    );
    require(
        spool.segment_bytes <= spool.bytes_max / 4,
        format!(
            "spool.segment_mb ({}) must be at most a quarter of spool.max_mb ({}): space is freed a segment at a time",
            spool.segment_bytes >> 20,
            spool.bytes_max >> 20
        ),
    );
    let on_redis = queue.target != QueueTarget::InProcess;
    require(
        !on_redis || queue.job_class.is_some(),
        "queue.job_class is missing: jobs on Redis need the class that the application takes them with; \
         `kraite-streams print laravel-adapter` prints one"
            .to_owned(),
    );
    require(
        !queue.horizon || on_redis,
        "queue.horizon is \"on\" and queue.url is \"in_process\": Horizon watches a queue on Redis".to_owned(),
    );
    require(
        !(queue.hash_tag && queue.name.contains('{')),
        "queue.hash_tag is \"on\" and queue.name has braces of its own: drop one of the two".to_owned(),
    );
    require(
        work.batch <= work.reserve,
        format!(
            "work.batch ({}) must not be above work.reserve ({}): a transaction takes jobs that are in hand",
            work.batch, work.reserve
        ),
    );
    require(
        work.lease < work.retry_after,
        format!(
            "work.lease_s ({}) must be below work.retry_after_s ({}): the next holder must be there before jobs come back",
            work.lease.as_secs(),
            work.retry_after.as_secs()
        ),
    );
    let are_pushed = work.intent_target == IntentTarget::Redis;
    require(
        !are_pushed || on_redis,
        "work.intent_target is \"redis\" and queue.url is \"in_process\": intents are pushed where the queue is"
            .to_owned(),
    );
    let without_class = WORKFLOWS.into_iter().find(|workflow| work.intent_class.class(workflow).is_none());
    require(
        !are_pushed || without_class.is_none(),
        format!(
            "work.intent_class names no class for {}: with work.intent_target \"redis\" each workflow needs one; \
             `kraite-streams print laravel-adapter --intents` prints one for all",
            without_class.unwrap_or_default()
        ),
    );
    require(
        ops.log_file.as_ref() != Some(&ops.status_file),
        "ops.log_file and ops.status_file are the same file: name two".to_owned(),
    );
}

fn unknown_key(section: &str, name: &str) -> String {
    let inner = SECTIONS.iter().filter_map(|(known, _)| known.strip_prefix(section)?.strip_prefix('.'));
    let own = || keys().filter(|key| key.section == section).map(|key| key.name).chain(inner.clone());
    if let Some(other) = keys().find(|key| key.name == name) {
        return format!("unknown key {section}.{name}: it belongs to [{}]", other.section);
    }
    match nearest(name, own()) {
        Some(near) => format!("unknown key {section}.{name}: did you mean {near}?"),
        None => format!("unknown key {section}.{name}: [{section}] has {}", own().collect::<Vec<_>>().join(", ")),
    }
}

fn section_list() -> String {
    SECTIONS.map(|(section, _)| format!("[{section}]")).join(", ")
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}
