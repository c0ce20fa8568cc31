//! Every case of `order_cases.rs` through the real worker: jobs by the real writer, the queue in this process, the real tables
//! of one database, all cases of one policy at a time, each in accounts of its own.
//!
//! Beside what a case says, each is held to: one audit row a distinct frame, in order, byte for byte; quantities and references
//! as they were placed; nothing changed by every job coming again, in order and in reverse; no job failed.

#![allow(dead_code, reason = "shared by two test binaries, each of which uses a part")]

use std::collections::BTreeMap;
use std::time::Duration;

use kraite_streams::queue::JobRecord;
use kraite_streams::store::StoreUrl;
use kraite_streams::user_data::apply::Policy;
use kraite_streams::user_data::rules::{Allowlist, IntentSwitches};

use crate::order_cases::CASES;
use crate::order_scene::{Database, Happening, Scene};
use crate::worker_line::{EPOCH, Line};

/// What production has on its list (facts/incumbent.md §4.3).
const PRODUCTION: &str = "TRADE,AMENDMENT,CANCELED,EXPIRED,ALGO_NEW,ALGO_CANCELED,ALGO_EXPIRED,ALGO_FILLED";
/// What it leaves off, too.
const ALL: &str = "NEW,TRADE,AMENDMENT,CANCELED,EXPIRED,REJECTED,CALCULATED,ALGO_NEW,ALGO_TRIGGERING,ALGO_TRIGGERED,\
                   ALGO_FINISHED,ALGO_CANCELED,ALGO_EXPIRED,ALGO_REJECTED";

/// A line of the list.
struct Case<'a> {
    name: &'a str,
    result: &'a str,
    rules: &'a str,
    scene: Scene,
    happenings: Vec<Happening>,
    /// What has happened already.
    at: usize,
    /// Its last job, by number.
    last: usize,
}

/// Runs them all; panics with every case that does not end as it says.
pub fn hold(url: &StoreUrl, database: &mut dyn Database) {
    let mut groups: BTreeMap<String, Vec<Case<'_>>> = BTreeMap::new();
    let lines = CASES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut names: Vec<&str> = Vec::new();
    for (number, line) in lines.enumerate() {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [name, seed, frames, result, rules, ..] = fields[..] else { panic!("{line}: five fields are needed") };
        assert!(!names.contains(&name), "{name} is there twice");
        names.push(name);
        let scene = Scene::new(number, seed);
        let happenings = scene.happenings(frames);
        // A policy is the whole worker's, so cases go together that have the same ones.
        let mut group = fields.get(5).unwrap_or(&"").to_string();
        for happening in &happenings {
            if let Happening::Policy(next) = happening {
                group.push(';');
                group.push_str(next);
            }
        }
        database.sql(&scene.seed_sql());
        groups.entry(group).or_default().push(Case { name, result, rules, scene, happenings, at: 0, last: 0 });
    }
    assert!(names.len() >= 100, "{} cases", names.len());
    let mut wrong = Vec::new();
    let mut feed = Feed { line: Line::new(), systems: systems(database), last: BTreeMap::new() };
    for (group, mut cases) in groups {
        run(url, database, &mut feed, group.split(';').next().unwrap(), &mut cases, &mut wrong);
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), names.len(), wrong.join("\n"));
    let failed = database.rows("SELECT exception FROM failed_jobs");
    assert!(failed.is_empty(), "{failed:?}");
}

