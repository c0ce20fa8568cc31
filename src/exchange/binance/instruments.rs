//! `GET /fapi/v1/exchangeInfo`: all USDⓈ-M contracts in one answer (facts/binance.md §5, §6).
//!
//! Kept are `PERPETUAL` and `TRADIFI_PERPETUAL`, whatever their status: a settling symbol keeps ticking and its row keeps
//! existing. Quarterly contracts tick under names of their own but have the perpetual's base and quote, so they get no
//! row. The price map looks a tick up by base and quote put together, hence a contract named otherwise gets none either.

use serde_json::Value;

use super::super::rest_shape::{decimal, integer, name, read_json, refused, text};
use super::super::{Exchange, InstrumentPage, ShapeError};
use crate::domain::{Instrument, Venue};

/// Binance USDⓈ-M futures.
#[derive(Clone, Copy, Debug)]
pub struct Binance;

/// Perpetuals carry a delivery date in the year 2100 until they are delisted.
const NO_DATE_FROM_MS: i64 = 4_102_444_800_000;

impl Exchange for Binance {
    fn venue(&self) -> Venue {
        Venue::Binance
    }

    fn rest_base(&self) -> &'static str {
        "https://fapi.binance.com"
    }

    fn instruments_request(&self, base: &str, _cursor: Option<&str>) -> String {
        format!("{base}/fapi/v1/exchangeInfo")
    }

    fn read_instruments(&self, body: &[u8]) -> Result<InstrumentPage, ShapeError> {
        let answer = read_json(self.venue(), body)?;
        let Some(symbols) = answer.get("symbols").and_then(Value::as_array) else {
            return Err(match answer.get("code") {
                Some(_) => refused(self.venue(), &answer, "code", "msg"),
                None => ShapeError::Missing { venue: self.venue(), path: "symbols" },
            });
        };
        let mut page = InstrumentPage::default();
        for row in symbols {
            match text(row, "contractType") {
                Some("PERPETUAL" | "TRADIFI_PERPETUAL") => match read_row(row) {
                    None => page.left_out.incomplete += 1,
                    Some(one) if !is_pair(&one) => page.left_out.pair_differs += 1,
                    Some(one) => page.instruments.push(one),
                },
                Some(kind) if kind.contains("QUARTER") || kind.contains("MONTH") => page.left_out.dated += 1,
                _ => page.left_out.other_kind += 1,
            }
        }
        Ok(page)
    }
}

fn read_row(row: &Value) -> Option<Instrument> {
    Some(Instrument {
        venue: Venue::Binance,
        symbol: name(row, "symbol")?.to_owned(),
        token: name(row, "baseAsset")?.to_owned(),
        quote: name(row, "quoteAsset")?.to_owned(),
        price_precision: integer(row, "pricePrecision").and_then(|n| u8::try_from(n).ok()),
        quantity_precision: integer(row, "quantityPrecision").and_then(|n| u8::try_from(n).ok()),
        tick_size: filter(row, "PRICE_FILTER").and_then(|filter| decimal(filter, "tickSize")),
        min_notional: filter(row, "MIN_NOTIONAL").and_then(|filter| decimal(filter, "notional")),
        delivery_ms: integer(row, "deliveryDate").filter(|&ms| ms > 0 && ms < NO_DATE_FROM_MS),
        trading: text(row, "status") == Some("TRADING"),
    })
}

fn filter<'v>(row: &'v Value, kind: &str) -> Option<&'v Value> {
    row.get("filters")?.as_array()?.iter().find(|filter| text(filter, "filterType") == Some(kind))
}

fn is_pair(one: &Instrument) -> bool {
    one.symbol.strip_prefix(one.token.as_str()) == Some(one.quote.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::super::LeftOut;
    use super::*;

    const LIST: &[u8] = include_bytes!("../../../tests/fixtures/rest/binance_instruments.json");

    #[test]
    fn perpetuals_of_both_kinds_are_rows() {
        let page = Binance.read_instruments(LIST).unwrap();
        let rows: Vec<_> = page
            .instruments
            .iter()
            .map(|one| (one.symbol.as_str(), one.token.as_str(), one.quote.as_str(), one.trading, one.delivery_ms))
            .collect();
        assert_eq!(
            rows,
            [
                ("BTCUSDT", "BTC", "USDT", true, None),
                ("1000PEPEUSDT", "1000PEPE", "USDT", true, None),
                ("1MBABYDOGEUSDT", "1MBABYDOGE", "USDT", true, None),
                ("ETHBTC", "ETH", "BTC", true, None),
                ("BTCUSDC", "BTC", "USDC", true, None),
                ("TSLAUSDT", "TSLA", "USDT", true, None),
                ("币安人生USDT", "币安人生", "USDT", true, None),
                ("OLDUSDT", "OLD", "USDT", false, Some(1_790_000_000_000)),
                ("NEWUSDT", "NEW", "USDT", false, None),
            ]
        );
        assert_eq!(page.left_out, LeftOut { dated: 2, inverse: 0, other_kind: 1, incomplete: 2, pair_differs: 1 });
        assert_eq!(page.next_cursor, None);
        assert_eq!(
            page.instruments[0],
            Instrument {
                venue: Venue::Binance,
                symbol: "BTCUSDT".into(),
                token: "BTC".into(),
                quote: "USDT".into(),
                price_precision: Some(2),
                quantity_precision: Some(3),
                tick_size: Some("0.10".into()),
                min_notional: Some("100".into()),
                delivery_ms: None,
                trading: true,
            }
        );
        let bare = page.instruments.iter().find(|one| one.symbol == "NEWUSDT").unwrap();
        assert_eq!((bare.price_precision, bare.tick_size.as_deref(), bare.min_notional.as_deref()), (None, None, None));
    }

    #[test]
    fn an_error_says_what_the_venue_said() {
        for (body, message) in [
            (
                &include_bytes!("../../../tests/fixtures/rest/binance_error_451.json")[..],
                "binance instruments: code 0 \"Service unavailable from a restricted location according to 'b. Eligibility'\"",
            ),
            (br#"{"code":-1003,"msg":"Too many requests."}"#, "binance instruments: code -1003 \"Too many requests.\""),
            (b"{}", "binance instruments: the answer has no symbols"),
            (br#"{"symbols":{}}"#, "binance instruments: the answer has no symbols"),
            (b"[]", "binance instruments: the answer has no symbols"),
        ] {
            assert_eq!(Binance.read_instruments(body).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn one_url() {
        assert_eq!(
            Binance.instruments_request(Binance.rest_base(), None),
            "https://fapi.binance.com/fapi/v1/exchangeInfo"
        );
    }
}
