//! Members of a proved event as texts, decimals, times and flags that fit their columns; what does not fit is counted.

use std::borrow::Cow;

use super::number::read_decimal;
use crate::domain::Decimal;
use crate::domain::limits::{EVENT_TIME_MS_MAX, PRICE_PRECISION, PRICE_SCALE};
use crate::exchange::binance::outline::{self, Span};

/// Reads values of one event, each once. Absent, `null` and `""` are nothing, and no misfit.
pub(super) struct Fields<'t> {
    event: &'t [u8],
    misfits: u32,
}

/// One JSON value.
enum Value<'t> {
    Nothing,
    Text(Cow<'t, str>),
    /// Its digits.
    Number(&'t str),
    Flag(bool),
    /// An array, an object, or a text that is no Unicode: a lone surrogate.
    Unusable,
}

impl<'t> Fields<'t> {
    /// Of an event that is JSON.
    pub(super) fn new(event: &'t [u8]) -> Fields<'t> {
        Fields { event, misfits: 0 }
    }

    pub(super) fn event(&self) -> &'t [u8] {
        self.event
    }

    pub(super) fn misfits(&self) -> u32 {
        self.misfits
    }

    pub(super) fn count_misfit(&mut self) {
        self.misfits = self.misfits.saturating_add(1);
    }

    /// A text of at most `chars_max` characters. Numbers become their digits, so that no id is rounded.
    pub(super) fn text(&mut self, value: &Option<Span>, chars_max: usize) -> Option<String> {
        let text = match self.value(value) {
            Value::Nothing => return None,
            Value::Text(text) => text.into_owned(),
            Value::Number(digits) if digits.contains(['e', 'E']) => match read_decimal(digits) {
                Some(decimal) => decimal.as_str().to_owned(),
                None => return self.misfit(),
            },
            Value::Number(digits) => digits.to_owned(),
            Value::Flag(_) | Value::Unusable => return self.misfit(),
        };
        // PostgreSQL's text cannot hold NUL.
        let fits = !text.contains('\0') && (text.len() <= chars_max || text.chars().count() <= chars_max);
        if fits { Some(text) } else { self.misfit() }
    }

    /// As [`Fields::text`], without the blanks that PHP's `trim` takes off, in upper case.
    pub(super) fn trimmed_upper(&mut self, value: &Option<Span>, chars_max: usize) -> Option<String> {
        let text = match self.value(value) {
            Value::Text(text) => text.trim_matches([' ', '\t', '\n', '\r', '\0', '\u{b}']).to_ascii_uppercase(),
            Value::Nothing => return None,
            _ => return self.misfit(),
        };
        match text.as_str() {
            "" => None,
            text if text.contains('\0') || text.chars().count() > chars_max => self.misfit(),
            _ => Some(text),
        }
    }

    /// A word of a closed set, in whatever case.
    pub(super) fn word<T>(&mut self, value: &Option<Span>, of: fn(&str) -> Option<T>) -> Option<T> {
        let word = self.trimmed_upper(value, usize::MAX)?;
        of(&word).or_else(|| self.misfit())
    }

    /// A decimal of any size that [`Decimal`] holds.
    pub(super) fn decimal(&mut self, value: &Option<Span>) -> Option<Decimal> {
        let decimal = match self.value(value) {
            Value::Nothing => return None,
            Value::Text(text) => read_decimal(&text),
            Value::Number(digits) => read_decimal(digits),
            Value::Flag(_) | Value::Unusable => None,
        };
        decimal.or_else(|| self.misfit())
    }

    /// A decimal that its column holds without rounding.
    pub(super) fn column(&mut self, value: &Option<Span>) -> Option<Decimal> {
        let decimal = self.decimal(value);
        self.fitting(decimal)
    }

    /// The same of a decimal that was read already.
    pub(super) fn fitting(&mut self, decimal: Option<Decimal>) -> Option<Decimal> {
        match decimal? {
            decimal if decimal.fits(PRICE_PRECISION, PRICE_SCALE) => Some(decimal),
            _ => self.misfit(),
        }
    }

    /// Milliseconds since 1970 UTC, up to the last year of four digits.
    pub(super) fn time(&mut self, value: &Option<Span>) -> Option<i64> {
        let decimal = self.decimal(value)?;
        let time = decimal.as_str().parse().ok().filter(|time| (0..=EVENT_TIME_MS_MAX).contains(time));
        time.or_else(|| self.misfit())
    }

    /// `true`, or what PHP code writes for it.
    pub(super) fn flag(&mut self, value: &Option<Span>) -> Option<bool> {
        match self.value(value) {
            Value::Nothing => None,
            Value::Flag(flag) => Some(flag),
            Value::Number("1") => Some(true),
            Value::Number("0") => Some(false),
            Value::Text(text) => match &*text {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => self.misfit(),
            },
            _ => self.misfit(),
        }
    }

    /// Where the object opens.
    pub(super) fn object(&mut self, value: &Option<Span>) -> Option<usize> {
        self.nested(value, b'{')
    }

    /// Where the array opens.
    pub(super) fn array(&mut self, value: &Option<Span>) -> Option<usize> {
        self.nested(value, b'[')
    }

    /// Whether there is a value that means something.
    pub(super) fn is_there(&self, value: &Option<Span>) -> bool {
        !matches!(self.value(value), Value::Nothing)
    }

    /// Whether a text begins with one of `prefixes`, however long it is.
    pub(super) fn begins_with(&self, value: &Option<Span>, prefixes: &[&str]) -> bool {
        match self.value(value) {
            Value::Text(text) => prefixes.iter().any(|prefix| text.starts_with(prefix)),
            _ => false,
        }
    }

    fn nested(&mut self, value: &Option<Span>, bracket: u8) -> Option<usize> {
        let start = value.as_ref()?.start;
        match self.event[start] {
            byte if byte == bracket => Some(start),
            b'n' => None,
            _ => self.misfit(),
        }
    }

    fn misfit<T>(&mut self) -> Option<T> {
        self.count_misfit();
        None
    }

    fn value(&self, span: &Option<Span>) -> Value<'t> {
        let Some(span) = span else { return Value::Nothing };
        let raw = &self.event[span.clone()];
        match raw {
            [b'n', ..] | [] | [b'"', b'"'] => Value::Nothing,
            [b't', ..] => Value::Flag(true),
            [b'f', ..] => Value::Flag(false),
            [b'"', inside @ .., b'"'] => unescaped(raw, inside),
            [b'-' | b'0'..=b'9', ..] => std::str::from_utf8(raw).map_or(Value::Unusable, Value::Number),
            _ => Value::Unusable,
        }
    }
}

