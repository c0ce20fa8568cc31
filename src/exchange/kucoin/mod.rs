//! KuCoin Futures.
//!
//! `GET /api/v1/contracts/active` (facts/other_exchanges.md §2.3): all contracts in one answer, numbers as JSON numbers.
//! The symbol ends in `M` and Bitcoin is called `XBT`; `baseCurrency` says so itself. Quantities are lots of `multiplier`
//! base units, so `quantity_precision` is that of a lot count.

use serde_json::Value;

use super::rest_shape::{decimal, fraction_digits, integer, name, read_json, refused, text};
use super::{Exchange, InstrumentPage, ShapeError};
use crate::domain::{Instrument, Venue};

/// KuCoin Futures.
#[derive(Clone, Copy, Debug)]
pub struct Kucoin;

impl Exchange for Kucoin {
    fn venue(&self) -> Venue {
        Venue::Kucoin
    }

    fn rest_base(&self) -> &'static str {
        "https://api-futures.kucoin.com"
    }

    fn instruments_request(&self, base: &str, _cursor: Option<&str>) -> String {
        format!("{base}/api/v1/contracts/active")
    }

    fn read_instruments(&self, body: &[u8]) -> Result<InstrumentPage, ShapeError> {
        let answer = read_json(self.venue(), body)?;
        if text(&answer, "code") != Some("200000") {
            return Err(refused(self.venue(), &answer, "code", "msg"));
        }
        let list = answer.get("data").and_then(Value::as_array);
        let rows = list.ok_or(ShapeError::Missing { venue: self.venue(), path: "data" })?;
        let mut page = InstrumentPage::default();
        for row in rows {
            let inverse = row.get("isInverse").and_then(Value::as_bool) == Some(true);
            match text(row, "type") {
                _ if inverse => page.left_out.inverse += 1,
                Some("FFWCSX") => match read_row(row) {
                    Some(one) => page.instruments.push(one),
                    None => page.left_out.incomplete += 1,
                },
                Some("FFICSX") => page.left_out.dated += 1,
                _ => page.left_out.other_kind += 1,
            }
        }
        Ok(page)
    }
}

fn read_row(row: &Value) -> Option<Instrument> {
    let tick_size = decimal(row, "tickSize");
    Some(Instrument {
        venue: Venue::Kucoin,
        symbol: name(row, "symbol")?.to_owned(),
        token: name(row, "baseCurrency")?.to_owned(),
        quote: name(row, "quoteCurrency")?.to_owned(),
        price_precision: tick_size.as_deref().and_then(fraction_digits),
        quantity_precision: decimal(row, "lotSize").as_deref().and_then(fraction_digits),
        tick_size,
        min_notional: None,
        delivery_ms: integer(row, "expireDate").filter(|&ms| ms > 0),
        trading: text(row, "status") == Some("Open"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::LeftOut;
    use super::*;

    #[test]
    fn the_base_is_what_the_venue_says() {
        let page =
            Kucoin.read_instruments(include_bytes!("../../../tests/fixtures/rest/kucoin_instruments.json")).unwrap();
        let rows: Vec<_> = page
            .instruments
            .iter()
            .map(|one| {
                let precision = (one.price_precision, one.tick_size.as_deref());
                (one.symbol.as_str(), one.token.as_str(), one.quote.as_str(), precision, one.trading)
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("XBTUSDTM", "XBT", "USDT", (Some(1), Some("0.1")), true),
                ("10000SATSUSDTM", "10000SATS", "USDT", (Some(8), Some("0.00000001")), true),
                ("PEPEUSDTM", "PEPE", "USDT", (Some(10), Some("0.0000000001")), true),
                ("XBTUSDCM", "XBT", "USDC", (Some(1), Some("0.1")), true),
                ("龙虾USDTM", "龙虾", "USDT", (Some(0), Some("1")), true),
                ("OLDUSDTM", "OLD", "USDT", (None, None), false),
            ]
        );
        assert_eq!(page.left_out, LeftOut { dated: 1, inverse: 1, other_kind: 1, incomplete: 2, pair_differs: 0 });
        assert_eq!(page.instruments[0].quantity_precision, Some(0));
        assert_eq!(page.instruments[5].delivery_ms, Some(1_796_000_000_000));
        assert_eq!(page.next_cursor, None);
    }

    #[test]
    fn an_error_says_what_the_venue_said() {
        for (body, message) in [
            (
                &include_bytes!("../../../tests/fixtures/rest/kucoin_error_429000.json")[..],
                "kucoin instruments: code 429000 \"Too many requests in a short period of time, please retry later--\"",
            ),
            (b"{}", "kucoin instruments: code absent \"\""),
            (br#"{"code":"200000","data":null}"#, "kucoin instruments: the answer has no data"),
        ] {
            assert_eq!(Kucoin.read_instruments(body).unwrap_err().to_string(), message);
        }
    }
}
