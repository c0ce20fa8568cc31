//! The private half of the demo: three accounts of the simulator, the real user-data role, the real worker, and the trading
//! application whose orders are in its tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::audit_report::{AuditReport, judge_tables};
use super::check::Check;
use super::latency;
use super::stage::{database, system};
use super::worker::{Joint, WorkHalf};
use crate::cli::accounts::random_uuid;
use crate::cli::exit::{CommandError, Exit};
use crate::daemon::account_role::AccountRole;
use crate::daemon::account_wiring;
use crate::daemon::wiring;
use crate::domain::limits::STOP_MAX;
use crate::domain::{Clock, Now, Random, Venue, Wall};
use crate::ops::Settings;
use crate::ops::encrypter::Encrypter;
use crate::ops::key_place::KeyPlace;
use crate::ops::status::{UserDataStatus, WorkStatus};
use crate::sim::{AccountsConfig, SimHandle};
use crate::spool::Gap;
use crate::store::sqlite::SqliteStore;
use crate::store::user_data::UserDataOptions;
use crate::store::user_data_rows::{Ciphertext, NewAccount};
use crate::store::{StoreUrl, UserDataStore};

/// How many there are.
pub const ACCOUNTS: usize = 3;
/// Frames of all accounts together, a second, in a run of ordinary length.
const FRAMES_PER_SECOND: f64 = 30.0;
/// Frames of a whole run: a long one is slower, so that the ledgers stay small.
const FRAMES_MAX: f64 = 100_000.0;

/// What the simulator is to do.
pub fn config(seconds: u64) -> AccountsConfig {
    let frames_per_second = FRAMES_PER_SECOND.min(FRAMES_MAX / seconds as f64);
    AccountsConfig { count: ACCOUNTS, frames_per_second, has_application: true, ..AccountsConfig::default() }
}

/// What the program has of an account.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Its frames, in order.
    pub frames: Vec<Vec<u8>>,
    /// From the last moment of surely listening to the first of surely listening again.
    pub gaps: Vec<(Wall, Wall)>,
}

impl Recorded {
    /// Adds a gap record; one of an account that was never heard before begins with time itself.
    pub fn push_gap(&mut self, raw: &[u8]) -> io::Result<()> {
        let gap = Gap::read(raw).ok_or_else(|| io::Error::other("a gap record does not hold a gap"))?;
        self.gaps.push((gap.silent_since.unwrap_or(Wall::from_micros(i64::MIN)), gap.live_at));
        Ok(())
    }
}

/// The running half.
pub struct PrivateHalf {
    role: AccountRole,
    work: WorkHalf,
    database: PathBuf,
    /// The database row of each of the simulator's accounts.
    rows: Vec<u64>,
}

/// What it came to.
#[derive(Debug, Default)]
pub struct PrivateReport {
    /// What is wrong, a sentence each.
    pub complaints: Vec<String>,
    /// Distinct frames that the exchange delivered.
    pub delivered: u64,
    /// Distinct frames on this side.
    pub distinct: u64,
    /// Frames on this side, doubles too.
    pub frames: u64,
    /// Gaps on this side.
    pub gaps: u64,
    /// Missing frames that lie inside a gap.
    pub covered: u64,
    /// Frames on this side that were there already.
    pub repeated: u64,
}

impl PrivateHalf {
    /// Puts the accounts into the database, under a key made for them, and starts role, worker and application.
    pub fn start(
        sim: &SimHandle,
        settings: &Settings,
        folder: &Path,
        clock: &Arc<dyn Clock>,
        random: &mut Random,
        breaks: Option<Check>,
    ) -> Result<PrivateHalf, CommandError> {
        let rows = add_accounts(sim, settings)?;
        let mut config = account_wiring::account_role(settings, "demo", wiring::connect_gate(settings, random))?;
        let queue = config.queue.take().ok_or_else(|| {
            CommandError::new(Exit::Software, "the settings of the demo name a queue outside of this process")
        })?;
        let joint = Joint { queue, shape: config.shape.clone(), audited: Arc::clone(&config.audited) };
        let work = WorkHalf::start(sim, (settings, folder), joint, &rows, clock, random, breaks)?;
        let role = AccountRole::start(config, Arc::clone(clock), random.fork()).map_err(system)?;
        Ok(PrivateHalf { role, work, database: database(folder), rows })
    }

    /// The database row of each of the simulator's accounts.
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// What the role shows.
    pub fn status(&self, now: Now) -> UserDataStatus {
        self.role.status(now)
    }

    /// What the worker shows.
    pub fn work_status(&mut self, now: Now) -> WorkStatus {
        self.work.status(now)
    }

    /// Whether every account is live and has had its faults.
    pub fn is_through(&mut self, sim: &SimHandle, now: Now) -> bool {
        let waiting: usize = (0..ACCOUNTS).map(|index| sim.account_ledger(index).faults_waiting).sum();
        waiting == 0 && self.work.status(now).applied > 0 && self.role.status(now).live == ACCOUNTS as u64
    }

