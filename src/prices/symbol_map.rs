//! Which rows a Binance symbol's price goes to, and by which power of ten it is shifted on the way.
//!
//! As the incumbent did it (facts/incumbent.md §3.9): for each Binance pair the Binance row itself, the rows of every
//! other active exchange with equal token and quote, and the rows that `token_mappers` names (Binance token → other
//! token on one exchange, same quote). One row has one source: where several claim it, the Binance row's own pair comes
//! before a mapper, a mapper before equal names, and then the lower id; the losers are reported.
//!
//! What the incumbent lacked is the ratio (§9, 41: the price of `1000FLOKI` copied to `FLOKI`, 1000 times wrong). Equal
//! tokens mean equal contracts: shift 0. A mapper's shift is its `price_ratio`, which must be an exact power of ten, or
//! else follows from the multipliers in the two names; where neither says, the row gets no price and is reported. Names
//! that differ only in a multiplier (`1000FLOKI` here, `FLOKI` there) are *not* joined without a mapper: that they are
//! the same coin is an operator's knowledge, not a spelling's. They are reported as look-alikes.
//!
//! A dated contract (`BTCUSDT_261225`) has a price of its own: it feeds its own row and no other venue's.
//!
//! Control plane to build; data plane to ask: [`SymbolMap::targets_of`] is two array accesses.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::board::Slot;
use super::map_report::MapReport;
use super::map_rules::{Claim, Claims};
pub use super::target::Target;
use crate::store::rows::MapRows;

/// The rows of one symbol; rarely more than four venues.
pub type Targets = SmallVec<[Target; 4]>;

/// Symbol → rows. Owned by the writer and replaced as a whole by a reload.
#[derive(Debug, Default)]
pub struct SymbolMap {
    symbols: HashMap<String, u32>,
    targets: Vec<Targets>,
    /// Place in `targets` of each slot of the board; [`UNMAPPED`] for a symbol without rows.
    by_slot: Vec<u32>,
}

const UNMAPPED: u32 = u32::MAX;

impl SymbolMap {
    /// Builds the map, and the account of everything that somebody should know about it.
    #[must_use]
    pub fn build(rows: &MapRows) -> (SymbolMap, MapReport) {
        let mut report = MapReport::default();
        let claims = Claims::collect(rows, &mut report);
        let mut map = SymbolMap::default();
        for Claim { symbol, target, .. } in claims.settle(&mut report) {
            let next = map.targets.len() as u32;
            let at = *map.symbols.entry(symbol).or_insert(next);
            if at == next {
                map.targets.push(Targets::new());
            }
            map.targets[at as usize].push(target);
        }
        for targets in &mut map.targets {
            targets.sort_unstable_by_key(|target| target.row_id);
        }
        report.symbols = map.symbols.len();
        (map, report)
    }

    /// The rows of a symbol, in ascending id; none for an unknown one. Matched byte for byte.
    #[must_use]
    pub fn targets(&self, symbol: &str) -> &[Target] {
        self.symbols.get(symbol).map_or(&[], |&at| &self.targets[at as usize])
    }

    /// The rows of a slot of the board that [`SymbolMap::bind`] knows; none for any other.
    #[must_use]
    pub fn targets_of(&self, slot: Slot) -> &[Target] {
        self.by_slot
            .get(slot.index())
            .and_then(|&at| self.targets.get(at as usize))
            .map_or(&[], |targets| targets.as_slice())
    }

    /// Tells the map the names of the next slots; slot i's name is the i-th ever told. A new map is told all of them.
    pub fn bind(&mut self, names: &[Arc<str>]) {
        let places = names.iter().map(|name| self.symbols.get(&**name).copied().unwrap_or(UNMAPPED));
        self.by_slot.extend(places);
    }

