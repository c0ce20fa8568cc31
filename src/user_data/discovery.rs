//! Who is to be streamed against who is: one pure comparison, in both directions.
//!
//! The same predicate, the database's list of eligible accounts, decides who is spawned and who is reaped
//! (facts/incumbent.md §9.12). A look that failed is no list: nothing is reaped on an error. [`Cadence`] says when to look:
//! every minute, sooner when asked, but never in a storm.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::limits::{CONTROL_RETRY_MAX, CONTROL_RETRY_MIN, DISCOVERY_SPACING_MIN};
use crate::domain::{Mono, Random, Wall};
use crate::exchange::binance::listen_key::ListenKey;

/// What names an account to its venue. A secret: no formatting shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Arc<str>);

impl ApiKey {
    /// Takes the key as it is.
    #[must_use]
    pub fn new(text: &str) -> Self {
        ApiKey(Arc::from(text))
    }

    /// The key: for the header of a request only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// An account that the database wants streamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedAccount {
    /// `accounts.id`.
    pub id: i64,
    /// `accounts.api_system_id`.
    pub api_system_id: i64,
    /// What people call it.
    pub name: Arc<str>,
    /// Its API key, or the sentence that says why it cannot be read.
    pub api_key: Result<ApiKey, Arc<str>>,
}

/// A row of `binance_listen_keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRow {
    /// Whose row.
    pub account: i64,
    /// The key in it; `None` if it cannot be read.
    pub key: Option<ListenKey>,
    /// `last_keep_alive_at`: when that key was last known to be good.
    pub kept_at: Option<Wall>,
}

/// What one look at the database found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Every eligible account, in ascending id.
    pub accounts: Vec<WantedAccount>,
    /// Every row of `binance_listen_keys`.
    pub rows: Vec<SeenRow>,
    /// Accounts with open positions or working orders.
    pub exposed: BTreeSet<i64>,
}

/// One difference between what is wanted and what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Wanted, and not running.
    Spawn(WantedAccount),
    /// Running, and no longer wanted: the socket is closed, the key's row removed.
    Reap(i64),
    /// Its API key is another one, or has become readable or unreadable.
    Credentials(WantedAccount),
    /// Only what people call it has changed.
    Name(WantedAccount),
}

/// What makes `running` what `wanted` says. Reaps come first: they free what spawns need. An account whose text in the
/// database was only encrypted anew has not changed; one that moved to another row of `api_systems` is reaped and spawned.
#[must_use]
pub fn reconcile<'r>(wanted: &[WantedAccount], running: impl IntoIterator<Item = &'r WantedAccount>) -> Vec<Change> {
    let wanted: BTreeMap<i64, &WantedAccount> = wanted.iter().map(|account| (account.id, account)).collect();
    let mut met = BTreeSet::new();
    let (mut reaps, mut changes) = (Vec::new(), Vec::new());
    for account in running {
        match wanted.get(&account.id) {
            None => reaps.push(Change::Reap(account.id)),
            Some(now) if now.api_system_id != account.api_system_id => reaps.push(Change::Reap(account.id)),
            Some(now) => {
                met.insert(account.id);
                if now.api_key != account.api_key {
                    changes.push(Change::Credentials((*now).clone()));
                } else if now.name != account.name {
                    changes.push(Change::Name((*now).clone()));
                }
            }
        }
    }
    let spawns = wanted.values().filter(|account| !met.contains(&account.id));
    let spawns = spawns.map(|account| Change::Spawn((*account).clone()));
    reaps.into_iter().chain(changes).chain(spawns).collect()
}

/// Rows that say "is streamed" of accounts that are not wanted: what a killed process left behind.
#[must_use]
pub fn stale_rows(sighting: &Sighting) -> Vec<i64> {
    let wanted: BTreeSet<i64> = sighting.accounts.iter().map(|account| account.id).collect();
    sighting.rows.iter().map(|row| row.account).filter(|account| !wanted.contains(account)).collect()
}

/// When the next look is due.
#[derive(Clone, Debug)]
pub struct Cadence {
    every: Duration,
    due: Mono,
    not_before: Mono,
    failures: u32,
}

impl Cadence {
    /// The first look is due at once.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Cadence { every, due: Mono::ZERO, not_before: Mono::ZERO, failures: 0 }
    }

    /// When to look.
    #[must_use]
    pub fn due(&self) -> Mono {
        self.due.max(self.not_before)
    }

    /// A look is wanted now: it comes at once, or [`DISCOVERY_SPACING_MIN`] after the last one. Many wishes are one look.
    pub fn ask(&mut self, now: Mono) {
        self.due = self.due.min(now);
    }

    /// A look begins; wishes from now on are for the next one.
    pub fn started(&mut self, now: Mono) {
        self.due = now.plus(self.every);
        self.not_before = now.plus(DISCOVERY_SPACING_MIN.min(self.every));
    }

    /// The look brought a list.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The look brought nothing: the next one comes sooner than usual, at a doubling pace.
    pub fn failed(&mut self, now: Mono, random: &mut Random) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.plus(retry_pause(self.failures, random));
        self.due = self.due.min(self.not_before);
    }
}

