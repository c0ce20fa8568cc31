//! Ticks and what goes wrong with them: frames are built and sent here, and faults take effect here.

use std::sync::Arc;
use std::time::Duration;

use tungstenite::protocol::frame::coding::CloseCode;

use crate::domain::limits::SIM_OVERSIZE_LEN;
use crate::domain::{Mono, Now, Random};

use super::connection::{Connection, Farewell, Mark, Phase};
use super::fault::FaultKind;
use super::framing::{OPCODE_CONTINUATION, OPCODE_TEXT, write_frame, write_frame_head};
use super::ledger::Ending;
use super::server::{CLOSE_MAX, Server};
use super::venue::{Distortion, FrameRecord, Group};
use super::websocket::{ALL_EACH_SECOND, ALL_EACH_THIRD_SECOND, Rules, WebSocketSide};

/// From the first frame of a tick to the second.
const SECOND_FRAME_AFTER: Duration = Duration::from_millis(1);
/// For a client to notice garbage.
const GARBAGE_MAX: Duration = Duration::from_secs(20);
const PINGS_OF_A_FLOOD: usize = 200;

impl Server {
    /// Prices stop; what is sent from now on carries the final ones.
    pub(super) fn freeze(&mut self) {
        self.market.freeze();
        self.ticks.frozen_from.get_or_insert(self.market.next_number());
        for connection in self.connections.values_mut() {
            connection.stalled_until = Mono::ZERO;
        }
    }

    /// Frames of one tick.
    pub(super) fn frames_per_tick(&self) -> u64 {
        1 + u64::from(self.config.symbols.tradfi > 0)
    }

    /// The first frame of a tick, perhaps with a fault in it.
    pub(super) fn tick_first(&mut self, now: Now) {
        self.ticks.next = self.ticks.next.plus(self.config.tick);
        if self.ticks.next <= now.mono {
            // The process was stopped for a while; the ticks it slept through are not made up for.
            self.ticks.next = now.mono.plus(self.config.tick);
        }
        self.ticks.second = now.mono.plus(SECOND_FRAME_AFTER.min(self.config.tick / 2));
        self.ticks.count += 1;
        self.shared.ledger.lock().ticks += 1;
        self.market.step();
        let receivers = self.receivers();
        if receivers.is_empty() {
            return;
        }
        let ready = self.is_ready(now);
        let fault = self.faults.front().copied().filter(|kind| kind.waits_for_tick() && ready);
        if fault.is_some() {
            self.faults.pop_front();
            self.ticks.last_fault = self.ticks.count;
        }
        let distortion = match fault {
            Some(FaultKind::BadPrices) => Distortion::BadPrices,
            Some(FaultKind::MissingSymbols) => Distortion::MissingSymbols,
            _ => Distortion::None,
        };
        let (body, record) = self.write_body(Group::Ordinary, distortion, now);
        self.ship(&receivers, &body, &record, fault, now);
        if let Some(kind) = fault {
            tracing::info!(fault = kind.as_str(), "injected");
            self.shared.ledger.lock().count_fault(kind);
        }
        self.ticks.previous = Some((body, record));
    }

    /// The second frame of a tick.
    pub(super) fn tick_second(&mut self, now: Now) {
        self.ticks.second = Mono::NEVER;
        let receivers = self.receivers();
        if self.frames_per_tick() == 2 && !receivers.is_empty() {
            let (body, record) = self.write_body(Group::TradFi, Distortion::None, now);
            self.ship(&receivers, &body, &record, None, now);
        }
    }

    /// Faults whose turn it is and that need no tick.
    pub(super) fn apply_faults(&mut self, now: Now) {
        while let Some(&kind) = self.faults.front() {
            if kind.waits_for_tick() || !self.apply(kind, now) {
                return;
            }
            self.faults.pop_front();
            self.ticks.last_fault = self.ticks.count;
        }
    }

    /// Glues a first data frame to the upgrade in `bytes`, when that fault is wanted and this connection takes prices.
    pub(super) fn glue(
        &mut self,
        id: u64,
        side: &WebSocketSide,
        bytes: &mut Vec<u8>,
        now: Now,
    ) -> Option<Arc<FrameRecord>> {
        if !self.door.glue_frames || !side.delivers(ALL_EACH_SECOND) {
            return None;
        }
        self.door.glue_frames = false;
        let (body, record) = self.write_body(Group::Ordinary, Distortion::None, now);
        write_frame(OPCODE_TEXT, true, &side.payload(ALL_EACH_SECOND, &body), bytes);
        let mut ledger = self.shared.ledger.lock();
        ledger.queued(id);
        ledger.count_fault(FaultKind::GluedFrames);
        Some(record)
    }

    fn write_body(&mut self, group: Group, distortion: Distortion, now: Now) -> (Vec<u8>, Arc<FrameRecord>) {
        // `E` grows strictly, whatever the wall clock does.
        let event_ms = now.wall.as_millis().max(self.ticks.last_event_ms + 1);
        self.ticks.last_event_ms = event_ms;
        let mut body = Vec::with_capacity(192 << 10);
        let record = self.market.write_frame(group, event_ms, distortion, &mut body);
        (body, Arc::new(record))
    }

