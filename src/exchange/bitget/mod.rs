//! Bitget USDT and USDC futures.
//!
//! `GET /api/v2/mix/market/contracts` (facts/other_exchanges.md §3.3) lists one product type at a time. USDT comes first
//! and USDC second: the cursor is the product type to ask for, and a page of USDT contracts asks for USDC.

use serde_json::Value;

use super::rest_shape::{decimal, integer, name, read_json, refused, text};
use super::{Exchange, InstrumentPage, ShapeError};
use crate::domain::limits::PRICE_FRACTION_DIGITS_MAX;
use crate::domain::{Instrument, Venue};

/// Bitget USDT and USDC futures.
#[derive(Clone, Copy, Debug)]
pub struct Bitget;

const FIRST: &str = "USDT-FUTURES";
const SECOND: &str = "USDC-FUTURES";

impl Exchange for Bitget {
    fn venue(&self) -> Venue {
        Venue::Bitget
    }

    fn rest_base(&self) -> &'static str {
        "https://api.bitget.com"
    }

    fn instruments_request(&self, base: &str, cursor: Option<&str>) -> String {
        format!("{base}/api/v2/mix/market/contracts?productType={}", cursor.unwrap_or(FIRST))
    }

    fn read_instruments(&self, body: &[u8]) -> Result<InstrumentPage, ShapeError> {
        let answer = read_json(self.venue(), body)?;
        if text(&answer, "code") != Some("00000") {
            return Err(refused(self.venue(), &answer, "code", "msg"));
        }
        let list = answer.get("data").and_then(Value::as_array);
        let rows = list.ok_or(ShapeError::Missing { venue: self.venue(), path: "data" })?;
        let mut page = InstrumentPage::default();
        for row in rows {
            match text(row, "symbolType") {
                _ if text(row, "quoteCoin") == Some("USD") => page.left_out.inverse += 1,
                None | Some("perpetual") => match read_row(row) {
                    Some(one) => page.instruments.push(one),
                    None => page.left_out.incomplete += 1,
                },
                Some("delivery") => page.left_out.dated += 1,
                Some(_) => page.left_out.other_kind += 1,
            }
        }
        if rows.iter().any(|row| text(row, "quoteCoin") == Some("USDT")) {
            page.next_cursor = Some(SECOND.to_owned());
        }
        Ok(page)
    }
}

fn read_row(row: &Value) -> Option<Instrument> {
    let places = |key| integer(row, key).and_then(|n| u8::try_from(n).ok());
    Some(Instrument {
        venue: Venue::Bitget,
        symbol: name(row, "symbol")?.to_owned(),
        token: name(row, "baseCoin")?.to_owned(),
        quote: name(row, "quoteCoin")?.to_owned(),
        price_precision: places("pricePlace"),
        quantity_precision: places("volumePlace"),
        tick_size: places("pricePlace").and_then(|places| tick_size(integer(row, "priceEndStep")?, places)),
        min_notional: decimal(row, "minTradeUSDT"),
        delivery_ms: ["deliveryTime", "offTime"].iter().find_map(|key| integer(row, key).filter(|&ms| ms > 0)),
        trading: text(row, "symbolStatus") == Some("normal"),
    })
}

/// The venue gives the step of the last digit and how many digits there are: 5 and 3 are 0.005.
fn tick_size(step: i64, places: u8) -> Option<String> {
    let places = usize::from(places);
    if step <= 0 || places > PRICE_FRACTION_DIGITS_MAX {
        return None;
    }
    let digits = format!("{step:0width$}", width = places + 1);
    let (integer, fraction) = digits.split_at(digits.len() - places);
    Some(if fraction.is_empty() { integer.to_owned() } else { format!("{integer}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use super::super::{LeftOut, list_instruments};
    use super::*;

    const USDT: &[u8] = include_bytes!("../../../tests/fixtures/rest/bitget_instruments_usdt.json");
    const USDC: &[u8] = include_bytes!("../../../tests/fixtures/rest/bitget_instruments_usdc.json");

    #[test]
    fn both_product_types_are_read() {
        let mut asked = Vec::new();
        let list = list_instruments(&Bitget, "https://x", |url| {
            asked.push(url.to_owned());
            Ok::<_, String>(if url.ends_with("=USDT-FUTURES") { USDT } else { USDC }.to_vec())
        })
        .unwrap();
        assert_eq!(
            asked,
            [
                "https://x/api/v2/mix/market/contracts?productType=USDT-FUTURES",
                "https://x/api/v2/mix/market/contracts?productType=USDC-FUTURES",
            ]
        );
        let rows: Vec<_> = list
            .instruments
            .iter()
            .map(|one| {
                let tick = one.tick_size.as_deref();
                (one.symbol.as_str(), one.token.as_str(), one.quote.as_str(), tick, one.trading, one.delivery_ms)
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("BTCUSDT", "BTC", "USDT", Some("0.1"), true, None),
                ("1000BONKUSDT", "1000BONK", "USDT", Some("0.000001"), true, None),
                ("1MBABYDOGEUSDT", "1MBABYDOGE", "USDT", Some("0.0000005"), true, None),
                ("龙虾USDT", "龙虾", "USDT", None, true, None),
                ("OLDUSDT", "OLD", "USDT", Some("0.001"), false, Some(1_796_000_000_000)),
                ("BTCPERP", "BTC", "USDC", Some("1"), true, None),
            ]
        );
        assert_eq!(list.left_out, LeftOut { dated: 1, inverse: 1, other_kind: 1, incomplete: 2, pair_differs: 0 });
        assert_eq!(list.instruments[0].min_notional.as_deref(), Some("5"));
        assert_eq!((list.instruments[0].price_precision, list.instruments[0].quantity_precision), (Some(1), Some(4)));
    }

    #[test]
    fn the_tick_is_step_and_places() {
        for (step, places, tick) in [
            (1, 1, Some("0.1")),
            (5, 3, Some("0.005")),
            (25, 2, Some("0.25")),
            (5, 0, Some("5")),
            (100, 1, Some("10.0")),
            (0, 1, None),
            (-1, 1, None),
            (1, 200, None),
        ] {
            assert_eq!(tick_size(step, places).as_deref(), tick, "{step} at {places}");
        }
    }

    #[test]
    fn an_error_says_what_the_venue_said() {
        for (body, message) in [
            (
                &include_bytes!("../../../tests/fixtures/rest/bitget_error_40034.json")[..],
                "bitget instruments: code 40034 \"Parameter productType does not exist\"",
            ),
            (b"{}", "bitget instruments: code absent \"\""),
            (br#"{"code":"00000","data":{}}"#, "bitget instruments: the answer has no data"),
        ] {
            assert_eq!(Bitget.read_instruments(body).unwrap_err().to_string(), message);
        }
    }
}