    /// How many slots are bound.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.by_slot.len()
    }

    /// All symbols that have rows, in no order.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, &[Target])> {
        self.symbols.iter().map(|(symbol, &at)| (symbol.as_str(), self.targets[at as usize].as_slice()))
    }

    /// Rows of all symbols together.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.targets.iter().map(|targets| targets.len()).sum()
    }

    /// Whether this map sends `symbol` to the same rows by the same shifts as `other`: what a reload changed.
    #[must_use]
    pub fn agrees_on(&self, other: &SymbolMap, symbol: &str) -> bool {
        self.targets(symbol) == other.targets(symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::super::map_report::{Contested, IdleMapper};
    use super::super::map_rules::ratio_exponent;
    use super::*;
    use crate::store::rows::{ApiSystem, SymbolRow, TokenMapper};

    const BINANCE: i64 = 1;
    const BYBIT: i64 = 2;
    const KUCOIN: i64 = 3;
    const OFF: i64 = 4;

    /// Rows as `(id, system, token, quote)`, mappers as `(binance token, other token, system, ratio)`.
    fn rows(symbols: &[(i64, i64, &str, &str)], mappers: &[(&str, &str, i64, Option<&str>)]) -> MapRows {
        let system = |id, canonical: &str, is_active| ApiSystem { id, canonical: canonical.to_owned(), is_active };
        MapRows {
            systems: vec![
                system(BINANCE, "binance", true),
                system(BYBIT, "bybit", true),
                system(KUCOIN, "kucoin", true),
                system(OFF, "bitget", false),
            ],
            symbols: symbols
                .iter()
                .map(|&(id, api_system_id, token, quote)| SymbolRow {
                    id,
                    api_system_id,
                    token: token.to_owned(),
                    quote: quote.to_owned(),
                    asset: None,
                    parsed_trading_pair: None,
                    is_price_aligned: true,
                })
                .collect(),
            mappers: mappers
                .iter()
                .map(|&(binance, other, other_api_system_id, ratio)| TokenMapper {
                    binance_token: binance.to_owned(),
                    other_token: other.to_owned(),
                    other_api_system_id,
                    price_ratio: ratio.map(str::to_owned),
                })
                .collect(),
        }
    }

    /// Builds the map and compares its targets, as `(symbol, row, shift)` in order of symbol and row.
    #[track_caller]
    fn check(rows: &MapRows, expected: &[(&str, i64, i8)]) -> MapReport {
        let (map, report) = SymbolMap::build(rows);
        let mut found: Vec<_> = map
            .symbols()
            .flat_map(|(symbol, targets)| targets.iter().map(move |t| (symbol, t.row_id, t.shift)))
            .collect();
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!((report.rows(), report.symbols), (map.rows(), map.symbols().count()));
        report
    }

    #[test]
    fn equal_token_and_quote_on_every_active_exchange() {
        let report = check(
            &rows(
                &[
                    (1, BINANCE, "BTC", "USDT"),
                    (2, BINANCE, "BTC", "USDC"),
                    (3, BYBIT, "BTC", "USDT"),
                    (4, KUCOIN, "BTC", "USDC"),
                    (5, OFF, "BTC", "USDT"),
                    (6, BYBIT, "btc", "USDT"),
                    (7, BYBIT, "ETH", "USDT"),
                    (8, BINANCE, "币安人生", "USDT"),
                    (9, BYBIT, "币安人生", "USDT"),
                    (10, 77, "BTC", "USDT"),
                ],
                &[],
            ),
            &[
                ("BTCUSDT", 1, 0),
                ("BTCUSDT", 3, 0),
                ("BTCUSDC", 2, 0),
                ("BTCUSDC", 4, 0),
                ("币安人生USDT", 8, 0),
                ("币安人生USDT", 9, 0),
            ],
        );
        assert_eq!(report.inactive_rows, 2);
        let by_exchange: Vec<_> = report.rows_by_exchange.into_iter().collect();
        assert_eq!(by_exchange, [("binance".to_owned(), 3), ("bybit".to_owned(), 2), ("kucoin".to_owned(), 1)]);
    }

    #[test]
    fn a_mapper_shifts_by_what_the_names_say() {
        for (binance, other, shift) in [
            ("1000SATS", "10000SATS", 1),
            ("1000FLOKI", "FLOKI", -3),
            ("1000SHIB", "SHIB1000", 0),
            ("BTC", "XBT", 0),
            ("1MBABYDOGE", "1000BABYDOGE", -3),
            ("龙虾", "1000龙虾", 3),
        ] {
            let symbol = format!("{binance}USDT");
            let report = check(
                &rows(
                    &[(1, BINANCE, binance, "USDT"), (2, KUCOIN, other, "USDT"), (3, KUCOIN, other, "USDC")],
                    &[(binance, other, KUCOIN, None)],
                ),
                &[(&symbol, 1, 0), (&symbol, 2, shift)],
            );
            let shifted: Vec<_> = report.shifted.iter().map(|pairing| (pairing.row_id, pairing.shift)).collect();
            assert_eq!(shifted, if shift == 0 { vec![] } else { vec![(2, Some(shift))] }, "{binance} to {other}");
            assert!(report.unknown_ratio.is_empty() && report.idle_mappers.is_empty());
        }
    }

    #[test]
    fn an_explicit_ratio_is_an_exact_power_of_ten_or_nothing() {
        for (text, exponent) in [
            ("1", Some(0)),
            ("1.0", Some(0)),
            ("1000", Some(3)),
            ("1000.000000000000000000", Some(3)),
            ("0.001", Some(-3)),
            ("0.0010", Some(-3)),
            ("10", Some(1)),
            ("010", Some(1)),
            ("0.1", Some(-1)),
            ("", None),
            ("0", None),
            ("0.0", None),
            ("2", None),
            ("11", None),
            ("1.1", None),
            ("1000.1", None),
            ("-10", None),
            ("1e3", None),
            (".1", None),
            ("1.", None),
            ("ten", None),
            ("10000000000000000000", None),
        ] {
            assert_eq!(ratio_exponent(text), exponent, "{text:?}");
        }
        let symbols = [(1, BINANCE, "NEIRO", "USDT"), (2, KUCOIN, "1000NEIROCTO", "USDT")];
        let target = ("NEIROUSDT", 1, 0);
        let report = check(&rows(&symbols, &[("NEIRO", "1000NEIROCTO", KUCOIN, None)]), &[target]);
        assert_eq!(report.unknown_ratio[0].row_id, 2);
        let report = check(&rows(&symbols, &[("NEIRO", "1000NEIROCTO", KUCOIN, Some("1001"))]), &[target]);
        assert_eq!(report.unknown_ratio[0].price_ratio.as_deref(), Some("1001"));
        let known = rows(&symbols, &[("NEIRO", "1000NEIROCTO", KUCOIN, Some("1000"))]);
        check(&known, &[target, ("NEIROUSDT", 2, 3)]);
    }

    #[test]
    fn a_row_has_one_source() {
        // Equal names and a mapper claim the same row for the same symbol: once, and the mapper's ratio counts.
        let same = [(1, BINANCE, "ABC", "USDT"), (2, BYBIT, "ABC", "USDT")];
        let report = check(&rows(&same, &[("ABC", "ABC", BYBIT, Some("10"))]), &[("ABCUSDT", 1, 0), ("ABCUSDT", 2, 1)]);
        assert!(report.contested.is_empty());
        // And one that cannot be honoured takes the price away instead of falling back.
        let report = check(&rows(&same, &[("ABC", "ABC", BYBIT, Some("3"))]), &[("ABCUSDT", 1, 0)]);
        assert_eq!(report.unknown_ratio.len(), 1);

        // Two symbols claim one row: the mapper before equal names.
        let two = [(1, BINANCE, "FLOKI", "USDT"), (2, BINANCE, "1000FLOKI", "USDT"), (3, BYBIT, "FLOKI", "USDT")];
        let report = check(
            &rows(&two, &[("1000FLOKI", "FLOKI", BYBIT, None)]),
            &[("FLOKIUSDT", 1, 0), ("1000FLOKIUSDT", 2, 0), ("1000FLOKIUSDT", 3, -3)],
        );
        let contest = Contested { row_id: 3, kept: "1000FLOKIUSDT".to_owned(), dropped: "FLOKIUSDT".to_owned() };
        assert_eq!(report.contested, [contest]);

        // The pair twice on Binance: both rows get the price, the others once.
        check(
            &rows(&[(1, BINANCE, "A", "USDT"), (2, BINANCE, "A", "USDT"), (3, BYBIT, "A", "USDT")], &[]),
            &[("AUSDT", 1, 0), ("AUSDT", 2, 0), ("AUSDT", 3, 0)],
        );
        // A mapper adds to equal names, it does not replace them.
        check(
            &rows(
                &[(1, BINANCE, "BTC", "USDT"), (2, KUCOIN, "BTC", "USDT"), (3, KUCOIN, "XBT", "USDT")],
                &[("BTC", "XBT", KUCOIN, None), ("BTC", "XBT", KUCOIN, None)],
            ),
            &[("BTCUSDT", 1, 0), ("BTCUSDT", 2, 0), ("BTCUSDT", 3, 0)],
        );
    }

    #[test]
    fn what_is_left_out_is_named() {
        let mut rows = rows(
            &[
                (1, BINANCE, "1000FLOKI", "USDT"),
                (2, BYBIT, "FLOKI", "USDT"),
                (3, KUCOIN, "1000FLOKI", "USDT"),
                (4, BYBIT, "XYZ", "USDT"),
                (5, OFF, "FLOKI", "USDT"),
            ],
            &[("1000FLOKI", "FLOKI", OFF, None), ("GONE", "AWAY", KUCOIN, None)],
        );
        rows.symbols[2].is_price_aligned = false;
        let report = check(&rows, &[("1000FLOKIUSDT", 1, 0)]);
        assert_eq!(report.unaligned.iter().map(|pairing| pairing.row_id).collect::<Vec<_>>(), [3]);
        let lookalikes: Vec<_> = report.lookalikes.iter().map(|pairing| (pairing.row_id, pairing.shift)).collect();
        assert_eq!(lookalikes, [(2, Some(-3))]);
        let idle = IdleMapper {
            binance_token: "GONE".to_owned(),
            other_token: "AWAY".to_owned(),
            exchange: "kucoin".to_owned(),
        };
        assert_eq!((report.idle_mappers, report.inactive_mappers, report.inactive_rows), (vec![idle], 1, 1));
    }

    #[test]
    fn the_stored_pair_names_the_symbol_and_a_dated_contract_feeds_only_itself() {
        let mut rows = rows(
            &[
                (1, BINANCE, "BTC", "USDT"),
                (2, BINANCE, "BTC", "USDT"),
                (3, BINANCE, "BTC", "USDT"),
                (4, BYBIT, "BTC", "USDT"),
                (5, BINANCE, "ETH", "BTC"),
            ],
            &[],
        );
        rows.symbols[0].asset = Some("BTCUSDT".to_owned());
        rows.symbols[1].asset = Some("BTCUSDT_261225".to_owned());
        rows.symbols[2].parsed_trading_pair = Some("BTCUSDT_270326".to_owned());
        rows.symbols[4].parsed_trading_pair = Some(String::new());
        check(
            &rows,
            &[
                ("BTCUSDT", 1, 0),
                ("BTCUSDT_261225", 2, 0),
                ("BTCUSDT_270326", 3, 0),
                ("BTCUSDT", 4, 0),
                ("ETHBTC", 5, 0),
            ],
        );
    }

    #[test]
    fn slots_are_bound_as_they_appear() {
        let (mut map, _) = SymbolMap::build(&rows(&[(1, BINANCE, "A", "USDT"), (2, BINANCE, "B", "USDT")], &[]));
        map.bind(&[Arc::from("BUSDT"), Arc::from("NOBODY")]);
        map.bind(&[Arc::from("AUSDT")]);
        let ids = |slot| map.targets_of(Slot(slot)).iter().map(|target| target.row_id).collect::<Vec<_>>();
        assert_eq!([ids(0), ids(1), ids(2), ids(3)], [vec![2], vec![], vec![1], vec![]]);
        assert_eq!(map.bound(), 3);
        let (other, _) = SymbolMap::build(&rows(&[(1, BINANCE, "A", "USDT"), (9, BINANCE, "B", "USDT")], &[]));
        assert!(map.agrees_on(&other, "AUSDT") && !map.agrees_on(&other, "BUSDT") && map.agrees_on(&other, "NOBODY"));
    }
}
