//! The writer role: takes the newest prices from the board, finds their rows, writes them, and never loses the last one.
//!
//! One [`Writer::turn`] is one bounded piece of work; a test drives it with a clock of its own, [`spawn`](super::writer_thread::spawn)
//! with the system's. A write starts [`WriterSettings::settle`] after the first dirty symbol and no sooner than
//! [`WriterSettings::write_interval`] after the previous start. Whatever cannot be written goes back to the board, where
//! a newer value replaces it: an outage costs no memory, and ends with the newest value of every symbol in its row, under
//! the time at which it was received. After every new session the newest value of *all* symbols is written again, since a
//! server that crashed may have lost commits it had answered (`synchronous_commit` is off).
//!
//! Data plane in `write`; the rest is control plane.

mod symbols;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::batch::{Batch, RowPrice};
use super::board::{PriceBoard, Slot, Taken};
use super::map_report::MapReport;
use super::set_aside::SetAside;
use super::sink::{PriceSink, PriceTarget, WriteReport};
use super::symbol_map::SymbolMap;
use super::writer_status::{Latency, WriterState, WriterStatus};
use crate::domain::limits::{
    LOCK_WAIT_DEFAULT, MAP_RELOAD_DEFAULT, SETTLE_DEFAULT, STORE_RETRY_MAX, STORE_RETRY_MIN, SYMBOLS_MAX, UNSEEN_EVERY,
    WRITE_INTERVAL_DEFAULT,
};
use crate::domain::{BadPrice, Clock, Mono, Now};
use crate::store::error::{ErrorClass, StoreError};

/// When to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterSettings {
    /// From the first dirty symbol to the write.
    pub settle: Duration,
    /// From the start of a write to the start of the next; at least
    /// [`WRITE_INTERVAL_MIN`](crate::domain::limits::WRITE_INTERVAL_MIN), which the settings check.
    pub write_interval: Duration,
    /// Between two loads of the symbol map.
    pub map_reload: Duration,
    /// How long another writer's lock is waited for at the start.
    pub lock_wait: Duration,
}

impl Default for WriterSettings {
    fn default() -> Self {
        WriterSettings {
            settle: SETTLE_DEFAULT,
            write_interval: WRITE_INTERVAL_DEFAULT,
            map_reload: MAP_RELOAD_DEFAULT,
            lock_wait: LOCK_WAIT_DEFAULT,
        }
    }
}

/// What the caller of a turn does before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Wait until then, or until something gets dirty.
    Idle(Mono),
    /// Wait until then, whatever gets dirty.
    Pause(Mono),
    /// No more turns: it stopped, or it refused to start (the status says why).
    Done,
}

/// What others share with the writer: its status, and what they ask of it.
#[derive(Debug, Default)]
pub struct WriterShared {
    pub(super) status: Mutex<WriterStatus>,
    pub(super) report: Mutex<Arc<MapReport>>,
    pub(super) stop: AtomicBool,
    pub(super) reload: AtomicBool,
}

impl WriterShared {
    /// What the writer shows of itself.
    #[must_use]
    pub fn status(&self) -> WriterStatus {
        self.status.lock().clone()
    }

    /// Asks for the symbol map to be loaded again, at the next turn.
    pub fn request_reload(&self) {
        self.reload.store(true, Ordering::Release);
    }

    /// Asks for the last write and the end, at the next turn.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The role. Owns the database session and the symbol map.
pub struct Writer {
    board: Arc<PriceBoard>,
    sink: Box<dyn PriceSink>,
    clock: Arc<dyn Clock>,
    settings: WriterSettings,
    shared: Arc<WriterShared>,
    map: SymbolMap,
    target: Option<PriceTarget>,
    names: Vec<Arc<str>>,
    // Timers.
    retry_at: Mono,
    retry_pause: Duration,
    reload_at: Mono,
    unseen_at: Mono,
    write_started_at: Option<Mono>,
    /// Since when another writer has been seen at the start; `None` once a session was open.
    held_since: Option<Mono>,
    was_open: bool,
    /// The session has just been opened and proved nothing yet.
    fresh: bool,
    /// When the stream showed its first symbol.
    first_seen_at: Option<Mono>,
    aside: SetAside,
    // One write.
    taken: Vec<Taken>,
    batch: Batch,
    report: WriteReport,
    deferred: HashSet<Slot>,
    newest_written: u64,
    latency: Histogram<u64>,
}

impl Writer {
    /// A writer that has not connected yet.
    ///
    /// # Panics
    /// Never: the histogram's bounds are constants that fit each other.
    #[must_use]
    pub fn new(
        board: Arc<PriceBoard>,
        sink: Box<dyn PriceSink>,
        clock: Arc<dyn Clock>,
        settings: WriterSettings,
    ) -> Writer {
        const HOUR_US: u64 = 3_600_000_000;
        Writer {
            board,
            sink,
            clock,
            settings,
            shared: Arc::default(),
            map: SymbolMap::default(),
            target: None,
            names: Vec::with_capacity(SYMBOLS_MAX),
            retry_at: Mono::ZERO,
            retry_pause: STORE_RETRY_MIN,
            reload_at: Mono::NEVER,
            unseen_at: Mono::ZERO,
            write_started_at: None,
            held_since: None,
            was_open: false,
            fresh: false,
            first_seen_at: None,
            aside: SetAside::default(),
            taken: Vec::with_capacity(SYMBOLS_MAX),
            batch: Batch::new(),
            report: WriteReport::default(),
            deferred: HashSet::new(),
            newest_written: 0,
            latency: Histogram::new_with_bounds(1, HOUR_US, 2).expect("the bounds fit"),
        }
    }

