//! The projection of private events against a naive twin: serde_json values, one rule of facts/incumbent.md §4.1 after the
//! other. And what holds for any bytes: every text and decimal fits its column.
//!
//! Run by the fuzz target `projection`, and on stable by `tests/fuzz_corpus.rs` and `tests/projection_twin.rs`.

use kraite_streams::domain::Decimal;
use kraite_streams::domain::limits::{EVENT_DEPTH_MAX, EVENT_POSITIONS_MAX, EVENT_TIME_MS_MAX};
use kraite_streams::domain::order::{OrderStatus, PositionSide, Side};
use kraite_streams::exchange::binance::project;
use kraite_streams::exchange::{EventKind, Projection};
use serde_json::Value;

/// Any bytes are an event that somebody may have recorded.
pub fn projection(input: &[u8]) {
    let projection = project(input);
    check_alone(&projection);
    match serde_json::from_slice::<Value>(input) {
        // serde_json reads numbers with a point and beyond 64 bits through floats: those are compared as floats.
        Ok(event) => compare(&projection, &event, input),
        Err(_) if std::str::from_utf8(input).is_err() => assert_eq!(projection, Projection::default()),
        Err(_) => {}
    }
}

fn check_alone(projection: &Projection) {
    let fits = |text: &str, chars_max: usize| text.chars().count() <= chars_max && !text.contains('\0');
    let texts = [
        (Some(&projection.raw_event_type), 64),
        (projection.exchange_order_id.as_ref(), 64),
        (projection.client_order_id.as_ref(), 64),
        (projection.triggered_order_id.as_ref(), 64),
        (projection.symbol.as_ref(), 40),
        (projection.native_status.as_ref(), 40),
        (projection.execution_type.as_ref(), 45),
    ];
    for (text, chars_max) in texts {
        assert!(text.is_none_or(|text| fits(text, chars_max)), "{text:?}");
    }
    for decimal in decimals(projection).into_iter().flatten() {
        assert!(decimal.fits(20, 8), "{decimal}");
        assert_eq!(Decimal::parse(decimal.as_str()).as_ref(), Some(decimal));
    }
    for time in [projection.event_time_ms, projection.transaction_time_ms].into_iter().flatten() {
        assert!((0..=EVENT_TIME_MS_MAX).contains(&time), "{time}");
    }
    let is_order = projection.kind == EventKind::OrderUpdate;
    assert_eq!((projection.normalized_status.is_some(), projection.status.is_some()), (is_order, is_order));
    assert!(!projection.is_algo || is_order);
    assert!(projection.execution_alias.is_none() || projection.execution_type.as_deref() == Some("ALGO_FINISHED"));
    assert!(projection.positions.is_empty() || projection.kind == EventKind::AccountUpdate);
    assert!(projection.positions.len() <= EVENT_POSITIONS_MAX);
    for position in &projection.positions {
        assert!(fits(&position.symbol, 40) && !position.symbol.is_empty(), "{:?}", position.symbol);
    }
}

/// The decimals that are columns.
fn decimals(projection: &Projection) -> [Option<&Decimal>; 6] {
    [
        projection.price.as_ref(),
        projection.average_price.as_ref(),
        projection.original_quantity.as_ref(),
        projection.filled_quantity.as_ref(),
        projection.last_filled_price.as_ref(),
        projection.last_filled_quantity.as_ref(),
    ]
}

/// What the twin read, and how often something did not fit. A float is read, but not known to the digit.
struct Twin {
    misfits: u32,
    floats: u32,
}

/// A value as far as the twin knows it.
enum Known<T> {
    Exactly(Option<T>),
    Float(f64),
}

impl Twin {
    fn text(&mut self, value: &Value, chars_max: usize) -> Known<String> {
        let text = match value {
            Value::Null => return Known::Exactly(None),
            Value::String(text) if text.is_empty() => return Known::Exactly(None),
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_f64() => {
                self.floats += 1;
                return Known::Float(number.as_f64().unwrap());
            }
            Value::Number(number) => number.to_string(),
            _ => return Known::Exactly(self.misfit()),
        };
        if text.chars().count() > chars_max || text.contains('\0') {
            return Known::Exactly(self.misfit());
        }
        Known::Exactly(Some(text))
    }

    fn decimal(&mut self, value: &Value, is_column: bool) -> Known<Decimal> {
        let text = match value {
            Value::Null => return Known::Exactly(None),
            Value::String(text) if text.is_empty() => return Known::Exactly(None),
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_f64() => {
                self.floats += 1;
                return Known::Float(number.as_f64().unwrap());
            }
            Value::Number(number) => number.to_string(),
            _ => return Known::Exactly(self.misfit()),
        };
        let decimal = numeric(&text).filter(|decimal| !is_column || decimal.fits(20, 8));
        Known::Exactly(decimal.or_else(|| self.misfit()))
    }

