//! The public REST endpoints: instruments of all four venues in their own shapes, server time, premium index.
//!
//! Shapes after the venues' public documentation (facts/other_exchanges.md §1.3, §2.3, §3.3; facts/binance.md §6); members
//! that nobody here reads are there too, so that a reader which minds them is found out.

use serde_json::{Value, json};
use tungstenite::http::{Method, StatusCode};

use crate::domain::Venue;

use super::cross_listing::CrossListing;
use super::http::{Request, Response, percent_decode, percent_encode, query_value};
use super::listing::{Contract, Listed};
use super::venue::{Market, price_text};

/// A perpetual's delivery date: the year 2100.
const NEVER_MS: i64 = 4_133_404_800_000;
/// When the invented contracts were listed.
const ONBOARD_MS: i64 = 1_700_000_000_000;

/// The answer to `request` at `now_ms`.
pub(super) fn respond(request: &Request, market: &Market, now_ms: i64) -> Response {
    if request.method() != Method::GET {
        return Response::text(StatusCode::NOT_FOUND, "not found\n");
    }
    match request.uri().path() {
        "/fapi/v1/time" => Response::json(&json!({ "serverTime": now_ms })),
        "/fapi/v1/exchangeInfo" => Response::json(&exchange_info(market, now_ms)),
        "/fapi/v1/premiumIndex" => premium_index(request, market, now_ms),
        "/v5/market/instruments-info" => Response::json(&bybit(request, market, now_ms)),
        "/api/v1/contracts/active" => Response::json(&kucoin(market)),
        "/api/v2/mix/market/contracts" => Response::json(&bitget(request, market, now_ms)),
        _ => Response::text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn exchange_info(market: &Market, now_ms: i64) -> Value {
    let usd_m = market.listed().iter().enumerate().filter(|(_, l)| !l.contract.is_coin_m());
    let symbols: Vec<Value> = usd_m.map(|(at, l)| binance_symbol(l, market.price(at))).collect();
    json!({
        "timezone": "UTC", "serverTime": now_ms, "futuresType": "U_MARGINED",
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}],
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": true, "autoAssetExchange": "-10000"}],
        "symbols": symbols,
    })
}

fn binance_symbol(l: &Listed, price: u64) -> Value {
    let places = price_places(price);
    let (contract, delivery_ms) = match l.contract {
        Contract::CurrentQuarter(at) => ("CURRENT_QUARTER", at),
        Contract::NextQuarter(at) => ("NEXT_QUARTER", at),
        Contract::TradFi => ("TRADIFI_PERPETUAL", NEVER_MS),
        _ => ("PERPETUAL", NEVER_MS),
    };
    let pair = l.symbol.split('_').next().unwrap_or(&l.symbol);
    json!({
        "symbol": l.symbol, "pair": pair, "contractType": contract,
        "deliveryDate": delivery_ms, "onboardDate": ONBOARD_MS,
        "status": if l.settling { "SETTLING" } else { "TRADING" },
        "maintMarginPercent": "2.5000", "requiredMarginPercent": "5.0000",
        "baseAsset": l.base, "quoteAsset": l.quote, "marginAsset": l.quote,
        "pricePrecision": places, "quantityPrecision": 3, "baseAssetPrecision": 8, "quotePrecision": 8,
        "underlyingType": if l.contract == Contract::TradFi { "EQUITY" } else { "COIN" }, "underlyingSubType": [],
        "triggerProtect": "0.0500", "liquidationFee": "0.012500", "marketTakeBound": "0.05", "maxMoveOrderLimit": 10000,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick(places), "maxPrice": "10000000", "tickSize": tick(places)},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000000", "stepSize": "0.001"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "10000", "stepSize": "0.001"},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": if l.base == "BTC" { "100" } else { "5" }},
            {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    })
}