    /// What others share with this writer.
    #[must_use]
    pub fn shared(&self) -> Arc<WriterShared> {
        Arc::clone(&self.shared)
    }

    /// One piece of work. Blocks while the database answers; nobody else waits for that.
    pub fn turn(&mut self, now: Now) -> Turn {
        if self.shared.stop.load(Ordering::Acquire) {
            self.finish(now);
            return Turn::Done;
        }
        if now.mono < self.retry_at {
            return Turn::Pause(self.retry_at);
        }
        match self.work(now) {
            Ok(turn) => turn,
            Err(error) => self.handle_fault(now, &error),
        }
    }

    fn work(&mut self, now: Now) -> Result<Turn, StoreError> {
        self.make_ready(now)?;
        if now.mono >= self.unseen_at {
            self.unseen_at = now.mono.plus(UNSEEN_EVERY);
            self.report_unseen(now);
        }
        if let Some(dirty_since) = self.board.dirty_since() {
            let settled = dirty_since.plus(self.settings.settle);
            let spaced = self.write_started_at.map_or(Mono::ZERO, |at| at.plus(self.settings.write_interval));
            let due = settled.max(spaced);
            if now.mono < due {
                return Ok(Turn::Pause(due));
            }
            self.write(now)?;
        } else if self.fresh {
            // Nothing to write proves nothing, but there is nothing to worry about either.
            self.enter(now, WriterState::Writing, "");
        }
        self.fresh = false;
        Ok(Turn::Idle(self.reload_at.min(self.unseen_at)))
    }

    /// A session, a map that is not due, and a place in it for every symbol that the stream has shown.
    fn make_ready(&mut self, now: Now) -> Result<(), StoreError> {
        if !self.sink.is_open() {
            let target = self.sink.open()?;
            self.target = Some(target);
            // The old map goes, so that every symbol counts as newly mapped and is written again.
            self.map = SymbolMap::default();
            self.reload_at = Mono::ZERO;
            self.was_open = true;
            self.fresh = true;
            let mut status = self.shared.status.lock();
            status.transactions = Some(target.transactions);
            status.sessions += 1;
        }
        if self.shared.reload.swap(false, Ordering::AcqRel) {
            self.reload_at = Mono::ZERO;
        }
        if now.mono >= self.reload_at {
            self.load_map(now)?;
        }
        self.handle_new_names(now)
    }

    /// The last write, then the lock goes back. A session that is away gets one more try.
    fn finish(&mut self, now: Now) {
        let last = |writer: &mut Writer| match writer.board.has_dirty() {
            true => writer.make_ready(now).and_then(|()| writer.write(now)),
            false => Ok(()),
        };
        let sentence = match last(self) {
            Ok(()) => String::new(),
            Err(error) => {
                tracing::warn!(store = self.sink.target(), error = %error, "the last prices could not be written");
                format!("the last prices could not be written: {error}")
            }
        };
        self.sink.close();
        self.enter(now, WriterState::Stopped, &sentence);
    }

    fn write(&mut self, now: Now) -> Result<(), StoreError> {
        self.write_started_at = Some(now.mono);
        self.taken.clear();
        self.board.take_dirty(&mut self.taken);
        self.fill_batch();
        if self.batch.is_empty() {
            self.enter(now, WriterState::Writing, "");
            return Ok(());
        }
        self.shared.status.lock().writing_since = Some(now.mono);
        let written = self.sink.write(&self.batch, &mut self.report);
        let committed = self.clock.now();
        self.shared.status.lock().writing_since = None;
        if let Err(error) = written {
            self.shared.status.lock().failures += 1;
            self.board.put_back(&self.taken);
            return Err(error);
        }
        if self.aside.handle_report(&self.report, &self.names, self.batch.rows()) {
            let (missing, refused) = (self.aside.missing(), self.aside.refused());
            let mut status = self.shared.status.lock();
            (status.missing, status.quarantined) = (missing, refused);
        }
        self.handle_written(committed);
        match self.report.deferred_because.take() {
            Some(error) => {
                self.put_back_deferred();
                // Somebody's lock must not make the other rows old: where a part was written, the next try is soon.
                if self.report.rows_written > 0 {
                    self.retry_pause = STORE_RETRY_MIN;
                }
                Err(error)
            }
            None => {
                self.enter(committed, WriterState::Writing, "");
                Ok(())
            }
        }
    }

