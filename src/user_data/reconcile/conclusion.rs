//! What a reconcile's reads come to, held against what was heard: the events that were missed, and where local orders are not
//! where the venue says.
//!
//! An event was missed if its time lies in the gap and no recorded event says the same. A local order has drifted if the very
//! rules that apply events would change it by one, so a read that is older than the newest push changes nothing here either.
//! Orders that are not ours are recovered like others; the rules find no row for them, and leave them alone. What the account
//! holds is in `holdings`' hands.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::holdings::HeardHoldings;
use super::plan::{Plan, unanswered};
use crate::domain::Wall;
use crate::exchange::binance::account_fact::AccountFact;
use crate::exchange::binance::fact::{OrderFact, Subject};
use crate::exchange::binance::project;
use crate::exchange::binance::recovered::{algo_event, order_events};
use crate::store::reconcile::LocalOrder;
use crate::user_data::rules::order::decide;

/// An event as the stream would have sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredEvent {
    /// Its place: when it happened, ms since 1970 UTC, or when what must stand behind it did.
    pub at_ms: i64,
    /// The text.
    pub text: String,
    /// Nobody heard it. Else it was heard, and the local order does not show it.
    pub is_missed: bool,
}

/// A local order that is not where the venue says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// `orders.id`.
    pub order_id: i64,
    /// `orders.exchange_order_id`.
    pub exchange_order_id: String,
    /// The venue's.
    pub symbol: String,
    /// `orders.status`.
    pub local: String,
    /// What it becomes.
    pub venue: String,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conclusion {
    /// In the order of their times, each once.
    pub events: Vec<RecoveredEvent>,
    /// Ascending order id.
    pub drift: Vec<Drift>,
    /// Local orders that the venue does not know, also when asked again: they have aged out, or never were.
    pub unknown: Vec<String>,
    /// Client ids of local orders that the venue never had, as far as it says.
    pub unplaced: Vec<String>,
}

impl Conclusion {
    /// Events that nobody heard.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.events.iter().filter(|event| event.is_missed).count()
    }
}

/// What was heard, by what it is found with.
#[derive(Debug, Default)]
pub struct Heard {
    trades: HashSet<(String, u64)>,
    states: HashMap<Subject, Vec<OrderFact>>,
    holdings: HeardHoldings,
}

impl Heard {
    /// Takes a recorded event, in the order in which they were recorded; its symbol, where it is about an order.
    pub fn add(&mut self, event: &[u8]) -> Option<String> {
        let Some(fact) = OrderFact::read(event) else {
            self.holdings.add(AccountFact::read(event)?);
            return None;
        };
        let symbol = match &fact.subject {
            Subject::Order { symbol, .. } => Some(symbol.clone()),
            Subject::Algo { .. } => None,
        };
        if let (Some(trade), Some(symbol)) = (fact.trade, &symbol) {
            self.trades.insert((symbol.clone(), trade));
        }
        self.states.entry(fact.subject.clone()).or_default().push(fact);
        symbol
    }

    fn tells(&self, fact: &OrderFact) -> bool {
        match (&fact.subject, fact.trade) {
            (Subject::Order { symbol, .. }, Some(trade)) => self.trades.contains(&(symbol.clone(), trade)),
            (subject, _) => {
                self.states.get(subject).is_some_and(|heard| heard.iter().any(|heard| fact.is_told_by(heard)))
            }
        }
    }
}

