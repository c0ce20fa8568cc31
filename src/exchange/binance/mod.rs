//! Binance USDⓈ-M futures: the venue that prices come from.

mod entry;
mod instruments;
pub mod mark_price;
mod outline;
mod stream_url;

pub use instruments::Binance;
pub use stream_url::{STREAM_BASE, Spelling, UnknownSpelling, mark_price_url};
