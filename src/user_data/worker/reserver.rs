//! The reserver: the one thread that talks to the queue. Keeps the lease, takes jobs, feeds the lanes, acknowledges what is
//! done, extends what is in hand, and hands the rest back at the end.
//!
//! While another process holds the lease it stands by and reserves nothing. A lease that could not be renewed for its whole life
//! counts as lost: what is in hand is dropped, and whatever the database has committed is safe, since its next holder's jobs
//! find it there.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::WorkConfig;
use super::job::LaneJob;
use super::lanes::Lanes;
use super::status::{LeaseState, Meters};
use crate::domain::limits::{
    WORK_ACK_AT_ONCE, WORK_BUSY_WAIT, WORK_IDLE_MAX, WORK_RESERVE_AT_ONCE, WORK_STANDBY_POLL, WORK_STOP_DRAIN,
};
use crate::domain::{Clock, Mono};
use crate::queue::{JobReader, JobSource, Lease, PushError, PushErrorClass, SourceJob};

/// The busy wait is doubled so often while nothing moves.
const CALM_MAX: u32 = 5;

/// See the module's documentation.
pub(super) struct Reserver {
    pub source: Box<dyn JobSource>,
    pub lanes: Arc<Lanes>,
    pub config: Arc<WorkConfig>,
    pub meters: Arc<Mutex<Meters>>,
    pub clock: Arc<dyn Clock>,
    pub reader: JobReader,
    pub jobs: Vec<SourceJob>,
    pub tickets: Vec<u64>,
    /// When the lease is asked for next.
    pub lease_at: Mono,
    /// Until when it is known to be ours.
    pub lease_until: Mono,
    pub extend_at: Mono,
    /// No call before this, after one that failed.
    pub retry_at: Mono,
    /// The source may still count jobs as in hand that were dropped here.
    pub must_hand_back: bool,
    /// Turns in a row in which nothing moved, though jobs are in hand.
    pub calm: u32,
}

impl Reserver {
    /// Works until told to stop, then ends in order.
    pub fn run(mut self, is_stopping: &dyn Fn() -> bool) {
        while !is_stopping() {
            let wait = self.turn();
            if !wait.is_zero() {
                self.lanes.wait(wait);
            }
        }
        self.finish();
    }

    /// One bounded piece of work; how long nothing is to be done.
    fn turn(&mut self) -> Duration {
        let now = self.clock.now().mono;
        if let Some(by) = self.lanes.fenced_by() {
            self.lose(&format!("the database knows a later one, {by}"));
            // Another process is its holder, or the queue's server has forgotten how far the numbers had come.
            self.source.set_fence_floor(by);
            self.lease_at = now;
        }
        if now >= self.lease_at {
            self.keep_lease();
        }
        if self.lanes.fence().is_none() {
            return WORK_STANDBY_POLL.min(self.lease_at.since(self.clock.now().mono)).max(WORK_BUSY_WAIT);
        }
        if self.clock.now().mono < self.retry_at {
            return WORK_BUSY_WAIT;
        }
        let worked = self.acknowledge().and_then(|()| self.extend()).and_then(|()| self.reserve());
        match worked {
            Ok(wait) => {
                self.meters.lock().status.queue_stuck = None;
                wait
            }
            Err(error) if error.class == PushErrorClass::LeaseLost => {
                self.lease_at = self.clock.now().mono;
                Duration::ZERO
            }
            Err(error) => {
                self.stuck(&error);
                self.retry_at = self.clock.now().mono.plus(WORK_STANDBY_POLL);
                WORK_BUSY_WAIT
            }
        }
    }

    fn keep_lease(&mut self) {
        let asked = self.clock.now().mono;
        let held = self.lanes.fence();
        let handed_back = if self.must_hand_back { self.source.hand_back() } else { Ok(()) };
        self.must_hand_back &= handed_back.is_err();
        match handed_back.and_then(|()| self.source.keep_lease()) {
            Ok(Lease::Held { fence }) => {
                if held != Some(fence) {
                    if held.is_some() {
                        self.lose("it was given anew");
                    }
                    tracing::info!("this process works on the queue (lease {fence})");
                    self.lanes.set_fence(Some(fence));
                    self.extend_at = asked.plus(self.config.retry_after / 3);
                }
                // Counted from the question: the server's clock began no earlier.
                self.lease_until = asked.plus(self.config.lease);
                self.lease_at = asked.plus(self.config.lease / 3);
                self.set_lease(LeaseState::Held);
                self.meters.lock().status.queue_stuck = None;
            }
            Ok(Lease::Standby) => {
                if held.is_some() {
                    self.lose("another process has it");
                }
                if self.meters.lock().status.lease != LeaseState::Standby {
                    tracing::info!("another process works on the queue; this one stands by");
                }
                self.lease_at = asked.plus(WORK_STANDBY_POLL);
                self.set_lease(LeaseState::Standby);
                self.meters.lock().status.queue_stuck = None;
            }
            Err(error) => {
                self.stuck(&error);
                let now = self.clock.now().mono;
                self.lease_at = now.plus(WORK_STANDBY_POLL);
                if held.is_some() && now >= self.lease_until {
                    self.lose("it could not be renewed");
                    self.must_hand_back = true;
                }
                if self.lanes.fence().is_none() {
                    self.set_lease(LeaseState::Unknown);
                }
            }
        }
    }