fn premium_index(request: &Request, market: &Market, now_ms: i64) -> Response {
    let one = query_value(request, "symbol");
    let usd_m = market.listed().iter().enumerate().filter(|(_, l)| !l.contract.is_coin_m());
    let wanted = usd_m.filter(|(_, l)| one.as_ref().is_none_or(|symbol| *symbol == l.symbol));
    let mut rows: Vec<Value> = wanted
        .map(|(at, l)| {
            let price = price_text(market.price(at));
            json!({
                "symbol": l.symbol, "markPrice": price, "indexPrice": price, "estimatedSettlePrice": price,
                "lastFundingRate": "0.00010000", "interestRate": "0.00010000", "nextFundingTime": 0, "time": now_ms,
            })
        })
        .collect();
    match (one, rows.pop()) {
        (Some(_), Some(row)) => Response::json(&row),
        (Some(_), None) => {
            let error = json!({"code": -1121, "msg": "Invalid symbol."});
            Response { status: StatusCode::BAD_REQUEST, ..Response::json(&error) }
        }
        (None, last) => {
            rows.extend(last);
            Response::json(&Value::Array(rows))
        }
    }
}

/// Pages of `limit` (500 unless told, 1000 at most) with the venue's own percent-encoded cursor.
fn bybit(request: &Request, market: &Market, now_ms: i64) -> Value {
    if query_value(request, "category").as_deref() != Some("linear") {
        return json!({"retCode": 10001, "retMsg": "Illegal category", "result": {}, "retExtInfo": {}, "time": now_ms});
    }
    let limit = query_value(request, "limit").and_then(|text| text.parse().ok()).unwrap_or(500usize).clamp(1, 1_000);
    let all: Vec<&CrossListing> = of(market, Venue::Bybit).collect();
    let after = query_value(request, "cursor").filter(|cursor| !cursor.is_empty());
    let start = after.map_or(0, |cursor| {
        // A client may send the cursor as it was given, or encode it once more.
        let decoded = percent_decode(&cursor);
        let last = decoded.split('&').find_map(|part| part.strip_prefix("last=")).unwrap_or_default().to_owned();
        all.iter().position(|c| c.symbol == last).map_or(all.len(), |at| at + 1)
    });
    let page = &all[start..all.len().min(start + limit)];
    let cursor = match (page.first(), page.last()) {
        (Some(first), Some(last)) if start + page.len() < all.len() => {
            percent_encode(&format!("first={}&last={}", first.symbol, last.symbol))
        }
        _ => String::new(),
    };
    let list: Vec<Value> = page.iter().map(|c| bybit_symbol(c, source_price(c, market))).collect();
    json!({
        "retCode": 0, "retMsg": "OK",
        "result": {"category": "linear", "list": list, "nextPageCursor": cursor},
        "retExtInfo": {}, "time": now_ms,
    })
}

fn bybit_symbol(c: &CrossListing, price: u64) -> Value {
    let places = price_places(price);
    json!({
        "symbol": c.symbol, "contractType": "LinearPerpetual", "status": "Trading",
        "baseCoin": c.token, "quoteCoin": c.quote, "launchTime": ONBOARD_MS.to_string(), "deliveryTime": "0",
        "deliveryFeeRate": "", "priceScale": places.to_string(),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "50.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": tick(places), "maxPrice": "1999999.98", "tickSize": tick(places)},
        "lotSizeFilter": {"maxOrderQty": "10000", "minOrderQty": "0.001", "qtyStep": "0.001",
            "postOnlyMaxOrderQty": "10000", "maxMktOrderQty": "5000", "minNotionalValue": "5"},
        "unifiedMarginTrade": true, "fundingInterval": 480, "settleCoin": c.quote, "copyTrading": "both",
        "upperFundingRate": "0.005", "lowerFundingRate": "-0.005", "isPreListing": false, "preListingInfo": null,
    })
}

