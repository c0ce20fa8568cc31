//! Signed reads of one account, answered from its book: paths, parameters, paging and errors of `facts/binance.md` §6.
//!
//! Orders of `allOrders` are asked for by the time of their placement: the venue does not say which time it means, and this
//! one is the harder for a client. From a start or an id on, the oldest come first; otherwise the newest.
//! What the venue adds to its truth is here too ([`ReadRules`]): answers that lag behind a push, algo orders that are
//! unknown for a moment after their placement, orders that have aged out.

mod earlier;
mod income;
mod params;
mod rows;
mod signed;

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use tungstenite::http::{Method, StatusCode};

use crate::domain::Now;
use crate::sim::http::{Request, Response};
use crate::sim::venue::Market;

use super::desk::{self, error};
use super::fault::{AccountFault, ReadFault};
use super::{Account, Accounts};
pub(in crate::sim) use earlier::Earlier;
use params::{Page, Params};

/// What the venue's answers have beside the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRules {
    /// So long after each change, open orders, open algo orders, positions, balances and `algoOrder` show the state before
    /// it.
    pub lag: Duration,
    /// So long after its placement, `algoOrder` says -2013 of an algo order; 1.1 to 1.5 s were measured.
    pub algo_unknown: Duration,
    /// So long after their end, canceled and expired orders without a fill are forgotten; the venue's time is three days.
    pub unfilled_kept: Duration,
}

impl Default for ReadRules {
    fn default() -> Self {
        ReadRules {
            lag: Duration::ZERO,
            algo_unknown: Duration::ZERO,
            unfilled_kept: Duration::from_secs(3 * 24 * 3_600),
        }
    }
}

/// A read that the venue knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Read {
    OpenOrders,
    OpenAlgoOrders,
    Positions,
    Balances,
    Order,
    AlgoOrder,
    AllOrders,
    AllAlgoOrders,
    Trades,
    Income,
}

impl Read {
    /// By its path.
    pub(in crate::sim) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/fapi/v1/openOrders" => Read::OpenOrders,
            "/fapi/v1/openAlgoOrders" => Read::OpenAlgoOrders,
            "/fapi/v3/positionRisk" => Read::Positions,
            "/fapi/v3/balance" => Read::Balances,
            "/fapi/v1/order" => Read::Order,
            "/fapi/v1/algoOrder" => Read::AlgoOrder,
            "/fapi/v1/allOrders" => Read::AllOrders,
            "/fapi/v1/allAlgoOrders" => Read::AllAlgoOrders,
            "/fapi/v1/userTrades" => Read::Trades,
            "/fapi/v1/income" => Read::Income,
            _ => return None,
        })
    }

    /// The last part of its path: the word in ledgers, and by which a fault picks it.
    pub(in crate::sim) const fn as_str(self) -> &'static str {
        match self {
            Read::OpenOrders => "openOrders",
            Read::OpenAlgoOrders => "openAlgoOrders",
            Read::Positions => "positionRisk",
            Read::Balances => "balance",
            Read::Order => "order",
            Read::AlgoOrder => "algoOrder",
            Read::AllOrders => "allOrders",
            Read::AllAlgoOrders => "allAlgoOrders",
            Read::Trades => "userTrades",
            Read::Income => "income",
        }
    }

    /// What it weighs.
    pub(in crate::sim) const fn weight(self, has_symbol: bool) -> u32 {
        match self {
            Read::OpenOrders | Read::OpenAlgoOrders if !has_symbol => 40,
            Read::OpenOrders | Read::OpenAlgoOrders | Read::Order | Read::AlgoOrder => 1,
            Read::Income => 30,
            _ => 5,
        }
    }
}

/// What a client gets of a read.
#[derive(Debug)]
pub(in crate::sim) enum Reply {
    /// An answer, so much later.
    Answer(Response, Duration),
    /// The head and half of the body, then the end of TCP.
    Half(Response),
    /// The end of TCP.
    Reset,
}

/// The answer to one read. `everybody` is a fault that meets all accounts.
pub(in crate::sim) fn respond(
    request: &Request,
    read: Read,
    source: IpAddr,
    accounts: &mut Accounts,
    market: &Market,
    everybody: Option<ReadFault>,
    now: Now,
) -> Reply {
    if *request.method() != Method::GET {
        return Reply::Answer(Response::text(StatusCode::NOT_FOUND, "not found\n"), Duration::ZERO);
    }
    let index = match desk::authenticate(request, source, accounts) {
        Ok(index) => index,
        Err(refused) => {
            if let Some(index) = refused.known {
                accounts.list[index].ledger.count_read(read.as_str(), false);
            }
            return Reply::Answer(refused.response, Duration::ZERO);
        }
    };
    let rules = accounts.config.reads;
    let account = &mut accounts.list[index];
    let own = account.meet(
        |fault| matches!(fault, AccountFault::Read { only, .. } if only.is_none_or(|only| only == read.as_str())),
    );
    let fault = match own {
        Some(AccountFault::Read { fault, .. }) => Some(fault),
        _ => everybody,
    };
    let response = match fault {
        Some(ReadFault::Error { status, code }) => desk::refusal(status, code),
        Some(ReadFault::Garbage) => Response::text(StatusCode::OK, "[{\"orderId\":12,\u{fffd}<<\n"),
        _ => {
            let now_ms = now.wall.as_millis();
            let told = signed::verify(request, &account.credentials.api_secret, now_ms)
                .and_then(|params| answer(read, &params, account, market, &rules, now_ms));
            told.map_or_else(|refusal| refusal.0, |value| Response::json(&value))
        }
    };
    account.ledger.count_read(read.as_str(), response.status.is_success() && fault.is_none_or(ReadFault::is_answered));
    match fault {
        Some(ReadFault::Slow { delay }) => Reply::Answer(response, delay),
        Some(ReadFault::Truncated) => Reply::Half(response),
        Some(ReadFault::Reset) => Reply::Reset,
        _ => Reply::Answer(response, Duration::ZERO),
    }
}