    fn time(&mut self, value: &Value) -> Known<i64> {
        match self.decimal(value, false) {
            Known::Float(float) => Known::Float(float),
            Known::Exactly(None) => Known::Exactly(None),
            Known::Exactly(Some(decimal)) => {
                let time = decimal.as_str().parse().ok().filter(|time| (0..=EVENT_TIME_MS_MAX).contains(time));
                Known::Exactly(time.or_else(|| self.misfit()))
            }
        }
    }

    fn flag(&mut self, value: &Value) -> Option<bool> {
        match value {
            Value::Null => None,
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => match text.as_str() {
                "" => None,
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => self.misfit(),
            },
            value if *value == 1 => Some(true),
            value if *value == 0 => Some(false),
            _ => self.misfit(),
        }
    }

    fn upper(&mut self, value: &Value, chars_max: usize) -> Option<String> {
        let blanks = [' ', '\t', '\n', '\r', '\0', '\u{b}'];
        match value {
            Value::Null => None,
            Value::String(text) => match text.trim_matches(blanks) {
                "" => None,
                text if text.chars().count() > chars_max || text.contains('\0') => self.misfit(),
                text => Some(text.to_ascii_uppercase()),
            },
            _ => self.misfit(),
        }
    }

    fn side(&mut self, value: &Value) -> Option<Side> {
        match self.upper(value, usize::MAX)?.as_str() {
            "BUY" => Some(Side::Buy),
            "SELL" => Some(Side::Sell),
            _ => self.misfit(),
        }
    }

    fn position_side(&mut self, value: &Value) -> Option<PositionSide> {
        // A word with NUL inside is no word of the set.
        match self.upper(value, usize::MAX)?.as_str() {
            "BOTH" => Some(PositionSide::Both),
            "LONG" => Some(PositionSide::Long),
            "SHORT" => Some(PositionSide::Short),
            _ => self.misfit(),
        }
    }

    fn misfit<T>(&mut self) -> Option<T> {
        self.misfits += 1;
        None
    }
}

