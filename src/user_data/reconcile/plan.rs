//! One account's reconcile, without I/O: which reads, in what order, and what they prove together (facts/binance.md §6).
//!
//! The caller sees to it that the socket is live and verified before it begins and stays so until it is over. Then: the open
//! orders, open algo orders, positions and balances; the income of the gap, which names symbols that were opened and closed in
//! it; each symbol's orders, algo orders and fills; each local order that no list has told of. A REST read may be older than a
//! push, and what is absent may be late (facts/incumbent.md §9, 19, 25), so after [`RECONCILE_CONFIRM_AFTER`] every local order
//! that still works is read again, one by one, every symbol's fills, and balances and positions; an order and its fills must
//! agree, and a position that is flat must be proven to be so.
//!
//! [`Plan::conclude`] then says what was missed.

mod held;
mod known;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub(super) use self::known::unanswered;
use super::ask::{Ask, History};
use super::holdings::Holdings;
use crate::domain::limits::{
    RECONCILE_AGREE_AFTER, RECONCILE_CONFIRM_AFTER, RECONCILE_FLAT_AFTER, RECONCILE_FLAT_ROUNDS_MAX,
    RECONCILE_ROUNDS_MAX, RECONCILE_ROWS_MAX,
};
use crate::domain::{Decimal, Mono, Now};
use crate::exchange::binance::account_answers::{
    AnswerError, RestAlgoOrder, RestOrder, RestTrade, read_algo_order, read_algo_orders, read_balances, read_income,
    read_order, read_orders, read_positions, read_trades,
};
use crate::exchange::binance::fact::Subject;
use crate::exchange::binance::signed::From;
use crate::store::reconcile::LocalOrder;

/// What is to be found out.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// From here on something may have been missed, ms since 1970 UTC.
    pub since_ms: i64,
    /// What happened later came over the live stream; `None`: nothing is known of that.
    pub until_ms: Option<i64>,
    /// Whether symbols that nobody here knows of are looked for.
    pub asks_income: bool,
    /// Local orders that are not over.
    pub orders: Vec<LocalOrder>,
    /// Symbols of local positions, and of events that were heard.
    pub symbols: BTreeSet<String>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask; the answer goes to [`Plan::handle_answer`], or the same question comes again.
    Ask(Ask),
    /// Nothing before then.
    Wait(Mono),
    /// All is read.
    Finished,
}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The venue refused, or its answer cannot be read.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// More rows than one reconcile holds.
    #[error("the account has more than {RECONCILE_ROWS_MAX} orders and fills since the gap began")]
    TooMuch,
    /// An order and its fills say different things, also when read again.
    #[error("the venue's answers about order {0} of {1} and about its fills do not agree")]
    Disagreement(u64, String),
}

/// Balances come first: where they have a fill, the positions that are read behind them have it too.
const HOLDINGS: [Ask; 2] = [Ask::Balances, Ask::Positions];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Lists,
    Histories,
    Singles,
    Confirm { at: Mono },
    ConfirmFills,
    Agree { at: Mono, round: u32 },
    Flats { round: u32 },
    FlatsAgain { at: Mono, round: u32 },
    Finished,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Plan {
    pub(super) scope: Scope,
    phase: Phase,
    queue: VecDeque<Ask>,
    symbols: BTreeSet<String>,
    pub(super) orders: BTreeMap<(String, u64), RestOrder>,
    pub(super) algos: BTreeMap<u64, RestAlgoOrder>,
    pub(super) trades: BTreeMap<(String, u64), RestTrade>,
    pub(super) holdings: Holdings,
    /// Orders of which the venue says that it does not know them, and how often.
    pub(super) unknown: BTreeMap<Subject, u32>,
    /// Client ids that the venue did not know.
    pub(super) unplaced: BTreeSet<String>,
    disagreement: Option<(u64, String)>,
    started_at: Option<Mono>,
}

