//! Make before break: a second socket for an account whose connection grows old or whose key has changed.
//!
//! The host asks [`Account::wants_rotation`], begins one, hosts the second socket in a [`Seat`] of its own, and ends what
//! [`Account::poll_leaving`] names. The new socket is verified as any other; then both are read, and the
//! [`Handover`] says what is recorded. The new one takes the old one's place:
//!
//! - without a gap when both have brought one frame; where the key is the same also when both were quiet and the old one
//!   answered a question that was asked after the new one was verified, or the old one broke after that answer;
//! - with a gap, as after any break, in all other cases: what a replaced key still delivers nobody knows before a frame
//!   comes by it.
//!
//! A new socket that is never verified, or delivers nothing of what the old one does, is given up and tried again later:
//! the old one goes on. A new key is tried a few times that way, then the old socket is left.

mod moves;
mod second;

use std::time::Duration;

use super::{Account, KeyNews, Phase};
use crate::domain::limits::HANDOVER_ASK_EVERY;
use crate::domain::{Mono, Now, Random, Wall};
use crate::exchange::binance::control::list_subscriptions_request;
use crate::exchange::binance::listen_key::ListenKey;
use crate::exchange::binance::private_url::{PrivateUrl, Spelling};
use crate::exchange::binance::user_data::EventSet;
use crate::user_data::handover::{Handover, HandoverCounts, Release, Side, Verdict};

/// Which socket of an account: grows with each, so that a late call of one that was left is known.
pub type Seat = u32;

/// When connections are replaced.
#[derive(Debug)]
pub struct RotationPlan {
    /// At this age, give or take a 46th; `None`: only at a change of the key.
    pub after: Option<Duration>,
    /// Spreads rotations and retries.
    pub random: Random,
}

/// Why a second socket is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The connection's age.
    Age,
    /// The venue gave another key.
    Key,
}

impl Cause {
    /// Words for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Age => "the first one grows old",
            Cause::Key => "the listen key has changed",
        }
    }
}

/// What a seat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The account's socket.
    Current,
    /// The one that is to take its place.
    Next,
    /// One that was left, or given up.
    Left,
}

/// What an account remembers of second sockets.
#[derive(Debug, Default)]
pub(super) struct Rotations {
    plan: Option<RotationPlan>,
    /// The account's socket.
    seat: Seat,
    /// The newest seat that was given away.
    newest: Seat,
    /// Whether the account's socket is connected.
    is_up: bool,
    /// When the account's socket is to be replaced.
    due: Option<Mono>,
    not_before: Mono,
    /// A newer key than that of the account's socket.
    newer: Option<KeyNews>,
    under_way: Option<Box<UnderWay>>,
    /// Seats whose sockets are to be ended, and from when on.
    leaving: Vec<(Seat, Mono)>,
    /// In a row.
    failures: u32,
    pub(super) shown: Shown,
}

/// For people.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    pub done: u64,
    pub failed: u64,
    pub last_at: Option<Wall>,
    pub overlap: Option<Duration>,
    pub counts: HandoverCounts,
}

/// From the wish for a second socket to the last twin of the one that was left.
#[derive(Debug)]
struct UnderWay {
    old: (Seat, ListenKey),
    new: (Seat, ListenKey),
    handover: Handover,
    counted: HandoverCounts,
    /// `None` once it is decided which socket stays.
    next: Option<Next>,
}

/// The socket that is to take the account's place.
#[derive(Debug)]
struct Next {
    cause: Cause,
    spelling: Spelling,
    stage: Stage,
    text: Option<String>,
    /// When the old socket is asked (again) whether it lives, and the number of the question.
    ask_at: Mono,
    asked: Option<u64>,
    is_borne_out: bool,
    absent: EventSet,
    heard: Now,
    due: Option<Mono>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Wanted,
    Connecting,
    Verifying { id: u64, until: Mono },
    Live { since: Now },
}

impl Account {
    /// With make-before-break, which needs a host that gives second sockets.
    #[must_use]
    pub fn with_rotation(mut self, plan: RotationPlan) -> Account {
        self.rotations.plan = Some(plan);
        self
    }

    // ---- the host's side ----

    /// Why a second socket should be opened now, if one should.
    #[must_use]
    pub fn wants_rotation(&self, now: Now) -> Option<Cause> {
        let rotations = &self.rotations;
        let may = rotations.plan.is_some()
            && rotations.under_way.is_none()
            && self.is_open
            && rotations.is_up
            && self.reconnect.is_none()
            && self.held.is_none()
            && now.mono >= rotations.not_before;
        let is_live = matches!(self.phase, Phase::Live { .. });
        match &rotations.newer {
            Some(_) if may && (is_live || self.phase == Phase::Connecting) => Some(Cause::Key),
            None if may && is_live && rotations.due.is_some_and(|due| due <= now.mono) => Some(Cause::Age),
            _ => None,
        }
    }

