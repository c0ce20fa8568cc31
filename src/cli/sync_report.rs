//! What `sync-orders` prints: each account's drift, who was not asked and why, and how long a round takes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::exit::{CommandError, Exit};
use crate::domain::Wall;
use crate::store::reconcile::Exposure;
use crate::user_data::reconcile::sync::SyncReport;

#[derive(Default, Serialize)]
pub(super) struct Report {
    pub accounts: Vec<AccountReport>,
    pub not_asked: Vec<NotAsked>,
    pub ended_early: Option<String>,
    pub round_ms: u64,
    pub estimated_round_s: u64,
    pub weight_used: u32,
    pub weight_limit: u32,
    pub dry_run: bool,
    /// Why the weight is not counted together with other processes.
    pub warning: Option<String>,
    /// The account that was named.
    #[serde(skip)]
    pub only: Option<i64>,
}

#[derive(Default, Serialize)]
pub(super) struct AccountReport {
    account: i64,
    positions: u64,
    orders: u64,
    /// How long ago it was compared before; `None`: never.
    since_last_s: Option<u64>,
    took_ms: u64,
    drift: Vec<DriftReport>,
    missed: usize,
    audited: usize,
    unknown: Vec<String>,
    unplaced: Vec<String>,
    intents: Vec<&'static str>,
    error: Option<String>,
}

#[derive(Serialize)]
struct DriftReport {
    order: i64,
    exchange_order_id: String,
    symbol: String,
    local: String,
    venue: String,
}

#[derive(Serialize)]
pub(super) struct NotAsked {
    account: i64,
    why: String,
}

impl NotAsked {
    pub fn new(account: i64, why: impl Into<String>) -> NotAsked {
        NotAsked { account, why: why.into() }
    }
}

impl AccountReport {
    pub fn of(exposure: &Exposure, at: Wall, took: Duration, found: Result<SyncReport, Arc<str>>) -> AccountReport {
        let since = exposure.compared_at.map(|last| at.as_micros().saturating_sub(last.as_micros()).max(0) / 1_000_000);
        let mut report = AccountReport {
            account: exposure.account_id,
            positions: exposure.positions,
            orders: exposure.orders,
            since_last_s: since.map(i64::unsigned_abs),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            ..AccountReport::default()
        };
        match found {
            Err(error) => report.error = Some(error.to_string()),
            Ok(SyncReport { conclusion, audited, intents }) => {
                report.missed = conclusion.missed();
                let drift = conclusion.drift.into_iter().map(|drift| DriftReport {
                    order: drift.order_id,
                    exchange_order_id: drift.exchange_order_id,
                    symbol: drift.symbol,
                    local: drift.local,
                    venue: drift.venue,
                });
                report.drift = drift.collect();
                (report.unknown, report.unplaced) = (conclusion.unknown, conclusion.unplaced);
                (report.audited, report.intents) = (audited, intents);
            }
        }
        report
    }
}

impl Report {
    pub fn exit(&self) -> Exit {
        match (&self.ended_early, self.accounts.iter().all(|account| account.error.is_none())) {
            (Some(_), _) => Exit::TempFail,
            (None, false) => Exit::Failed,
            (None, true) => Exit::Ok,
        }
    }

