//! The address of a stream. Only `wss://`: there is no way to ask for an unencrypted stream.
//!
//! Path and query are kept byte for byte (`/market/stream?streams=!markPrice@arr@1s` needs no percent-encoding,
//! facts/binance.md §1.4). They may hold a listen key, so neither `Debug` nor `Display` shows them.

use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::ServerName;

use crate::domain::limits::URL_LEN_MAX;

/// Port of `wss://` without one.
const PORT: u16 = 443;

/// A parsed `wss://` URL: what to resolve, what to verify, what to ask for.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamUrl {
    host: String,
    port: u16,
    path_and_query: String,
    server_name: ServerName<'static>,
}

impl StreamUrl {
    /// Reads `wss://host[:port][/path][?query]`; an IPv6 host stands in brackets.
    ///
    /// # Errors
    /// [`BadUrl`], whose text says what to write instead. It never repeats path or query.
    pub fn parse(text: &str) -> Result<StreamUrl, BadUrl> {
        if text.len() > URL_LEN_MAX {
            return Err(BadUrl::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(BadUrl::NoScheme)?;
        if !scheme.eq_ignore_ascii_case("wss") {
            return Err(if scheme.eq_ignore_ascii_case("ws") {
                BadUrl::PlainText
            } else {
                BadUrl::Scheme(scheme.chars().take(16).collect())
            });
        }
        let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(authority_len);
        if authority.contains('@') {
            return Err(BadUrl::UserInfo);
        }
        if target.contains('#') {
            return Err(BadUrl::Fragment);
        }
        if let Some(odd) = target.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(BadUrl::NeedsEncoding(odd));
        }
        let (host, port) = read_authority(authority)?;
        let server_name =
            ServerName::try_from(host.clone()).map_err(|_| BadUrl::Host(host.chars().take(80).collect()))?;
        let path_and_query = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(StreamUrl { host, port, path_and_query, server_name })
    }

    /// Host name or address, an IPv6 one without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// 443 unless the URL says otherwise.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The request target, verbatim; `/` when the URL had none. May hold a key: never log it.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The name that the certificate must carry.
    #[must_use]
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }

    /// The host as an address, when it is one: nothing to resolve then.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// `host`, `host:port` or `[v6]:port`, without path and query. An IPv6 host is in brackets.
impl fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if self.port == PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamUrl({self})")
    }
}

