//! Promise: the REST weight of an address is never overspent, whoever spends it and whatever breaks, and listen keys come
//! first: a storm of 2,000 reconnects, several processes, 429, 418, a firewall, a venue that is busy, and strangers.
#![cfg(all(feature = "embedded", feature = "sim"))]

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;
#[path = "weight_budget/rig.rs"]
mod rig;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use daemon_process::{PATIENCE, run};
use kraite_streams::exchange::binance::signed::{AccountRead, ApiSecret};
use kraite_streams::ops::RestClient;
use kraite_streams::ops::rest::Method;
use kraite_streams::sim::{
    AccountFault, AccountLedger, LifeKind, ReadFault, SimConfig, SimHandle, Simulator, VenueFault, WeightLimit,
};
use kraite_streams::stream::tls::client_config;
use rig::{FILE, Host, venue};

/// Of the first daemon, and of a second one at the same address.
const ACCOUNTS: usize = 190;
const OTHERS: usize = 20;
const CUTS: usize = 10;
/// A key's life at the simulated venue. Every one is extended once a minute, so that hundreds of extensions fall into the storm.
const KEY_LIFE: Duration = Duration::from_secs(130);
/// Which accounts of the first daemon have positions.
const EXPOSED_EVERY: i64 = 20;

/// How long anything may take that waits for a minute of weight, on a machine that is busy with other things.
const MINUTES: Duration = Duration::from_secs(240);

fn is_exposed(account: i64) -> bool {
    account % EXPOSED_EVERY == 0
}

/// Sum over all accounts.
fn count(sim: &SimHandle, of: impl Fn(&AccountLedger) -> u64) -> u64 {
    (0..sim.accounts().len()).map(|index| of(&sim.account_ledger(index))).sum()
}

fn signed_reads(sim: &SimHandle) -> u64 {
    count(sim, |ledger| ledger.reads.values().sum::<u64>() + ledger.read_errors.values().sum::<u64>())
}

