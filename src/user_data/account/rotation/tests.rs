//! Second sockets, driven by hand: when one is opened, who takes whose place, and where a gap is told.

use super::*;
use crate::domain::limits::{
    GAP_MARGIN, HANDOVER_DRAIN, HANDOVER_KEY_TRIES, HANDOVER_QUIET, HANDOVER_RETRY_MIN, HANDOVER_TAIL, PROOF_WITHIN,
};
use crate::exchange::binance::private_url::SpellingChoice;
use crate::exchange::binance::user_data::classify;
use crate::spool::{AccountId, ExchangeId, Gap};
use crate::user_data::account::{AccountConfig, Down, Pace, Request};

const KEY: &str = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
const OTHER: &str = "SYNTHETIClistenKeyB0000000000000000000000000000000000000000000BB";
const MARGIN: i64 = GAP_MARGIN.as_millis() as i64;
const HOUR: i64 = 3_600_000;

struct Rig {
    account: Account,
    now: Now,
    recorded: Vec<String>,
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

impl Rig {
    /// Live with KEY since 1,000 s, on a socket of that age.
    fn live(after: Option<Duration>) -> Rig {
        let config = AccountConfig {
            account: AccountId(7),
            exchange: ExchangeId(1),
            base: "wss://localhost/private".to_owned(),
            choice: SpellingChoice::Auto,
            delivered: None,
            alive_at: None,
        };
        let plan = RotationPlan { after, random: Random::from_seed(5) };
        let account = Account::new(config, Now::default()).with_rotation(plan);
        let mut rig = Rig { account, now: Now::default(), recorded: Vec::new() };
        rig.at(1_000_000);
        rig.key(KEY);
        rig.account.poll_open().unwrap();
        rig.account.handle_connected(rig.now);
        let id = rig.question();
        rig.account.handle_reply(&named(id, KEY), rig.now);
        assert_eq!((rig.phase(), rig.gaps().len()), ("live", 1));
        rig
    }

    fn at(&mut self, millis: i64) {
        self.now = Now { mono: Mono::from_nanos(millis as u64 * 1_000_000), wall: Wall::from_millis(millis) };
    }

    fn later(&mut self, millis: i64) {
        self.at(self.now.wall.as_millis() + millis);
    }

    fn key(&mut self, key: &str) {
        self.account.handle_key(KeyNews { key: ListenKey::new(key).unwrap(), replaced: None }, self.now);
    }

    fn phase(&self) -> &'static str {
        self.account.state(self.now).phase
    }

    fn question(&mut self) -> u64 {
        let Some(Request::Text(text)) = self.account.poll_request() else { panic!("no question") };
        id_of(&text)
    }

    /// Since, live at (ms), reason.
    fn gaps(&mut self) -> Vec<(Option<i64>, i64, String)> {
        let told = |gap: Gap| (gap.silent_since.map(Wall::as_millis), gap.live_at.as_millis(), gap.reason);
        std::iter::from_fn(|| self.account.poll_gap()).map(told).collect()
    }

    fn begin(&mut self) -> (Seat, String) {
        let (seat, url) = self.account.begin_rotation(self.now).unwrap();
        self.account.handle_rotation_opened(true, self.now);
        (seat, url.expose().to_owned())
    }

    /// The second socket up to its question.
    fn next_up(&mut self) -> u64 {
        self.account.handle_next_connected(self.now);
        id_of(&self.account.poll_next_text().unwrap())
    }

    /// A second socket, proven.
    fn next_live(&mut self, key: &str) -> Seat {
        let (seat, url) = self.begin();
        assert!(url.contains(key));
        let id = self.next_up();
        self.account.handle_next_reply(&named(id, key), self.now);
        seat
    }

    /// The old socket is asked, and answers.
    fn bear_out(&mut self, key: &str) {
        self.later(1_000);
        let id = id_of(&self.account.poll_question(self.now).unwrap());
        assert_eq!(self.account.poll_question(self.now), None, "once");
        self.account.handle_reply(&named(id, key), self.now);
    }