fn read_authority(authority: &str) -> Result<(String, u16), BadUrl> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (inside, behind) = rest.split_once(']').ok_or(BadUrl::Brackets)?;
        if !matches!(inside.parse(), Ok(IpAddr::V6(_))) {
            return Err(BadUrl::Brackets);
        }
        let port = match behind.strip_prefix(':') {
            Some(port) => Some(port),
            None if behind.is_empty() => None,
            None => return Err(BadUrl::Brackets),
        };
        (inside, port)
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(BadUrl::Brackets),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() {
        return Err(BadUrl::NoHost);
    }
    let port = match port {
        None => PORT,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(BadUrl::Port),
        },
        Some(_) => return Err(BadUrl::Port),
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// Why a text is no stream URL, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// No `://`.
    #[error("the stream URL has no scheme: write wss://host/path")]
    NoScheme,
    /// `ws://`.
    #[error("ws:// would send the stream unencrypted, and there is no switch for that: write wss://")]
    PlainText,
    /// Another scheme.
    #[error("the stream URL begins with {0}://: a stream is reached by wss:// (https:// addresses belong to REST)")]
    Scheme(String),
    /// Nothing between `://` and the path.
    #[error("the stream URL names no host: write wss://host/path")]
    NoHost,
    /// A host that no certificate can carry.
    #[error("{0:?} is neither a host name nor an address: check the spelling of the stream URL's host")]
    Host(String),
    /// An IPv6 address without its brackets, or brackets around something else.
    #[error("an IPv6 address in the stream URL stands in brackets: write wss://[2001:db8::1]:443/path")]
    Brackets,
    /// Not 1–65535.
    #[error("the stream URL's port is not a number from 1 to 65535")]
    Port,
    /// `user:password@host`.
    #[error("the stream URL holds a user name before '@': exchanges take none there, remove it")]
    UserInfo,
    /// `#…`.
    #[error("the stream URL holds '#': RFC 6455 allows no fragment; write %23 if the stream's name has that character")]
    Fragment,
    /// A space, a control character or a non-ASCII one in path or query.
    #[error("the stream URL's path or query holds {0:?}: percent-encode it")]
    NeedsEncoding(char),
    /// More than [`URL_LEN_MAX`] bytes.
    #[error("the stream URL is longer than {URL_LEN_MAX} bytes: spread the streams over several connections")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_urls() {
        check(
            "wss://fstream.binance.com/market/stream?streams=!markPrice@arr@1s",
            "fstream.binance.com",
            443,
            "/market/stream?streams=!markPrice@arr@1s",
        );
        check("WSS://FSTREAM.binance.com", "fstream.binance.com", 443, "/");
        check("wss://localhost:9443/ws", "localhost", 9443, "/ws");
        check("wss://localhost?streams=a:b//c", "localhost", 443, "/?streams=a:b//c");
        check("wss://127.0.0.1:1/x%20y", "127.0.0.1", 1, "/x%20y");
        check("wss://[::1]:8443/ws/a@b", "::1", 8443, "/ws/a@b");
        check("wss://[2001:db8::1]", "2001:db8::1", 443, "/");
    }

    #[test]
    fn refused_urls_say_what_to_do() {
        for (text, why) in [
            ("ws://fstream.binance.com/ws", BadUrl::PlainText),
            ("https://fapi.binance.com", BadUrl::Scheme("https".to_owned())),
            ("fstream.binance.com/ws", BadUrl::NoScheme),
            ("wss:///ws", BadUrl::NoHost),
            ("wss://:443/ws", BadUrl::NoHost),
            ("wss://host:0/", BadUrl::Port),
            ("wss://host:65536/", BadUrl::Port),
            ("wss://host:/", BadUrl::Port),
            ("wss://host:+1/", BadUrl::Port),
            ("wss://::1/", BadUrl::Brackets),
            ("wss://[::1/", BadUrl::Brackets),
            ("wss://[127.0.0.1]/", BadUrl::Brackets),
            ("wss://[::1]x/", BadUrl::Brackets),
            ("wss://user:pw@host/", BadUrl::UserInfo),
            ("wss://host/a#b", BadUrl::Fragment),
            ("wss://host/a b", BadUrl::NeedsEncoding(' ')),
            ("wss://host/a\r\nX: y", BadUrl::NeedsEncoding('\r')),
            ("wss://host/币安人生usdt@markPrice", BadUrl::NeedsEncoding('币')),
            ("wss://ho st/", BadUrl::Host("ho st".to_owned())),
        ] {
            assert_eq!(StreamUrl::parse(text), Err(why), "{text}");
        }
        assert_eq!(StreamUrl::parse(&format!("wss://h/{}", "a".repeat(URL_LEN_MAX))), Err(BadUrl::TooLong));
        assert!(BadUrl::PlainText.to_string().contains("write wss://"));
    }

    #[test]
    fn no_output_shows_a_listen_key() {
        let url = StreamUrl::parse("wss://[::1]:9/private/ws?listenKey=SECRET").unwrap();
        assert_eq!(format!("{url} {url:?}"), "[::1]:9 StreamUrl([::1]:9)");
        assert_eq!(url.address(), Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])));
    }

    #[track_caller]
    fn check(text: &str, host: &str, port: u16, path_and_query: &str) {
        let url = StreamUrl::parse(text).unwrap();
        assert_eq!((url.host(), url.port(), url.path_and_query()), (host, port, path_and_query));
    }
}
