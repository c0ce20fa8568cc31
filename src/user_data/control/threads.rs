//! The threads around a [`Control`]: one for the database, one for keep-alives alone, the others for new keys and whatever
//! else is due. The lock is held for computing only, never for waiting on a disk or a peer.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::chore::{self, Chore, Written};
use super::gap_book::{GapsFull, WaitingGap};
use super::ports::{ColumnCipher, ListenKeyRest};
use super::status::ControlStatus;
use super::{Control, ControlConfig};
use crate::domain::{Clock, Mono, Random, Wall};
use crate::store::{ErrorClass, StoreError, UserDataStore};
use crate::user_data::gaps::{GapNotice, GapRows};
use crate::user_data::key_schedule::Lane;
use crate::user_data::listen_keys::command::AccountCommand;

/// Long enough for nothing to be missed, short enough that a lost wake is a hiccup and no standstill.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// While the role takes no commands.
const FULL_RETRY: Duration = Duration::from_millis(50);
/// Threads below which a REST call that hangs would hold up either lane.
const THREADS_MIN: usize = 3;

/// What the threads work with.
pub struct ControlParts {
    /// The database thread's own.
    pub store: UserDataStore,
    /// Shared by the REST threads.
    pub rest: Arc<dyn ListenKeyRest>,
    /// Laravel's columns.
    pub cipher: Arc<dyn ColumnCipher>,
    /// The process's clock.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub random: Random,
    /// To the user-data role; bounded by [`crate::domain::limits::ACCOUNT_COMMANDS_MAX`] or so. The control threads must be
    /// its only sender. Where it is full commands wait here, newest state only.
    pub commands: Sender<AccountCommand>,
}

struct Shared {
    core: Mutex<Core>,
    wake: Condvar,
    clock: Arc<dyn Clock>,
    commands: Sender<AccountCommand>,
}

struct Core {
    control: Control,
    is_stopping: bool,
}

/// The control threads at work.
pub struct ControlHandle {
    link: ControlLink,
    threads: Vec<JoinHandle<()>>,
    ended: Receiver<()>,
}

/// What other threads of the user-data role tell the control threads. Every call takes a lock that nobody holds while
/// waiting; still none belongs on the path of a frame.
#[derive(Clone)]
pub struct ControlLink {
    shared: Arc<Shared>,
}

/// Starts the threads.
///
/// # Errors
/// The system has no thread left; those that were started end by themselves.
pub fn spawn(config: &ControlConfig, parts: ControlParts) -> std::io::Result<ControlHandle> {
    let ControlParts { store, rest, cipher, clock, random, commands } = parts;
    let core = Core { control: Control::new(config, random), is_stopping: false };
    let shared = Arc::new(Shared { core: Mutex::new(core), wake: Condvar::new(), clock, commands });
    let (alive, ended) = bounded::<()>(0);
    let mut handle = ControlHandle { link: ControlLink { shared: Arc::clone(&shared) }, threads: Vec::new(), ended };
    let canonical = config.canonical.clone();
    let (of_database, held) = (Arc::clone(&shared), alive.clone());
    let mut start = |name: String, work: Box<dyn FnOnce() + Send>| {
        let started = thread::Builder::new().name(name).spawn(work);
        started.map(|thread| handle.threads.push(thread))
    };
    let mut all = start(
        "control-store".to_owned(),
        Box::new(move || {
            let _held = held;
            run_database(&of_database, store, &*cipher, &canonical);
        }),
    );
    for number in 0..config.threads.max(THREADS_MIN) - 1 {
        let lanes: &'static [Lane] = if number == 0 { &[Lane::KeepAlive] } else { &[Lane::Create, Lane::KeepAlive] };
        let (shared, rest, held) = (Arc::clone(&shared), Arc::clone(&rest), alive.clone());
        all = all.and_then(|()| {
            start(
                format!("control-rest-{number}"),
                Box::new(move || {
                    let _held = held;
                    run_rest(&shared, &*rest, lanes);
                }),
            )
        });
    }
    if let Err(error) = all {
        handle.link.shared.stop();
        return Err(error);
    }
    Ok(handle)
}

