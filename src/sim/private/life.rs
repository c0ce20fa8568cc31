//! Order lives: what happens on an account, seeded, one move at a time.
//!
//! A life is a queue of `Move`s; a step of the account makes one move of one of its lives, or begins another. The order of
//! events within a fill is that of `facts/binance.md` §3: TRADE_LITE, for a taker NEW after it, ACCOUNT_UPDATE,
//! ORDER_TRADE_UPDATE, all with the same `T`. `T` grows strictly from step to step, so no two events have the same bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::Random;

use super::application::{Announcement, Ask, Draft};
use super::book::{AccountBook, Instrument};
use super::event::{Event, Times};

/// What can happen on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LifeKind {
    /// NEW, partial fills, FILLED.
    Filled,
    /// NEW, perhaps a partial fill, CANCELED.
    Canceled,
    /// NEW, AMENDMENT with and without `M`, then filled or canceled.
    Amended,
    /// An IOC order: NEW, EXPIRED without `n` and `N`.
    ExpiredIoc,
    /// A GTD order: NEW, EXPIRED.
    ExpiredGtd,
    /// NEW, EXPIRED with status EXPIRED_IN_MATCH.
    ExpiredInMatch,
    /// A market order that opens, NEW after TRADE_LITE, in one to three fills.
    Market,
    /// A reduce-only market order that closes a position whole; opens one where there is none.
    ClosePosition,
    /// An algo order: NEW, TRIGGERING, TRIGGERED, the real order's NEW and fill, FINISHED.
    AlgoTriggered,
    /// The same for a trailing stop, which is activated first (`ia`).
    AlgoTrailing,
    /// TRIGGERED, the real order expires, FINISHED with `aq` of zero.
    AlgoZeroFill,
    /// NEW, CANCELED.
    AlgoCanceled,
    /// NEW, EXPIRED.
    AlgoExpired,
    /// NEW, TRIGGERING, REJECTED with `rm`.
    AlgoRejected,
    /// A position is liquidated in the market: `autoclose-`, NEW, TRADE of an order of type LIQUIDATION.
    Liquidation,
    /// A position is taken over by the insurance fund: CALCULATED.
    Takeover,
    /// A trailing stop as a real order, with `AP` and `cr`: NEW, CANCELED.
    TrailingOrder,
    /// FUNDING_FEE: cross without position, isolated with it; with `S` or without.
    Funding,
    /// DEPOSIT or WITHDRAW.
    Transfer,
    /// ASSET_TRANSFER of two assets, one of them negative.
    AssetTransfer,
    /// MARGIN_TRANSFER.
    MarginTransfer,
    /// MARGIN_TYPE_CHANGE.
    MarginTypeChange,
    /// MARGIN_CALL.
    MarginCall,
    /// ACCOUNT_CONFIG_UPDATE with a leverage.
    Leverage,
    /// ACCOUNT_CONFIG_UPDATE with the multi-assets mode.
    MultiAssets,
    /// STRATEGY_UPDATE.
    Strategy,
    /// GRID_UPDATE.
    Grid,
    /// CONDITIONAL_ORDER_TRIGGER_REJECT.
    TriggerReject,
    /// An event type that nobody knows yet.
    Unknown,
}

impl LifeKind {
    /// Every kind.
    pub const ALL: [LifeKind; 29] = [
        LifeKind::Filled,
        LifeKind::Canceled,
        LifeKind::Amended,
        LifeKind::ExpiredIoc,
        LifeKind::ExpiredGtd,
        LifeKind::ExpiredInMatch,
        LifeKind::Market,
        LifeKind::ClosePosition,
        LifeKind::AlgoTriggered,
        LifeKind::AlgoTrailing,
        LifeKind::AlgoZeroFill,
        LifeKind::AlgoCanceled,
        LifeKind::AlgoExpired,
        LifeKind::AlgoRejected,
        LifeKind::Liquidation,
        LifeKind::Takeover,
        LifeKind::TrailingOrder,
        LifeKind::Funding,
        LifeKind::Transfer,
        LifeKind::AssetTransfer,
        LifeKind::MarginTransfer,
        LifeKind::MarginTypeChange,
        LifeKind::MarginCall,
        LifeKind::Leverage,
        LifeKind::MultiAssets,
        LifeKind::Strategy,
        LifeKind::Grid,
        LifeKind::TriggerReject,
        LifeKind::Unknown,
    ];

    /// How often it begins, against the others.
    const fn weight(self) -> u64 {
        match self {
            LifeKind::Filled => 24,
            LifeKind::Canceled => 14,
            LifeKind::Amended | LifeKind::Market => 10,
            LifeKind::ClosePosition => 14,
            LifeKind::AlgoTriggered | LifeKind::AlgoCanceled => 6,
            LifeKind::ExpiredIoc | LifeKind::ExpiredGtd | LifeKind::AlgoZeroFill | LifeKind::AlgoExpired => 3,
            _ => 1,
        }
    }

