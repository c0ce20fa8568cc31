//! What the demo tells of gaps while it runs: a line when one is recorded, and one when it is repaired.

use std::collections::HashSet;
use std::time::Duration;

use super::orders;
use super::repairs::break_to_repair_ms;
use crate::domain::Wall;
use crate::sim::SimHandle;
use crate::store::error::Result;
use crate::store::sqlite::{HeldGap, SqliteStore};

/// What was recovered is on its way to the tables for a moment: so long the second line waits for them.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

/// Remembers what was told.
#[derive(Debug, Default)]
pub struct GapStory {
    recorded: HashSet<i64>,
    repaired: HashSet<i64>,
}

impl GapStory {
    /// What is new in the tables; `rows` are the accounts' rows by the exchange's index.
    ///
    /// # Errors
    /// The database's.
    pub fn news(&mut self, store: &SqliteStore, sim: &SimHandle, rows: &[u64], now: Wall) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for gap in store.held_gaps()? {
            // What lies before an account's first moment is no break.
            if gap.started_at.is_some() && self.recorded.insert(gap.id) {
                lines.push(format!("        gap: {}", recorded(&gap)));
            }
            let Some(repaired_at) = gap.reconciled_at else { continue };
            if self.repaired.contains(&gap.id) {
                continue;
            }
            let index = rows.iter().position(|row| i64::try_from(*row) == Ok(gap.account_id));
            let book = index.map(|index| sim.account_book(index)).unwrap_or_default();
            let since_ms = gap.started_at.map_or(0, Wall::as_millis);
            let ended = orders::ended_within(&book, &store.held_orders()?, (since_ms, gap.ended_at.as_millis()));
            let is_settled = ended.0 == ended.1 || repaired_at.as_micros() + micros(APPLIED_WITHIN) <= now.as_micros();
            if is_settled && self.repaired.insert(gap.id) {
                lines.push(format!("        repaired: {}", repaired(&gap, ended)));
            }
        }
        Ok(lines)
    }
}

fn recorded(gap: &HeldGap) -> String {
    let (since, until) = (gap.started_at.unwrap_or_default(), gap.ended_at);
    let seconds = (until.as_micros() - since.as_micros()) as f64 / 1e6;
    format!("account {} heard nothing from {since} to {until}, {seconds:.1} s ({})", gap.account_id, gap.reason)
}

fn repaired(gap: &HeldGap, (ended, right): (u64, u64)) -> String {
    let what = match gap.started_at {
        Some(since) => format!("the gap of account {} that began {since}", gap.account_id),
        None => format!("account {} before its first frame", gap.account_id),
    };
    let recovered = match gap.recovered {
        0 => "nothing was missed".to_owned(),
        1 => "1 event recovered".to_owned(),
        count => format!("{count} events recovered"),
    };
    let after = break_to_repair_ms(gap).map_or_else(String::new, |ms| format!(", {:.1} s after", ms as f64 / 1e3));
    let orders = match ended {
        0 => String::new(),
        _ if ended == right => format!("; {ended} orders ended in it, and are here what they are at the exchange"),
        _ => format!("; {ended} orders ended in it, of which {right} are here what they are at the exchange"),
    };
    format!("{what}: {recovered}{after}{orders}")
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
