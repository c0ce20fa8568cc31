//! The signs of life of a live connection: what came, what is owed, and what is sent when its time has come.

use std::mem;
use std::time::Duration;

use super::Session;
use crate::domain::Now;
use crate::domain::limits::ACTIVITY_EVERY;
use crate::stream::event::{Consumer, StreamEvent};
use crate::stream::heartbeat::Due;
use crate::stream::phase::Phase;

impl Session {
    /// Whether this venue is known to answer pings of clients.
    #[must_use]
    pub fn is_ping_answered(&self) -> bool {
        self.bound
    }

    /// Whether that was found out here since the last call: other streams of this venue should know.
    pub fn poll_ping_answered(&mut self) -> bool {
        mem::take(&mut self.found_bound)
    }

    /// Another stream of this venue found out that it answers pings of clients: from now on pongs are owed here, too. A
    /// ping that is unanswered until now is asked again.
    pub fn handle_ping_answered(&mut self, now: Now) {
        if !mem::replace(&mut self.bound, true)
            && let Phase::Live { heartbeat: Some(heartbeat), .. } = &mut self.phase
        {
            heartbeat.restart(now.mono);
        }
    }

    /// Data plane: a frame came, whatever it was.
    pub(super) fn hear(&mut self, now: Now, consumer: &mut dyn Consumer) {
        let Phase::Live { heartbeat, since, .. } = &mut self.phase else { return };
        if let Some(heartbeat) = heartbeat
            && heartbeat.handle_frame(now.mono)
            && now.mono.since(*since) >= heartbeat.healthy_after()
        {
            let silent = self.data.silent(now.mono);
            self.prove(silent, now, consumer);
        }
        if now.mono >= self.next_activity {
            self.next_activity = now.mono.plus(ACTIVITY_EVERY);
            consumer.handle_activity(now);
            self.serve(now, consumer);
        }
    }

    pub(super) fn handle_pong(&mut self, payload: &[u8], now: Now, consumer: &mut dyn Consumer) {
        let Phase::Live { heartbeat: Some(heartbeat), since, .. } = &mut self.phase else { return };
        let Some(round_trip) = heartbeat.handle_pong(payload, now.mono) else { return };
        let is_healthy = now.mono.since(*since) >= heartbeat.healthy_after();
        if !mem::replace(&mut self.bound, true) {
            // Any other question that is under way need not be answered any more.
            heartbeat.restart(now.mono);
            self.found_bound = true;
            consumer.handle_event(&StreamEvent::PingAnswered { round_trip }, now);
            self.serve(now, consumer);
        }
        if is_healthy {
            let silent = self.data.silent(now.mono);
            self.prove(silent, now, consumer);
        }
    }

    /// Health is proven, if it was not yet on this connection.
    pub(super) fn prove(&mut self, silent: Duration, now: Now, consumer: &mut dyn Consumer) {
        if let Phase::Live { proven, .. } = &mut self.phase
            && !mem::replace(proven, true)
        {
            self.backoff.reset();
            consumer.handle_event(&StreamEvent::Recovered { connection: self.connection, silent }, now);
            self.serve(now, consumer);
        }
    }

    /// Sends what is due, as far as the pace allows: a ping, else a probe, else the text that has waited longest.
    pub(super) fn pump(&mut self, now: Now, consumer: &mut dyn Consumer) {
        while self.held.is_none() && self.queue.is_open(now.mono) {
            let Phase::Live { link, heartbeat, .. } = &mut self.phase else { return };
            let due = heartbeat.as_mut().and_then(|it| it.poll_due(now.mono, self.bound, &mut self.random));
            // To a peer that reads nothing a question is as good as asked: the answer will be missed in time.
            let has_room = self.outbound.has_room();
            let sent = match due {
                Some(Due::Ping(payload)) if has_room => self.outbound.ping(&payload, &mut link.tls, &mut self.random),
                Some(Due::Probe) if has_room => {
                    self.probe.clear();
                    consumer.write_probe(&mut self.probe);
                    if self.probe.is_empty() {
                        heartbeat.as_mut().expect("it asked for the probe").handle_no_probe();
                        continue;
                    }
                    self.outbound.text(&self.probe, &mut link.tls, &mut self.random)
                }
                Some(_) => continue,
                None if !has_room => return,
                None => match self.queue.pop() {
                    Some(text) => self.outbound.text(&text, &mut link.tls, &mut self.random),
                    None => return,
                },
            };
            self.queue.handle_spoken(now.mono);
            if let Err(error) = sent {
                return self.fail_tls(&error, now, consumer);
            }
        }
    }
}
