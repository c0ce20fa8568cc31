//! `sync-orders`: the safety net by hand or from cron, also while no daemon runs.

use std::cell::Cell;
use std::sync::Arc;

use clap::Args;

use super::exit::{CommandError, Exit};
use super::store::AnyStore;
use super::sync_report::{AccountReport, NotAsked, Report};
use super::{Loaded, out, seed};
use crate::daemon::control_ports::LaravelColumns;
use crate::daemon::{reconcile_wiring, work_wiring};
use crate::domain::time::SystemClock;
use crate::domain::{Clock, Venue};
use crate::ops::encrypter::Encrypter;
use crate::ops::key_place::KeyPlace;
use crate::ops::signals::{Signal, Signals};
use crate::store::reconcile::Exposure;
use crate::store::user_data_rows::AccountListing;
use crate::store::{LeaseState, StoreUrl, SyncLease};
use crate::user_data::reconcile::drive::Unfinished;
use crate::user_data::reconcile::sync::SyncOrders;
use crate::user_data::reconcile::venue_clock::VenueClock;

/// What `sync-orders --help` teaches.
pub const SYNC_ORDERS: &str = "\
Compare the orders of every account that has open orders or positions with the venue's, and apply what nobody heard: by the
same rules as the worker's, in the database itself, so that it works while no daemon runs. Orders that are not in the
database are recorded and left alone. Nothing is ever placed or cancelled.

Accounts with positions are asked first, of these the one that was asked longest ago, by whatever process. About 120 REST
weight and some seconds an account: the report ends with how long the round took and what one takes at the present budget.

One process a database plays the safety net: a running daemon does every user_data.sync_orders_s, and holds the lease for as
long as it lives; then this command says who it is and does nothing. --dry-run looks without the lease. Accounts that are
switched off, or have no API key, are named and not asked.

Exit code 0: done. 1: an account could not be compared; the others were. 64: no such account. 75: somebody else holds the
lease, or it ended early, since the venue has banned this address, no REST weight was left, or it was told to stop
(SIGTERM): what was done until then is done, and told; the rest is named.

--json prints one object: accounts [{account, positions, orders, since_last_s, took_ms, drift [{order, exchange_order_id,
symbol, local, venue}], missed, audited, unknown, unplaced, intents, error}], not_asked [{account, why}], ended_early, round_ms,
estimated_round_s, weight_used, weight_limit, dry_run. since_last_s is how long ago the account was compared before.";

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

pub(super) fn run(loaded: &Loaded, args: &SyncOrdersArgs) -> Result<Exit, CommandError> {
    let settings = &loaded.settings;
    let embedded = match &loaded.store {
        StoreUrl::Sqlite(path) if !path.exists() => {
            return Err(CommandError::new(Exit::NoInput, format!("{} is not there", path.display())));
        }
        StoreUrl::Sqlite(path) => Some(path.as_path()),
        StoreUrl::Postgres(_) => None,
    };
    let signals = Signals::listen().map_err(|error| CommandError::new(Exit::Software, error.to_string()))?;
    let is_stopped = Cell::new(false);
    let goes_on = || {
        let stops = signals.receiver().try_iter().any(|signal| signal == Signal::Stop);
        is_stopped.set(is_stopped.get() || stops);
        !is_stopped.get()
    };
    // Looking hinders nobody.
    let mut lease = if args.dry_run { None } else { Some(take_lease(loaded)?) };
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
        goes_on: &goes_on,
    };
    let exposures = sync.exposures()?;
    let listing = AnyStore::open_to_read(loaded)?.user_data().accounts()?;
    if let Some(account) = args.account {
        check_account(&listing, account)?;
    }
    let mut report = Report { dry_run: args.dry_run, only: args.account, ..Report::default() };
    let mut wanted = Vec::new();
    for exposure in exposures {
        match why_not(&listing, exposure.account_id) {
            _ if args.account.is_some_and(|id| id != exposure.account_id) => {}
            Some(why) => report.not_asked.push(NotAsked::new(exposure.account_id, why)),
            None => wanted.push(exposure),
        }
    }
    report.estimated_round_s = sync.time_for(wanted.len()).as_secs();
    let began = clock.now().mono;
    for (at, exposure) in wanted.iter().enumerate() {
        if let Err(why) = compare(&mut sync, exposure, lease.as_mut(), &mut report) {
            report.not_asked.extend(wanted[at..].iter().map(|left| NotAsked::new(left.account_id, &*why)));
            report.ended_early = Some(why.to_string());
            break;
        }
    }
    let now = clock.now();
    let status = meter.status(now);
    report.round_ms = u64::try_from(now.mono.since(began).as_millis()).unwrap_or(u64::MAX);
    (report.weight_used, report.weight_limit, report.warning) = (status.used, status.limit, meter.warning());
    out(&format!("{}\n", report.print(args.json)?.trim_end()))?;
    Ok(report.exit())
}

