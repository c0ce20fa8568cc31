//! Spool, queue, worker and database of one machine, and the program that looks at them: for `trace` and `allowlist preview`.
//! Frames are those of `order_scene.rs`; each is received 12 ms after its transaction time.

#![allow(dead_code, reason = "shared by several test binaries, each of which uses a part")]

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use kraite_streams::domain::{Mono, Now, Wall};
use kraite_streams::queue::JobRecord;
use kraite_streams::spool::{
    AccountId, Entry, Epoch, ExchangeId, FolderDisk, Kind, Opened, SpoolConfig, SpoolView, open,
};
use kraite_streams::store::StoreUrl;
use kraite_streams::user_data::apply::Policy;
use kraite_streams::user_data::rules::{Allowlist, IntentSwitches};

use crate::order_scene::{Database, Happening, Scene};
use crate::worker_line::Line;

pub const LISTEN_KEY: &str = "SYNTHETIClistenKeySYNTHETIClistenKeySYNTHETIClistenKey0000000000";
pub const SPOOL: &str = "kraite-streams.spool";
/// Production's list, and what leads a stop to its real order.
pub const LIST: &str =
    "TRADE,AMENDMENT,CANCELED,EXPIRED,ALGO_NEW,ALGO_CANCELED,ALGO_EXPIRED,ALGO_FILLED,ALGO_TRIGGERED";
/// Every table that the worker writes to.
const TABLES: [&str; 10] = [
    "accounts",
    "positions",
    "orders",
    "order_progress",
    "algo_order_links",
    "api_data_stream",
    "stream_decisions",
    "workflow_intents",
    "stream_gaps",
    "stream_progress",
];

pub struct Rig<'d> {
    pub folder: tempfile::TempDir,
    pub database: &'d mut dyn Database,
    url: StoreUrl,
    environment: Vec<(&'static str, String)>,
    spool: Option<Opened<FolderDisk>>,
    line: Line,
    received: u64,
    worked: u64,
}

impl<'d> Rig<'d> {
    /// On a migrated database; `environment` tells the program where it is.
    pub fn new(
        folder: tempfile::TempDir,
        url: StoreUrl,
        environment: Vec<(&'static str, String)>,
        database: &'d mut dyn Database,
    ) -> Rig<'d> {
        let config = SpoolConfig { holder: "a test's process".to_owned(), ..SpoolConfig::default() };
        let disk = FolderDisk::open(&folder.path().join(SPOOL)).unwrap();
        let now = Now { mono: Mono::ZERO, wall: Wall::from_millis(1_795_000_000_000) };
        let spool = Some(open(disk, config, Epoch(*b"one life's epoch"), now).unwrap());
        Rig { folder, database, url, environment, spool, line: Line::new(), received: 0, worked: 0 }
    }

    /// A case's rows, by its number.
    pub fn seed(&mut self, number: usize, seed: &str) -> Scene {
        let scene = Scene::new(number, seed);
        self.database.sql(&scene.seed_sql());
        scene
    }

    /// Its frames into the spool.
    pub fn receive(&mut self, scene: &Scene, frames: &str) {
        let spool = self.spool.as_mut().expect("it is open");
        for (at, happening) in (0..).zip(scene.happenings(frames)) {
            let Happening::Frame(account, raw) = happening else { panic!("only frames are received") };
            let received_at = Wall::from_millis(1_795_000_000_012 + at);
            let mut batch = spool.appender.batch();
            let account = AccountId(scene.accounts[account].id as u64);
            let entry = Entry { kind: Kind::Frame, account, exchange: ExchangeId(1), received_at };
            batch.push(entry, &raw, &[]).unwrap();
            spool.appender.append(&mut batch, Now { mono: Mono::ZERO, wall: received_at }).unwrap();
            self.received += 1;
        }
    }

    /// The worker applies what the spool has and it has not had.
    pub fn work(&mut self, allowlist: &str) {
        let policy = Policy {
            allowlist: Allowlist::of_comma_list(allowlist),
            intents: IntentSwitches::default(),
            live_for: Duration::from_secs(900),
        };
        self.line.start(&self.url, policy);
        let (from, line) = (self.worked, &mut self.line);
        let mut worked = from;
        SpoolView::open(&self.folder.path().join(SPOOL))
            .unwrap()
            .read(from, |record| {
                worked = record.identity.position + 1;
                // Marks of the whole spool make no jobs.
                if record.kind == Kind::Liveness {
                    return ControlFlow::Continue(());
                }
                line.push(&JobRecord {
                    account: record.account.0,
                    api_system: record.exchange.0,
                    canonical: "binance",
                    epoch: record.identity.epoch.0,
                    position: record.identity.position,
                    previous: (record.previous != 0).then_some(record.previous),
                    received_at: record.received_at,
                    kind: record.kind.as_str(),
                    raw: record.payload,
                });
                ControlFlow::Continue(())
            })
            .unwrap();
        self.worked = worked;
        self.line.wait();
        self.line.stop();
    }

    /// Every job comes again, under this list.
    pub fn work_again(&mut self, allowlist: &str) {
        self.worked = 0;
        self.work(allowlist);
    }

    /// The spool's folder goes.
    pub fn lose_spool(&mut self) {
        self.spool = None;
        std::fs::remove_dir_all(self.folder.path().join(SPOOL)).unwrap();
    }

    /// Runs the program under this allowlist; nothing secret is in what it says.
    pub fn run(&self, allowlist: &str, arguments: &[&str]) -> Output {
        let output = program(self.folder.path(), arguments)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .env("KRAITE_USER_DATA_BINANCE_DISPATCHED_EXECUTIONS", allowlist)
            .output()
            .unwrap();
        for (name, bytes) in [("standard output", &output.stdout), ("standard error", &output.stderr)] {
            let text = String::from_utf8_lossy(bytes);
            for secret in [LISTEN_KEY, "100%25", "100%2525"] {
                assert!(!text.contains(secret), "{name} shows {secret}:\n{text}");
            }
        }
        output
    }

    /// Standard output of a run that ends with `code` and says nothing on standard error.
    #[track_caller]
    pub fn says(&self, allowlist: &str, arguments: &[&str], code: i32) -> String {
        let output = self.run(allowlist, arguments);
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.status.code(), &*err), (Some(code), ""), "{out}");
        out
    }

    /// Every row of every table, updated_at and all.
    pub fn everything(&mut self) -> String {
        let mut text = String::new();
        for table in TABLES {
            for row in self.database.rows(&format!("SELECT * FROM {table} ORDER BY 1")) {
                text.push_str(&format!("{table} {row:?}\n"));
            }
        }
        text
    }
}

pub fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kraite-streams"));
    command.current_dir(folder).env_clear().args(arguments);
    command
}

/// Times of this machine's hops and the uuids of jobs, which differ from run to run, become stars.
pub fn masked(text: &str) -> String {
    let mut masked = String::new();
    for line in text.lines() {
        let hop = ["  reserved ", "  decided ", "  intent "].iter().find(|hop| line.starts_with(**hop));
        match (hop, line.split_once(" ms  ")) {
            (Some(hop), Some((_, what))) => {
                let what = if what.starts_with("job ") { "job *" } else { what };
                masked.push_str(&format!("{}  * ms  {what}", hop.trim_end()));
            }
            _ => masked.push_str(line),
        }
        masked.push('\n');
    }
    masked
}
