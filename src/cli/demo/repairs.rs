//! Gaps and what a reconcile made of them, held against the exchange: an arithmetic of its own.
//!
//! Each gap has an outcome. Each recovered event is a truth of the exchange's book, stands in the audit once, is told by no frame
//! that was heard, and lies in a gap. Each fill of the exchange is audited once, heard or recovered.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::report::RepairTimes;
use super::truth::scaled;
use crate::domain::Wall;
use crate::domain::limits::RECONCILE_EDGE;
use crate::domain::order::PositionSide;
use crate::exchange::binance::account_fact::AccountFact;
use crate::exchange::binance::fact::{OrderFact, Subject};
use crate::sim::{AccountBook, AccountLedger, Fill, SimHandle};
use crate::store::sqlite::HeldGap;

/// The exchange's event time `E` is ahead of the moment by this much at most, and behind its `T`.
const CLOCK_SLACK_MS: i64 = 10;

/// How an audit row came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The exchange sent it.
    Heard,
    /// A reconcile found it.
    Recovered,
}

/// What the audit rows of one account say of orders, and of what it holds.
#[derive(Debug, Default)]
pub struct Told {
    heard: Vec<OrderFact>,
    recovered: Vec<(OrderFact, Value)>,
    holdings: Vec<AccountFact>,
    recovered_holdings: Vec<AccountFact>,
    /// Recovered rows that say nothing of either.
    strange: u64,
}

impl Told {
    /// Takes the bytes of an audit row.
    pub fn push(&mut self, raw: &[u8]) -> Origin {
        let fact = OrderFact::read(raw);
        if !raw.ends_with(br#","recovered":true}"#) {
            self.heard.extend(fact);
            self.holdings.extend(AccountFact::read(raw));
            return Origin::Heard;
        }
        match (fact, AccountFact::read(raw), serde_json::from_slice(raw)) {
            (Some(fact), _, Ok(event)) => self.recovered.push((fact, event)),
            (None, Some(holdings), _) => self.recovered_holdings.push(holdings),
            _ => self.strange += 1,
        }
        Origin::Recovered
    }
}

/// What it came to.
#[derive(Debug, Default)]
pub struct RepairReport {
    /// What is wrong, a sentence each.
    pub complaints: Vec<String>,
    /// Gaps of streams.
    pub gaps: u64,
    /// Of these, with an outcome.
    pub repaired: u64,
    /// Audit rows that a reconcile brought.
    pub recovered: u64,
    /// Fills that the exchange's books hold.
    pub fills: u64,
    /// Of these, recovered.
    pub fills_recovered: u64,
    /// From the last moment of surely listening to the outcome.
    pub break_to_repair_ms: RepairTimes,
    /// Accounts with a gap that has no outcome, by their rows.
    pub open: HashSet<u64>,
}

/// Holds gaps and audit rows against the exchange; `rows` by the exchange's index.
pub fn judge(sim: &SimHandle, rows: &[u64], gaps: &[HeldGap], told: &BTreeMap<u64, Told>) -> RepairReport {
    let (none, mut report) = (Told::default(), RepairReport::default());
    for gap in gaps.iter().filter(|gap| gap.outcome.is_none()) {
        report.open.insert(gap.account_id.unsigned_abs());
        report.complaints.push(format!("{} is not repaired{}", name(gap), noted(gap)));
    }
    report.gaps = gaps.len() as u64;
    report.repaired = gaps.iter().filter(|gap| gap.outcome.is_some()).count() as u64;
    let mut times: Vec<u64> = gaps.iter().filter_map(break_to_repair_ms).collect();
    times.sort_unstable();
    report.break_to_repair_ms =
        RepairTimes { p50: times.get(times.len() / 2).copied().unwrap_or(0), max: times.last().copied().unwrap_or(0) };
    for (index, row) in rows.iter().enumerate() {
        let mine: Vec<&HeldGap> = gaps.iter().filter(|gap| gap.account_id.unsigned_abs() == *row).collect();
        let account = Account {
            row: *row,
            book: sim.account_book(index),
            ledger: sim.account_ledger(index),
            gaps: &mine,
            told: told.get(row).unwrap_or(&none),
        };
        account.judge(&mut report);
    }
    report
}

/// One account on both sides.
struct Account<'a> {
    row: u64,
    book: AccountBook,
    ledger: AccountLedger,
    gaps: &'a [&'a HeldGap],
    told: &'a Told,
}

