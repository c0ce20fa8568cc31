//! One account's stream, without I/O: which key and spelling it uses, whether it is proven, when it was silent.
//!
//! `NoKey → HaveKey → Connecting → Verifying → Live`, and back. Connected proves nothing (facts/binance.md §1.3): the venue
//! must list the subscription within [`PROOF_WITHIN`], or an event must come, else the next spelling is tried. Two sides drive
//! it: the loop tells what came and obeys [`Account::poll_request`]; a control thread brings keys, opens the stream
//! ([`Account::poll_open`]), and from time to time asks [`Account::poll_nudge`].
//!
//! Silence is counted from the last sign of life that is certain: for a broken connection the last frame, for a dead key the
//! last proof that the key was good, each earlier by [`GAP_MARGIN`]. So a gap never begins later than the truth.

mod frames;
mod key;
mod mute;
mod rotation;
mod silence;
mod state;

use std::collections::VecDeque;
use std::time::Duration;

use self::rotation::Rotations;
pub use self::rotation::{Cause, Place, RotationPlan, Seat};
use self::silence::Silence;
pub use self::state::{AccountState, RotationState};
use crate::domain::limits::{GAP_MARGIN, HOLD_GAP_MIN, NUDGE_EVERY, PROOF_WITHIN};
use crate::domain::{Mono, Now, Wall};
use crate::exchange::binance::control::list_subscriptions_request;
use crate::exchange::binance::listen_key::ListenKey;
use crate::exchange::binance::private_url::{PrivateUrl, Spelling, SpellingChoice};
use crate::exchange::binance::user_data::EventSet;
use crate::spool::{AccountId, ExchangeId, Gap};

/// What is known of an account before its stream begins.
#[derive(Clone, Debug)]
pub struct AccountConfig {
    /// `accounts.id`.
    pub account: AccountId,
    /// `api_systems.id`.
    pub exchange: ExchangeId,
    /// Scheme, host and route of private streams.
    pub base: String,
    /// The setting `user_data.spelling`.
    pub choice: SpellingChoice,
    /// The spelling that delivered in an earlier life, if that is known.
    pub delivered: Option<Spelling>,
    /// The durable liveness mark: [`crate::spool::AccountFound::alive_at`].
    pub alive_at: Option<Wall>,
}

/// A key from the venue.
#[derive(Clone, Debug)]
pub struct KeyNews {
    /// The key.
    pub key: ListenKey,
    /// When the key before this one was last known to be good, where the caller knows (`last_keep_alive_at` of a row whose
    /// key was another). The gap then begins no later.
    pub replaced: Option<Wall>,
}

/// What the account wants of its stream; the loop's adapter maps it to the stream's own requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Send a text. It holds no key.
    Text(String),
    /// Leave the connection or attempt, and go to `url`; `None` is the same place.
    Reconnect {
        /// Where to.
        url: Option<PrivateUrl>,
        /// When.
        pace: Pace,
    },
    /// Hand over nothing more until resumed: there is no room.
    Pause,
    /// End the stream.
    Close,
}

/// When a reconnect begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    Now,
    /// As after a fault.
    Backoff,
}

/// Why a connection or attempt ended.
#[derive(Clone, Copy, Debug)]
pub enum Down<'t> {
    /// A fault; the session tries again by itself.
    Fault {
        /// The HTTP status of a refused upgrade.
        refused: Option<u16>,
        /// A sentence without path, query or key.
        text: &'t str,
    },
    /// It was left because somebody asked for it.
    Left,
}

/// The account's state across connections. See the module's documentation.
pub struct Account {
    config: AccountConfig,
    key: Option<ListenKey>,
    phase: Phase,
    /// Whether a loop hosts the stream.
    is_open: bool,
    /// The session must go to the current URL and does not know it yet.
    reconnect: Option<Pace>,
    next_nudge: Mono,
    texts: VecDeque<String>,
    /// Numbers of requests; a late reply to an earlier one proves nothing.
    request_id: u64,
    /// A probe of a live connection whose reply has not come.
    probe: Option<u64>,
    failed_proofs: u32,
    delivered: Option<Spelling>,
    /// Events that the subscription leaves out.
    absent: EventSet,
    /// The last frame of a proven connection, pings included.
    heard: Option<Now>,
    /// The last time that the key was certain to be good.
    confirmed: Option<Now>,
    /// The newest event that the account's live socket brought; `None`: none yet.
    brought: Option<Wall>,
    silence: Option<Silence>,
    /// Gaps to be recorded, before anything that follows.
    gaps: VecDeque<Gap>,
    /// Frames recorded since the last proof, on a connection without one.
    unproven: u32,
    /// Since when nobody reads it.
    held: Option<Mono>,
    /// Nobody read for a while, and what waited meanwhile is being read: a gap to be told with the next sign of life, which
    /// says nothing about what came before it.
    pause: Option<Silence>,
    not_live_since: Mono,
    refused: Option<String>,
    fault: Option<String>,
    /// Second sockets: make-before-break.
    rotations: Rotations,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    NoKey,
    HaveKey,
    Connecting,
    Verifying { id: u64, until: Mono },
    Live { since: Wall },
    Stopped,
}

