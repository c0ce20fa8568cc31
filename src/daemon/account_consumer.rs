//! The loop's consumer of one account's stream: maps the stream's types to those of `user_data`, one to one.
//!
//! Data plane in `handle_message`: it adds nothing to what the intake does.

use crate::domain::Now;
use crate::stream::{Consumer, Pace, Received, Request, StreamEvent, StreamUrl};
use crate::user_data::account::{self, Down};
use crate::user_data::intake::{Intake, Taken};

/// Takes messages and events of one account's stream, on its loop's thread.
pub struct AccountConsumer {
    intake: Intake,
}

impl AccountConsumer {
    /// In front of `intake`.
    #[must_use]
    pub fn new(intake: Intake) -> Self {
        AccountConsumer { intake }
    }
}

impl Consumer for AccountConsumer {
    fn handle_message(&mut self, _connection: u64, payload: &mut [u8], len: usize, at: Now) -> Received {
        match self.intake.handle_message(&payload[..len], at) {
            Taken::Recorded => Received::Data,
            Taken::Control | Taken::Refused => Received::Other,
        }
    }

    fn handle_event(&mut self, event: &StreamEvent, at: Now) {
        let account = self.intake.account().0;
        match event {
            StreamEvent::Live { peer, .. } => {
                tracing::info!(account, "connected to {peer}; asking what it is subscribed to");
                self.intake.handle_connected(at);
            }
            StreamEvent::Fault(fault) => {
                let retry = fault.retry_in.as_secs_f32();
                tracing::warn!(account, "{}; trying again in {retry:.1} s", fault.text);
                let refused = fault.status.filter(|_| fault.layer == crate::domain::Layer::Upgrade);
                self.intake.handle_down(Down::Fault { refused, text: &fault.text }, at);
            }
            StreamEvent::Reconnecting { .. } => self.intake.handle_down(Down::Left, at),
            StreamEvent::Recovered { .. }
            | StreamEvent::DataSilence { .. }
            | StreamEvent::PingAnswered { .. }
            | StreamEvent::Stopped => {}
            StreamEvent::TextDropped { len } => tracing::warn!(account, "a request of {len} bytes found no room"),
        }
    }

    fn handle_activity(&mut self, at: Now) {
        self.intake.handle_activity(at);
    }

    fn poll_request(&mut self) -> Option<Request> {
        Some(match self.intake.poll_request()? {
            account::Request::Text(text) => Request::Text(text),
            account::Request::Reconnect { url, pace } => {
                // An address that cannot be one is a setting that was checked at the start, or a key that was checked when it
                // came: the connection then stays where it is.
                let url = url.and_then(|url| StreamUrl::parse(url.expose()).ok());
                Request::Reconnect { url, pace: pace_of(pace) }
            }
            account::Request::Pause => Request::Pause,
            account::Request::Close => Request::Close,
        })
    }

    fn write_probe(&mut self, out: &mut String) {
        self.intake.write_probe(out);
    }
}

/// The stream's word for the account's.
pub(super) fn pace_of(pace: account::Pace) -> Pace {
    match pace {
        account::Pace::Now => Pace::Now,
        account::Pace::Backoff => Pace::Backoff,
    }
}