impl ControlHandle {
    /// For the other threads of the role.
    #[must_use]
    pub fn link(&self) -> ControlLink {
        self.link.clone()
    }

    /// What to show.
    #[must_use]
    pub fn status(&self) -> ControlStatus {
        self.link.status()
    }

    /// Whether a thread has ended without being asked to: a bug, since panics of single calls are caught.
    #[must_use]
    pub fn has_lost_a_thread(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends the threads; what waits for the database is written first if it answers. Listen keys and their rows stay: the
    /// next process goes on with them. Returns whether all ended within `bound`; a call that hangs is left behind.
    pub fn stop(&mut self, bound: Duration) -> bool {
        self.link.shared.stop();
        let ended = self.ended.recv_timeout(bound) != Err(RecvTimeoutError::Timeout);
        if ended {
            for thread in self.threads.drain(..) {
                // A panic has been printed by the thread itself.
                let _ = thread.join();
            }
        }
        ended
    }
}

impl Drop for ControlHandle {
    fn drop(&mut self) {
        self.link.shared.stop();
    }
}

impl ControlLink {
    /// Looks for accounts soon: at SIGHUP, or when somebody changed one. A storm of wishes is one look every 5 s.
    pub fn discover(&self) {
        self.with(|control, shared| control.discover(shared.clock.now()));
    }

    /// Tries accounts that wait after failures now: at SIGHUP, by which an operator says that what was wrong is mended.
    pub fn retry_refused(&self) {
        self.with(|control, shared| control.retry_refused(shared.clock.now()));
    }

    /// While the spool is shut no new keys are asked for: nobody could record what their sockets bring.
    pub fn hold_new_keys(&self, are_held: bool) {
        self.with(|control, _| control.hold_new_keys(are_held));
    }

    /// Accounts with open positions or working orders, as somebody else has just read it; so does each look for accounts.
    pub fn note_exposed(&self, exposed: &BTreeSet<i64>) {
        self.shared.core.lock().control.note_exposed(exposed);
    }

    /// Accounts with open positions or working orders; the same one as before where nothing has changed.
    #[must_use]
    pub fn exposed(&self) -> Arc<BTreeSet<i64>> {
        self.shared.core.lock().control.exposed()
    }

    /// How long REST says that this address is banned; zero while it does not.
    #[must_use]
    pub fn address_banned_for(&self) -> Duration {
        let now = self.shared.clock.now();
        self.shared.core.lock().control.address_banned_for(now)
    }

    /// The account's stream brought `listenKeyExpired` on a socket with the key of this generation.
    pub fn key_expired(&self, account: i64, key_generation: u64) {
        self.with(|control, shared| control.handle_expiry(account, key_generation, shared.clock.now()));
    }

    /// Something is odd about the account's stream, such as a failed proof in every spelling: asks for the key by POST.
    pub fn doubt(&self, account: i64) {
        self.with(|control, shared| control.handle_doubt(account, shared.clock.now()));
    }

    /// The account's socket was active at `at`, pings included. Written every 30 s; call it about as often.
    pub fn active(&self, account: i64, at: Wall) {
        // Nobody is woken: a stamp may wait the second until the next turn.
        self.shared.core.lock().control.handle_activity(account, at);
    }

    /// Hands over a gap for `stream_gaps`; its number. Repeating one with the same identity is harmless.
    ///
    /// # Errors
    /// [`GapsFull`]: bring it again later.
    pub fn offer_gap(&self, gap: WaitingGap) -> Result<u64, GapsFull> {
        self.with(|control, _| control.offer_gap(gap))
    }

    /// Gaps without a row yet; zero once the database has all that were taken.
    #[must_use]
    pub fn gaps_waiting(&self) -> usize {
        self.shared.core.lock().control.gaps_waiting()
    }

    /// What to show.
    #[must_use]
    pub fn status(&self) -> ControlStatus {
        let now = self.shared.clock.now();
        self.shared.core.lock().control.status(now)
    }