impl Account<'_> {
    fn judge(&self, report: &mut RepairReport) {
        let Told { heard, recovered, recovered_holdings, strange, .. } = self.told;
        report.recovered += (recovered.len() + recovered_holdings.len()) as u64 + strange;
        if *strange > 0 {
            report.complaints.push(format!("account {}: {strange} recovered events are of nothing", self.row));
        }
        self.judge_holdings(report);
        let mut by_subject: HashMap<&Subject, Vec<&OrderFact>> = HashMap::new();
        heard.iter().for_each(|fact| by_subject.entry(&fact.subject).or_default().push(fact));
        for (fact, event) in recovered {
            let others = by_subject.entry(&fact.subject).or_default();
            // An order that is moved and moved back says the same at two times; a fill is one, whatever its time.
            let is_twin =
                |other: &&OrderFact| fact.is_told_by(other) && (fact.trade.is_some() || fact.time_ms == other.time_ms);
            let why = if others.iter().any(is_twin) {
                Some("stands in the audit already".to_owned())
            } else if !self.is_in_gap(fact.time_ms) {
                Some("lies in no gap".to_owned())
            } else {
                self.untruth(fact, event)
            };
            if let Some(why) = why {
                let id = fact.subject.exchange_order_id();
                report.complaints.push(format!(
                    "account {}: the recovered {} of order {id} at {} {why}",
                    self.row,
                    fact.status,
                    Wall::from_millis(fact.time_ms)
                ));
            }
            others.push(fact);
        }
        self.judge_fills(report);
    }

    /// Each recovered telling of positions and balances lies in a gap, was an event of the exchange's at that time, and says
    /// what no frame and no other recovered event says; where it is of a position's last change, it says what is held.
    fn judge_holdings(&self, report: &mut RepairReport) {
        let all = &self.told.recovered_holdings;
        for (at, told) in all.iter().enumerate() {
            let is_twin = |other: &AccountFact| {
                let has = |held| other.positions.contains(held);
                other.time_ms == told.time_ms && !told.positions.is_empty() && told.positions.iter().all(has)
            };
            let why = if self.told.holdings.iter().chain(&all[..at]).any(is_twin) {
                Some("stands in the audit already".to_owned())
            } else if !self.is_in_gap(told.time_ms) {
                Some("lies in no gap".to_owned())
            } else if !self.was_sent(|frame| frame.event == "ACCOUNT_UPDATE", told.time_ms) {
                Some("is of nothing that happened then".to_owned())
            } else {
                self.untrue_position(told)
            };
            if let Some(why) = why {
                let at = Wall::from_millis(told.time_ms);
                report.complaints.push(format!("account {}: the recovered ACCOUNT_UPDATE of {at} {why}", self.row));
            }
        }
    }

    fn untrue_position(&self, told: &AccountFact) -> Option<String> {
        told.positions.iter().find_map(|held| {
            let mut positions = self.book.positions.values();
            let truth = positions.find(|truth| {
                *truth.instrument.symbol == *held.symbol
                    && PositionSide::of_word(truth.position_side) == Some(held.side)
            });
            match truth {
                None => Some(format!("is of a position in {} that never was", held.symbol)),
                Some(truth)
                    if truth.updated_ms == told.time_ms && !same(held.quantity.as_str(), &truth.amount_text()) =>
                {
                    Some(format!(
                        "says that {} of {} are held, but {} are",
                        held.quantity,
                        held.symbol,
                        truth.amount_text()
                    ))
                }
                Some(_) => None,
            }
        })
    }

    fn judge_fills(&self, report: &mut RepairReport) {
        let mut times: HashMap<(&str, u64), u64> = HashMap::new();
        let recovered: BTreeSet<_> = self.told.recovered.iter().filter_map(|(fact, _)| fill_of(fact)).collect();
        let facts = self.told.heard.iter().chain(self.told.recovered.iter().map(|(fact, _)| fact));
        facts.filter_map(fill_of).for_each(|fill| *times.entry(fill).or_default() += 1);
        for fill in &self.book.fills {
            let key = (&*fill.instrument.symbol, fill.trade_id);
            report.fills += 1;
            report.fills_recovered += u64::from(recovered.contains(&key));
            let count = times.remove(&key).unwrap_or(0);
            if count != 1 {
                report.complaints.push(format!(
                    "account {}: fill {} of order {} at {} is audited {count} times",
                    self.row,
                    fill.trade_id,
                    fill.order_id,
                    Wall::from_millis(fill.time_ms)
                ));
            }
        }
        // What the exchange has forgotten in a long run was true once.
        if self.book.forgotten == 0
            && let Some((symbol, trade)) = times.keys().min()
        {
            let text = format!("account {}: {} fills never were, the first: {symbol} {trade}", self.row, times.len());
            report.complaints.push(text);
        }
    }

    fn is_in_gap(&self, at_ms: i64) -> bool {
        let edge = i64::try_from(RECONCILE_EDGE.as_millis()).unwrap_or(i64::MAX) + CLOCK_SLACK_MS;
        self.gaps.iter().any(|gap| {
            gap.started_at.is_none_or(|start| start.as_millis() - CLOCK_SLACK_MS <= at_ms)
                && at_ms <= gap.ended_at.as_millis() + edge
        })
    }

    /// Why the exchange's book says otherwise; `None`: it says the same.
    fn untruth(&self, fact: &OrderFact, event: &Value) -> Option<String> {
        let said = |key: &str| event["o"][key].as_str().unwrap_or_default();
        match (&fact.subject, fact.trade) {
            (Subject::Order { symbol, .. }, Some(trade)) => {
                let is_it = |fill: &&Fill| fill.trade_id == trade && *fill.instrument.symbol == **symbol;
                match self.book.fills.iter().find(is_it) {
                    Some(fill) => differing_fill(fill, fact, event),
                    None => (self.book.forgotten == 0).then(|| format!("is fill {trade}, which never was")),
                }
            }
            (Subject::Order { symbol, id }, None) => {
                let order = self.book.orders.get(id).filter(|order| *order.instrument.symbol == **symbol);
                let Some(order) = order else { return self.unknown() };
                let is_same = order.status == fact.status
                    && same(said("z"), &order.filled_text())
                    && same(said("p"), &order.price_text())
                    && same(said("q"), &order.quantity_text())
                    && order.updated_ms == fact.time_ms;
                let is_ours =
                    order.client_id == said("c") && order.side == said("S") && order.position_side == said("ps");
                // An order that works may be moved, and have another price and quantity later.
                let was = || {
                    matches!(&*fact.status, "NEW" | "PARTIALLY_FILLED")
                        && fact.time_ms <= order.updated_ms
                        && self.was_sent(|frame| frame.order_id == *id, fact.time_ms)
                };
                (!is_ours || !(is_same || was())).then(|| format!("is {} at the exchange", order.status))
            }
            (Subject::Algo { id }, _) => {
                let Some(algo) = self.book.algo_orders.get(id) else { return self.unknown() };
                let is_same = algo.status == fact.status && algo.updated_ms == fact.time_ms;
                let is_ours = algo.client_id == said("caid")
                    && algo.side == said("S")
                    && same(said("q"), &algo.quantity_text())
                    && same(said("tp"), &algo.trigger_text());
                let was = || {
                    matches!(&*fact.status, "NEW" | "TRIGGERING" | "TRIGGERED")
                        && fact.time_ms <= algo.updated_ms
                        && self.was_sent(|frame| frame.algo_id == *id, fact.time_ms)
                };
                (!is_ours || !(is_same || was())).then(|| format!("is {} at the exchange", algo.status))
            }
        }
    }

    fn unknown(&self) -> Option<String> {
        (self.book.forgotten == 0).then(|| "is of an order that never was".to_owned())
    }

    /// Whether the exchange had such a frame at that time, heard or not.
    fn was_sent(&self, is_about: impl Fn(&crate::sim::FrameEntry) -> bool, at_ms: i64) -> bool {
        let is_then = |event_ms: i64| (0..=CLOCK_SLACK_MS).contains(&(event_ms - at_ms));
        self.ledger.frames.iter().any(|frame| is_about(frame) && is_then(frame.event_ms))
    }
}

