//! What a Redis or its absence says, as a class and a sentence. Sentences hold the server's address and its own words, cut before
//! it repeats what it was sent: never a password, never a job.

use redis::{RedisError, ServerError};

use crate::queue::sink::{PushError, PushErrorClass};

/// Longest piece of a server's words in a sentence.
const QUOTE_MAX: usize = 200;

/// The class of an error code and its explanation.
pub(super) fn class_of(code: &str, detail: &str) -> PushErrorClass {
    // An EXEC that is itself refused says so inside: "Transaction discarded because of: NOPERM …".
    if let ("EXECABORT", Some((_, cause))) = (code, detail.split_once("because of: ")) {
        let (code, detail) = cause.split_once(' ').unwrap_or((cause, ""));
        return class_of(code, detail);
    }
    // Redis 6 and older wrap what ended a script: "Error running script (call to f_…): @user_script:4: … -OOM command not …".
    if let ("ERR", true, Some((_, cause))) =
        (code, detail.starts_with("Error running script"), detail.rsplit_once(": -"))
    {
        let (code, detail) = cause.split_once(' ').unwrap_or((cause, ""));
        return class_of(code, detail);
    }
    match code {
        "OOM" => PushErrorClass::Oom,
        "READONLY" | "MISCONF" | "NOREPLICAS" | "MASTERDOWN" => PushErrorClass::ReadOnly,
        "LOADING" => PushErrorClass::Loading,
        "NOAUTH" | "WRONGPASS" | "NOPERM" => PushErrorClass::Auth,
        "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "CROSSSLOT" => PushErrorClass::Cluster,
        "ERR" if detail.starts_with("max number of clients") => PushErrorClass::Down,
        // Redis 5 and older, and a password for a server that has none.
        "ERR" if detail.contains("invalid password") || detail.contains("AUTH <password>") => PushErrorClass::Auth,
        "ERR" if detail.contains("Client sent AUTH") => PushErrorClass::Auth,
        // A command inside a script: 7.0 and 7.2 say it differently.
        "ERR" if detail.contains("user executing the script") => PushErrorClass::Auth,
        "ERR" if detail.starts_with("ACL failure in script") => PushErrorClass::Auth,
        _ => PushErrorClass::Other,
    }
}

/// An error that the server answered: it is certain that it did not do what was asked.
pub(super) fn answered(error: &ServerError, server: &dyn std::fmt::Display) -> PushError {
    let class = class_of(error.code(), error.details().unwrap_or_default());
    PushError::refused(class, format!("Redis at {server} refuses: {}", quote(error)))
}

/// The server's own words, before it repeats what it was sent.
pub(super) fn quote(error: &ServerError) -> String {
    let detail = error.details().unwrap_or_default();
    let detail = detail.split(", with args").next().unwrap_or_default();
    let text = if detail.is_empty() { error.code().to_owned() } else { format!("{} {detail}", error.code()) };
    text.chars().filter(|c| !c.is_control()).take(QUOTE_MAX).collect()
}

/// An error of the connection. `sent` says whether a push may have left on it: then its outcome is doubtful.
pub(super) fn broken(error: &RedisError, server: &dyn std::fmt::Display, sent: bool) -> PushError {
    let words: String = error.to_string().chars().filter(|c| !c.is_control()).take(QUOTE_MAX).collect();
    let (class, text) = if error.is_timeout() {
        (PushErrorClass::Timeout, format!("Redis at {server} does not answer in time"))
    } else if !error.is_io_error() {
        (PushErrorClass::Other, format!("Redis at {server} answers what is no Redis protocol"))
    } else if words.contains("certificate") || words.contains("TLS") || words.contains("HandshakeFailure") {
        (PushErrorClass::Other, format!("TLS with Redis at {server} fails: {words}"))
    } else if error.is_connection_refusal() {
        (PushErrorClass::Down, format!("nobody listens at {server}"))
    } else if error.is_connection_dropped() {
        (PushErrorClass::Down, format!("Redis at {server} closed the connection"))
    } else {
        (PushErrorClass::Down, format!("Redis at {server} is not reached: {words}"))
    };
    PushError { class, doubtful: sent, text, forgot: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_classes() {
        for (code, detail, class) in [
            ("OOM", "command not allowed when used memory > 'maxmemory'.", PushErrorClass::Oom),
            ("READONLY", "You can't write against a read only replica.", PushErrorClass::ReadOnly),
            ("MISCONF", "Redis is configured to save RDB snapshots", PushErrorClass::ReadOnly),
            ("NOREPLICAS", "Not enough good replicas to write.", PushErrorClass::ReadOnly),
            ("LOADING", "Redis is loading the dataset in memory", PushErrorClass::Loading),
            ("NOAUTH", "Authentication required.", PushErrorClass::Auth),
            ("WRONGPASS", "invalid username-password pair", PushErrorClass::Auth),
            ("NOPERM", "this user has no permissions", PushErrorClass::Auth),
            ("ERR", "invalid password", PushErrorClass::Auth),
            ("ERR", "AUTH <password> called without any password configured", PushErrorClass::Auth),
            ("ERR", "Client sent AUTH, but no password is set", PushErrorClass::Auth),
            (
                "ERR",
                "The user executing the script can't run this command or subcommand script: ab",
                PushErrorClass::Auth,
            ),
            (
                "ERR",
                "ACL failure in script: User worker has no permissions to run the 'zadd' command",
                PushErrorClass::Auth,
            ),
            (
                "ERR",
                "Error running script (call to f_ab): @user_script:4: @user_script: 4: -OOM command not allowed",
                PushErrorClass::Oom,
            ),
            (
                "ERR",
                "Error running script (call to f_ab): @user_script:4: attempt to index a nil",
                PushErrorClass::Other,
            ),
            ("MOVED", "3999 127.0.0.1:6381", PushErrorClass::Cluster),
            ("CROSSSLOT", "Keys in request don't hash to the same slot", PushErrorClass::Cluster),
            ("CLUSTERDOWN", "Hash slot not served", PushErrorClass::Cluster),
            ("ERR", "max number of clients reached", PushErrorClass::Down),
            ("ERR", "unknown command", PushErrorClass::Other),
            ("WRONGTYPE", "Operation against a key", PushErrorClass::Other),
            ("EXECABORT", "Transaction discarded because of previous errors.", PushErrorClass::Other),
            ("EXECABORT", "Transaction discarded because of: OOM command not allowed", PushErrorClass::Oom),
            ("EXECABORT", "Transaction discarded because of: NOPERM this user", PushErrorClass::Auth),
        ] {
            assert_eq!(class_of(code, detail), class, "{code} {detail}");
        }
    }
}
