//! The lane from one loop to the spooler: batches that are full over a bounded channel, empty ones back over another, and
//! the batch that is being filled, which the spooler takes when it has nothing else to do.
//!
//! So a frame waits for no timer and no other frame: the first one wakes the spooler, and what arrives while it writes is its
//! next batch. When the spooler takes nothing, [`LANE_BATCHES`] fill up; then the frame at hand is kept aside and its account
//! pauses, so that nothing is ever dropped and what is kept aside is one frame an account.
//!
//! Data plane: one short lock a frame, no allocation once the batches are warm; the wake happens after the lock.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;

use crate::domain::Wall;
use crate::domain::limits::{LANE_BATCHES, SPOOL_ACCOUNTS_MAX};
use crate::spool::{AccountId, Batch, BatchError};

/// See the module's documentation.
pub struct Lane {
    state: Mutex<LaneState>,
    full: Sender<Batch>,
    taken: Receiver<Batch>,
    spare: Sender<Batch>,
    refill: Receiver<Batch>,
    wake: Sender<()>,
}

struct LaneState {
    filling: Batch,
    /// Batches that exist: here, in the channels and in the spooler's hands. Those kept aside may make it more than
    /// [`LANE_BATCHES`]; the surplus goes when it comes back.
    made: usize,
    /// Records that found no batch, and whose they are.
    aside: Vec<Batch>,
    paused: Vec<AccountId>,
    /// Signs of life that are no records, newest per account.
    heard: HashMap<AccountId, Wall>,
    /// The spooler has looked since the last wake: the next record wakes it again.
    is_taken_from: bool,
}

/// How a record was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Laid {
    /// It is on its way.
    Sent,
    /// It is kept aside: its account must not bring another one before it is resumed.
    Aside,
}

/// What the spooler took, in order.
#[derive(Debug, Default)]
pub struct Taken {
    /// Batches; those of the lane's own go back by [`Lane::give_back`].
    pub batches: Vec<Batch>,
    /// Signs of life, true once all that was taken with them is written.
    pub heard: Vec<(AccountId, Wall)>,
    /// Accounts that paused, to be resumed once what was taken is written.
    pub paused: Vec<AccountId>,
}

impl Lane {
    /// A lane that signals `wake`, a channel of one place, when there is something to take.
    #[must_use]
    pub fn new(wake: Sender<()>) -> Arc<Lane> {
        let (full, taken) = bounded(LANE_BATCHES);
        let (spare, refill) = bounded(LANE_BATCHES);
        let state = LaneState {
            filling: Batch::new(),
            made: 1,
            aside: Vec::new(),
            paused: Vec::new(),
            heard: HashMap::with_capacity(64),
            is_taken_from: true,
        };
        Arc::new(Lane { state: Mutex::new(state), full, taken, spare, refill, wake })
    }

    /// Lays a record of `account` into the lane; `push` adds it to the batch that it is given.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`]: no batch takes it.
    pub fn lay(
        &self,
        account: AccountId,
        push: impl Fn(&mut Batch) -> Result<(), BatchError>,
    ) -> Result<Laid, BatchError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.paused.contains(&account) {
            state.lay_aside(&push)?;
            return Ok(Laid::Aside);
        }
        loop {
            match push(&mut state.filling) {
                Ok(()) => break,
                Err(BatchError::Full) => {
                    let Some(next) = self.next_batch(state) else {
                        state.lay_aside(&push)?;
                        state.paused.push(account);
                        drop(guard);
                        self.wake();
                        return Ok(Laid::Aside);
                    };
                    let full = std::mem::replace(&mut state.filling, next);
                    let sent = self.full.try_send(full);
                    assert!(sent.is_ok(), "the channel holds all batches that were made");
                }
                Err(error) => return Err(error),
            }
        }
        let must_wake = std::mem::take(&mut state.is_taken_from);
        drop(guard);
        if must_wake {
            self.wake();
        }
        Ok(Laid::Sent)
    }

    /// A sign of life that is no record. Told to the spooler with the next batch, or when it looks.
    pub fn hear(&self, account: AccountId, at: Wall) {
        let mut state = self.state.lock();
        if state.heard.len() < SPOOL_ACCOUNTS_MAX || state.heard.contains_key(&account) {
            state.heard.insert(account, at);
        }
    }

    /// Takes everything, adding to `out`. Returns whether there was a record.
    pub fn take(&self, out: &mut Taken) -> bool {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.is_taken_from = true;
        let before = out.batches.len();
        out.batches.extend(self.taken.try_iter());
        if !state.filling.is_empty() {
            let Some(next) = self.next_batch(state) else {
                // All other batches are in these hands and come back; what is aside must not overtake this one.
                return out.batches.len() > before;
            };
            out.batches.push(std::mem::replace(&mut state.filling, next));
        }
        out.batches.append(&mut state.aside);
        out.paused.append(&mut state.paused);
        out.heard.extend(state.heard.drain());
        out.batches.len() > before
    }

    /// Gives an emptied batch back, one for each that was taken.
    pub fn give_back(&self, batch: Batch) {
        debug_assert!(batch.is_empty(), "a batch goes back empty");
        let mut state = self.state.lock();
        if state.made > LANE_BATCHES {
            state.made -= 1;
            return;
        }
        drop(state);
        let sent = self.spare.try_send(batch);
        assert!(sent.is_ok(), "the channel holds all batches that were made");
    }

    fn next_batch(&self, state: &mut LaneState) -> Option<Batch> {
        if let Ok(batch) = self.refill.try_recv() {
            return Some(batch);
        }
        if state.made < LANE_BATCHES {
            state.made += 1;
            return Some(Batch::new());
        }
        None
    }

    fn wake(&self) {
        match self.wake.try_send(()) {
            // It is awake, or about to be; or it has ended, and the daemon with it.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

impl LaneState {
    fn lay_aside(&mut self, push: impl Fn(&mut Batch) -> Result<(), BatchError>) -> Result<(), BatchError> {
        if let Some(last) = self.aside.last_mut() {
            match push(last) {
                Err(BatchError::Full) => {}
                done => return done,
            }
        }
        let mut batch = Batch::new();
        push(&mut batch)?;
        self.aside.push(batch);
        self.made += 1;
        Ok(())
    }
}
