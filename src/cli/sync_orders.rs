//! `sync-orders`: the safety net by hand or from cron, also while no daemon runs.

use std::fmt::Write as _;
use std::io;

use clap::Args;
use serde::Serialize;

use super::exit::{CommandError, Exit};
use super::{Loaded, out, seed};
use crate::daemon::control_ports::LaravelColumns;
use crate::daemon::{reconcile_wiring, work_wiring};
use crate::domain::Venue;
use crate::domain::time::SystemClock;
use crate::ops::encrypter::Encrypter;
use crate::ops::key_place::KeyPlace;
use crate::store::StoreUrl;
use crate::store::reconcile::Exposure;
use crate::user_data::reconcile::conclusion::Drift;
use crate::user_data::reconcile::runner::Lease;
use crate::user_data::reconcile::sync::{SyncOrders, SyncReport};
use crate::user_data::reconcile::venue_clock::VenueClock;

/// What `sync-orders --help` teaches.
pub const SYNC_ORDERS: &str = "\
Compare the orders of every account that has open orders or positions with the venue's, and apply what nobody heard: by the
same rules as the worker's, in the database itself, so that it works while no daemon runs. Orders that are not in the
database are recorded and left alone. Nothing is ever placed or cancelled.

A running daemon does the same every user_data.sync_orders_s and holds the lease while it does; then this command says so
and does nothing. About 120 REST weight an account: see `check` for how long a round takes.

Exit code 0: done. 1: an account could not be compared; the others were. 75: somebody else holds the lease.

--json prints one object: accounts [{account, drift [{order, exchange_order_id, symbol, local, venue}], missed, audited,
unknown, unplaced, intents, error}], dry_run.";

/// `sync-orders`
#[derive(Args, Clone, Debug, Default)]
pub struct SyncOrdersArgs {
    /// Only this account
    #[arg(long, value_name = "N")]
    pub account: Option<i64>,
    /// Say what would be changed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Report {
    accounts: Vec<AccountReport>,
    dry_run: bool,
}

#[derive(Default, Serialize)]
struct AccountReport {
    account: i64,
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

pub(super) fn run(loaded: &Loaded, args: &SyncOrdersArgs) -> Result<Exit, CommandError> {
    let settings = &loaded.settings;
    let path = reconcile_wiring::lease(settings);
    let lease = Lease::take(&path).map_err(|error| {
        CommandError::new(Exit::CantCreate, format!("the lease {} cannot be taken: {error}", path.display()))
    })?;
    // Looking hinders nobody.
    if lease.is_none() && !args.dry_run {
        let sentence = "another process plays the safety net now; nothing was done (--dry-run looks all the same)";
        return Err(CommandError::new(Exit::TempFail, sentence));
    }
    let embedded = match &loaded.store {
        StoreUrl::Sqlite(path) if !path.exists() => {
            return Err(CommandError::new(Exit::NoInput, format!("{} is not there", path.display())));
        }
        StoreUrl::Sqlite(path) => Some(path.as_path()),
        StoreUrl::Postgres(_) => None,
    };
    let keys = KeyPlace::of(&settings.user_data, embedded).load();
    let keys = keys.map_err(|error| CommandError::new(Exit::Config, format!("user_data.app_key: {error}")))?;
    let cipher = LaravelColumns(Encrypter::new(keys, settings.user_data.cipher));
    let rest = reconcile_wiring::account_rest(settings)?;
    let clock = SystemClock::start();
    let meter = reconcile_wiring::meter(settings, seed()?, &clock);
    let mut epoch = [0; 16];
    getrandom::fill(&mut epoch).map_err(|error| CommandError::new(Exit::Software, error.to_string()))?;
    let mut sync = SyncOrders {
        canonical: Venue::Binance.canonical(),
        store: reconcile_wiring::stores(settings, "sync-orders")?(),
        rest: &rest,
        cipher: &cipher,
        meter: &meter,
        clock: &clock,
        venue_clock: VenueClock::default(),
        policy: work_wiring::policy(settings)?,
        epoch,
    };
    let exposures = sync.exposures()?;
    let wanted: Vec<Exposure> =
        exposures.into_iter().filter(|exposure| args.account.is_none_or(|id| id == exposure.account_id)).collect();
    let mut report = Report { accounts: Vec::new(), dry_run: args.dry_run };
    for exposure in &wanted {
        let found = sync.account(exposure, !args.dry_run);
        report.accounts.push(AccountReport::of(exposure.account_id, found));
    }
    let is_whole = report.accounts.iter().all(|account| account.error.is_none());
    let text = match args.json {
        true => serde_json::to_string(&report).map_err(|error| io::Error::other(error.to_string())),
        false => Ok(report.text()),
    };
    let text = text.map_err(|error| CommandError::new(Exit::Software, error.to_string()))?;
    out(&format!("{}\n", text.trim_end()))?;
    Ok(if is_whole { Exit::Ok } else { Exit::Failed })
}

impl AccountReport {
    fn of(account: i64, found: Result<SyncReport, std::sync::Arc<str>>) -> AccountReport {
        let SyncReport { conclusion, audited, intents } = match found {
            Ok(found) => found,
            Err(error) => return AccountReport { account, error: Some(error.to_string()), ..AccountReport::default() },
        };
        let missed = conclusion.missed();
        let drift = conclusion.drift.into_iter().map(|drift: Drift| DriftReport {
            order: drift.order_id,
            exchange_order_id: drift.exchange_order_id,
            symbol: drift.symbol,
            local: drift.local,
            venue: drift.venue,
        });
        let drift = drift.collect();
        let (unknown, unplaced) = (conclusion.unknown, conclusion.unplaced);
        AccountReport { account, drift, missed, audited, unknown, unplaced, intents, error: None }
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut add = |line: std::fmt::Arguments<'_>| {
            writeln!(text, "{line}").expect("a String takes what is written");
        };
        if self.accounts.is_empty() {
            add(format_args!("no account has open orders or positions"));
        }
        for account in &self.accounts {
            match &account.error {
                Some(error) => add(format_args!("account {}: not compared: {error}", account.account)),
                None => add(format_args!(
                    "account {}: {} orders elsewhere than at the venue, {} events that nobody heard",
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
        text
    }
}
