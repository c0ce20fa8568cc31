//! The venue itself, sans-IO: prices that walk at random, and the frames that tell them.
//!
//! Prices are whole units of 10⁻⁸, so that what is on the wire is exact and a checker can compare digit for digit. Time is
//! passed in; the same seed and the same times give the same bytes. Element shape and key order are the live ones of
//! `facts/binance.md` §5.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;

use crate::domain::Random;

use super::cross_listing::{self, CrossListing};
use super::listing::{self, Counts, Listed, UNITS_PER_ONE};
use super::poison::{BadEntry, Poisoned};

/// Funding is every eight hours.
const FUNDING_MS: i64 = 8 * 3_600_000;

/// Which of the two frames of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// USDⓈ-M and COIN-M, some 750 entries.
    Ordinary,
    /// TradFi, some 200 entries, about a millisecond later.
    TradFi,
}

/// What to do to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distortion {
    /// Nothing.
    None,
    /// Two bad entries of every kind among the good ones; one of each two symbols is held back afterwards.
    BadPrices,
    /// A third of the symbols absent.
    MissingSymbols,
}

/// What a frame says, for the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameRecord {
    /// Grows with every frame written.
    pub number: u64,
    /// `E` of its entries.
    pub event_ms: i64,
    /// Good USDⓈ-M entries: position in the list, price in units.
    pub valid: Vec<(usize, u64)>,
    /// Good COIN-M entries, which a client drops.
    pub other_market: u64,
    /// Bad entries.
    pub bad: Vec<Poisoned>,
}

impl FrameRecord {
    /// All entries of the frame.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.valid.len() as u64 + self.other_market + self.bad.len() as u64
    }
}

/// The list and its prices.
#[derive(Clone, Debug)]
pub struct Market {
    listed: Vec<Listed>,
    cross: Vec<CrossListing>,
    prices: Vec<u64>,
    held_back: Vec<bool>,
    ordinary: usize,
    frozen: bool,
    narrow_columns: bool,
    frames: u64,
    random: Random,
}

impl Market {
    /// A market of `counts` symbols; the same seed gives the same market. `narrow_columns` adds prices that
    /// `numeric(20,8)` would round to the bad ones.
    #[must_use]
    pub fn new(seed: u64, counts: Counts, narrow_columns: bool) -> Self {
        let mut random = Random::from_seed(seed);
        let listed = listing::build(counts, &mut random.fork());
        let cross = cross_listing::build(&listed, &mut random.fork());
        let prices = listed.iter().map(|l| l.start).collect();
        let held_back = vec![false; listed.len()];
        let ordinary = counts.ordinary + counts.coin_m;
        Market { listed, cross, prices, held_back, ordinary, frozen: false, narrow_columns, frames: 0, random }
    }