impl Plan {
    /// What was missed, and what has drifted. `local` are the orders that are not over, read after all else; `heals` says
    /// whether events that were heard come again where a local order does not show them.
    #[must_use]
    pub fn conclude(&self, heard: &Heard, local: &[LocalOrder], heals: bool, now: Wall) -> Conclusion {
        let unplaced = local.iter().filter(|local| self.subject(local).is_none()).filter_map(unanswered);
        let unplaced = unplaced.filter(|id| self.unplaced.contains(*id)).map(str::to_owned).collect();
        let local: BTreeMap<Subject, &LocalOrder> =
            local.iter().filter_map(|local| Some((self.subject(local)?, local))).collect();
        let mut conclusion = Conclusion { unplaced, ..Conclusion::default() };
        // The rules must know which real order an algo order has become before they hear of that order's end, so an algo
        // event that comes brings the real order's events with it, behind itself.
        let mut followed: BTreeSet<(&str, u64)> = BTreeSet::new();
        for algo in self.algos.values() {
            let mine = local.get(&Subject::Algo { id: algo.algo_id });
            if algo.updated_ms < self.scope.since_ms && mine.is_none() {
                continue;
            }
            let real = algo.order_id.and_then(|id| self.orders.get(&(algo.symbol.clone(), id)));
            let mut told = algo.clone();
            // Not every answer says what was executed; the real order does.
            told.executed = told.executed.or_else(|| real.map(|order| order.executed.clone()));
            told.average_price = told.average_price.or_else(|| real.and_then(|order| order.average_price.clone()));
            let before = conclusion.events.len();
            self.judge(algo_event(&told), mine.copied(), heard, heals, now, &mut conclusion);
            if conclusion.events.len() > before
                && let Some(order) = real
            {
                let first = self.fills_of(order).first().map_or(order.updated_ms, |fill| fill.time_ms);
                let event = &mut conclusion.events[before];
                event.at_ms = event.at_ms.min(first);
                followed.insert((&order.symbol, order.order_id));
            }
        }
        for ((symbol, id), order) in &self.orders {
            let mine = local.get(&Subject::Order { symbol: symbol.clone(), id: *id });
            let follows = followed.contains(&(symbol.as_str(), *id));
            if order.updated_ms < self.scope.since_ms && mine.is_none() && !follows {
                continue;
            }
            // Later fills than the order's own telling came over the live stream.
            let mut fills = self.fills_of(order);
            fills.retain(|fill| fill.time_ms <= order.updated_ms);
            for text in order_events(order, &fills) {
                let before = conclusion.events.len();
                self.judge(text.clone(), mine.copied(), heard, heals, now, &mut conclusion);
                if follows && heals && conclusion.events.len() == before {
                    let at_ms = OrderFact::read(text.as_bytes()).map_or(order.updated_ms, |fact| fact.time_ms);
                    conclusion.events.push(RecoveredEvent { at_ms, text, is_missed: false });
                }
            }
        }
        // Behind the fills of the same moment, which have caused it.
        let held = self.holdings_missed(&heard.holdings).into_iter();
        conclusion.events.extend(held.map(|(at_ms, text)| RecoveredEvent { at_ms, text, is_missed: true }));
        conclusion.events.sort_by_key(|event| event.at_ms);
        conclusion.drift.sort_by_key(|drift| drift.order_id);
        // Of several events of one order the last says where it is.
        conclusion.drift.reverse();
        conclusion.drift.dedup_by_key(|drift| drift.order_id);
        conclusion.drift.reverse();
        let ours = self.unknown.keys().filter(|subject| local.contains_key(*subject));
        conclusion.unknown = ours.map(Subject::exchange_order_id).collect();
        conclusion
    }

    fn judge(
        &self,
        text: String,
        local: Option<&LocalOrder>,
        heard: &Heard,
        heals: bool,
        now: Wall,
        conclusion: &mut Conclusion,
    ) {
        let Some(fact) = OrderFact::read(text.as_bytes()) else { return };
        let is_within = self.is_within(fact.time_ms);
        let newest = local.and_then(|local| local.order.last.as_ref()).map(|mark| mark.transaction_time_ms);
        // A state that is older than the newest push is a stale read; a fill has happened, whenever it was.
        let is_stale = fact.trade.is_none() && newest.is_some_and(|newest| newest > fact.time_ms);
        let is_missed = is_within && !is_stale && !heard.tells(&fact);
        let change = local.and_then(|local| decide(&local.order, &project(text.as_bytes()), now).change);
        if let (Some(local), Some(change)) = (local, &change) {
            conclusion.drift.push(Drift {
                order_id: local.order.id,
                exchange_order_id: fact.subject.exchange_order_id(),
                symbol: local.symbol.clone(),
                local: local.order.status.clone(),
                venue: change.status.as_str().to_owned(),
            });
        }
        if is_missed || (heals && change.is_some()) {
            conclusion.events.push(RecoveredEvent { at_ms: fact.time_ms, text, is_missed });
        }
    }
}
