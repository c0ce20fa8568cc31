//! What each thread of the user-data role does until it is told to end.
//!
//! Spooler, syncer and dispatcher are turns of their rooms; here is the waiting between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use super::venue_memory::{VenueMemory, ask_number};
use crate::domain::{Clock, Venue};
use crate::spool::{FolderDisk, Syncer};
use crate::store::UserDataStore;
use crate::user_data::dispatcher::{DispatchConfig, DispatchParts, DispatchWait, Dispatcher, DispatcherStatus};
use crate::user_data::spooler::Spooler;

/// So long the database is waited for where an earlier start knew the venue's number.
const NUMBER_PATIENCE: Duration = Duration::from_millis(500);
/// Longest wait of the syncer's thread.
const SYNC_WAIT_MAX: Duration = Duration::from_millis(200);

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

/// The venue's number in the database is part of every job, so nothing is dispatched before it is known: from the database,
/// or while that is away from the last start at which it answered.
pub(super) fn run_dispatcher(
    parts: DispatchParts<FolderDisk>,
    (jobs_max, age): (usize, Duration),
    (store, mut memory): (UserDataStore, VenueMemory),
    shown: &Arc<Mutex<DispatcherStatus>>,
    stop: &Arc<AtomicBool>,
) {
    let canonical = Venue::Binance.canonical();
    let told = match ask_number(store, canonical, Arc::clone(stop)) {
        Ok(told) => told,
        Err(error) => {
            tracing::error!("no thread to ask for the venue's number with: {error}");
            return;
        }
    };
    let remembered = memory.known();
    let mut number = told.recv_timeout(if remembered.is_some() { NUMBER_PATIENCE } else { Duration::ZERO }).ok();
    while number.or(remembered).is_none() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        number = told.recv_timeout(SYNC_WAIT_MAX).ok();
    }
    let canonicals = number.or(remembered).map(|number| (number, canonical.to_owned()));
    let mut config = DispatchConfig::new(canonicals.into_iter().collect());
    (config.jobs_max, config.age) = (jobs_max, age);
    config.awaits_more = number.is_none();
    if let Some(number) = number {
        memory.note(number);
    } else {
        tracing::warn!("jobs go with the number that {canonical} had at an earlier start; the database is asked on");
    }
    let mut dispatcher = Dispatcher::new(parts, config);
    let own = dispatcher.status();
    while !stop.load(Ordering::Acquire) {
        if let Ok(number) = told.try_recv() {
            memory.note(number);
            dispatcher.know_exchange(number, canonical);
        }
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