    /// The list, in wire order.
    #[must_use]
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }

    /// What the other venues list.
    #[must_use]
    pub fn cross(&self) -> &[CrossListing] {
        &self.cross
    }

    /// The current price of the symbol at `position`, in units.
    #[must_use]
    pub fn price(&self, position: usize) -> u64 {
        self.prices[position]
    }

    /// The number of the next frame that is written.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.frames + 1
    }

    /// Prices stay where they are from now on; frames go on.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// One second passes: every price moves by at most 0.05 %, one unit at least when it moves, and never below one unit.
    pub fn step(&mut self) {
        if self.frozen {
            return;
        }
        for (price, l) in self.prices.iter_mut().zip(&self.listed) {
            let reach = (*price / 2_000).max(1);
            let moved = (*price - reach.min(*price)) + self.random.below(2 * reach + 1);
            if !l.settling {
                *price = moved.clamp(1, u64::MAX / 4);
            }
        }
    }

    /// Appends the array of one frame to `out`, and says what is in it.
    pub fn write_frame(
        &mut self,
        group: Group,
        event_ms: i64,
        distortion: Distortion,
        out: &mut Vec<u8>,
    ) -> FrameRecord {
        self.frames += 1;
        let mut record = FrameRecord { number: self.frames, event_ms, ..FrameRecord::default() };
        let bad = if distortion == Distortion::BadPrices { self.choose_bad(group) } else { Vec::new() };
        let funding_ms = (event_ms.div_euclid(FUNDING_MS) + 1) * FUNDING_MS;
        out.push(b'[');
        let mut first = true;
        for position in self.range(group) {
            let bad_kind = bad.iter().find(|(at, ..)| *at == position);
            let absent = distortion == Distortion::MissingSymbols && position > 0 && self.random.below(3) == 0;
            if absent || (self.held_back[position] && bad_kind.is_none()) {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            let l = &self.listed[position];
            if let Some(&(_, kind, held_back)) = bad_kind {
                kind.write(&l.symbol, event_ms, funding_ms, out);
                record.bad.push(Poisoned { symbol: l.symbol.clone(), kind, frame_event_ms: event_ms, held_back });
                continue;
            }
            let price = self.prices[position];
            write_element(l, price, event_ms, funding_ms, &mut self.random, out);
            if l.contract.is_coin_m() {
                record.other_market += 1;
            } else {
                record.valid.push((position, price));
            }
        }
        out.push(b']');
        record
    }

    fn range(&self, group: Group) -> Range<usize> {
        match group {
            Group::Ordinary => 0..self.ordinary,
            Group::TradFi => self.ordinary..self.listed.len(),
        }
    }

    /// Two symbols for each kind, the second of them held back from now on; those held back until now come back.
    fn choose_bad(&mut self, group: Group) -> Vec<(usize, BadEntry, bool)> {
        self.held_back.fill(false);
        let mut candidates: Vec<usize> = self
            .range(group)
            .filter(|&at| !self.listed[at].contract.is_coin_m() && !self.listed[at].settling)
            .collect();
        let mut chosen = Vec::new();
        let narrow = self.narrow_columns.then_some(BadEntry::ColumnRounds);
        for kind in BadEntry::ALWAYS.into_iter().chain(narrow) {
            for held_back in [false, true] {
                // Half of the list at least stays good, however short it is.
                if candidates.len() <= chosen.len() {
                    return chosen;
                }
                let at = candidates.swap_remove(self.random.below(candidates.len() as u64) as usize);
                self.held_back[at] = held_back;
                chosen.push((at, kind, held_back));
            }
        }
        chosen
    }
}

/// Decimal text of a price: eight digits behind the point.
#[must_use]
pub fn price_text(units: u64) -> String {
    let mut text = String::with_capacity(20);
    let _ = write!(text, "{}.{:08}", units / UNITS_PER_ONE, units % UNITS_PER_ONE);
    text
}

fn write_element(l: &Listed, price: u64, event_ms: i64, funding_ms: i64, random: &mut Random, out: &mut Vec<u8>) {
    let mut beside = || (price - price / 2_000) + random.below(price / 1_000 + 1);
    let average = if price.is_multiple_of(4) { beside() } else { price };
    let (settle, index) = (beside(), beside());
    let (rate, funding_ms) = if l.contract.has_funding() && !l.settling {
        (random.below(40_000) as i64 - 15_000, funding_ms)
    } else {
        (0, 0)
    };
    let sign = if rate < 0 { "-" } else { "" };
    let one = UNITS_PER_ONE;
    let _ = write!(
        out,
        "{{\"e\":\"markPriceUpdate\",\"E\":{event_ms},\"s\":\"{}\",\"p\":\"{}.{:08}\",\"ap\":\"{}.{:08}\",\"P\":\"{}.{:08}\",\
         \"i\":\"{}.{:08}\",\"r\":\"{sign}0.{:08}\",\"T\":{funding_ms},\"st\":{}}}",
        l.symbol,
        price / one,
        price % one,
        average / one,
        average % one,
        settle / one,
        settle % one,
        index / one,
        index % one,
        rate.unsigned_abs(),
        if l.contract.is_coin_m() { 2 } else { 1 },
    );
}
