//! The rules of the symbol map: who claims which row, with which shift, and who gets it.
//!
//! Pure and small enough to read in one go; [`super::symbol_map`] says why each rule is there.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::map_report::{Contested, IdleMapper, MapReport, Pairing};
use super::target::Target;
use crate::domain::Venue;
use crate::domain::limits::ROWS_MAX;
use crate::exchange::contract_name::{shift_between, split_multiplier};
use crate::store::rows::{MapRows, SymbolRow, TokenMapper};

/// Why a symbol claims a row; the earlier the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// It is the symbol's own row on Binance.
    Own,
    /// A mapper says so.
    Mapper,
    /// Token and quote are equal.
    EqualNames,
}

/// A symbol's claim on a row.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) symbol: String,
    pub(super) target: Target,
    reason: Reason,
    /// The Binance row behind the symbol.
    binance_id: i64,
    pairing: Pairing,
}

/// All claims, not yet settled.
pub(super) struct Claims {
    claims: Vec<Claim>,
}

/// The symbol of a Binance row in the price stream: the stored pair, or token and quote joined. A dated contract whose
/// pair was never stored is known by its asset.
pub(super) fn pair_of(row: &SymbolRow) -> Cow<'_, str> {
    if let Some(pair) = row.parsed_trading_pair.as_deref().filter(|pair| !pair.is_empty()) {
        return Cow::Borrowed(pair);
    }
    let joined = format!("{}{}", row.token, row.quote);
    match row.asset.as_deref() {
        Some(asset) if asset.strip_prefix(&joined).is_some_and(|rest| rest.starts_with('_')) => Cow::Borrowed(asset),
        _ => Cow::Owned(joined),
    }
}

/// The exponent of an exact power of ten written as a decimal: `1000`, `0.001`, `10.00`; `None` for anything else.
pub(super) fn ratio_exponent(text: &str) -> Option<i8> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(integer) || !digits(fraction) {
        return None;
    }
    let mut found = None;
    for (at, b) in integer.bytes().chain(fraction.bytes()).enumerate() {
        match b {
            b'0' => {}
            b'1' if found.is_none() => found = Some(integer.len() as i64 - 1 - at as i64),
            _ => return None,
        }
    }
    // Wider than any price has digits: nonsense, not a ratio.
    found.filter(|exponent| exponent.abs() <= 18).map(|exponent| exponent as i8)
}

impl Claims {
    /// Every claim that the rows justify.
    pub(super) fn collect(rows: &MapRows, report: &mut MapReport) -> Claims {
        let index = Index::new(rows);
        let mut claims = Vec::new();
        let mut mapped = HashSet::new();
        for binance in index.binance_rows() {
            let symbol = pair_of(binance);
            index.claim(&mut claims, report, &symbol, binance, binance, Reason::Own, Some(0), None);
            // A dated contract is priced apart from the perpetual: nobody else's row may have it.
            if symbol.contains('_') {
                continue;
            }
            for system in index.other_systems() {
                for row in index.rows_of(system, &binance.token, &binance.quote) {
                    index.claim(&mut claims, report, &symbol, binance, row, Reason::EqualNames, Some(0), None);
                }
            }
            for &(at, mapper) in index.mappers_of(&binance.token) {
                for row in index.rows_of(mapper.other_api_system_id, &mapper.other_token, &binance.quote) {
                    mapped.insert(at);
                    let ratio = mapper.price_ratio.as_deref();
                    let shift = match ratio {
                        Some(ratio) => ratio_exponent(ratio),
                        None => shift_between(&mapper.binance_token, &mapper.other_token),
                    };
                    index.claim(&mut claims, report, &symbol, binance, row, Reason::Mapper, shift, ratio);
                }
            }
        }
        index.report_rest(&mapped, &claims, report);
        Claims { claims }
    }

    /// One symbol for each row; claims without a known shift take the row out, so that no weaker claim gives it a price
    /// that the stronger one contradicts.
    pub(super) fn settle(mut self, report: &mut MapReport) -> Vec<Claim> {
        self.claims.sort_by(|a, b| {
            let key = |claim: &Claim| (claim.target.row_id, claim.reason, claim.binance_id);
            key(a).cmp(&key(b)).then_with(|| a.symbol.cmp(&b.symbol))
        });
        // A row that is out has been met once by each claim.
        report.unaligned.sort_unstable_by_key(|pairing| pairing.row_id);
        report.unaligned.dedup_by_key(|pairing| pairing.row_id);
        let mut settled: Vec<Claim> = Vec::new();
        let mut holder: Option<(i64, String)> = None;
        for claim in self.claims {
            match &holder {
                Some((row_id, kept)) if *row_id == claim.target.row_id => {
                    if *kept != claim.symbol {
                        let (row_id, kept, dropped) = (*row_id, kept.clone(), claim.symbol);
                        report.contested.push(Contested { row_id, kept, dropped });
                    }
                    continue;
                }
                _ => holder = Some((claim.target.row_id, claim.symbol.clone())),
            }
            if claim.pairing.shift.is_none() {
                report.unknown_ratio.push(claim.pairing);
            } else if settled.len() >= ROWS_MAX {
                report.rows_over_limit += 1;
            } else {
                *report.rows_by_exchange.entry(claim.pairing.exchange.clone()).or_default() += 1;
                if claim.target.shift != 0 {
                    report.shifted.push(claim.pairing.clone());
                }
                settled.push(claim);
            }
        }
        settled
    }
}

