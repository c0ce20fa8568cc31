//! What a private event says, in words that all venues share: the columns of `api_data_stream`, and what the order rules
//! need beside them (facts/incumbent.md §4.1). A pure value: any bytes give one.

use crate::domain::Decimal;
use crate::domain::order::{OrderStatus, PositionSide, Side};

/// `api_data_stream.event_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// An order changed.
    OrderUpdate,
    /// A fill by itself; no Binance event is one.
    Execution,
    /// A position by itself; no Binance event is one.
    PositionUpdate,
    /// Balances or positions changed.
    AccountUpdate,
    /// Positions near liquidation.
    MarginCall,
    /// The listen key is dead.
    ListenKeyExpired,
    /// Anything else, malformed frames too.
    #[default]
    Other,
}

impl EventKind {
    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EventKind::OrderUpdate => "order_update",
            EventKind::Execution => "execution",
            EventKind::PositionUpdate => "position_update",
            EventKind::AccountUpdate => "account_update",
            EventKind::MarginCall => "margin_call",
            EventKind::ListenKeyExpired => "listen_key_expired",
            EventKind::Other => "other",
        }
    }
}

/// An event, projected. Texts are at most as long as their columns; what does not fit is `None` and counted in `misfits`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// `raw_event_type`: the venue's own name, empty if there is none.
    pub raw_event_type: String,
    /// `event_type`.
    pub kind: EventKind,
    /// `exchange_order_id`: text, since ids pass 2^63.
    pub exchange_order_id: Option<String>,
    /// `client_order_id`.
    pub client_order_id: Option<String>,
    /// `symbol`.
    pub symbol: Option<String>,
    /// `status`: the venue's word.
    pub native_status: Option<String>,
    /// `normalized_status`, exactly as the incumbent maps it (`TRIGGERED`, `FINISHED`, `EXPIRED_IN_MATCH` are `UNKNOWN`);
    /// `None` for what is no order event.
    pub normalized_status: Option<OrderStatus>,
    /// What the order rules take it for: `TRIGGERING` and `TRIGGERED` kept, `FINISHED` what its executed quantity makes of
    /// it, `EXPIRED_IN_MATCH` as `EXPIRED`; `None` for what is no order event.
    pub status: Option<OrderStatus>,
    /// `price`: stated price, or an algo order's trigger price.
    pub price: Option<Decimal>,
    /// `average_price`.
    pub average_price: Option<Decimal>,
    /// `original_quantity`.
    pub original_quantity: Option<Decimal>,
    /// `filled_quantity`: cumulative.
    pub filled_quantity: Option<Decimal>,
    /// `last_filled_price`.
    pub last_filled_price: Option<Decimal>,
    /// `last_filled_quantity`.
    pub last_filled_quantity: Option<Decimal>,
    /// `event_time`, ms since 1970 UTC: `E`, else `T`.
    pub event_time_ms: Option<i64>,
    /// `T`, ms since 1970 UTC: when the matching engine did it. Orders events of one order; `None` where it is absent.
    pub transaction_time_ms: Option<i64>,
    /// The allowlist's word: `o.x`, or `ALGO_` and the algo order's status (`ALGO_FINISHED`).
    pub execution_type: Option<String>,
    /// An algo order that has finished with an executed quantity also answers to this word: `ALGO_FILLED`.
    pub execution_alias: Option<&'static str>,
    /// `S`.
    pub side: Option<Side>,
    /// `ps`.
    pub position_side: Option<PositionSide>,
    /// `R`; `None` on algo events, where its absence says nothing.
    pub reduce_only: Option<bool>,
    /// `cp`; on algo events.
    pub close_position: Option<bool>,
    /// The event is about a conditional order: its id is an algo id.
    pub is_algo: bool,
    /// `ai`: the real order that a triggered algo order has become.
    pub triggered_order_id: Option<String>,
    /// `aq` of an algo order.
    pub executed_quantity: Option<Decimal>,
    /// The venue closed it by force: CALCULATED, or a client id that starts `autoclose-`, `adl_autoclose`,
    /// `settlement_autoclose-`.
    pub is_forced: bool,
    /// Positions of an account update that are whole.
    pub positions: Vec<PositionEntry>,
    /// Projected fields that did not fit their column or type.
    pub misfits: u32,
}

/// One position of an account update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionEntry {
    /// Trimmed, upper case.
    pub symbol: String,
    /// `ps`.
    pub side: PositionSide,
    /// `pa`, signed.
    pub quantity: Decimal,
}