fn fill_of(fact: &OrderFact) -> Option<(&str, u64)> {
    match &fact.subject {
        Subject::Order { symbol, .. } => Some((symbol, fact.trade?)),
        Subject::Algo { .. } => None,
    }
}

fn differing_fill(fill: &Fill, fact: &OrderFact, event: &Value) -> Option<String> {
    let said = |key: &str| event["o"][key].as_str().unwrap_or_default();
    let is_order = event["o"]["i"].as_u64() == Some(fill.order_id);
    let differences = [
        ("order", is_order),
        ("time", fact.time_ms == fill.time_ms),
        ("side", said("S") == fill.side && said("ps") == fill.position_side),
        ("price", same(said("L"), &fill.price_text())),
        ("quantity", same(said("l"), &fill.quantity_text())),
        ("commission", same(said("n"), &fill.commission_text()) && said("N") == fill.commission_asset),
        ("maker", event["o"]["m"].as_bool() == Some(fill.is_maker)),
    ];
    let (what, _) = differences.into_iter().find(|(_, is_same)| !is_same)?;
    Some(format!("tells another {what} than fill {} had", fill.trade_id))
}

/// Whether two texts are one number; the sign counts as text.
fn same(one: &str, other: &str) -> bool {
    let (one, is_negative) = one.strip_prefix('-').map_or((one, false), |rest| (rest, true));
    let (other, is_negative_too) = other.strip_prefix('-').map_or((other, false), |rest| (rest, true));
    is_negative == is_negative_too && scaled(one).is_some() && scaled(one) == scaled(other)
}

/// A gap in words: whose, from when to when, and why.
pub fn name(gap: &HeldGap) -> String {
    let (account, until, reason) = (gap.account_id, gap.ended_at, &gap.reason);
    match gap.started_at {
        Some(since) => {
            let seconds = (until.as_micros() - since.as_micros()) as f64 / 1e6;
            format!("the gap of account {account} from {since} to {until} ({seconds:.1} s, {reason})")
        }
        None => format!("the gap of account {account} from the beginning to {until} ({reason})"),
    }
}

fn noted(gap: &HeldGap) -> String {
    if gap.note.is_empty() { String::new() } else { format!(": {}", gap.note) }
}

/// `None` where there was no break, or is no outcome.
pub fn break_to_repair_ms(gap: &HeldGap) -> Option<u64> {
    let (since, repaired) = (gap.started_at?, gap.reconciled_at?);
    u64::try_from(repaired.as_millis() - since.as_millis()).ok()
}

#[cfg(test)]
mod tests;
