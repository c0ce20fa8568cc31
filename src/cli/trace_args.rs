//! `trace` and `allowlist …` on the command line.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::ops::settings::BINANCE_EXECUTIONS;

/// `trace`
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// The order: its exchange id, its client id, or an algo order's
    #[arg(value_name = "ORDER_ID", value_parser = order_id)]
    pub order: String,
    /// Only this account's, by its id
    #[arg(long, value_name = "N")]
    pub account: Option<i64>,
    /// Print one JSON object: id, orders, events, intents, spool, notes
    #[arg(long)]
    pub json: bool,
}

/// `allowlist …`
#[derive(Clone, Debug, Subcommand)]
pub enum AllowlistCommand {
    /// Say what more execution types on the allowlist would have done; writes nothing
    #[command(long_about = PREVIEW)]
    Preview(PreviewArgs),
}

/// `allowlist preview`
#[derive(Args, Clone, Debug)]
pub struct PreviewArgs {
    /// Execution types to add to the list in force; several with commas
    #[arg(value_name = "TYPE", value_delimiter = ',', required = true, value_parser = execution_type)]
    pub types: Vec<String>,
    /// Frames received in this time: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time_back)]
    pub since: Duration,
    /// Only this account's, by its id
    #[arg(long, value_name = "N")]
    pub account: Option<i64>,
    /// Print one JSON object: types, allowlist, since_us, accounts, totals
    #[arg(long)]
    pub json: bool,
}

/// The longest time back: longer than any audit is kept.
const BACK_MAX: Duration = Duration::from_secs(3_660 * 86_400);

fn order_id(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        1..=255 if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err("an order id has 1 to 255 characters, without control characters".to_owned()),
    }
}

fn execution_type(text: &str) -> Result<String, String> {
    let text = text.trim();
    if BINANCE_EXECUTIONS.contains(&text) {
        return Ok(text.to_owned());
    }
    let near = BINANCE_EXECUTIONS.iter().find(|known| known.eq_ignore_ascii_case(text));
    let near = near.map(|known| format!(", did you mean {known}?")).unwrap_or_default();
    Err(format!("it is none of {}; case counts{near}", BINANCE_EXECUTIONS.join(", ")))
}

fn time_back(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and s, m, h or d, as in 24h; at most ten years".to_owned();
    let at = text.len() - text.chars().next_back().map_or(0, char::len_utf8);
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
    Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero() && *time <= BACK_MAX).ok_or_else(wrong)
}

/// What `trace --help` teaches.
pub const TRACE: &str = "\
Print one order's road: frame, spool position, job, audit row, the rule that decided, order change, intent, with the time from
each to the next.

Takes the exchange's id, the client id, or an algo order's; the real order that a triggered algo order became (`ai`) is shown with
it. Looks at the database of store.url and the spool of spool.folder; writes nothing. What is missing is said: a record that the
spool has let go, an event that shadow mode only audited, a frame that never came.

Times are the venue's own up to `received`, then this machine's; between the two lies whatever their clocks differ. Exit code
0; 1 where nothing at all is known of the order.";

const PREVIEW: &str = "\
Say which order changes and intents these execution types would have caused, had they stood on the allowlist; writes nothing.

Audited frames of each account, in the order in which they were received, go through the worker's own rules in one transaction that
is rolled back: once with the allowlist in force, once with the types added. What only the second did is printed. Frames meet orders
and positions as they are now, not as they were then; intents live as long as work.intent_live_s from the time of their frame.

While it runs it holds the locks that a worker would: an account's rows on PostgreSQL, the whole file on SQLite, where a worker
waits meanwhile. --since and --account keep that short.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_types_are_read_or_refused_with_a_sentence() {
        for (text, seconds) in [("24h", 86_400), ("90m", 5_400), ("1s", 1), ("7d", 604_800)] {
            assert_eq!(time_back(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "24", "0h", "-1h", "1w", "1.5h", "99999999999999999999d", "3661d", "5ü"] {
            assert!(time_back(text).unwrap_err().contains("as in 24h"), "{text}");
        }
        assert_eq!(execution_type(" TRADE"), Ok("TRADE".to_owned()));
        assert!(execution_type("trade").unwrap_err().ends_with("did you mean TRADE?"));
        assert!(execution_type("FILL").unwrap_err().ends_with("case counts"));
        assert!(order_id(" \t").is_err() && order_id("a\u{1b}b").is_err() && order_id(&"9".repeat(256)).is_err());
    }
}
