//! The truth about one account: orders, algo orders, fills, positions, balance. What a client must know in the end, however
//! much of the stream it missed; REST reads are answered from here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::limits::{SIM_FILLS_KEPT_MAX, SIM_MOVEMENTS_KEPT_MAX, SIM_ORDERS_KEPT_MAX};

use super::decimal::{ONE, Padded, Spare, Trimmed, div, mul};
pub use super::position::PositionTruth;

/// A tradable symbol, as the accounts see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// The venue's name.
    pub symbol: Arc<str>,
    /// Decimal places of a price.
    pub price_places: u32,
    /// Decimal places of a quantity.
    pub quantity_places: u32,
    /// Where its price is in the market's list.
    pub(in crate::sim) position: usize,
    /// Its orders of all accounts have ids from here on.
    pub(in crate::sim) first_order_id: u64,
}

/// An order as the matching engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderTruth {
    /// `i`: beyond 2^53 for ETHUSDT, as at the venue.
    pub id: u64,
    /// `c`.
    pub client_id: String,
    /// What is traded.
    pub instrument: Arc<Instrument>,
    /// `S`: `BUY` or `SELL`.
    pub side: &'static str,
    /// `ps`: `BOTH`, `LONG` or `SHORT`.
    pub position_side: &'static str,
    /// `o`.
    pub kind: &'static str,
    /// `ot`.
    pub original_kind: &'static str,
    /// `f`.
    pub time_in_force: &'static str,
    /// `X`: `NEW`, `PARTIALLY_FILLED`, `FILLED`, `CANCELED`, `EXPIRED`, `EXPIRED_IN_MATCH`.
    pub status: &'static str,
    /// `R`.
    pub reduce_only: bool,
    /// `wt`.
    pub working_kind: &'static str,
    /// The algo order that it comes from.
    pub algo_id: Option<u64>,
    /// ms since 1970 UTC.
    pub created_ms: i64,
    /// `T` of the newest event.
    pub updated_ms: i64,
    /// `gtd`, 0 for none.
    pub good_till_ms: i64,
    pub(in crate::sim) quantity: i64,
    pub(in crate::sim) price: i64,
    pub(in crate::sim) stop: i64,
    pub(in crate::sim) filled: i64,
    pub(in crate::sim) quote: i64,
    /// `AP` and `cr` of a trailing stop.
    pub(in crate::sim) trailing: Option<(i64, i64)>,
}

impl OrderTruth {
    /// Whether it still works.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.status, "NEW" | "PARTIALLY_FILLED")
    }

    /// `q`, as the wire has it.
    #[must_use]
    pub fn quantity_text(&self) -> String {
        Padded(self.quantity, self.instrument.quantity_places).to_string()
    }

    /// `p`, as the wire has it: `0` for a market order.
    #[must_use]
    pub fn price_text(&self) -> String {
        Spare(self.price, self.instrument.price_places).to_string()
    }

    /// `ap`, as the wire has it: `0` before the first fill.
    #[must_use]
    pub fn average_text(&self) -> String {
        Spare(self.average(), self.instrument.price_places).to_string()
    }

    /// `z`, as the wire has it: `0` before the first fill.
    #[must_use]
    pub fn filled_text(&self) -> String {
        Spare(self.filled, self.instrument.quantity_places).to_string()
    }

    /// Whether its time of remembrance is short: over, and never filled.
    pub(in crate::sim) fn is_unfilled_end(&self) -> bool {
        !self.is_open() && self.filled == 0
    }

    pub(in crate::sim) fn average(&self) -> i64 {
        div(self.quote, self.filled)
    }

    pub(in crate::sim) fn rest(&self) -> i64 {
        self.quantity - self.filled
    }
}

/// A conditional order that has not become a real one, or has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlgoTruth {
    /// `aid`.
    pub id: u64,
    /// `caid`.
    pub client_id: String,
    /// What is traded.
    pub instrument: Arc<Instrument>,
    /// `o`: `STOP_MARKET` and the like.
    pub kind: &'static str,
    /// `S`.
    pub side: &'static str,
    /// `ps`.
    pub position_side: &'static str,
    /// `X`: `NEW`, `CANCELED`, `EXPIRED`, `TRIGGERING`, `TRIGGERED`, `FINISHED`, `REJECTED`.
    pub status: &'static str,
    /// `ai`: the real order.
    pub order_id: Option<u64>,
    /// `ia`.
    pub is_activated: bool,
    /// ms since 1970 UTC.
    pub created_ms: i64,
    /// `T` of the newest event.
    pub updated_ms: i64,
    /// `tt`, 0 before.
    pub triggered_ms: i64,
    pub(in crate::sim) quantity: i64,
    pub(in crate::sim) trigger: i64,
    pub(in crate::sim) executed: i64,
    pub(in crate::sim) average: i64,
}