/// An error of the venue.
#[derive(Debug)]
struct Refused(Response);

impl Refused {
    fn new(code: i32, msg: &str) -> Self {
        Refused(error(StatusCode::BAD_REQUEST, code, msg))
    }

    fn unknown_order() -> Self {
        Refused::new(-2013, "Order does not exist.")
    }
}

fn answer(
    read: Read,
    params: &Params,
    account: &Account,
    market: &Market,
    rules: &ReadRules,
    now_ms: i64,
) -> Result<Value, Refused> {
    let book = &account.book;
    let lag_ms = i64::try_from(rules.lag.as_millis()).unwrap_or(i64::MAX);
    // What a late read still shows; `None` where the book is that old.
    let shown = account.earlier.at(now_ms.saturating_sub(lag_ms));
    let known_ms = now_ms.saturating_sub(i64::try_from(rules.unfilled_kept.as_millis()).unwrap_or(i64::MAX));
    let is_kept = |order: &&super::book::OrderTruth| !order.is_unfilled_end() || order.updated_ms > known_ms;
    let symbol = match read {
        Read::AllOrders | Read::AllAlgoOrders | Read::Trades | Read::Order => Some(params.symbol(market)?),
        Read::Balances | Read::AlgoOrder => None,
        _ => params.symbol_if_any(market)?,
    };
    let is_meant = |of: &str| symbol.as_deref().is_none_or(|symbol| symbol == of);
    Ok(match read {
        Read::OpenOrders => {
            let open: Vec<_> =
                shown.map_or_else(|| book.open_orders().collect(), |shown| shown.orders.iter().collect());
            open.into_iter().filter(|order| is_meant(&order.instrument.symbol)).map(rows::order).collect()
        }
        Read::OpenAlgoOrders => {
            let open: Vec<_> =
                shown.map_or_else(|| book.open_algo_orders().collect(), |shown| shown.algo_orders.iter().collect());
            open.into_iter().filter(|algo| is_meant(&algo.instrument.symbol)).map(rows::algo_order).collect()
        }
        Read::Positions => {
            let listed = shown.map_or_else(|| earlier::positions(book), |shown| shown.positions.clone());
            let of = listed.iter().filter(|position| is_meant(&position.instrument.symbol));
            of.map(|position| rows::position(position, market.price(position.instrument.position) as i64)).collect()
        }
        Read::Balances => {
            let balances = shown.map_or_else(|| earlier::balances(book), |shown| shown.balances.clone());
            balances.iter().map(|(asset, held)| rows::balance(account.credentials.index, asset, held)).collect()
        }
        Read::Order => {
            let (id, client_id) = params.one_of("orderId", "origClientOrderId")?;
            let found = match id {
                Some(id) => book.orders.get(&id),
                None => book.orders.values().rev().find(|order| Some(order.client_id.as_str()) == client_id),
            };
            let found = found.filter(is_kept).filter(|order| is_meant(&order.instrument.symbol));
            rows::order(found.ok_or_else(Refused::unknown_order)?)
        }
        Read::AlgoOrder => {
            let (id, client_id) = params.one_of("algoId", "clientAlgoId")?;
            let is_it = |algo: &&super::book::AlgoTruth| match id {
                Some(id) => algo.id == id,
                None => Some(algo.client_id.as_str()) == client_id,
            };
            let still = shown.and_then(|shown| shown.algo_orders.iter().find(is_it));
            let found = still.or_else(|| match id {
                Some(id) => book.algo_orders.get(&id),
                None => book.algo_orders.values().rev().find(is_it),
            });
            let unknown_ms = i64::try_from(rules.algo_unknown.as_millis()).unwrap_or(i64::MAX);
            let found = found.filter(|algo| now_ms >= algo.created_ms.saturating_add(unknown_ms));
            rows::algo_order(found.ok_or_else(Refused::unknown_order)?)
        }
        Read::AllOrders => {
            let page = Page::read(params, "orderId", now_ms)?;
            let of = book.orders.values().filter(is_kept).filter(|order| is_meant(&order.instrument.symbol));
            page.cut(of, |order| order.id, |order| order.created_ms).into_iter().map(rows::listed_order).collect()
        }
        Read::AllAlgoOrders => {
            let page = Page::read(params, "algoId", now_ms)?;
            let of = book.algo_orders.values().filter(|algo| is_meant(&algo.instrument.symbol));
            page.cut(of, |algo| algo.id, |algo| algo.created_ms).into_iter().map(rows::algo_order).collect()
        }
        Read::Trades => {
            let page = Page::read_trades(params, now_ms)?;
            let order_id = params.number("orderId")?;
            let of = book.fills.iter().filter(|fill| is_meant(&fill.instrument.symbol));
            let of = of.filter(|fill| order_id.is_none_or(|id| fill.order_id == id));
            page.cut(of, |fill| fill.trade_id, |fill| fill.time_ms).into_iter().map(rows::trade).collect()
        }
        Read::Income => income::answer(params, book, symbol.as_deref(), now_ms)?,
    })
}
