//! The sections of `check` on private streams: accounts and their keys, the spool's folder, the queue and its server.
//!
//! An installation that streams prices only has none of these: it is told so in one line, and that is no problem.

use std::collections::BTreeMap;

use super::check::Text;
use super::exit::{CommandError, Exit};
use super::store::AnyStore;
use super::{Loaded, seed};
use crate::daemon::account_wiring;
use crate::domain::limits::{RECONCILE_WEIGHT_USUAL, SYNC_WEIGHT_USUAL};
use crate::domain::time::{Clock as _, SystemClock};
use crate::domain::{Now, Venue, Wall};
use crate::event_loop::SharedWindow;
use crate::ops::Settings;
use crate::ops::encrypter::Encrypter;
use crate::ops::key_place::KeyPlace;
use crate::ops::settings::QueueTarget;
use crate::queue::PushErrorClass;
use crate::queue::check::{Finding, QueueSettings, Severity, check_server, check_settings};
use crate::spool::{FolderLook, Holder, SpoolView};
use crate::store::user_data_rows::{AccountRow, GapQuery};
use crate::store::{ErrorClass, StoreUrl};
use crate::stream::connect_limiter::ConnectLimit;
use crate::user_data::reconcile::meter_file::SharedMeter;
use crate::user_data::weight_meter::WeightClass;

/// Accounts that are named; the rest is counted.
const NAMED_MAX: usize = 20;
/// Gaps that are looked at: the newest of them.
const GAPS_READ_MAX: u32 = 10_000;

impl Text {
    /// Accounts that would be streamed, `None` where private streams are not configured; the two sections are written where
    /// they are.
    pub(super) fn private_streams(&mut self, loaded: &Loaded) -> Result<Option<usize>, CommandError> {
        let settings = &loaded.settings;
        let has_queue = settings.queue.target != QueueTarget::InProcess;
        self.section("user data");
        let accounts = self.eligible_accounts(loaded, has_queue)?;
        self.gaps(loaded, &accounts);
        if accounts.is_empty() && !has_queue {
            self.line(
                "no account is to be streamed and no queue is set: prices only (`accounts add` makes an account)",
            );
            return Ok(None);
        }
        self.line(format_args!("{} accounts are to be streamed", accounts.len()));
        self.credentials(loaded, &accounts);
        self.time_to_live(settings, accounts.len())?;
        self.spool(settings);
        self.section("queue");
        self.queue(settings)?;
        self.worker_tables(loaded)?;
        Ok(Some(accounts.len()))
    }

