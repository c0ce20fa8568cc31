//! The demo's checks: what each one promises, and how `--break` takes the guard behind it away.

use clap::ValueEnum;

/// One promise of the streams, checked at the end of the demo against the simulator's own ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Check {
    /// Every row of the four exchanges holds the exchange's last valid price. Broken by a stream that goes deaf half-way
    TableIsTruth,
    /// Where contract sizes differ, the price is shifted by the exact power of ten. Broken by mappers that say ratio 1
    RatioIsExact,
    /// No bad entry reached a row, and a row whose entries turned bad keeps price and time. Broken by hiding a false event time
    NothingFromBadEntries,
    /// COIN-M symbols, which share the stream, have no row. Broken by relabelling them
    CoinMLeftOut,
    /// Rows carry the receive time of their frame: never the future, never the write time. Broken by a clock one hour ahead
    StampsAreReceiveTimes,
    /// Every message is in the client's ledger, and every entry in one of its columns. Broken by losing every second message
    EveryFrameAccounted,
    /// Every injected fault was named for what it was, and the stream came back. Broken by swallowing the fault events
    FaultsSurvived,
    /// Each private frame is one audit row, in order per account, or lies inside a gap. Broken by losing every tenth job
    FramesAreAudited,
    /// Each gap is repaired, and each fill of the exchange is audited once, heard or recovered. Broken by taking the reconcile away
    GapsRepaired,
    /// The application's orders hold what the exchange's do. Broken by an allowlist without TRADE
    OrdersAreTruth,
    /// Intents follow from what happened to orders, none is doubled and none is missing. Broken by switching them off
    IntentsFollow,
    /// Memory does not grow with the number of messages. Broken by keeping them
    MemoryIsFlat,
}

impl Check {
    /// All of them, in the order of the report.
    pub const ALL: [Check; 12] = [
        Check::TableIsTruth,
        Check::RatioIsExact,
        Check::NothingFromBadEntries,
        Check::CoinMLeftOut,
        Check::StampsAreReceiveTimes,
        Check::EveryFrameAccounted,
        Check::FaultsSurvived,
        Check::FramesAreAudited,
        Check::GapsRepaired,
        Check::OrdersAreTruth,
        Check::IntentsFollow,
        Check::MemoryIsFlat,
    ];

    /// The word of `--break` and of the report.
    pub fn name(self) -> &'static str {
        match self {
            Check::TableIsTruth => "table_is_truth",
            Check::RatioIsExact => "ratio_is_exact",
            Check::NothingFromBadEntries => "nothing_from_bad_entries",
            Check::CoinMLeftOut => "coin_m_left_out",
            Check::StampsAreReceiveTimes => "stamps_are_receive_times",
            Check::EveryFrameAccounted => "every_frame_accounted",
            Check::FaultsSurvived => "faults_survived",
            Check::FramesAreAudited => "frames_are_audited",
            Check::GapsRepaired => "gaps_repaired",
            Check::OrdersAreTruth => "orders_are_truth",
            Check::IntentsFollow => "intents_follow",
            Check::MemoryIsFlat => "memory_is_flat",
        }
    }
}

/// What a check came to.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Which.
    pub check: Check,
    /// Whether the promise held.
    pub ok: bool,
    /// What was compared, with numbers; where it failed, the first example.
    pub detail: String,
}