    /// Begins what [`Account::wants_rotation`] said; the seat and URL of the socket to be hosted.
    pub fn begin_rotation(&mut self, now: Now) -> Option<(Seat, PrivateUrl)> {
        let cause = self.wants_rotation(now)?;
        let old = self.key.clone()?;
        let new = self.rotations.newer.as_ref().map_or_else(|| old.clone(), |news| news.key.clone());
        let spelling = self.spelling();
        let url = PrivateUrl::new(&self.config.base, spelling, &new);
        // Seats that exist together differ in their lowest bit, by which the host tells them apart.
        let is_free = (self.rotations.newest ^ self.rotations.seat) & 1 == 0;
        self.rotations.newest += if is_free { 1 } else { 2 };
        self.rotations.under_way = Some(Box::new(UnderWay {
            old: (self.rotations.seat, old),
            new: (self.rotations.newest, new),
            handover: Handover::new(now.mono),
            counted: HandoverCounts::default(),
            next: Some(Next {
                cause,
                spelling,
                stage: Stage::Wanted,
                text: None,
                ask_at: Mono::NEVER,
                asked: None,
                is_borne_out: false,
                absent: EventSet::default(),
                heard: now,
                due: None,
            }),
        }));
        Some((self.rotations.newest, url))
    }

    /// Whether the loop took the second socket.
    pub fn handle_rotation_opened(&mut self, is_taken: bool, now: Now) {
        let Some(next) = self.next_mut() else { return };
        if is_taken {
            // The loop may have been quicker than this.
            if matches!(next.stage, Stage::Wanted) {
                next.stage = Stage::Connecting;
            }
        } else {
            self.fail_rotation(now);
        }
    }

    /// A text for the account's socket that the host must send: quiet sockets ask for nothing by themselves.
    pub fn poll_question(&mut self, now: Now) -> Option<String> {
        self.next_mut().filter(|next| !next.is_borne_out && next.ask_at <= now.mono)?;
        let id = self.ask();
        let next = self.next_mut()?;
        (next.asked, next.ask_at) = (Some(id), now.mono.plus(HANDOVER_ASK_EVERY));
        Some(list_subscriptions_request(id))
    }

    /// A seat whose socket is to be ended now.
    pub fn poll_leaving(&mut self, now: Now) -> Option<Seat> {
        let place = self.rotations.leaving.iter().position(|(_, at)| *at <= now.mono)?;
        Some(self.rotations.leaving.swap_remove(place).0)
    }

    /// The loop did not take the end of that socket: it is to be told again.
    pub fn handle_leaving_refused(&mut self, seat: Seat) {
        self.rotations.leaving.push((seat, Mono::ZERO));
    }

    /// The account's socket.
    #[must_use]
    pub fn seat(&self) -> Seat {
        self.rotations.seat
    }

    /// Whether there is, or just was, a second socket: the account is to be looked after quickly.
    #[must_use]
    pub fn is_rotating(&self) -> bool {
        self.rotations.under_way.is_some() || !self.rotations.leaving.is_empty()
    }

    /// Decides what time and frames have decided. Gaps first, then [`Account::flush_handover`].
    pub fn judge_rotation(&mut self, now: Now) {
        let Some(under_way) = &mut self.rotations.under_way else { return };
        under_way.count(&mut self.rotations.shown.counts);
        let Some(next) = &under_way.next else {
            if under_way.handover.is_over(now.mono) {
                self.rotations.under_way = None;
            }
            return;
        };
        match next.stage {
            Stage::Verifying { until, .. } if until <= now.mono && self.held.is_none() => self.fail_rotation(now),
            Stage::Live { .. } => match under_way.handover.judge(next.is_borne_out, now.mono) {
                Verdict::Wait => {}
                Verdict::Lead if next.cause == Cause::Age || under_way.handover.leader() == Side::New => {
                    self.promote(now);
                }
                Verdict::Lead | Verdict::OldIsMute => {
                    // It was alive as long as it was confirmed, however many pings came since.
                    self.go_silent("key", true, now);
                    self.promote(now);
                }
                Verdict::NewIsUseless => self.fail_rotation(now),
            },
            _ => {}
        }
    }

    /// Records what has waited long enough for its twin.
    pub fn flush_handover(&mut self, now: Now, record: &mut impl FnMut(Release<'_>)) {
        if let Some(under_way) = &mut self.rotations.under_way {
            under_way.handover.flush(now.mono, record);
        }
    }
}

impl UnderWay {
    fn count(&mut self, shown: &mut HandoverCounts) {
        let (now, before) = (self.handover.counts(), std::mem::replace(&mut self.counted, self.handover.counts()));
        shown.folded += now.folded - before.folded;
        shown.near_duplicates += now.near_duplicates - before.near_duplicates;
        shown.late += now.late - before.late;
        shown.forgotten += now.forgotten - before.forgotten;
    }
}

#[cfg(test)]
mod tests;
