//! Symbol → slot, owned by the loop: no lock and, for a known symbol, no allocation.
//!
//! A venue sends its symbols in the same order every second, so the table remembers who followed whom and compares the
//! name with that guess first: the names lie one behind the other in one text, in feed order. A cold hash table of 750
//! symbols is 750 cache misses (facts/measurements.md, "WebSocket…" §1: 36 µs against 0.4 µs). The hash is the fallback;
//! it is the standard library's keyed one, because names come from the wire. A symbol keeps its slot for ever.

use std::collections::HashMap;
use std::sync::Arc;

use super::board::Slot;
use crate::domain::limits::{SYMBOL_LEN_MAX, SYMBOLS_MAX};

#[derive(Debug)]
pub(super) struct SymbolTable {
    by_name: HashMap<Arc<str>, Slot>,
    /// All names, in slot order, without separators.
    text: String,
    symbols: Vec<Symbol>,
    /// The symbol that began a frame last time.
    first: Slot,
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    start: u32,
    len: u8,
    /// The symbol that came after this one last time.
    next: Slot,
}

/// Bytes of names to begin with: about 950 symbols of 9 bytes, with room to spare.
const TEXT_LEN_START: usize = 32 << 10;

impl SymbolTable {
    pub(super) fn new() -> Self {
        SymbolTable {
            by_name: HashMap::with_capacity(SYMBOLS_MAX),
            text: String::with_capacity(TEXT_LEN_START),
            symbols: Vec::with_capacity(SYMBOLS_MAX),
            first: Slot(0),
        }
    }

    pub(super) const fn bytes_max() -> usize {
        // Hash buckets are a power of two, at most 7/8 full, plus a control byte each; the names belong to the board.
        let buckets = (SYMBOLS_MAX * 8 / 7).next_power_of_two();
        buckets * (size_of::<(Arc<str>, Slot)>() + 1) + SYMBOLS_MAX * (size_of::<Symbol>() + SYMBOL_LEN_MAX)
    }

    pub(super) fn len(&self) -> usize {
        self.symbols.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.symbols.len() >= SYMBOLS_MAX
    }

    /// The slot of `name`; `after` is the symbol before it in the frame, if it had one.
    pub(super) fn find(&mut self, after: Option<Slot>, name: &str) -> Option<Slot> {
        let guess = match after {
            Some(slot) => self.symbols[slot.index()].next,
            None => self.first,
        };
        if self.name(guess) == Some(name) {
            return Some(guess);
        }
        let slot = self.lookup(name)?;
        match after {
            Some(before) => self.symbols[before.index()].next = slot,
            None => self.first = slot,
        }
        Some(slot)
    }

    /// The slot of `name`, without a guess.
    pub(super) fn lookup(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    /// Gives a slot to a name that has none; `None` when the table is full.
    pub(super) fn insert(&mut self, name: &str) -> Option<(Slot, Arc<str>)> {
        assert!(name.len() <= SYMBOL_LEN_MAX, "the parser hands out names of at most SYMBOL_LEN_MAX bytes");
        if self.is_full() {
            return None;
        }
        let slot = Slot(self.symbols.len() as u32);
        let shared: Arc<str> = Arc::from(name);
        let before = self.by_name.insert(Arc::clone(&shared), slot);
        assert!(before.is_none(), "a name is inserted once");
        self.symbols.push(Symbol { start: self.text.len() as u32, len: name.len() as u8, next: Slot(slot.0 + 1) });
        self.text.push_str(name);
        Some((slot, shared))
    }

    fn name(&self, slot: Slot) -> Option<&str> {
        let symbol = self.symbols.get(slot.index())?;
        let start = symbol.start as usize;
        Some(&self.text[start..start + usize::from(symbol.len)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_found_with_and_without_a_good_guess() {
        let mut table = SymbolTable::new();
        let names = ["BTCUSDT", "币安人生USDT", "BTCUSD", "btcusdt"];
        for (at, name) in names.iter().enumerate() {
            let (slot, shared) = table.insert(name).unwrap();
            assert_eq!((slot, &*shared), (Slot(at as u32), *name));
        }
        // Whatever stood before, right or wrong, the answer is the name's own slot.
        for after in [None, Some(Slot(0)), Some(Slot(1)), Some(Slot(2)), Some(Slot(3))] {
            for _ in 0..2 {
                for (at, name) in names.iter().enumerate() {
                    assert_eq!(table.find(after, name), Some(Slot(at as u32)));
                }
                assert_eq!(table.find(after, "BTCUSDTX"), None);
            }
        }
    }

    #[test]
    fn the_table_ends_at_its_bound() {
        let mut table = SymbolTable::new();
        let room = (table.by_name.capacity(), table.symbols.capacity());
        for n in 0..SYMBOLS_MAX {
            assert!(table.insert(&n.to_string()).is_some());
        }
        assert!(table.is_full() && table.insert("more").is_none());
        assert_eq!((table.by_name.capacity(), table.symbols.capacity()), room);
        assert_eq!(table.find(None, "8191"), Some(Slot(8_191)));
    }
}
