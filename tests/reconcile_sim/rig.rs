//! The simulator, the real daemon on an embedded database, and an application that writes a row for each order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kraite_streams::domain::{Decimal, Wall};
use kraite_streams::exchange::binance::fact::OrderFact;
use kraite_streams::sim::{
    AccountLedger, AccountsConfig, FrameEntry, OrderTruth, SimConfig, SimHandle, Simulator, WeightLimit,
};
use rusqlite::Connection;

use crate::daemon_process::{Daemon, PATIENCE, run_with_input, write_settings};

pub const FILE: &str = "kraite-streams.toml";
/// How long a reconcile may take here, with those before it.
const RECONCILED_WITHIN: Duration = Duration::from_secs(180);

pub struct Rig {
    pub sim: SimHandle,
    pub daemon: Daemon,
    folder: tempfile::TempDir,
    database: Connection,
    placed: BTreeSet<(usize, bool, u64)>,
}

/// A row of `stream_gaps`.
#[derive(Debug)]
pub struct GapRow {
    pub account: i64,
    pub bounds: (Wall, Wall),
    pub identity: (String, i64),
    pub reason: String,
    pub outcome: Option<String>,
    pub note: String,
    pub recovered: i64,
}

impl Rig {
    /// With all accounts live.
    #[track_caller]
    pub fn start(count: usize, seed: u64, frames_per_second: f64, settings: &[&str]) -> Rig {
        let accounts = AccountsConfig { count, frames_per_second, trades_unheard: true, ..AccountsConfig::default() };
        Rig::start_on(SimConfig { seed, accounts, ..SimConfig::default() }, settings)
    }

    /// The same on a simulator of one's own, whose limits of connects and weight are lifted.
    #[track_caller]
    pub fn start_on(config: SimConfig, settings: &[&str]) -> Rig {
        let weight = WeightLimit { per_minute: 100_000, ..WeightLimit::default() };
        Rig::start_with(SimConfig { connects: None, weight, ..config }, settings)
    }