/// A string with its quotes, and what is between them.
fn unescaped<'t>(quoted: &'t [u8], inside: &'t [u8]) -> Value<'t> {
    if inside.contains(&b'\\') {
        return serde_json::from_slice(quoted).map_or(Value::Unusable, |text: String| Value::Text(text.into()));
    }
    std::str::from_utf8(inside).map_or(Value::Unusable, |text| Value::Text(text.into()))
}

/// The members of an order that are projected: their values.
#[derive(Default)]
pub(super) struct OrderMembers {
    pub(super) id: Option<Span>,
    pub(super) algo_id: Option<Span>,
    pub(super) client_id: Option<Span>,
    pub(super) client_algo_id: Option<Span>,
    pub(super) triggered_id: Option<Span>,
    pub(super) symbol: Option<Span>,
    pub(super) status: Option<Span>,
    pub(super) execution_type: Option<Span>,
    pub(super) side: Option<Span>,
    pub(super) position_side: Option<Span>,
    pub(super) price: Option<Span>,
    pub(super) trigger_price: Option<Span>,
    pub(super) average_price: Option<Span>,
    pub(super) quantity: Option<Span>,
    pub(super) filled_quantity: Option<Span>,
    pub(super) executed_quantity: Option<Span>,
    pub(super) last_price: Option<Span>,
    pub(super) last_quantity: Option<Span>,
    pub(super) reduce_only: Option<Span>,
    pub(super) close_position: Option<Span>,
}

impl OrderMembers {
    /// Of the object that opens at `start`.
    pub(super) fn of(event: &[u8], start: usize) -> OrderMembers {
        let mut members = OrderMembers::default();
        for (key, value) in outline::members(event, start) {
            // The key with its quotes, where it has to be unescaped before it can be compared.
            let name = match unescaped(&event[key.start - 1..key.end + 1], &event[key]) {
                Value::Text(name) => name,
                _ => continue,
            };
            if let Some(place) = members.place(&name) {
                *place = Some(value);
            }
        }
        members
    }

    fn place(&mut self, name: &str) -> Option<&mut Option<Span>> {
        Some(match name {
            "i" => &mut self.id,
            "aid" => &mut self.algo_id,
            "c" => &mut self.client_id,
            "caid" => &mut self.client_algo_id,
            "ai" => &mut self.triggered_id,
            "s" => &mut self.symbol,
            "X" => &mut self.status,
            "x" => &mut self.execution_type,
            "S" => &mut self.side,
            "ps" => &mut self.position_side,
            "p" => &mut self.price,
            "tp" => &mut self.trigger_price,
            "ap" => &mut self.average_price,
            "q" => &mut self.quantity,
            "z" => &mut self.filled_quantity,
            "aq" => &mut self.executed_quantity,
            "L" => &mut self.last_price,
            "l" => &mut self.last_quantity,
            "R" => &mut self.reduce_only,
            "cp" => &mut self.close_position,
            _ => return None,
        })
    }
}