    fn draw(random: &mut Random) -> Self {
        let total: u64 = LifeKind::ALL.iter().map(|kind| kind.weight()).sum();
        let mut at = random.below(total);
        for kind in LifeKind::ALL {
            if at < kind.weight() {
                return kind;
            }
            at -= kind.weight();
        }
        LifeKind::Filled
    }

    /// The moves of such a life.
    fn plan(self, random: &mut Random) -> VecDeque<Move> {
        use Move::{Algo, Amend, Cancel, Expire, Fill, Place, Take, Whole};
        let mut moves = match self {
            LifeKind::Filled => vec![Place(Placement::Limit), Fill, Fill, Whole],
            LifeKind::Canceled => vec![Place(Placement::Limit), Fill, Cancel],
            LifeKind::Amended => {
                vec![Place(Placement::Limit), Amend { named: true }, Fill, Amend { named: false }, Whole]
            }
            LifeKind::ExpiredIoc => vec![Place(Placement::Ioc), Expire { reason: 2 }],
            LifeKind::ExpiredGtd => vec![Place(Placement::Gtd), Expire { reason: 0 }],
            LifeKind::ExpiredInMatch => vec![Place(Placement::Limit), Expire { reason: 1 }],
            LifeKind::Market => vec![Take { close: false }],
            LifeKind::ClosePosition => vec![Take { close: true }],
            LifeKind::AlgoTriggered => {
                vec![Algo("NEW"), Algo("TRIGGERING"), Algo("TRIGGERED"), Move::Triggered, Whole, Algo("FINISHED")]
            }
            LifeKind::AlgoTrailing => vec![
                Algo("NEW"),
                Move::Activate,
                Algo("TRIGGERING"),
                Algo("TRIGGERED"),
                Move::Triggered,
                Whole,
                Algo("FINISHED"),
            ],
            LifeKind::AlgoZeroFill => vec![
                Algo("NEW"),
                Algo("TRIGGERING"),
                Algo("TRIGGERED"),
                Move::Triggered,
                Expire { reason: 4 },
                Algo("FINISHED"),
            ],
            LifeKind::AlgoCanceled => vec![Algo("NEW"), Algo("CANCELED")],
            LifeKind::AlgoExpired => vec![Algo("NEW"), Algo("EXPIRED")],
            LifeKind::AlgoRejected => vec![Algo("NEW"), Algo("TRIGGERING"), Algo("REJECTED")],
            LifeKind::Liquidation => vec![Take { close: false }, Place(Placement::Liquidation), Move::Liquidate],
            LifeKind::Takeover => vec![Take { close: false }, Move::TakeOver],
            LifeKind::TrailingOrder => vec![Place(Placement::Trailing), Cancel],
            kind => vec![Move::Account(kind)],
        };
        // Some lives are shorter: no partial fill, canceled instead of filled.
        moves.retain(|step| !matches!(step, Fill) || random.below(2) == 0);
        if self == LifeKind::Amended && random.below(3) == 0 {
            moves.pop();
            moves.push(Cancel);
        }
        moves.into()
    }
}

/// How an order comes into the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Placement {
    Limit,
    Ioc,
    Gtd,
    Trailing,
    Liquidation,
}

/// One thing that happens in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Move {
    Place(Placement),
    /// A part of the rest, by somebody else's order.
    Fill,
    /// All of the rest.
    Whole,
    Amend {
        named: bool,
    },
    Cancel,
    /// 1 is a self-trade, 2 the rest of an IOC order.
    Expire {
        reason: u8,
    },
    /// A market order from its placement to its last fill.
    Take {
        close: bool,
    },
    /// The algo order gets this status.
    Algo(&'static str),
    Activate,
    /// The real order of a triggered algo order comes into the book.
    Triggered,
    Liquidate,
    TakeOver,
    Account(LifeKind),
}

/// One life.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Life {
    pub(in crate::sim) kind: LifeKind,
    pub(in crate::sim) moves: VecDeque<Move>,
    pub(in crate::sim) instrument: Arc<Instrument>,
    /// The side that opens.
    pub(in crate::sim) is_buy: bool,
    pub(in crate::sim) order: Option<u64>,
    pub(in crate::sim) algo: Option<u64>,
    /// What an application does in it; `None` where somebody else trades.
    pub(super) own: Option<Own>,
}

/// An application's part in a life.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// Its order takes profit: it closes what a life like this opens.
    pub(super) takes_profit: bool,
    /// It cancels by itself; else somebody at the venue does.
    pub(super) cancels: bool,
    pub(super) ask: Ask,
    /// What it has asked for, until it is placed.
    pub(super) draft: Option<Draft>,
}

