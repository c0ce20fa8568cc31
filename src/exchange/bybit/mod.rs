//! Bybit v5, category linear.
//!
//! `GET /v5/market/instruments-info` (facts/other_exchanges.md §1.3): pages of at most 1,000, chained by `nextPageCursor`
//! until it is empty. Dated contracts share the category; `contractType` tells them apart.

use serde_json::Value;

use super::rest_shape::{decimal, fraction_digits, integer, name, query_value, read_json, refused, text};
use super::{Exchange, InstrumentPage, ShapeError};
use crate::domain::{Instrument, Venue};

/// Bybit v5, category linear.
#[derive(Clone, Copy, Debug)]
pub struct Bybit;

impl Exchange for Bybit {
    fn venue(&self) -> Venue {
        Venue::Bybit
    }

    fn rest_base(&self) -> &'static str {
        "https://api.bybit.com"
    }

    fn instruments_request(&self, base: &str, cursor: Option<&str>) -> String {
        let url = format!("{base}/v5/market/instruments-info?category=linear&limit=1000");
        match cursor {
            None => url,
            // A cursor has percent signs in it already; it is the venue's text and goes back unchanged, hence encoded.
            Some(cursor) => format!("{url}&cursor={}", query_value(cursor)),
        }
    }

    fn read_instruments(&self, body: &[u8]) -> Result<InstrumentPage, ShapeError> {
        let answer = read_json(self.venue(), body)?;
        if integer(&answer, "retCode") != Some(0) {
            return Err(refused(self.venue(), &answer, "retCode", "retMsg"));
        }
        let list = answer.pointer("/result/list").and_then(Value::as_array);
        let rows = list.ok_or(ShapeError::Missing { venue: self.venue(), path: "result.list" })?;
        let mut page = InstrumentPage {
            next_cursor: answer.get("result").and_then(|result| text(result, "nextPageCursor")).map(str::to_owned),
            ..InstrumentPage::default()
        };
        for row in rows {
            match text(row, "contractType") {
                Some("LinearPerpetual") => match read_row(row) {
                    Some(one) => page.instruments.push(one),
                    None => page.left_out.incomplete += 1,
                },
                Some("LinearFutures") => page.left_out.dated += 1,
                Some(kind) if kind.starts_with("Inverse") => page.left_out.inverse += 1,
                _ => page.left_out.other_kind += 1,
            }
        }
        Ok(page)
    }
}

fn read_row(row: &Value) -> Option<Instrument> {
    let lot = row.get("lotSizeFilter");
    Some(Instrument {
        venue: Venue::Bybit,
        symbol: name(row, "symbol")?.to_owned(),
        token: name(row, "baseCoin")?.to_owned(),
        quote: name(row, "quoteCoin")?.to_owned(),
        price_precision: integer(row, "priceScale").and_then(|n| u8::try_from(n).ok()),
        quantity_precision: lot.and_then(|lot| decimal(lot, "qtyStep")).and_then(|step| fraction_digits(&step)),
        tick_size: row.get("priceFilter").and_then(|filter| decimal(filter, "tickSize")),
        min_notional: lot.and_then(|lot| decimal(lot, "minNotionalValue")),
        delivery_ms: integer(row, "deliveryTime").filter(|&ms| ms > 0),
        trading: text(row, "status") == Some("Trading"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::LeftOut;
    use super::*;

    #[test]
    fn linear_perpetuals_are_rows() {
        let page = Bybit
            .read_instruments(include_bytes!("../../../tests/fixtures/rest/bybit_instruments_page1.json"))
            .unwrap();
        let rows: Vec<_> = page
            .instruments
            .iter()
            .map(|one| (one.symbol.as_str(), one.token.as_str(), one.quote.as_str(), one.trading))
            .collect();
        assert_eq!(
            rows,
            [
                ("10000SATSUSDT", "10000SATS", "USDT", true),
                ("1000BONKUSDT", "1000BONK", "USDT", true),
                ("BTCUSDT", "BTC", "USDT", true),
                ("SHIB1000USDT", "SHIB1000", "USDT", true),
            ]
        );
        assert_eq!(page.left_out, LeftOut { dated: 1, ..LeftOut::default() });
        assert_eq!(page.next_cursor.as_deref(), Some("first%3D10000SATSUSDT%26last%3DSHIB1000USDT"));
        assert_eq!(
            page.instruments[2],
            Instrument {
                venue: Venue::Bybit,
                symbol: "BTCUSDT".into(),
                token: "BTC".into(),
                quote: "USDT".into(),
                price_precision: Some(2),
                quantity_precision: Some(3),
                tick_size: Some("0.10".into()),
                min_notional: Some("5".into()),
                delivery_ms: None,
                trading: true,
            }
        );
    }

    #[test]
    fn the_last_page_has_the_odd_ones() {
        let page = Bybit
            .read_instruments(include_bytes!("../../../tests/fixtures/rest/bybit_instruments_page2.json"))
            .unwrap();
        let rows: Vec<_> = page
            .instruments
            .iter()
            .map(|one| (one.symbol.as_str(), one.token.as_str(), one.quote.as_str(), one.trading, one.delivery_ms))
            .collect();
        assert_eq!(
            rows,
            [
                ("BTCPERP", "BTC", "USDC", true, None),
                ("SHIB1000USDT", "SHIB1000", "USDT", true, None),
                ("龙虾USDT", "龙虾", "USDT", false, Some(1_796_000_000_000)),
                ("NEWUSDT", "NEW", "USDT", false, None),
            ]
        );
        assert_eq!(page.left_out, LeftOut { dated: 1, inverse: 1, incomplete: 2, ..LeftOut::default() });
        assert_eq!(page.next_cursor, None);
    }

    #[test]
    fn an_error_says_what_the_venue_said() {
        for (body, message) in [
            (
                &include_bytes!("../../../tests/fixtures/rest/bybit_error_10006.json")[..],
                "bybit instruments: retCode 10006 \"Too many visits. Exceeded the API Rate Limit.\"",
            ),
            (b"{}", "bybit instruments: retCode absent \"\""),
            (br#"{"retCode":0,"retMsg":"OK","result":{}}"#, "bybit instruments: the answer has no result.list"),
            (br#"{"retCode":0,"result":null}"#, "bybit instruments: the answer has no result.list"),
        ] {
            assert_eq!(Bybit.read_instruments(body).unwrap_err().to_string(), message);
        }
    }
}
