//! The private half of the demo: three accounts of the simulator, the real user-data role, and a consumer of its jobs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::check::Check;
use super::consumer::{Consumed, Consumer};
use super::stage::system;
use crate::cli::accounts::random_uuid;
use crate::cli::exit::{CommandError, Exit};
use crate::daemon::account_role::AccountRole;
use crate::daemon::account_wiring;
use crate::daemon::wiring;
use crate::domain::limits::STOP_MAX;
use crate::domain::{Clock, Now, Random, Venue};
use crate::ops::Settings;
use crate::ops::encrypter::Encrypter;
use crate::ops::key_place::KeyPlace;
use crate::ops::status::UserDataStatus;
use crate::queue::in_process_queue;
use crate::sim::{AccountsConfig, SimHandle};
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
    AccountsConfig { count: ACCOUNTS, frames_per_second, ..AccountsConfig::default() }
}

/// The running half.
pub struct PrivateHalf {
    role: AccountRole,
    consumer: Consumer,
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
    /// Distinct frames on the consumer's side.
    pub distinct: u64,
    /// Frames on the consumer's side, doubles too.
    pub frames: u64,
    /// Gaps on the consumer's side.
    pub gaps: u64,
    /// Missing frames that lie inside a gap.
    pub covered: u64,
}

impl PrivateHalf {
    /// Puts the accounts into the database, under a key made for them, and starts role and consumer.
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
        let (sink, queue) = in_process_queue();
        config.sink = Box::new(sink);
        let drops = breaks == Some(Check::FramesAreJobs);
        let consumer = Consumer::start(queue, &folder.join("jobs"), drops).map_err(system)?;
        let role = AccountRole::start(config, Arc::clone(clock), random.fork()).map_err(system)?;
        Ok(PrivateHalf { role, consumer, rows })
    }

    /// What it shows.
    pub fn status(&self, now: Now) -> UserDataStatus {
        self.role.status(now)
    }

    /// Frames that were acknowledged.
    pub fn frames(&self) -> u64 {
        self.consumer.counts().frames.load(Ordering::Relaxed)
    }

    /// Whether every account is live and has had its faults.
    pub fn is_through(&self, sim: &SimHandle, now: Now) -> bool {
        let waiting: usize = (0..ACCOUNTS).map(|index| sim.account_ledger(index).faults_waiting).sum();
        waiting == 0 && self.frames() > 0 && self.role.status(now).live == ACCOUNTS as u64
    }

    /// Holds what the consumer has against the exchange's ledgers.
    pub fn judge(&self, sim: &SimHandle, now: Now) -> io::Result<PrivateReport> {
        let mut report = hold_against(sim, &self.rows, &self.consumer.consumed()?);
        let (status, depth) = (self.role.status(now), self.consumer.depth());
        if status.live < ACCOUNTS as u64 {
            report.complaints.push(format!("only {} of {ACCOUNTS} accounts are live", status.live));
        }
        if status.frames != report.frames {
            let text = format!("{} frames went into the spool, {} were consumed", status.frames, report.frames);
            report.complaints.push(text);
        }
        if depth > 0 || report.frames == 0 {
            report.complaints.push(format!("{depth} jobs wait on the queue, {} frames were consumed", report.frames));
        }
        Ok(report)
    }

    /// Ends role and consumer.
    pub fn stop(self, clock: &dyn Clock) {
        self.role.stop(STOP_MAX, clock);
        if let Err(error) = self.consumer.stop() {
            tracing::error!("the demo's consumer failed: {error}");
        }
    }
}

/// Holds what each account has, by its row, against the exchange's ledgers; `rows` by the exchange's index.
pub fn hold_against(sim: &SimHandle, rows: &[u64], consumed: &BTreeMap<u64, Consumed>) -> PrivateReport {
    let (none, mut report) = (Consumed::default(), PrivateReport::default());
    for (index, row) in rows.iter().enumerate() {
        let (ledger, mine) = (sim.account_ledger(index), consumed.get(row).unwrap_or(&none));
        let verdict = ledger.judge(mine.frames.iter().map(Vec::as_slice), &mine.gaps);
        if !verdict.is_clean() || ledger.unrecorded > 0 {
            let mut text = format!(
                "account {row}: {} frames neither a job nor in a gap, {} foreign, {} never delivered, {} out of order",
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
        let id = id.and_then(|id| u64::try_from(id).ok());
        rows.push(id.ok_or_else(|| CommandError::new(Exit::Software, "the database took no account"))?);
    }
    store.close();
    Ok(rows)
}