impl Account {
    /// An account without a key, silent since its durable mark.
    #[must_use]
    pub fn new(config: AccountConfig, now: Now) -> Account {
        let silence = Some(Silence::since_mark(config.alive_at));
        Account {
            delivered: config.delivered,
            config,
            key: None,
            phase: Phase::NoKey,
            is_open: false,
            reconnect: None,
            next_nudge: Mono::ZERO,
            texts: VecDeque::with_capacity(1),
            request_id: 0,
            probe: None,
            failed_proofs: 0,
            absent: EventSet::default(),
            heard: None,
            confirmed: None,
            brought: None,
            silence,
            gaps: VecDeque::with_capacity(2),
            unproven: 0,
            held: None,
            pause: None,
            not_live_since: now.mono,
            refused: None,
            fault: None,
            rotations: Rotations::default(),
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn id(&self) -> AccountId {
        self.config.account
    }

    /// From which exchange.
    #[must_use]
    pub fn exchange(&self) -> ExchangeId {
        self.config.exchange
    }

    // ---- the control side ----

    /// Whether a control thread must fetch a key.
    #[must_use]
    pub fn wants_key(&self) -> bool {
        self.phase == Phase::NoKey
    }

    /// The key in use, a dead one included: frames of its connection may still name it.
    #[must_use]
    pub fn key(&self) -> Option<&ListenKey> {
        self.key.as_ref()
    }

    /// The URL with which the stream is to be hosted, once per key until [`Account::handle_open_refused`].
    pub fn poll_open(&mut self) -> Option<PrivateUrl> {
        if self.phase != Phase::HaveKey || self.is_open {
            return None;
        }
        self.is_open = true;
        self.phase = Phase::Connecting;
        self.url()
    }

    /// The loop did not take the stream.
    pub fn handle_open_refused(&mut self) {
        self.is_open = false;
        if self.phase != Phase::Stopped {
            self.phase = if self.key.is_some() { Phase::HaveKey } else { Phase::NoKey };
        }
    }

    /// Whether the loop must be told to reconnect this stream (`LoopControl::reconnect(key, None, pace)`): the session then
    /// asks for the URL. Says so again every [`NUDGE_EVERY`] until the session has asked. Proofs that are overdue are found here.
    pub fn poll_nudge(&mut self, now: Now) -> Option<Pace> {
        if let Phase::Verifying { until, .. } = self.phase
            && now.mono >= until
            && self.held.is_none()
        {
            self.fail_proof(now);
        }
        let pace = self.reconnect?;
        if now.mono < self.next_nudge || !self.is_open {
            return None;
        }
        self.next_nudge = now.mono.plus(NUDGE_EVERY);
        Some(pace)
    }

    /// Nobody reads this stream from now on, or somebody is about to again: to be told *before* reading begins. What waits in
    /// the socket after a long pause is old, so the next sign of life does not bear out that nothing before it is missing:
    /// a gap says so.
    pub fn handle_hold(&mut self, is_held: bool, now: Now) {
        if is_held {
            self.held.get_or_insert(now.mono);
            return;
        }
        let Some(since) = self.held.take() else { return };
        match self.phase {
            Phase::Verifying { id, .. } => {
                self.phase = Phase::Verifying { id, until: now.mono.plus(PROOF_WITHIN) };
            }
            Phase::Live { .. } if now.mono.since(since) >= HOLD_GAP_MIN && self.pause.is_none() => {
                self.pause = Some(Silence::after(self.heard, "paused"));
            }
            _ => {}
        }
    }

    /// The account is no longer streamed. The stream ends at the session's next question, or by the loop's `remove`.
    pub fn stop(&mut self) {
        self.phase = Phase::Stopped;
        self.reconnect = None;
        self.texts.clear();
        self.end_rotation();
    }

    // ---- the loop's side ----

    /// The upgrade is through.
    pub fn handle_connected(&mut self, now: Now) {
        self.probe = None;
        self.texts.clear();
        self.note_connected(now);
        // With a reconnect outstanding this is the old place, and is left before anything is asked there.
        if matches!(self.phase, Phase::NoKey | Phase::Stopped) || self.reconnect.is_some() {
            return;
        }
        self.go_silent("reconnect", false, now);
        self.unproven = 0;
        let id = self.ask();
        self.texts.push_back(list_subscriptions_request(id));
        self.phase = Phase::Verifying { id, until: now.mono.plus(PROOF_WITHIN) };
    }

    /// A connection or an attempt has ended; the session begins the next one by itself.
    pub fn handle_down(&mut self, down: Down<'_>, now: Now) {
        self.texts.clear();
        self.probe = None;
        let phase = self.phase;
        if let Down::Fault { text, .. } = down {
            self.fault = Some(text.to_owned());
        }
        if self.hand_over_broken(now) {
            return;
        }
        match phase {
            Phase::Live { .. } => self.go_silent("reconnect", false, now),
            Phase::Verifying { .. } | Phase::Connecting => self.phase = Phase::Connecting,
            Phase::NoKey | Phase::HaveKey | Phase::Stopped => return,
        }
        let is_unproven = match (phase, down) {
            // Some spellings are answered 400 or 404 in production (facts/binance.md §1.3). 403, 418, 429 and 451 are about
            // this address, whatever the spelling.
            (Phase::Connecting, Down::Fault { refused: Some(status), .. }) => {
                (400..500).contains(&status) && ![401, 403, 418, 429, 451].contains(&status)
            }
            // A cut says little against a spelling that has delivered.
            (Phase::Verifying { .. }, Down::Fault { .. }) => self.delivered != Some(self.spelling()),
            _ => false,
        };
        if is_unproven {
            self.fail_proof(now);
        }
    }

    /// A gap that must be recorded before whatever follows; to be asked after every call, on either side, until there is none.
    pub fn poll_gap(&mut self) -> Option<Gap> {
        self.gaps.pop_front()
    }

    /// What the session must do now. To be asked after every call on the loop's side.
    pub fn poll_request(&mut self) -> Option<Request> {
        if self.phase == Phase::Stopped {
            return std::mem::take(&mut self.is_open).then_some(Request::Close);
        }
        if let Some(pace) = self.reconnect.take() {
            self.texts.clear();
            let url = if self.phase == Phase::NoKey { None } else { self.url() };
            return Some(Request::Reconnect { url, pace });
        }
        self.texts.pop_front().map(Request::Text)
    }

    /// Appends the question whose answer shows that this stream is alive and subscribed.
    pub fn write_probe(&mut self, out: &mut String) {
        let id = match self.phase {
            Phase::Live { .. } => self.ask(),
            // The proof is still awaited: the same question again.
            Phase::Verifying { id, .. } => id,
            _ => return,
        };
        if matches!(self.phase, Phase::Live { .. }) {
            self.probe = Some(id);
        }
        out.push_str(&list_subscriptions_request(id));
    }

    // ---- inside ----

    fn spelling(&self) -> Spelling {
        self.config.choice.spelling(self.delivered, self.failed_proofs)
    }

    fn url(&self) -> Option<PrivateUrl> {
        self.key.as_ref().map(|key| PrivateUrl::new(&self.config.base, self.spelling(), key))
    }

    fn ask(&mut self) -> u64 {
        self.request_id += 1;
        self.request_id
    }

    fn go_elsewhere(&mut self, pace: Pace, now: Now) {
        self.abandon_rotation(now);
        self.take_newer_key();
        self.go_silent("reconnect", false, now);
        self.phase = Phase::Connecting;
        self.reconnect = Some(pace);
        self.next_nudge = now.mono;
        self.texts.clear();
    }

    /// The connection is not subscribed. A first round through the spellings goes at once, later ones at the backoff's pace.
    fn fail_proof(&mut self, now: Now) {
        self.failed_proofs = self.failed_proofs.saturating_add(1);
        let is_first_round = (self.failed_proofs as usize) < Spelling::ALL.len();
        let is_auto = self.config.choice == SpellingChoice::Auto;
        self.go_elsewhere(if is_first_round && is_auto { Pace::Now } else { Pace::Backoff }, now);
    }
}

const _: () = assert!(GAP_MARGIN.as_millis() > 0 && PROOF_WITHIN.as_secs() < Duration::from_secs(60).as_secs());

#[cfg(test)]
mod tests;
