//! The command line, and the texts that teach it.

#[cfg(feature = "sim")]
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::account_args::AccountsCommand;
#[cfg(feature = "sim")]
use super::demo::check::Check;
use super::exit::Exit;
use super::spool_args::SpoolCommand;
use super::sync_orders::{SYNC_ORDERS, SyncOrdersArgs};
use super::trace_args::{AllowlistCommand, TRACE, TraceArgs};
use crate::domain::Venue;

/// The whole command line.
#[derive(Clone, Debug, Parser)]
#[command(name = "kraite-streams", version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = after_help())]
pub struct Cli {
    /// Settings file [default: $KRAITE_SETTINGS, else ./kraite-streams.toml if it is there, else built-in defaults]
    #[arg(long, global = true, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const ABOUT: &str = "Exchange streams for a crypto trading system: from a TLS WebSocket to committed rows";

const LONG_ABOUT: &str = "\
Exchange streams for a crypto trading system: from a TLS WebSocket to committed rows.

Mark prices of all Binance USDⓈ-M perpetuals arrive once a second; the newest price of every symbol is written into
a table of yours, on PostgreSQL or SQLite, also for the same contract on Bybit, KuCoin and Bitget.";

fn after_help() -> String {
    let mut text = String::from(
        "\
First steps:
  kraite-streams demo                                   see all of it work, nothing contacted (builds with the simulator)
  kraite-streams prices                                 stream into ./kraite-streams.sqlite
  kraite-streams print settings > kraite-streams.toml   every key with its default, unit and reason
  kraite-streams check                                  what prices would do with these settings and tables
  kraite-streams work                                   apply the jobs of the queue
  kraite-streams migrate                                create or complete the tables
  kraite-streams symbols sync                           fill them with what the venues list
  kraite-streams status                                 ask a running daemon how it is
  kraite-streams trace ORDER_ID                         one order's road, frame by frame
  kraite-streams print supervisor                       a program section for supervisord

Without a settings file prices go to ./kraite-streams.sqlite. For PostgreSQL set
  KRAITE_STORE_URL=postgres://user:password@host:5432/database

Exit codes (sysexits.h):
",
    );
    for (exit, meaning) in Exit::TABLE {
        text.push_str(&format!("  {:>2}  {meaning}\n", exit.code()));
    }
    text
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show everything at once on this machine: simulated exchange, price stream, faults, checks
    #[cfg(feature = "sim")]
    #[command(long_about = DEMO)]
    Demo(DemoArgs),
    /// Stream mark prices into the database: the daemon
    #[command(long_about = PRICES)]
    Prices(PricesArgs),
    /// Stream the user data of all accounts onto the queue: the daemon
    #[command(long_about = USER_DATA)]
    UserData(PricesArgs),
    /// Apply the jobs of the queue: audit rows, order updates, intents: the daemon
    #[command(long_about = WORK)]
    Work(PricesArgs),
    /// `prices` and `user-data` in one process
    #[command(long_about = RUN)]
    Run(PricesArgs),
    /// Check settings, database and symbol map; writes nothing
    #[command(long_about = CHECK)]
    Check(CheckArgs),
    /// Whose private streams are read: add, list, enable, disable, remove
    #[command(subcommand)]
    Accounts(AccountsCommand),
    /// Compare local orders with the venue's, and apply what nobody heard
    #[command(long_about = SYNC_ORDERS)]
    SyncOrders(SyncOrdersArgs),
    /// The frames on disk: list, show, and replay onto the queue
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Print one order's road: frame, spool, job, audit, rule, change, intent
    #[command(long_about = TRACE)]
    Trace(TraceArgs),
    /// What more execution types on the allowlist would have done
    #[command(subcommand)]
    Allowlist(AllowlistCommand),
    /// Create the tables, or add the columns that existing ones lack
    #[command(long_about = MIGRATE)]
    Migrate(MigrateArgs),
    /// Instruments of the venues in the symbol table
    #[command(subcommand)]
    Symbols(SymbolsCommand),
    /// Print a settings file or a supervisor section to start from
    #[command(subcommand)]
    Print(PrintCommand),
    /// Show how a running daemon is, from its status file
    #[command(long_about = STATUS)]
    Status(StatusArgs),
    /// Run the exchange simulator alone
    #[cfg(feature = "sim")]
    #[command(long_about = SIM)]
    Sim(SimArgs),
}

/// `symbols …`
#[derive(Clone, Debug, Subcommand)]
pub enum SymbolsCommand {
    /// Read what the venues list and bring exchange_symbols up to date
    #[command(long_about = SYNC)]
    Sync(SyncArgs),
}

/// `print …`
#[derive(Clone, Debug, Subcommand)]
pub enum PrintCommand {
    /// A commented settings file, every key at its default
    Settings,
    /// The PHP job that a Laravel application needs to consume the queue
    LaravelAdapter(LaravelAdapterArgs),
    /// A program section for supervisord that runs a daemon
    Supervisor(SupervisorArgs),
}

/// `migrate`
#[derive(Args, Clone, Debug, Default)]
pub struct MigrateArgs {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub plan: bool,
}

/// `symbols sync`
#[derive(Args, Clone, Debug, Default)]
pub struct SyncArgs {
    /// Only these venues: binance, bybit, kucoin, bitget; several with commas [default: all]
    #[arg(long, value_name = "VENUE", value_delimiter = ',')]
    pub exchange: Vec<Venue>,
}

/// `print laravel-adapter`
#[derive(Args, Clone, Debug, Default)]
pub struct LaravelAdapterArgs {
    /// The job of an intent (work.intent_class) instead of that of an event (queue.job_class)
    #[arg(long)]
    pub intents: bool,
}

/// `print supervisor`
#[derive(Args, Clone, Debug, Default)]
pub struct SupervisorArgs {
    /// Which daemon it runs
    #[arg(long, value_name = "ROLE", default_value = "prices")]
    pub role: SupervisedRole,
    /// User that the daemon runs as [default: a comment to fill in]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Working directory, where relative paths of the settings start [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// A daemon by its command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SupervisedRole {
    /// Mark prices into the database
    #[default]
    Prices,
    /// Private streams onto the queue
    UserData,
    /// Jobs of the queue into the database
    Work,
    /// Both in one process
    Run,
}

/// `status`
#[derive(Args, Clone, Debug, Default)]
pub struct StatusArgs {
    /// Read this file instead of ops.status_file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print one JSON object: healthy, fresh, age_s, complaints, status
    #[arg(long)]
    pub json: bool,
}

/// `demo`
#[cfg(feature = "sim")]
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// How long it runs
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Inject no faults
    #[arg(long)]
    pub no_faults: bool,
    /// Run the daemon as a process of its own and SIGKILL it three times, mid-tick and mid-frame; the ledgers must still agree
    #[arg(long, conflicts_with_all = ["hold", "no_faults", "break_check", "page"])]
    pub kill: bool,
    /// Stay up after the end, until Ctrl-C
    #[arg(long)]
    pub hold: bool,
    /// Print one JSON object on standard output at the end, all else on standard error
    #[arg(long)]
    pub json: bool,
    /// Sabotage the guard that CHECK watches: the demo must then exit with 1
    #[arg(long = "break", value_name = "CHECK")]
    pub break_check: Option<Check>,
    /// Repeats market and faults [default: a fresh one each time, printed]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Where the live page listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub page: SocketAddr,
}