/// The pause after `failures` faults in a row at the database, with jitter downwards.
pub(super) fn retry_pause(failures: u32, random: &mut Random) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = (CONTROL_RETRY_MIN * (1 << doublings)).min(CONTROL_RETRY_MAX);
    pause - Duration::from_millis(random.below(pause.as_millis() as u64 / 4 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(id: i64, key: &str) -> WantedAccount {
        WantedAccount { id, api_system_id: 1, name: format!("account {id}").into(), api_key: Ok(ApiKey::new(key)) }
    }

    fn unreadable(id: i64, why: &str) -> WantedAccount {
        WantedAccount { api_key: Err(why.into()), ..account(id, "") }
    }

    fn seconds(n: u64) -> Mono {
        Mono::ZERO.plus(Duration::from_secs(n))
    }

    #[test]
    fn wanted_against_running() {
        let (a, b, c) = (account(1, "a"), account(2, "b"), account(3, "c"));
        let renamed = WantedAccount { name: "another".into(), ..a.clone() };
        let moved = WantedAccount { api_system_id: 2, ..a.clone() };
        let renamed_and_rekeyed = WantedAccount { api_key: Ok(ApiKey::new("z")), ..renamed.clone() };
        check(&[], &[], &[]);
        check(&[&a, &b], &[&a, &b], &[]);
        check(&[&a, &b], &[], &[Change::Spawn(a.clone()), Change::Spawn(b.clone())]);
        check(&[], &[&a, &b], &[Change::Reap(1), Change::Reap(2)]);
        check(&[&c], &[&a, &b], &[Change::Reap(1), Change::Reap(2), Change::Spawn(c.clone())]);
        check(&[&account(1, "a2"), &b], &[&a, &b], &[Change::Credentials(account(1, "a2"))]);
        check(&[&unreadable(1, "x")], &[&a], &[Change::Credentials(unreadable(1, "x"))]);
        check(&[&a], &[&unreadable(1, "x")], &[Change::Credentials(a.clone())]);
        check(&[&unreadable(1, "y")], &[&unreadable(1, "x")], &[Change::Credentials(unreadable(1, "y"))]);
        check(&[&unreadable(1, "x")], &[&unreadable(1, "x")], &[]);
        check(&[&unreadable(1, "x")], &[], &[Change::Spawn(unreadable(1, "x"))]);
        check(&[&renamed], &[&a], &[Change::Name(renamed.clone())]);
        check(&[&renamed_and_rekeyed], &[&a], &[Change::Credentials(renamed_and_rekeyed.clone())]);
        check(&[&moved], &[&a], &[Change::Reap(1), Change::Spawn(moved.clone())]);
        // The database's list may name an account twice (a join gone wrong): it is one account.
        check(&[&a, &a], &[], &[Change::Spawn(a.clone())]);
    }

    #[test]
    fn applying_the_changes_leaves_nothing_to_change() {
        let mut random = Random::from_seed(11);
        let mut running: BTreeMap<i64, WantedAccount> = BTreeMap::new();
        for _ in 0..500 {
            let wanted: Vec<WantedAccount> = (1..=12)
                .filter_map(|id| match random.below(4) {
                    0 => None,
                    1 => Some(unreadable(id, "x")),
                    n => Some(account(id, ["a", "b"][n as usize - 2])),
                })
                .collect();
            for change in reconcile(&wanted, running.values()) {
                match change {
                    Change::Spawn(account) => assert!(running.insert(account.id, account).is_none()),
                    Change::Reap(id) => assert!(running.remove(&id).is_some()),
                    Change::Credentials(account) | Change::Name(account) => {
                        assert!(running.insert(account.id, account).is_some());
                    }
                }
            }
            assert!(running.values().eq(&wanted));
            assert_eq!(reconcile(&wanted, running.values()), []);
        }
    }

    #[test]
    fn rows_that_a_killed_process_left() {
        let row = |account| SeenRow { account, key: None, kept_at: None };
        let sighting = Sighting {
            accounts: vec![account(1, "a"), unreadable(3, "x")],
            rows: vec![row(1), row(2), row(3)],
            ..Sighting::default()
        };
        assert_eq!(stale_rows(&sighting), [2]);
    }

    #[test]
    fn looks_come_every_minute_and_wishes_do_not_make_a_storm() {
        let mut cadence = Cadence::new(Duration::from_secs(60));
        let (mut looks, mut now) = (Vec::new(), 0);
        while now <= 240 {
            // Between the second and the third minute somebody asks a hundred times.
            if (120..180).contains(&now) {
                (0..2).for_each(|_| cadence.ask(seconds(now)));
            }
            if cadence.due() <= seconds(now) {
                looks.push(now);
                cadence.started(seconds(now));
                cadence.succeeded();
            }
            now += 1;
        }
        let asked: Vec<u64> = (120..180).step_by(5).collect();
        let expected: Vec<u64> = [0, 60].into_iter().chain(asked).chain([180, 240]).collect();
        assert_eq!(looks, expected);
    }

    #[test]
    fn a_database_that_is_away_is_asked_at_a_doubling_pace() {
        let mut random = Random::from_seed(5);
        let mut cadence = Cadence::new(Duration::from_secs(60));
        for ceiling in [1, 2, 4, 5, 5] {
            let now = cadence.due();
            cadence.started(now);
            cadence.failed(now, &mut random);
            cadence.ask(now);
            let pause = cadence.due().since(now);
            let ceiling = Duration::from_secs(ceiling);
            assert!(pause <= ceiling && pause >= ceiling * 3 / 4, "{pause:?} of {ceiling:?}");
        }
        let now = cadence.due();
        cadence.started(now);
        cadence.succeeded();
        assert_eq!(cadence.due().since(now), Duration::from_secs(60));
    }

    #[test]
    fn an_api_key_is_not_shown() {
        assert!(!format!("{:?}", account(1, "PLANTED")).contains("PLANTED"));
    }

    #[track_caller]
    fn check(wanted: &[&WantedAccount], running: &[&WantedAccount], expected: &[Change]) {
        let wanted: Vec<WantedAccount> = wanted.iter().map(|&account| account.clone()).collect();
        assert_eq!(reconcile(&wanted, running.iter().copied()), expected);
    }
}
