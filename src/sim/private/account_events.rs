//! Events that are about the account rather than an order: funding, transfers, margin, configuration, and the types that are
//! old or not known yet.

use std::sync::Arc;

use super::book::{AccountBook, AssetTruth, Movement};
use super::decimal::{ONE, Spare};
use super::event::{BalanceChange, Event, Times, account_update, margin_call, plain};
use super::life::{Life, LifeKind, Lives};

impl Lives {
    /// Events that are about the account, not an order.
    pub(super) fn account_event(
        &mut self,
        kind: LifeKind,
        life: &Life,
        book: &mut AccountBook,
        times: Times,
        mark: i64,
    ) -> Vec<Event> {
        let symbol = Arc::clone(&life.instrument.symbol);
        let isolated = self.is_isolated(&life.instrument);
        let side = self.position_side(life.is_buy);
        let amount = (1 + self.random.below(5_000) as i64) * ONE;
        let (mut balances, mut positions, mut named) = (vec![("USDT", 0, 0)], false, None);
        let reason = match kind {
            LifeKind::Funding => {
                let fee = -(1 + self.random.below(ONE as u64) as i64);
                book.wallet += fee;
                book.note_movement(Movement {
                    kind: "FUNDING_FEE",
                    symbol: Some(Arc::clone(&symbol)),
                    time_ms: times.transaction_ms,
                    asset: "USDT",
                    amount: fee,
                });
                (balances[0].2, positions) = (fee, isolated);
                named = (self.random.below(4) > 0 || isolated).then_some(&*symbol).filter(|_| !self.old_shape());
                "FUNDING_FEE"
            }
            LifeKind::Transfer => {
                let by = if book.wallet < 2 * amount || life.is_buy { amount } else { -amount };
                book.wallet += by;
                book.note_movement(Movement {
                    kind: "TRANSFER",
                    symbol: None,
                    time_ms: times.transaction_ms,
                    asset: "USDT",
                    amount: by,
                });
                balances[0].2 = by;
                if by > 0 { "DEPOSIT" } else { "WITHDRAW" }
            }
            LifeKind::AssetTransfer => {
                balances = vec![("USDC", amount + ONE / 2, amount + ONE / 2), ("BNFCR", -amount / 7, 0)];
                for &(asset, wallet, cross_wallet) in &balances {
                    book.assets.insert(asset, AssetTruth { wallet, cross_wallet, updated_ms: times.transaction_ms });
                }
                "ASSET_TRANSFER"
            }
            LifeKind::MarginTransfer | LifeKind::MarginTypeChange => {
                positions = true;
                let position = book.position_mut(&life.instrument, side, isolated);
                position.wallet += if position.is_isolated { ONE } else { 0 };
                position.updated_ms = times.transaction_ms;
                if kind == LifeKind::MarginTransfer { "MARGIN_TRANSFER" } else { "MARGIN_TYPE_CHANGE" }
            }
            LifeKind::MarginCall => {
                let wallet = book.wallet;
                let position = book.position_mut(&life.instrument, side, isolated);
                return vec![margin_call(position, mark, wallet, times)];
            }
            _ => return vec![self.config_event(kind, &symbol, times)],
        };
        if kind != LifeKind::AssetTransfer {
            book.wallet_updated_ms = times.transaction_ms;
            balances[0].1 = book.wallet;
        }
        let held = positions.then(|| &*book.position_mut(&life.instrument, side, isolated));
        let held: Vec<_> = held.into_iter().map(|position| (position, mark)).collect();
        let change = BalanceChange { reason, balances: &balances, symbol: named, old_shape: self.old_shape() };
        vec![account_update(change, &held, times)]
    }

    fn config_event(&mut self, kind: LifeKind, symbol: &str, times: Times) -> Event {
        let number = self.random.below(1_000_000);
        let at = times.transaction_ms;
        match kind {
            LifeKind::Leverage => {
                let members = format!(r#""ac":{{"s":"{symbol}","l":{}}}"#, 1 + number % 50);
                plain("ACCOUNT_CONFIG_UPDATE", &members, times)
            }
            LifeKind::MultiAssets => {
                plain("ACCOUNT_CONFIG_UPDATE", &format!(r#""ai":{{"j":{}}}"#, number.is_multiple_of(2)), times)
            }
            LifeKind::Strategy => {
                let members =
                    format!(r#""su":{{"si":{number},"st":"GRID","ss":"NEW","s":"{symbol}","ut":{at},"c":8007}}"#);
                plain("STRATEGY_UPDATE", &members, times)
            }
            LifeKind::Grid => {
                let realized = Spare(-(number as i64), 8);
                let members = format!(
                    r#""gu":{{"si":{number},"st":"GRID","ss":"WORKING","s":"{symbol}","r":"{realized}","up":"0","uq":"-0.010","uf":"-0.00355000","mp":"0","ut":{at}}}"#
                );
                plain("GRID_UPDATE", &members, times)
            }
            LifeKind::TriggerReject => {
                let serial = self.next();
                let id = self.id(155_618_472_834, serial);
                let why = "Due to the order could not be filled immediately, the FOK order has been rejected. The order will \
                           not be recorded in the order history";
                let members = format!(r#""or":{{"s":"{symbol}","i":{id},"r":"{why}"}}"#);
                plain("CONDITIONAL_ORDER_TRIGGER_REJECT", &members, times)
            }
            _ => plain("SOME_FUTURE_EVENT", &format!(r#""zz":{{"k":"{number}"}}"#), times),
        }
    }
}
