//! Jobs applied a second: real bodies of fifty accounts' order lives, through the worker, on SQLite and PostgreSQL, from the
//! queue in this process and from a real Redis, with production's allowlist and in shadow mode, in pieces of 1, 16 and 64.
//!
//! `cargo bench --bench work`, some minutes where the disk is slow to sync. The second table takes the same work apart on one thread. Statements per job are
//! counted where they are carried out, `BEGIN` and `COMMIT` included, so they are the same on every machine; times are
//! medians of interleaved rounds: look at the ratios. Ends with 1 if a job has no audit row, an intent is missing or doubled.

#![expect(clippy::print_stdout, reason = "a bench speaks on stdout")]

use std::process::ExitCode;

#[path = "support/machine.rs"]
mod machine;
#[path = "support/median.rs"]
#[allow(dead_code, reason = "shared with the other benches")]
mod median;
#[path = "../tests/support/order_lives.rs"]
mod order_lives;
#[cfg(feature = "server")]
#[path = "support/private_postgres.rs"]
mod private_postgres;
#[cfg(feature = "server")]
#[path = "../tests/support/redis_server.rs"]
mod redis_server;
#[cfg(any(feature = "server", feature = "embedded"))]
#[path = "support/work_places.rs"]
mod work_places;
#[cfg(any(feature = "server", feature = "embedded"))]
#[path = "support/work_rounds.rs"]
mod work_rounds;
#[cfg(any(feature = "server", feature = "embedded"))]
#[path = "support/work_stages.rs"]
mod work_stages;

/// Accounts whose jobs come.
const ACCOUNTS: i64 = 50;
/// Jobs of one account in one transaction.
const PIECES: [usize; 3] = [1, 16, 64];

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a temporary folder");
    machine::print(folder.path());
    let frame_len: usize = order_lives::frames(1, 0).iter().map(String::len).sum::<usize>() / order_lives::FRAMES;
    println!(
        "{ACCOUNTS} accounts; {} frames a cycle of {frame_len} bytes on average, which cause {} intents",
        order_lives::FRAMES,
        order_lives::INTENTS
    );
    let mut right = true;
    #[cfg(feature = "embedded")]
    {
        right &= work_places::sqlite(folder.path());
    }
    #[cfg(not(feature = "embedded"))]
    println!("SQLite rows omitted: built without the feature embedded");
    #[cfg(feature = "server")]
    {
        right &= work_places::postgres();
    }
    #[cfg(not(feature = "server"))]
    println!("PostgreSQL rows omitted: built without the feature server");
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
