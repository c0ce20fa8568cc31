//! Where the store is: `postgres://user:password@host:port/database?sslmode=…` or `sqlite:path`.
//!
//! The parser is our own because a password may hold anything: `%` followed by two hex digits is decoded, any other `%`
//! stands for itself, and a raw `@` or `/` inside the password is understood. No error and no `Debug` text ever quotes the
//! URL or the password.

use std::fmt;
use std::path::PathBuf;

use super::error::{ErrorClass, Result, StoreError};

/// A parsed store URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A PostgreSQL server.
    Postgres(PostgresUrl),
    /// A file of our own.
    Sqlite(PathBuf),
}

/// Where a PostgreSQL server is and how to enter.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// Host name, address, or the folder of a unix socket (starts with `/`).
    pub host: String,
    /// TCP port; names the socket file too.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Empty or `None` where the server asks for none.
    pub password: Option<String>,
    /// Database.
    pub database: String,
    /// How much TLS is asked for.
    pub ssl_mode: SslMode,
    /// PEM file with roots that are trusted beside the built-in ones.
    pub ssl_root_cert: Option<PathBuf>,
}

/// `sslmode`, with libpq's meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS where the server offers it, without looking at the certificate.
    Prefer,
    /// TLS or nothing; the certificate is looked at only where `sslrootcert` names roots (then as `verify-ca`).
    Require,
    /// TLS, and the certificate must come from a trusted authority.
    VerifyCa,
    /// TLS, a trusted authority, and the host's own name. The default for hosts that are not this machine.
    VerifyFull,
}

impl StoreUrl {
    /// Reads a store URL.
    ///
    /// # Errors
    /// A sentence that names the part which is wrong, without quoting the URL.
    pub fn parse(text: &str) -> Result<StoreUrl> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
            return PostgresUrl::parse(rest).map(StoreUrl::Postgres);
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path == ":memory:" {
                return Err(bad("the sqlite URL needs the path of a file, for example sqlite:kraite.sqlite"));
            }
            return Ok(StoreUrl::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("mysql:") || text.starts_with("mariadb:") {
            return Err(bad(
                "the store must be PostgreSQL or SQLite; MySQL is not supported (the README says how to move)",
            ));
        }
        Err(bad("the store URL must start with postgres:// or sqlite:"))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Postgres(url) => url.fmt(f),
            StoreUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

impl PostgresUrl {
    /// Whether the server is on this machine: a unix socket, `localhost` or a loopback address.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_local(&self.host)
    }

    fn parse(rest: &str) -> Result<PostgresUrl> {
        // The authority ends at the first `/` or `?` behind the first `@`; inside it the last `@` ends the password.
        let from = rest.find('@').unwrap_or(0);
        let end = rest[from..].find(['/', '?']).map_or(rest.len(), |at| from + at);
        let (authority, tail) = rest.split_at(end);
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let (login, place) = match authority.rfind('@') {
            Some(at) => (&authority[..at], &authority[at + 1..]),
            None => ("", authority),
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (decode(user)?, Some(decode(password)?)),
            None => (decode(login)?, None),
        };
        let (host, port) = split_place(place)?;
        let mut url = PostgresUrl {
            host: decode(host)?,
            port,
            user,
            password,
            database: decode(path.trim_start_matches('/'))?,
            ssl_mode: SslMode::Prefer,
            ssl_root_cert: None,
        };
        let mut ssl_mode = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value)?;
            match name {
                "host" => url.host = value,
                "port" => url.port = value.parse().map_err(|_| bad("the store URL's port is not a number"))?,
                "user" => url.user = value,
                "password" => url.password = Some(value),
                "dbname" => url.database = value,
                "sslmode" => ssl_mode = Some(SslMode::parse(&value)?),
                "sslrootcert" => url.ssl_root_cert = Some(PathBuf::from(value)),
                _ => {
                    return Err(bad(format!(
                        "the store URL has an unknown parameter {:?}: known are host, port, user, password, dbname, \
                         sslmode, sslrootcert",
                        name.chars().take(32).collect::<String>()
                    )));
                }
            }
        }
        if url.host.is_empty() {
            url.host = "localhost".to_owned();
        }
        if url.host.contains(',') {
            return Err(bad("the store URL names several hosts; name the one that takes writes"));
        }
        if url.user.is_empty() {
            return Err(bad("the store URL names no user: postgres://user:password@host/database"));
        }
        if url.database.is_empty() {
            url.database.clone_from(&url.user);
        }
        url.ssl_mode = ssl_mode.unwrap_or(if url.is_local() { SslMode::Prefer } else { SslMode::VerifyFull });
        Ok(url)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self}, {:?})", self.ssl_mode)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "postgres://{}@{open}{}{close}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

