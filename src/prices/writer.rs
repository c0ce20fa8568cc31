//! The writer role: takes the newest prices from the board, finds their rows, writes them, and never loses the last one.
//!
//! One [`Writer::turn`] is one bounded piece of work; a test drives it with a clock of its own, [`spawn`](super::writer_thread::spawn)
//! with the system's. A write starts [`WriterSettings::settle`] after the first dirty symbol and no sooner than
//! [`WriterSettings::write_interval`] after the previous start. Whatever cannot be written goes back to the board, where
//! a newer value replaces it: an outage costs no memory, and ends with the newest value of every symbol in its row, under
//! the time at which it was received. After every new session the newest value of *all* symbols is written again, since a
//! server that crashed may have lost commits it had answered (`synchronous_commit` is off).
//!
//! Data plane in [`Writer::write`]; the rest is control plane.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::batch::{Batch, RowPrice};
use super::board::{PriceBoard, Slot, Taken};
use super::map_report::MapReport;
use super::sink::{PriceSink, PriceTarget, WriteReport};
use super::symbol_map::SymbolMap;
use super::writer_status::{Latency, Names, WriterState, WriterStatus};
use crate::domain::limits::{
    LOCK_WAIT_DEFAULT, MAP_RELOAD_DEFAULT, SETTLE_DEFAULT, STORE_RETRY_MAX, STORE_RETRY_MIN, SYMBOL_UNSEEN_MAX,
    SYMBOLS_MAX, UNSEEN_EVERY, WRITE_INTERVAL_DEFAULT,
};
use crate::domain::{BadPrice, Clock, Mono, Now, PriceText};
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
    // Rows that are not written until the map is loaded again.
    missing: HashSet<i64>,
    quarantined: HashMap<i64, (PriceText, String)>,
    misfits: HashSet<i64>,
    // One write.
    taken: Vec<Taken>,
    batch: Batch,
    report: WriteReport,
    deferred: HashSet<Slot>,
    newest_written: u64,
    latency: Histogram<u64>,
    slots: Vec<Slot>,
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
            missing: HashSet::new(),
            quarantined: HashMap::new(),
            misfits: HashSet::new(),
            taken: Vec::with_capacity(SYMBOLS_MAX),
            batch: Batch::new(),
            report: WriteReport::default(),
            deferred: HashSet::new(),
            newest_written: 0,
            latency: Histogram::new_with_bounds(1, HOUR_US, 2).expect("the bounds fit"),
            slots: Vec::new(),
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
        if !self.sink.is_open() {
            self.open(now)?;
        }
        if now.mono >= self.reload_at || self.shared.reload.swap(false, Ordering::AcqRel) {
            self.load_map(now)?;
        }
        self.handle_new_names(now)?;
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
        }
        Ok(Turn::Idle(self.reload_at.min(self.unseen_at)))
    }

    /// The last write, then the lock goes back. A session that is away gets one more try.
    fn finish(&mut self, now: Now) {
        let last = |writer: &mut Writer| {
            if !writer.board.has_dirty() {
                return Ok(());
            }
            if !writer.sink.is_open() {
                writer.open(now)?;
            }
            writer.handle_new_names(now)?;
            writer.write(now)
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

    fn open(&mut self, now: Now) -> Result<(), StoreError> {
        let target = self.sink.open()?;
        self.target = Some(target);
        {
            let mut status = self.shared.status.lock();
            status.transactions = Some(target.transactions);
            status.sessions += 1;
        }
        // The old map goes, so that every symbol counts as newly mapped and is written again.
        self.map = SymbolMap::default();
        self.load_map(now)?;
        self.was_open = true;
        self.held_since = None;
        self.enter(now, WriterState::Writing, "");
        Ok(())
    }

    fn load_map(&mut self, now: Now) -> Result<(), StoreError> {
        let rows = self.sink.load_map()?;
        let (mut map, report) = SymbolMap::build(&rows);
        self.board.names_since(self.names.len(), &mut self.names);
        map.bind(&self.names);
        let old = std::mem::replace(&mut self.map, map);
        // Set-aside rows get another chance; whatever changed gets its newest price.
        let again = |writer: &Writer, at: usize| {
            let targets = writer.map.targets_of(Slot(at as u32));
            let aside = |row: &i64| writer.missing.contains(row) || writer.quarantined.contains_key(row);
            !writer.map.agrees_on(&old, &writer.names[at]) || targets.iter().any(|target| aside(&target.row_id))
        };
        let changed: Vec<usize> = (0..self.names.len()).filter(|&at| again(self, at)).collect();
        self.missing.clear();
        self.quarantined.clear();
        self.misfits.clear();
        for at in changed {
            self.board.mark_dirty(Slot(at as u32));
        }
        self.reload_at = now.mono.plus(self.settings.map_reload);
        let unmapped = self.unmapped(0).count();
        let mut status = self.shared.status.lock();
        if status.map_loads == 0 || status.rows_mapped != self.map.rows() || status.symbols_mapped != report.symbols {
            tracing::info!(symbols = report.symbols, rows = self.map.rows(), unmapped, "symbol map loaded");
        }
        status.rows_mapped = self.map.rows();
        status.symbols_mapped = report.symbols;
        status.symbols_unmapped = unmapped;
        status.map_loads += 1;
        status.map_loaded_at = Some(now.wall);
        status.missing = Names::default();
        status.quarantined = Names::default();
        drop(status);
        *self.shared.report.lock() = Arc::new(report);
        if self.sink.creates_symbols() {
            self.create_symbols(now, 0)?;
        }
        Ok(())
    }

    /// Binds symbols that the stream has just shown for the first time.
    fn handle_new_names(&mut self, now: Now) -> Result<(), StoreError> {
        let known = self.names.len();
        self.board.names_since(known, &mut self.names);
        if self.names.len() == known {
            return Ok(());
        }
        self.map.bind(&self.names[known..]);
        if self.sink.creates_symbols() {
            self.create_symbols(now, known)?;
        }
        self.shared.status.lock().symbols_unmapped = self.unmapped(0).count();
        Ok(())
    }

    /// Gives unknown symbols rows of their own. A symbol that has a row and still no target was left out on purpose: it
    /// is not created, so this does not repeat itself.
    fn create_symbols(&mut self, now: Now, from: usize) -> Result<(), StoreError> {
        let (map, names) = (&self.map, &self.names);
        let unknown = |at: &usize| map.targets_of(Slot(*at as u32)).is_empty();
        let mut symbols = (from..names.len()).filter(unknown).map(|at| &*names[at]).peekable();
        if symbols.peek().is_some() && self.sink.insert_symbols(&mut symbols)? > 0 {
            self.load_map(now)?;
        }
        Ok(())
    }

    fn unmapped(&self, from: usize) -> impl Iterator<Item = &Arc<str>> {
        let unknown = |at: &usize| self.map.targets_of(Slot(*at as u32)).is_empty();
        (from..self.names.len()).filter(unknown).map(|at| &self.names[at])
    }

    fn write(&mut self, now: Now) -> Result<(), StoreError> {
        self.write_started_at = Some(now.mono);
        self.taken.clear();
        self.board.take_dirty(&mut self.taken);
        self.fill_batch();
        if self.batch.is_empty() {
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
        self.handle_set_aside();
        self.handle_written(committed);
        match self.report.deferred_because.take() {
            Some(error) => {
                self.put_back_deferred();
                Err(error)
            }
            None => {
                self.retry_pause = STORE_RETRY_MIN;
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
                    Err(bad) => {
                        let at = BadPrice::ALL.iter().position(|kind| *kind == bad).expect("ALL holds every kind");
                        self.shared.status.lock().bad_prices[at] += 1;
                        if self.misfits.insert(row_id) {
                            let symbol = &*self.names[taken.slot.index()];
                            tracing::warn!(symbol, row_id, price = %taken.price, kind = %bad, "price does not fit its column");
                        }
                    }
                    Ok(_) if self.missing.contains(&row_id) => {}
                    Ok(price) => match self.quarantined.get(&row_id) {
                        Some((refused, _)) if *refused == price => {}
                        _ => self.batch.push(&taken.stamp, RowPrice { row_id, slot: taken.slot, price }),
                    },
                }
            }
        }
    }

    /// Rows that are not there, and rows whose value was refused: said once, and left out from now on.
    fn handle_set_aside(&mut self) {
        if !self.report.missing.is_empty() {
            self.missing.extend(&self.report.missing);
            let mut ids: Vec<i64> = self.missing.iter().copied().collect();
            ids.sort_unstable();
            let names = Names::collect(ids.iter().map(i64::to_string));
            tracing::warn!(rows = names.count, ids = %names, "rows of the symbol map are not in the price table");
            self.shared.status.lock().missing = names;
        }
        if !self.report.refused.is_empty() {
            for row in &self.report.refused {
                let symbol = &*self.names[row.slot.index()];
                let (row_id, price) = (row.row_id, row.price);
                tracing::warn!(symbol, row_id, %price, error = row.sentence, "row quarantined: the database refused its price");
                self.quarantined.insert(row_id, (price, format!("{symbol} (row {row_id}): {}", row.sentence)));
            }
            let names = Names::collect(self.quarantined.values().map(|(_, sentence)| sentence.clone()));
            self.shared.status.lock().quarantined = names;
        }
        // A row whose next price was taken is in quarantine no longer.
        if !self.quarantined.is_empty() {
            let before = self.quarantined.len();
            for row in self.batch.rows() {
                if self.quarantined.get(&row.row_id).is_some_and(|(refused, _)| *refused != row.price) {
                    self.quarantined.remove(&row.row_id);
                }
            }
            if self.quarantined.len() != before {
                let names = Names::collect(self.quarantined.values().map(|(_, sentence)| sentence.clone()));
                self.shared.status.lock().quarantined = names;
            }
        }
    }

    fn handle_written(&mut self, committed: Now) {
        let mut newest = self.newest_written;
        let mut sampled = 0;
        for taken in &self.taken {
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

    fn report_unseen(&mut self, now: Now) {
        let before = Mono::from_nanos(now.mono.as_nanos().saturating_sub(SYMBOL_UNSEEN_MAX.as_nanos() as u64));
        self.slots.clear();
        self.board.unseen(before, &mut self.slots);
        self.slots.retain(|slot| slot.index() < self.names.len() && !self.map.targets_of(*slot).is_empty());
        let unseen = Names::collect(self.slots.iter().map(|slot| self.names[slot.index()].to_string()));
        let mut status = self.shared.status.lock();
        if status.unseen == unseen {
            return;
        }
        if unseen.count > 0 {
            tracing::warn!(symbols = unseen.count, names = %unseen, "symbols tracked but unseen for 60 s");
        } else {
            tracing::info!("every tracked symbol is seen again");
        }
        status.unseen = unseen;
    }
}
