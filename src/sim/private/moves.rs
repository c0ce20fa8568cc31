//! What each move of a life does to the book, and the events that tell of it.

use std::sync::Arc;

use super::book::{AccountBook, Fill, Instrument};
use super::decimal::{ONE, cut, div, mul};
use super::draft::cut_price;
use super::event::{
    BalanceChange, Event, Execution, Times, account_update, algo_update, order_trade_update, trade_lite,
};
use super::life::{Life, LifeKind, Lives, Move, Placement, Prices};

/// The venue's ordinary fees: 0.02 % and 0.05 %.
const MAKER_FEE: i64 = 20_000;
const TAKER_FEE: i64 = 50_000;
/// What a BNB is worth when a fee is paid in it.
const BNB: i64 = 845 * ONE;

impl Lives {
    pub(super) fn make(
        &mut self,
        step: Move,
        life: &mut Life,
        book: &mut AccountBook,
        times: Times,
        prices: Prices<'_>,
    ) -> Vec<Event> {
        let mark = prices(&life.instrument).max(1);
        match step {
            Move::Place(placement) => self.place(placement, life, book, times, mark),
            Move::Account(kind) => self.account_event(kind, life, book, times, mark),
            Move::Take { close } => self.take(life, close, book, times, mark),
            Move::TakeOver => self.take_over(life, book, times, mark),
            Move::Algo(_) | Move::Activate | Move::Triggered => self.algo(step, life, book, times, mark),
            Move::Fill | Move::Whole | Move::Liquidate => {
                let Some(order) = life.order.and_then(|id| book.orders.get_mut(&id)) else { return Vec::new() };
                if step == Move::Liquidate {
                    (order.kind, order.original_kind) = ("LIQUIDATION", "LIQUIDATION");
                }
                let (id, rest, is_market) = (order.id, order.rest(), order.price == 0);
                let price = if is_market { cut_price(&life.instrument, mark) } else { order.price };
                let part = rest / 4 + self.random.below(rest as u64 / 2) as i64;
                let part = cut(part, life.instrument.quantity_places);
                let quantity = if step == Move::Fill { part } else { rest };
                if quantity == 0 {
                    return Vec::new();
                }
                let in_book = step != Move::Liquidate;
                let how = How { is_maker: in_book && !is_market, lite: in_book, new: false };
                self.fill(id, quantity, price, how, book, times, mark)
            }
            Move::Amend { named } => {
                let serial = self.next();
                let id = format!("qa-modify-{:04}-{serial:06}", self.account);
                let Some(order) = life.order.and_then(|id| book.orders.get_mut(&id)) else { return Vec::new() };
                let tick = 10i64.pow(8 - life.instrument.price_places);
                order.price = (order.price - tick).max(tick);
                let lot = 10i64.pow(8 - life.instrument.quantity_places);
                order.quantity += lot;
                order.updated_ms = times.transaction_ms;
                let execution =
                    Execution { kind: "AMENDMENT", modify_id: named.then_some(id.as_str()), ..Execution::default() };
                vec![order_trade_update(order, execution, times)]
            }
            Move::Cancel => {
                end_order(life, book, times, "CANCELED", Execution { kind: "CANCELED", ..Execution::default() })
            }
            Move::Expire { reason } => {
                let status = if reason == 1 { "EXPIRED_IN_MATCH" } else { "EXPIRED" };
                let without_commission = reason == 2;
                let execution =
                    Execution { kind: "EXPIRED", without_commission, expire_reason: reason, ..Execution::default() };
                end_order(life, book, times, status, execution)
            }
        }
    }

    /// A market order of `frames` events at least, all in one moment: a sweep through a thin book.
    pub(in crate::sim) fn flood(
        &mut self,
        frames: usize,
        book: &mut AccountBook,
        now_ms: i64,
        prices: Prices<'_>,
    ) -> Vec<Event> {
        let instrument = Arc::clone(&self.instruments[0]);
        let mark = prices(&instrument).max(1);
        let times = self.tell(now_ms);
        let lot = 10i64.pow(8 - instrument.quantity_places);
        let mut life = Life {
            kind: LifeKind::Market,
            moves: [].into(),
            instrument,
            is_buy: true,
            order: None,
            algo: None,
            own: None,
        };
        let fills = frames.div_ceil(3).max(1) as i64;
        let order = self.order(&mut life, "MARKET", "GTC", 0, fills * lot, times);
        let (id, price) = (order.id, cut_price(&order.instrument, mark));
        book.insert_order(order);
        let mut events = Vec::with_capacity(frames + 4);
        for _ in 0..fills {
            events.append(&mut self.fill(
                id,
                lot,
                price,
                How { is_maker: false, lite: true, new: false },
                book,
                times,
                mark,
            ));
        }
        events
    }

