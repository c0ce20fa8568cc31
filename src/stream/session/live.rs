//! A connection from the end of its TLS handshake: the upgrade, then frames, then goodbye.

use std::mem;

use super::Session;
use crate::domain::Now;
use crate::stream::event::{Consumer, Received, StreamEvent};
use crate::stream::fault::Cause;
use crate::stream::frame::{FrameError, FrameReader, Incoming};
use crate::stream::handshake::Upgrade;
use crate::stream::phase::{Link, Phase};
use crate::stream::plain::PlainBuffer;

impl Session {
    /// Takes the connection as far as the plaintext carries it.
    pub(super) fn handle_plain(&mut self, plain: &mut PlainBuffer, now: Now, consumer: &mut dyn Consumer) {
        if let Phase::Tls { link, .. } = &self.phase
            && !link.tls.is_handshaking()
        {
            self.begin_upgrade(now, consumer);
        }
        if let Phase::Upgrading { upgrade, link, .. } = &mut self.phase {
            match upgrade.feed(plain) {
                Ok(None) => {}
                Ok(Some(_)) => self.go_live(now, consumer),
                Err(error) => {
                    let cause = Cause::upgrade(&self.config.url, link.peer, &error);
                    self.fail(cause, now, consumer);
                }
            }
        }
        self.handle_frames(plain, now, consumer);
    }

    fn begin_upgrade(&mut self, now: Now, consumer: &mut dyn Consumer) {
        let Phase::Tls { deadline, mut link } = mem::replace(&mut self.phase, Phase::Stopped) else { return };
        let url = &self.config.url;
        let mut upgrade = match Upgrade::new(url.host(), url.port(), url.path_and_query(), &mut self.random) {
            Ok(upgrade) => upgrade,
            Err(error) => return self.fail(Cause::upgrade(url, link.peer, &error), now, consumer),
        };
        let mut request = Vec::new();
        upgrade.write_request(&mut request);
        let sent = self.outbound.send(&request, &mut link.tls);
        self.phase = Phase::Upgrading { deadline, link, upgrade: Box::new(upgrade) };
        if let Err(error) = sent {
            self.fail_tls(&error, now, consumer);
        }
    }

    fn go_live(&mut self, now: Now, consumer: &mut dyn Consumer) {
        let Phase::Upgrading { link, .. } = mem::replace(&mut self.phase, Phase::Stopped) else { return };
        let event = StreamEvent::Live { connection: self.connection, attempt: self.backoff.attempt(), peer: link.peer };
        let frames = FrameReader::new(self.config.max_message);
        self.phase = Phase::Live { link, frames, since: now.mono, proven: false };
        consumer.handle_event(&event, now);
    }

    /// Data plane: every whole frame in `plain`, in order, where it lies.
    fn handle_frames(&mut self, plain: &mut PlainBuffer, now: Now, consumer: &mut dyn Consumer) {
        loop {
            let mut nobody = true;
            let (link, frames, proven, closing) = match &mut self.phase {
                Phase::Live { link, frames, proven, .. } => (link, frames, proven, false),
                Phase::Closing { link, frames, .. } => (link, frames, &mut nobody, true),
                _ => return,
            };
            match frames.next(plain) {
                Ok(None) => return,
                Ok(Some(Incoming::Message { payload, .. })) => {
                    let (payload, len) = payload.into_padded();
                    if consumer.handle_message(self.connection, payload, len, now) == Received::Other {
                        continue;
                    }
                    let silent = self.data.silent(now.mono);
                    self.data.touch(now.mono);
                    if !mem::replace(proven, true) {
                        self.backoff.reset();
                        let event = StreamEvent::Recovered { connection: self.connection, silent };
                        consumer.handle_event(&event, now);
                    }
                }
                Ok(Some(Incoming::Ping(_))) if closing => {}
                Ok(Some(Incoming::Ping(payload))) => {
                    if let Err(error) = self.outbound.answer_ping(payload, &mut link.tls, &mut self.random) {
                        return self.fail_tls(&error, now, consumer);
                    }
                }
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Close { code, reason })) => {
                    let cause = Cause::closed(&self.config.url, code, reason);
                    if !closing {
                        self.say_goodbye(code);
                    }
                    return self.fail(cause, now, consumer);
                }
                Err(error) => return self.fail_frame(error, closing, now, consumer),
            }
        }
    }

    fn fail_frame(&mut self, error: FrameError, closing: bool, now: Now, consumer: &mut dyn Consumer) {
        if !closing {
            self.say_goodbye(Some(error.close_code()));
        }
        self.fail(Cause::frame(&self.config.url, error), now, consumer);
    }

    /// A close frame and TLS' own goodbye, for what the last write takes along. That they cannot be encrypted any more
    /// changes nothing: the connection ends here.
    fn say_goodbye(&mut self, code: Option<u16>) {
        if let Some(Link { tls, .. }) = self.phase.link_mut() {
            let _ = self.outbound.close(code, tls, &mut self.random);
            tls.close(self.outbound.cipher());
        }
    }
}