/// Compares one account into the report.
///
/// # Errors
/// Why neither this one nor another can be asked now.
fn compare(
    sync: &mut SyncOrders<'_>,
    exposure: &Exposure,
    lease: Option<&mut SyncLease>,
    report: &mut Report,
) -> Result<(), Arc<str>> {
    const STOPPED: &str = "it was told to stop";
    let began = sync.clock.now();
    if !(sync.goes_on)() {
        return Err(STOPPED.into());
    }
    // A session that broke has lost the lease, and whoever has it now is at work.
    match lease.map(SyncLease::take) {
        None | Some(Ok(LeaseState::Ours)) => {}
        Some(Ok(LeaseState::Theirs(holder))) => return Err(format!("the lease was lost to {holder}").into()),
        Some(Err(error)) => return Err(format!("the lease cannot be asked for: {error}").into()),
    }
    let found = match sync.account(exposure, !report.dry_run) {
        Err(Unfinished::Interrupted) => return Err(STOPPED.into()),
        Err(Unfinished::Address(why)) => return Err(why),
        Err(Unfinished::Failed(why) | Unfinished::Database(why)) => Err(why),
        Ok(found) => Ok(found),
    };
    let took = sync.clock.now().mono.since(began.mono);
    report.accounts.push(AccountReport::of(exposure, began.wall, took, found));
    Ok(())
}

fn take_lease(loaded: &Loaded) -> Result<SyncLease, CommandError> {
    let mut lease = reconcile_wiring::lease(&loaded.settings, "sync-orders")?;
    match lease.take()? {
        LeaseState::Ours => Ok(lease),
        LeaseState::Theirs(holder) => {
            let sentence =
                format!("{holder} plays the safety net now; nothing was done (--dry-run looks all the same)");
            Err(CommandError::new(Exit::TempFail, sentence))
        }
    }
}

/// Whether an account that somebody names can be asked at all.
fn check_account(listing: &[AccountListing], id: i64) -> Result<(), CommandError> {
    if !listing.iter().any(|account| account.id == id) {
        let sentence = format!("no account has the id {id}; `accounts list` shows them");
        return Err(CommandError::new(Exit::Usage, sentence));
    }
    match why_not(listing, id) {
        None => Ok(()),
        Some(why) => Err(CommandError::new(Exit::Failed, format!("account {id} is not asked: {why}"))),
    }
}

/// Why an account is not asked, if it is not.
fn why_not(listing: &[AccountListing], id: i64) -> Option<&'static str> {
    match listing.iter().find(|account| account.id == id) {
        None => Some("it is removed"),
        Some(account) if account.canonical != Venue::Binance.canonical() => {
            Some("orders are compared at Binance only, and it is elsewhere")
        }
        Some(account) if !account.is_active => Some("it is switched off"),
        Some(account) if account.api_key.is_none() || !account.has_secret => Some("it has no API key or no secret"),
        Some(_) => None,
    }
}