    pub(super) fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Whose id is `serial` at this account; accounts are ten million apart.
    pub(super) fn id(&self, first: u64, serial: u64) -> u64 {
        first + self.account as u64 * 10_000_000 + serial
    }

    pub(super) fn position_side(&self, is_buy: bool) -> &'static str {
        match (self.hedge_mode, is_buy) {
            (false, _) => "BOTH",
            (true, true) => "LONG",
            (true, false) => "SHORT",
        }
    }

    /// Every fourth symbol of an account is on isolated margin.
    pub(super) fn is_isolated(&self, instrument: &Instrument) -> bool {
        let at = self.instruments.iter().position(|one| one.symbol == instrument.symbol).unwrap_or(0);
        (at + self.account) % 4 == 1
    }

    pub(super) fn old_shape(&self) -> bool {
        self.account % 5 == 4
    }

    fn place(
        &mut self,
        placement: Placement,
        life: &mut Life,
        book: &mut AccountBook,
        times: Times,
        mark: i64,
    ) -> Vec<Event> {
        let mut order = match life.take_order() {
            Some(order) => order.at(times),
            None => self.draft_limit(placement, life, book, times, mark),
        };
        if placement == Placement::Gtd {
            order.good_till_ms = times.transaction_ms / 1_000 * 1_000 + 600_000;
        }
        let event = order_trade_update(&order, Execution { kind: "NEW", ..Execution::default() }, times);
        book.insert_order(order);
        vec![event]
    }

    /// A market order and its fills, in the order in which the venue tells of a taker's.
    fn take(&mut self, life: &mut Life, close: bool, book: &mut AccountBook, times: Times, mark: i64) -> Vec<Event> {
        let held = book
            .positions
            .get(&(Arc::clone(&life.instrument.symbol), self.position_side(life.is_buy)))
            .map_or(0, |position| position.amount);
        let closes = close && held != 0;
        let mut order = match life.take_order() {
            Some(order) => order.at(times),
            None if closes => self.order(life, "MARKET", "GTC", 0, held.abs(), times),
            None => self.draft_market(life, times, mark),
        };
        let quantity = order.quantity;
        if closes {
            order.side = if held > 0 { "SELL" } else { "BUY" };
            order.reduce_only = true;
            order.client_id = format!("web_Qa{:04}Close{:07}", self.account, self.serial);
        }
        let (id, price) = (order.id, cut_price(&life.instrument, mark));
        book.insert_order(order);
        let parts = if closes { 1 } else { 1 + self.random.below(3) as i64 };
        let part = cut(quantity / parts, life.instrument.quantity_places);
        let tick = 10i64.pow(8 - life.instrument.price_places);
        let mut events = Vec::new();
        for at in 0..parts {
            let quantity = if at + 1 == parts { quantity - part * (parts - 1) } else { part };
            let how = How { is_maker: false, lite: true, new: at == 0 };
            events.append(&mut self.fill(id, quantity, price + at * tick, how, book, times, mark));
        }
        events
    }

    /// One fill: TRADE_LITE, for a taker's first NEW, ACCOUNT_UPDATE, ORDER_TRADE_UPDATE.
    #[expect(
        clippy::too_many_arguments,
        reason = "a fill has this many sides, and one caller more would not group them"
    )]
    fn fill(
        &mut self,
        order_id: u64,
        quantity: i64,
        price: i64,
        how: How,
        book: &mut AccountBook,
        times: Times,
        mark: i64,
    ) -> Vec<Event> {
        let serial = self.next();
        let trade_id = self.id(7_012_345_000, serial);
        let Some(order) = book.orders.get(&order_id) else { return Vec::new() };
        let mut events = Vec::with_capacity(4);
        if how.new {
            // Built first, while the order has its first state; it is sent after TRADE_LITE.
            events.push(order_trade_update(order, Execution { kind: "NEW", ..Execution::default() }, times));
        }
        let isolated = self.is_isolated(&order.instrument);
        let fee = mul(mul(quantity, price), if how.is_maker { MAKER_FEE } else { TAKER_FEE });
        let pays_bnb = self.account % 3 == 2;
        let fill = Fill {
            trade_id,
            order_id,
            instrument: Arc::clone(&order.instrument),
            side: order.side,
            position_side: order.position_side,
            is_maker: how.is_maker,
            commission_asset: if pays_bnb { "BNB" } else { "USDT" },
            time_ms: times.transaction_ms,
            price,
            quantity,
            commission: if pays_bnb { div(fee, BNB) } else { fee },
            realized: 0,
        };
        let fill = book.apply_fill(fill, isolated);
        let Some(order) = book.orders.get(&order_id) else { return events };
        if how.lite {
            events.insert(0, trade_lite(order, &fill, times));
        }
        let key = (Arc::clone(&fill.instrument.symbol), fill.position_side);
        let held: Vec<_> = book.positions.get(&key).into_iter().map(|position| (position, mark)).collect();
        let balances = [("USDT", book.wallet, 0)];
        let change = BalanceChange { reason: "ORDER", balances: &balances, symbol: None, old_shape: self.old_shape() };
        events.push(account_update(change, &held, times));
        events.push(order_trade_update(
            order,
            Execution { kind: "TRADE", fill: Some(&fill), ..Execution::default() },
            times,
        ));
        events
    }

    /// The insurance fund takes the position that the life has opened, at its bankruptcy price.
    fn take_over(&mut self, life: &mut Life, book: &mut AccountBook, times: Times, mark: i64) -> Vec<Event> {
        let quantity = life.order.and_then(|id| book.orders.get(&id)).map_or(ONE, |order| order.quantity);
        let price = cut_price(&life.instrument, mark - mark / 100);
        let mut order = self.order(life, "LIMIT", "IOC", price, quantity, times);
        self.reverse(&mut order, life);
        order.client_id = if self.random.below(2) == 0 {
            format!("autoclose-{}{:06}", times.transaction_ms, self.serial % 1_000_000)
        } else {
            "adl_autoclose".into()
        };
        let id = order.id;
        book.insert_order(order);
        let how = How { is_maker: false, lite: false, new: false };
        let mut events = self.fill(id, quantity, price, how, book, times, mark);
        if let (Some(last), Some(order), Some(fill)) = (events.last_mut(), book.orders.get(&id), book.fills.last()) {
            let execution = Execution { kind: "CALCULATED", fill: Some(fill), ..Execution::default() };
            *last = order_trade_update(order, execution, times);
        }
        events
    }

    fn algo(&mut self, step: Move, life: &mut Life, book: &mut AccountBook, times: Times, mark: i64) -> Vec<Event> {
        if step == Move::Algo("NEW") {
            let mut algo = match life.take_algo() {
                Some(algo) => algo,
                None => self.draft_algo(life, mark),
            };
            algo.created_ms = times.transaction_ms;
            book.insert_algo(algo);
        }
        let Some(algo) = life.algo.and_then(|id| book.algo_orders.get_mut(&id)) else { return Vec::new() };
        algo.updated_ms = times.transaction_ms;
        match step {
            Move::Activate => algo.is_activated = true,
            Move::Algo(status) => algo.status = status,
            Move::Triggered => {
                let order = book.orders.get(&algo.order_id.unwrap_or(0));
                return order
                    .map(|order| order_trade_update(order, Execution { kind: "NEW", ..Execution::default() }, times))
                    .into_iter()
                    .collect();
            }
            _ => {}
        }
        match algo.status {
            "TRIGGERING" => algo.triggered_ms = times.transaction_ms,
            "TRIGGERED" => {
                let (algo_id, quantity, side) = (algo.id, algo.quantity, algo.side);
                let client_id = algo.client_id.clone();
                let mut order = self.order(life, "MARKET", "GTC", 0, quantity, times);
                order.side = side;
                order.client_id = client_id;
                order.reduce_only = true;
                order.working_kind = "MARK_PRICE";
                order.algo_id = Some(algo_id);
                let id = order.id;
                book.insert_order(order);
                if let Some(algo) = book.algo_orders.get_mut(&algo_id) {
                    algo.order_id = Some(id);
                }
            }
            "FINISHED" => {
                let real = algo.order_id.and_then(|id| book.orders.get(&id));
                (algo.executed, algo.average) = real.map_or((0, 0), |order| (order.filled, order.average()));
            }
            _ => {}
        }
        let Some(algo) = life.algo.and_then(|id| book.algo_orders.get(&id)) else { return Vec::new() };
        let reason = (algo.status == "REJECTED").then_some("ReduceOnly reject");
        let without_ia = self.old_shape() && !matches!(algo.status, "TRIGGERED" | "FINISHED" | "REJECTED");
        vec![algo_update(algo, reason, without_ia, times)]
    }
}

/// How a fill comes about.
#[derive(Clone, Copy)]
struct How {
    is_maker: bool,
    /// TRADE_LITE is sent.
    lite: bool,
    /// NEW has not been sent yet.
    new: bool,
}

fn end_order(
    life: &Life,
    book: &mut AccountBook,
    times: Times,
    status: &'static str,
    execution: Execution<'_>,
) -> Vec<Event> {
    let Some(order) = life.order.and_then(|id| book.orders.get_mut(&id)) else { return Vec::new() };
    order.status = status;
    order.updated_ms = times.transaction_ms;
    vec![order_trade_update(order, execution, times)]
}