    /// The rows of what was taken: shifted, fitting their column, not set aside.
    fn fill_batch(&mut self) {
        self.batch.clear();
        let scale = self.target.expect("a session that is open has a target").scale;
        for taken in &self.taken {
            for target in self.map.targets_of(taken.slot) {
                let row_id = target.row_id;
                match target.price(&taken.price, scale) {
                    Ok(price) if self.aside.holds(row_id, &price) => {}
                    Ok(price) => self.batch.push(&taken.stamp, RowPrice { row_id, slot: taken.slot, price }),
                    Err(kind) => {
                        let at = BadPrice::ALL.iter().position(|bad| *bad == kind).expect("ALL holds every kind");
                        self.shared.status.lock().bad_prices[at] += 1;
                        self.aside.handle_misfit(&self.names[taken.slot.index()], row_id, &taken.price, kind);
                    }
                }
            }
        }
    }

    fn handle_written(&mut self, committed: Now) {
        let mut newest = self.newest_written;
        let mut sampled = 0;
        // A frame of which a part is put off is not committed yet.
        let whole = if self.report.deferred.is_empty() { self.taken.as_slice() } else { &[] };
        for taken in whole {
            // One sample for each frame that is new; values written again after a reload are no news.
            if taken.stamp.seq > self.newest_written && taken.stamp.seq != sampled {
                sampled = taken.stamp.seq;
                let latency = committed.mono.since(taken.stamp.readable_at).as_micros();
                self.latency.saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
            }
            newest = newest.max(taken.stamp.seq);
        }
        self.newest_written = newest;
        let mut status = self.shared.status.lock();
        status.rows_written += self.report.rows_written;
        status.commits += self.report.commits;
        status.writes += 1;
        status.last_commit = Some(committed.wall);
        status.tick_to_commit_us = Latency {
            count: self.latency.len(),
            p50: self.latency.value_at_quantile(0.5),
            p99: self.latency.value_at_quantile(0.99),
            max: self.latency.max(),
        };
    }

    fn put_back_deferred(&mut self) {
        self.deferred.clear();
        self.deferred.extend(self.report.deferred.drain(..));
        self.taken.retain(|taken| self.deferred.contains(&taken.slot));
        self.board.put_back(&self.taken);
        self.shared.status.lock().failures += 1;
    }

    fn handle_fault(&mut self, now: Now, error: &StoreError) -> Turn {
        let class = error.class();
        if class.needs_reconnect() {
            self.sink.close();
        }
        // Refused at the start: at once by a pooler, after a while by another writer.
        if !self.was_open && matches!(class, ErrorClass::Held | ErrorClass::Refused) {
            let since = *self.held_since.get_or_insert(now.mono);
            if class == ErrorClass::Refused || now.mono.since(since) >= self.settings.lock_wait {
                self.enter(now, WriterState::Refused, error.sentence());
                return Turn::Done;
            }
            self.enter(now, WriterState::WaitingForLock, error.sentence());
        } else {
            self.enter(now, WriterState::Away(class), error.sentence());
        }
        // The clock moved while the database was waited for.
        self.retry_at = self.clock.now().mono.max(now.mono).plus(self.retry_pause);
        self.retry_pause = (self.retry_pause * 2).min(STORE_RETRY_MAX);
        Turn::Pause(self.retry_at)
    }

    /// A state is logged when it begins; its sentence follows the newest error.
    fn enter(&mut self, now: Now, state: WriterState, sentence: &str) {
        let mut status = self.shared.status.lock();
        if status.sentence != sentence {
            sentence.clone_into(&mut status.sentence);
        }
        if status.state == state {
            return;
        }
        if state == WriterState::Writing {
            self.retry_pause = STORE_RETRY_MIN;
        }
        let before = std::mem::replace(&mut status.state, state);
        let lasted_s = (now.wall.as_millis() - status.state_since.as_millis()) / 1_000;
        status.state_since = now.wall;
        drop(status);
        let store = self.sink.target();
        match state {
            WriterState::Writing if before == WriterState::Starting => tracing::info!(store, "writing prices"),
            WriterState::Writing => tracing::info!(store, after = %before, lasted_s, "writing prices again"),
            WriterState::Stopped => tracing::info!(store, "price writer stopped"),
            WriterState::Refused => tracing::error!(store, reason = sentence, "price writer refuses to start"),
            _ => {
                tracing::warn!(store, state = %state, reason = sentence, "prices cannot be written; the newest are kept")
            }
        }
    }
}
