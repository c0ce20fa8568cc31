//! Parameters of a read, and the part of a history that they mean.

use crate::sim::http::percent_decode;
use crate::sim::venue::Market;

use super::Refused;

/// The longest span of a history.
const SPAN_MAX_MS: i64 = 7 * 24 * 3_600_000;
const ROWS: u64 = 500;
const ROWS_MAX: u64 = 1_000;

/// Names and decoded values, in the order in which they were sent.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn read(query: &str) -> Self {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Params(pairs.map(|(name, value)| (name.to_owned(), percent_decode(value))).collect())
    }

    /// A value that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refused> {
        let invalid = |_| {
            let msg = format!("Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.");
            Refused::new(-1100, &msg)
        };
        self.text(name).map(|text| text.parse().map_err(invalid)).transpose()
    }

    fn time(&self, name: &str) -> Result<Option<i64>, Refused> {
        Ok(self.number(name)?.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// A symbol that the venue lists, where one is named.
    pub(super) fn symbol_if_any(&self, market: &Market) -> Result<Option<String>, Refused> {
        let Some(symbol) = self.text("symbol") else { return Ok(None) };
        let is_listed = market.listed().iter().any(|l| l.symbol == symbol);
        is_listed.then(|| Some(symbol.to_owned())).ok_or_else(|| Refused::new(-1121, "Invalid symbol."))
    }

    /// A symbol that the venue lists.
    pub(super) fn symbol(&self, market: &Market) -> Result<String, Refused> {
        let missing = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.";
        self.symbol_if_any(market)?.ok_or_else(|| Refused::new(-1102, missing))
    }

    /// The venue's id or the client's; the former wins.
    pub(super) fn one_of(&self, id: &str, client_id: &str) -> Result<(Option<u64>, Option<&str>), Refused> {
        match (self.number(id)?, self.text(client_id)) {
            (None, None) => {
                let msg = format!("Param '{client_id}' or '{id}' must be sent, but both were empty/null!");
                Err(Refused::new(-1102, &msg))
            }
            found => Ok(found),
        }
    }

    /// Rows of a page.
    pub(super) fn limit(&self, default: u64) -> Result<usize, Refused> {
        let limit = self.number("limit")?.unwrap_or(default);
        match (1..=ROWS_MAX).contains(&limit) {
            true => Ok(limit as usize),
            false => Err(Refused::new(-1130, "Data sent for parameter 'limit' is not valid.")),
        }
    }

    /// `startTime` and `endTime`.
    pub(super) fn span(&self) -> Result<(Option<i64>, Option<i64>), Refused> {
        let (start, end) = (self.time("startTime")?, self.time("endTime")?);
        match (start, end) {
            (Some(start), Some(end)) if start > end => Err(Refused::new(-1023, "Start time is greater than end time.")),
            span => Ok(span),
        }
    }
}

/// A part of a history.
#[derive(Debug)]
pub(super) struct Page {
    first_id: Option<u64>,
    from_ms: i64,
    to_ms: i64,
    rows: usize,
    is_from_start: bool,
}

impl Page {
    /// An id, or a span of a week at most; the last week without either.
    pub(super) fn read(params: &Params, id: &str, now_ms: i64) -> Result<Self, Refused> {
        let first_id = params.number(id)?;
        let (start, end) = params.span()?;
        if let (Some(start), Some(end)) = (start, end)
            && end - start >= SPAN_MAX_MS
        {
            return Err(Refused::new(-4166, "Maximum time interval is 7 days."));
        }
        let (from_ms, to_ms) = match (start, end) {
            (None, None) if first_id.is_some() => (i64::MIN, i64::MAX),
            (None, None) => (now_ms - SPAN_MAX_MS, i64::MAX),
            (Some(start), None) => (start, start.saturating_add(SPAN_MAX_MS)),
            (None, Some(end)) => (end.saturating_sub(SPAN_MAX_MS), end),
            (Some(start), Some(end)) => (start, end),
        };
        let is_from_start = first_id.is_some() || start.is_some();
        Ok(Page { first_id, from_ms, to_ms, rows: params.limit(ROWS)?, is_from_start })
    }

    /// The same for fills, where an id and a span exclude each other.
    pub(super) fn read_trades(params: &Params, now_ms: i64) -> Result<Self, Refused> {
        let span = params.span()?;
        if params.number("fromId")?.is_some() && span != (None, None) {
            return Err(Refused::new(-1128, "Combination of optional parameters invalid."));
        }
        Page::read(params, "fromId", now_ms)
    }

    /// The rows of the page out of all, which are in the order of their ids.
    pub(super) fn cut<'a, T>(
        &self,
        all: impl DoubleEndedIterator<Item = &'a T>,
        id: impl Fn(&T) -> u64,
        time_ms: impl Fn(&T) -> i64,
    ) -> Vec<&'a T> {
        let meant = all.filter(|row| {
            self.first_id.is_none_or(|first| id(row) >= first) && (self.from_ms..=self.to_ms).contains(&time_ms(row))
        });
        if self.is_from_start {
            return meant.take(self.rows).collect();
        }
        let mut newest: Vec<_> = meant.rev().take(self.rows).collect();
        newest.reverse();
        newest
    }
}
