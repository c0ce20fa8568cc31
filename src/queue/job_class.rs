//! The PHP class that a job names: checked once, when the settings are read.

use std::fmt;

use crate::domain::limits::JOB_CLASS_LEN_MAX;

/// The public application's own job: a step of its dispatcher package. A worker acknowledges it without running it, since it
/// finds no step, so it is refused (facts/laravel_queue.md §7).
pub const STEP_DISPATCHER_CLASS: &str = r"Kraite\Core\Jobs\Atomic\UserDataStream\ProcessUserDataEventJob";

/// A fully qualified class name without the leading backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobClass(String);

/// Why a text is no job class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadJobClass {
    /// Nothing there.
    Empty,
    /// Longer than [`JOB_CLASS_LEN_MAX`].
    TooLong,
    /// Not PHP's grammar of names.
    NotAName,
    /// [`STEP_DISPATCHER_CLASS`].
    StepDispatcher,
}

impl fmt::Display for BadJobClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadJobClass::Empty => f.write_str("no job class is named"),
            BadJobClass::TooLong => write!(f, "a job class of more than {JOB_CLASS_LEN_MAX} bytes"),
            BadJobClass::NotAName => f.write_str(r"not a PHP class name such as App\Jobs\StoreUserDataEvent"),
            BadJobClass::StepDispatcher => write!(
                f,
                "{STEP_DISPATCHER_CLASS} is a step-dispatcher job: a worker would acknowledge every frame without running \
                 it. Name a plain queueable class; `kraite-streams print laravel-adapter` prints one"
            ),
        }
    }
}

impl std::error::Error for BadJobClass {}

impl JobClass {
    /// Reads a class name; one leading backslash is dropped, as PHP's serialize writes none.
    ///
    /// # Errors
    /// [`BadJobClass`].
    pub fn parse(text: &str) -> Result<Self, BadJobClass> {
        let name = text.strip_prefix('\\').unwrap_or(text);
        if name.is_empty() {
            return Err(BadJobClass::Empty);
        }
        if name.len() > JOB_CLASS_LEN_MAX {
            return Err(BadJobClass::TooLong);
        }
        let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
        let is_segment = |segment: &str| {
            segment.bytes().next().is_some_and(is_first)
                && segment.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit())
        };
        if !name.split('\\').all(is_segment) {
            return Err(BadJobClass::NotAName);
        }
        // PHP's class names do not know case.
        if name.eq_ignore_ascii_case(STEP_DISPATCHER_CLASS) {
            return Err(BadJobClass::StepDispatcher);
        }
        Ok(JobClass(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_names_are_phps() {
        for (text, name) in [
            ("Job", "Job"),
            (r"App\Jobs\StoreUserDataEvent", r"App\Jobs\StoreUserDataEvent"),
            (r"\App\Jobs\_A9", r"App\Jobs\_A9"),
            ("Äpfel", "Äpfel"),
        ] {
            assert_eq!(JobClass::parse(text).unwrap().as_str(), name);
        }
        let long = "A".repeat(JOB_CLASS_LEN_MAX + 1);
        for (text, error) in [
            ("", BadJobClass::Empty),
            ("\\", BadJobClass::Empty),
            (r"App\\Jobs", BadJobClass::NotAName),
            (r"\\App", BadJobClass::NotAName),
            (r"App\", BadJobClass::NotAName),
            ("9Lives", BadJobClass::NotAName),
            ("App/Jobs", BadJobClass::NotAName),
            ("App Jobs", BadJobClass::NotAName),
            ("A\"B", BadJobClass::NotAName),
            (&long, BadJobClass::TooLong),
            (STEP_DISPATCHER_CLASS, BadJobClass::StepDispatcher),
            (r"\kraite\core\Jobs\Atomic\UserDataStream\processuserdataeventjob", BadJobClass::StepDispatcher),
        ] {
            assert_eq!(JobClass::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
