//! What a private event does to orders, positions and intents: the decisions, without a database (facts/incumbent.md §4.3
//! to §5). Each takes rows as they are under their locks and an event's projection, and says what shall be written;
//! [`super::apply`] reads, locks and writes.
//!
//! They promise:
//!
//! - an order's state does not depend on the order in which its events arrive, nor on how often ([`order`]);
//! - quantity and every `reference_price` and `reference_quantity` stay what the application wrote;
//! - a status that this program does not know is never written, nor is a price that is not positive;
//! - with an empty [`allowlist`] nothing is decided at all.

pub mod allowlist;
pub mod decision;
pub mod external_close;
pub mod flat;
pub mod intent;
pub mod lifecycle;
pub mod order;

#[cfg(test)]
mod test_rows;

pub use allowlist::Allowlist;
pub use decision::{Decision, Rule};
pub use intent::{IntentKind, IntentSwitches};