    fn eligible_accounts(&mut self, loaded: &Loaded, has_queue: bool) -> Result<Vec<AccountRow>, CommandError> {
        if let StoreUrl::Sqlite(path) = &loaded.store
            && !path.exists()
        {
            return Ok(Vec::new());
        }
        let Ok(mut store) = AnyStore::open_to_read(loaded) else {
            self.line("accounts cannot be read, see database");
            return Ok(Vec::new());
        };
        match store.user_data().eligible_accounts(Venue::Binance.canonical()) {
            Ok(accounts) => Ok(accounts),
            Err(error) if matches!(error.class(), ErrorClass::MissingTable | ErrorClass::MissingColumn) => {
                // The embedded store is migrated by the daemon itself.
                if has_queue && !store.is_embedded() {
                    self.problem(format_args!("{}; `kraite-streams migrate` adds what is missing", error.sentence()));
                }
                Ok(Vec::new())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gaps that nobody has closed, whoever is to blame.
    fn gaps(&mut self, loaded: &Loaded, accounts: &[AccountRow]) {
        if matches!(&loaded.store, StoreUrl::Sqlite(path) if !path.exists()) {
            return;
        }
        let query = GapQuery { account_id: None, outstanding: true, limit: GAPS_READ_MAX };
        // A table that is not there yet holds no gap; what else is wrong is said elsewhere.
        let Ok(gaps) = AnyStore::open_to_read(loaded).and_then(|mut store| Ok(store.user_data().gaps(&query)?)) else {
            return;
        };
        let mut since: BTreeMap<i64, (usize, Wall)> = BTreeMap::new();
        for gap in &gaps {
            let of = since.entry(gap.account_id).or_insert((0, gap.ended_at));
            *of = (of.0 + 1, of.1.min(gap.ended_at));
        }
        for (account, (count, oldest)) in since.iter().take(NAMED_MAX) {
            let is_streamed = accounts.iter().any(|row| row.id == *account);
            self.line(format_args!(
                "account {account}: {count} gaps have no outcome yet, the oldest since {oldest}{}",
                if is_streamed { "" } else { "; the account is not streamed, so nobody closes them" }
            ));
        }
        if since.len() > NAMED_MAX {
            self.line(format_args!("… and {} more accounts with gaps", since.len() - NAMED_MAX));
        }
    }

    fn credentials(&mut self, loaded: &Loaded, accounts: &[AccountRow]) {
        let user_data = &loaded.settings.user_data;
        let embedded = match &loaded.store {
            StoreUrl::Sqlite(path) => Some(path.as_path()),
            StoreUrl::Postgres(_) => None,
        };
        let keys = match KeyPlace::of(user_data, embedded).load() {
            Ok(keys) => keys,
            Err(error) if accounts.is_empty() && embedded.is_some() => {
                return self.line(format_args!("{error}; `accounts add` makes one"));
            }
            Err(error) => return self.problem(format_args!("APP_KEY: {error}")),
        };
        self.line(match keys.all().len() {
            1 => "APP_KEY is one key".to_owned(),
            more => format!("APP_KEY is one key, and {} previous ones are read too", more - 1),
        });
        let encrypter = Encrypter::new(keys, user_data.cipher);
        let is_closed = |account: &&AccountRow| {
            [&account.api_key_ciphertext, &account.api_secret_ciphertext]
                .iter()
                .any(|text| encrypter.decrypt(text.as_str()).is_err())
        };
        let closed: Vec<String> = accounts.iter().filter(is_closed).map(|account| account.id.to_string()).collect();
        match closed.len() {
            0 if accounts.is_empty() => {}
            0 => self.line("every key and secret can be decrypted"),
            count => self.problem(format_args!(
                "key or secret of {count} of {} accounts cannot be decrypted with this APP_KEY: {}{}",
                accounts.len(),
                closed[..count.min(NAMED_MAX)].join(", "),
                if count > NAMED_MAX { ", …" } else { "" }
            )),
        }
    }

    fn time_to_live(&mut self, settings: &Settings, accounts: usize) -> Result<(), CommandError> {
        let net = &settings.net;
        let limit = ConnectLimit::new(net.connects_per_window as usize, net.connect_window);
        // A file that is not there stays so: nobody has connected yet.
        let file = net.connect_file.exists().then(|| net.connect_file.clone());
        let now: Now = SystemClock::start().now();
        let time = SharedWindow::new(file, limit, seed()?).time_to_all(accounts, now);
        self.line(format_args!(
            "{} attempts to connect per {} s: the last of {accounts} accounts may connect after {} s",
            net.connects_per_window,
            net.connect_window.as_secs(),
            time.as_secs()
        ));
        if settings.user_data.reconcile {
            let file = net.weight_file.exists().then(|| net.weight_file.clone());
            let meter = SharedMeter::new(file, net.rest_weight, seed()?);
            let reconciled = meter.time_for(WeightClass::Reconcile, RECONCILE_WEIGHT_USUAL, accounts as u64, now);
            let round = meter.time_for(WeightClass::SyncOrders, SYNC_WEIGHT_USUAL, accounts as u64, now);
            self.line(format_args!(
                "{} REST weight a minute, {} used: all are reconciled within {} s; a round of sync-orders takes up \
                 to {} s",
                net.rest_weight,
                meter.status(now).used,
                (time + reconciled).as_secs(),
                round.as_secs()
            ));
        } else {
            self.line("user_data.reconcile is off: gaps stay rows of stream_gaps");
        }
        Ok(())
    }

    fn spool(&mut self, settings: &Settings) {
        let folder = &settings.spool.folder;
        let (shown, free_min) = (folder.display(), settings.spool.free_min);
        let look = match FolderLook::at(folder) {
            Ok(look) => look,
            Err(error) => return self.problem(format_args!("spool.folder: {shown}: {error}")),
        };
        if !look.is_writable {
            self.problem(format_args!("spool.folder: this user may not write to {}", look.nearest.display()));
        }
        let mib = |bytes: u64| bytes >> 20;
        match look.nearest == *folder {
            true => self.line(format_args!("spool {shown}, {} MiB free", mib(look.free))),
            false => self.line(format_args!("spool {shown} is not there yet, {} MiB free", mib(look.free))),
        }
        if look.free < free_min {
            self.problem(format_args!("spool.free_min_mb is {}, so that no frame would be taken", mib(free_min)));
        } else if look.free - free_min < settings.spool.bytes_max {
            self.line(format_args!(
                "consider: the spool may grow to {} MiB, and the file system ends it before",
                mib(settings.spool.bytes_max)
            ));
        }
        if let Ok(view) = SpoolView::open(folder)
            && let Holder::Held(name) = view.holder()
        {
            self.line(format_args!("the spool is held now: {name}"));
        }
    }

    fn queue(&mut self, settings: &Settings) -> Result<(), CommandError> {
        let queue = &settings.queue;
        let QueueTarget::Redis(url) = &queue.target else {
            self.line("in_process: frames are kept in the spool for a worker in this process");
            return Ok(());
        };
        self.line(format_args!("{url}, list {}queues:{}", queue.prefix, queue.name));
        let facts = QueueSettings {
            job_class: queue.job_class.as_deref(),
            queue: &queue.name,
            prefix: &queue.prefix,
            hash_tag: queue.hash_tag,
            horizon_prefix: queue.horizon.then_some(queue.horizon_prefix.as_str()),
        };
        let found = check_settings(&facts);
        let is_refused = found.iter().any(|finding| finding.severity == Severity::Refused);
        self.findings(&found);
        let mut sink = match account_wiring::side_sink(settings, "check") {
            Ok((sink, _)) => sink,
            Err(_) if is_refused => {
                self.line("the server is asked once this is mended");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let health = sink.health().map_err(|error| {
            let exit = if error.class == PushErrorClass::Auth { Exit::NoPerm } else { Exit::Unavailable };
            CommandError::new(exit, error.to_string())
        })?;
        if let Some(server) = &health.server {
            let version = server.version.as_deref().unwrap_or("of a version it does not tell");
            self.line(format_args!(
                "Redis {version} answers within {} ms; {} jobs wait",
                health.answered_in.as_millis() + 1,
                health.depth
            ));
            self.findings(&check_server(server, &facts));
        }
        Ok(())
    }

    fn findings(&mut self, found: &[Finding]) {
        for finding in found {
            match finding.severity {
                Severity::Refused => self.problem(&finding.text),
                Severity::Warning => self.line(format_args!("consider: {}", finding.text)),
                Severity::Note => self.line(&finding.text),
            }
        }
    }
}