    /// The same with the simulator's own limits; its weight is the address's.
    #[track_caller]
    pub fn start_with(config: SimConfig, settings: &[&str]) -> Rig {
        let weight = format!("net.rest_weight = {}", config.weight.per_minute);
        let count = config.accounts.count;
        let sim = Simulator::start(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut all = vec![
            "user_data.discovery_s = 5",
            "user_data.liveness_mark_s = 1",
            "net.connects_per_window = 10000",
            &weight,
            "user_data.binance.dispatched_executions = \"NEW,TRADE,AMENDMENT,CANCELED,EXPIRED,REJECTED,CALCULATED,ALGO_NEW,\
             ALGO_CANCELED,ALGO_EXPIRED,ALGO_REJECTED,ALGO_TRIGGERING,ALGO_TRIGGERED,ALGO_FINISHED,ALGO_FILLED\"",
        ];
        all.extend(settings);
        write_settings(folder.path(), FILE, Some(&sim), &all);
        for account in sim.accounts() {
            let name = format!("a{}", account.index);
            let arguments = ["--settings", FILE, "accounts", "add", "--exchange", "binance", "--name", &name];
            let input = format!("{}\n{}\n", account.api_key, account.api_secret);
            let (code, out, err) = run_with_input(folder.path(), &arguments, &input);
            assert_eq!(code, 0, "{out}{err}");
        }
        let mut daemon = Daemon::start_command("user-data", folder.path(), FILE, Some(&sim), &all, &[]);
        daemon.wait_status("all accounts live", |status| {
            status.user_data.as_ref().is_some_and(|user_data| user_data.live == count as u64)
        });
        let database = Connection::open(folder.path().join("kraite-streams.sqlite")).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        Rig { sim, daemon, folder, database, placed: BTreeSet::new() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        self.daemon.log(FILE)
    }

    /// The application: a position for each symbol, and a row for each order that has none, as if just placed.
    pub fn place(&mut self) {
        for account in self.sim.accounts() {
            let id = account.index as i64 + 1;
            let book = self.sim.account_book(account.index);
            // The venue's own orders, liquidations and the like, are nobody's, and may share a client id.
            let is_placed = |order: &&OrderTruth| order.algo_id.is_none() && !order.client_id.contains("autoclose");
            let regular = book.orders.values().filter(is_placed);
            let regular = regular.map(|order| (false, order.id, &*order.instrument.symbol, &order.client_id));
            let algos =
                book.algo_orders.values().map(|algo| (true, algo.id, &*algo.instrument.symbol, &algo.client_id));
            for (is_algo, exchange_id, symbol, client_id) in regular.chain(algos) {
                if !self.placed.insert((account.index, is_algo, exchange_id)) {
                    continue;
                }
                let position = self.position(id, symbol);
                self.database
                    .execute(
                        "INSERT INTO orders (position_id, client_order_id, type, status, reference_status, \
                         exchange_order_id, is_algo, quantity, price) VALUES (?1, ?2, ?3, 'NEW', 'NEW', ?4, ?5, '1', '1')",
                        (
                            position,
                            format!("{id}-{exchange_id}-{client_id}"),
                            if is_algo { "STOP-MARKET" } else { "MARKET" },
                            exchange_id.to_string(),
                            is_algo,
                        ),
                    )
                    .unwrap();
            }
        }
    }

    fn position(&self, account: i64, symbol: &str) -> i64 {
        let found = self.database.query_row(
            "SELECT id FROM positions WHERE account_id = ?1 AND parsed_trading_pair = ?2",
            (account, symbol),
            |row| row.get(0),
        );
        found.unwrap_or_else(|_| {
            self.database
                .query_row(
                    "INSERT INTO positions (account_id, parsed_trading_pair, status, direction) \
                     VALUES (?1, ?2, 'active', 'LONG') RETURNING id",
                    (account, symbol),
                    |row| row.get(0),
                )
                .unwrap()
        })
    }

    pub fn place_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.place();
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until every account is live and no gap waits, nor job.
    #[track_caller]
    pub fn wait_reconciled(&mut self) {
        assert!(self.sim.wait_delivered(PATIENCE), "frames of the exchange are still under way");
        let count = self.sim.accounts().len() as u64;
        let deadline = Instant::now() + RECONCILED_WITHIN;
        loop {
            self.daemon.wait_status("all accounts live", |status| {
                status.user_data.as_ref().is_some_and(|user_data| user_data.live == count)
            });
            let waiting: i64 = self
                .database
                .query_row("SELECT count(*) FROM stream_gaps WHERE outcome IS NULL", [], |row| row.get(0))
                .unwrap();
            let gapless: i64 = self
                .database
                .query_row(
                    "SELECT count(*) FROM accounts WHERE id NOT IN (SELECT account_id FROM stream_gaps)",
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            if waiting == 0 && gapless == 0 {
                // Gaps reach the database a moment after the stream is live.
                std::thread::sleep(Duration::from_secs(1));
                let again: i64 = self
                    .database
                    .query_row("SELECT count(*) FROM stream_gaps WHERE outcome IS NULL", [], |row| row.get(0))
                    .unwrap();
                if again == 0 {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "{waiting} gaps have no outcome: {:#?}\n{}", self.gaps().0, self.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until every account's first gap, which its start is, has its outcome.
    #[track_caller]
    pub fn wait_first_gaps(&mut self) {
        let count = self.sim.accounts().len();
        let deadline = Instant::now() + RECONCILED_WITHIN;
        loop {
            let gaps = self.gaps().0;
            let done = (1..=count as i64).all(|id| gaps.iter().any(|gap| gap.account == id && gap.outcome.is_some()));
            if done {
                return;
            }
            assert!(Instant::now() < deadline, "the starts are not reconciled: {gaps:#?}\n{}", self.log());
            self.place_for(Duration::from_millis(200));
        }
    }

    /// Asks until there is nothing to complain of.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, complaints: impl Fn(&Rig) -> Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = complaints(self);
            if found.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{what}:\n{}\n{}", found.join("\n"), self.log());
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// All gap rows, and how much they recovered.
    pub fn gaps(&self) -> (Vec<GapRow>, i64) {
        let mut statement = self
            .database
            .prepare(
                "SELECT account_id, CAST(round(unixepoch(coalesce(started_at, '1970-01-01'), 'subsec') * 1000) AS INTEGER), \
                 CAST(round(unixepoch(ended_at, 'subsec') * 1000) AS INTEGER), epoch, position, outcome, \
                 coalesce(outcome_note, ''), coalesce(recovered_count, 0), reason FROM stream_gaps ORDER BY id",
            )
            .unwrap();
        let rows = statement.query_map([], |row| {
            Ok(GapRow {
                account: row.get(0)?,
                bounds: (Wall::from_millis(row.get(1)?), Wall::from_millis(row.get(2)?)),
                identity: (row.get(3)?, row.get(4)?),
                outcome: row.get(5)?,
                note: row.get(6)?,
                recovered: row.get(7)?,
                reason: row.get(8)?,
            })
        });
        let gaps: Vec<GapRow> = rows.unwrap().map(Result::unwrap).collect();
        let recovered = gaps.iter().map(|gap| gap.recovered).sum();
        (gaps, recovered)
    }

    /// Fills that are not audited exactly once, frames that lie in no gap, gaps that are there twice.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let (gaps, _) = self.gaps();
        let identities: BTreeSet<_> = gaps.iter().map(|gap| &gap.identity).collect();
        if identities.len() != gaps.len() {
            complaints.push("a gap has two rows".to_owned());
        }
        for account in self.sim.accounts() {
            let id = account.index as i64 + 1;
            let mut rows = self
                .database
                .prepare_cached("SELECT raw_payload FROM api_data_stream WHERE account_id = ? ORDER BY id")
                .unwrap();
            let rows = rows.query_map([id], |row| row.get::<_, String>(0)).unwrap();
            let rows: Vec<String> = rows.map(Result::unwrap).collect();
            let (recovered, frames): (Vec<&String>, Vec<&String>) =
                rows.iter().partition(|text| text.ends_with(r#""recovered":true}"#));
            let mine: Vec<_> = gaps.iter().filter(|gap| gap.account == id).map(|gap| gap.bounds).collect();
            let ledger = self.sim.account_ledger(account.index);
            let frames: Vec<Vec<u8>> = frames.into_iter().map(|text| recorded_bytes(text)).collect();
            let verdict = ledger.judge(frames.iter().map(Vec::as_slice), &mine);
            if !verdict.is_clean() {
                complaints.push(format!(
                    "account {id}: {} frames neither audited nor in a gap, {} foreign, {} out of order",
                    verdict.uncovered.len(),
                    verdict.foreign,
                    verdict.disordered
                ));
                complaints.extend(
                    verdict
                        .uncovered
                        .iter()
                        .map(|frame| uncovered(frame, &ledger, gaps.iter().filter(|gap| gap.account == id))),
                );
            }
            let mut fills: BTreeMap<u64, usize> = BTreeMap::new();
            for fact in rows.iter().filter_map(|text| OrderFact::read(text.as_bytes())) {
                fact.trade.into_iter().for_each(|trade| *fills.entry(trade).or_default() += 1);
            }
            let book = self.sim.account_book(account.index);
            let mut wrong: Vec<String> = Vec::new();
            for fill in &book.fills {
                let times = fills.get(&fill.trade_id).copied().unwrap_or(0);
                if times != 1 {
                    wrong.push(format!("{} of order {}: {times} times", fill.trade_id, fill.order_id));
                }
            }
            if !wrong.is_empty() {
                complaints.push(format!(
                    "account {id}: of {} fills, with {} recovered events: {}",
                    book.fills.len(),
                    recovered.len(),
                    wrong.join(", ")
                ));
            }
        }
        complaints
    }

    /// What was decided about an order, and when.
    fn decisions(&self, exchange_order_id: &str) -> Vec<String> {
        let mut statement = self
            .database
            .prepare_cached(
                "SELECT d.decided_at || ' ' || d.note FROM stream_decisions d JOIN orders o ON o.id = d.order_id \
                 WHERE o.exchange_order_id = ? ORDER BY d.id",
            )
            .unwrap();
        let rows = statement.query_map([exchange_order_id], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Local orders that are not where the exchange's are.
    pub fn drift(&self) -> Vec<String> {
        let mut drift = Vec::new();
        for account in self.sim.accounts() {
            let book = self.sim.account_book(account.index);
            let mut statement = self
                .database
                .prepare_cached(
                    "SELECT o.exchange_order_id, o.is_algo, o.status, o.price FROM orders o \
                     JOIN positions p ON p.id = o.position_id WHERE p.account_id = ?",
                )
                .unwrap();
            let rows = statement.query_map([account.index as i64 + 1], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, bool>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                ))
            });
            for (id, is_algo, local, local_price) in rows.unwrap().map(Result::unwrap) {
                let number: u64 = id.parse().unwrap();
                let order = || book.orders.values().find(|order| order.id == number);
                let algo = || book.algo_orders.values().find(|algo| algo.id == number);
                let venue = match is_algo {
                    false => order().map(|order| order.status),
                    true => algo().map(|algo| match algo.status {
                        "FINISHED" if algo.executed_text().parse::<f64>().unwrap_or(0.0) > 0.0 => "FILLED",
                        "FINISHED" => "CANCELED",
                        other => other,
                    }),
                };
                let venue = match venue.unwrap_or("nowhere") {
                    "CANCELED" => "CANCELLED",
                    "EXPIRED_IN_MATCH" => "EXPIRED",
                    other => other,
                };
                let price = match is_algo {
                    false => order().and_then(written_price),
                    // What an executed one cost is in no list of algo orders: the stream tells it, or nobody.
                    true => None,
                };
                let is_priced = price.as_ref().is_none_or(|price| Decimal::parse(&local_price).as_ref() == Some(price));
                if venue != local || !is_priced {
                    let (account, decided) = (account.index + 1, self.decisions(&id));
                    drift.push(format!(
                        "account {account}: order {id}: {local} at {local_price}, at the venue {venue} at {price:?}: {decided:?}"
                    ));
                }
            }
        }
        drift
    }
}

/// What the rules write: the stated price while the order works, else the average, if that is positive.
fn written_price(order: &OrderTruth) -> Option<Decimal> {
    let positive = |text: String| Decimal::parse(&text).filter(Decimal::is_positive);
    let average = (!order.is_open()).then(|| positive(order.average_text())).flatten();
    average.or_else(|| positive(order.price_text()))
}

/// A frame that is missing, with what happened around it.
fn uncovered<'g>(frame: &FrameEntry, ledger: &AccountLedger, gaps: impl Iterator<Item = &'g GapRow>) -> String {
    let deliveries: Vec<_> = ledger.deliveries.iter().filter(|delivery| delivery.frame == frame.number).collect();
    let at = frame.generated_at.as_millis();
    let is_near = |wall: Wall| (wall.as_millis() - at).abs() < 60_000;
    let sessions: Vec<_> = ledger.sessions.iter().filter(|session| is_near(session.spoken_at)).collect();
    let of_account: Vec<_> = gaps.filter(|gap| is_near(gap.bounds.0) || is_near(gap.bounds.1)).collect();
    format!("{frame:?}\ndelivered: {deliveries:?}\nsessions: {sessions:#?}\ngaps: {of_account:?}")
}

/// The bytes that were recorded: of a frame that is no JSON they stand in base64.
fn recorded_bytes(payload: &str) -> Vec<u8> {
    let coded = payload.strip_prefix("{\"raw_base64\":\"").and_then(|rest| rest.strip_suffix("\"}"));
    coded.map_or_else(|| payload.as_bytes().to_vec(), |coded| BASE64.decode(coded).unwrap())
}