#[test]
fn a_storm_of_2000_reconnects_overspends_nothing_and_no_key_misses_its_extension() {
    let mut config = venue(ACCOUNTS + OTHERS, WeightLimit::default());
    config.accounts.listen_key_lifetime = KEY_LIFE;
    config.accounts.frames_per_second = 20.0;
    let sim = Simulator::start(config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // One file for both, as `net.weight_file` asks for.
    let weight = format!("net.weight_file = \"{}\"", folder.path().join("weight").display());
    let all = sim.accounts();
    let settings = [weight.as_str(), "user_data.keep_alive_max_s = 60"];
    let mut one = Host::start(&sim, &all[..ACCOUNTS], &folder.path().join("one"), &settings);
    let mut other = Host::start(&sim, &all[ACCOUNTS..], &folder.path().join("other"), &settings);
    (1..=ACCOUNTS as i64).filter(|id| is_exposed(*id)).for_each(|id| one.expose(id));
    one.wait_live(MINUTES);
    other.wait_live(MINUTES);

    let begun = Instant::now();
    let (upgrades, puts) = (sim.ledger().upgrades, count(&sim, |ledger| ledger.puts));
    let (mut closed, mut waiting_most) = (one.reconcile().gaps_closed + other.reconcile().gaps_closed, 0);
    let closed_before = closed;
    let looker = std::thread::spawn({
        let folder = one.folder().to_owned();
        let account = EXPOSED_EVERY.to_string();
        move || run(&folder, &["--settings", FILE, "sync-orders", "--dry-run", "--json", "--account", &account])
    });
    for round in 1..=CUTS {
        for (index, _) in all.iter().enumerate() {
            sim.inject(AccountFault::Cut.on(index));
            if index % 25 == 24 {
                // A storm that the handshakes of a small machine keep up with.
                std::thread::sleep(Duration::from_millis(250));
            }
        }
        let deadline = Instant::now() + MINUTES;
        // The slowest of a round are waited for at the end of all.
        let wanted = if round < CUTS { all.len() * (10 * round - 1) / 10 } else { all.len() * CUTS };
        while sim.ledger().upgrades < upgrades + wanted as u64 {
            assert!(Instant::now() < deadline, "{} upgrades", sim.ledger().upgrades - upgrades);
            std::thread::sleep(Duration::from_millis(100));
        }
        one.wait("most accounts live", MINUTES, |status| status.live >= ACCOUNTS as u64 * 9 / 10);
        let status = one.reconcile();
        waiting_most = waiting_most.max(status.waiting);
        assert!(status.weight_used <= 2_400, "{status:?}");
        closed = status.gaps_closed + other.reconcile().gaps_closed;
    }
    one.wait_live(MINUTES);
    other.wait_live(MINUTES);
    let ledger = sim.ledger();
    assert!(ledger.upgrades - upgrades >= 2_000, "{}", ledger.upgrades - upgrades);
    let (exposed, ordinary) = (one.gaps(is_exposed), one.gaps(|id| !is_exposed(id)));
    let said = format!(
        "{} s; in the fullest minute {} of 2400; {} extensions in the storm; gaps closed {closed_before} before it, {closed} \
         after it, at most {waiting_most} accounts waiting; of exposed accounts {exposed:?}, of others {ordinary:?}",
        begun.elapsed().as_secs(),
        ledger.weight_in_minute_max,
        count(&sim, |ledger| ledger.puts) - puts
    );
    // What the simulator enforces was never reached, and yet much was asked for.
    assert_eq!((ledger.rest_limited, ledger.rest_banned), (0, 0), "{said}");
    assert!((1_500..=2_400).contains(&ledger.weight_in_minute_max), "{said}");
    // Each account has the key that it got at the start: none has died.
    assert_eq!(sim.secrets().len(), 3 * all.len(), "{said}");
    assert_eq!(count(&sim, |ledger| ledger.key_errors), 0, "{said}");
    assert!(count(&sim, |ledger| ledger.puts) - puts >= 200, "{said}");
    // Gaps were closed meanwhile, those of exposed accounts first; the rest is outstanding, and says so.
    assert!(closed > closed_before && waiting_most > 100, "{said}");
    assert!(exposed.0 * ordinary.1 > 2 * ordinary.0 * exposed.1, "{said}");
    assert!(ordinary.0 < ordinary.1, "{said}");

    // A command at the same address had what reconciles left, or says that they left nothing.
    let (code, out, err) = looker.join().unwrap();
    let looked: serde_json::Value = serde_json::from_str(&out).expect(&err);
    let early = looked["ended_early"].as_str();
    let has_looked = code == 0 && early.is_none() && looked["accounts"][0]["error"].is_null();
    let is_told = code == 75 && early.is_some_and(|early| early.contains("no REST weight"));
    assert!(has_looked || is_told, "{code}: {out}{err}");
    assert_eq!((one.daemon.stop(), other.daemon.stop()), (0, 0));
    let ledger = sim.ledger();
    assert_eq!((ledger.rest_limited, ledger.rest_banned), (0, 0));
}

struct Scene {
    sim: SimHandle,
    host: Host,
    gaps: usize,
    /// Upgrades before the first account was cut.
    upgrades: u64,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// A daemon whose accounts are live and reconciled.
    #[track_caller]
    fn start(config: SimConfig, settings: &[&str]) -> Scene {
        let sim = Simulator::start(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let accounts = sim.accounts();
        let mut host = Host::start(&sim, &accounts, folder.path(), settings);
        host.wait_live(MINUTES);
        host.wait_closed(accounts.len(), MINUTES);
        let gaps = host.gaps(|_| true).1;
        let upgrades = sim.ledger().upgrades;
        Scene { sim, host, gaps, upgrades, _folder: folder }
    }

    /// The venue fails in this way, and the first account's stream breaks.
    fn strike(&mut self, fault: VenueFault) {
        self.upgrades = self.sim.ledger().upgrades;
        self.sim.inject(fault);
        self.sim.inject(AccountFault::Cut.on(0));
        self.sim.sync();
    }

    /// The first account's stream comes back, and hears of orders.
    #[track_caller]
    fn frames_flow(&mut self) {
        let deadline = Instant::now() + MINUTES;
        while self.sim.ledger().upgrades == self.upgrades {
            assert!(Instant::now() < deadline, "the stream does not come back");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.hears(0);
    }

    /// A stream that is there brings frames.
    #[track_caller]
    fn hears(&mut self, account: usize) {
        let frames = self.host.status().frames;
        self.sim.run_life(account, LifeKind::Filled);
        self.host.wait("frames", PATIENCE, |status| status.frames > frames);
    }

    #[track_caller]
    fn alarm(&mut self, words: &str) {
        self.host.daemon.wait_status(words, |status| status.alarms.iter().any(|alarm| alarm.contains(words)));
    }

    #[track_caller]
    fn ends_well(&mut self) {
        self.host.wait_closed(self.gaps + 1, MINUTES);
        self.ends();
    }

    #[track_caller]
    fn ends(&mut self) {
        assert_eq!(self.host.daemon.stop(), 0, "{}", self.host.daemon.log(FILE));
    }
}

fn quiet(count: usize) -> SimConfig {
    venue(count, WeightLimit { per_minute: 2_400, refusals_before_ban: 1_000, ..WeightLimit::default() })
}

#[test]
fn a_429_stops_reads_for_a_minute_and_keys_go_on() {
    let mut scene = Scene::start(quiet(4), &[]);
    let lasts = Duration::from_secs(4);
    scene.strike(VenueFault::RateLimit { lasts });
    scene.host.wait("the minute full", PATIENCE, |status| {
        status.reconcile.as_ref().is_some_and(|reconcile| reconcile.weight_used >= 2_400)
    });
    scene.frames_flow();
    std::thread::sleep(lasts);
    // The venue takes calls again. Reads still wait, and keys do not: every quarter of a minute one is extended.
    let (limited, reads, puts) =
        (scene.sim.ledger().rest_limited, signed_reads(&scene.sim), count(&scene.sim, |ledger| ledger.puts));
    let from = Instant::now();
    while count(&scene.sim, |ledger| ledger.puts) == puts {
        assert!(from.elapsed() < MINUTES, "no key is extended");
        assert!(from.elapsed() > Duration::from_secs(35) || signed_reads(&scene.sim) == reads, "{:?}", from.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!((1..=3).contains(&limited), "{limited} calls were refused");
    assert_eq!(scene.sim.ledger().rest_limited, limited);
    scene.ends_well();
}

#[test]
fn a_ban_is_slept_through_by_everybody_while_streams_go_on() {
    let mut scene = Scene::start(quiet(4), &[]);
    let begun = Instant::now();
    let lasts = Duration::from_secs(25);
    scene.strike(VenueFault::Ban { lasts });
    scene.alarm("the venue has banned this address");
    let banned = scene.host.reconcile().banned_s;
    assert!(banned <= 27, "{banned}");
    scene.hears(1);
    scene.host.wait("the ban's end", PATIENCE, |status| {
        status.reconcile.as_ref().is_some_and(|reconcile| reconcile.banned_s == 0)
    });
    assert!(begun.elapsed() >= lasts, "{:?}", begun.elapsed());
    scene.host.wait_live(MINUTES);
    scene.host.wait_closed(scene.gaps + 1, MINUTES);
    // What was on its way when the ban began, and nothing afterwards: each further call would have made it longer.
    let refused = scene.sim.ledger().rest_banned;
    assert!((1..=2).contains(&refused), "{refused}");
    scene.ends_well();
}

#[test]
fn a_venue_that_is_busy_is_asked_less_and_less() {
    for fault in [
        VenueFault::RestErrors { status: 503, lasts: Duration::from_secs(8) },
        VenueFault::Reads { fault: ReadFault::Error { status: 500, code: -1_008 }, lasts: Duration::from_secs(8) },
    ] {
        let mut scene = Scene::start(quiet(1), &[]);
        let errors = |sim: &SimHandle| sim.ledger().rest_requests;
        let before = errors(&scene.sim);
        scene.strike(fault);
        scene.frames_flow();
        std::thread::sleep(Duration::from_secs(8));
        // 1, 2 and 4 s between four tries, then the reconcile is put back; the stream's key is asked for as well.
        let asked = errors(&scene.sim) - before;
        assert!((1..=40).contains(&asked), "{asked} requests");
        scene.ends_well();
    }
}

#[test]
fn a_firewall_is_an_alarm_and_streams_and_keys_go_on() {
    for (status, words) in [(451, "does not serve this address's country"), (403, "firewall blocks this address")] {
        let mut scene = Scene::start(quiet(4), &[]);
        let fault = ReadFault::Error { status, code: 0 };
        scene.strike(VenueFault::Reads { fault, lasts: Duration::MAX });
        scene.alarm(words);
        scene.alarm("not reconciled");
        scene.frames_flow();
        let (reads, puts) = (signed_reads(&scene.sim), count(&scene.sim, |ledger| ledger.puts));
        let from = Instant::now();
        while count(&scene.sim, |ledger| ledger.puts) == puts {
            assert!(from.elapsed() < MINUTES, "no key is extended");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(signed_reads(&scene.sim), reads, "the firewall is asked again at once");
        scene.ends();
    }
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn what_a_stranger_at_this_address_spends_is_not_spent_again() {
    // Five accounts ask for some 650 together.
    let mut scene = Scene::start(quiet(5), &[]);
    while now_ms() % 60_000 > 25_000 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let rest = RestClient::new(client_config(scene.sim.ca_pem().as_bytes(), 4).unwrap(), PATIENCE);
    let stranger = &scene.sim.accounts()[0];
    let spent_before = scene.sim.ledger().weight_total;
    for _ in 0..40 {
        let secret = ApiSecret::new(&*stranger.api_secret);
        let url = AccountRead::OpenOrders.url(&scene.sim.rest_base(), now_ms(), &secret);
        let answer = rest.send(Method::Get, &url, ("X-MBX-APIKEY", &stranger.api_key), 1 << 20).unwrap();
        assert_eq!(answer.status, 200);
    }
    let minute = now_ms() / 60_000;
    for index in 0..5 {
        scene.sim.inject(AccountFault::Cut.on(index));
    }
    scene.host.wait("what the stranger spent", PATIENCE, |status| {
        status.reconcile.as_ref().is_some_and(|reconcile| reconcile.weight_used >= 1_600)
    });
    while now_ms() / 60_000 == minute && now_ms() % 60_000 < 55_000 {
        let spent = scene.sim.ledger().weight_total - spent_before;
        // 75 %, and keys.
        assert!(now_ms() / 60_000 != minute || spent <= 1_800 + 20, "{spent}");
        std::thread::sleep(Duration::from_millis(200));
    }
    scene.host.wait_closed(scene.gaps + 5, MINUTES);
    let ledger = scene.sim.ledger();
    assert_eq!((ledger.rest_limited, ledger.rest_banned), (0, 0));
    scene.ends();
}
