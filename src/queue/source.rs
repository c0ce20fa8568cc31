//! Where the worker's jobs come from: Redis, or the queue in this process. The worker knows only this.
//!
//! A source hands out jobs in the order in which they stand on the queue, to the holder of its lease only: whoever is told
//! [`Lease::Standby`] reserves nothing. [`Lease::Held`] carries a fence, a number that grows with every change of hands; the
//! worker writes it into the database with everything that it applies, so that a holder who has slept through its lease
//! cannot undo what its successor did.
//!
//! A ticket is good for as long as the fence under which it was given out: with another fence, or in standby, everything in
//! hand is the queue's again, and what is said of old tickets does nothing. A call that is answered with
//! [`PushErrorClass::LeaseLost`] did nothing; [`JobSource::keep_lease`] settles it: where the lease only ran out and nobody took
//! it meanwhile, it answers with the same fence, and the tickets are good as before.

use std::time::Duration;

use super::sink::PushError;
#[cfg(doc)]
use super::sink::PushErrorClass;

/// Whether this process may reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It may. What a dead predecessor had reserved stands at the head of the queue again, in its old order.
    Held {
        /// Grows with every change of hands.
        fence: u64,
    },
    /// Another one does.
    Standby,
}

/// A job in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceJob {
    /// The source's name for it in this process.
    pub ticket: u64,
    /// The body as it was popped; its `attempts` is one less than [`SourceJob::attempt`]. In process it is the pushed one, with
    /// `attempts` 0, each time.
    pub body: Vec<u8>,
    /// 1 for the first time.
    pub attempt: u64,
}

/// A queue, from the consumer's side. Each call is one round trip (a wait, a first call and a dead holder's lease are some more),
/// and answers within the source's own bound.
pub trait JobSource: Send {
    /// Takes, keeps or renews the lease.
    ///
    /// # Errors
    /// The queue is away or refuses; the lease counts as lost once its time has run out.
    fn keep_lease(&mut self) -> Result<Lease, PushError>;

    /// The greatest fence that the database has seen: the next one taken is greater, and one that is held and smaller is given
    /// up for a greater one. So the fence grows even where the queue's server lost its memory.
    fn set_fence_floor(&mut self, floor: u64);

    /// Moves delayed and lapsed jobs back, then takes up to `max` jobs, oldest first; waits up to `wait` for the first. What
    /// is no job (no JSON object, no numeric `attempts`) is never taken: it is moved to a place of its own and counted.
    ///
    /// # Errors
    /// The queue is away or refuses; what it may have handed out meanwhile comes back when its reservation lapses.
    fn reserve(&mut self, max: usize, wait: Duration, into: &mut Vec<SourceJob>) -> Result<(), PushError>;

    /// These jobs are done: their effects are committed.
    ///
    /// # Errors
    /// The queue is away or refuses; the caller says it again.
    fn ack(&mut self, tickets: &[u64]) -> Result<(), PushError>;

    /// Back to the queue, due after `delay`, with the attempt counted.
    ///
    /// # Errors
    /// As [`JobSource::ack`].
    fn release(&mut self, ticket: u64, delay: Duration) -> Result<(), PushError>;

    /// Renews the reservations of all jobs in hand.
    ///
    /// # Errors
    /// As [`JobSource::ack`].
    fn extend(&mut self) -> Result<(), PushError>;

    /// Gives everything in hand back, in its old order and without counting an attempt, and lets go of the lease, so that
    /// the next holder need not wait: the end of a process that was told to stop.
    ///
    /// # Errors
    /// As [`JobSource::ack`].
    fn hand_back(&mut self) -> Result<(), PushError>;

    /// Bodies that were no jobs, put aside so far.
    fn put_aside(&self) -> u64;

    /// Jobs that wait, as of the last reserve.
    fn depth(&self) -> u64;
}
