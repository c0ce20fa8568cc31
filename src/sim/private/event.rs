//! Events of the user-data stream as the venue writes them: members, their order and their types are those of
//! `facts/binance.md` §4 and of the frames recorded there.

use std::fmt::Write as _;

use super::book::{AlgoTruth, Fill, OrderTruth, PositionTruth};
use super::decimal::{Padded, Spare, Trimmed, mul};

/// One event, before any wrapper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Event {
    /// `e`.
    pub(in crate::sim) name: &'static str,
    pub(in crate::sim) text: String,
    /// `E`.
    pub(in crate::sim) event_ms: i64,
    /// The real order it is about; 0 for none.
    pub(in crate::sim) order_id: u64,
    /// The algo order it is about; 0 for none.
    pub(in crate::sim) algo_id: u64,
}

/// `T` and `E`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Times {
    pub(in crate::sim) transaction_ms: i64,
    pub(in crate::sim) event_ms: i64,
}

/// What an ORDER_TRADE_UPDATE says beside the order itself.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::sim) struct Execution<'a> {
    /// `x`.
    pub(in crate::sim) kind: &'static str,
    pub(in crate::sim) fill: Option<&'a Fill>,
    /// `M`.
    pub(in crate::sim) modify_id: Option<&'a str>,
    /// `n` and `N` are left out.
    pub(in crate::sim) without_commission: bool,
    /// `er`.
    pub(in crate::sim) expire_reason: u8,
}

fn open(name: &str, times: Times) -> String {
    let mut text = String::with_capacity(640);
    let _ = write!(text, r#"{{"e":"{name}","T":{},"E":{}"#, times.transaction_ms, times.event_ms);
    text
}

pub(in crate::sim) fn order_trade_update(order: &OrderTruth, execution: Execution<'_>, times: Times) -> Event {
    let i = &order.instrument;
    let (price_places, quantity_places) = (i.price_places, i.quantity_places);
    let fill = execution.fill;
    let mut text = open("ORDER_TRADE_UPDATE", times);
    let _ = write!(
        text,
        r#","o":{{"s":"{}","c":"{}","S":"{}","o":"{}","f":"{}","q":"{}","p":"{}","ap":"{}","sp":"{}","x":"{}","X":"{}","i":{}"#,
        i.symbol,
        order.client_id,
        order.side,
        order.kind,
        order.time_in_force,
        order.quantity_text(),
        order.price_text(),
        order.average_text(),
        Spare(order.stop, price_places),
        execution.kind,
        order.status,
        order.id,
    );
    if let Some(id) = execution.modify_id {
        let _ = write!(text, r#","M":"{id}""#);
    }
    let _ = write!(
        text,
        r#","l":"{}","z":"{}","L":"{}""#,
        Spare(fill.map_or(0, |fill| fill.quantity), quantity_places),
        order.filled_text(),
        Spare(fill.map_or(0, |fill| fill.price), price_places),
    );
    if !execution.without_commission {
        let asset = fill.map_or("USDT", |fill| fill.commission_asset);
        let _ = write!(text, r#","n":"{}","N":"{asset}""#, Spare(fill.map_or(0, |fill| fill.commission), 8));
    }
    let notional = if order.is_open() { mul(order.rest(), order.price) } else { 0 };
    let notional = Spare(notional, price_places + quantity_places);
    let zero = Spare(0, 0);
    let (bids, asks) = if order.side == "BUY" { (notional, zero) } else { (zero, notional) };
    let _ = write!(
        text,
        r#","T":{},"t":{},"b":"{bids}","a":"{asks}","m":{},"R":{},"wt":"{}","ot":"{}","ps":"{}","cp":false"#,
        times.transaction_ms,
        fill.map_or(0, |fill| fill.trade_id),
        fill.is_some_and(|fill| fill.is_maker),
        order.reduce_only,
        order.working_kind,
        order.original_kind,
        order.position_side,
    );
    if let Some((activation, rate)) = order.trailing {
        let _ = write!(text, r#","AP":"{}","cr":"{}""#, Padded(activation, 1), Trimmed(rate));
    }
    let self_trade = if order.client_id.contains("autoclose") { "NONE" } else { "EXPIRE_MAKER" };
    let _ = write!(
        text,
        r#","rp":"{}","pP":false,"si":0,"ss":0,"V":"{self_trade}","pm":"NONE","gtd":{},"er":"{}"}}}}"#,
        Spare(fill.map_or(0, |fill| fill.realized), 8),
        order.good_till_ms,
        execution.expire_reason,
    );
    Event {
        name: "ORDER_TRADE_UPDATE",
        text,
        event_ms: times.event_ms,
        order_id: order.id,
        algo_id: order.algo_id.unwrap_or(0),
    }
}

pub(in crate::sim) fn trade_lite(order: &OrderTruth, fill: &Fill, times: Times) -> Event {
    let text = format!(
        r#"{{"e":"TRADE_LITE","E":{},"T":{},"s":"{}","q":"{}","p":"{}","m":{},"c":"{}","S":"{}","L":"{}","l":"{}","t":{},"i":{}}}"#,
        times.event_ms,
        times.transaction_ms,
        order.instrument.symbol,
        order.quantity_text(),
        Padded(order.price, order.instrument.price_places),
        fill.is_maker,
        order.client_id,
        order.side,
        fill.price_text(),
        fill.quantity_text(),
        fill.trade_id,
        order.id,
    );
    Event {
        name: "TRADE_LITE",
        text,
        event_ms: times.event_ms,
        order_id: order.id,
        algo_id: order.algo_id.unwrap_or(0),
    }
}

/// What an ACCOUNT_UPDATE says beside positions.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct BalanceChange<'a> {
    /// `m`.
    pub(in crate::sim) reason: &'static str,
    /// Asset, wallet, and change by something else than trading.
    pub(in crate::sim) balances: &'a [(&'static str, i64, i64)],
    /// `S` of a funding fee.
    pub(in crate::sim) symbol: Option<&'a str>,
    /// As captures before 2026 have it: without `ma` and `bep`.
    pub(in crate::sim) old_shape: bool,
}

/// A position and the price at which it is valued.
pub(in crate::sim) type Valued<'a> = (&'a PositionTruth, i64);

