//! A tick on PostgreSQL: the forms and transactions of the CASE text, on the side table with and without free page space.
//!
//! The server is the one that `KRAITE_BENCH_PG` names (in a schema of our own, dropped afterwards), or a private one that
//! is started from an installed binary on a free loopback port and stopped in the end. Without either, one line says so.

use std::collections::HashMap;
use std::error::Error;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kraite_streams::prices::batch::Batch;
use kraite_streams::prices::case_when::{Form, Layout, StatementText, Transactions};
use kraite_streams::prices::price_table::PriceTable;
use postgres::{Client, NoTls};

use crate::median::{self, Samples};
use crate::price_path::{PricePath, Tick};

type Failed = Box<dyn Error>;

/// Name, fillfactor, form and transactions of each line; the first is the measure.
const VARIANTS: [(&str, u32, Form, Transactions); 4] = [
    ("bucketed, one transaction, fillfactor 25", 25, Form::CaseBucketed, Transactions::One),
    ("plain CASE, one transaction, fillfactor 25", 25, Form::Case, Transactions::One),
    ("bucketed, one transaction, fillfactor 100", 100, Form::CaseBucketed, Transactions::One),
    ("bucketed, per chunk, fillfactor 100", 100, Form::CaseBucketed, Transactions::PerChunk),
];

/// Prints a line for each variant; false if a row does not hold what was sent.
pub fn run(ticks: &[Tick]) -> bool {
    let measured = match std::env::var("KRAITE_BENCH_PG") {
        Ok(url) => measure(&url, ticks),
        Err(_) => match Server::start() {
            Ok(Some(server)) => measure(&server.url, ticks),
            Ok(None) => {
                println!("PostgreSQL rows omitted: KRAITE_BENCH_PG is not set and no server is installed");
                return true;
            }
            Err(error) => {
                println!("PostgreSQL rows omitted: the installed server does not start: {error}");
                return true;
            }
        },
    };
    measured.unwrap_or_else(|error| {
        // Never the URL: it may hold a password.
        println!("PostgreSQL rows failed: {error}");
        false
    })
}

fn measure(url: &str, ticks: &[Tick]) -> Result<bool, Failed> {
    let mut client = Client::connect(url, NoTls)?;
    let schema = |at: usize| format!("kraite_bench_{}_{at}", std::process::id());
    let table = |at: usize| PriceTable::parse(&format!("{}.exchange_symbol_prices", schema(at)));
    let mut path = PricePath::new(table(0)?, Layout::default());
    path.tick(&ticks[0].wire);
    let mut texts = Vec::new();
    for (at, (_, fillfactor, form, transactions)) in VARIANTS.into_iter().enumerate() {
        texts.push(StatementText::new(table(at)?, Layout { form, transactions, ..Layout::default() }));
        let ids: Vec<_> = path.batch.rows().iter().map(|row| format!("({})", row.row_id)).collect();
        client.batch_execute(&format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {table} (exchange_symbol_id bigint PRIMARY KEY,
             mark_price numeric(36,18), mark_price_synced_at timestamptz(3)) WITH (fillfactor = {fillfactor});
             INSERT INTO {table} (exchange_symbol_id) VALUES {ids}",
            schema = schema(at),
            table = texts[at].table(),
            ids = ids.join(",")
        ))?;
    }
    let outcome = rounds(&mut client, &mut path, &mut texts, ticks);
    for at in 0..texts.len() {
        client.batch_execute(&format!("DROP SCHEMA {} CASCADE", schema(at)))?;
    }
    outcome
}

fn rounds(
    client: &mut Client,
    path: &mut PricePath,
    texts: &mut [StatementText],
    ticks: &[Tick],
) -> Result<bool, Failed> {
    let mut samples = VARIANTS.map(|_| Samples::new(median::ROUNDS));
    for round in 0..median::ROUNDS + 5 {
        path.receive(&ticks[round % ticks.len()].wire, |_| ());
        path.take();
        for turn in 0..texts.len() {
            let at = (round + turn) % texts.len();
            let start = Instant::now();
            client.batch_execute(texts[at].build(&path.batch))?;
            samples[at].push(round < 5, start.elapsed());
        }
    }
    let rows = path.batch.rows().len();
    let floor = samples[0].median();
    for ((name, ..), samples) in VARIANTS.iter().zip(&samples) {
        median::print(&format!("PostgreSQL: {name}"), samples, floor, rows);
    }
    let mut right = true;
    for text in texts.iter() {
        right &= holds(client, text.table(), &path.batch)?;
    }
    Ok(right)
}

fn holds(client: &mut Client, table: &PriceTable, batch: &Batch) -> Result<bool, Failed> {
    let mut found = HashMap::new();
    for row in client.query(&format!("SELECT exchange_symbol_id, trim_scale(mark_price)::text FROM {table}"), &[])? {
        found.insert(row.try_get::<_, i64>(0)?, row.try_get::<_, Option<String>>(1)?);
    }
    let bare = |price: &str| match price.split_once('.') {
        Some(_) => price.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => price.to_owned(),
    };
    let same = |row: &kraite_streams::prices::batch::RowPrice| {
        found.get(&row.row_id).is_some_and(|price| price.as_deref() == Some(&*bare(row.price.as_str())))
    };
    Ok(batch.rows().iter().all(same))
}

/// A private server in a temporary folder, stopped and removed when dropped.
struct Server {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    /// `None` when none is installed.
    fn start() -> Result<Option<Server>, Failed> {
        let Some(binaries) = binaries() else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let owner = unprivileged_user(folder.path())?;
        let cluster = folder.path().join("cluster");
        let run = |program: &str| {
            let mut command = Command::new(binaries.join(program));
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let made = run("initdb").arg("-D").arg(&cluster).args(["-U", "bench", "-A", "trust", "--no-sync"]).status()?;
        if !made.success() {
            return Err("initdb failed".into());
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = run("postgres");
        server.arg("-D").arg(&cluster).arg("-k").arg(folder.path()).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        let url = format!("postgres://bench@127.0.0.1:{port}/postgres");
        let server = Server { process: server.spawn()?, url, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Client::connect(&server.url, NoTls).is_err() {
            if Instant::now() > deadline {
                return Err("it does not answer within 20 s".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(server))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT = fast shutdown; SIGKILL only when nobody can send it.
        let asked = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// The folder of `initdb` and `postgres`: on the path, or where Debian keeps them.
fn binaries() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut debian: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort();
    let complete = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file());
    debian.into_iter().rev().chain(on_path.unwrap_or_default()).find(complete)
}

/// PostgreSQL refuses to run as root: then the folder is given to `postgres` or `nobody`.
fn unprivileged_user(folder: &Path) -> Result<Option<(u32, u32)>, Failed> {
    let id = |args: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(args).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return Ok(None);
    }
    for user in ["postgres", "nobody"] {
        if let (Some(uid), Some(gid)) = (id(&["-u", user]), id(&["-g", user])) {
            std::os::unix::fs::chown(folder, Some(uid), Some(gid))?;
            return Ok(Some((uid, gid)));
        }
    }
    Err("running as root, and there is neither a user postgres nor nobody".into())
}