    /// Holds audit rows, orders and intents against the exchange.
    pub fn judge(&mut self, sim: &SimHandle, now: Now) -> Result<AuditReport, CommandError> {
        let placed = self.work.counts().placed.load(Ordering::Relaxed);
        let mut report = judge_tables(sim, &self.rows, &self.database, placed)?;
        let complaints = &mut report.frames.complaints;
        complaints.append(&mut self.work.complaints(now));
        let (status, work) = (self.role.status(now), self.work.status(now));
        if status.live < ACCOUNTS as u64 {
            complaints.push(format!("only {} of {ACCOUNTS} accounts are live", status.live));
        }
        let recovered = self.work.commits.lock().recovered;
        let applied = (work.applied - work.gaps).saturating_sub(recovered);
        let rows = report.frames.frames + report.repairs.recovered;
        if status.frames != applied || applied + recovered != rows + work.duplicates {
            complaints.push(format!(
                "{} frames went into the spool, {applied} and {recovered} recovered events were applied: {rows} rows and {} doubles",
                status.frames, work.duplicates
            ));
        }
        if report.frames.frames == 0 {
            complaints.push("no frame is audited".to_owned());
        }
        report.latencies = latency::measure(sim, &self.rows, &self.work.commits);
        Ok(report)
    }

    /// Ends role, worker and application.
    pub fn stop(self, clock: &dyn Clock) {
        self.role.stop(STOP_MAX, clock);
        if let Err(error) = self.work.stop(STOP_MAX, clock) {
            tracing::error!("the demo's application failed: {error}");
        }
    }
}

/// Holds what each account has, by its row, against the exchange's ledgers; `rows` by the exchange's index.
pub fn hold_against(sim: &SimHandle, rows: &[u64], recorded: &BTreeMap<u64, Recorded>) -> PrivateReport {
    let (none, mut report) = (Recorded::default(), PrivateReport::default());
    for (index, row) in rows.iter().enumerate() {
        let (ledger, mine) = (sim.account_ledger(index), recorded.get(row).unwrap_or(&none));
        let verdict = ledger.judge(mine.frames.iter().map(Vec::as_slice), &mine.gaps);
        if !verdict.is_clean() || ledger.unrecorded > 0 {
            let mut text = format!(
                "account {row}: {} frames neither here nor in a gap, {} foreign, {} never delivered, {} out of order",
                verdict.uncovered.len(),
                verdict.foreign,
                verdict.impossible,
                verdict.disordered
            );
            if let Some(first) = verdict.uncovered.first() {
                let _ = write!(text, ", the first: {} of {}", first.event, first.generated_at);
            }
            report.complaints.push(text);
        }
        report.delivered += ledger.distinct_delivered().len() as u64;
        report.distinct += verdict.distinct;
        report.frames += mine.frames.len() as u64;
        report.gaps += mine.gaps.len() as u64;
        report.covered += verdict.covered;
        report.repeated += verdict.repeated;
    }
    report
}

/// Faults of accounts come in this much of a run, however long it is.
pub const FAULTS_WITHIN: Duration = Duration::from_secs(120);

/// Puts the exchange's accounts into the database, under a key made for them; their rows, by the exchange's index.
pub fn add_accounts(sim: &SimHandle, settings: &Settings) -> Result<Vec<u64>, CommandError> {
    let url = wiring::store_url(settings)?;
    let embedded = match &url {
        StoreUrl::Sqlite(path) => Some(path.as_path()),
        StoreUrl::Postgres(_) => None,
    };
    let keys = KeyPlace::of(&settings.user_data, embedded).load_or_make();
    let keys = keys.map_err(|error| CommandError::new(Exit::CantCreate, error.to_string()))?;
    let encrypter = Encrypter::new(keys, settings.user_data.cipher);
    let mut store = UserDataStore::new(&url, &UserDataOptions::new("kraite-streams demo"))?;
    let mut rows = Vec::new();
    for account in sim.accounts() {
        let encrypt = |text: &str| {
            let sealed = encrypter.encrypt(text).map(Ciphertext::new);
            sealed.map_err(|error| CommandError::new(Exit::Software, error.to_string()))
        };
        let (api_key, api_secret) = (encrypt(&account.api_key)?, encrypt(&account.api_secret)?);
        let row = NewAccount {
            canonical: Venue::Binance.canonical(),
            name: &format!("demo {}", account.index + 1),
            user_id: None,
            uuid: &random_uuid()?,
            api_key: &api_key,
            api_secret: &api_secret,
        };
        let id = store.run(|tables| tables.add_account(&row))?;
        if let (Some(id), StoreUrl::Sqlite(path)) = (id, &url) {
            SqliteStore::open(path)?.set_hedge_mode(id, account.hedge_mode)?;
        }
        let id = id.and_then(|id| u64::try_from(id).ok());
        rows.push(id.ok_or_else(|| CommandError::new(Exit::Software, "the database took no account"))?);
    }
    store.close();
    Ok(rows)
}