    /// A frame by a seat, as the intake tells it.
    fn frame(&mut self, seat: Seat, text: &str) {
        let (read, at) = (classify(text.as_bytes()), self.now);
        match self.account.place(seat) {
            Place::Current => self.account.handle_recorded(&read, at),
            Place::Next => self.account.handle_next_frame(&read, at),
            Place::Left => {}
        }
        let recorded = &mut self.recorded;
        let mut record = |release: Release<'_>| recorded.push(String::from_utf8(release.frame.to_vec()).unwrap());
        if !self.account.handle_arrival(seat, text.as_bytes(), text.as_bytes(), None, at, &mut record) {
            self.recorded.push(text.to_owned());
        }
        self.judge();
    }

    fn judge(&mut self) {
        self.account.judge_rotation(self.now);
        let recorded = &mut self.recorded;
        let mut record = |release: Release<'_>| recorded.push(String::from_utf8(release.frame.to_vec()).unwrap());
        self.account.flush_handover(self.now, &mut record);
    }

    fn cut(&mut self) {
        self.account.handle_down(Down::Fault { refused: None, text: "tcp: cut" }, self.now);
    }

    fn done(&self) -> (u64, u64) {
        let state = self.account.state(self.now).rotation;
        (state.done, state.failed)
    }
}