/// `prices`
#[derive(Args, Clone, Debug, Default)]
pub struct PricesArgs {}

/// `sim`
#[cfg(feature = "sim")]
#[derive(Args, Clone, Debug)]
pub struct SimArgs {
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9443")]
    pub listen: SocketAddr,
    /// Write the simulator's certificate authority (PEM) to this file
    #[arg(long, value_name = "FILE")]
    pub roots: Option<PathBuf>,
    /// Inject faults now and then
    #[arg(long)]
    pub faults: bool,
    /// Inject the faults of this file, each at its time
    #[arg(long, value_name = "FILE", conflicts_with = "faults")]
    pub script: Option<PathBuf>,
    /// Accounts that trade; their credentials are printed
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub accounts: u64,
    /// Private frames per second of all accounts together
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub frames_per_second: u64,
    /// Seconds after which the venue cuts a connection; Binance's are a day
    #[arg(long, value_name = "S", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..))]
    pub connection_life_s: u64,
    /// Seconds that a listen key lives when nobody extends it; Binance's are an hour
    #[arg(long, value_name = "S", default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..))]
    pub key_life_s: u64,
    /// Seed of market and faults: the same seed repeats the same run
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// `check`
#[derive(Args, Clone, Debug, Default)]
pub struct CheckArgs {}

// The long helps: `#[command(long_about = …)]` stands on the variant, where clap looks for it.

/// What `migrate --help` teaches.
pub const MIGRATE: &str = "\
Create the tables, or add the columns that existing ones lack.

Numbered migrations, each applied once and noted in a ledger table. Where a table is already there, only missing
columns are added, and they are nullable; types, indexes and fillfactor of your tables are never changed. Running it
again does no harm.";

/// What `symbols sync --help` teaches.
pub const SYNC: &str = "\
Read what the venues list and bring exchange_symbols up to date.

Asks the public REST endpoints of the venues for their linear perpetuals (no API key) and writes them in one
transaction per venue. Token and quote are the venue's own fields, never cut out of a name. Rows are added and
refreshed, never deleted. A venue that fails does not stop the others, but the exit code tells.";

/// What `status --help` teaches.
pub const STATUS: &str = "\
Show how a running daemon is, from its status file (ops.status_file).

Exit code 0: fresh and healthy. 1: fresh, and something needs a look. 66: no such file. 65: the file is no status.
69: the file is stale (older than three of its intervals) or its process is gone.";

/// What `demo --help` teaches.
#[cfg(feature = "sim")]
pub const DEMO: &str = "\
Run the whole thing on this machine, with nothing installed and nothing contacted.

Starts a simulated exchange on loopback (real TLS, real WebSocket, about 950 symbols a second), the price stream, an
embedded database in a temporary folder and a live page, whose address is printed first; and three accounts whose
private streams go through spool and queue to the worker: audit rows, and orders of a simulated trading application, which
have to hold what the exchange's hold in the end. Faults are injected meanwhile: cut and stalled connections,
garbage, oversized frames, bad prices, dead listen keys, and a socket that is deaf for seconds while its account's orders
live on. Each gap is shown when it is recorded and when it is repaired over REST; what is open at the end is waited for,
90 s at most. It ends in a ledger (sent, received, written, conflated, rejected by kind) and in checks of its own; exit
code 0 if all hold, 1 if one does not. The simulated exchange grants ten times the venue's REST weight, since it breaks
connections every few seconds.

--json prints one object: ok, seconds, seed, ticks, rows_written, commits, tick_to_commit_us {p50, p99, max}, frames, gaps,
gaps_repaired, recovered_events, break_to_repair_ms {p50, max}, fills, fills_recovered, audit_rows, orders_checked,
orders_repaired (their last change was never heard), orders_in_gaps (open ones), intents, frame_to_job_us, frame_to_audit_us (from the exchange's socket to the
acknowledgement behind the commit), event_to_audit_us (from the exchange's E), event_to_audit_outside_bursts_us, each
{p50, p99, max}, burst_frames, rss_bytes, faults {kind: count}, account_faults, faults_named, ledger,
checks [{name, ok, detail}].

--kill is another demo: `kraite-streams run` as a process of its own, killed with SIGKILL three times, mid-tick and
mid-frame, and started again. Then its spool and its tables are held against the simulator. --json prints ok, seconds,
seed, kills, frames, gaps, gaps_repaired, recovered_events, break_to_repair_ms, fills, fills_recovered, covered,
audit_rows, orders_checked, orders_repaired, orders_in_gaps, intents, checks.";

/// What `prices --help` teaches.
pub const PRICES: &str = "\
Stream mark prices into the database until told to stop.

Needs no API key. With no settings file it connects to Binance's public stream and fills ./kraite-streams.sqlite;
with store.url (KRAITE_STORE_URL) it writes to PostgreSQL. It goes on trying whatever is away: name resolution,
venue or database. It ends by itself in three cases only: settings that cannot work (78), another process that
writes these prices (75), and no price for prices.silence_exit_s (75), so that the supervisor starts a fresh process.

SIGTERM or SIGINT: last write, then end, within 10 s; a second one ends at once. SIGHUP: read the settings and the
symbol map again, open the log file again.";

/// What `user-data --help` teaches.
pub const USER_DATA: &str = "\
Stream the private events of all eligible accounts into the spool and onto the queue until told to stop.

Accounts come from the database (`kraite-streams accounts add` makes one); every minute the daemon looks who came, who went and
whose key changed. Each account has a socket of its own. Every frame is in the on-disk spool before anything acts on it, and goes
from there onto the queue of queue.url in Laravel's contract; while the queue is away, frames wait in the spool. Whatever
could not be received lies in a gap record, on the queue and in stream_gaps; with user_data.reconcile on, the account is
then read over REST, and what nobody heard becomes jobs like the rest. Every user_data.sync_orders_s the orders of accounts
with something to lose are compared (`sync-orders` does it once).

SIGTERM or SIGINT ends it within 10 s; SIGHUP reads the settings again and looks for accounts.";

/// What `work --help` teaches.
pub const WORK: &str = "\
Apply the jobs of the queue until told to stop: audit row, order update, intents, each job in one transaction.

Takes jobs from the Redis queue of queue.url with Laravel's semantics: reserved and delayed sets, attempts, retry_after,
failed_jobs. Several may run: one works, the others stand by and take over when its lease lapses. Jobs of one account are
applied in the order of the positions they carry, while no other program consumes the same queue; with PHP workers on it no order
is promised. Until execution types stand on the allowlist, events are audited and nothing is applied (shadow mode). With
queue.url = \"in_process\" the worker runs inside `user-data` and `run`, and this command has nothing to do.

SIGTERM or SIGINT: transactions in hand end, the rest goes back onto the queue, within 10 s. SIGHUP reads the settings again;
the allowlist is also read again every few seconds.";

/// What `run --help` teaches.
pub const RUN: &str = "\
`prices` and `user-data` in one process.

They share the process and nothing else. Where `prices` alone would end (silence, another price writer), here the price role
alone is rebuilt, and the status says so.";

/// What `sim --help` teaches.
#[cfg(feature = "sim")]
pub const SIM: &str = "\
Run the exchange simulator alone, for any client.

Serves Binance's mark-price stream and the instrument lists on loopback, over real TLS. Trust its authority with
--roots FILE and net.extra_roots = \"FILE\". With --accounts N also listen keys, private streams and signed reads of N accounts
that trade by themselves; their API keys, synthetic like everything here, are printed for `accounts add`.

What goes wrong is yours to say. A line on standard input is injected at once:

  account 0 cut                     the connections of one account, counted from 0
  account 0 silence lasts=30s       half-open: nothing is read or written any more
  account 0 numb_key                the listen key delivers nothing, and nobody says so
  venue outage lasts=10s            everybody
  venue stale_reads lag=2s          REST is behind the pushes
  prices stall lasts=20s            the price stream

Faults that need a live connection wait for one. `help` prints all of them with their ordinary parameters. --script FILE
injects by time: lines like those with a time in front, since the start: 2500ms, 10s, 5m; # begins a comment.";

/// What `check --help` teaches.
pub const CHECK: &str = "\
Check settings, database, symbol map, accounts, spool and queue, and write nothing.

Prints the settings in force and where they come from, the shape of the tables, the symbol map with every pair whose
price is shifted by a power of ten and every pair that gets no price, the memory plan, what would be updated, and what
to ALTER for speed. Where accounts or a queue are set, also whether credentials can be decrypted, how long it takes until all
accounts may be connected, whether the spool's folder is usable, and what the queue's server says of its memory and persistence.
Exit code 0 if the daemons would work, 1, 69, 77 or 78 if not.";
