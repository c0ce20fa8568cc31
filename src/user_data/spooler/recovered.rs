//! Recovered events on their way into the spool: a bounded lane of their own, written behind what the sockets brought.
//!
//! Whoever sends them is told up to which position the spool was written then, and may wait for that to be durable: a gap is
//! closed only by what a power cut cannot take back. Records that find no room stay here and hold up no frame.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Spooler;
use super::flow::Flow;
use crate::domain::Now;
use crate::domain::limits::RECOVERED_LANE_BATCHES;
use crate::spool::{Batch, Disk};

/// Sends recovered events to the spooler.
#[derive(Clone, Debug)]
pub struct RecoveredLink {
    records: Sender<RecoveredRecords>,
}

/// One batch and who waits for it.
#[derive(Debug)]
pub(super) struct RecoveredRecords {
    batch: Batch,
    written: Sender<u64>,
}

/// Becomes a position: all records up to it are written, those that were sent among them.
#[derive(Debug)]
pub struct Written(Receiver<u64>);

impl Written {
    /// Waits `bound` at most. `None`: not yet.
    ///
    /// # Errors
    /// The spooler has ended, and whether they are written nobody knows.
    pub fn wait(&self, bound: Duration) -> Result<Option<u64>, SpoolerGone> {
        match self.0.recv_timeout(bound) {
            Ok(position) => Ok(Some(position)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(SpoolerGone),
        }
    }
}

/// The spooler has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the spooler has ended")]
pub struct SpoolerGone;

impl RecoveredLink {
    /// Hands a batch over.
    ///
    /// # Errors
    /// The batch, where there is no room for it.
    pub fn send(&self, batch: Batch) -> Result<Written, Batch> {
        let (written, position) = bounded(1);
        let sent = self.records.try_send(RecoveredRecords { batch, written });
        sent.map(|()| Written(position)).map_err(|error| error.into_inner().batch)
    }
}

pub(super) fn lane() -> (RecoveredLink, Receiver<RecoveredRecords>) {
    let (tell, records) = bounded(RECOVERED_LANE_BATCHES);
    (RecoveredLink { records: tell }, records)
}

impl<D: Disk> Spooler<D> {
    /// Writes what waits, unless frames wait too.
    pub(super) fn write_recovered(&mut self, now: Now) -> usize {
        if !self.pending.is_empty() || matches!(self.flow, Flow::Shut { .. }) {
            return 0;
        }
        let room = RECOVERED_LANE_BATCHES.saturating_sub(self.unwritten.len());
        self.unwritten.extend(self.recovered.try_iter().take(room));
        let mut written = 0;
        for _ in 0..self.unwritten.len() {
            let Some(mut records) = self.unwritten.pop_front() else { break };
            match self.appender.append(&mut records.batch, now) {
                Ok(appended) => {
                    written += appended.written;
                    if records.batch.is_empty() {
                        // Who waited may have given up: the gap stays open, and the events are told twice.
                        let _ = records.written.try_send(self.appender.status().positions.written);
                    } else {
                        self.unwritten.push_back(records);
                    }
                }
                Err(error) => {
                    tracing::debug!("recovered events wait for the spool: {error}");
                    self.unwritten.push_back(records);
                }
            }
        }
        written
    }
}