impl Plan {
    /// Has read nothing.
    #[must_use]
    pub fn new(scope: Scope) -> Plan {
        Plan {
            symbols: scope.symbols.clone(),
            scope,
            phase: Phase::Lists,
            queue: VecDeque::new(),
            orders: BTreeMap::new(),
            algos: BTreeMap::new(),
            trades: BTreeMap::new(),
            holdings: Holdings::default(),
            unknown: BTreeMap::new(),
            unplaced: BTreeSet::new(),
            disagreement: None,
            started_at: None,
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Now) -> Next {
        if self.started_at.is_none() {
            self.started_at = Some(now.mono);
            self.queue.extend([Ask::OpenOrders, Ask::OpenAlgoOrders, Ask::Positions, Ask::Balances]);
            if self.scope.asks_income {
                self.queue.push_back(Ask::income(self.scope.since_ms, now.wall.as_millis()));
            }
        }
        loop {
            if let Some(ask) = self.queue.front() {
                return Next::Ask(ask.clone());
            }
            match self.phase {
                Phase::Finished => return Next::Finished,
                Phase::Confirm { at } | Phase::Agree { at, .. } | Phase::FlatsAgain { at, .. } if now.mono < at => {
                    return Next::Wait(at);
                }
                _ => self.advance(now),
            }
        }
    }

    /// The answer to the question that [`Plan::poll`] gave last.
    ///
    /// # Errors
    /// [`PlanError`]; the question is then still open.
    pub fn handle_answer(
        &mut self,
        status: u16,
        body: &[u8],
        retry_after: Option<&str>,
        now: Now,
    ) -> Result<(), PlanError> {
        let Some(ask) = self.queue.front().cloned() else { return Ok(()) };
        let now_ms = now.wall.as_millis();
        let mut next = None;
        match &ask {
            Ask::OpenOrders => read_orders(status, body, retry_after)?.into_iter().for_each(|order| self.take(order)),
            Ask::OpenAlgoOrders => {
                read_algo_orders(status, body, retry_after)?.into_iter().for_each(|algo| self.take_algo(algo));
            }
            Ask::Positions => {
                let held = read_positions(status, body, retry_after)?;
                if self.phase == Phase::Lists {
                    let open = held.iter().filter(|held| !held.quantity.is_zero());
                    self.symbols.extend(open.map(|held| held.symbol.clone()));
                }
                self.holdings.take_positions(held, now_ms);
            }
            Ask::Balances => self.holdings.take_balances(read_balances(status, body, retry_after)?),
            Ask::Income { .. } => {
                let rows = read_income(status, body, retry_after)?;
                next = ask.next_page(rows.len(), rows.iter().map(|row| row.time_ms).max(), now_ms);
                self.symbols.extend(rows.into_iter().filter_map(|row| row.symbol));
            }
            Ask::History { of: History::Orders, .. } => {
                let rows = read_orders(status, body, retry_after)?;
                next = ask.next_page(rows.len(), last_id(rows.iter().map(|row| row.order_id)), now_ms);
                rows.into_iter().for_each(|order| self.take(order));
            }
            Ask::History { of: History::AlgoOrders, .. } => {
                let rows = read_algo_orders(status, body, retry_after)?;
                next = ask.next_page(rows.len(), last_id(rows.iter().map(|row| row.algo_id)), now_ms);
                rows.into_iter().for_each(|algo| self.take_algo(algo));
            }
            Ask::History { of: History::Trades, .. } => {
                let rows = read_trades(status, body, retry_after)?;
                next = ask.next_page(rows.len(), last_id(rows.iter().map(|row| row.trade_id)), now_ms);
                for trade in rows {
                    self.trades.insert((trade.symbol.clone(), trade.trade_id), trade);
                }
            }
            Ask::Order { symbol, order_id } => match read_order(status, body, retry_after) {
                Ok(order) => self.take(order),
                Err(AnswerError::UnknownOrder) => {
                    self.miss(Subject::Order { symbol: symbol.clone(), id: *order_id });
                }
                Err(error) => return Err(error.into()),
            },
            Ask::OrderOfClient { client_id, .. } => match read_order(status, body, retry_after) {
                Ok(order) => self.take(order),
                Err(AnswerError::UnknownOrder) => drop(self.unplaced.insert(client_id.clone())),
                Err(error) => return Err(error.into()),
            },
            Ask::AlgoOrderOfClient { client_id } => match read_algo_order(status, body, retry_after) {
                Ok(algo) => self.take_algo(algo),
                Err(AnswerError::UnknownOrder) => drop(self.unplaced.insert(client_id.clone())),
                Err(error) => return Err(error.into()),
            },
            Ask::AlgoOrder { algo_id } => match read_algo_order(status, body, retry_after) {
                Ok(algo) => self.take_algo(algo),
                Err(AnswerError::UnknownOrder) => self.miss(Subject::Algo { id: *algo_id }),
                Err(error) => return Err(error.into()),
            },
        }
        if self.orders.len() + self.algos.len() + self.trades.len() > RECONCILE_ROWS_MAX {
            return Err(PlanError::TooMuch);
        }
        self.queue.pop_front();
        if let Some(next) = next {
            self.queue.push_front(next);
        }
        Ok(())
    }

    /// Whether what was read is of one piece.
    ///
    /// # Errors
    /// [`PlanError::Disagreement`].
    pub fn check(&self) -> Result<(), PlanError> {
        match &self.disagreement {
            None => Ok(()),
            Some((id, symbol)) => Err(PlanError::Disagreement(*id, symbol.clone())),
        }
    }

    fn advance(&mut self, now: Now) {
        let now_ms = now.wall.as_millis();
        match self.phase {
            Phase::Lists => {
                self.symbols.extend(self.orders.values().map(|order| order.symbol.clone()));
                self.symbols.extend(self.algos.values().map(|algo| algo.symbol.clone()));
                self.symbols.extend(self.scope.orders.iter().map(|local| local.symbol.clone()));
                self.symbols.remove("");
                for symbol in &self.symbols {
                    let histories = History::ALL.map(|of| Ask::history(of, symbol, self.scope.since_ms, now_ms));
                    self.queue.extend(histories);
                }
                self.phase = Phase::Histories;
            }
            Phase::Histories => {
                self.queue = self.singles(|plan, subject| !plan.is_read(subject));
                self.queue.extend(self.strangers());
                let at = self.started_at.unwrap_or(now.mono).plus(RECONCILE_CONFIRM_AFTER);
                self.phase = if self.queue.is_empty() { Phase::Confirm { at } } else { Phase::Singles };
            }
            Phase::Singles => {
                let at = self.started_at.unwrap_or(now.mono).plus(RECONCILE_CONFIRM_AFTER);
                self.phase = Phase::Confirm { at };
            }
            Phase::Confirm { .. } => {
                self.queue = self.singles(|plan, subject| !plan.is_over(subject));
                self.phase = Phase::ConfirmFills;
            }
            Phase::ConfirmFills => {
                self.queue = self.symbols.iter().map(|symbol| self.later_fills(symbol, now_ms)).collect();
                if !self.symbols.is_empty() {
                    self.queue.extend(HOLDINGS);
                }
                self.phase = Phase::Agree { at: now.mono, round: 0 };
            }
            Phase::Agree { round, .. } => {
                let strangers = self.strangers();
                let mut asks: VecDeque<Ask> = strangers.into();
                self.disagreement = None;
                for (symbol, order_id) in self.unfinished_reals() {
                    self.disagreement.get_or_insert((order_id, symbol.clone()));
                    asks.push_back(Ask::Order { symbol, order_id });
                }
                for order in self.orders.values().filter(|order| order.updated_ms >= self.scope.since_ms) {
                    if let Some(ask) = self.disagrees(order, now_ms) {
                        // What changed a working order last may be an amendment, with all its fills from before the window: that
                        // none of them is as new as the order is a reason to look again, and none to give up.
                        let is_amended = order.status == "PARTIALLY_FILLED" && matches!(ask, Ask::History { .. });
                        if !is_amended {
                            self.disagreement.get_or_insert((order.order_id, order.symbol.clone()));
                        }
                        asks.push_back(ask);
                    }
                }
                if asks.is_empty() || round == RECONCILE_ROUNDS_MAX {
                    self.phase = Phase::Flats { round: 0 };
                } else {
                    self.queue = asks;
                    self.phase = Phase::Agree { at: now.mono.plus(RECONCILE_AGREE_AFTER), round: round + 1 };
                }
            }
            Phase::Flats { round } => {
                let until = self.flat_unproven_until().filter(|_| round < RECONCILE_FLAT_ROUNDS_MAX);
                self.phase = until.map_or(Phase::Finished, |until| {
                    let left = u64::try_from(until.saturating_sub(now_ms)).unwrap_or(0);
                    let pause = Duration::from_millis(left).clamp(RECONCILE_CONFIRM_AFTER, RECONCILE_FLAT_AFTER);
                    Phase::FlatsAgain { at: now.mono.plus(pause), round }
                });
            }
            Phase::FlatsAgain { round, .. } => {
                self.queue = HOLDINGS.into();
                self.phase = Phase::Flats { round: round + 1 };
            }
            Phase::Finished => {}
        }
    }

    /// Each local order of which `is_wanted` says so, and those that only their client's id can find.
    fn singles(&self, is_wanted: impl Fn(&Plan, &Subject) -> bool) -> VecDeque<Ask> {
        let asks = self.scope.orders.iter().filter_map(|local| match self.subject(local) {
            Some(subject) if !is_wanted(self, &subject) => None,
            Some(Subject::Order { symbol, id }) => Some(Ask::Order { symbol, order_id: id }),
            Some(Subject::Algo { id }) => Some(Ask::AlgoOrder { algo_id: id }),
            None => {
                let client_id = unanswered(local)?.to_owned();
                Some(match local.order.is_algo {
                    true => Ask::AlgoOrderOfClient { client_id },
                    false => Ask::OrderOfClient { symbol: local.symbol.clone(), client_id },
                })
            }
        });
        asks.collect()
    }

    /// Orders that fills or algo orders name and no list has told of.
    fn strangers(&self) -> Vec<Ask> {
        let of_trades = self.trades.values().filter(|trade| trade.time_ms >= self.scope.since_ms);
        let of_trades = of_trades.map(|trade| (trade.symbol.clone(), trade.order_id));
        let of_algos = self.algos_of_interest().filter_map(|algo| Some((algo.symbol.clone(), algo.order_id?)));
        let named: BTreeSet<(String, u64)> = of_trades.chain(of_algos).collect();
        let new = named.into_iter().filter(|name| {
            !self.orders.contains_key(name)
                && !self.unknown.contains_key(&Subject::Order { symbol: name.0.clone(), id: name.1 })
        });
        new.map(|(symbol, order_id)| Ask::Order { symbol, order_id }).collect()
    }

    fn later_fills(&self, symbol: &str, now_ms: i64) -> Ask {
        let known = self.trades.range((symbol.to_owned(), 0)..=(symbol.to_owned(), u64::MAX));
        match known.map(|((_, id), _)| *id).max() {
            Some(last) => {
                Ask::History { of: History::Trades, symbol: symbol.to_owned(), from: From::Id(last.saturating_add(1)) }
            }
            None => Ask::history(History::Trades, symbol, self.scope.since_ms, now_ms),
        }
    }

    /// What must be read again so that an order and its fills agree; `None`: they do.
    fn disagrees(&self, order: &RestOrder, now_ms: i64) -> Option<Ask> {
        let (mine, later): (Vec<_>, Vec<_>) =
            self.fills_of(order).into_iter().partition(|fill| fill.time_ms <= order.updated_ms);
        // A fill of the gap that the order's telling does not know yet; one from after the gap came over the live stream.
        let is_old = later.iter().any(|fill| self.scope.until_ms.is_none_or(|until| fill.time_ms <= until));
        let sum = mine.iter().try_fold(Decimal::zero(), |sum, trade| sum.plus(&trade.quantity));
        let newest = mine.iter().map(|trade| trade.time_ms).max();
        if is_old || sum.as_ref().is_some_and(|sum| *sum > order.executed) {
            return Some(Ask::Order { symbol: order.symbol.clone(), order_id: order.order_id });
        }
        // Fills from before the window are not in the list; the newest is, where it is what last changed the order.
        let is_by_fill = matches!(order.status.as_str(), "FILLED" | "PARTIALLY_FILLED");
        let is_complete = sum.as_ref() == Some(&order.executed);
        let reaches = newest.is_some_and(|newest| newest.saturating_add(1_000) >= order.updated_ms);
        (is_by_fill && !is_complete && !reaches).then(|| self.later_fills(&order.symbol, now_ms))
    }
}

fn last_id(ids: impl Iterator<Item = u64>) -> Option<i64> {
    ids.max().and_then(|id| i64::try_from(id).ok())
}
