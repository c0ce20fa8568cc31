//! What the demo stands on: a temporary folder, settings that point at the simulator, tables with instruments.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::Check;
use super::orders::ALLOWLIST;
use crate::cli::exit::{CommandError, Exit};
use crate::daemon::wiring;
use crate::domain::Venue;
use crate::domain::limits::WEIGHT_LIMIT;
use crate::exchange::{exchange, list_instruments};
use crate::ops::RestClient;
use crate::ops::settings::{SecretUrl, Settings};
use crate::sim::{AccountsConfig, SimConfig, SimHandle, WeightLimit};
use crate::store::rows::TokenMapper;
use crate::store::sqlite::SqliteStore;

/// The client's silence limit: a stall has to be found within a demo.
const SILENCE: Duration = Duration::from_secs(2);
/// Between two looks for accounts.
const DISCOVERY: Duration = Duration::from_secs(5);
/// Gaps begin early by this much at most: the narrower they are, the less they excuse.
const LIVENESS_MARK: Duration = Duration::from_secs(1);

/// REST weight of a minute, at the simulator and in the settings: ten times the venue's. The demo breaks connections every few
/// seconds, and a reconcile of an account that trades a dozen symbols weighs 360.
const REST_WEIGHT: u32 = 10 * WEIGHT_LIMIT;

/// Three accounts are three lanes, and SQLite has one writer.
const WORK_THREADS: usize = 2;

/// The exchange, with these accounts.
pub fn exchange_config(seed: u64, accounts: AccountsConfig) -> SimConfig {
    let weight = WeightLimit { per_minute: REST_WEIGHT, ..WeightLimit::default() };
    SimConfig { seed, accounts, weight, ..SimConfig::default() }
}

/// Settings as an operator would write them, pointing at the simulator.
pub fn settings(sim: &SimHandle, folder: &Path, breaks: Option<Check>) -> Result<Settings, CommandError> {
    let roots = folder.join("simulator.pem");
    sim.write_ca(&roots).map_err(|error| CommandError::new(Exit::CantCreate, error.to_string()))?;
    let mut settings = Settings::default();
    settings.prices.url = sim.stream_base();
    settings.prices.silence = SILENCE;
    settings.net.extra_roots = Some(roots);
    settings.net.rest = std::array::from_fn(|_| Some(sim.rest_base()));
    settings.net.connect_file = folder.join("connects");
    settings.net.weight_file = folder.join("weight");
    settings.net.rest_weight = REST_WEIGHT;
    settings.user_data.reconcile = breaks != Some(Check::GapsRepaired);
    settings.user_data.url = sim.stream_base();
    settings.user_data.discovery = DISCOVERY;
    settings.user_data.liveness_mark = LIVENESS_MARK;
    settings.user_data.binance.dispatched_executions = ALLOWLIST.map(str::to_owned).to_vec();
    settings.work.threads = WORK_THREADS;
    settings.spool.folder = folder.join("spool");
    settings.store.url = SecretUrl::new(format!("sqlite:{}", database(folder).display()));
    Ok(settings)
}

/// Tables, instruments from the simulator's REST, and a token mapper for each pair whose names differ.
pub fn prepare(sim: &SimHandle, settings: &Settings, folder: &Path, breaks: Option<Check>) -> Result<(), CommandError> {
    let mut store = SqliteStore::open(&database(folder))?;
    store.migrate()?;
    let client = RestClient::new(wiring::tls_config(settings)?, settings.net.connect_deadline);
    for venue in Venue::ALL {
        let base = settings.net.rest_base(venue).unwrap_or(exchange(venue).rest_base()).to_owned();
        let list = list_instruments(exchange(venue), &base, |url| client.get(url))
            .map_err(|error| CommandError::new(Exit::Software, format!("the simulator's instruments: {error}")))?;
        store.upsert_instruments(&list.instruments)?;
    }
    let systems = store.map_rows()?.systems;
    let mappers: Vec<TokenMapper> = sim
        .cross_listings()
        .iter()
        .filter_map(|cross| {
            let source = cross.source.as_ref().filter(|source| source.token != cross.token)?;
            let system = systems.iter().find(|system| system.canonical == cross.venue.canonical())?;
            Some(TokenMapper {
                binance_token: source.token.clone(),
                other_token: cross.token.clone(),
                other_api_system_id: system.id,
                price_ratio: (breaks == Some(Check::RatioIsExact)).then(|| "1".to_owned()),
            })
        })
        .collect();
    store.upsert_token_mappers(&mappers)?;
    Ok(())
}

/// The database file.
pub fn database(folder: &Path) -> PathBuf {
    folder.join("demo.sqlite")
}

/// An error of the system's.
pub fn system(error: std::io::Error) -> CommandError {
    CommandError::new(Exit::Software, error.to_string())
}

/// A folder that goes with the demo.
pub struct Folder(PathBuf);

impl Folder {
    pub fn create() -> std::io::Result<Folder> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let name = format!("kraite-streams-demo-{:016x}", u64::from_le_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Folder(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is the system's temporary folder's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
