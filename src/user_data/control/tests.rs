//! Turns a [`Control`] by hand: what a database that is away, slow or wrong does to streams, rows and gaps. Nothing.

use std::collections::BTreeSet;

use super::*;
use crate::exchange::binance::listen_key::ListenKey;
use crate::store::ErrorClass;
use crate::user_data::discovery::{ApiKey, SeenRow, WantedAccount};

const LANES: [Lane; 2] = [Lane::Create, Lane::KeepAlive];

struct Rig {
    control: Control,
    seconds: u64,
    /// What the database holds.
    wanted: Vec<WantedAccount>,
    is_away: bool,
    /// Accounts with a row.
    has_row: BTreeSet<i64>,
    rows: Vec<(i64, String)>,
    frames: Vec<(i64, u64)>,
    gaps: Vec<i64>,
    looks: u32,
    tries: u32,
}

impl Rig {
    fn new(accounts: i64) -> Rig {
        let pace = Pace { min: Duration::from_secs(60), max: Duration::from_secs(1_500) };
        let discovery = Duration::from_secs(60);
        let config = ControlConfig { canonical: "binance".to_owned(), discovery, pace, threads: 4 };
        Rig {
            control: Control::new(&config, Random::from_seed(4)),
            seconds: 0,
            wanted: (1..=accounts).map(account).collect(),
            is_away: false,
            has_row: BTreeSet::new(),
            rows: Vec::new(),
            frames: Vec::new(),
            gaps: Vec::new(),
            looks: 0,
            tries: 0,
        }
    }

    fn now(&self) -> Now {
        let mono = Mono::ZERO.plus(Duration::from_secs(self.seconds));
        Now { mono, wall: Wall::from_millis(self.seconds as i64 * 1_000) }
    }

