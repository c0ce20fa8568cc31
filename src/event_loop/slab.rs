//! The slots of a loop's streams: reused through a free list, each use with a generation of its own, so that nothing that
//! is late for an earlier stream (a lookup's answer, a place in a line) reaches the one that has its slot now.

use std::collections::HashMap;

use super::connection::Connection;
use super::stream_id::StreamId;
use crate::domain::Mono;

/// See the module's documentation. Deadlines lie beside the streams, packed: a scan touches nothing else
/// (facts/measurements.md, WebSocket §6).
#[derive(Default)]
pub(super) struct Slab {
    connections: Vec<Option<Connection>>,
    deadlines: Vec<Mono>,
    free: Vec<usize>,
    keys: HashMap<u64, usize>,
    used: u64,
    hosted: usize,
}

impl Slab {
    /// Where the next stream goes.
    pub fn next_id(&mut self) -> StreamId {
        self.used += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.deadlines.push(Mono::NEVER);
            self.connections.len() - 1
        });
        StreamId { slot, generation: self.used }
    }

    /// Hosts `connection`, which was made for the last [`Slab::next_id`], under `key`, which is free.
    pub fn insert(&mut self, key: u64, connection: Connection) {
        let slot = connection.id.slot;
        let place = &mut self.connections[slot];
        assert!(place.is_none() && !self.keys.contains_key(&key), "slot {slot} or its key is in use");
        *place = Some(connection);
        self.keys.insert(key, slot);
        self.hosted += 1;
    }

    /// The stream's slot, and its key from now on free: the stream itself may take its time to end.
    pub fn take_key(&mut self, key: u64) -> Option<usize> {
        self.keys.remove(&key)
    }

    pub fn slot_of_key(&self, key: u64) -> Option<usize> {
        self.keys.get(&key).copied()
    }

    pub fn at(&mut self, slot: usize) -> Option<&mut Connection> {
        self.connections.get_mut(slot)?.as_mut()
    }

    /// Frees the slot of a stream that has ended.
    pub fn remove(&mut self, slot: usize) {
        let Some(connection) = self.connections[slot].take() else { return };
        if self.keys.get(&connection.key) == Some(&slot) {
            self.keys.remove(&connection.key);
        }
        self.deadlines[slot] = Mono::NEVER;
        self.free.push(slot);
        self.hosted -= 1;
    }

    /// Streams hosted, those that are about to end included.
    pub fn hosted(&self) -> usize {
        self.hosted
    }

    /// Slots that were ever used; every slot is below.
    pub fn slots(&self) -> usize {
        self.connections.len()
    }

    pub fn deadline(&self, slot: usize) -> Mono {
        self.deadlines[slot]
    }

    pub fn set_deadline(&mut self, slot: usize, deadline: Mono) {
        self.deadlines[slot] = deadline;
    }

    pub fn earliest(&self) -> Mono {
        self.deadlines.iter().copied().min().unwrap_or(Mono::NEVER)
    }
}
