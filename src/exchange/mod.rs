//! What venues say and how: URLs, frame shapes, REST shapes. Pure: bytes in, meaning out; no socket, no clock.
//!
//! One folder per venue. The REST side is control plane: it may allocate. The frame parser is data plane: see
//! [`binance::mark_price`].
//!
//! May import `domain`.

pub mod binance;
pub mod bitget;
pub mod bybit;
pub mod contract_name;
pub mod instruments;
pub mod kucoin;
pub mod projection;
mod rest_shape;

pub use instruments::{InstrumentList, InstrumentPage, LeftOut, ListError, list_instruments};
pub use projection::{EventKind, PositionEntry, Projection};
pub use rest_shape::ShapeError;

use crate::domain::Venue;

/// What differs from venue to venue.
pub trait Exchange: Send + Sync {
    /// Which venue this is.
    fn venue(&self) -> Venue;

    /// Scheme and host of the venue's public REST in production.
    fn rest_base(&self) -> &'static str;

    /// The URL of one page of the instrument list; `cursor` is the previous page's `next_cursor`.
    fn instruments_request(&self, base: &str, cursor: Option<&str>) -> String;

    /// Reads one page. An answer with an error status has a body worth reading too: it says why.
    ///
    /// # Errors
    /// [`ShapeError`] if the venue refused the request or the list is not where it should be. A single instrument that
    /// cannot be read is counted in the page instead.
    fn read_instruments(&self, body: &[u8]) -> Result<InstrumentPage, ShapeError>;
}

/// The venue's side of the conversation.
#[must_use]
pub fn exchange(venue: Venue) -> &'static dyn Exchange {
    match venue {
        Venue::Binance => &binance::Binance,
        Venue::Bybit => &bybit::Bybit,
        Venue::Kucoin => &kucoin::Kucoin,
        Venue::Bitget => &bitget::Bitget,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_venue_has_its_exchange() {
        for venue in Venue::ALL {
            assert_eq!(exchange(venue).venue(), venue);
            assert!(exchange(venue).rest_base().starts_with("https://"));
        }
    }
}
