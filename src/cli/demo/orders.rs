//! The application's orders held against the exchange's books, and intents against both: an arithmetic of its own, so that
//! the worker's rules are not their own judge.
//!
//! An order is compared where the worker has heard its last frame, or every gap of its account is repaired. The others have lost
//! it in an open gap, which [`hold_against`](super::accounts::hold_against) sees to; they are counted.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::truth::scaled;
use crate::sim::{AccountBook, AccountLedger, AlgoTruth, OrderTruth, SimHandle};
use crate::store::sqlite::{HeldIntent, HeldOrder};

/// What the production list lets change an order (facts/incumbent.md §4.3).
pub const ALLOWLIST: [&str; 8] =
    ["TRADE", "AMENDMENT", "CANCELED", "EXPIRED", "ALGO_NEW", "ALGO_CANCELED", "ALGO_EXPIRED", "ALGO_FILLED"];

/// Statuses in which an order is over without having been filled.
const LOST: [&str; 3] = ["CANCELLED", "EXPIRED", "REJECTED"];

/// How orders and intents compare.
#[derive(Clone, Debug, Default)]
pub struct OrderReport {
    /// Orders that differ: a sentence each.
    pub wrong: Vec<String>,
    /// Orders compared, and equal.
    pub checked: u64,
    /// Of those: algo orders.
    pub algo: u64,
    /// Orders compared, and equal, though nobody has heard their last frame.
    pub repaired: u64,
    /// Orders whose last frame lies in a gap that is open: not compared.
    pub in_gaps: u64,
    /// Orders of other people at the exchange.
    pub foreign: u64,
    /// Intents that do not follow: a sentence each.
    pub wrong_intents: Vec<String>,
    /// Intents, by workflow.
    pub intents: BTreeMap<String, u64>,
    /// Orders whose end calls for a workflow, and has one.
    pub answered: u64,
}

impl OrderReport {
    /// All intents.
    pub fn intents_total(&self) -> u64 {
        self.intents.values().sum()
    }
}

/// Everything that is compared.
pub struct Evidence<'a> {
    /// The exchange.
    pub sim: &'a SimHandle,
    /// Database rows of its accounts, by its index.
    pub rows: &'a [u64],
    /// Orders that the application has placed, by its own count.
    pub placed: u64,
    /// What its table holds.
    pub orders: &'a [HeldOrder],
    /// Intents in the database.
    pub intents: &'a [HeldIntent],
    /// Hashes of the frames that are audited, by the account's row.
    pub audited: &'a HashMap<u64, HashSet<u128>>,
    /// Accounts that have an open gap, by their rows.
    pub open_gaps: &'a HashSet<u64>,
}

/// An order of the application beside its truth.
struct Pair<'a> {
    held: &'a HeldOrder,
    end: End,
    /// The worker has heard all that matters, or a reconcile has told it.
    is_told: bool,
    is_heard: bool,
}

/// What a row has to hold.
struct End {
    status: &'static str,
    /// Text of the price; `None`: the one that it was placed at.
    price: Option<String>,
    /// Filled in part at least.
    is_filled: bool,
    /// The price that it works at is not the one that it was placed at.
    is_amended: bool,
}

/// Holds orders and intents against the exchange.
pub fn judge(evidence: &Evidence<'_>) -> OrderReport {
    let mut report = OrderReport::default();
    let books: Vec<_> = evidence.rows.iter().enumerate().map(|(at, _)| evidence.sim.account_book(at)).collect();
    let ledgers: Vec<_> = evidence.rows.iter().enumerate().map(|(at, _)| evidence.sim.account_ledger(at)).collect();
    let newest: Vec<_> = ledgers.iter().map(newest_frames).collect();
    let mut pairs = Vec::new();
    for held in evidence.orders {
        let index = evidence.rows.iter().position(|row| i64::try_from(*row) == Ok(held.account_id));
        let Some(index) = index else {
            report
                .wrong
                .push(format!("order {} is of an account that the exchange does not know", held.client_order_id));
            continue;
        };
        let (id, end) = truth_of(held, &books[index]);
        let last = id.and_then(|id| newest[index].get(&(held.is_algo, id)));
        let audited = evidence.audited.get(&evidence.rows[index]);
        let is_heard = last.is_none_or(|hash| audited.is_some_and(|audited| audited.contains(hash)));
        let is_told = is_heard || !evidence.open_gaps.contains(&evidence.rows[index]);
        let pair = Pair { held, end, is_told, is_heard };
        compare(&pair, id, &mut report);
        pairs.push(pair);
    }
    if evidence.orders.len() as u64 != evidence.placed {
        let text = format!("{} orders are in the table, {} were placed", evidence.orders.len(), evidence.placed);
        report.wrong.push(text);
    }
    let own: HashSet<&str> = evidence.orders.iter().map(|order| order.client_order_id.as_str()).collect();
    let of_others = |order: &&OrderTruth| order.algo_id.is_none() && !own.contains(order.client_id.as_str());
    report.foreign = books.iter().map(|book| book.orders.values().filter(of_others).count() as u64).sum();
    judge_intents(evidence.intents, &pairs, &mut report);
    report
}

