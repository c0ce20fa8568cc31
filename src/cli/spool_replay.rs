//! `spool replay`: the jobs of recorded frames once more, with uuids of their own.
//!
//! Two walks over the spool: one that counts and finds what cannot become a job, one that pushes. A producer's name of its own
//! keeps the daemon's watermark as it is.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::exit::{CommandError, Exit};
use super::spool_args::ReplayArgs;
use super::{Loaded, out, read_roots, seed};
use crate::daemon::account_wiring;
use crate::domain::Venue;
use crate::domain::time::{Clock as _, SystemClock};
use crate::ops::settings::QueueTarget;
use crate::queue::{JobBatch, JobRecord, JobSink, JobWriter, PushError, PushErrorClass};
use crate::spool::{AccountId, ExchangeId, Kind, Record, SpoolView};
use crate::store::user_data::{UserDataOptions, UserDataStore};

/// Failed pushes of one batch before the command gives up. The daemon goes on for ever; a person can start again.
const TRIES_MAX: u32 = 5;

pub(super) fn run(loaded: &Loaded, view: &SpoolView, args: &ReplayArgs) -> Result<Exit, CommandError> {
    if loaded.settings.queue.target == QueueTarget::InProcess {
        let sentence = "queue.url is \"in_process\": that queue lives and dies with the daemon, and another process cannot push to \
                        it; name a Redis server in queue.url";
        return Err(CommandError::new(Exit::Config, sentence));
    }
    let unreadable = |error| CommandError::of_spool(&loaded.settings.spool.folder, &error);
    let (mut count, mut last, mut exchanges) = (0u64, 0, BTreeSet::new());
    walk(view, args, |record| {
        count += 1;
        last = record.identity.position;
        exchanges.insert(record.exchange.0);
        ControlFlow::Continue(())
    })
    .map_err(unreadable)?;
    if count == 0 {
        out("no record there makes a job; nothing was pushed\n")?;
        return Ok(Exit::Ok);
    }
    if !args.yes {
        let sentence =
            format!("{count} jobs would be pushed again, up to position {last}; nothing was: add --yes to do it");
        return Err(CommandError::new(Exit::Usage, sentence));
    }
    let canonicals = canonicals(loaded, &exchanges)?;
    let (sink, shape) = account_wiring::side_sink(&loaded.settings, "replay")?;
    let mut replay = Replay {
        sink,
        writer: JobWriter::new(shape),
        batch: JobBatch::new(),
        salt: seed()?,
        clock: SystemClock::start(),
        pushed: 0,
        left_out: 0,
    };
    // What came after the count is not part of it.
    let bounded = ReplayArgs { to: Some(last), ..args.clone() };
    let mut failed = None;
    walk(view, &bounded, |record| match replay.add(record, &canonicals) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })
    .map_err(unreadable)?;
    if failed.is_none() {
        failed = replay.push().err();
    }
    if let Some(error) = failed {
        return Err(replay.refuse(&error, count));
    }
    out(&format!("{} jobs were pushed again, as new ones\n", replay.pushed))?;
    match replay.left_out {
        0 => Ok(Exit::Ok),
        left_out => Err(CommandError::new(Exit::DataErr, format!("{left_out} records cannot become jobs"))),
    }
}

/// The records of `args` that make jobs.
fn walk(
    view: &SpoolView,
    args: &ReplayArgs,
    mut each: impl FnMut(&Record<'_>) -> ControlFlow<()>,
) -> std::io::Result<()> {
    view.read(args.from, |record| {
        if args.to.is_some_and(|to| record.identity.position > to) {
            return ControlFlow::Break(());
        }
        if record.kind == Kind::Liveness || args.account.is_some_and(|account| record.account != AccountId(account)) {
            return ControlFlow::Continue(());
        }
        each(record)
    })
}

/// The names of the exchanges, which records hold by number.
fn canonicals(loaded: &Loaded, wanted: &BTreeSet<u32>) -> Result<Vec<(ExchangeId, String)>, CommandError> {
    let settings = &loaded.settings.store;
    let options = UserDataOptions {
        extra_roots_pem: read_roots("store.extra_roots", settings.extra_roots.as_deref())?,
        connect_timeout: settings.connect_timeout,
        ..UserDataOptions::new(format!("kraite-streams command, pid {}", std::process::id()))
    };
    let mut store = UserDataStore::new(&loaded.store, &options)?;
    let mut known = Vec::new();
    for venue in Venue::ALL {
        if let Some(system) = store.run(|tables| tables.venue_system(venue.canonical()))?
            && let Ok(id) = u32::try_from(system.id)
        {
            known.push((ExchangeId(id), system.canonical));
        }
    }
    match wanted.iter().find(|&&id| !known.iter().any(|(known, _)| known.0 == id)) {
        None => Ok(known),
        Some(id) => Err(CommandError::new(
            Exit::DataErr,
            format!("api_systems has no row for the exchange {id} of these records"),
        )),
    }
}

struct Replay {
    sink: Box<dyn JobSink>,
    writer: JobWriter,
    batch: JobBatch,
    salt: u64,
    clock: SystemClock,
    pushed: u64,
    left_out: u64,
}

impl Replay {
    fn add(&mut self, record: &Record<'_>, canonicals: &[(ExchangeId, String)]) -> Result<(), PushError> {
        if self.batch.is_full() {
            self.push()?;
        }
        let canonical = canonicals.iter().find(|(exchange, _)| *exchange == record.exchange);
        let job = JobRecord {
            account: record.account.0,
            api_system: record.exchange.0,
            canonical: canonical.map_or("", |(_, canonical)| canonical),
            epoch: record.identity.epoch.0,
            position: record.identity.position,
            previous: (record.previous != 0).then_some(record.previous),
            received_at: record.received_at,
            kind: record.kind.as_str(),
            raw: record.payload,
        };
        if self.batch.add(&mut self.writer, &job, Some(self.salt), self.clock.now().mono).is_err() {
            self.left_out += 1;
        }
        Ok(())
    }

    /// Pushes what is gathered. A doubtful answer is not tried again: nothing on the server tells whether new jobs are there.
    fn push(&mut self) -> Result<(), PushError> {
        let mut tries = 0;
        loop {
            match self.sink.push(&self.batch) {
                Ok(_) => break,
                Err(error) => {
                    tries += 1;
                    let may_pass = !matches!(error.class, PushErrorClass::Auth | PushErrorClass::Full);
                    if error.doubtful || !may_pass || tries == TRIES_MAX {
                        return Err(error);
                    }
                    std::thread::sleep(crate::domain::limits::PUSH_RETRY_MIN * (1 << tries));
                }
            }
        }
        self.pushed += self.batch.len() as u64;
        self.batch.clear();
        Ok(())
    }

    fn refuse(&self, error: &PushError, count: u64) -> CommandError {
        let exit = match error.class {
            PushErrorClass::Auth => Exit::NoPerm,
            PushErrorClass::Down | PushErrorClass::Timeout | PushErrorClass::Cluster => Exit::Unavailable,
            _ => Exit::TempFail,
        };
        let mut sentence = format!("{error}; {} of {count} jobs were pushed", self.pushed);
        if let (Some(first), Some(last)) = (self.batch.jobs().next(), self.batch.jobs().last()) {
            let doubt =
                if error.doubtful { ", and it is not known whether those up to " } else { "; go on with --from " };
            sentence.push_str(doubt);
            match error.doubtful {
                true => {
                    sentence.push_str(&format!("position {} are there too (from {} on)", last.position, first.position))
                }
                false => sentence.push_str(&first.position.to_string()),
            }
        }
        CommandError::new(exit, sentence)
    }
}
