//! `spool …` on the command line.

use clap::{Args, Subcommand, ValueEnum};

use crate::spool::Kind;

/// `spool …`
#[derive(Clone, Debug, Subcommand)]
pub enum SpoolCommand {
    /// Show segments, positions, accounts and quarantine
    #[command(long_about = LIST)]
    List,
    /// Print records
    #[command(long_about = SHOW)]
    Show(ShowArgs),
    /// Push records onto the queue again, as new jobs
    #[command(long_about = REPLAY)]
    Replay(ReplayArgs),
}

/// `spool show`
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Only this account's, by its id
    #[arg(long, value_name = "N")]
    pub account: Option<u64>,
    /// From this position on
    #[arg(long, value_name = "POS", default_value_t = 0)]
    pub from: u64,
    /// Up to this position, itself included
    #[arg(long, value_name = "POS")]
    pub to: Option<u64>,
    /// Only this kind
    #[arg(long, value_name = "KIND")]
    pub kind: Option<KindWord>,
    /// So many at most; 0 is all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u64,
    /// Print the recorded bytes alone, as they are, a line each
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `spool replay`
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// From this position on
    #[arg(long, value_name = "POS")]
    pub from: u64,
    /// Up to this position, itself included [default: the last one]
    #[arg(long, value_name = "POS")]
    pub to: Option<u64>,
    /// Only this account's, by its id
    #[arg(long, value_name = "N")]
    pub account: Option<u64>,
    /// Do it: without this, it is only said how many jobs there would be
    #[arg(long)]
    pub yes: bool,
}

/// What a record holds, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindWord {
    /// The bytes of one event
    Frame,
    /// An account was not live between two instants
    Gap,
    /// When accounts were last known alive
    Liveness,
    /// An event that a reconcile found
    Recovered,
}

impl KindWord {
    /// The spool's kind.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            KindWord::Frame => Kind::Frame,
            KindWord::Gap => Kind::Gap,
            KindWord::Liveness => Kind::Liveness,
            KindWord::Recovered => Kind::Recovered,
        }
    }
}

/// What `spool list --help` teaches.
const LIST: &str = "\
Show what is in the spool of spool.folder: segments, positions, accounts and quarantine files.

Takes no lock and writes nothing, so that it may be run beside the daemon. It reads every record once. Exit code 0; 1 if
something is damaged or in quarantine; 66 if there is no spool.";

/// What `spool show --help` teaches.
const SHOW: &str = "\
Print records of the spool, the oldest first: position, receive time (UTC), account, kind, event type, bytes.

Takes no lock and writes nothing. Listen keys were masked before the bytes were recorded. Bytes that are not printable are
escaped; --raw prints them as they are, and --json gives payloads as text, or base64 where they are none.";

/// What `spool replay --help` teaches.
const REPLAY: &str = "\
Push the jobs of these records onto the queue of queue.url again.

They are new jobs with new uuids: a consumer that keeps the identity of records (kraite.epoch and kraite.position) sees that it
has had them. The daemon may run meanwhile; its own positions stay. Liveness marks make no jobs. Not for the queue in the process.";