    /// Lets everybody do what is due, second by second; the venue always answers with the account's own key.
    fn run(&mut self, seconds: u64) -> Vec<AccountCommand> {
        let mut heard = Vec::new();
        for _ in 0..seconds {
            while let Some(call) = self.control.poll_call(&LANES, self.now()) {
                let body = format!(r#"{{"listenKey":"{}"}}"#, key_of(call.order.account));
                let answer = VenueAnswer { status: 200, body: body.into(), retry_after: None, used_weight: None };
                let now = self.now();
                self.control.handle_answer(&call.order, Ok(&answer), now);
            }
            let mut turns = 0;
            while let Some(chore) = self.control.poll_chore(self.now()) {
                assert_eq!(self.control.next_chore_at(), Mono::NEVER, "one at a time");
                self.chore(chore);
                turns += 1;
                assert!(turns < 20, "a busy loop");
            }
            assert!(self.control.next_chore_at() > self.now().mono, "what is due was not given");
            heard.extend(std::iter::from_fn(|| self.control.poll_command()));
            self.seconds += 1;
        }
        heard
    }

    fn chore(&mut self, chore: Chore) {
        self.tries += 1;
        let (now, away) = (self.now(), StoreError::new(ErrorClass::Unreachable, "nobody is there"));
        match chore {
            Chore::Look if self.is_away => self.control.handle_look(Err(away), now),
            Chore::Look => {
                self.looks += 1;
                let key = |account| ListenKey::new(&key_of(account)).ok();
                let rows = self.has_row.iter().map(|&account| SeenRow { account, key: key(account), kept_at: None });
                let sighting = Sighting { accounts: self.wanted.clone(), rows: rows.collect(), ..Sighting::default() };
                self.control.handle_look(Ok(sighting), now);
            }
            Chore::Write(left) if self.is_away => {
                self.control.handle_written(Written { left, fault: Some(away), ..Written::default() }, now);
            }
            Chore::Write(batch) => {
                for (account, change) in &batch.rows.rows {
                    if change.delete {
                        self.has_row.remove(account);
                    }
                    if change.put.is_some() {
                        self.has_row.insert(*account);
                    }
                }
                let done = batch.rows.rows.iter().map(|(account, change)| (*account, format!("{change:?}")));
                self.rows.extend(done);
                self.frames
                    .extend(batch.rows.frames.iter().map(|(id, at)| (*id, at.as_millis().unsigned_abs() / 1_000)));
                self.gaps.extend(batch.gaps.iter().map(|gap| gap.account));
                self.control.handle_written(Written::default(), now);
            }
        }
    }
}

fn account(id: i64) -> WantedAccount {
    let api_key = Ok(ApiKey::new(&format!("key-{id}")));
    WantedAccount { id, api_system_id: 1, name: format!("account {id}").into(), api_key }
}

fn key_of(account: i64) -> String {
    format!("{account:064}")
}

fn gap(account: i64) -> WaitingGap {
    let ended_at = Wall::from_millis(1);
    WaitingGap { account, api_system_id: 1, started_at: None, ended_at, reason: "start".to_owned(), identity: None }
}

#[test]
fn a_database_that_is_away_ends_no_stream_and_loses_no_row() {
    let mut rig = Rig::new(10);
    let spawned = rig.run(12);
    assert_eq!(spawned.iter().filter(|command| matches!(command, AccountCommand::Spawn { .. })).count(), 10);
    assert_eq!(rig.rows.len(), 10);
    rig.rows.clear();
    (rig.is_away, rig.tries) = (true, 0);
    rig.wanted.clear();
    rig.control.offer_gap(gap(3)).unwrap();
    let heard = rig.run(3_600);
    assert!(heard.iter().all(|command| matches!(command, AccountCommand::KeyExtended { .. })), "{heard:?}");
    assert!(heard.len() >= 59, "keys are extended all the same: {}", heard.len());
    let status = rig.control.status(rig.now());
    assert_eq!((status.accounts, status.with_key, status.rows_waiting, status.gaps_waiting), (10, 10, 10, 1));
    assert!(status.database_fault.unwrap().contains("nobody is there"));
    assert!(rig.tries <= 2 * 3_600 / 3, "{} tries in an hour", rig.tries);
    // It comes back with everybody in it: each row is written once, with the newest, and nobody was reaped.
    rig.is_away = false;
    rig.wanted = (1..=10).map(account).collect();
    let heard = rig.run(40);
    assert!(heard.iter().all(|command| matches!(command, AccountCommand::KeyExtended { .. })), "{heard:?}");
    let mut written: Vec<i64> = rig.rows.iter().map(|(account, _)| *account).collect();
    written.truncate(10);
    assert!(
        written == (1..=10).collect::<Vec<_>>() && rig.rows.iter().all(|(_, change)| change.contains("kept: Some")),
        "{:?}",
        rig.rows
    );
    assert_eq!((rig.gaps.as_slice(), rig.control.gaps_waiting()), (&[3][..], 0));
    assert_eq!(rig.control.status(rig.now()).database_fault, None);
    // Only a list that could be read reaps.
    rig.wanted.clear();
    let heard = rig.run(61);
    assert_eq!(heard.iter().filter(|command| matches!(command, AccountCommand::Reap { .. })).count(), 10);
    assert_eq!(rig.has_row, BTreeSet::new());
}

#[test]
fn a_hundred_changes_a_minute_are_no_storm() {
    let mut rig = Rig::new(5);
    rig.run(60);
    let (mut heard, mut random) = (Vec::new(), Random::from_seed(2));
    (rig.looks, rig.seconds) = (0, 60);
    for _ in 0..60 {
        for _ in 0..2 {
            rig.wanted = (1..=5).filter(|_| random.below(2) == 0).map(account).collect();
            let now = rig.now();
            rig.control.discover(now);
        }
        heard.extend(rig.run(1));
    }
    assert!(rig.looks <= 13, "{} looks", rig.looks);
    assert!(heard.len() <= 13 * 10, "{} commands", heard.len());
    let created = rig.control.status(rig.now()).keys.created;
    assert!(created <= 5 + 13 * 5, "{created} keys");
    // And in the end what runs is what is wanted.
    rig.run(10);
    let status = rig.control.status(rig.now());
    assert_eq!((status.accounts, status.with_key), (rig.wanted.len(), rig.wanted.len()));
}

#[test]
fn a_stamp_of_activity_is_written_every_half_minute() {
    let mut rig = Rig::new(2);
    rig.run(5);
    rig.frames.clear();
    for _ in 0..100 {
        let now = rig.now();
        rig.control.handle_activity(1, now.wall);
        rig.control.handle_activity(77, now.wall);
        rig.run(1);
    }
    assert_eq!(rig.frames, [(1, 5), (1, 35), (1, 65), (1, 95)], "and of nobody unknown");
}

/// A gap's acknowledgement waits for its row: it goes before whatever else waits, and holds up nothing for ever.
#[test]
fn gaps_go_first_together_and_in_turn_with_the_rest() {
    let mut rig = Rig::new(5 * ROW_BATCH_MAX as i64);
    rig.run(1);
    for id in 1..=5 * ROW_BATCH_MAX as i64 {
        rig.control.keys.rows().failed(id);
    }
    let gaps = 3 * GAP_BATCH_MAX;
    (0..gaps).for_each(|id| assert!(rig.control.offer_gap(gap(id as i64)).is_ok()));
    let (mut written, now) = (Vec::new(), rig.now());
    while let Some(Chore::Write(batch)) = rig.control.poll_chore(now) {
        assert!(batch.gaps.is_empty() || batch.rows.is_empty(), "a gap waits for the commits of no row behind it");
        written.push((batch.gaps.len(), batch.rows.rows.len()));
        rig.control.handle_written(Written::default(), now);
        let settled: usize = written.iter().map(|(gaps, _)| gaps).sum();
        assert_eq!(rig.control.gaps_settled(), settled as u64);
    }
    let (gaps, rows) = ((GAP_BATCH_MAX, 0), (0, ROW_BATCH_MAX));
    assert_eq!(written, [gaps, rows, gaps, rows, gaps, rows, rows, rows]);
}

#[test]
fn what_the_database_will_never_take_is_dropped_and_counted() {
    let mut rig = Rig::new(1);
    rig.run(2);
    let now = rig.now();
    rig.control.offer_gap(gap(9)).unwrap();
    let Some(Chore::Write(batch)) = rig.control.poll_chore(now) else { panic!("a gap is due") };
    assert_eq!(batch.gaps.len(), 1);
    let refused = vec![(9, "violates a foreign key".to_owned())];
    rig.control.handle_written(Written { refused, gone: vec![1, 5], ..Written::default() }, now);
    let status = rig.control.status(now);
    assert_eq!((status.rows_refused, status.gaps_waiting, status.rows_waiting), (1, 0, 1));
    let Some(Chore::Write(batch)) = rig.control.poll_chore(now) else { panic!("the missing row is due") };
    let (account, change) = &batch.rows.rows[0];
    let key = ListenKey::new(&key_of(1)).unwrap();
    assert_eq!((*account, change.put.as_ref()), (1, Some(&(key, true, now.wall))));
}
