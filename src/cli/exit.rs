//! Exit codes, those of sysexits.h, so that a supervisor, a cron job or a person can tell what to do without reading logs.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::ops::settings::SettingsError;
use crate::store::{ErrorClass, StoreError};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and all is well.
    Ok = 0,
    /// Done, and something is not well: a demo's check, an unhealthy daemon.
    Failed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// What was read is not what it should be.
    DataErr = 65,
    /// A file that was named is not there.
    NoInput = 66,
    /// A database, a venue or a daemon is not there.
    Unavailable = 69,
    /// Our own mistake.
    Software = 70,
    /// A file cannot be created.
    CantCreate = 73,
    /// Reading or writing failed.
    IoErr = 74,
    /// Try again: `prices` ends with this after 300 s without data, so that a fresh process starts.
    TempFail = 75,
    /// Wrong user, password or permission.
    NoPerm = 77,
    /// The settings are wrong: a restart will not help.
    Config = 78,
}

impl Exit {
    /// Every code with its meaning, as `--help` tells it.
    pub const TABLE: [(Exit, &'static str); 12] = [
        (Exit::Ok, "done, and all is well"),
        (Exit::Failed, "done, and something is not well (demo, check, status)"),
        (Exit::Usage, "the command line is wrong"),
        (Exit::DataErr, "what was read is not what it should be"),
        (Exit::NoInput, "a file that was named is not there"),
        (Exit::Unavailable, "a database, a venue or a daemon is not there"),
        (Exit::Software, "a mistake of this program"),
        (Exit::CantCreate, "a file cannot be created"),
        (Exit::IoErr, "reading or writing failed"),
        (Exit::TempFail, "try again; prices: no data for 300 s, start a fresh process"),
        (Exit::NoPerm, "wrong user, password or permission"),
        (Exit::Config, "the settings are wrong: a restart will not help"),
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Why a command gave up: one sentence for people, one code for machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// The code.
    pub exit: Exit,
    /// The sentence, without secrets; may have several lines.
    pub sentence: String,
}

impl CommandError {
    /// A failure with `exit`, told in `sentence`.
    #[must_use]
    pub fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        CommandError { exit, sentence: sentence.into() }
    }

    /// The spool's folder cannot be read.
    #[must_use]
    pub fn of_spool(folder: &Path, error: &io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::PermissionDenied { Exit::NoPerm } else { Exit::IoErr };
        CommandError::new(exit, format!("cannot read the spool {}: {error}", folder.display()))
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for CommandError {}

impl From<SettingsError> for CommandError {
    fn from(error: SettingsError) -> Self {
        let exit = match error {
            SettingsError::Unreadable { .. } => Exit::NoInput,
            SettingsError::Bad(_) => Exit::Config,
        };
        CommandError::new(exit, error.to_string())
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let (exit, remedy) = match error.class() {
            ErrorClass::Unreachable | ErrorClass::ReadOnly => (Exit::Unavailable, ""),
            ErrorClass::Transient | ErrorClass::Held => (Exit::TempFail, ""),
            ErrorClass::MissingTable | ErrorClass::MissingColumn => {
                (Exit::Config, "; `kraite-streams migrate` adds what is missing")
            }
            ErrorClass::Data => (Exit::DataErr, ""),
            ErrorClass::Auth => (Exit::NoPerm, ""),
            ErrorClass::Refused => (Exit::Config, ""),
            ErrorClass::Other => (Exit::Failed, ""),
        };
        CommandError::new(exit, format!("{}{remedy}", error.sentence()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_code_once_and_in_order() {
        let codes: Vec<u8> = Exit::TABLE.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 64, 65, 66, 69, 70, 73, 74, 75, 77, 78]);
    }

    #[test]
    fn a_store_error_keeps_its_sentence() {
        for (class, exit) in [
            (ErrorClass::Unreachable, Exit::Unavailable),
            (ErrorClass::Transient, Exit::TempFail),
            (ErrorClass::Auth, Exit::NoPerm),
            (ErrorClass::Data, Exit::DataErr),
            (ErrorClass::Refused, Exit::Config),
        ] {
            let error = CommandError::from(StoreError::new(class, "what happened"));
            assert_eq!((error.exit, error.sentence.as_str()), (exit, "what happened"));
        }
        let missing = CommandError::from(StoreError::new(ErrorClass::MissingTable, "no table"));
        assert_eq!(missing.sentence, "no table; `kraite-streams migrate` adds what is missing");
    }
}
