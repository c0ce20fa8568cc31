//! The store's URL, which may hold a password: no formatting shows it, only [`SecretUrl::expose`] gives it out.

use std::fmt;

/// A URL whose `Debug` and `Display` leave out the password.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

/// Query parameters that are shown; the value of any other is not, since it may be a secret.
const SHOWN_PARAMETERS: [&str; 9] = [
    "sslmode",
    "application_name",
    "connect_timeout",
    "host",
    "port",
    "dbname",
    "user",
    "target_session_attrs",
    "channel_binding",
];

impl SecretUrl {
    /// Takes the text as it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        SecretUrl(text.into())
    }

    /// The whole text, password included: for the database driver only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `postgres`, `sqlite`, …; empty without a colon.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// Whether it is plain to see where the password ends. A raw `@`, `/`, `?` or `#` inside it, which the store's own
    /// parser puts up with, makes that a guess; then only the scheme is shown.
    fn is_clear(&self) -> bool {
        self.0.split_once("://").is_some_and(|(_, rest)| {
            let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            authority.matches('@').count() <= 1 && !tail.contains(['@', '#'])
        })
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme() == "sqlite" {
            return f.write_str(&self.0);
        }
        let Some((scheme, rest)) = self.0.split_once("://").filter(|_| self.is_clear()) else {
            return write!(f, "{}:…", self.scheme());
        };
        let (address, query) = rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
        write!(f, "{scheme}://")?;
        match address.split_once('@') {
            Some((user, host)) => match user.split_once(':') {
                Some((user, _)) => write!(f, "{user}:***@{host}")?,
                None => write!(f, "{user}@{host}")?,
            },
            None => f.write_str(address)?,
        }
        for (at, parameter) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            f.write_str(if at == 0 { "?" } else { "&" })?;
            match parameter.split_once('=') {
                Some((name, _)) if !SHOWN_PARAMETERS.contains(&name) => write!(f, "{name}=***")?,
                Some(_) => f.write_str(parameter)?,
                None => f.write_str("***")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("sqlite:kraite-streams.sqlite", "sqlite:kraite-streams.sqlite"),
            ("postgres://kraite@db:5432/kraite", "postgres://kraite@db:5432/kraite"),
            ("postgres://kraite:geheim@db/kraite", "postgres://kraite:***@db/kraite"),
            ("postgres://kraite:ge:heim@db/kraite", "postgres://kraite:***@db/kraite"),
            ("postgres://kraite:ge%40heim@[::1]:5/k", "postgres://kraite:***@[::1]:5/k"),
            ("postgres://db/k?sslmode=require&password=geheim", "postgres://db/k?sslmode=require&password=***"),
            ("postgres://db/k?geheim", "postgres://db/k?***"),
            ("postgres://kraite:ge@heim@db/kraite", "postgres:…"),
            ("postgres://kraite:ge/heim@db/kraite", "postgres:…"),
            ("postgres://kraite:ge?heim@db/kraite", "postgres:…"),
            ("postgres://kraite:ge#heim@db/kraite", "postgres:…"),
            ("postgres://db/k?password=ge@heim", "postgres:…"),
            ("postgres:geheim", "postgres:…"),
            ("geheim", ":…"),
        ] {
            check(url, shown);
        }
    }

    #[track_caller]
    fn check(url: &str, shown: &str) {
        let secret = SecretUrl::new(url);
        assert_eq!(secret.to_string(), shown);
        assert_eq!(format!("{secret:?}"), format!("SecretUrl({shown})"));
        assert!(!secret.to_string().contains("heim"));
        assert_eq!(secret.expose(), url);
    }
}