fn kucoin(market: &Market) -> Value {
    let data: Vec<Value> = of(market, Venue::Kucoin)
        .map(|c| {
            let places = price_places(source_price(c, market));
            // The venue sends numbers here, small ones with an exponent.
            let step: Value = serde_json::from_str(&tick(places)).unwrap_or(Value::Null);
            json!({
                "symbol": c.symbol, "rootSymbol": c.quote, "type": "FFWCSX", "firstOpenDate": ONBOARD_MS,
                "expireDate": null, "settleDate": null, "baseCurrency": c.token, "quoteCurrency": c.quote,
                "settleCurrency": c.quote, "maxOrderQty": 1000000, "maxPrice": 1000000.0, "lotSize": 1, "tickSize": step,
                "indexPriceTickSize": step, "multiplier": if c.token == "XBT" { 0.001 } else { 1.0 }, "initialMargin": 0.01,
                "maintainMargin": 0.005, "maxRiskLimit": 500000, "makerFeeRate": 0.0002, "takerFeeRate": 0.0006,
                "isDeleverage": true, "isQuanto": false, "isInverse": false, "markMethod": "FairPrice", "status": "Open",
                "fundingFeeRate": 0.0001, "maxLeverage": 75, "displaySymbol": c.symbol,
            })
        })
        .collect();
    json!({"code": "200000", "data": data})
}

fn bitget(request: &Request, market: &Market, now_ms: i64) -> Value {
    let kind = query_value(request, "productType").unwrap_or_default().to_ascii_uppercase();
    let quote = match kind.as_str() {
        "USDT-FUTURES" => "USDT",
        "USDC-FUTURES" => "USDC",
        // Inverse contracts: none of them is on the same coin and quote as a USDⓈ-M contract.
        "COIN-FUTURES" => "USD",
        _ => {
            return json!({"code": "400172", "msg": "Parameter verification failed", "requestTime": now_ms, "data": null});
        }
    };
    let data: Vec<Value> = of(market, Venue::Bitget)
        .filter(|c| c.quote == quote)
        .map(|c| {
            let places = price_places(source_price(c, market));
            json!({
                "symbol": c.symbol, "baseCoin": c.token, "quoteCoin": c.quote, "buyLimitPriceRatio": "0.05",
                "sellLimitPriceRatio": "0.05", "feeRateUpRatio": "0.005", "makerFeeRate": "0.0002", "takerFeeRate": "0.0006",
                "openCostUpRatio": "0.01", "supportMarginCoins": [c.quote], "minTradeNum": "0.001", "priceEndStep": "1",
                "volumePlace": "3", "pricePlace": places.to_string(), "sizeMultiplier": "0.001", "symbolType": "perpetual",
                "minTradeUSDT": "5", "maxSymbolOrderNum": "200", "maxProductOrderNum": "1000", "maxPositionNum": "150",
                "symbolStatus": "normal", "offTime": "-1", "limitOpenTime": "-1", "deliveryTime": "", "deliveryStartTime": "",
                "deliveryPeriod": "", "launchTime": "", "fundInterval": "8", "minLever": "1", "maxLever": "75",
                "posLimit": "0.05", "maintainTime": "", "maxMarketOrderQty": "1000", "maxOrderQty": "10000",
            })
        })
        .collect();
    json!({"code": "00000", "msg": "success", "requestTime": now_ms, "data": data})
}

fn of(market: &Market, venue: Venue) -> impl Iterator<Item = &CrossListing> {
    market.cross().iter().filter(move |c| c.venue == venue)
}

fn source_price(c: &CrossListing, market: &Market) -> u64 {
    let Some(source) = &c.source else { return 1_234_567 };
    let price = market.price(source.position);
    let factor = 10u64.pow(u32::from(source.shift.unsigned_abs()));
    if source.shift < 0 { price / factor } else { price.saturating_mul(factor) }
}

/// Decimal places for about five significant digits.
pub(super) fn price_places(units: u64) -> u32 {
    let digits = units.max(1).ilog10() as i32 + 1;
    (8 - (digits - 5)).clamp(1, 8) as u32
}

