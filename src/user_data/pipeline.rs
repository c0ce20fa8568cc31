//! The threads behind the lanes: spooler, syncer and dispatcher, each turning its role, and their end in order.
//!
//! They stop one behind the other, so that nothing is left between two of them: the loops first (by the daemon), then the
//! spooler writes what the lanes hold, the dispatcher pushes what it can within the bound, and the syncer makes all of it and
//! the cursor durable.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::dispatcher::{DispatchWait, Dispatcher, DispatcherStatus};
use super::spooler::{Spooler, SpoolerStatus};
use crate::domain::limits::DISPATCH_IDLE_MAX;
use crate::domain::{Clock, Mono};
use crate::spool::{Disk, SyncTurn, Syncer};

/// The wake of a spooler: to be made first, since lanes signal it.
pub struct Wake {
    /// For [`super::lane::Lane::new`].
    pub sender: Sender<()>,
    receiver: Receiver<()>,
}

impl Default for Wake {
    fn default() -> Self {
        let (sender, receiver) = bounded(1);
        Wake { sender, receiver }
    }
}

/// The three threads at work. Dropping it stops them without waiting.
pub struct Pipeline {
    spooler: Role<usize>,
    dispatcher: Role<bool>,
    syncer: Role<()>,
    spooler_status: Arc<Mutex<SpoolerStatus>>,
    dispatcher_status: Arc<Mutex<DispatcherStatus>>,
}

/// How a pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineEnd {
    /// Records that the spool did not take; they lie in the gap that the next start records.
    pub unwritten: usize,
    /// Whether all that is in the spool was pushed and acknowledged; the rest goes at the next start.
    pub is_drained: bool,
    /// A thread had panicked.
    pub has_panicked: bool,
}

struct Role<T> {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<T>>,
}

struct Stop {
    is_asked: AtomicBool,
    /// Until when a role may still work.
    until: Mutex<Mono>,
    wake: Sender<()>,
}

impl Pipeline {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no thread left; those that were started end by themselves.
    pub fn spawn<D: Disk>(
        mut spooler: Spooler<D>,
        wake: Wake,
        mut syncer: Syncer<D>,
        mut dispatcher: Dispatcher<D>,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<Pipeline> {
        let (spooler_status, dispatcher_status) = (spooler.status(), dispatcher.status());
        let its_clock = Arc::clone(clock);
        let Wake { sender, receiver } = wake;
        let spooler = Role::spawn("spooler", sender, move |stop| {
            loop {
                let turn = spooler.turn(its_clock.now());
                if stop.is_asked() {
                    return spooler.finish(its_clock.now());
                }
                // A time-out or a wake: either way the next turn looks at everything.
                let _ = receiver.recv_timeout(turn.wait);
            }
        })?;
        let its_clock = Arc::clone(clock);
        let (sender, receiver) = bounded(1);
        let dispatcher = Role::spawn("dispatcher", sender, move |stop| {
            loop {
                let turn = dispatcher.turn();
                if stop.is_asked() && (dispatcher.is_done() || its_clock.now().mono >= *stop.until.lock()) {
                    dispatcher.show_now();
                    return dispatcher.is_done();
                }
                match turn.wait {
                    DispatchWait::Nothing => {}
                    DispatchWait::Record(longest) => dispatcher.reader().wait(longest),
                    DispatchWait::Time(longest) => {
                        let _ = receiver.recv_timeout(longest.min(DISPATCH_IDLE_MAX));
                    }
                }
            }
        })?;
        let its_clock = Arc::clone(clock);
        let (sender, _) = bounded(1);
        let syncer = Role::spawn("syncer", sender, move |stop| {
            let mut log = SyncLog::default();
            loop {
                log.note(&syncer.turn(its_clock.now()));
                if stop.is_asked() {
                    log.note(&syncer.finish(its_clock.now()));
                    return;
                }
                syncer.wait(its_clock.now(), DISPATCH_IDLE_MAX);
            }
        })?;
        Ok(Pipeline { spooler, dispatcher, syncer, spooler_status, dispatcher_status })
    }

    /// Ends the threads in order; to be called once the loops have ended. The dispatcher pushes until `until` at most, and
    /// one time-out of its sink longer.
    pub fn stop(mut self, until: Mono) -> PipelineEnd {
        let unwritten = self.spooler.stop(until);
        let is_drained = self.dispatcher.stop(until);
        let synced = self.syncer.stop(until);
        PipelineEnd {
            unwritten: unwritten.unwrap_or(0),
            is_drained: is_drained.unwrap_or(false),
            has_panicked: unwritten.is_none() || is_drained.is_none() || synced.is_none(),
        }
    }

    /// Whether a thread has ended that was not told to: the role must be rebuilt.
    #[must_use]
    pub fn has_lost_a_thread(&self) -> bool {
        self.spooler.is_lost() || self.dispatcher.is_lost() || self.syncer.is_lost()
    }

    /// What the spooler does.
    #[must_use]
    pub fn spooler(&self) -> SpoolerStatus {
        self.spooler_status.lock().clone()
    }

    /// What the dispatcher does.
    #[must_use]
    pub fn dispatcher(&self) -> DispatcherStatus {
        self.dispatcher_status.lock().clone()
    }
}

impl<T: Send + 'static> Role<T> {
    fn spawn(name: &str, wake: Sender<()>, work: impl FnOnce(&Stop) -> T + Send + 'static) -> io::Result<Role<T>> {
        let stop = Arc::new(Stop { is_asked: AtomicBool::new(false), until: Mutex::new(Mono::ZERO), wake });
        let its_stop = Arc::clone(&stop);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&its_stop))?;
        Ok(Role { stop, thread: Some(thread) })
    }

    /// What the role came to; `None` if it panicked.
    fn stop(&mut self, until: Mono) -> Option<T> {
        self.stop.ask(until);
        self.thread.take().and_then(|thread| thread.join().ok())
    }

    fn is_lost(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl<T> Drop for Role<T> {
    fn drop(&mut self) {
        self.stop.ask(Mono::ZERO);
    }
}

impl Stop {
    fn ask(&self, until: Mono) {
        *self.until.lock() = until;
        self.is_asked.store(true, Ordering::Release);
        // A full channel wakes as well.
        let _ = self.wake.try_send(());
    }

    fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }
}

/// Says each kind of trouble once, until it is over.
#[derive(Default)]
struct SyncLog {
    has_cursor_trouble: bool,
    has_sweep_trouble: bool,
}

impl SyncLog {
    fn note(&mut self, turn: &SyncTurn) {
        if let Some(why) = &turn.sync_failed {
            tracing::error!("the spool could not be synced, and is written anew from memory: {why}");
        }
        match &turn.cursor_failed {
            Some(error) if !std::mem::replace(&mut self.has_cursor_trouble, true) => {
                tracing::error!("the spool's cursor could not be saved; after a crash more is pushed again: {error}");
            }
            None if turn.saved => self.has_cursor_trouble = false,
            _ => {}
        }
        match &turn.sweep_failed {
            Some(error) if !std::mem::replace(&mut self.has_sweep_trouble, true) => {
                tracing::error!("old segments of the spool could not be looked after: {error}");
            }
            None if turn.synced => self.has_sweep_trouble = false,
            _ => {}
        }
    }
}

/// A bound for [`Pipeline::stop`].
#[must_use]
pub fn within(clock: &dyn Clock, bound: Duration) -> Mono {
    clock.now().mono.plus(bound)
}