/// The application's orders that ended between these moments, ms since 1970; and of these, how many have their status.
pub fn ended_within(book: &AccountBook, held: &[HeldOrder], (from_ms, to_ms): (i64, i64)) -> (u64, u64) {
    let ended = held.iter().filter(|held| !held.is_algo).filter_map(|held| {
        let order =
            book.orders.values().find(|order| order.algo_id.is_none() && order.client_id == held.client_order_id)?;
        let is_ended = !order.is_open() && (from_ms..=to_ms).contains(&order.updated_ms);
        is_ended.then(|| order_end(order, held).status == held.status)
    });
    ended.fold((0, 0), |(ended, right), is_right| (ended + 1, right + u64::from(is_right)))
}

/// The hash of the newest frame that tells of each order: of an algo order its own events count, not its real order's.
fn newest_frames(ledger: &AccountLedger) -> HashMap<(bool, u64), u128> {
    let mut newest = HashMap::new();
    for frame in &ledger.frames {
        match frame.event {
            "ORDER_TRADE_UPDATE" => newest.insert((false, frame.order_id), frame.hash),
            "ALGO_UPDATE" => newest.insert((true, frame.algo_id), frame.hash),
            _ => None,
        };
    }
    newest
}

/// The exchange's id, and what the row has to hold. An order that waited for its turn when the exchange stopped has no id.
fn truth_of(held: &HeldOrder, book: &AccountBook) -> (Option<u64>, End) {
    let client_id = &held.client_order_id;
    if held.is_algo {
        let algo = book.algo_orders.values().find(|algo| algo.client_id == *client_id);
        return (algo.map(|algo| algo.id), algo.map_or_else(unplaced, algo_end));
    }
    let order = book.orders.values().find(|order| order.algo_id.is_none() && order.client_id == *client_id);
    (order.map(|order| order.id), order.map_or_else(unplaced, |order| order_end(order, held)))
}

fn unplaced() -> End {
    End { status: "NEW", price: None, is_filled: false, is_amended: false }
}

fn order_end(truth: &OrderTruth, held: &HeldOrder) -> End {
    let status = match truth.status {
        "CANCELED" => "CANCELLED",
        "EXPIRED_IN_MATCH" => "EXPIRED",
        same => same,
    };
    let positive = |text: String| scaled(&text).is_some_and(|units| units > 0).then_some(text);
    let stated = positive(truth.price_text());
    let is_amended = stated.is_some() && stated.as_deref().map(scaled) != held.prices.1.as_deref().map(scaled);
    let price = if truth.is_open() { stated } else { positive(truth.average_text()).or(stated) };
    End { status, price, is_filled: positive(truth.filled_text()).is_some(), is_amended }
}

/// Under the production list an algo order's row follows NEW, CANCELED, EXPIRED, and FINISHED with something executed.
fn algo_end(truth: &AlgoTruth) -> End {
    let executed = scaled(&truth.executed_text()).unwrap_or(0);
    let status = match truth.status {
        "CANCELED" => "CANCELLED",
        "EXPIRED" => "EXPIRED",
        "FINISHED" if Some(executed) == scaled(&truth.quantity_text()) => "FILLED",
        "FINISHED" if executed > 0 => "PARTIALLY_FILLED",
        _ => "NEW",
    };
    End { status, price: Some(truth.trigger_text()), is_filled: executed > 0, is_amended: false }
}

fn compare(pair: &Pair<'_>, id: Option<u64>, report: &mut OrderReport) {
    let Pair { held, end, is_told, is_heard } = pair;
    let mut wrong = |text: String| report.wrong.push(format!("{} {} {text}", held.kind, held.client_order_id));
    let units = |text: &Option<String>| text.as_deref().and_then(scaled);
    // Nothing from a stream touches these, whatever was missed.
    if units(&held.quantities.0).is_none() || held.quantities.0 != held.quantities.1 {
        return wrong(format!("was placed with quantity {:?} and holds {:?}", held.quantities.1, held.quantities.0));
    }
    if let (Some(id), Some(told)) = (id, &held.exchange_order_id)
        && *told != id.to_string()
    {
        return wrong(format!("holds the exchange's id {told}, which is {id}"));
    }
    if !is_told {
        report.in_gaps += 1;
        return;
    }
    if held.status != end.status {
        return wrong(format!("is {} here and {} at the exchange", held.status, end.status));
    }
    let expected = end.price.as_deref().map_or_else(|| units(&held.prices.1), scaled);
    if expected.is_none() || units(&held.prices.0) != expected {
        let price = end.price.as_deref().unwrap_or("what it was placed at");
        return wrong(format!("({}) holds price {:?}, the exchange's is {price}", held.status, held.prices.0));
    }
    report.checked += 1;
    report.repaired += u64::from(!is_heard);
    report.algo += u64::from(held.is_algo);
}

