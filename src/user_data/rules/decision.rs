//! What became of an event, as a word that tables hold and a sentence that people read.

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The allowlist is empty: audited, nothing decided.
    Shadow,
    /// A gap record became a row.
    Gap,
    /// The event is no order's and closes nothing.
    Audited,
    /// Its execution type is not on the allowlist.
    NotOnAllowlist,
    /// No order of this account has one of its ids.
    UnknownOrder,
    /// The account trades at another venue than the one that sent it.
    OtherSystem,
    /// Its status is none that this program knows.
    UnknownStatus,
    /// The order is further than the event.
    RankGuard,
    /// A newer event of the same rank was applied before.
    Older,
    /// It says what the order says already.
    Unchanged,
    /// Older, but the order had no price.
    PriceFilledIn,
    /// About the real order that an algo order became: noted for the algo order's own end.
    RealOrder,
    /// Written to the order.
    Applied,
    /// The venue says that a position is flat.
    FlatPosition,
    /// An order that is none of ours closed a position.
    ExternalClose,
    /// An unknown order closed a position, and may be what a conditional order of ours has become.
    PerhapsOurs,
}

impl Rule {
    /// Those by which nothing came of an event. It may be otherwise when the event comes again: its order may be there then, or
    /// its execution type allowed.
    pub const WITHOUT_EFFECT: [Rule; 10] = [
        Rule::Shadow,
        Rule::Audited,
        Rule::NotOnAllowlist,
        Rule::UnknownOrder,
        Rule::OtherSystem,
        Rule::UnknownStatus,
        Rule::RankGuard,
        Rule::Older,
        Rule::Unchanged,
        Rule::PerhapsOurs,
    ];

    /// Words of the decisions that one by this rule replaces, where the event comes again: an effect replaces none, and
    /// everything else nothing, so that `trace` tells what first came of an event.
    #[must_use]
    pub fn replaces(self) -> Vec<&'static str> {
        match Rule::WITHOUT_EFFECT.contains(&self) {
            true => Vec::new(),
            false => Rule::WITHOUT_EFFECT.iter().map(|rule| rule.as_str()).collect(),
        }
    }

    /// The word, at most 40 characters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Rule::Shadow => "shadow",
            Rule::Gap => "gap",
            Rule::Audited => "audited",
            Rule::NotOnAllowlist => "not_on_allowlist",
            Rule::UnknownOrder => "unknown_order",
            Rule::OtherSystem => "other_system",
            Rule::UnknownStatus => "unknown_status",
            Rule::RankGuard => "rank_guard",
            Rule::Older => "older",
            Rule::Unchanged => "unchanged",
            Rule::PriceFilledIn => "price_filled_in",
            Rule::RealOrder => "real_order",
            Rule::Applied => "applied",
            Rule::FlatPosition => "flat_position",
            Rule::ExternalClose => "external_close",
            Rule::PerhapsOurs => "perhaps_ours",
        }
    }
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    rule: Rule,
    note: String,
}

impl Decision {
    /// Decided by `rule`, told in `note`.
    #[must_use]
    pub fn new(rule: Rule, note: impl Into<String>) -> Decision {
        Decision { rule, note: note.into() }
    }

    /// Which rule it was.
    #[must_use]
    pub fn kind(&self) -> Rule {
        self.rule
    }

    /// The rule's word.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.rule.as_str()
    }

    /// The sentence: `rank guard: FILLED > NEW`.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Adds to the sentence.
    pub fn add(&mut self, more: &str) {
        self.note.push_str("; ");
        self.note.push_str(more);
    }
}
