//! Where the events of one account are. Sources disagree on which spelling of the private URL delivers in production, and
//! production and testnet disagree with each other (facts/binance.md §1.3), so the spelling is a setting, is verified after
//! connecting, and `auto` goes on to the next one when the proof fails.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use super::event_type::EventSet;
use super::listen_key::ListenKey;

/// Production, with the route that private events are on (facts/binance.md §1.1).
pub const PRIVATE_BASE: &str = "wss://fstream.binance.com/private";

/// How the URL names the account. Bare and wrapped events are read on every connection, whatever the spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spelling {
    /// `…/ws?listenKey=<key>&events=<EVENT>/<EVENT>/…`; bare events. The list is a filter: a type that the venue adds
    /// later does not come until it is listed.
    Query,
    /// `…/stream?streams=<key>`; wrapped events. What the venue's own connectors do.
    Stream,
    /// `…/ws/<key>`; bare events.
    Path,
}

impl Spelling {
    /// In the order in which `auto` tries them.
    pub const ALL: [Spelling; 3] = [Spelling::Query, Spelling::Stream, Spelling::Path];

    /// The word used in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Spelling::Query => "query",
            Spelling::Stream => "stream",
            Spelling::Path => "path",
        }
    }
}

/// The setting `user_data.spelling`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpellingChoice {
    /// The one that delivered before, then the others.
    #[default]
    Auto,
    /// This one and no other.
    Only(Spelling),
}

impl SpellingChoice {
    /// The spelling to use after `failed_proofs` connections in a row were not subscribed. `delivered` is the one that
    /// last brought an event or a proof. `auto` goes round for ever.
    #[must_use]
    pub fn spelling(self, delivered: Option<Spelling>, failed_proofs: u32) -> Spelling {
        match self {
            SpellingChoice::Only(spelling) => spelling,
            SpellingChoice::Auto => {
                let others = Spelling::ALL.into_iter().filter(|&one| Some(one) != delivered);
                let place = failed_proofs as usize % Spelling::ALL.len();
                delivered.into_iter().chain(others).nth(place).expect("each spelling stands in it once")
            }
        }
    }
}

/// The URL of one account's events. It holds the listen key, so no formatting shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateUrl {
    text: String,
    spelling: Spelling,
}

impl PrivateUrl {
    /// `base` is scheme, host and route, such as [`PRIVATE_BASE`].
    #[must_use]
    pub fn new(base: &str, spelling: Spelling, key: &ListenKey) -> PrivateUrl {
        let base = base.trim_end_matches('/');
        let key = PercentEncoded(key.expose());
        let text = match spelling {
            Spelling::Query => format!("{base}/ws?listenKey={key}&events={}", EventSet::subscribed()),
            Spelling::Stream => format!("{base}/stream?streams={key}"),
            Spelling::Path => format!("{base}/ws/{key}"),
        };
        PrivateUrl { text, spelling }
    }

    /// The whole text, key included: for the connection only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// How it is spelled.
    #[must_use]
    pub const fn spelling(&self) -> Spelling {
        self.spelling
    }

    /// What the request line asks for; key included.
    #[must_use]
    pub fn expose_path_and_query(&self) -> &str {
        let authority = self.text.find("://").map_or(0, |at| at + 3);
        let path = self.text[authority..].find('/').map_or(self.text.len(), |at| authority + at);
        &self.text[path..]
    }
}

impl fmt::Debug for PrivateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateUrl({})", self.spelling)
    }
}

/// A text with everything but RFC 3986's unreserved characters encoded.
struct PercentEncoded<'t>(&'t str);

impl fmt::Display for PercentEncoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    f.write_char(char::from(byte))?
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Spelling {
    type Err = UnknownSpelling;

    fn from_str(text: &str) -> Result<Self, UnknownSpelling> {
        let found = Spelling::ALL.into_iter().find(|spelling| spelling.as_str() == text);
        found.ok_or_else(|| UnknownSpelling(text.to_owned()))
    }
}

impl fmt::Display for SpellingChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpellingChoice::Auto => f.write_str("auto"),
            SpellingChoice::Only(spelling) => spelling.fmt(f),
        }
    }
}

impl FromStr for SpellingChoice {
    type Err = UnknownSpelling;

    fn from_str(text: &str) -> Result<Self, UnknownSpelling> {
        if text == "auto" { Ok(SpellingChoice::Auto) } else { text.parse().map(SpellingChoice::Only) }
    }
}

/// A word that is no spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSpelling(pub String);

impl fmt::Display for UnknownSpelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown spelling of the private URL {:?}: expected auto, query, stream or path", self.0)
    }
}

impl std::error::Error for UnknownSpelling {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_spelled_as_documented() {
        check(
            Spelling::Query,
            "/ws?listenKey=abc-DEF_0123456789&events=ORDER_TRADE_UPDATE/ACCOUNT_UPDATE/ALGO_UPDATE/TRADE_LITE/MARGIN_CALL/\
             ACCOUNT_CONFIG_UPDATE/STRATEGY_UPDATE/GRID_UPDATE/CONDITIONAL_ORDER_TRIGGER_REJECT/listenKeyExpired",
        );
        check(Spelling::Stream, "/stream?streams=abc-DEF_0123456789");
        check(Spelling::Path, "/ws/abc-DEF_0123456789");
    }

    #[test]
    fn what_would_end_a_key_is_encoded() {
        let key = ListenKey::new("aaaaaaaaaaaaaaaa+/=").unwrap();
        let url = PrivateUrl::new("wss://localhost:9443/private/", Spelling::Stream, &key);
        assert_eq!(url.expose(), "wss://localhost:9443/private/stream?streams=aaaaaaaaaaaaaaaa%2B%2F%3D");
        assert_eq!(PercentEncoded("a?&#%é~").to_string(), "a%3F%26%23%25%C3%A9~");
    }

    #[test]
    fn auto_goes_round_and_starts_with_what_delivered() {
        use Spelling::{Path, Query, Stream};
        for (delivered, order) in [
            (None, [Query, Stream, Path, Query]),
            (Some(Query), [Query, Stream, Path, Query]),
            (Some(Path), [Path, Query, Stream, Path]),
        ] {
            let tried: Vec<_> = (0..4).map(|failed| SpellingChoice::Auto.spelling(delivered, failed)).collect();
            assert_eq!(tried, order, "{delivered:?}");
        }
        assert_eq!(SpellingChoice::Only(Path).spelling(Some(Query), 2), Path);
        assert_eq!(SpellingChoice::Auto.spelling(None, u32::MAX), Query);
    }

    #[test]
    fn words_of_the_settings() {
        for word in ["auto", "query", "stream", "path"] {
            assert_eq!(word.parse::<SpellingChoice>().unwrap().to_string(), word);
        }
        assert_eq!("Auto".parse::<SpellingChoice>(), Err(UnknownSpelling("Auto".to_owned())));
        assert_eq!(
            "raw".parse::<Spelling>().unwrap_err().to_string(),
            "unknown spelling of the private URL \"raw\": expected auto, query, stream or path"
        );
    }

    #[track_caller]
    fn check(spelling: Spelling, tail: &str) {
        let url = PrivateUrl::new(PRIVATE_BASE, spelling, &ListenKey::new("abc-DEF_0123456789").unwrap());
        assert_eq!(url.expose(), format!("wss://fstream.binance.com/private{tail}"));
        assert_eq!(url.expose_path_and_query(), format!("/private{tail}"));
        assert_eq!(format!("{url:?}"), format!("PrivateUrl({spelling})"));
    }
}