/// Each intent has a cause, no workflow runs twice at a time, and what calls for a workflow has one.
fn judge_intents(intents: &[HeldIntent], pairs: &[Pair<'_>], report: &mut OrderReport) {
    let by_id: HashMap<i64, &Pair<'_>> = pairs.iter().map(|pair| (pair.held.id, pair)).collect();
    let mut newest: HashMap<&str, &HeldIntent> = HashMap::new();
    let mut dedupes = HashSet::new();
    for intent in intents {
        *report.intents.entry(intent.name.clone()).or_default() += 1;
        if !dedupes.insert(intent.dedupe.as_str()) {
            report.wrong_intents.push(format!("intent {}: a second {} of one event", intent.id, intent.name));
        }
        if let Some(before) = newest.insert(&intent.live_key, intent)
            && before.finished_at.as_ref().is_none_or(|finished| *finished > intent.created_at)
        {
            let text = format!("intent {}: {} while intent {} lived", intent.id, intent.live_key, before.id);
            report.wrong_intents.push(text);
        }
        if let Some(text) = causeless(intent, &by_id, pairs) {
            report
                .wrong_intents
                .push(format!("intent {} ({}) of position {} {text}", intent.id, intent.name, intent.position_id));
        }
    }
    let started: HashSet<(&str, i64)> =
        intents.iter().map(|intent| (intent.name.as_str(), intent.position_id)).collect();
    let closed: HashSet<i64> =
        pairs.iter().filter(|pair| pair.held.position_status != "active").map(|pair| pair.held.position_id).collect();
    for pair in pairs.iter().filter(|pair| pair.is_told) {
        let Some(workflow) = called_for(pair) else { continue };
        if started.contains(&(workflow, pair.held.position_id)) {
            report.answered += 1;
        } else if !closed.contains(&pair.held.position_id) {
            // What happens to a position that is closing or closed starts nothing.
            let Pair { held, .. } = pair;
            report.wrong_intents.push(format!(
                "{} {} ended {}, and no {workflow} was started for position {}",
                held.kind, held.client_order_id, held.status, held.position_id
            ));
        }
    }
}

/// The workflow that an order's end calls for (facts/incumbent.md §5).
fn called_for(pair: &Pair<'_>) -> Option<&'static str> {
    let held = pair.held;
    let is_lost = LOST.contains(&pair.end.status) && held.reference_status.as_deref() != Some(pair.end.status);
    match (held.kind.as_str(), pair.end.status) {
        ("PROFIT-LIMIT" | "STOP-MARKET", "FILLED") => Some("ClosePositionJob"),
        ("LIMIT", "FILLED") => Some("ApplyWapJob"),
        ("PROFIT-LIMIT" | "STOP-MARKET" | "LIMIT", _) if is_lost => Some("PreparePositionReplacementJob"),
        _ => None,
    }
}

/// Why the exchange's truth calls for no such intent; `None`: it does.
fn causeless(intent: &HeldIntent, by_id: &HashMap<i64, &Pair<'_>>, pairs: &[Pair<'_>]) -> Option<String> {
    let of_position =
        |kind: &str| pairs.iter().any(|pair| pair.held.position_id == intent.position_id && pair.held.kind == kind);
    let Some(order_id) = intent.order_id else {
        return match intent.name.as_str() {
            "CancelPositionOpenOrdersJob" if of_position("LIMIT") => None,
            "PreparePositionReplacementJob" if intent.arguments.contains("\"manualCloseDetected\":true") => None,
            _ => Some("has no order as its cause".to_owned()),
        };
    };
    let Some(Pair { held, end, .. }) = by_id.get(&order_id) else {
        return Some(format!("has order {order_id} as its cause, which is not there"));
    };
    let is_close = matches!(held.kind.as_str(), "PROFIT-LIMIT" | "STOP-MARKET");
    let follows = match intent.name.as_str() {
        "ClosePositionJob" => is_close && end.status == "FILLED",
        "BlockExchangeSymbolJob" => held.kind == "STOP-MARKET" && end.status == "FILLED",
        "ApplyWapJob" => held.kind == "LIMIT" && end.status == "FILLED",
        "PreparePositionReplacementJob" => LOST.contains(&end.status) && (is_close || held.kind == "LIMIT"),
        "SyncPositionQuantityFromExchangeJob" => end.is_filled && (is_close || held.kind == "LIMIT"),
        "PrepareOrderCorrectionJob" => end.is_amended,
        _ => false,
    };
    let is_intended = end.status == "CANCELLED" && held.reference_status.as_deref() == Some("CANCELLED");
    if follows && !(is_intended && intent.name == "PreparePositionReplacementJob") {
        return None;
    }
    Some(format!("has {} {} as its cause, which is {}", held.kind, held.client_order_id, end.status))
}

#[cfg(test)]
mod tests;