    fn set_lease(&self, state: LeaseState) {
        self.meters.lock().status.lease = state;
    }

    fn lose(&mut self, why: &str) {
        tracing::warn!("the lease is lost: {why}; jobs in hand are dropped, and come again to whoever holds it");
        self.lanes.set_fence(None);
        let mut meters = self.meters.lock();
        meters.status.losses += 1;
        meters.status.lease = LeaseState::Unknown;
    }

    fn stuck(&self, error: &PushError) {
        let mut meters = self.meters.lock();
        if meters.status.queue_stuck.is_none() {
            tracing::warn!("the queue gives nothing: {error}");
            meters.status.queue_stuck = Some((error.text.clone(), self.clock.now().wall));
        }
    }

    /// Acknowledges what is done; what is not acknowledged stays so.
    fn acknowledge(&mut self) -> Result<(), PushError> {
        let Some(fence) = self.lanes.fence() else { return Ok(()) };
        self.tickets.clear();
        self.lanes.settled(&mut self.tickets);
        for tickets in self.tickets.chunks(WORK_ACK_AT_ONCE) {
            self.source.ack(tickets)?;
            self.lanes.acknowledged(fence, tickets);
        }
        Ok(())
    }

    fn extend(&mut self) -> Result<(), PushError> {
        let now = self.clock.now().mono;
        if now < self.extend_at {
            return Ok(());
        }
        if !self.lanes.is_empty() {
            self.source.extend()?;
        }
        self.extend_at = now.plus(self.config.retry_after / 3);
        Ok(())
    }

    /// Takes jobs, as many as there is room for; how long to wait after that.
    fn reserve(&mut self) -> Result<Duration, PushError> {
        let room = self.lanes.room().min(WORK_RESERVE_AT_ONCE);
        if room == 0 {
            return Ok(WORK_BUSY_WAIT);
        }
        let now = self.clock.now().mono;
        // A lane that is held for long must not make this a busy loop at the server.
        self.calm = if self.tickets.is_empty() && self.jobs.is_empty() { (self.calm + 1).min(CALM_MAX) } else { 0 };
        let busy = WORK_BUSY_WAIT * (1 << self.calm);
        let longest = if self.lanes.is_empty() { WORK_IDLE_MAX } else { busy };
        let wait = longest.min(self.lease_at.since(now));
        self.jobs.clear();
        let reserved = self.source.reserve(room, wait, &mut self.jobs);
        let at = self.clock.now().wall;
        for job in &mut self.jobs {
            let job = SourceJob { body: std::mem::take(&mut job.body), ..*job };
            self.lanes.add(LaneJob::read(&mut self.reader, job, at));
        }
        let mut meters = self.meters.lock();
        meters.status.depth = self.source.depth();
        meters.status.put_aside = self.source.put_aside();
        reserved.map(|()| Duration::ZERO)
    }

    /// Waits for the transactions in hand, acknowledges, and gives the rest back.
    fn finish(&mut self) {
        self.lanes.close();
        let until = self.clock.now().mono.plus(WORK_STOP_DRAIN);
        while self.lanes.taken() > 0 && self.clock.now().mono < until {
            self.lanes.wait_for_pieces(WORK_BUSY_WAIT);
        }
        if self.lanes.fence().is_none() {
            return;
        }
        // A queue that does not answer is asked once: reservations and lease lapse by themselves.
        match self.acknowledge().and_then(|()| self.source.hand_back()) {
            Ok(()) => tracing::info!("what was in hand is back on the queue, and the lease is free"),
            Err(error) => tracing::warn!("what was in hand comes back when its reservation lapses: {error}"),
        }
        self.lanes.set_fence(None);
    }
}
