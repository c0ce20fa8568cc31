//! The workflows that an event may start, each with its switch, its queue and its arguments (facts/incumbent.md §5). Names
//! are the incumbent's; those that it resolves per exchange are left generic here, the relay maps them.

use serde_json::Value;

use crate::domain::Wall;
use crate::store::work_rows::NewIntent;

/// The queue of all that protects a position.
const PRIORITY: &str = "priority";
/// The queue of quantity syncs.
const POSITIONS: &str = "positions";

/// A kind of intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntentKind {
    /// Bring a working order back to what the application placed.
    OrderCorrection,
    /// Close a position whose take-profit or stop was filled.
    ClosePosition,
    /// Look at the venue and close the position or place its missing orders anew.
    PositionReplacement,
    /// Read a position's quantity from the venue.
    QuantitySync,
    /// Compute the average entry price anew and resize the take-profit.
    ApplyWap,
    /// Cancel the opening orders of a position that is flat.
    OpenOrdersCancel,
    /// The same workflow as [`IntentKind::PositionReplacement`], started by a fill that is none of ours.
    ExternalClose,
    /// Keep a symbol from being opened again after its stop was hit. An intent of its own rather than an argument of
    /// [`IntentKind::ClosePosition`]: the incumbent blocks the symbol even where a close runs already.
    SymbolBlock,
}

impl IntentKind {
    /// All of them.
    pub const ALL: [IntentKind; 8] = [
        IntentKind::OrderCorrection,
        IntentKind::ClosePosition,
        IntentKind::PositionReplacement,
        IntentKind::QuantitySync,
        IntentKind::ApplyWap,
        IntentKind::OpenOrdersCancel,
        IntentKind::ExternalClose,
        IntentKind::SymbolBlock,
    ];

    /// Its name in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            IntentKind::OrderCorrection => "order_correction",
            IntentKind::ClosePosition => "close_position",
            IntentKind::PositionReplacement => "position_replacement",
            IntentKind::QuantitySync => "quantity_sync",
            IntentKind::ApplyWap => "apply_wap",
            IntentKind::OpenOrdersCancel => "open_orders_cancel",
            IntentKind::ExternalClose => "external_close",
            IntentKind::SymbolBlock => "symbol_block",
        }
    }

    /// The workflow: [`NewIntent::name`].
    #[must_use]
    pub const fn workflow(self) -> &'static str {
        match self {
            IntentKind::OrderCorrection => "PrepareOrderCorrectionJob",
            IntentKind::ClosePosition => "ClosePositionJob",
            IntentKind::PositionReplacement | IntentKind::ExternalClose => "PreparePositionReplacementJob",
            IntentKind::QuantitySync => "SyncPositionQuantityFromExchangeJob",
            IntentKind::ApplyWap => "ApplyWapJob",
            IntentKind::OpenOrdersCancel => "CancelPositionOpenOrdersJob",
            IntentKind::SymbolBlock => "BlockExchangeSymbolJob",
        }
    }

    /// The logical queue.
    #[must_use]
    pub const fn queue(self) -> &'static str {
        match self {
            IntentKind::QuantitySync => POSITIONS,
            _ => PRIORITY,
        }
    }
}

/// One switch a kind; all are on unless told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntentSwitches {
    on: [bool; IntentKind::ALL.len()],
}

impl IntentSwitches {
    /// All on but those named, as [`IntentKind::as_str`] spells them.
    ///
    /// # Errors
    /// A name that is none; the sentence lists all that are.
    pub fn without<N: AsRef<str>>(names: &[N]) -> Result<IntentSwitches, String> {
        let mut switches = IntentSwitches::default();
        for name in names {
            let name = name.as_ref();
            let Some(kind) = IntentKind::ALL.into_iter().find(|kind| kind.as_str() == name) else {
                let known = IntentKind::ALL.map(IntentKind::as_str).join(", ");
                return Err(format!("{name:?} is no kind of intent; there are {known}"));
            };
            switches.set(kind, false);
        }
        Ok(switches)
    }

    /// Turns one.
    pub fn set(&mut self, kind: IntentKind, on: bool) {
        self.on[kind as usize] = on;
    }

    /// Whether intents of this kind are written.
    #[must_use]
    pub fn is_on(&self, kind: IntentKind) -> bool {
        self.on[kind as usize]
    }
}

impl Default for IntentSwitches {
    fn default() -> Self {
        IntentSwitches { on: [true; IntentKind::ALL.len()] }
    }
}

/// An intent before anybody has looked whether it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// What it starts.
    pub kind: IntentKind,
    /// `positions.id`.
    pub position_id: i64,
    /// `orders.id`, where one order is the cause.
    pub order_id: Option<i64>,
    /// A JSON object with the incumbent's argument names.
    pub arguments: Value,
}

impl Draft {
    /// While an intent with this key lives, no other of the workflow is started: one a position, corrections one an order.
    #[must_use]
    pub fn live_key(&self) -> String {
        let workflow = self.kind.workflow();
        match (self.kind, self.order_id) {
            (IntentKind::OrderCorrection, Some(order)) => format!("{workflow}:{}:{order}", self.position_id),
            _ => format!("{workflow}:{}", self.position_id),
        }
    }

    /// The row: `cause` is the audit key of the event.
    #[must_use]
    pub fn intent(&self, account_id: i64, cause: &str, at: Wall) -> NewIntent {
        NewIntent {
            name: self.kind.workflow(),
            position_id: self.position_id,
            account_id,
            order_id: self.order_id,
            arguments: self.arguments.to_string(),
            queue: self.kind.queue(),
            live_key: self.live_key(),
            dedupe: format!("{cause}:{}:{}", self.kind.workflow(), self.position_id),
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_take_every_name_and_refuse_others() {
        assert!(IntentKind::ALL.iter().all(|kind| IntentSwitches::default().is_on(*kind)));
        for kind in IntentKind::ALL {
            let switches = IntentSwitches::without(&[kind.as_str()]).unwrap();
            for other in IntentKind::ALL {
                assert_eq!(switches.is_on(other), other != kind, "{kind:?} {other:?}");
            }
        }
        let refused = IntentSwitches::without(&["apply_wap", "Apply_wap"]).unwrap_err();
        assert!(refused.starts_with("\"Apply_wap\" is no kind of intent; there are order_correction, "), "{refused}");
    }

    #[test]
    fn one_workflow_lives_a_position_and_corrections_one_an_order() {
        let draft = |kind| Draft { kind, position_id: 7, order_id: Some(9), arguments: Value::Null };
        assert_eq!(draft(IntentKind::OrderCorrection).live_key(), "PrepareOrderCorrectionJob:7:9");
        assert_eq!(draft(IntentKind::ApplyWap).live_key(), "ApplyWapJob:7");
        assert_eq!(draft(IntentKind::ExternalClose).live_key(), draft(IntentKind::PositionReplacement).live_key());
        let longest = Draft { position_id: i64::MIN, order_id: Some(i64::MIN), ..draft(IntentKind::QuantitySync) };
        assert!(longest.intent(1, &"f".repeat(64), Wall::default()).dedupe.len() <= 255);
    }
}
