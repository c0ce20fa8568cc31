//! Orders as they are going to be placed: numbers, sides, prices and quantities, before the book knows them.

use std::sync::Arc;

use super::book::{AccountBook, AlgoTruth, Instrument, OrderTruth};
use super::decimal::{ONE, cut, div};
use super::event::Times;
use super::life::{Life, LifeKind, Lives, Placement};

impl Lives {
    /// Worth between 400 and 5,000 USDT, and a few lots at least.
    fn quantity(&mut self, instrument: &Instrument, mark: i64) -> i64 {
        let worth = (400 + self.random.below(4_600) as i64) * ONE;
        let lot = 10i64.pow(8 - instrument.quantity_places);
        cut(div(worth, mark), instrument.quantity_places).max(8 * lot)
    }

    /// A new order that opens in the direction of the life; it is not in the book yet.
    pub(super) fn order(
        &mut self,
        life: &mut Life,
        kind: &'static str,
        time_in_force: &'static str,
        price: i64,
        quantity: i64,
        times: Times,
    ) -> OrderTruth {
        let serial = self.next();
        let id = self.id(life.instrument.first_order_id, serial);
        life.order = Some(id);
        OrderTruth {
            id,
            client_id: format!("qa-{:04}-{serial:07}", self.account),
            instrument: Arc::clone(&life.instrument),
            side: if life.is_buy { "BUY" } else { "SELL" },
            position_side: self.position_side(life.is_buy),
            kind,
            original_kind: kind,
            time_in_force,
            status: "NEW",
            reduce_only: false,
            working_kind: "CONTRACT_PRICE",
            algo_id: None,
            created_ms: times.transaction_ms,
            updated_ms: times.transaction_ms,
            good_till_ms: 0,
            quantity,
            price,
            stop: 0,
            filled: 0,
            quote: 0,
            trailing: None,
        }
    }

    /// Turns `order` into one that closes what the life has opened.
    pub(super) fn reverse(&self, order: &mut OrderTruth, life: &Life) {
        order.side = if life.is_buy { "SELL" } else { "BUY" };
        order.position_side = self.position_side(life.is_buy);
    }

    /// An order with a price, as it is going to be placed.
    pub(super) fn draft_limit(
        &mut self,
        placement: Placement,
        life: &mut Life,
        book: &AccountBook,
        times: Times,
        mark: i64,
    ) -> OrderTruth {
        let opened = life.order.and_then(|id| book.orders.get(&id)).map(|order| order.quantity);
        let quantity = match opened {
            Some(opened) => opened,
            None => self.quantity(&life.instrument, mark),
        };
        let away = mark / 1_000 + self.random.below(mark as u64 / 500 + 1) as i64;
        let takes_profit = life.own.as_ref().is_some_and(|own| own.takes_profit);
        let buys = life.is_buy != takes_profit;
        let price = cut_price(&life.instrument, if buys { mark - away } else { mark + away });
        let (kind, tif, price) = match placement {
            Placement::Limit => ("LIMIT", "GTC", price),
            Placement::Ioc | Placement::Liquidation => ("LIMIT", "IOC", price),
            Placement::Gtd => ("LIMIT", "GTD", price),
            Placement::Trailing => ("TRAILING_STOP_MARKET", "GTC", 0),
        };
        let mut order = self.order(life, kind, tif, price, quantity, times);
        match placement {
            Placement::Trailing => {
                self.reverse(&mut order, life);
                order.reduce_only = true;
                order.stop = cut_price(&life.instrument, mark - mark / 100);
                order.trailing = Some((cut(mark + mark / 200, 1), ONE / 2));
            }
            Placement::Liquidation => {
                self.reverse(&mut order, life);
                order.client_id = format!("autoclose-{}{:06}", times.transaction_ms, self.serial % 1_000_000);
            }
            Placement::Limit | Placement::Ioc | Placement::Gtd => {}
        }
        if takes_profit {
            self.reverse(&mut order, life);
            order.reduce_only = true;
        }
        order
    }

    /// A market order, as it is going to be placed.
    pub(super) fn draft_market(&mut self, life: &mut Life, times: Times, mark: i64) -> OrderTruth {
        let quantity = self.quantity(&life.instrument, mark);
        self.order(life, "MARKET", "GTC", 0, quantity, times)
    }

    /// An algo order, as it is going to be placed.
    pub(super) fn draft_algo(&mut self, life: &mut Life, mark: i64) -> AlgoTruth {
        let serial = self.next();
        let id = self.id(4_000_001_910_000_000, serial);
        let away = mark / 100;
        let trigger = cut_price(&life.instrument, if life.is_buy { mark - away } else { mark + away });
        life.algo = Some(id);
        AlgoTruth {
            id,
            client_id: format!("qa-sl-{:04}-{serial:07}", self.account),
            instrument: Arc::clone(&life.instrument),
            kind: if life.kind == LifeKind::AlgoTrailing { "TRAILING_STOP_MARKET" } else { "STOP_MARKET" },
            side: if life.is_buy { "SELL" } else { "BUY" },
            position_side: self.position_side(life.is_buy),
            status: "NEW",
            order_id: None,
            is_activated: false,
            created_ms: 0,
            updated_ms: 0,
            triggered_ms: 0,
            quantity: self.quantity(&life.instrument, mark),
            trigger,
            executed: 0,
            average: 0,
        }
    }
}

/// A price that the symbol may have; never zero.
pub(super) fn cut_price(instrument: &Instrument, price: i64) -> i64 {
    cut(price, instrument.price_places).max(10i64.pow(8 - instrument.price_places))
}