    /// Connections that take this tick, and by which stream.
    fn receivers(&mut self) -> Vec<(u64, &'static str)> {
        let third = self.ticks.count.is_multiple_of(3);
        let mut out = Vec::new();
        for &id in &self.takers {
            let Some(side) = self.connections.get_mut(&id).and_then(Connection::websocket) else { continue };
            if side.delivers(ALL_EACH_SECOND) {
                out.push((id, ALL_EACH_SECOND));
            }
            if third && side.delivers(ALL_EACH_THIRD_SECOND) {
                out.push((id, ALL_EACH_THIRD_SECOND));
            }
        }
        out
    }

    /// Whether every live price connection has had a whole frame and takes data, and there is one.
    fn is_ready(&mut self, now: Now) -> bool {
        let mut any = false;
        for id in &self.takers {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if connection.websocket().is_some_and(|side| side.delivers(ALL_EACH_SECOND)) {
                any = true;
                if !connection.is_proven || !connection.takes_data(now.mono) {
                    return false;
                }
            }
        }
        any
    }

    fn ship(
        &mut self,
        receivers: &[(u64, &'static str)],
        body: &[u8],
        record: &Arc<FrameRecord>,
        fault: Option<FaultKind>,
        now: Now,
    ) {
        for &(id, stream) in receivers {
            let Some(mut connection) = self.connections.remove(&id) else { continue };
            if connection.takes_data(now.mono) {
                connection.pump(now.mono);
                self.queue_frame(&mut connection, stream, body, record, fault, now);
            }
            match self.flush(&mut connection, now) {
                Ok(()) => self.put_back(connection, now),
                Err(ending) => self.finish(connection, ending),
            }
        }
    }

    fn queue_frame(
        &mut self,
        connection: &mut Connection,
        stream: &str,
        body: &[u8],
        record: &Arc<FrameRecord>,
        fault: Option<FaultKind>,
        now: Now,
    ) {
        let Phase::WebSocket(side) = &mut connection.phase else { return };
        let payload = side.payload(stream, body);
        let mut bytes = Vec::with_capacity(payload.len() + 512);
        let mut frames = 1;
        match fault {
            Some(FaultKind::EmptyArray) => {
                write_frame(OPCODE_TEXT, true, &side.payload(stream, b"[]"), &mut bytes);
                connection.queue(&bytes);
                let empty = FrameRecord { event_ms: record.event_ms, ..FrameRecord::default() };
                connection.mark(Mark::Frame(Arc::new(empty)));
                self.shared.ledger.lock().queued(connection.id);
                bytes.clear();
                write_frame(OPCODE_TEXT, true, &payload, &mut bytes);
            }
            Some(FaultKind::Unbalanced) => {
                write_frame(OPCODE_TEXT, true, cut_json(&payload), &mut bytes);
                connection.queue(&bytes);
                connection.mark(Mark::Unbalanced);
                self.shared.ledger.lock().queued(connection.id);
                return;
            }
            Some(FaultKind::HalfFrame) => {
                write_frame(OPCODE_TEXT, true, &payload, &mut bytes);
                connection.queue(&bytes[..bytes.len() / 2]);
                self.shared.ledger.lock().queued(connection.id);
                connection.leave(Farewell { ending: Ending::Fault(FaultKind::HalfFrame), polite: false });
                return;
            }
            Some(FaultKind::Fragmented) => {
                let pieces = payload.len().div_ceil(5).max(1);
                let mut pings = 0;
                let mut rest = payload.chunks(pieces).enumerate().peekable();
                while let Some((at, piece)) = rest.next() {
                    let opcode = if at == 0 { OPCODE_TEXT } else { OPCODE_CONTINUATION };
                    write_frame(opcode, rest.peek().is_none(), piece, &mut bytes);
                    if rest.peek().is_some() {
                        side.ping(format!("between {at}").into_bytes(), &self.rules, now.mono);
                        pings += 1;
                        bytes.append(&mut side.take_outbox());
                    }
                }
                self.shared.ledger.lock().pings_sent += pings;
            }
            Some(FaultKind::DuplicateFrame) => {
                frames = 2;
                write_frame(OPCODE_TEXT, true, &payload, &mut bytes);
            }
            _ => write_frame(OPCODE_TEXT, true, &payload, &mut bytes),
        }
        for _ in 0..frames {
            connection.queue(&bytes);
            connection.mark(Mark::Frame(Arc::clone(record)));
            self.shared.ledger.lock().queued(connection.id);
        }
        if let (Some(FaultKind::OldFrame), Some((old, old_record))) = (fault, &self.ticks.previous) {
            let Phase::WebSocket(side) = &mut connection.phase else { return };
            bytes.clear();
            write_frame(OPCODE_TEXT, true, &side.payload(stream, old), &mut bytes);
            connection.queue(&bytes);
            connection.mark(Mark::Frame(Arc::clone(old_record)));
            self.shared.ledger.lock().queued(connection.id);
        }
    }

    /// Whether the fault took effect; otherwise it waits.
    fn apply(&mut self, kind: FaultKind, now: Now) -> bool {
        let targets: Vec<u64> = self.receivers_each_second();
        let at_door = matches!(
            kind,
            FaultKind::RefuseUpgrade { .. }
                | FaultKind::RefuseConnect { .. }
                | FaultKind::SlowHandshake { .. }
                | FaultKind::GluedFrames
        );
        // Nobody needs to be cut off for the next client to be met at the door.
        let is_its_turn = self.ticks.count > self.ticks.last_fault && self.is_ready(now);
        let may = is_its_turn || (at_door && targets.is_empty());
        if !may {
            return false;
        }
        tracing::info!(fault = kind.as_str(), "injected");
        match kind {
            FaultKind::RefuseUpgrade { status } => self.door.refuse_upgrade = Some(status),
            FaultKind::GluedFrames => self.door.glue_frames = true,
            FaultKind::SlowHandshake { delay } => self.door.slow_handshake = Some(delay),
            FaultKind::RefuseConnect { lasts } => self.close_door(now.mono.plus(lasts)),
            _ => {}
        }
        // The others at the door are counted when a client meets them.
        if !at_door || matches!(kind, FaultKind::RefuseConnect { .. }) {
            self.shared.ledger.lock().count_fault(kind);
        }
        for id in targets {
            let Some(mut connection) = self.connections.remove(&id) else { continue };
            connection.pump(now.mono);
            if at_door || kind == FaultKind::Cut {
                self.finish(connection, Ending::Fault(kind));
                continue;
            }
            self.strike(&mut connection, kind, now);
            match self.flush(&mut connection, now) {
                Ok(()) => self.put_back(connection, now),
                Err(ending) => self.finish(connection, ending),
            }
        }
        true
    }

    /// One fault on one connection.
    fn strike(&mut self, connection: &mut Connection, kind: FaultKind, now: Now) {
        match kind {
            FaultKind::Close => go_away(connection, Ending::Fault(kind), now),
            FaultKind::Stall { lasts } => connection.stalled_until = now.mono.plus(lasts),
            FaultKind::Garbage => throw_garbage(connection, &mut self.random, false, Ending::Fault(kind), now),
            FaultKind::TlsGarbage => throw_garbage(connection, &mut self.random, true, Ending::Fault(kind), now),
            FaultKind::Oversize => send_oversize(connection, SIM_OVERSIZE_LEN),
            FaultKind::PingFlood => {
                let pings = flood_pings(connection, &self.rules, now);
                self.shared.ledger.lock().pings_sent += pings;
            }
            // Those of a tick and those at the door are elsewhere.
            _ => {}
        }
    }

    fn receivers_each_second(&mut self) -> Vec<u64> {
        let mut out = Vec::new();
        for &id in &self.takers {
            let side = self.connections.get_mut(&id).and_then(Connection::websocket);
            if side.is_some_and(|side| side.delivers(ALL_EACH_SECOND)) {
                out.push(id);
            }
        }
        out
    }
}

/// A close frame 1001.
pub(super) fn go_away(connection: &mut Connection, ending: Ending, now: Now) {
    if let Phase::WebSocket(side) = &mut connection.phase {
        side.close(CloseCode::Away, "going away");
    }
    connection.deadline = (now.mono.plus(CLOSE_MAX), ending);
    connection.pump(now.mono);
}

/// Random bytes where a frame, or a TLS record, should start; nothing can follow them.
pub(super) fn throw_garbage(connection: &mut Connection, random: &mut Random, in_tls: bool, ending: Ending, now: Now) {
    let mut bytes = [0; 4 << 10];
    random.fill(&mut bytes);
    if in_tls {
        // No TLS content type is above 0x7f.
        bytes[0] |= 0x80;
        connection.queue_raw(&bytes);
    } else {
        // With reserved bits set it is a breach at once; otherwise it might announce a long frame and wait.
        bytes[0] |= 0x70;
        connection.queue(&bytes);
    }
    connection.is_broken = true;
    connection.deadline = (now.mono.plus(GARBAGE_MAX), ending);
}

/// A text frame of `len` blanks.
pub(super) fn send_oversize(connection: &mut Connection, len: u64) {
    let mut head = Vec::new();
    write_frame_head(OPCODE_TEXT, true, len, &mut head);
    connection.queue(&head);
    connection.stream_filler(len);
}

/// 200 pings in one write; how many.
pub(super) fn flood_pings(connection: &mut Connection, rules: &Rules, now: Now) -> u64 {
    let Phase::WebSocket(side) = &mut connection.phase else { return 0 };
    for at in 0..PINGS_OF_A_FLOOD {
        side.ping(format!("flood {} {at}", now.mono.as_nanos()).into_bytes(), rules, now.mono);
    }
    connection.pump(now.mono);
    PINGS_OF_A_FLOOD as u64
}

/// The front of a JSON text, cut behind a colon: valid UTF-8, and never balanced.
fn cut_json(payload: &[u8]) -> &[u8] {
    let most = payload.len() * 2 / 3;
    let at = payload[..most].iter().rposition(|&b| b == b':').unwrap_or(0);
    &payload[..=at]
}