fn tick(places: u32) -> String {
    format!("0.{:0>1$}", 1, places as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::listing::Counts;

    fn fetch(path: &str) -> (StatusCode, Value) {
        let market = Market::new(1, Counts::default(), false);
        let request = tungstenite::http::Request::get(path).body(Vec::new()).unwrap();
        let response = respond(&request, &market, 1_795_419_015_000);
        (response.status, serde_json::from_slice(&response.body).unwrap_or(Value::Null))
    }

    #[test]
    fn binance_lists_every_usd_m_symbol_and_no_coin_m() {
        let (_, info) = fetch("/fapi/v1/exchangeInfo");
        let symbols = info["symbols"].as_array().unwrap();
        assert_eq!(symbols.len(), 920);
        assert!(symbols.iter().all(|s| !s["symbol"].as_str().unwrap().contains("USD_")));
        let btc = &symbols[0];
        assert_eq!((&btc["symbol"], &btc["filters"][0]["tickSize"]), (&json!("BTCUSDT"), &json!("0.1")));
        let quarter = symbols.iter().find(|s| s["symbol"] == "BTCUSDT_261225").unwrap();
        assert_eq!((&quarter["contractType"], &quarter["pair"]), (&json!("CURRENT_QUARTER"), &json!("BTCUSDT")));
    }

    #[test]
    fn the_cursor_walks_all_of_bybit_once_encoded_or_not() {
        for encode in [false, true] {
            let mut path = "/v5/market/instruments-info?category=linear&limit=200".to_owned();
            let mut symbols = Vec::new();
            for page in 0.. {
                assert!(page < 10);
                let (_, answer) = fetch(&path);
                assert_eq!(answer["retCode"], 0);
                let list = answer["result"]["list"].as_array().unwrap();
                symbols.extend(list.iter().map(|s| s["symbol"].as_str().unwrap().to_owned()));
                let cursor = answer["result"]["nextPageCursor"].as_str().unwrap();
                if cursor.is_empty() {
                    break;
                }
                let cursor = if encode { cursor.replace('%', "%25") } else { cursor.to_owned() };
                path = format!("/v5/market/instruments-info?category=linear&limit=200&cursor={cursor}");
            }
            let market = Market::new(1, Counts::default(), false);
            let all: Vec<_> = of(&market, Venue::Bybit).map(|c| c.symbol.clone()).collect();
            assert_eq!(symbols, all);
        }
    }

    #[test]
    fn the_other_venues_answer_in_their_own_shapes() {
        let (_, kucoin) = fetch("/api/v1/contracts/active");
        assert_eq!(kucoin["code"], "200000");
        let xbt = kucoin["data"].as_array().unwrap().iter().find(|c| c["symbol"] == "XBTUSDTM").unwrap();
        assert_eq!((&xbt["baseCurrency"], &xbt["tickSize"]), (&json!("XBT"), &json!(0.1)));
        let (_, bitget) = fetch("/api/v2/mix/market/contracts?productType=usdt-futures");
        assert_eq!(bitget["code"], "00000");
        assert!(bitget["data"].as_array().unwrap().len() > 500);
        let (_, usdc) = fetch("/api/v2/mix/market/contracts?productType=USDC-FUTURES");
        assert!(usdc["data"].as_array().unwrap().iter().any(|c| c["symbol"] == "BTCPERP" && c["quoteCoin"] == "USDC"));
        assert_eq!(fetch("/api/v2/mix/market/contracts?productType=COIN-FUTURES").1["data"], json!([]));
        assert_eq!(fetch("/api/v2/mix/market/contracts").1["code"], "400172");
        assert_eq!(fetch("/v5/market/instruments-info").1["retCode"], 10001);
    }

    #[test]
    fn prices_by_rest_and_what_is_not_there() {
        assert_eq!(fetch("/fapi/v1/premiumIndex").1.as_array().unwrap().len(), 920);
        let symbol = "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT";
        assert_eq!(fetch(&format!("/fapi/v1/premiumIndex?symbol={symbol}")).1["markPrice"], "0.08713117");
        assert_eq!(fetch("/fapi/v1/premiumIndex?symbol=NOPE").1["code"], -1121);
        assert_eq!(fetch("/fapi/v1/time").1["serverTime"], 1_795_419_015_000i64);
        assert_eq!(fetch("/").0, StatusCode::NOT_FOUND);
    }

    #[test]
    fn tick_sizes() {
        for (units, text) in [(8_653_710_501_823, "0.1"), (31_234_567, "0.00001"), (123, "0.00000001")] {
            assert_eq!(tick(price_places(units)), text, "{units}");
        }
    }
}
