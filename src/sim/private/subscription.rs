//! What a private connection asked for: the five spellings of `facts/binance.md` §1.3, and what comes of each.
//!
//! Every spelling is answered with 101; whether it delivers is a setting, because the evidence about the venue disagrees.

use std::fmt;
use std::sync::Arc;

use crate::sim::http::percent_decode;

/// How a client spelled its wish for user data; the letters are those of `facts/binance.md` §1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrivateSpelling {
    /// A: `/private/ws/<key>`.
    Path,
    /// B: `/private/ws?listenKey=<key>`.
    Query,
    /// C: `/private/ws?listenKey=<key>&events=…`.
    QueryEvents,
    /// D: `/private/stream?streams=<key>`, or SUBSCRIBE there.
    Stream,
    /// E: `/private/stream?listenKey=<key>&events=…` or `?streams=<key>@<EVENT>`, several keys perhaps.
    StreamEvents,
}

impl PrivateSpelling {
    /// All five, A to E.
    pub const ALL: [PrivateSpelling; 5] = [
        PrivateSpelling::Path,
        PrivateSpelling::Query,
        PrivateSpelling::QueryEvents,
        PrivateSpelling::Stream,
        PrivateSpelling::StreamEvents,
    ];
}

/// What the venue does with a spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpellingAnswer {
    /// LIST_SUBSCRIPTIONS names it, events come.
    Delivers,
    /// LIST_SUBSCRIPTIONS names it, nothing comes.
    Acknowledges,
    /// Connected, LIST_SUBSCRIPTIONS is empty, nothing comes.
    Silent,
    /// The upgrade is answered with this status.
    Refused(u16),
}

/// The answer to each spelling. All deliver by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spellings([SpellingAnswer; 5]);

impl Default for Spellings {
    fn default() -> Self {
        Spellings([SpellingAnswer::Delivers; 5])
    }
}

impl Spellings {
    /// These deliver; the others get `otherwise`.
    #[must_use]
    pub fn only(delivering: &[PrivateSpelling], otherwise: SpellingAnswer) -> Self {
        Spellings(
            PrivateSpelling::ALL.map(
                |spelling| {
                    if delivering.contains(&spelling) { SpellingAnswer::Delivers } else { otherwise }
                },
            ),
        )
    }

    /// The same with another answer to `spelling`.
    #[must_use]
    pub fn with(mut self, spelling: PrivateSpelling, answer: SpellingAnswer) -> Self {
        self.0[spelling as usize] = answer;
        self
    }

    /// The answer to `spelling`.
    #[must_use]
    pub fn answer(&self, spelling: PrivateSpelling) -> SpellingAnswer {
        self.0[spelling as usize]
    }
}

/// Event names that an `events` list may hold, in alphabetical order, as LIST_SUBSCRIPTIONS gives them.
pub(in crate::sim) const KNOWN_EVENTS: [&str; 10] = [
    "ACCOUNT_CONFIG_UPDATE",
    "ACCOUNT_UPDATE",
    "ALGO_UPDATE",
    "CONDITIONAL_ORDER_TRIGGER_REJECT",
    "GRID_UPDATE",
    "MARGIN_CALL",
    "ORDER_TRADE_UPDATE",
    "STRATEGY_UPDATE",
    "TRADE_LITE",
    "listenKeyExpired",
];

/// Which events of a key are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Filter {
    /// Whatever comes, types unknown today included.
    All,
    /// A bit for each of [`KNOWN_EVENTS`].
    Only(u16),
}

impl Filter {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let bit = |name: &str| KNOWN_EVENTS.iter().position(|known| *known == name).map_or(0, |at| 1 << at);
        Filter::Only(names.map(bit).fold(0, |all, one| all | one))
    }

    pub(in crate::sim) fn takes(self, event: &str) -> bool {
        match self {
            Filter::All => true,
            Filter::Only(bits) => {
                KNOWN_EVENTS.iter().position(|known| *known == event).is_some_and(|at| bits & 1 << at != 0)
            }
        }
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        KNOWN_EVENTS.into_iter().filter(move |name| self != Filter::All && self.takes(name))
    }
}

/// One key asked for.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::sim) struct Subscription {
    pub(in crate::sim) key: Arc<str>,
    pub(in crate::sim) filter: Filter,
    pub(in crate::sim) spelling: PrivateSpelling,
    /// Whose key it was when it was asked for; `None` for a bogus one.
    pub(in crate::sim) account: Option<usize>,
}

// The key is a credential.
impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription {{ {:?}, {:?}, account {:?} }}", self.spelling, self.filter, self.account)
    }
}

impl Subscription {
    /// The name of the stream in a wrapper.
    pub(in crate::sim) fn stream(&self, event: &str) -> String {
        match self.filter {
            Filter::All => self.key.to_string(),
            Filter::Only(_) => format!("{}@{event}", self.key),
        }
    }

    /// What LIST_SUBSCRIPTIONS says of it.
    pub(in crate::sim) fn listed(&self) -> Vec<String> {
        match self.filter {
            Filter::All => vec![self.key.to_string()],
            filter => filter.names().map(|name| format!("{}@{name}", self.key)).collect(),
        }
    }
}

