//! A simulated venue with a history, and a client that signs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kraite_streams::exchange::binance::account_answers::AnswerError;
use kraite_streams::exchange::binance::signed::{AccountRead, ApiSecret};
use kraite_streams::ops::rest::{Answer, Method, RestClient, RestError};
use kraite_streams::sim::{AccountCredentials, AccountsConfig, Counts, SimConfig, SimHandle, Simulator, WeightLimit};
use kraite_streams::stream::tls::client_config;
use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(20);
const BODY_MAX: u64 = 8 << 20;

/// One of the daemon's readers: of status, body and `Retry-After`.
pub type Reader<T> = fn(u16, &[u8], Option<&str>) -> Result<T, AnswerError>;

pub struct Venue {
    pub sim: SimHandle,
    pub accounts: Vec<AccountCredentials>,
    rest: RestClient,
}

/// Three accounts on a small market, with room for any number of reads.
pub fn quiet() -> SimConfig {
    SimConfig {
        symbols: Counts { ordinary: 60, coin_m: 2, tradfi: 2 },
        accounts: AccountsConfig { count: 3, duplicate_one_in: 0, ..AccountsConfig::default() },
        weight: WeightLimit { per_minute: 1_000_000, ..WeightLimit::default() },
        ..SimConfig::default()
    }
}

pub fn start(config: SimConfig) -> Venue {
    let sim = Simulator::start(config).unwrap();
    let tls = client_config(sim.ca_pem().as_bytes(), 4).unwrap();
    Venue { accounts: sim.accounts(), rest: RestClient::new(tls, Duration::from_secs(3)), sim }
}

/// A venue on which accounts have traded for a while and nobody has listened; nothing happens any more.
pub fn lived(seed: u64) -> Venue {
    let mut config = SimConfig { seed, ..quiet() };
    config.accounts.trades_unheard = true;
    config.accounts.frames_per_second = 1_500.0;
    let venue = start(config);
    let deadline = Instant::now() + PATIENCE;
    while (0..3).any(|account| venue.sim.account_book(account).fills.len() < 150) {
        assert!(Instant::now() < deadline, "the accounts do not trade");
        std::thread::sleep(Duration::from_millis(20));
    }
    venue.sim.set_frames_per_second(0.0);
    venue.sim.sync();
    venue
}

pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl Venue {
    pub fn secret(&self, account: usize) -> ApiSecret {
        ApiSecret::new(&*self.accounts[account].api_secret)
    }

    pub fn try_ask(&self, account: usize, read: &AccountRead<'_>) -> Result<Answer, RestError> {
        self.fetch(account, &read.url(&self.sim.rest_base(), now_ms(), &self.secret(account)))
    }

    pub fn ask(&self, account: usize, read: &AccountRead<'_>) -> Answer {
        self.try_ask(account, read).unwrap()
    }

    /// The answer to `read`, read by one of the readers.
    #[track_caller]
    pub fn told<T>(&self, account: usize, read: &AccountRead<'_>, reader: Reader<T>) -> Result<T, AnswerError> {
        let answer = self.ask(account, read);
        reader(answer.status, &answer.body, answer.header("retry-after"))
    }

    /// A signed read with parameters of the test's own.
    pub fn raw(&self, account: usize, path: &str, query: &str) -> (u16, Value) {
        let query = format!("{query}&timestamp={}", now_ms());
        let query = query.trim_start_matches('&');
        let signature = self.secret(account).sign(query);
        self.exactly(account, &format!("{path}?{query}&signature={signature}"))
    }

    /// A read of exactly this path and query.
    pub fn exactly(&self, account: usize, target: &str) -> (u16, Value) {
        let answer = self.fetch(account, &format!("{}{target}", self.sim.rest_base())).unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    /// Status and code of the answer.
    pub fn code(&self, account: usize, path: &str, query: &str) -> (u16, i64) {
        let (status, body) = self.raw(account, path, query);
        (status, body["code"].as_i64().unwrap_or(0))
    }

    pub fn fetch(&self, account: usize, url: &str) -> Result<Answer, RestError> {
        self.fetch_as(&self.accounts[account].api_key, url)
    }

    pub fn fetch_as(&self, api_key: &str, url: &str) -> Result<Answer, RestError> {
        self.rest.send(Method::Get, url, ("X-MBX-APIKEY", api_key), BODY_MAX)
    }
}

pub fn used_weight(answer: &Answer) -> u32 {
    answer.header("x-mbx-used-weight-1m").expect("the weight header").parse().unwrap()
}
