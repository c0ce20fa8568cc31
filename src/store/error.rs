//! What went wrong at the database, as a class that decides what happens next and a sentence that people read.
//!
//! Sentences are built from what the server or the library said and from the target's name without its password; the text
//! of a store URL never enters one.

use std::fmt;

/// What a fault means for whoever writes. [`ErrorClass::needs_reconnect`] is the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// No server there, or the connection broke.
    Unreachable,
    /// Will pass by itself: deadlock, serialization, lock or statement timeout, server starting or stopping, file busy.
    Transient,
    /// The server or the file takes no writes now (a standby, `default_transaction_read_only`, a full or read-only disk).
    ReadOnly,
    /// A table is not there (42P01).
    MissingTable,
    /// A column is not there (42703).
    MissingColumn,
    /// The server refused a value: SQLSTATE class 22 or 23.
    Data,
    /// Wrong user, password, certificate or database name.
    Auth,
    /// Another writer holds the lock.
    Held,
    /// We refuse: a transaction-mode pooler stands between.
    Refused,
    /// Anything else.
    Other,
}

impl ErrorClass {
    /// The word used in logs and the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorClass::Unreachable => "unreachable",
            ErrorClass::Transient => "transient",
            ErrorClass::ReadOnly => "read_only",
            ErrorClass::MissingTable => "missing_table",
            ErrorClass::MissingColumn => "missing_column",
            ErrorClass::Data => "data",
            ErrorClass::Auth => "auth",
            ErrorClass::Held => "held",
            ErrorClass::Refused => "refused",
            ErrorClass::Other => "other",
        }
    }

    /// Whether the connection is not worth keeping: it is opened anew before the next try. A read-only server may be a
    /// standby that a failover left us on, so that one is left too; a missing table may come back with other columns.
    #[must_use]
    pub const fn needs_reconnect(self) -> bool {
        !matches!(self, ErrorClass::Transient | ErrorClass::Data)
    }

    /// Of an SQLSTATE (PostgreSQL 15, appendix A).
    #[must_use]
    pub fn of_sqlstate(code: &str) -> Self {
        match code {
            "25006" => ErrorClass::ReadOnly,
            "42P01" | "3F000" => ErrorClass::MissingTable,
            "42703" => ErrorClass::MissingColumn,
            "3D000" => ErrorClass::Auth,
            "53100" => ErrorClass::ReadOnly,
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => ErrorClass::Unreachable,
            "55P03" | "57014" | "40001" | "40P01" | "55006" => ErrorClass::Transient,
            _ => match code.get(..2) {
                Some("22" | "23") => ErrorClass::Data,
                Some("28") => ErrorClass::Auth,
                Some("08") => ErrorClass::Unreachable,
                Some("40" | "53") => ErrorClass::Transient,
                _ => ErrorClass::Other,
            },
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fault at the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    class: ErrorClass,
    sentence: String,
}

/// What the functions of this room answer.
pub type Result<T> = std::result::Result<T, StoreError>;

impl StoreError {
    /// A fault of `class`, told in `sentence`.
    #[must_use]
    pub fn new(class: ErrorClass, sentence: impl Into<String>) -> Self {
        StoreError { class, sentence: sentence.into() }
    }

    /// What it means for the writer.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// The sentence for people, without a password.
    #[must_use]
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// This fault, with what was being done in front of it.
    #[must_use]
    pub fn during(self, doing: &str) -> Self {
        StoreError { class: self.class, sentence: format!("{doing}: {}", self.sentence) }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for StoreError {}

#[cfg(feature = "server")]
impl From<postgres::Error> for StoreError {
    fn from(error: postgres::Error) -> Self {
        use std::error::Error as _;
        if let Some(db) = error.as_db_error() {
            let code = db.code().code();
            return StoreError::new(ErrorClass::of_sqlstate(code), format!("{} (SQLSTATE {code})", db.message()));
        }
        let mut sentence = error.to_string();
        let mut source = error.source();
        let mut io = None;
        while let Some(inner) = source {
            let text = inner.to_string();
            if !sentence.contains(&text) {
                sentence = format!("{sentence}: {text}");
            }
            if let Some(found) = inner.downcast_ref::<std::io::Error>() {
                io = Some(found.kind());
            }
            source = inner.source();
        }
        let words = sentence.to_ascii_lowercase();
        let class = if words.contains("certificate") || words.contains("password") || words.contains("authentication") {
            ErrorClass::Auth
        } else if error.is_closed() || io.is_some() || words.contains("timeout") || words.contains("connect") {
            ErrorClass::Unreachable
        } else {
            ErrorClass::Other
        };
        StoreError::new(class, sentence)
    }
}

#[cfg(feature = "embedded")]
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let sentence = error.to_string();
        let class = match error.sqlite_error_code() {
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => ErrorClass::Transient,
            Some(Code::ReadOnly | Code::DiskFull) => ErrorClass::ReadOnly,
            Some(Code::CannotOpen | Code::SystemIoFailure) => ErrorClass::Unreachable,
            Some(Code::ConstraintViolation | Code::TypeMismatch | Code::TooBig) => ErrorClass::Data,
            Some(Code::PermissionDenied | Code::AuthorizationForStatementDenied) => ErrorClass::Auth,
            // SQLite has no codes for these two; the texts are part of its stable interface in practice.
            _ if sentence.contains("no such table") => ErrorClass::MissingTable,
            _ if sentence.contains("no such column") || sentence.contains("has no column") => ErrorClass::MissingColumn,
            _ => ErrorClass::Other,
        };
        StoreError::new(class, sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_have_one_meaning_each() {
        for (code, class) in [
            ("40001", ErrorClass::Transient),
            ("40P01", ErrorClass::Transient),
            ("55P03", ErrorClass::Transient),
            ("57014", ErrorClass::Transient),
            ("53300", ErrorClass::Transient),
            ("53100", ErrorClass::ReadOnly),
            ("57P01", ErrorClass::Unreachable),
            ("57P03", ErrorClass::Unreachable),
            ("08006", ErrorClass::Unreachable),
            ("25006", ErrorClass::ReadOnly),
            ("42P01", ErrorClass::MissingTable),
            ("42703", ErrorClass::MissingColumn),
            ("22003", ErrorClass::Data),
            ("23514", ErrorClass::Data),
            ("28P01", ErrorClass::Auth),
            ("3D000", ErrorClass::Auth),
            ("42601", ErrorClass::Other),
            ("", ErrorClass::Other),
        ] {
            assert_eq!(ErrorClass::of_sqlstate(code), class, "{code}");
        }
    }
}
