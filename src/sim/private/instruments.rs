//! What the accounts trade.

use std::sync::Arc;

use crate::sim::listing::{Contract, Listed};
use crate::sim::rest::price_places;

use super::book::Instrument;

/// Up to a dozen perpetuals: those that are known for something, then whatever is there.
pub(super) fn instruments(listed: &[Listed]) -> Arc<[Arc<Instrument>]> {
    const KNOWN: [&str; 7] = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT", "1000PEPEUSDT", "币安人生USDT", "龙虾USDT"];
    let tradable = |l: &Listed| {
        // Cheaper ones would need quantities beyond 64 bits of units.
        l.contract == Contract::Perpetual && l.quote == "USDT" && !l.settling && l.start >= 100_000
    };
    let known = KNOWN.iter().filter_map(|name| listed.iter().position(|l| l.symbol == *name));
    let others = (0..listed.len()).filter(|&at| !KNOWN.contains(&listed[at].symbol.as_str()));
    let chosen = known.chain(others).filter(|&at| tradable(&listed[at])).take(12);
    let build = |(n, position): (usize, usize)| {
        let l = &listed[position];
        let first_order_id = match l.symbol.as_str() {
            // Beyond 2^53, as they are.
            "ETHUSDT" => 8_389_765_990_000_000_000,
            "BTCUSDT" => 912_345_000_000,
            _ => 10_000_000_000_000 * (n as u64 + 1),
        };
        Arc::new(Instrument {
            symbol: l.symbol.as_str().into(),
            price_places: price_places(l.start),
            quantity_places: 3,
            position,
            first_order_id,
        })
    };
    chosen.enumerate().map(build).collect()
}