fn named(id: u64, key: &str) -> Vec<u8> {
    format!(r#"{{"result":["{key}"],"id":{id}}}"#).into_bytes()
}

fn id_of(question: &str) -> u64 {
    question.rsplit(':').next().unwrap().trim_end_matches('}').parse().unwrap()
}

fn event(n: u32) -> String {
    format!(r#"{{"e":"ORDER_TRADE_UPDATE","E":{n}}}"#)
}

#[test]
fn a_rotation_is_due_around_its_age() {
    let mut dues = std::collections::BTreeSet::new();
    let after = Duration::from_secs(23 * 3_600);
    let mut rig = Rig::live(Some(after));
    for _ in 0..50 {
        rig.account.handle_connected(rig.now);
        let due = rig.account.rotations.due.unwrap().since(rig.now.mono);
        assert!(due >= after - Duration::from_secs(1_800) && due <= after + Duration::from_secs(1_800), "{due:?}");
        dues.insert(due);
    }
    assert!(dues.len() > 45, "they are spread");
    let mut rig = Rig::live(Some(after));
    rig.later(22 * HOUR);
    assert_eq!(rig.account.wants_rotation(rig.now), None);
    rig.later(2 * HOUR);
    assert_eq!(rig.account.wants_rotation(rig.now), Some(Cause::Age));
    rig.account.handle_hold(true, rig.now);
    assert_eq!(rig.account.wants_rotation(rig.now), None, "not while nobody reads");
    let mut rig = Rig::live(None);
    rig.later(1_000 * HOUR);
    assert_eq!(rig.account.wants_rotation(rig.now), None);
}

#[test]
fn the_new_socket_leads_from_a_frame_of_both() {
    let mut rig = Rig::live(Some(Duration::from_secs(60)));
    rig.later(70_000);
    let seat = rig.next_live(KEY);
    assert_eq!((rig.account.place(0), rig.account.place(seat)), (Place::Current, Place::Next));
    rig.frame(0, &event(1));
    rig.frame(seat, &event(1));
    assert_eq!((rig.account.seat(), rig.account.place(0), rig.done()), (seat, Place::Left, (1, 0)));
    assert_eq!((rig.gaps(), rig.phase(), rig.recorded.len()), (vec![], "live", 1));
    // The old one is read for a while, then ended; another rotation waits for the last twins.
    rig.frame(0, &event(2));
    rig.frame(seat, &event(2));
    assert_eq!((rig.recorded.len(), rig.account.poll_leaving(rig.now)), (2, None));
    rig.later(millis(HANDOVER_DRAIN));
    assert_eq!(rig.account.poll_leaving(rig.now), Some(0));
    assert_eq!(rig.account.poll_leaving(rig.now), None);
    assert!(rig.account.is_rotating() && !rig.account.is_alone(seat));
    rig.later(millis(HANDOVER_TAIL));
    rig.judge();
    assert!(!rig.account.is_rotating() && rig.account.is_alone(seat));
    assert_eq!(rig.account.wants_rotation(rig.now), None, "its age counts from its own upgrade");
    rig.later(60_000);
    assert_eq!(rig.account.wants_rotation(rig.now), Some(Cause::Age));
}

#[test]
fn quiet_sockets_change_when_the_old_one_has_answered() {
    for answers in [true, false] {
        let mut rig = Rig::live(Some(Duration::from_secs(60)));
        rig.later(70_000);
        rig.next_live(KEY);
        assert_eq!(rig.account.poll_question(rig.now), None, "what lags has its time");
        if answers {
            rig.bear_out(KEY);
        }
        rig.later(millis(HANDOVER_QUIET));
        rig.judge();
        assert_eq!((rig.done(), rig.gaps()), ((u64::from(answers), 0), vec![]));
    }
}

#[test]
fn an_old_socket_that_breaks_leaves_a_gap_unless_it_was_borne_out() {
    for is_borne_out in [true, false] {
        let mut rig = Rig::live(Some(Duration::from_secs(60)));
        rig.later(70_000);
        rig.account.handle_activity(rig.now);
        let (heard, seat) = (rig.now.wall.as_millis(), rig.next_live(KEY));
        rig.frame(seat, &event(1));
        assert!(rig.recorded.is_empty(), "it waits");
        if is_borne_out {
            rig.bear_out(KEY);
        }
        rig.cut();
        let gap = (Some(heard - MARGIN), rig.now.wall.as_millis(), "reconnect".to_owned());
        assert_eq!(rig.gaps(), if is_borne_out { vec![] } else { vec![gap] });
        rig.judge();
        assert_eq!((rig.phase(), rig.account.seat(), rig.recorded.len()), ("live", seat, 1));
        // The new one is the account's: its break is a break.
        rig.cut();
        assert_eq!(rig.phase(), "connecting");
    }
}

#[test]
fn a_second_socket_that_is_not_proven_yet_goes_on_as_the_first() {
    let mut rig = Rig::live(Some(Duration::from_secs(60)));
    rig.later(70_000);
    let (seat, _) = rig.begin();
    rig.cut();
    assert_eq!((rig.phase(), rig.account.seat(), rig.gaps()), ("connecting", seat, vec![]));
    assert_eq!(rig.account.poll_nudge(rig.now), None, "its session is on its way already");
    rig.account.handle_connected(rig.now);
    let id = rig.question();
    rig.account.handle_reply(&named(id, KEY), rig.now);
    assert_eq!((rig.phase(), rig.gaps().len()), ("live", 1));

    let mut rig = Rig::live(Some(Duration::from_secs(60)));
    rig.later(70_000);
    rig.begin();
    let id = rig.next_up();
    rig.cut();
    assert_eq!(rig.phase(), "verifying");
    rig.account.handle_reply(&named(id, KEY), rig.now);
    assert_eq!((rig.phase(), rig.gaps().len()), ("live", 1));

    // One that no loop has yet is forgotten.
    let mut rig = Rig::live(Some(Duration::from_secs(60)));
    rig.later(70_000);
    rig.account.begin_rotation(rig.now).unwrap();
    rig.cut();
    assert_eq!((rig.phase(), rig.account.seat()), ("connecting", 0));
}

#[test]
fn a_second_socket_that_fails_is_tried_again_later_in_a_free_seat() {
    let mut rig = Rig::live(Some(Duration::from_secs(60)));
    rig.later(70_000);
    let mut pauses = Vec::new();
    for how in ["fault", "unlisted", "late", "refused", "going away"] {
        let seat = match how {
            "refused" => {
                let (seat, _) = rig.account.begin_rotation(rig.now).unwrap();
                rig.account.handle_rotation_opened(false, rig.now);
                seat
            }
            _ => {
                let (seat, _) = rig.begin();
                let id = rig.next_up();
                match how {
                    "fault" => {
                        let down = Down::Fault { refused: Some(503), text: "refused" };
                        rig.account.handle_next_down(down, rig.now);
                    }
                    "unlisted" => rig.account.handle_next_reply(&named(id, OTHER), rig.now),
                    "late" => {
                        rig.later(millis(PROOF_WITHIN));
                        rig.judge();
                    }
                    _ => rig.frame(seat, r#"{"e":"serverShutdown","E":1}"#),
                }
                seat
            }
        };
        assert_eq!(seat & 1, 1, "{how}: the account's own seat is 0");
        assert_eq!((rig.account.poll_leaving(rig.now), rig.phase()), (Some(seat), "live"), "{how}");
        let from = rig.now;
        while rig.account.wants_rotation(rig.now).is_none() {
            rig.later(1_000);
            rig.judge();
        }
        pauses.push(rig.now.mono.since(from.mono));
    }
    assert_eq!((rig.done(), rig.gaps()), ((0, 5), vec![]));
    assert!(pauses[4] >= HANDOVER_RETRY_MIN * 8, "{pauses:?}");
}

#[test]
fn a_new_key_is_taken_up_by_a_second_socket() {
    // Both deliver: no gap.
    let mut rig = Rig::live(None);
    rig.later(70_000);
    rig.key(OTHER);
    assert_eq!((rig.account.wants_rotation(rig.now), rig.phase()), (Some(Cause::Key), "live"));
    assert_eq!((rig.account.poll_nudge(rig.now), rig.account.poll_request()), (None, None), "the old one stays");
    let seat = rig.next_live(OTHER);
    let (old, new) = rig.account.handover_keys().unwrap();
    assert_eq!((old.expose(), new.expose(), rig.account.key().unwrap().expose()), (KEY, OTHER, KEY));
    rig.frame(seat, &event(1));
    rig.frame(0, &event(1));
    assert_eq!((rig.gaps(), rig.account.seat()), (vec![], seat));
    assert_eq!(rig.account.key().unwrap().expose(), OTHER);
    assert_eq!(rig.account.wants_rotation(rig.now), None);
    let late = format!(r#"{{"e":"listenKeyExpired","listenKey":"{KEY}"}}"#);
    rig.frame(0, &late);
    assert_eq!((rig.phase(), rig.account.wants_key()), ("live", false), "the old key's end is old news");

    // Nothing comes: whether the old key still delivered nobody knows.
    let mut rig = Rig::live(None);
    rig.later(70_000);
    let alive = rig.now.wall;
    rig.account.handle_key_extended(alive, rig.now);
    rig.later(10_000);
    rig.account.handle_activity(rig.now);
    rig.key(OTHER);
    rig.later(500);
    rig.account.handle_key_extended(rig.now.wall, rig.now);
    rig.next_live(OTHER);
    rig.bear_out(KEY);
    rig.later(millis(HANDOVER_QUIET));
    rig.judge();
    let gaps = rig.gaps();
    assert_eq!(gaps[0], (Some(alive.as_millis() - MARGIN), rig.now.wall.as_millis(), "key".to_owned()));
    assert_eq!((rig.phase(), rig.done()), ("live", (1, 0)));
}

#[test]
fn the_old_keys_end_in_a_handover_is_a_gap_and_no_new_wish() {
    for is_proven in [true, false] {
        let mut rig = Rig::live(None);
        rig.later(70_000);
        rig.key(OTHER);
        let (seat, _) = rig.begin();
        let id = rig.next_up();
        if is_proven {
            rig.account.handle_next_reply(&named(id, OTHER), rig.now);
        }
        rig.frame(0, &format!(r#"{{"e":"listenKeyExpired","listenKey":"{KEY}"}}"#));
        let gaps = rig.gaps();
        assert_eq!(gaps[0], (Some(1_000_000 - MARGIN), rig.now.wall.as_millis(), "key".to_owned()));
        assert!(!rig.account.wants_key());
        if !is_proven {
            assert_eq!(rig.phase(), "connecting");
            rig.account.handle_next_reply(&named(id, OTHER), rig.now);
        }
        rig.judge();
        assert_eq!((rig.phase(), rig.account.seat()), ("live", seat), "{is_proven}");
        assert_eq!(rig.account.key().unwrap().expose(), OTHER);
    }
    // The new key's end is one.
    let mut rig = Rig::live(None);
    rig.later(70_000);
    rig.key(OTHER);
    let seat = rig.next_live(OTHER);
    rig.frame(seat, &format!(r#"{{"e":"listenKeyExpired","listenKey":"{OTHER}"}}"#));
    assert!(rig.account.wants_key());
    assert_eq!(rig.account.poll_leaving(rig.now), Some(seat));
}

#[test]
fn after_an_expiry_the_old_socket_is_read_until_the_new_one_is_proven() {
    let mut rig = Rig::live(None);
    rig.later(70_000);
    rig.frame(0, r#"{"e":"listenKeyExpired","E":"1"}"#);
    assert!(rig.account.wants_key() && rig.gaps().len() == 1);
    rig.later(500);
    rig.key(OTHER);
    assert_eq!((rig.account.wants_rotation(rig.now), rig.account.poll_request()), (Some(Cause::Key), None));
    let (seat, _) = rig.begin();
    rig.frame(0, &event(1));
    assert_eq!((rig.recorded.len(), rig.gaps().len()), (2, 1), "recorded, and no sign of life");
    let id = rig.next_up();
    rig.account.handle_next_reply(&named(id, OTHER), rig.now);
    assert_eq!((rig.phase(), rig.account.seat(), rig.gaps().len()), ("live", seat, 1));
    rig.frame(seat, &event(1));
    assert_eq!(rig.recorded.len(), 2, "its twin is folded");
    // One that fails is left to the ordinary way.
    let mut rig = Rig::live(None);
    rig.frame(0, r#"{"e":"listenKeyExpired","E":"1"}"#);
    rig.key(OTHER);
    rig.begin();
    rig.account.handle_next_down(Down::Fault { refused: Some(404), text: "refused" }, rig.now);
    let Some(Request::Reconnect { url, .. }) = rig.account.poll_request() else { panic!("no reconnect") };
    assert!(url.unwrap().expose().contains(OTHER));
}

#[test]
fn a_new_key_that_never_verifies_ends_in_an_ordinary_reconnect() {
    let mut rig = Rig::live(None);
    rig.later(70_000);
    rig.key(OTHER);
    for failed in 1..=HANDOVER_KEY_TRIES {
        rig.begin();
        let id = rig.next_up();
        rig.account.handle_next_reply(&named(id, KEY), rig.now);
        if failed < HANDOVER_KEY_TRIES {
            assert_eq!((rig.phase(), rig.account.poll_request()), ("live", None));
            while rig.account.wants_rotation(rig.now).is_none() {
                rig.later(1_000);
                rig.judge();
            }
        }
    }
    let gaps = rig.gaps();
    assert_eq!((gaps[0].0, gaps[0].2.as_str()), (Some(1_000_000 - MARGIN), "key"));
    let Some(Request::Reconnect { url, pace: Pace::Now }) = rig.account.poll_request() else { panic!("no reconnect") };
    assert!(url.unwrap().expose().contains(OTHER));
    assert_eq!(rig.account.key().unwrap().expose(), OTHER);
}

#[test]
fn a_newer_key_still_replaces_a_new_one() {
    const THIRD: &str = "SYNTHETIClistenKeyC0000000000000000000000000000000000000000000CC";
    let mut rig = Rig::live(None);
    rig.later(70_000);
    rig.key(OTHER);
    let seat = rig.next_live(OTHER);
    rig.key(THIRD);
    assert_eq!((rig.account.poll_leaving(rig.now), rig.account.place(seat)), (Some(seat), Place::Left));
    rig.later(millis(HANDOVER_TAIL));
    rig.judge();
    let third = rig.next_live(THIRD);
    assert_eq!(third & 1, 1);
    rig.frame(0, &event(1));
    rig.frame(third, &event(1));
    assert_eq!((rig.gaps(), rig.account.key().unwrap().expose()), (vec![], THIRD));
    // A stop forgets it all.
    rig.key(OTHER);
    rig.account.stop();
    assert_eq!((rig.account.wants_rotation(rig.now), rig.phase()), (None, "stopped"));
}
