//! The execution types that may change anything (facts/incumbent.md §4.3). Empty is shadow mode: events are audited and
//! that is all.

use std::fmt;
use std::sync::Arc;

use crate::exchange::projection::Projection;

/// Words as the venue writes execution types (`TRADE`), algo orders' as `ALGO_` and their status (`ALGO_FINISHED`), and the
/// alias `ALGO_FILLED`. Compared exactly: `trade` matches nothing. A clone shares the words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlist {
    words: Arc<[Box<str>]>,
}

impl Allowlist {
    /// Of these words, trimmed, without empty ones.
    pub fn new<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Allowlist {
        let mut kept: Vec<Box<str>> = Vec::new();
        for word in words {
            let word = word.as_ref().trim();
            if !word.is_empty() && !kept.iter().any(|known| **known == *word) {
                kept.push(word.into());
            }
        }
        Allowlist { words: kept.into() }
    }

    /// Of a comma list, as the incumbent's environment variable has it.
    #[must_use]
    pub fn of_comma_list(list: &str) -> Allowlist {
        Allowlist::new(list.split(','))
    }

    /// Whether nothing may be applied: shadow mode.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The words, in the order in which they were given.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|word| &**word)
    }

    /// The word that lets this event through: its execution type, or an algo order's alias. `None` keeps it out.
    #[must_use]
    pub fn admits(&self, event: &Projection) -> Option<&str> {
        let has = |word: &str| self.words().find(|listed| *listed == word);
        event.execution_type.as_deref().and_then(has).or_else(|| event.execution_alias.and_then(has))
    }
}

impl fmt::Display for Allowlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_trimmed_kept_once_and_compared_exactly() {
        let event = |word: &str, alias| Projection {
            execution_type: (!word.is_empty()).then(|| word.to_owned()),
            execution_alias: alias,
            ..Projection::default()
        };
        for (list, word, alias, admitted) in [
            (" TRADE , ,AMENDMENT,TRADE", "TRADE", None, Some("TRADE")),
            ("TRADE,AMENDMENT", "AMENDMENT", None, Some("AMENDMENT")),
            ("TRADE", "trade", None, None),
            ("trade", "TRADE", None, None),
            ("TRADE", "TRADE ", None, None),
            ("TRADE", "", None, None),
            ("ALGO_FILLED", "ALGO_FINISHED", Some("ALGO_FILLED"), Some("ALGO_FILLED")),
            ("ALGO_FILLED", "ALGO_FINISHED", None, None),
            ("ALGO_FINISHED", "ALGO_FINISHED", None, Some("ALGO_FINISHED")),
            ("FINISHED", "ALGO_FINISHED", None, None),
            ("", "TRADE", None, None),
            (",, ,", "TRADE", None, None),
        ] {
            assert_eq!(Allowlist::of_comma_list(list).admits(&event(word, alias)), admitted, "{list:?} {word:?}");
        }
        assert!(Allowlist::of_comma_list(" , ").is_empty());
        assert_eq!(Allowlist::of_comma_list(" TRADE , ,NEW,TRADE").to_string(), "TRADE,NEW");
    }
}
