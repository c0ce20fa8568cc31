//! Words of the trade: what a price, an instrument, an instant is, and how large anything may grow.
//!
//! Pure values without I/O. Imports nothing of ours; std and smallvec only.

pub mod decimal;
pub mod instrument;
pub mod layer;
pub mod limits;
pub mod order;
pub mod price_text;
pub mod random;
pub mod time;

pub use decimal::Decimal;
pub use instrument::{Instrument, Venue};
pub use layer::Layer;
pub use price_text::{BadPrice, ColumnScale, PriceText};
pub use random::Random;
pub use time::{Clock, MachineClock, Mono, Now, Wall};