fn run(
    url: &StoreUrl,
    database: &mut dyn Database,
    feed: &mut Feed,
    first: &str,
    cases: &mut [Case<'_>],
    wrong: &mut Vec<String>,
) {
    feed.line.start(url, policy(first));
    let from = feed.line.pushed();
    while cases.iter().any(|case| case.at < case.happenings.len()) {
        for case in cases.iter_mut() {
            while let Some(happening) = case.happenings.get(case.at) {
                match happening {
                    Happening::Frame(account, raw) => {
                        let account = &case.scene.accounts[*account];
                        case.last = feed.push(account.id, account.is_bybit, raw);
                    }
                    Happening::Redeliver => feed.line.push_again(case.last),
                    Happening::App(_) | Happening::Policy(_) => break,
                }
                case.at += 1;
            }
        }
        feed.line.wait();
        let mut next = None;
        for case in cases.iter_mut() {
            match case.happenings.get(case.at) {
                Some(Happening::App(sql)) => database.sql(sql),
                Some(Happening::Policy(policy)) => next = Some(policy.clone()),
                _ => continue,
            }
            case.at += 1;
        }
        if let Some(next) = next {
            feed.line.worker().set_policy(policy(&next));
        }
    }
    for case in &*cases {
        let state = case.scene.state(database);
        let rules = case.scene.rules(database);
        if state != case.result {
            wrong.push(format!("{}:\n  should be {}\n  is        {state}", case.name, case.result));
        }
        if rules != case.rules {
            wrong.push(format!("{}:\n  decided by {}\n  not        {rules}", case.name, case.rules));
        }
    }
    let before: Vec<_> = cases.iter().map(|case| (case.scene.state(database), case.scene.rules(database))).collect();
    let to = feed.line.pushed();
    for at in (from..to).chain((from..to).rev()) {
        feed.line.push_again(at);
    }
    feed.line.wait();
    for (case, before) in cases.iter().zip(before) {
        let after = (case.scene.state(database), case.scene.rules(database));
        if after != before {
            wrong.push(format!("{}:\n  was {before:?}\n  and after all jobs came again {after:?}", case.name));
        }
        check_audit(database, case);
    }
    feed.line.stop();
}

fn check_audit(database: &mut dyn Database, case: &Case<'_>) {
    for (number, account) in case.scene.accounts.iter().enumerate() {
        let mut frames: Vec<&[u8]> = Vec::new();
        for happening in &case.happenings {
            match happening {
                Happening::Frame(to, raw) if *to == number && !frames.contains(&&raw[..]) => frames.push(raw),
                _ => {}
            }
        }
        let query = format!("SELECT raw_payload FROM api_data_stream WHERE account_id = {} ORDER BY id", account.id);
        let rows = database.rows(&query);
        assert_eq!(rows.len(), frames.len(), "{}: audit rows are distinct frames", case.name);
        for (row, frame) in rows.iter().zip(frames) {
            match serde_json::from_slice::<serde_json::Value>(frame) {
                Ok(_) => assert_eq!(row[0].as_bytes(), frame, "{}", case.name),
                Err(_) => assert!(row[0].starts_with(r#"{"raw_base64":""#), "{}: {}", case.name, row[0]),
            }
        }
    }
}

/// `production`, `all`, `shadow`, or execution types; then perhaps `off=` and kinds of intents.
fn policy(text: &str) -> Policy {
    let (mut list, mut intents) = (PRODUCTION, IntentSwitches::default());
    for word in text.split_whitespace() {
        match (word, word.strip_prefix("off=")) {
            (_, Some(kinds)) => intents = IntentSwitches::without(&kinds.split(',').collect::<Vec<_>>()).unwrap(),
            ("production", _) => {}
            ("all", _) => list = ALL,
            ("shadow", _) => list = "",
            (types, _) => list = types,
        }
    }
    Policy { allowlist: Allowlist::of_comma_list(list), intents, live_for: Duration::from_secs(900) }
}

fn systems(database: &mut dyn Database) -> (u32, u32) {
    let mut system = |name: &str| {
        let query = format!("SELECT id FROM api_systems WHERE canonical = '{name}'");
        database.rows(&query)[0][0].parse().unwrap()
    };
    (system("binance"), system("bybit"))
}

/// Frames become jobs here, each account's with the position of the one before.
struct Feed {
    line: Line,
    systems: (u32, u32),
    last: BTreeMap<i64, u64>,
}

impl Feed {
    fn push(&mut self, account: i64, is_bybit: bool, raw: &[u8]) -> usize {
        let position = self.line.pushed() as u64 + 1;
        self.line.push(&JobRecord {
            account: account as u64,
            api_system: if is_bybit { self.systems.1 } else { self.systems.0 },
            canonical: if is_bybit { "bybit" } else { "binance" },
            epoch: EPOCH,
            position,
            previous: self.last.insert(account, position),
            received_at: self.line.now(),
            kind: "frame",
            raw,
        })
    }
}
