//! The writer and its symbol map: loading it, symbols that the stream has just shown, symbols that went quiet.
//!
//! Control plane, on the writer's thread: no tick is missed meanwhile, because the board keeps the newest of each symbol.

use std::collections::HashSet;
use std::sync::Arc;

use super::Writer;
use crate::domain::limits::SYMBOL_UNSEEN_MAX;
use crate::domain::{Mono, Now};
use crate::prices::board::Slot;
use crate::prices::symbol_map::SymbolMap;
use crate::prices::writer_status::Names;
use crate::store::error::StoreError;

impl Writer {
    pub(super) fn load_map(&mut self, now: Now) -> Result<(), StoreError> {
        let rows = self.sink.load_map()?;
        let (mut map, report) = SymbolMap::build(&rows);
        self.board.names_since(self.names.len(), &mut self.names);
        if !self.names.is_empty() {
            self.first_seen_at.get_or_insert(now.mono);
        }
        map.bind(&self.names);
        let old = std::mem::replace(&mut self.map, map);
        // Set-aside rows get another chance; whatever changed gets its newest price.
        let again = |writer: &Writer, at: usize| {
            let targets = writer.map.targets_of(Slot(at as u32));
            !writer.map.agrees_on(&old, &writer.names[at]) || writer.aside.concerns(targets)
        };
        let changed: Vec<usize> = (0..self.names.len()).filter(|&at| again(self, at)).collect();
        self.aside.clear();
        for at in changed {
            self.board.mark_dirty(Slot(at as u32));
        }
        self.reload_at = now.mono.plus(self.settings.map_reload);
        let unmapped = self.unmapped();
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
    pub(super) fn handle_new_names(&mut self, now: Now) -> Result<(), StoreError> {
        let known = self.names.len();
        self.board.names_since(known, &mut self.names);
        if self.names.len() == known {
            return Ok(());
        }
        self.first_seen_at.get_or_insert(now.mono);
        self.map.bind(&self.names[known..]);
        if self.sink.creates_symbols() {
            self.create_symbols(now, known)?;
        }
        self.shared.status.lock().symbols_unmapped = self.unmapped();
        Ok(())
    }

    /// Gives unknown symbols rows of their own. A symbol that has a row and still no target was left out on purpose: it
    /// is not created, so this does not repeat itself.
    fn create_symbols(&mut self, now: Now, from: usize) -> Result<(), StoreError> {
        let (map, names) = (&self.map, &self.names);
        let unknown = |at: &usize| map.targets_of(Slot(*at as u32)).is_empty();
        let mut symbols = (from..names.len()).filter(unknown).map(|at| &*names[at]).peekable();
        if symbols.peek().is_none() {
            return Ok(());
        }
        // Until it succeeds the map counts as due, whose load tries again.
        self.reload_at = Mono::ZERO;
        let inserted = self.sink.insert_symbols(&mut symbols)?;
        self.reload_at = now.mono.plus(self.settings.map_reload);
        if inserted > 0 { self.load_map(now) } else { Ok(()) }
    }

    fn unmapped(&self) -> usize {
        (0..self.names.len()).filter(|at| self.map.targets_of(Slot(*at as u32)).is_empty()).count()
    }

    /// Names the symbols that have rows and no news: gone quiet, or never shown at all since the stream began.
    pub(super) fn report_unseen(&mut self, now: Now) {
        let before = Mono::from_nanos(now.mono.as_nanos().saturating_sub(SYMBOL_UNSEEN_MAX.as_nanos() as u64));
        if self.first_seen_at.is_none_or(|first| first > before) {
            return;
        }
        let mut quiet = Vec::new();
        self.board.unseen(before, &mut quiet);
        let quiet = quiet.iter().filter(|slot| !self.map.targets_of(**slot).is_empty());
        let mut unseen: Vec<&str> = quiet.filter_map(|slot| self.names.get(slot.index())).map(|name| &**name).collect();
        let known: HashSet<&str> = self.names.iter().map(|name| &**name).collect();
        unseen.extend(self.map.symbols().map(|(symbol, _)| symbol).filter(|symbol| !known.contains(symbol)));
        unseen.sort_unstable();
        let unseen = Names::collect(unseen.into_iter().map(str::to_owned));
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