impl AlgoTruth {
    /// Whether it waits for its price.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.status, "NEW" | "TRIGGERING")
    }

    /// `q`, as the wire has it.
    #[must_use]
    pub fn quantity_text(&self) -> String {
        Padded(self.quantity, self.instrument.quantity_places).to_string()
    }

    /// `tp`, as the wire has it.
    #[must_use]
    pub fn trigger_text(&self) -> String {
        Trimmed(self.trigger).to_string()
    }

    /// `aq` of a finished one.
    #[must_use]
    pub fn executed_text(&self) -> String {
        Spare(self.executed, self.instrument.quantity_places).to_string()
    }
}

/// One fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    /// `t`; unique with the symbol.
    pub trade_id: u64,
    /// The order.
    pub order_id: u64,
    /// What was traded.
    pub instrument: Arc<Instrument>,
    /// `S`.
    pub side: &'static str,
    /// `ps`.
    pub position_side: &'static str,
    /// `m`.
    pub is_maker: bool,
    /// `N`.
    pub commission_asset: &'static str,
    /// `T`.
    pub time_ms: i64,
    pub(in crate::sim) price: i64,
    pub(in crate::sim) quantity: i64,
    pub(in crate::sim) commission: i64,
    pub(in crate::sim) realized: i64,
}

impl Fill {
    /// `L`, as the wire has it.
    #[must_use]
    pub fn price_text(&self) -> String {
        Padded(self.price, self.instrument.price_places).to_string()
    }

    /// `l`, as the wire has it.
    #[must_use]
    pub fn quantity_text(&self) -> String {
        Padded(self.quantity, self.instrument.quantity_places).to_string()
    }

    /// `n`, in whole units of 10⁻⁸.
    #[must_use]
    pub fn commission_text(&self) -> String {
        Padded(self.commission, 8).to_string()
    }

    /// `rp`, before fees.
    #[must_use]
    pub fn realized_text(&self) -> String {
        Spare(self.realized, 8).to_string()
    }
}

/// Money that came or went without a fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// `FUNDING_FEE` or `TRANSFER`.
    pub kind: &'static str,
    /// Because of this symbol; `None` for transfers.
    pub symbol: Option<Arc<str>>,
    /// `T`.
    pub time_ms: i64,
    pub(in crate::sim) asset: &'static str,
    pub(in crate::sim) amount: i64,
}

/// What is held of an asset that is not USDT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sim) struct AssetTruth {
    pub(in crate::sim) wallet: i64,
    pub(in crate::sim) cross_wallet: i64,
    /// 0 where it was never touched.
    pub(in crate::sim) updated_ms: i64,
}

/// What an account that pays its fees in another asset has of it at the start.
pub(in crate::sim) const FEE_ASSET: AssetTruth =
    AssetTruth { wallet: 1_000 * ONE, cross_wallet: 1_000 * ONE, updated_ms: 0 };

/// The truth about one account.
#[derive(Clone, Debug, Default)]
pub struct AccountBook {
    /// By order id. Of those that are over, the ones with the lowest ids are forgotten beyond [`SIM_ORDERS_KEPT_MAX`].
    pub orders: BTreeMap<u64, OrderTruth>,
    /// By algo id; bounded as the orders.
    pub algo_orders: BTreeMap<u64, AlgoTruth>,
    /// Oldest first; beyond [`SIM_FILLS_KEPT_MAX`] the oldest half is forgotten.
    pub fills: Vec<Fill>,
    /// By symbol and position side.
    pub positions: BTreeMap<(Arc<str>, &'static str), PositionTruth>,
    /// Funding and transfers, oldest first; beyond [`SIM_MOVEMENTS_KEPT_MAX`] the oldest half is forgotten.
    pub movements: Vec<Movement>,
    /// Orders, algo orders, fills and movements that were forgotten.
    pub forgotten: u64,
    /// `T` of the newest event that changed the USDT wallet; 0 before.
    pub(in crate::sim) wallet_updated_ms: i64,
    /// Everything but USDT.
    pub(in crate::sim) assets: BTreeMap<&'static str, AssetTruth>,
    /// Wallet balance in USDT, units of 10⁻⁸.
    pub(in crate::sim) wallet: i64,
}

impl AccountBook {
    /// Wallet balance in USDT, as the wire has it.
    #[must_use]
    pub fn wallet_text(&self) -> String {
        Padded(self.wallet, 8).to_string()
    }

