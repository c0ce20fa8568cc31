//! Lists and maps of `[work]` and `[user_data.binance]`. Each function takes the value in or answers with what to write
//! instead. An unknown word can only be a slip: it is refused rather than passed over.

use std::time::Duration;

use super::Settings;
use super::nearest::nearest;
use super::queue_values::{check_class, check_name};
use super::work::{BINANCE_EXECUTIONS, INTENT_KINDS, INTENT_QUEUES, IntentClasses, IntentQueueNames, Names, WORKFLOWS};

/// Entries of `work.backoff_s`.
const BACKOFFS_MAX: usize = 16;
/// Seconds of one entry.
const BACKOFF_S_MAX: u64 = 3_600;

pub(super) fn dispatched_executions(settings: &mut Settings, text: &str) -> Result<(), String> {
    settings.user_data.binance.dispatched_executions = known_words(text, &BINANCE_EXECUTIONS)?;
    Ok(())
}

pub(super) fn intents_off(settings: &mut Settings, text: &str) -> Result<(), String> {
    settings.work.intents_off = known_words(text, &INTENT_KINDS)?;
    Ok(())
}

pub(super) fn backoff(settings: &mut Settings, text: &str) -> Result<(), String> {
    let second = |text: &str| text.trim().parse().ok().filter(|&seconds| seconds <= BACKOFF_S_MAX);
    let read: Option<Vec<u64>> = text.split(',').map(second).collect();
    let Some(seconds) = read.filter(|seconds| seconds.len() <= BACKOFFS_MAX) else {
        return Err(format!(
            "write 1 to {BACKOFFS_MAX} whole numbers from 0 to {BACKOFF_S_MAX} with commas between them"
        ));
    };
    settings.work.backoff = seconds.into_iter().map(Duration::from_secs).collect();
    Ok(())
}

pub(super) fn intent_class(settings: &mut Settings, text: &str) -> Result<(), String> {
    // A namespace is a class name but for the `\` at its end.
    let names = names(text, &WORKFLOWS, |rest| check_class(rest.strip_suffix('\\').unwrap_or(rest)), check_class)?;
    settings.work.intent_class = IntentClasses(names);
    Ok(())
}

pub(super) fn intent_queue(settings: &mut Settings, text: &str) -> Result<(), String> {
    settings.work.intent_queue = IntentQueueNames(names(text, &INTENT_QUEUES, check_name, check_name)?);
    Ok(())
}

pub(super) fn failed_connection(settings: &mut Settings, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("name Laravel's queue connection, as its config/queue.php does".to_owned());
    }
    settings.work.failed_connection = text.to_owned();
    Ok(())
}

/// A comma list without empty words, each of them known, each once.
fn known_words(text: &str, known: &[&str]) -> Result<Vec<String>, String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        check_known(word, known)?;
        if !words.iter().any(|listed| listed == word) {
            words.push(word.to_owned());
        }
    }
    Ok(words)
}

fn check_known(word: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&word) {
        return Ok(());
    }
    let same_but_case = known.iter().copied().find(|known| known.eq_ignore_ascii_case(word));
    let near = same_but_case.or_else(|| nearest(word, known.iter().copied()));
    let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
    Err(format!("{word:?} is none of {}{near}", known.join(", ")))
}

type Check = fn(&str) -> Result<(), String>;

/// `rest, NAME=text, …`, where names are known and texts stand the checks.
fn names(text: &str, known: &[&str], check_rest: Check, check_text: Check) -> Result<Names, String> {
    let mut names = Names::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            None if names.rest.is_empty() => {
                check_rest(part)?;
                names.rest = part.to_owned();
            }
            None => return Err("write one text without = at most, and NAME=text for the exceptions".to_owned()),
            Some((name, text)) => {
                let (name, text) = (name.trim(), text.trim());
                check_known(name, known)?;
                check_text(text)?;
                if names.exceptions.iter().any(|(listed, _)| listed == name) {
                    return Err(format!("{name} stands there twice: drop one of the two"));
                }
                names.exceptions.push((name.to_owned(), text.to_owned()));
            }
        }
    }
    Ok(names)
}
