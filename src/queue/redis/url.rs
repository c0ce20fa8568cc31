//! Where Redis is: a URL with a password in it that no formatting shows, and the names of the queue's keys.

use std::fmt;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use crate::queue::check::has_hash_tag;

/// `redis://user:password@host:port/database`, `rediss://…` for TLS, `unix:///path?db=…`. Characters with a meaning in URLs are
/// percent-encoded in user and password.
#[derive(Clone)]
pub struct RedisUrl {
    addr: ConnectionAddr,
    login: RedisConnectionInfo,
}

/// Why a text is no such URL; says nothing of the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRedisUrl(&'static str);

impl fmt::Display for BadRedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadRedisUrl {}

impl RedisUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`BadRedisUrl`].
    pub fn parse(text: &str) -> Result<Self, BadRedisUrl> {
        let info = text.into_connection_info().map_err(|_| {
            BadRedisUrl(
                "not a Redis URL: redis://[user][:password@]host[:port][/database], rediss:// for TLS, or unix:///path; \
                 percent-encode what is special in user and password",
            )
        })?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(BadRedisUrl(
                "TLS without verification is not offered: name the server's authority in net.extra_roots",
            ));
        }
        Ok(RedisUrl { addr: info.addr().clone(), login: info.redis_settings().clone() })
    }

    /// The same user, password, database and TLS at another address.
    pub(super) fn at(&self, host: &str, port: u16) -> RedisUrl {
        let host = host.to_owned();
        let addr = match self.is_tls() {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        };
        RedisUrl { addr, login: self.login.clone() }
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.addr, ConnectionAddr::TcpTls { .. })
    }

    /// The database's number.
    #[must_use]
    pub fn database(&self) -> i64 {
        self.login.db()
    }

    pub(super) fn username(&self) -> Option<&str> {
        self.login.username()
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.login.password()
    }

    /// What the library needs to open a connection: without login, which is part of our own greeting, since the library waits
    /// for each of its answers anew when the server is silent.
    pub(super) fn bare(&self) -> Result<ConnectionInfo, redis::RedisError> {
        let greeting = RedisConnectionInfo::default().set_skip_set_lib_name();
        let tcp = TcpSettings::default().set_nodelay(true);
        Ok(self.addr.clone().into_connection_info()?.set_redis_settings(greeting).set_tcp_settings(tcp))
    }
}

/// The address, without user, password and path.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.addr {
            ConnectionAddr::Tcp(host, port) => write!(f, "redis://{host}:{port}")?,
            ConnectionAddr::TcpTls { host, port, .. } => write!(f, "rediss://{host}:{port}")?,
            ConnectionAddr::Unix(path) => write!(f, "unix://{}", path.display())?,
            _ => f.write_str("redis")?,
        }
        match self.database() {
            0 => Ok(()),
            database => write!(f, "/{database}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// The keys of one queue. Laravel's client adds its prefix to every key, so we write it ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueKeys {
    /// The list of ready jobs.
    pub queue: String,
    /// One token for each of them.
    pub notify: String,
    /// Jobs in workers' hands.
    pub reserved: String,
    /// Jobs that wait for their time.
    pub delayed: String,
    /// Ours: a hash of each producer's [`crate::queue::Watermark`].
    pub watermarks: String,
    /// Ours: a hash of who may reserve, and of the tickets that it has given, as long as it lives.
    pub lease: String,
    /// Ours: how often the lease changed hands.
    pub fence: String,
    /// Ours: what the holder of the lease has reserved, in order. Workers in PHP reserve beside it, so `reserved` tells not.
    pub in_hand: String,
    /// Ours: bodies that are no jobs.
    pub aside: String,
}

impl QueueKeys {
    /// Of the queue `name` (the physical one) under `prefix`. With `hash_tag` the name is wrapped in braces, as Laravel 13 does
    /// on a cluster, unless it holds some.
    #[must_use]
    pub fn new(prefix: &str, name: &str, hash_tag: bool) -> Self {
        let queue = match hash_tag && !has_hash_tag(name) {
            true => format!("{prefix}queues:{{{name}}}"),
            false => format!("{prefix}queues:{name}"),
        };
        QueueKeys {
            notify: format!("{queue}:notify"),
            reserved: format!("{queue}:reserved"),
            delayed: format!("{queue}:delayed"),
            watermarks: format!("{queue}:kraite"),
            lease: format!("{queue}:kraite-lease"),
            fence: format!("{queue}:kraite-fence"),
            in_hand: format!("{queue}:kraite-inhand"),
            aside: format!("{queue}:kraite-aside"),
            queue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_never_show_their_password() {
        for (text, shown) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379"),
            ("redis://:heim%40lich@db:7000/2", "redis://db:7000/2"),
            ("rediss://kraite:heimlich@[::1]:7000", "rediss://::1:7000"),
            ("unix:///run/redis.sock?db=3&pass=heimlich", "unix:///run/redis.sock/3"),
        ] {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("heim"), "{url:?}");
        }
        for text in [
            "",
            "heimlich",
            "http://heimlich",
            "redis://u:heim@lich@",
            "redis://h:1/heimlich",
            "rediss://heim/#insecure",
        ] {
            let refused = RedisUrl::parse(text).unwrap_err().to_string();
            assert!(!refused.contains("heim"), "{refused}");
        }
        let url = RedisUrl::parse("rediss://kraite:heim%2Flich@a/4").unwrap().at("b", 1);
        assert_eq!(url.to_string(), "rediss://b:1/4");
        assert_eq!((url.username(), url.password()), (Some("kraite"), Some("heim/lich")));
    }

    #[test]
    fn keys_are_laravels() {
        let keys = QueueKeys::new("kraite_database_", "kraite-user-data-stream", false);
        assert_eq!(keys.queue, "kraite_database_queues:kraite-user-data-stream");
        assert_eq!(keys.notify, "kraite_database_queues:kraite-user-data-stream:notify");
        assert_eq!(keys.reserved, "kraite_database_queues:kraite-user-data-stream:reserved");
        assert_eq!(QueueKeys::new("", "q", true).watermarks, "queues:{q}:kraite");
        assert_eq!(QueueKeys::new("", "{q}", true).delayed, "queues:{q}:delayed");
    }
}
