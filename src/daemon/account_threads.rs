//! What each thread of the user-data role does until it is told to end.
//!
//! Spooler, syncer and dispatcher are turns of their rooms; here is the waiting between them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use crate::domain::{Clock, Venue};
use crate::spool::{ExchangeId, FolderDisk, Syncer};
use crate::store::UserDataStore;
use crate::user_data::dispatcher::{DispatchConfig, DispatchParts, DispatchWait, Dispatcher, DispatcherStatus};
use crate::user_data::spooler::Spooler;

/// Between two questions which number the venue has in `api_systems`.
const VENUE_RETRY: Duration = Duration::from_secs(2);
/// Longest wait of the syncer's thread.
const SYNC_WAIT_MAX: Duration = Duration::from_millis(200);

pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Waits for a thread that has been told to end, `bound` at most.
pub(super) fn join_within<T>(thread: JoinHandle<T>, bound: Duration, clock: &dyn Clock) -> Option<T> {
    let until = clock.now().mono.plus(bound);
    while !thread.is_finished() {
        if clock.now().mono >= until {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    thread.join().ok()
}

pub(super) fn run_spooler(
    mut spooler: Spooler<FolderDisk>,
    woken: &Receiver<()>,
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> usize {
    while !stop.load(Ordering::Acquire) {
        let turn = spooler.turn(clock.now());
        // A wake or the time: both lead to the next turn.
        let _ = woken.recv_timeout(turn.wait);
    }
    spooler.finish(clock.now())
}

pub(super) fn run_syncer(mut syncer: Syncer<FolderDisk>, clock: &dyn Clock, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        syncer.turn(clock.now());
        syncer.wait(clock.now(), SYNC_WAIT_MAX);
    }
    syncer.finish(clock.now());
}

/// The venue's number in the database is part of every job, so nothing is dispatched before it is known.
pub(super) fn run_dispatcher(
    parts: DispatchParts<FolderDisk>,
    (jobs_max, age): (usize, Duration),
    mut store: UserDataStore,
    shown: &Arc<Mutex<DispatcherStatus>>,
    stop: &AtomicBool,
) {
    let canonical = Venue::Binance.canonical();
    let mut told = false;
    let system = loop {
        if stop.load(Ordering::Acquire) {
            return;
        }
        match store.run(|tables| tables.venue_system(canonical)) {
            Ok(Some(system)) => break system,
            Ok(None) if !told => tracing::error!("api_systems has no row for {canonical}: nothing can be dispatched"),
            Err(error) if !told => {
                tracing::warn!("jobs wait until the database says which number {canonical} has: {error}")
            }
            _ => {}
        }
        told = true;
        let mut waited = Duration::ZERO;
        while waited < VENUE_RETRY && !stop.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(50));
            waited += Duration::from_millis(50);
        }
    };
    store.close();
    let exchange = ExchangeId(u32::try_from(system.id).unwrap_or(u32::MAX));
    let mut config = DispatchConfig::new(vec![(exchange, canonical.to_owned())]);
    (config.jobs_max, config.age) = (jobs_max, age);
    let mut dispatcher = Dispatcher::new(parts, config);
    let own = dispatcher.status();
    while !stop.load(Ordering::Acquire) {
        let turn = dispatcher.turn();
        shown.lock().clone_from(&own.lock());
        match turn.wait {
            DispatchWait::Nothing => {}
            DispatchWait::Record(longest) => dispatcher.reader().wait(longest),
            DispatchWait::Time(time) => thread::sleep(time.min(SYNC_WAIT_MAX)),
        }
    }
    dispatcher.show_now();
    shown.lock().clone_from(&own.lock());
}
