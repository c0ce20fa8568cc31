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
//! the old one goes on. A new key is tried [`HANDOVER_KEY_TRIES`] times that way, then the old socket is left.

use std::time::Duration;

use super::{Account, Down, KeyNews, Pace, Phase};
use crate::domain::limits::{
    HANDOVER_ASK_AFTER, HANDOVER_ASK_EVERY, HANDOVER_DRAIN, HANDOVER_KEY_TRIES, HANDOVER_RETRY_MAX, HANDOVER_RETRY_MIN,
    PROOF_WITHIN, ROTATE_JITTER_PART,
};
use crate::domain::{Mono, Now, Random, Wall};
use crate::exchange::binance::control::{Proof, list_subscriptions_request, subscriptions_prove};
use crate::exchange::binance::listen_key::ListenKey;
use crate::exchange::binance::private_url::{PrivateUrl, Spelling};
use crate::exchange::binance::user_data::{Class, Demand, EventSet, Frame};
use crate::user_data::handover::{Arrival, Handover, HandoverCounts, Release, Side, Verdict};

/// Which socket of an account: grows with each, so that a late call of one that was left is known.
pub type Seat = u32;

/// When connections are replaced.
#[derive(Debug)]
pub struct RotationPlan {
    /// At this age, give or take a part ([`ROTATE_JITTER_PART`]); `None`: only at a change of the key.
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
    heard: Wall,
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
                heard: now.wall,
                due: None,
            }),
        }));
        Some((self.rotations.newest, url))
    }

    /// Whether the loop took the second socket.
    pub fn handle_rotation_opened(&mut self, is_taken: bool, now: Now) {
        let Some(next) = self.next_mut() else { return };
        if is_taken {
            next.stage = Stage::Connecting;
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

    // ---- the loop's side ----

    /// Whether `seat` is the account's only socket, as nearly always.
    #[must_use]
    pub fn is_alone(&self, seat: Seat) -> bool {
        self.rotations.under_way.is_none() && seat == self.rotations.seat
    }

    /// What `seat` is.
    #[must_use]
    pub fn place(&self, seat: Seat) -> Place {
        let next = self.rotations.under_way.as_ref().filter(|under_way| under_way.next.is_some());
        match next {
            _ if seat == self.rotations.seat => Place::Current,
            Some(under_way) if under_way.new.0 == seat => Place::Next,
            _ => Place::Left,
        }
    }

    /// The keys of both sockets, the old one's first: each frame is masked with its own.
    #[must_use]
    pub fn handover_keys(&self) -> Option<(ListenKey, ListenKey)> {
        self.rotations.under_way.as_ref().map(|under_way| (under_way.old.1.clone(), under_way.new.1.clone()))
    }

    /// A frame came by `seat` during a handover; calls `record` for each that is to be recorded now. Whether `seat` belongs
    /// to the handover: if not, the frame is to be recorded as it is.
    pub fn handle_arrival(
        &mut self,
        seat: Seat,
        frame: &[u8],
        event: &[u8],
        key: Option<crate::exchange::binance::event_key::EventKey>,
        at: Now,
        record: &mut impl FnMut(Release<'_>),
    ) -> bool {
        let Some(under_way) = &mut self.rotations.under_way else { return false };
        let side = match seat {
            _ if seat == under_way.old.0 => Side::Old,
            _ if seat == under_way.new.0 => Side::New,
            _ => return false,
        };
        under_way.handover.handle_frame(&Arrival { side, event, frame, key, at }, record);
        true
    }

    /// The second socket's upgrade is through.
    pub fn handle_next_connected(&mut self, now: Now) {
        let due = self.due_from(now.mono);
        let id = self.ask();
        let Some(under_way) = &mut self.rotations.under_way else { return };
        under_way.handover.handle_up(now.mono);
        let Some(next) = &mut under_way.next else { return };
        next.text = Some(list_subscriptions_request(id));
        next.stage = Stage::Verifying { id, until: now.mono.plus(PROOF_WITHIN) };
        (next.due, next.heard) = (due, now.wall);
    }

    /// The second socket has ended, or its attempt has.
    pub fn handle_next_down(&mut self, down: Down<'_>, now: Now) {
        if let Down::Fault { text, .. } = down {
            self.fault = Some(text.to_owned());
        }
        self.fail_rotation(now);
    }

    /// Something came by the second socket.
    pub fn handle_next_activity(&mut self, now: Now) {
        if let Some(next) = self.next_mut() {
            next.heard = now.wall;
        }
    }

    /// The answer to a request of ours came by the second socket.
    pub fn handle_next_reply(&mut self, reply: &[u8], now: Now) {
        let Some(under_way) = &mut self.rotations.under_way else { return };
        let (Some(next), key) = (&mut under_way.next, &under_way.new.1) else { return };
        let Stage::Verifying { id, .. } = next.stage else { return };
        match subscriptions_prove(reply, id, key) {
            Proof::Named { absent } => {
                next.absent = absent;
                self.prove_next(now);
            }
            Proof::Missing | Proof::Error { .. } => self.fail_rotation(now),
            Proof::NotThisReply => {}
        }
    }

    /// A frame came by the second socket.
    pub fn handle_next_frame(&mut self, frame: &Frame<'_>, now: Now) {
        let Some(under_way) = &mut self.rotations.under_way else { return };
        let Some(next) = &mut under_way.next else { return };
        next.heard = now.wall;
        match frame.class.demand() {
            Demand::NewListenKey if frame.names_key(&under_way.new.1) != Some(false) => {
                self.forget_newer_key();
                self.lose_key(now);
            }
            Demand::ReconnectSoon => self.fail_rotation(now),
            Demand::NewListenKey => {}
            Demand::Nothing => {
                if matches!(next.stage, Stage::Verifying { .. }) && matches!(frame.class, Class::Event(_)) {
                    self.prove_next(now);
                }
            }
        }
    }

    /// A text for the second socket.
    pub fn poll_next_text(&mut self) -> Option<String> {
        self.next_mut()?.text.take()
    }

    // ---- inside ----

    fn next_mut(&mut self) -> Option<&mut Next> {
        self.rotations.under_way.as_mut()?.next.as_mut()
    }

    pub(super) fn is_handing_over(&self) -> bool {
        self.rotations.newer.is_some() || self.rotations.under_way.as_ref().is_some_and(|it| it.next.is_some())
    }

    pub(super) fn has_newer_key(&self) -> bool {
        self.rotations.newer.is_some()
    }

    pub(super) fn forget_newer_key(&mut self) {
        self.rotations.newer = None;
    }

    /// The account's socket is connected.
    pub(super) fn note_connected(&mut self, now: Now) {
        self.rotations.is_up = true;
        self.rotations.due = self.due_from(now.mono);
    }

    /// A new key while a socket is up: a second one is opened with it, and the news is kept for that.
    pub(super) fn keep_for_handover(&mut self, news: KeyNews, now: Now) -> Option<KeyNews> {
        let is_live = matches!(self.phase, Phase::Live { .. });
        let is_possible = self.rotations.plan.is_some() && self.is_open && self.rotations.is_up && self.key.is_some();
        if !is_possible || !(is_live || self.phase == Phase::NoKey || self.has_newer_key()) {
            return Some(news);
        }
        if !is_live {
            self.be_silent_since(news.replaced);
            self.phase = Phase::Connecting;
        }
        self.abandon_rotation(now);
        self.rotations.failures = 0;
        self.rotations.not_before = now.mono;
        self.rotations.newer = Some(news);
        None
    }

    /// The newer key becomes the account's.
    pub(super) fn take_newer_key(&mut self) {
        if let Some(news) = self.rotations.newer.take() {
            self.be_silent_since(news.replaced);
            self.key = Some(news.key);
        }
    }

    /// The key of the account's socket is dead, and there is a newer one: whether it takes over.
    pub(super) fn go_on_with_newer_key(&mut self, now: Now) -> bool {
        if !self.has_newer_key() {
            return false;
        }
        let is_opened = self.next_mut().is_some();
        match &mut self.rotations.under_way {
            // Verified already: from here on its frames are all there is.
            Some(under_way) if matches!(under_way.next, Some(Next { stage: Stage::Live { .. }, .. })) => {
                self.promote(now);
            }
            _ if is_opened => self.phase = Phase::Connecting,
            _ => self.go_elsewhere(Pace::Now, now),
        }
        true
    }

    /// The account's socket has ended: whether the second one takes its place.
    pub(super) fn hand_over_broken(&mut self, now: Now) -> bool {
        self.rotations.is_up = false;
        let is_live = matches!(self.phase, Phase::Live { .. });
        let Some(under_way) = &mut self.rotations.under_way else {
            self.take_newer_key_unless_live(is_live, now);
            return false;
        };
        let Some(next) = &under_way.next else {
            if under_way.old.0 == self.rotations.seat {
                under_way.handover.handle_dead(Side::Old, now.mono);
            }
            self.take_newer_key_unless_live(is_live, now);
            return false;
        };
        let is_verified = matches!(next.stage, Stage::Live { .. });
        let is_whole = is_live && is_verified && next.is_borne_out && next.cause == Cause::Age;
        let is_key = next.cause == Cause::Key;
        if matches!(next.stage, Stage::Wanted) {
            self.abandon_rotation(now);
            return false;
        }
        if !is_whole {
            self.go_silent(if is_key { "key" } else { "reconnect" }, is_key, now);
        }
        self.promote(now);
        true
    }

    /// A socket that ended before its handover began reconnects with the newer key at once.
    fn take_newer_key_unless_live(&mut self, is_live: bool, now: Now) {
        if self.has_newer_key() {
            if is_live {
                self.go_silent("reconnect", false, now);
            }
            self.go_elsewhere(Pace::Now, now);
        }
    }

    /// Whether `reply` is the old socket's answer to the question that was asked once the new one was proven.
    pub(super) fn is_borne_out_by(&mut self, reply: &[u8], now: Now) -> bool {
        let Some(under_way) = &mut self.rotations.under_way else { return false };
        let (Some(next), key) = (&mut under_way.next, &under_way.old.1) else { return false };
        let Some(id) = next.asked else { return false };
        match subscriptions_prove(reply, id, key) {
            Proof::NotThisReply => return false,
            Proof::Named { .. } => {
                (next.asked, next.is_borne_out) = (None, true);
                if next.cause == Cause::Age {
                    self.confirmed = Some(now.wall);
                }
            }
            Proof::Missing => {
                next.asked = None;
                self.lose_key(now);
            }
            Proof::Error { .. } => next.asked = None,
        }
        true
    }

    /// The second socket is subscribed. A while later the account's own is asked whether it is, behind all that it sent.
    fn prove_next(&mut self, now: Now) {
        let is_live = matches!(self.phase, Phase::Live { .. });
        let Some(under_way) = &mut self.rotations.under_way else { return };
        under_way.handover.handle_proven(now.mono);
        let Some(next) = &mut under_way.next else { return };
        next.stage = Stage::Live { since: now };
        (next.heard, next.ask_at) = (now.wall, now.mono.plus(HANDOVER_ASK_AFTER));
        if !is_live {
            self.promote(now);
        }
    }

    /// The second socket becomes the account's, in whatever state it is; the gap that is open ends if it is proven.
    fn promote(&mut self, now: Now) {
        let Some(under_way) = &mut self.rotations.under_way else { return };
        let Some(next) = under_way.next.take() else { return };
        if under_way.handover.leader() == Side::Old {
            under_way.handover.lead(Side::New, now.mono);
        }
        let (seat, key) = under_way.new.clone();
        let left = std::mem::replace(&mut self.rotations.seat, seat);
        self.rotations.leaving.push((left, now.mono.plus(HANDOVER_DRAIN)));
        if self.rotations.newer.as_ref().is_some_and(|news| news.key == key) {
            let news = self.rotations.newer.take();
            self.be_silent_since(news.and_then(|news| news.replaced));
        }
        self.key = Some(key);
        self.rotations.due = next.due;
        self.rotations.is_up = !matches!(next.stage, Stage::Wanted | Stage::Connecting);
        (self.reconnect, self.probe, self.unproven) = (None, None, 0);
        self.texts.clear();
        self.texts.extend(next.text);
        match next.stage {
            Stage::Wanted | Stage::Connecting => self.phase = Phase::Connecting,
            Stage::Verifying { id, until } => self.phase = Phase::Verifying { id, until },
            Stage::Live { since } => {
                if self.silence.is_some() {
                    self.end_silence(now);
                }
                (self.silence, self.fault) = (None, None);
                (self.delivered, self.failed_proofs) = (Some(next.spelling), 0);
                self.phase = Phase::Live { since: since.wall };
                self.absent = next.absent;
                (self.heard, self.confirmed) = (Some(next.heard), Some(since.wall));
                self.rotations.failures = 0;
                let shown = &mut self.rotations.shown;
                shown.done += 1;
                (shown.last_at, shown.overlap) = (Some(now.wall), Some(now.mono.since(since.mono)));
            }
        }
    }

    /// The second socket is given up, and tried again later.
    fn fail_rotation(&mut self, now: Now) {
        let Some(cause) = self.next_mut().map(|next| next.cause) else { return };
        let is_live = matches!(self.phase, Phase::Live { .. });
        self.abandon_rotation(now);
        let rotations = &mut self.rotations;
        rotations.shown.failed += 1;
        rotations.failures = rotations.failures.saturating_add(1);
        if cause == Cause::Key && (!is_live || rotations.failures >= HANDOVER_KEY_TRIES) {
            // The venue has another key for this account; the old socket may bring nothing any more.
            self.go_silent("key", true, now);
            return self.fail_proof(now);
        }
        let pause = HANDOVER_RETRY_MIN.saturating_mul(1 << (rotations.failures - 1).min(16)).min(HANDOVER_RETRY_MAX);
        let part = u64::try_from(pause.as_millis() / 2).unwrap_or(u64::MAX).max(1);
        let jitter = rotations.plan.as_mut().map_or(0, |plan| plan.random.below(part));
        rotations.not_before = now.mono.plus(pause / 2 + Duration::from_millis(jitter));
    }

    /// The second socket is given up. What waits of it is recorded unless the account's own brings it.
    pub(super) fn abandon_rotation(&mut self, now: Now) {
        let Some(under_way) = &mut self.rotations.under_way else { return };
        if under_way.next.take().is_some() {
            self.rotations.leaving.push((under_way.new.0, now.mono));
            under_way.handover.handle_dead(Side::New, now.mono);
        }
    }

    /// The account is no longer streamed.
    pub(super) fn end_rotation(&mut self) {
        (self.rotations.under_way, self.rotations.newer) = (None, None);
    }

    fn due_from(&mut self, now: Mono) -> Option<Mono> {
        let plan = self.rotations.plan.as_mut()?;
        let after = plan.after?;
        let jitter = u64::try_from((after / ROTATE_JITTER_PART).as_nanos()).unwrap_or(u64::MAX / 4).max(1);
        let early = after.saturating_sub(after / ROTATE_JITTER_PART);
        Some(now.plus(early + Duration::from_nanos(plan.random.below(2 * jitter))))
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