    pub fn print(&self, is_json: bool) -> Result<String, CommandError> {
        match is_json {
            true => serde_json::to_string(self).map_err(|error| CommandError::new(Exit::Software, error.to_string())),
            false => Ok(self.text()),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut add = |line: std::fmt::Arguments<'_>| {
            writeln!(text, "{line}").expect("a String takes what is written");
        };
        if self.accounts.is_empty() && self.not_asked.is_empty() {
            match self.only {
                Some(id) => {
                    add(format_args!("account {id} has no open orders or positions: there is nothing to compare"))
                }
                None => add(format_args!("no account has open orders or positions")),
            }
            return text;
        }
        for account in &self.accounts {
            let since = match account.since_last_s {
                Some(seconds) => format!("last compared {seconds} s before"),
                None => "never compared before".to_owned(),
            };
            match &account.error {
                Some(error) => add(format_args!("account {}: not compared: {error} ({since})", account.account)),
                None => add(format_args!(
                    "account {}: {} orders elsewhere than at the venue, {} events that nobody heard ({since})",
                    account.account,
                    account.drift.len(),
                    account.missed
                )),
            }
            let verb = if self.dry_run { "would become" } else { "becomes" };
            for drift in &account.drift {
                add(format_args!(
                    "  order {} ({} {}): {} {verb} {}",
                    drift.order, drift.symbol, drift.exchange_order_id, drift.local, drift.venue
                ));
            }
            for id in &account.unknown {
                add(format_args!("  the venue does not know the order {id} any more"));
            }
            for id in &account.unplaced {
                add(format_args!("  the venue never had the order with the client id {id}"));
            }
            for intent in &account.intents {
                add(format_args!("  intent {intent}"));
            }
        }
        for NotAsked { account, why } in &self.not_asked {
            add(format_args!("account {account}: not asked: {why}"));
        }
        if let Some(why) = &self.ended_early {
            add(format_args!("ended early: {why}"));
        }
        if let Some(warning) = &self.warning {
            add(format_args!("{warning}"));
        }
        add(format_args!(
            "{} accounts in {:.1} s; at the present budget a round was to take {} s ({} of {} REST weight of the minute used)",
            self.accounts.len(),
            Duration::from_millis(self.round_ms).as_secs_f64(),
            self.estimated_round_s,
            self.weight_used,
            self.weight_limit
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user_data::reconcile::conclusion::{Conclusion, Drift};

    fn exposure(account_id: i64, compared_at: Option<Wall>) -> Exposure {
        Exposure { account_id, api_system_id: 1, positions: 1, orders: 2, asked_at: compared_at, compared_at }
    }

    #[test]
    fn everybody_is_told_of_and_the_code_is_the_worst() {
        let at = Wall::from_millis(1_000_000);
        let took = Duration::from_millis(3_400);
        let drift = Drift {
            order_id: 7,
            exchange_order_id: "77".to_owned(),
            symbol: "BTCUSDT".to_owned(),
            local: "NEW".to_owned(),
            venue: "FILLED".to_owned(),
        };
        let conclusion = Conclusion {
            drift: vec![drift],
            unknown: vec!["9".to_owned()],
            unplaced: vec!["c-1".to_owned()],
            ..Conclusion::default()
        };
        let found = SyncReport { conclusion, audited: 1, intents: vec!["CloseVacatedPosition"] };
        let mut report = Report { dry_run: true, round_ms: 3_400, estimated_round_s: 4, ..Report::default() };
        assert_eq!(report.text(), "no account has open orders or positions\n");
        report.accounts.push(AccountReport::of(&exposure(1, Some(Wall::from_millis(880_000))), at, took, Ok(found)));
        assert_eq!(report.exit(), Exit::Ok);
        report.accounts.push(AccountReport::of(&exposure(2, None), at, took, Err("the venue is shut".into())));
        report.not_asked.push(NotAsked::new(3, "it is switched off"));
        let text = report.text();
        for line in [
            "account 1: 1 orders elsewhere than at the venue, 0 events that nobody heard (last compared 120 s before)",
            "  order 7 (BTCUSDT 77): NEW would become FILLED",
            "  the venue does not know the order 9 any more",
            "  the venue never had the order with the client id c-1",
            "  intent CloseVacatedPosition",
            "account 2: not compared: the venue is shut (never compared before)",
            "account 3: not asked: it is switched off",
            "2 accounts in 3.4 s; at the present budget a round was to take 4 s (0 of 0 REST weight of the minute used)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
        assert_eq!(report.exit(), Exit::Failed);
        report.ended_early = Some("the venue has banned this address for 9 s".to_owned());
        assert_eq!(report.exit(), Exit::TempFail);
        assert!(report.text().contains("ended early: the venue has banned this address for 9 s"));
    }
}
