//! The loop's consumer of the price stream: hands each message to the intake, tells the telemetry, logs what changed.
//!
//! `handle_message` is data plane: no allocation, one short lock a message. Events are control plane.

use std::sync::Arc;

use super::telemetry::{FaultSeen, StreamTelemetry};
use crate::domain::{Layer, Now};
use crate::ops::status::StreamState;
use crate::prices::board::PriceBoard;
use crate::prices::frame_stamp::FrameStamp;
use crate::prices::intake::{FrameVerdict, Intake};
use crate::stream::{Consumer, Fault, FaultKind, Received, StreamEvent};

/// Takes messages and events of the price stream, on the loop's thread.
pub struct PriceConsumer {
    intake: Intake,
    telemetry: Arc<StreamTelemetry>,
    seq: u64,
    /// The layer and kind of the newest fault that was logged in full: the same again is logged as a repetition.
    logged: Option<(Layer, FaultKind)>,
    alarmed_no_row: bool,
    alarmed_clock: bool,
}

impl PriceConsumer {
    /// A consumer that fills `board`.
    #[must_use]
    pub fn new(board: Arc<PriceBoard>, telemetry: Arc<StreamTelemetry>) -> Self {
        PriceConsumer {
            intake: Intake::new(board),
            telemetry,
            seq: 0,
            logged: None,
            alarmed_no_row: false,
            alarmed_clock: false,
        }
    }

    fn log_fault(&mut self, fault: &Fault) {
        let retry = fault.retry_in.as_secs_f32();
        if self.logged == Some((fault.layer, fault.kind)) {
            tracing::info!("still: {} (attempt {}, next in {retry:.1} s)", fault.text, fault.attempt);
            return;
        }
        self.logged = Some((fault.layer, fault.kind));
        let hint = match fault.kind {
            FaultKind::Unresolved | FaultKind::Unreachable | FaultKind::Timeout | FaultKind::Refused => {
                "; `kraite-streams demo` shows everything without the exchange"
            }
            FaultKind::Untrusted => "; a proxy with its own authority? name its root in net.extra_roots",
            _ => "",
        };
        tracing::warn!("{}{hint}; trying again in {retry:.1} s", fault.text);
    }
}

impl Consumer for PriceConsumer {
    fn handle_message(&mut self, connection: u64, payload: &mut [u8], len: usize, at: Now) -> Received {
        self.seq += 1;
        let stamp = FrameStamp { seq: self.seq, received_at: at.wall, readable_at: at.mono, connection };
        let outcome = self.intake.handle_frame(payload, len, stamp);
        let counts = *self.intake.counts();
        let fresh = outcome.verdict == FrameVerdict::Prices;
        self.telemetry.update(|snapshot| {
            snapshot.messages += 1;
            snapshot.bytes += len as u64;
            snapshot.counts = counts;
            if fresh {
                snapshot.last_data = Some((at.mono, at.wall));
                snapshot.barren = 0;
                snapshot.no_usable_row_at = None;
                snapshot.clock_behind = outcome.clock_behind;
            }
            if outcome.verdict == FrameVerdict::NoUsableRow {
                snapshot.no_usable_row_at = Some(at.wall);
            }
        });
        if fresh && std::mem::take(&mut self.alarmed_no_row) {
            tracing::info!("messages have usable rows again");
        }
        match outcome.verdict {
            FrameVerdict::NoUsableRow if !self.alarmed_no_row => {
                self.alarmed_no_row = true;
                tracing::error!(
                    "a well-formed message of {len} bytes had no usable row: the feed's shape may have changed"
                );
            }
            FrameVerdict::Fault(fault) => tracing::warn!("a message of {len} bytes was refused: {}", fault.as_str()),
            _ => {}
        }
        if outcome.clock_behind != self.alarmed_clock && fresh {
            self.alarmed_clock = outcome.clock_behind;
            if outcome.clock_behind {
                tracing::error!("most event times are over 60 s ahead of this machine's clock: correct the clock");
            } else {
                tracing::info!("event times agree with this machine's clock again");
            }
        }
        if outcome.table_full {
            let symbol = self.intake.refused_symbol().unwrap_or_default().to_owned();
            tracing::error!("the symbol table is full: {symbol} and later ones get no price");
            self.telemetry.update(|snapshot| snapshot.refused_symbol = Some(symbol));
        }
        if fresh { Received::Data } else { Received::Other }
    }

    fn handle_event(&mut self, event: &StreamEvent, at: Now) {
        match event {
            StreamEvent::Live { peer, attempt, .. } => {
                self.telemetry.update(|snapshot| {
                    snapshot.state = StreamState::Live;
                    snapshot.connected_since = Some(at.wall);
                    snapshot.connections += 1;
                    snapshot.barren += 1;
                    snapshot.attempt = *attempt;
                });
                tracing::info!("connected to {peer}; waiting for the first price");
            }
            StreamEvent::Recovered { silent, .. } => {
                self.logged = None;
                self.telemetry.update(|snapshot| snapshot.attempt = 0);
                tracing::info!("prices arrive (after {:.1} s without)", silent.as_secs_f32());
            }
            StreamEvent::Fault(fault) => {
                self.log_fault(fault);
                self.telemetry.update(|snapshot| {
                    snapshot.state = StreamState::Waiting;
                    snapshot.connected_since = None;
                    snapshot.attempt = fault.attempt;
                    snapshot.last_fault = Some(FaultSeen { layer: fault.layer, text: fault.text.clone(), at: at.wall });
                    let layer = Layer::ALL.iter().position(|&layer| layer == fault.layer).expect("ALL is all layers");
                    snapshot.faults_by_layer[layer] += 1;
                    let kind = FaultKind::ALL.iter().position(|&kind| kind == fault.kind).expect("ALL is all kinds");
                    snapshot.faults_by_kind[kind] += 1;
                });
            }
            StreamEvent::DataSilence { silent, attempt } => {
                tracing::error!("no price for {} s over {attempt} attempts: a fresh start is needed", silent.as_secs());
                self.telemetry.update(|snapshot| {
                    snapshot.escalations += 1;
                    snapshot.silent = *silent;
                });
            }
            StreamEvent::Stopped => self.telemetry.update(|snapshot| {
                snapshot.state = StreamState::Stopped;
                snapshot.connected_since = None;
            }),
        }
    }
}