pub(in crate::sim) fn account_update(change: BalanceChange<'_>, positions: &[Valued<'_>], times: Times) -> Event {
    let mut text = open("ACCOUNT_UPDATE", times);
    text.push_str(r#","a":{"B":["#);
    for (at, (asset, wallet, by)) in change.balances.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let wallet = Padded(*wallet, 8);
        // Funding shows its eight places, a transfer none.
        let places = if change.reason == "FUNDING_FEE" { 8 } else { 0 };
        let _ =
            write!(text, r#"{comma}{{"a":"{asset}","wb":"{wallet}","cw":"{wallet}","bc":"{}"}}"#, Spare(*by, places));
    }
    text.push_str(r#"],"P":["#);
    for (at, (position, mark)) in positions.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let unrealized = mul(position.amount, mark - position.entry);
        let _ = write!(
            text,
            r#"{comma}{{"s":"{}","pa":"{}","ep":"{}","cr":"{}","up":"{}","mt":"{}","iw":"{}","ps":"{}""#,
            position.instrument.symbol,
            position.amount_text(),
            position.entry_text(),
            Spare(position.realized, 8),
            Spare(if position.amount == 0 { 0 } else { unrealized }, 8),
            if position.is_isolated { "isolated" } else { "cross" },
            Spare(if position.amount == 0 { 0 } else { position.wallet }, 8),
            position.position_side,
        );
        if !change.old_shape {
            let even = position.entry + position.entry / 5_000 * position.amount.signum();
            let _ = write!(text, r#","ma":"USDT","bep":"{}""#, Trimmed(even));
        }
        text.push('}');
    }
    let _ = write!(text, r#"],"m":"{}""#, change.reason);
    if let Some(symbol) = change.symbol {
        let _ = write!(text, r#","S":"{symbol}""#);
    }
    text.push_str("}}");
    Event { name: "ACCOUNT_UPDATE", text, event_ms: times.event_ms, order_id: 0, algo_id: 0 }
}

/// `rm` for an algo order that ends badly.
pub(in crate::sim) fn algo_update(algo: &AlgoTruth, reason: Option<&str>, without_ia: bool, times: Times) -> Event {
    let i = &algo.instrument;
    let mut text = open("ALGO_UPDATE", times);
    let real = algo.order_id.map(|id| id.to_string()).unwrap_or_default();
    let tif = if algo.status == "EXPIRED" { "GTE_GTC" } else { "GTC" };
    let _ = write!(
        text,
        r#","o":{{"caid":"{}","aid":{},"at":"CONDITIONAL","o":"{}","s":"{}","S":"{}","ps":"{}","f":"{tif}","q":"{}","X":"{}","ai":"{real}""#,
        algo.client_id,
        algo.id,
        algo.kind,
        i.symbol,
        algo.side,
        algo.position_side,
        algo.quantity_text(),
        algo.status,
    );
    match algo.status {
        "TRIGGERED" => text.push_str(r#","ap":"0.00000","aq":"0.00000","act":"MARKET""#),
        "REJECTED" => text.push_str(r#","ap":"0.00000","aq":"0.00000","act":"0""#),
        "FINISHED" => {
            let executed = Padded(algo.executed, if algo.executed == 0 { 5 } else { i.quantity_places });
            let _ = write!(text, r#","ap":"{}","aq":"{executed}","act":"MARKET""#, Padded(algo.average, 5));
        }
        _ => {}
    }
    let _ = write!(
        text,
        r#","tp":"{}","p":"0","V":"EXPIRE_MAKER","wt":"{}","pm":"NONE","cp":{},"pP":false,"R":true,"tt":{},"gtd":0"#,
        algo.trigger_text(),
        if algo.kind == "TRAILING_STOP_MARKET" { "CONTRACT_PRICE" } else { "MARK_PRICE" },
        algo.status == "EXPIRED",
        algo.triggered_ms,
    );
    if let Some(reason) = reason {
        let _ = write!(text, r#","rm":"{reason}""#);
    }
    if !without_ia {
        let _ = write!(text, r#","ia":{}"#, algo.is_activated);
    }
    text.push_str("}}");
    Event {
        name: "ALGO_UPDATE",
        text,
        event_ms: times.event_ms,
        order_id: algo.order_id.unwrap_or(0),
        algo_id: algo.id,
    }
}

/// Only cross margin names the wallet, and the spelling of the margin type is not that of ACCOUNT_UPDATE.
pub(in crate::sim) fn margin_call(position: &PositionTruth, mark: i64, wallet: i64, times: Times) -> Event {
    let mut text = format!(r#"{{"e":"MARGIN_CALL","E":{}"#, times.event_ms);
    if !position.is_isolated {
        let _ = write!(text, r#","cw":"{}""#, Padded(wallet, 8));
    }
    let _ = write!(
        text,
        r#","p":[{{"s":"{}","ps":"{}","pa":"{}","mt":"{}","iw":"{}","mp":"{}","up":"{}","mm":"{}"}}]}}"#,
        position.instrument.symbol,
        position.position_side,
        position.amount_text(),
        if position.is_isolated { "ISOLATED" } else { "CROSSED" },
        Spare(position.wallet, 8),
        Padded(mark, 8),
        Spare(mul(position.amount, mark - position.entry), 8),
        Padded(mul(position.amount.abs(), mark) / 100, 8),
    );
    Event { name: "MARGIN_CALL", text, event_ms: times.event_ms, order_id: 0, algo_id: 0 }
}

/// An event whose members behind the times are given.
pub(in crate::sim) fn plain(name: &'static str, members: &str, times: Times) -> Event {
    // Two of the old ones have `E` in front.
    let mut text = if matches!(name, "CONDITIONAL_ORDER_TRIGGER_REJECT" | "SOME_FUTURE_EVENT") {
        format!(r#"{{"e":"{name}","E":{},"T":{}"#, times.event_ms, times.transaction_ms)
    } else {
        open(name, times)
    };
    let _ = write!(text, ",{members}}}");
    Event { name, text, event_ms: times.event_ms, order_id: 0, algo_id: 0 }
}

/// How a key's end is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryNotice {
    /// Not at all: the socket falls silent.
    Silent,
    /// `E` is a number.
    Number,
    /// `E` is a string, as seen live.
    TextTime,
    /// Without the key.
    NoKey,
    /// The same frame twice.
    Twice,
}

pub(in crate::sim) fn listen_key_expired(notice: ExpiryNotice, key: &str, event_ms: i64) -> Event {
    let text = match notice {
        ExpiryNotice::TextTime => format!(r#"{{"e":"listenKeyExpired","E":"{event_ms}","listenKey":"{key}"}}"#),
        ExpiryNotice::NoKey => format!(r#"{{"e":"listenKeyExpired","E":{event_ms}}}"#),
        _ => format!(r#"{{"e":"listenKeyExpired","E":{event_ms},"listenKey":"{key}"}}"#),
    };
    Event { name: "listenKeyExpired", text, event_ms, order_id: 0, algo_id: 0 }
}