/// Lives of one account, and where its numbers stand.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Lives {
    pub(super) account: usize,
    pub(super) hedge_mode: bool,
    pub(super) instruments: Arc<[Arc<Instrument>]>,
    pub(super) active: Vec<Life>,
    pub(super) random: Random,
    /// Orders, fills and algo orders so far; ids come from it.
    pub(super) serial: u64,
    /// An application trades beside others, and is asked before it does.
    pub(super) has_application: bool,
    /// What it has not been told yet.
    pub(super) announced: Vec<Announcement>,
    last: Times,
}

/// Lives of one account at a time.
pub(super) const ACTIVE_MAX: u64 = 8;
/// Lives that may be found waiting for an application before something else happens.
const WAITING_MAX: u32 = 64;

/// Draws of a symbol in which no order waits for its application.
const DRAWS_MAX: u32 = 16;

/// The price of an instrument, in units.
pub(in crate::sim) type Prices<'a> = &'a dyn Fn(&Instrument) -> i64;

impl Lives {
    pub(in crate::sim) fn new(
        account: usize,
        hedge_mode: bool,
        instruments: Arc<[Arc<Instrument>]>,
        random: Random,
    ) -> Self {
        let last = Times { transaction_ms: 0, event_ms: 0 };
        Lives {
            account,
            hedge_mode,
            instruments,
            active: Vec::new(),
            random,
            serial: 0,
            has_application: false,
            announced: Vec::new(),
            last,
        }
    }

    /// One move of one life, or the first of a new one. Never empty.
    pub(in crate::sim) fn step(
        &mut self,
        book: &mut AccountBook,
        has_room: bool,
        now_ms: i64,
        prices: Prices<'_>,
    ) -> Vec<Event> {
        let mut waiting = 0;
        while waiting < WAITING_MAX {
            let at = self.random.below(ACTIVE_MAX) as usize;
            if at >= self.active.len() {
                let kind = LifeKind::draw(&mut self.random);
                self.begin(kind);
            }
            let at = at.min(self.active.len() - 1);
            if self.waits(at, book, has_room, prices) {
                waiting += 1;
                continue;
            }
            let events = self.advance(at, book, now_ms, prices);
            if !events.is_empty() {
                return events;
            }
        }
        // Every life waits for its application; the venue goes on all the same.
        self.whole(LifeKind::Funding, book, now_ms, prices)
    }

    /// A whole life of this kind, all its moves.
    pub(in crate::sim) fn whole(
        &mut self,
        kind: LifeKind,
        book: &mut AccountBook,
        now_ms: i64,
        prices: Prices<'_>,
    ) -> Vec<Event> {
        self.begin(kind);
        if let Some(life) = self.active.last_mut() {
            // What is to happen at once waits for nobody.
            life.own = None;
        }
        let mut events = Vec::new();
        // The new life stays the last one until it is over.
        let before = self.active.len() - 1;
        while self.active.len() > before {
            events.append(&mut self.advance(before, book, now_ms, prices));
        }
        events
    }

    fn begin(&mut self, kind: LifeKind) {
        let moves = kind.plan(&mut self.random);
        let mut at = self.random.below(self.instruments.len() as u64) as usize;
        for _ in 0..DRAWS_MAX {
            if !self.is_drafted(&self.instruments[at].symbol) {
                break;
            }
            at = self.random.below(self.instruments.len() as u64) as usize;
        }
        let instrument = Arc::clone(&self.instruments[at]);
        let mut is_buy = self.random.below(2) == 0;
        let own = self.draw_own(kind);
        if own.is_some() && !self.hedge_mode {
            // Of two directions in one position an application would know neither.
            is_buy = (at + self.account).is_multiple_of(2);
        }
        self.active.push(Life { kind, moves, instrument, is_buy, order: None, algo: None, own });
    }

    fn advance(&mut self, at: usize, book: &mut AccountBook, now_ms: i64, prices: Prices<'_>) -> Vec<Event> {
        let mut life = self.active.swap_remove(at);
        let Some(next) = life.moves.pop_front() else { return Vec::new() };
        let times = self.tell(now_ms);
        let events = self.make(next, &mut life, book, times, prices);
        if !life.moves.is_empty() {
            self.active.push(life);
        }
        events
    }

    /// The times of the next step: `T` strictly later than that before, `E` up to two milliseconds behind it.
    pub(in crate::sim) fn tell(&mut self, now_ms: i64) -> Times {
        let transaction_ms = now_ms.max(self.last.transaction_ms + 1);
        let event_ms = (transaction_ms + self.random.below(3) as i64).max(self.last.event_ms);
        self.last = Times { transaction_ms, event_ms };
        self.last
    }
}