    fn with<T>(&self, tell: impl FnOnce(&mut Control, &Shared) -> T) -> T {
        let answer = tell(&mut self.shared.core.lock().control, &self.shared);
        self.shared.wake.notify_all();
        answer
    }
}

impl GapRows for ControlLink {
    fn offer(&self, gap: &GapNotice) -> Option<u64> {
        match WaitingGap::of_notice(gap) {
            Some(gap) => self.offer_gap(gap).ok(),
            // No database has an account of this number: there is no row to wait for.
            None => Some(0),
        }
    }

    fn settled(&self) -> u64 {
        self.shared.core.lock().control.gaps_settled()
    }
}

impl Shared {
    fn stop(&self) {
        self.core.lock().is_stopping = true;
        self.wake.notify_all();
    }

    /// Hands over what the role has room for. Under the lock, so that commands keep their order; sending never waits.
    fn hand_over(&self, core: &mut Core) {
        while !self.commands.is_full() {
            let Some(command) = core.control.poll_command() else { return };
            // A role that has ended needs no commands.
            let _ = self.commands.try_send(command);
        }
    }

    fn wait(&self, core: &mut MutexGuard<'_, Core>, until: Mono) {
        let bound = if self.commands.is_full() { FULL_RETRY } else { WAIT_MAX };
        let left = until.since(self.clock.now().mono).min(bound);
        self.wake.wait_for(core, left);
    }
}

fn run_rest(shared: &Shared, rest: &dyn ListenKeyRest, lanes: &[Lane]) {
    let mut core = shared.core.lock();
    while !core.is_stopping {
        let Some(call) = core.control.poll_call(lanes, shared.clock.now()) else {
            shared.hand_over(&mut core);
            let until = core.control.next_call_at(lanes);
            shared.wait(&mut core, until);
            continue;
        };
        let answer = MutexGuard::unlocked(&mut core, || {
            let asked = catch_unwind(AssertUnwindSafe(|| rest.ask(call.order.call, &call.api_key)));
            asked.unwrap_or_else(|_| Err("the call broke off inside this program".to_owned()))
        });
        let answer = answer.as_ref().map_err(String::as_str);
        core.control.handle_answer(&call.order, answer, shared.clock.now());
        shared.hand_over(&mut core);
        shared.wake.notify_all();
    }
}

fn run_database(shared: &Shared, mut store: UserDataStore, cipher: &dyn ColumnCipher, canonical: &str) {
    let mut core = shared.core.lock();
    loop {
        let is_stopping = core.is_stopping;
        let now = shared.clock.now();
        let chore = if is_stopping { core.control.poll_write(now) } else { core.control.poll_chore(now) };
        match chore {
            Some(Chore::Look) => {
                let look = MutexGuard::unlocked(&mut core, || {
                    let looked = catch_unwind(AssertUnwindSafe(|| chore::look(&mut store, cipher, canonical)));
                    looked.unwrap_or_else(|_| Err(broken_off(&mut store)))
                });
                core.control.handle_look(look, shared.clock.now());
            }
            Some(Chore::Write(batch)) => {
                let written = MutexGuard::unlocked(&mut core, || {
                    let kept = batch.clone();
                    let wrote = catch_unwind(AssertUnwindSafe(|| chore::write(&mut store, cipher, batch)));
                    wrote.unwrap_or_else(|_| Written {
                        left: kept,
                        fault: Some(broken_off(&mut store)),
                        ..Written::default()
                    })
                });
                let is_over = is_stopping && written.fault.is_some();
                core.control.handle_written(written, shared.clock.now());
                if is_over {
                    return;
                }
            }
            None if is_stopping => return,
            None => {
                shared.hand_over(&mut core);
                let until = core.control.next_chore_at();
                shared.wait(&mut core, until);
                continue;
            }
        }
        shared.hand_over(&mut core);
        shared.wake.notify_all();
    }
}

fn broken_off(store: &mut UserDataStore) -> StoreError {
    store.close();
    StoreError::new(ErrorClass::Other, "the work at the database broke off inside this program")
}