/// The rows by what they are looked up by.
struct Index<'a> {
    rows: &'a MapRows,
    names: HashMap<i64, &'a str>,
    binance: Option<i64>,
    /// Active exchanges but Binance, which is the source and always on.
    others: Vec<i64>,
    by_name: BTreeMap<(i64, &'a str, &'a str), Vec<&'a SymbolRow>>,
    mappers: HashMap<&'a str, Vec<(usize, &'a TokenMapper)>>,
}

impl<'a> Index<'a> {
    fn new(rows: &'a MapRows) -> Self {
        let binance = rows.systems.iter().find(|system| system.canonical == Venue::Binance.canonical());
        let binance = binance.map(|system| system.id);
        let active = rows.systems.iter().filter(|system| system.is_active && Some(system.id) != binance);
        let mut by_name: BTreeMap<_, Vec<&SymbolRow>> = BTreeMap::new();
        for row in &rows.symbols {
            by_name.entry((row.api_system_id, row.token.as_str(), row.quote.as_str())).or_default().push(row);
        }
        let mut mappers: HashMap<&str, Vec<(usize, &TokenMapper)>> = HashMap::new();
        for (at, mapper) in rows.mappers.iter().enumerate() {
            mappers.entry(&mapper.binance_token).or_default().push((at, mapper));
        }
        Index {
            names: rows.systems.iter().map(|system| (system.id, system.canonical.as_str())).collect(),
            binance,
            others: active.map(|system| system.id).collect(),
            rows,
            by_name,
            mappers,
        }
    }

    fn binance_rows(&self) -> impl Iterator<Item = &'a SymbolRow> {
        self.rows.symbols.iter().filter(|row| Some(row.api_system_id) == self.binance)
    }

    fn other_systems(&self) -> impl Iterator<Item = i64> {
        self.others.iter().copied()
    }

    fn is_on(&self, system: i64) -> bool {
        Some(system) == self.binance || self.others.contains(&system)
    }

    fn rows_of(&self, system: i64, token: &'a str, quote: &'a str) -> &[&'a SymbolRow] {
        let rows = if self.is_on(system) { self.by_name.get(&(system, token, quote)) } else { None };
        rows.map_or(&[], Vec::as_slice)
    }

    fn mappers_of(&self, token: &'a str) -> &[(usize, &'a TokenMapper)] {
        self.mappers.get(token).map_or(&[], Vec::as_slice)
    }

    fn name(&self, system: i64) -> String {
        self.names.get(&system).map_or_else(|| format!("api_system {system}"), |name| (*name).to_owned())
    }

    #[expect(clippy::too_many_arguments, reason = "a claim is these eight facts; a struct would only name them twice")]
    fn claim(
        &self,
        claims: &mut Vec<Claim>,
        report: &mut MapReport,
        symbol: &str,
        binance: &SymbolRow,
        row: &SymbolRow,
        reason: Reason,
        shift: Option<i8>,
        price_ratio: Option<&str>,
    ) {
        let pairing = Pairing {
            symbol: symbol.to_owned(),
            binance_token: binance.token.clone(),
            exchange: self.name(row.api_system_id),
            token: row.token.clone(),
            quote: row.quote.clone(),
            row_id: row.id,
            shift,
            price_ratio: price_ratio.map(str::to_owned),
        };
        if !row.is_price_aligned {
            report.unaligned.push(pairing);
            return;
        }
        let target = Target { row_id: row.id, api_system_id: row.api_system_id, shift: shift.unwrap_or(0) };
        claims.push(Claim { symbol: symbol.to_owned(), target, reason, binance_id: binance.id, pairing });
    }

    /// Mappers and rows that came to nothing.
    fn report_rest(&self, mapped: &HashSet<usize>, claims: &[Claim], report: &mut MapReport) {
        for (at, mapper) in self.rows.mappers.iter().enumerate() {
            if !self.is_on(mapper.other_api_system_id) {
                report.inactive_mappers += 1;
            } else if !mapped.contains(&at) {
                report.idle_mappers.push(IdleMapper {
                    binance_token: mapper.binance_token.clone(),
                    other_token: mapper.other_token.clone(),
                    exchange: self.name(mapper.other_api_system_id),
                });
            }
        }
        report.inactive_rows = self.rows.symbols.iter().filter(|row| !self.is_on(row.api_system_id)).count();

        let mut by_base: HashMap<(&str, &str), Vec<&SymbolRow>> = HashMap::new();
        for row in self.binance_rows().filter(|row| !pair_of(row).contains('_')) {
            by_base.entry((split_multiplier(&row.token).1, &row.quote)).or_default().push(row);
        }
        let claimed: HashSet<i64> = claims.iter().map(|claim| claim.target.row_id).collect();
        for row in &self.rows.symbols {
            let other = self.others.contains(&row.api_system_id);
            if !other || !row.is_price_aligned || claimed.contains(&row.id) {
                continue;
            }
            let base = split_multiplier(&row.token).1;
            for binance in by_base.get(&(base, row.quote.as_str())).map_or(&[][..], Vec::as_slice) {
                report.lookalikes.push(Pairing {
                    symbol: pair_of(binance).into_owned(),
                    binance_token: binance.token.clone(),
                    exchange: self.name(row.api_system_id),
                    token: row.token.clone(),
                    quote: row.quote.clone(),
                    row_id: row.id,
                    shift: shift_between(&binance.token, &row.token),
                    price_ratio: None,
                });
            }
        }
    }
}