/// The subscriptions that the query of a private upgrade spells.
///
/// # Errors
/// A comma between event names breaks the handshake (`facts/binance.md` §1.3).
pub(in crate::sim) fn read_query(wrapped: bool, query: &str) -> Result<Vec<Subscription>, BrokenQuery> {
    let mut found: Vec<(Arc<str>, Option<Filter>)> = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode(value);
        match name {
            "listenKey" if !value.is_empty() => found.push((value.into(), None)),
            "events" if value.contains(',') => return Err(BrokenQuery),
            "events" => {
                if let Some((_, filter)) = found.last_mut() {
                    *filter = Some(Filter::of(value.split('/')));
                }
            }
            _ => {}
        }
    }
    let spelled = found.into_iter().map(|(key, filter)| {
        let spelling = match (wrapped, filter) {
            (true, _) => PrivateSpelling::StreamEvents,
            (false, Some(_)) => PrivateSpelling::QueryEvents,
            (false, None) => PrivateSpelling::Query,
        };
        Subscription { key, filter: filter.unwrap_or(Filter::All), spelling, account: None }
    });
    Ok(spelled.collect())
}

/// The handshake cannot succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) struct BrokenQuery;

/// The subscriptions that names of streams spell: in a path, in `streams=`, or in a SUBSCRIBE.
pub(in crate::sim) fn read_names(wrapped: bool, names: &[String]) -> Vec<Subscription> {
    let mut found: Vec<Subscription> = Vec::new();
    for name in names {
        let (key, event) = match name.split_once('@') {
            Some((key, event)) => (key, Some(event)),
            None => (name.as_str(), None),
        };
        let filter = event.map_or(Filter::All, |event| Filter::of(std::iter::once(event)));
        let spelling = match (wrapped, event) {
            (false, _) => PrivateSpelling::Path,
            (true, None) => PrivateSpelling::Stream,
            (true, Some(_)) => PrivateSpelling::StreamEvents,
        };
        add(&mut found, Subscription { key: key.into(), filter, spelling, account: None });
    }
    found
}

/// Adds a subscription; events of a key that is there already are added to it.
pub(in crate::sim) fn add(all: &mut Vec<Subscription>, new: Subscription) {
    let same =
        all.iter_mut().find(|old| old.key == new.key && (old.filter == Filter::All) == (new.filter == Filter::All));
    match same.map(|old| (&mut old.filter, new.filter)) {
        Some((Filter::Only(old), Filter::Only(more))) => *old |= more,
        Some(_) => {}
        None => all.push(new),
    }
}

/// Takes away what `names` spell.
pub(in crate::sim) fn remove(all: &mut Vec<Subscription>, names: &[String]) {
    for gone in read_names(true, names) {
        for one in all.iter_mut().filter(|one| one.key == gone.key) {
            match (&mut one.filter, gone.filter) {
                (Filter::Only(bits), Filter::Only(less)) => *bits &= !less,
                (filter @ Filter::All, Filter::All) => *filter = Filter::Only(0),
                _ => {}
            }
        }
    }
    all.retain(|one| one.filter != Filter::Only(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(all: &[Subscription]) -> Vec<String> {
        all.iter().flat_map(Subscription::listed).collect()
    }

    #[test]
    fn queries() {
        use PrivateSpelling::{Query, QueryEvents, StreamEvents};
        for (wrapped, query, spelling, names) in [
            (false, "listenKey=K", Query, &["K"][..]),
            (
                false,
                "listenKey=K&events=listenKeyExpired/ORDER_TRADE_UPDATE",
                QueryEvents,
                &["K@ORDER_TRADE_UPDATE", "K@listenKeyExpired"],
            ),
            (false, "listenKey=K&events=ALGO_UPDATE%2FNO_SUCH", QueryEvents, &["K@ALGO_UPDATE"]),
            (
                true,
                "listenKey=K&events=ALGO_UPDATE/TRADE_LITE&listenKey=L&events=MARGIN_CALL",
                StreamEvents,
                &["K@ALGO_UPDATE", "K@TRADE_LITE", "L@MARGIN_CALL"],
            ),
            (true, "listenKey=K", StreamEvents, &["K"]),
        ] {
            let read = read_query(wrapped, query).unwrap();
            assert_eq!(listed(&read), names, "{query}");
            assert!(read.iter().all(|one| one.spelling == spelling), "{query}");
        }
        assert_eq!(read_query(false, "listenKey=K&events=A,B"), Err(BrokenQuery));
        assert_eq!(read_query(false, "events=A&x"), Ok(Vec::new()));
    }

    #[test]
    fn names_and_what_is_taken_away() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut all = read_names(true, &names("K L@TRADE_LITE L@ALGO_UPDATE"));
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].spelling, all[1].spelling), (PrivateSpelling::Stream, PrivateSpelling::StreamEvents));
        assert_eq!(listed(&all), ["K", "L@ALGO_UPDATE", "L@TRADE_LITE"]);
        assert_eq!((all[0].stream("TRADE_LITE"), all[1].stream("TRADE_LITE")), ("K".into(), "L@TRADE_LITE".into()));
        assert!(all[0].filter.takes("SOMETHING_NEW") && !all[1].filter.takes("SOMETHING_NEW"));
        remove(&mut all, &names("K L@TRADE_LITE"));
        assert_eq!(listed(&all), ["L@ALGO_UPDATE"]);
        assert_eq!(read_names(false, &names("K"))[0].spelling, PrivateSpelling::Path);
    }
}