/// A numeric text by shifting digits one at a time; `None` for what is none or has more than 64 characters.
fn numeric(text: &str) -> Option<Decimal> {
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let mut parts = mantissa.splitn(2, '.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or(""));
    let mut digits: Vec<u8> = [whole, fraction].concat().into_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let shift = match exponent {
        None => 0,
        Some(exponent) => {
            let unsigned = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let size: i64 = unsigned.parse().unwrap_or(1_000_000_000).min(1_000_000_000);
            if exponent.starts_with('-') { -size } else { size }
        }
    };
    if digits.iter().all(|&digit| digit == b'0') {
        return Some(Decimal::zero());
    }
    let mut point = whole.len() as i64 + shift;
    while digits[0] == b'0' {
        digits.remove(0);
        point -= 1;
    }
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    if digits.len() > 64 || !(-64..=64).contains(&point) {
        return None;
    }
    while point <= 0 {
        digits.insert(0, b'0');
        point += 1;
    }
    while (digits.len() as i64) < point {
        digits.push(b'0');
    }
    let mut plain = String::from_utf8(digits).unwrap();
    if (point as usize) < plain.len() {
        plain.insert(point as usize, '.');
    }
    Decimal::parse(&format!("{sign}{plain}"))
}

fn compare(projection: &Projection, event: &Value, input: &[u8]) {
    let mut twin = Twin { misfits: 0, floats: 0 };
    if !event.is_object() {
        assert_eq!(projection, &Projection::default());
        return;
    }
    // Deeper than other readers of the bytes go: no event.
    if depth(input) > EVENT_DEPTH_MAX {
        assert_eq!(projection, &Projection::default());
        return;
    }
    let name = match twin.text(&event["e"], 64) {
        Known::Exactly(name) => name.unwrap_or_default(),
        Known::Float(_) => {
            assert_eq!(projection.kind, EventKind::Other);
            return;
        }
    };
    assert_eq!(projection.raw_event_type, name);
    let transaction_time = twin.time(&event["T"]);
    same_time(projection.transaction_time_ms, &transaction_time);
    match twin.time(&event["E"]) {
        Known::Exactly(None) => assert_eq!(projection.event_time_ms, projection.transaction_time_ms),
        time @ Known::Exactly(_) => same_time(projection.event_time_ms, &time),
        // It is `E` or, where `E` is no time, `T`.
        time @ Known::Float(_) if projection.event_time_ms != projection.transaction_time_ms => {
            same_time(projection.event_time_ms, &time);
        }
        Known::Float(_) => {}
    }
    let (kind, is_algo) = match name.as_str() {
        "ORDER_TRADE_UPDATE" | "CONDITIONAL_ORDER_TRADE_UPDATE" => (EventKind::OrderUpdate, false),
        "ALGO_UPDATE" => (EventKind::OrderUpdate, true),
        "ACCOUNT_UPDATE" => (EventKind::AccountUpdate, false),
        "MARGIN_CALL" => (EventKind::MarginCall, false),
        "listenKeyExpired" => (EventKind::ListenKeyExpired, false),
        _ => (EventKind::Other, false),
    };
    assert_eq!((projection.kind, projection.is_algo), (kind, is_algo));
    match kind {
        EventKind::OrderUpdate => compare_order(projection, &event["o"], &mut twin),
        EventKind::AccountUpdate => compare_positions(projection, &event["a"], &mut twin),
        _ => assert!(projection.exchange_order_id.is_none() && projection.native_status.is_none()),
    }
    let expected = twin.misfits..=twin.misfits + 2 * twin.floats;
    assert!(expected.contains(&projection.misfits), "{} instead of {expected:?}", projection.misfits);
}

fn compare_order(projection: &Projection, order: &Value, twin: &mut Twin) {
    if !order.is_null() && !order.is_object() {
        twin.misfits += 1;
    }
    let is_algo = projection.is_algo;
    let (id, client_id) = if is_algo { ("aid", "caid") } else { ("i", "c") };
    same_text(&projection.exchange_order_id, &twin.text(&order[id], 64));
    same_text(&projection.client_order_id, &twin.text(&order[client_id], 64));
    same_text(&projection.symbol, &twin.text(&order["s"], 40));
    let native = twin.text(&order["X"], 40);
    same_text(&projection.native_status, &native);
    let native = projection.native_status.as_deref();
    let normalized = match native {
        Some("NEW") => OrderStatus::New,
        Some("PARTIALLY_FILLED") => OrderStatus::PartiallyFilled,
        Some("FILLED") => OrderStatus::Filled,
        Some("CANCELED") => OrderStatus::Cancelled,
        Some("EXPIRED") => OrderStatus::Expired,
        Some("REJECTED") => OrderStatus::Rejected,
        _ => OrderStatus::Unknown,
    };
    assert_eq!(projection.normalized_status, Some(normalized));
    assert_eq!(projection.side, twin.side(&order["S"]));
    assert_eq!(projection.position_side, twin.position_side(&order["ps"]));
    let price = if is_algo { &order["tp"] } else { &order["p"] };
    same_decimal(&projection.price, &twin.decimal(price, true));
    same_decimal(&projection.original_quantity, &twin.decimal(&order["q"], true));
    let client_id = order[client_id].as_str().unwrap_or("");
    let has_prefix =
        ["autoclose-", "adl_autoclose", "settlement_autoclose-"].iter().any(|prefix| client_id.starts_with(prefix));
    let columns = [
        (&projection.average_price, "ap"),
        (&projection.filled_quantity, "z"),
        (&projection.last_filled_price, "L"),
        (&projection.last_filled_quantity, "l"),
    ];
    if is_algo {
        assert!(columns.iter().all(|(column, _)| column.is_none()));
        assert_eq!((projection.reduce_only, projection.close_position), (None, twin.flag(&order["cp"])));
        assert_eq!(projection.is_forced, has_prefix);
        assert_eq!(projection.execution_type, native.map(|native| format!("ALGO_{native}")));
        match twin.text(&order["ai"], 64) {
            Known::Exactly(id) => assert_eq!(projection.triggered_order_id, id.filter(|id| id != "0")),
            float => {
                if projection.triggered_order_id.is_some() {
                    same_text(&projection.triggered_order_id, &float);
                }
            }
        }
        let executed = twin.decimal(&order["aq"], false);
        same_decimal(&projection.executed_quantity, &executed);
        compare_finished(projection, order, native, normalized);
        return;
    }
    for (column, key) in columns {
        same_decimal(column, &twin.decimal(&order[key], true));
    }
    assert_eq!((projection.reduce_only, projection.close_position), (twin.flag(&order["R"]), None));
    same_text(&projection.execution_type, &twin.text(&order["x"], 40));
    assert_eq!(projection.is_forced, has_prefix || projection.execution_type.as_deref() == Some("CALCULATED"));
    assert_eq!((&projection.triggered_order_id, &projection.executed_quantity), (&None, &None));
    let status = if native == Some("EXPIRED_IN_MATCH") { OrderStatus::Expired } else { normalized };
    assert_eq!((projection.status, projection.execution_alias), (Some(status), None));
}

fn compare_finished(projection: &Projection, order: &Value, native: Option<&str>, normalized: OrderStatus) {
    let executed = projection.executed_quantity.as_ref();
    let is_absent = |value: &Value| value.is_null() || value == "";
    let status = match native {
        Some("TRIGGERING") => OrderStatus::Triggering,
        Some("TRIGGERED") => OrderStatus::Triggered,
        Some("EXPIRED_IN_MATCH") => OrderStatus::Expired,
        Some("FINISHED") => match executed {
            None if is_absent(&order["aq"]) => OrderStatus::Cancelled,
            None => OrderStatus::Unknown,
            Some(executed) if !executed.is_positive() => OrderStatus::Cancelled,
            Some(executed) => {
                let quantity = match &order["q"] {
                    Value::String(text) => numeric(text),
                    Value::Number(number) if number.is_f64() => match &projection.original_quantity {
                        Some(quantity) => Some(quantity.clone()),
                        None => return,
                    },
                    Value::Number(number) => numeric(&number.to_string()),
                    _ => None,
                };
                match quantity {
                    Some(quantity) if *executed < quantity => OrderStatus::PartiallyFilled,
                    _ => OrderStatus::Filled,
                }
            }
        },
        _ => normalized,
    };
    assert_eq!(projection.status, Some(status));
    let has_executed = native == Some("FINISHED") && executed.is_some_and(Decimal::is_positive);
    assert_eq!(projection.execution_alias, has_executed.then_some("ALGO_FILLED"));
}

fn compare_positions(projection: &Projection, account: &Value, twin: &mut Twin) {
    let entries = match (account, &account["P"]) {
        (Value::Null, _) | (Value::Object(_), Value::Null) => &[][..],
        (Value::Object(_), Value::Array(entries)) => entries,
        _ => {
            twin.misfits += 1;
            &[]
        }
    };
    let mut read = projection.positions.iter();
    let mut count = 0;
    for entry in entries {
        if count == EVENT_POSITIONS_MAX {
            twin.misfits += 1;
            break;
        }
        if entry.is_null() {
            continue;
        }
        if !entry.is_object() {
            twin.misfits += 1;
            continue;
        }
        let symbol = twin.upper(&entry["s"], 40);
        let side = twin.position_side(&entry["ps"]);
        match (symbol, side, twin.decimal(&entry["pa"], false)) {
            (Some(symbol), Some(side), quantity @ Known::Exactly(Some(_))) => {
                let position = read.next().expect("a position was lost");
                assert_eq!((&position.symbol, position.side), (&symbol, side));
                same_decimal(&Some(position.quantity.clone()), &quantity);
                count += 1;
            }
            (Some(_), Some(_), Known::Float(_)) => {
                // Whether a float is expressible only its digits say: the rest of the list cannot be told apart then.
                twin.floats += entries.len() as u32 * 4;
                return;
            }
            _ => {}
        }
    }
    assert_eq!(read.next(), None, "a position that the event does not have");
}

fn same_text(ours: &Option<String>, theirs: &Known<String>) {
    match theirs {
        Known::Exactly(theirs) => assert_eq!(ours, theirs),
        Known::Float(float) => {
            assert!(ours.as_ref().is_none_or(|ours| is_near(ours, *float)), "{ours:?} instead of {float}")
        }
    }
}

fn same_decimal(ours: &Option<Decimal>, theirs: &Known<Decimal>) {
    match theirs {
        Known::Exactly(theirs) => assert_eq!(ours, theirs),
        Known::Float(float) => {
            assert!(ours.as_ref().is_none_or(|ours| is_near(ours.as_str(), *float)), "{ours:?} instead of {float}");
        }
    }
}

fn same_time(ours: Option<i64>, theirs: &Known<i64>) {
    match theirs {
        Known::Exactly(theirs) => assert_eq!(ours, *theirs),
        Known::Float(float) => {
            assert!(ours.is_none_or(|ours| (ours as f64 - float).abs() <= 1.0), "{ours:?} instead of {float}");
        }
    }
}

/// serde_json's floats are right but for their last bits.
fn is_near(ours: &str, float: f64) -> bool {
    let ours: f64 = ours.parse().unwrap();
    (ours - float).abs() <= float.abs() * 1e-12
}

/// Of brackets outside of strings.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
