//! From settings to what reconciles take, and from their status to the role's.

use std::sync::Arc;

use super::control_ports::BinanceAccountRest;
use super::wiring::{self, BadSetting, bad};
use crate::domain::Venue;
use crate::domain::limits::ACCOUNT_READ_MAX;
use crate::ops::status::{DriftStatus, ReconcileStatus, RepairStatus, UserDataStatus, iso};
use crate::ops::{RestClient, Settings};
use crate::store::user_data::UserDataOptions;
use crate::store::{SyncLease, WorkStore};
use crate::user_data::reconcile::meter_file::SharedMeter;
use crate::user_data::reconcile::ports::AccountRest;
use crate::user_data::reconcile::runner::ReconcileConfig;
use crate::user_data::reconcile::status as shown;

/// Accounts that are named in alarms; the rest is counted.
const NAMED_MAX: usize = 20;

/// What reconciles need beside the role's own parts.
pub struct ReconcileRole {
    /// How they run.
    pub config: ReconcileConfig,
    /// Makes a thread's own session's owner.
    pub store: Box<dyn FnMut() -> WorkStore + Send>,
    /// The safety net's.
    pub lease: SyncLease,
    /// Reads the venue.
    pub rest: Arc<dyn AccountRest>,
}

/// The weight meter of this machine's address. `instance` is drawn at random.
#[must_use]
pub fn meter(settings: &Settings, instance: u64) -> SharedMeter {
    SharedMeter::new(Some(settings.net.weight_file.clone()), settings.net.rest_weight, instance)
}

/// The safety net's lease of this database, whose holder is named after `command`.
///
/// # Errors
/// [`BadSetting`]: a database that this build cannot use, or roots that cannot be read.
pub fn lease(settings: &Settings, command: &str) -> Result<SyncLease, BadSetting> {
    let options = options(settings, &format!("{command} safety net"))?;
    let lease = SyncLease::new(&wiring::store_url(settings)?, &options);
    lease.map_err(|error| bad("store.url", error.sentence()))
}

/// Everything that reconciles need; `None` where they are switched off.
///
/// # Errors
/// [`BadSetting`], the first one found.
pub fn reconcile_role(settings: &Settings, command: &str) -> Result<Option<ReconcileRole>, BadSetting> {
    if !settings.user_data.reconcile {
        return Ok(None);
    }
    let every = settings.user_data.sync_orders;
    Ok(Some(ReconcileRole {
        config: ReconcileConfig {
            canonical: Venue::Binance.canonical().to_owned(),
            heals: heals(settings),
            sync_every: (!every.is_zero()).then_some(every),
        },
        store: stores(settings, command)?,
        lease: lease(settings, command)?,
        rest: Arc::new(account_rest(settings)?),
    }))
}

/// In shadow mode no local order is ever changed: nothing is told twice there.
#[must_use]
pub fn heals(settings: &Settings) -> bool {
    !settings.user_data.binance.dispatched_executions.is_empty()
}

/// Signed reads at the venue that the settings name.
///
/// # Errors
/// [`BadSetting`]: roots that cannot be read.
pub fn account_rest(settings: &Settings) -> Result<BinanceAccountRest, BadSetting> {
    let client = RestClient::new(wiring::account_tls(settings)?, ACCOUNT_READ_MAX);
    Ok(BinanceAccountRest::new(client, &wiring::account_rest_base(settings)))
}

/// Sessions for the threads of reconciles.
///
/// # Errors
/// [`BadSetting`]: a database that this build cannot use, or roots that cannot be read.
pub fn stores(settings: &Settings, command: &str) -> Result<Box<dyn FnMut() -> WorkStore + Send>, BadSetting> {
    let url = wiring::store_url(settings)?;
    let options = options(settings, &format!("{command} reconcile"))?;
    let store = WorkStore::new(&url, &options).map_err(|error| bad("store.url", error.sentence()))?;
    // One is made already; that the others can be made is then certain.
    let mut first = Some(store);
    Ok(Box::new(move || {
        first.take().unwrap_or_else(|| WorkStore::new(&url, &options).expect("the first one could be made"))
    }))
}

fn options(settings: &Settings, purpose: &str) -> Result<UserDataOptions, BadSetting> {
    Ok(UserDataOptions {
        extra_roots_pem: wiring::read_roots("store.extra_roots", settings.store.extra_roots.as_deref())?,
        connect_timeout: settings.store.connect_timeout,
        ..UserDataOptions::new(format!("kraite-streams {purpose} (pid {})", std::process::id()))
    })
}

/// Adds what reconciles show.
pub fn show(reconcile: &shown::ReconcileStatus, status: &mut UserDataStatus) {
    let mut degraded = reconcile.degraded.iter();
    for (account, why) in degraded.by_ref().take(NAMED_MAX) {
        match status.streams.iter_mut().find(|stream| stream.id == account.unsigned_abs()) {
            // The role makes an alarm of it.
            Some(stream) if stream.degraded.is_none() => stream.degraded = Some(format!("not reconciled: {why}")),
            _ => status.alarms.push(format!("account {account} is not reconciled: {why}")),
        }
    }
    let more = degraded.count();
    if more > 0 {
        status.alarms.push(format!("{more} more accounts are not reconciled"));
    }
    if let Some(fault) = &reconcile.database_fault {
        status.alarms.push(format!("reconciles wait for the database: {fault}"));
    }
    status.alarms.extend(reconcile.clock_warning.clone());
    if let Some(warning) = &reconcile.meter_warning {
        status.alarms.push(warning.clone());
    }
    let drift = reconcile.drift.iter().map(|(account, drift)| DriftStatus {
        account: *account,
        order: drift.order_id,
        exchange_order_id: drift.exchange_order_id.clone(),
        symbol: drift.symbol.clone(),
        local: drift.local.clone(),
        venue: drift.venue.clone(),
    });
    let repairs = reconcile.repairs.iter().map(|repair| RepairStatus {
        account: repair.account,
        started_at: repair.started_at.map(iso),
        ended_at: iso(repair.ended_at),
        reason: repair.reason.clone(),
        recovered: repair.recovered,
        closed_at: iso(repair.closed_at),
    });
    status.reconcile = Some(ReconcileStatus {
        waiting: reconcile.waiting as u64,
        running: reconcile.running as u64,
        degraded: reconcile.degraded.len() as u64,
        switched_off: reconcile.switched_off as u64,
        gaps_closed: reconcile.gaps_closed,
        repairs: repairs.collect(),
        recovered: reconcile.recovered,
        sync_rounds: reconcile.rounds,
        sync_round_ms: reconcile.round.map(|round| u64::try_from(round.as_millis()).unwrap_or(u64::MAX)),
        sync_round_at: reconcile.round_ended_at.map(iso),
        sync_left: reconcile.sync_left as u64,
        drifted: reconcile.drifted,
        drift: drift.collect(),
        weight_used: u64::from(reconcile.meter.used),
        weight_limit: u64::from(reconcile.meter.limit),
        banned_s: reconcile.meter.banned_for.as_secs(),
        held_s: reconcile.meter.reconcile_held_for.as_secs(),
        venue_ahead_ms: reconcile.venue_ahead_ms,
    });
}