impl SslMode {
    fn parse(text: &str) -> Result<SslMode> {
        Ok(match text {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return Err(bad("sslmode must be disable, prefer, require, verify-ca or verify-full")),
        })
    }
}

fn is_local(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host.starts_with('/') || host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn split_place(place: &str) -> Result<(&str, u16)> {
    const PORT: u16 = 5432;
    let number = |text: &str| match text {
        "" => Ok(PORT),
        _ => text.parse().map_err(|_| bad("the store URL's port is not a number")),
    };
    if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest
            .split_once(']')
            .ok_or_else(|| bad("the store URL opens a bracket around its host and never closes it"))?;
        return Ok((host, number(port.trim_start_matches(':'))?));
    }
    match place.rsplit_once(':') {
        Some((host, port)) => Ok((host, number(port)?)),
        None => Ok((place, PORT)),
    }
}

/// Percent-decoding that leaves a `%` alone unless two hex digits follow.
fn decode(text: &str) -> Result<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_err(|_| bad("a part of the store URL is not UTF-8 after percent-decoding"))
}

fn bad(sentence: impl Into<String>) -> StoreError {
    StoreError::new(ErrorClass::Other, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_any_kind_are_understood_and_never_shown() {
        for (text, password) in [
            ("postgres://kraite:plain@db.example/prices", "plain"),
            ("postgres://kraite:p%40ss%2Fw%25rd@db.example/prices", "p@ss/w%rd"),
            ("postgres://kraite:100%@db.example/prices", "100%"),
            ("postgres://kraite:100%zz%4@db.example/prices", "100%zz%4"),
            ("postgres://kraite:a:b@db.example/prices", "a:b"),
            ("postgres://kraite:a@b@db.example/prices", "a@b"),
            ("postgres://kraite:a/b?c@db.example/prices", "a/b?c"),
            ("postgresql://kraite:%C3%A9@db.example/prices", "é"),
        ] {
            let StoreUrl::Postgres(url) = StoreUrl::parse(text).unwrap() else { panic!("{text}") };
            assert_eq!(url.password.as_deref(), Some(password), "{text}");
            assert_eq!((url.user.as_str(), url.host.as_str(), url.port), ("kraite", "db.example", 5432), "{text}");
            assert_eq!((url.database.as_str(), url.ssl_mode), ("prices", SslMode::VerifyFull), "{text}");
            for shown in [format!("{url}"), format!("{url:?}"), format!("{:?}", StoreUrl::Postgres(url.clone()))] {
                assert!(!shown.contains(password), "{shown}");
            }
        }
    }

    #[test]
    fn hosts_ports_and_modes() {
        for (text, host, port, database, mode) in [
            ("postgres://u@localhost:6000/d", "localhost", 6000, "d", SslMode::Prefer),
            ("postgres://u@[::1]:6000/d", "::1", 6000, "d", SslMode::Prefer),
            ("postgres://u@127.0.0.1", "127.0.0.1", 5432, "u", SslMode::Prefer),
            ("postgres://u@%2Frun%2Fpg/d", "/run/pg", 5432, "d", SslMode::Prefer),
            ("postgres:///d?host=/run/pg&user=u&port=7", "/run/pg", 7, "d", SslMode::Prefer),
            ("postgres://u@10.0.0.9/d?sslmode=disable", "10.0.0.9", 5432, "d", SslMode::Disable),
            ("postgres://u@db/d?sslmode=verify-ca", "db", 5432, "d", SslMode::VerifyCa),
            ("postgres://u@db?sslmode=require", "db", 5432, "u", SslMode::Require),
        ] {
            let StoreUrl::Postgres(url) = StoreUrl::parse(text).unwrap() else { panic!("{text}") };
            assert_eq!((url.host.as_str(), url.port, url.database.as_str()), (host, port, database), "{text}");
            assert_eq!(url.ssl_mode, mode, "{text}");
        }
        assert_eq!(StoreUrl::parse("sqlite:a/b.sqlite").unwrap(), StoreUrl::Sqlite("a/b.sqlite".into()));
        assert_eq!(StoreUrl::parse("sqlite:///a/b").unwrap(), StoreUrl::Sqlite("/a/b".into()));
    }

    #[test]
    fn a_refusal_never_quotes_the_password() {
        for text in [
            "",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@h:port/d",
            "postgres://:hunter2@h/d",
            "postgres://u:hunter2@h/d?sslmode=maybe",
            "postgres://u:hunter2@h/d?target=any",
            "postgres://u:hunter2@a,b/d",
            "postgres://u:hunter2@[::1/d",
            "hunter2",
            "sqlite:",
        ] {
            let refused = StoreUrl::parse(text).unwrap_err();
            assert!(!refused.sentence().contains("hunter2"), "{refused}");
        }
    }
}