    /// Orders that still work.
    pub fn open_orders(&self) -> impl Iterator<Item = &OrderTruth> {
        self.orders.values().filter(|order| order.is_open())
    }

    /// Algo orders that wait for their price.
    pub fn open_algo_orders(&self) -> impl Iterator<Item = &AlgoTruth> {
        self.algo_orders.values().filter(|algo| algo.is_open())
    }

    pub(in crate::sim) fn position_mut(
        &mut self,
        instrument: &Arc<Instrument>,
        position_side: &'static str,
        is_isolated: bool,
    ) -> &mut PositionTruth {
        let key = (Arc::clone(&instrument.symbol), position_side);
        self.positions.entry(key).or_insert_with(|| PositionTruth {
            instrument: Arc::clone(instrument),
            position_side,
            is_isolated,
            updated_ms: 0,
            amount: 0,
            entry: 0,
            realized: 0,
            wallet: if is_isolated { 100 * ONE } else { 0 },
        })
    }

    /// A fill of `order`, applied to order, position and wallet; `T` is its time.
    pub(in crate::sim) fn apply_fill(&mut self, mut fill: Fill, is_isolated: bool) -> Fill {
        let side = fill.position_side;
        let position = self.position_mut(&fill.instrument.clone(), side, is_isolated);
        let signed = if fill.side == "BUY" { fill.quantity } else { -fill.quantity };
        fill.realized = position.apply(signed, fill.price);
        position.updated_ms = fill.time_ms;
        if let Some(order) = self.orders.get_mut(&fill.order_id) {
            order.filled += fill.quantity;
            order.quote = order.quote.saturating_add(mul(fill.quantity, fill.price));
            order.status = if order.rest() == 0 { "FILLED" } else { "PARTIALLY_FILLED" };
            order.updated_ms = fill.time_ms;
        }
        self.wallet += fill.realized;
        self.wallet_updated_ms = fill.time_ms;
        if fill.commission_asset == "USDT" {
            self.wallet -= fill.commission;
        } else {
            let asset = self.assets.entry(fill.commission_asset).or_insert(FEE_ASSET);
            asset.wallet -= fill.commission;
            asset.cross_wallet = asset.wallet;
            asset.updated_ms = fill.time_ms;
        }
        if self.fills.len() >= SIM_FILLS_KEPT_MAX {
            self.fills.drain(..SIM_FILLS_KEPT_MAX / 2);
            self.forgotten += (SIM_FILLS_KEPT_MAX / 2) as u64;
        }
        self.fills.push(fill.clone());
        fill
    }

    /// Writes down a movement of money; the wallet is the caller's.
    pub(in crate::sim) fn note_movement(&mut self, movement: Movement) {
        if self.movements.len() >= SIM_MOVEMENTS_KEPT_MAX {
            self.movements.drain(..SIM_MOVEMENTS_KEPT_MAX / 2);
            self.forgotten += (SIM_MOVEMENTS_KEPT_MAX / 2) as u64;
        }
        self.movements.push(movement);
    }

    /// Keeps the bound on what is remembered.
    pub(in crate::sim) fn insert_order(&mut self, order: OrderTruth) {
        if self.orders.len() >= SIM_ORDERS_KEPT_MAX {
            let before = self.orders.len();
            let mut over = before / 2;
            self.orders.retain(|_, old| {
                old.is_open() || over == 0 || {
                    over -= 1;
                    false
                }
            });
            self.forgotten += (before - self.orders.len()) as u64;
        }
        self.orders.insert(order.id, order);
    }

    /// As [`AccountBook::insert_order`].
    pub(in crate::sim) fn insert_algo(&mut self, algo: AlgoTruth) {
        if self.algo_orders.len() >= SIM_ORDERS_KEPT_MAX {
            let before = self.algo_orders.len();
            let mut over = before / 2;
            let is_open = |old: &AlgoTruth| matches!(old.status, "NEW" | "TRIGGERING" | "TRIGGERED");
            self.algo_orders.retain(|_, old| {
                is_open(old) || over == 0 || {
                    over -= 1;
                    false
                }
            });
            self.forgotten += (before - self.algo_orders.len()) as u64;
        }
        self.algo_orders.insert(algo.id, algo);
    }
}
