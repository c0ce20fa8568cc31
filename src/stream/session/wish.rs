//! What the consumer and the daemon want of a stream: texts, another place, a pause, an end. Control plane.

use std::mem;
use std::time::Duration;

use super::{Action, Held, Hold, Session};
use crate::domain::Now;
use crate::domain::limits::CONSUMER_REQUESTS_MAX;
use crate::stream::connect_limiter::ConnectClass;
use crate::stream::event::{Consumer, Pace, Request, StreamEvent};
use crate::stream::fault::Cause;
use crate::stream::phase::Phase;
use crate::stream::url::StreamUrl;

impl Session {
    /// Whether bytes from the socket are wanted. Where this turns true again ([`Session::resume`]), the shell calls
    /// [`Session::handle_bytes`] once with what it holds before it reads on.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.held.is_none() || !matches!(self.phase, Phase::Live { .. } | Phase::Closing { .. })
    }

    /// Holds the stream: no further message is handed over, no attempt begins, nobody is called silent. A live connection
    /// is closed after [`crate::domain::limits::PAUSED_MAX`].
    pub fn pause(&mut self, hold: Hold, now: Now) {
        self.notice(now);
        let held = self.held.get_or_insert(Held { since: now.mono, own: false, all: false });
        match hold {
            Hold::Own => held.own = true,
            Hold::All => held.all = true,
        }
        if self.awaits_permit() {
            self.phase = Phase::Backoff { until: now.mono };
            self.action = None;
        }
    }

    /// Takes `hold` back. When it was the last one, whatever the server was asked before is asked again, and a wait that
    /// is over ends now.
    pub fn resume(&mut self, hold: Hold, now: Now) {
        self.notice(now);
        let Some(held) = &mut self.held else { return };
        match hold {
            Hold::Own => held.own = false,
            Hold::All => held.all = false,
        }
        if held.own || held.all {
            return;
        }
        self.data.resume(held.since, now.mono);
        self.held = None;
        if let Phase::Live { heartbeat: Some(heartbeat), .. } = &mut self.phase {
            heartbeat.restart(now.mono);
        }
    }

    /// Which share of the connection attempts it uses.
    #[must_use]
    pub fn class(&self) -> ConnectClass {
        self.config.class
    }

    /// Changes that share, from the next attempt on.
    pub fn set_class(&mut self, class: ConnectClass) {
        self.config.class = class;
    }

    /// As [`Request::Text`].
    pub fn send_text(&mut self, text: String, now: Now, consumer: &mut dyn Consumer) {
        self.notice(now);
        self.queue_text(text, now, consumer);
        self.pump(now, consumer);
        self.serve(now, consumer);
    }

    /// As [`Request::Reconnect`].
    pub fn reconnect(&mut self, url: Option<StreamUrl>, pace: Pace, now: Now, consumer: &mut dyn Consumer) {
        self.notice(now);
        self.leave(url, pace, now, consumer);
        self.serve(now, consumer);
    }

    /// The shell dropped bytes that it had parked, because the memory for those was used up.
    pub fn handle_overflow(&mut self, now: Now, consumer: &mut dyn Consumer) {
        self.notice(now);
        if self.phase.link().is_some() {
            self.say_goodbye(Some(1008));
            self.fail(Cause::overflow(&self.config.url), now, consumer);
        }
    }

    /// Obeys what the consumer asks for.
    pub(super) fn serve(&mut self, now: Now, consumer: &mut dyn Consumer) {
        for _ in 0..CONSUMER_REQUESTS_MAX {
            let Some(request) = consumer.poll_request() else { return };
            match request {
                Request::Text(text) => self.queue_text(text, now, consumer),
                Request::Reconnect { url, pace } => self.leave(url, pace, now, consumer),
                Request::Pause => self.pause(Hold::Own, now),
                Request::Close => self.stop(now, consumer),
            }
        }
    }

    fn queue_text(&mut self, text: String, now: Now, consumer: &mut dyn Consumer) {
        let len = text.len();
        let is_queued = matches!(self.phase, Phase::Live { .. }) && self.queue.push(text);
        if !is_queued {
            consumer.handle_event(&StreamEvent::TextDropped { len }, now);
        }
    }

    fn leave(&mut self, url: Option<StreamUrl>, pace: Pace, now: Now, consumer: &mut dyn Consumer) {
        if self.stopping {
            return;
        }
        if let Some(url) = url
            && mem::replace(&mut self.config.url, url).host() != self.config.url.host()
        {
            self.bound = self.config.liveness.is_ping_answered();
        }
        if matches!(self.phase, Phase::Backoff { .. } | Phase::Permit) {
            return;
        }
        let retry_in = match pace {
            Pace::Now => Duration::ZERO,
            Pace::Backoff => self.backoff.next_delay(&mut self.random),
        };
        self.say_goodbye(Some(1000));
        let until = now.mono.plus(retry_in);
        let was_live = matches!(mem::replace(&mut self.phase, Phase::Backoff { until }), Phase::Live { .. });
        self.action = Some(Action::Close);
        let event = StreamEvent::Reconnecting { connection: was_live.then_some(self.connection), retry_in };
        consumer.handle_event(&event, now);
    }
}
