//! The account's machine, driven by hand: what it asks for, what it calls live, and where its gaps begin.

use super::*;
use crate::domain::limits::UNPROVEN_FRAMES_MAX;
use crate::exchange::binance::user_data::classify;

const KEY: &str = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
const OTHER: &str = "SYNTHETIClistenKeyB0000000000000000000000000000000000000000000BB";
const EVENT: &str = r#"{"e":"ORDER_TRADE_UPDATE","E":1}"#;
const EXPIRED: &str = r#"{"e":"listenKeyExpired","E":"1"}"#;
const MARGIN: i64 = GAP_MARGIN.as_millis() as i64;

struct Rig {
    account: Account,
    now: Now,
}

/// Since, live at (ms), reason.
type Told = (Option<i64>, i64, String);

fn told(gap: Gap) -> Told {
    (gap.silent_since.map(Wall::as_millis), gap.live_at.as_millis(), gap.reason)
}

impl Rig {
    fn new(choice: SpellingChoice, alive_ms: Option<i64>) -> Rig {
        let config = AccountConfig {
            account: AccountId(7),
            exchange: ExchangeId(1),
            base: "wss://localhost/private".to_owned(),
            choice,
            delivered: None,
            alive_at: alive_ms.map(Wall::from_millis),
        };
        let mut rig = Rig { account: Account::new(config, Now::default()), now: Now::default() };
        rig.at(1_000_000);
        rig
    }

    fn at(&mut self, millis: i64) {
        self.now = Now { mono: Mono::from_nanos(millis as u64 * 1_000_000), wall: Wall::from_millis(millis) };
    }

    fn key(&mut self, key: &str) {
        self.account.handle_key(KeyNews { key: ListenKey::new(key).unwrap(), replaced: None }, self.now);
    }

    fn phase(&self) -> &'static str {
        self.account.state(self.now).phase
    }

    /// The spelling of the place to which the session is sent, and when.
    fn reconnect(&mut self) -> Option<(Option<Spelling>, Pace)> {
        match self.account.poll_request() {
            Some(Request::Reconnect { url, pace }) => Some((url.map(|url| url.spelling()), pace)),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    fn connected(&mut self) -> u64 {
        self.account.handle_connected(self.now);
        let Some(Request::Text(text)) = self.account.poll_request() else { panic!("no question") };
        text.rsplit(':').next().unwrap().trim_end_matches('}').parse().unwrap()
    }

    fn reply(&mut self, id: u64, names: &str) -> Option<Told> {
        let text = format!(r#"{{"result":[{names}],"id":{id}}}"#);
        self.account.handle_reply(text.as_bytes(), self.now);
        self.gap()
    }

    /// The gap to be recorded now; there is never more than one after one call.
    fn gap(&mut self) -> Option<Told> {
        let gap = self.account.poll_gap().map(told);
        assert_eq!(self.account.poll_gap(), None);
        gap
    }

    fn recorded(&mut self, frame: &str) -> Option<Told> {
        self.account.handle_recorded(&classify(frame.as_bytes()), self.now);
        self.gap()
    }

    fn fault(&mut self, refused: Option<u16>) {
        self.account.handle_down(Down::Fault { refused, text: "tcp: cut" }, self.now);
    }

    /// Live with KEY at 1,000 s, having been silent since the start.
    fn live(choice: SpellingChoice) -> Rig {
        let mut rig = Rig::new(choice, Some(900_000));
        rig.key(KEY);
        assert!(rig.account.poll_open().is_some());
        let id = rig.connected();
        let gap = rig.reply(id, &format!(r#""{KEY}""#));
        assert_eq!(gap, Some((Some(900_000 - MARGIN), 1_000_000, "start".to_owned())));
        assert_eq!(rig.phase(), "live");
        rig
    }
}

#[test]
fn from_no_key_to_live() {
    let mut rig = Rig::new(SpellingChoice::Auto, None);
    assert!(rig.account.wants_key() && rig.account.poll_open().is_none());
    rig.key(KEY);
    assert_eq!((rig.phase(), rig.account.wants_key()), ("have_key", false));
    assert_eq!(rig.account.poll_open().unwrap().spelling(), Spelling::Query);
    assert_eq!((rig.account.poll_open(), rig.phase()), (None, "connecting"));
    rig.account.handle_open_refused();
    assert!(rig.account.poll_open().is_some(), "asked again");
    let id = rig.connected();
    assert_eq!(rig.phase(), "verifying");
    assert_eq!(rig.reply(id + 1, &format!(r#""{KEY}""#)), None, "another question's reply proves nothing");
    assert!(!rig.account.handle_activity(rig.now), "a ping before the proof is no life");
    assert_eq!(rig.reply(id, &format!(r#""{KEY}""#)), Some((None, 1_000_000, "start".to_owned())));
    assert!(rig.account.handle_activity(rig.now));
    assert_eq!(rig.account.state(rig.now).delivered, Some(Spelling::Query));
}

#[test]
fn an_event_proves_as_well_as_a_reply() {
    let mut rig = Rig::new(SpellingChoice::Auto, Some(900_000));
    rig.key(KEY);
    rig.account.poll_open();
    rig.connected();
    assert_eq!(rig.recorded(EVENT), Some((Some(900_000 - MARGIN), 1_000_000, "start".to_owned())));
    assert_eq!((rig.phase(), rig.recorded(EVENT)), ("live", None));
}

#[test]
fn spellings_take_turns_until_one_is_subscribed() {
    let mut rig = Rig::new(SpellingChoice::Auto, None);
    rig.key(KEY);
    rig.account.poll_open();
    // A reply that names nothing, a refusal of the upgrade, silence: each is a failed proof.
    let id = rig.connected();
    assert_eq!(rig.reply(id, ""), None);
    assert_eq!(rig.reconnect(), Some((Some(Spelling::Stream), Pace::Now)));
    rig.account.handle_down(Down::Left, rig.now);
    rig.fault(Some(400));
    assert_eq!(rig.reconnect(), Some((Some(Spelling::Path), Pace::Now)));
    rig.connected();
    rig.at(1_000_000 + PROOF_WITHIN.as_millis() as i64 - 1);
    assert_eq!(rig.account.poll_nudge(rig.now), None);
    rig.at(1_000_000 + PROOF_WITHIN.as_millis() as i64);
    assert_eq!(rig.account.poll_nudge(rig.now), Some(Pace::Backoff), "a whole round failed");
    assert_eq!(rig.account.poll_nudge(rig.now), None, "not at once again");
    rig.at(1_000_000 + (PROOF_WITHIN + NUDGE_EVERY).as_millis() as i64);
    assert_eq!(rig.account.poll_nudge(rig.now), Some(Pace::Backoff), "until the session has asked");
    assert_eq!(rig.reconnect(), Some((Some(Spelling::Query), Pace::Backoff)));
    assert_eq!(rig.account.poll_nudge(rig.now), None);
    // What delivered is the first choice from now on.
    let mut rig = Rig::new(SpellingChoice::Auto, None);
    rig.key(KEY);
    rig.account.poll_open();
    let id = rig.connected();
    rig.reply(id, "");
    rig.reconnect();
    let id = rig.connected();
    rig.reply(id, &format!(r#""{KEY}""#)).unwrap();
    rig.fault(None);
    assert_eq!(rig.reconnect(), None, "the session reconnects by itself, to the same place");
    rig.key(OTHER);
    assert_eq!(rig.reconnect(), Some((Some(Spelling::Stream), Pace::Now)));
}

#[test]
fn what_says_nothing_against_a_spelling() {
    // 403, 418, 429, 451 and 5xx are about the address or the venue; a cut after it has delivered is the network.
    for refused in [None, Some(403), Some(418), Some(429), Some(451), Some(503)] {
        let mut rig = Rig::live(SpellingChoice::Auto);
        rig.fault(None);
        rig.fault(refused);
        rig.connected();
        rig.fault(None);
        assert_eq!((rig.reconnect(), rig.account.state(rig.now).failed_proofs), (None, 0), "{refused:?}");
    }
    let mut rig = Rig::live(SpellingChoice::Only(Spelling::Path));
    rig.fault(None);
    let id = rig.connected();
    rig.reply(id, "");
    assert_eq!(rig.reconnect(), Some((Some(Spelling::Path), Pace::Backoff)), "a pinned spelling stays");
}

#[test]
fn gaps_begin_before_the_truth() {
    // A cut: the last frame, pings included.
    let mut rig = Rig::live(SpellingChoice::Auto);
    rig.at(1_050_000);
    rig.account.handle_activity(rig.now);
    rig.at(1_060_000);
    rig.fault(None);
    rig.at(1_061_000);
    rig.fault(None);
    rig.at(1_070_000);
    assert!(!rig.account.handle_activity(rig.now));
    let id = rig.connected();
    let gap = rig.reply(id, &format!(r#""{KEY}@ORDER_TRADE_UPDATE""#));
    assert_eq!(gap, Some((Some(1_050_000 - MARGIN), 1_070_000, "reconnect".to_owned())));
    assert!(rig.account.state(rig.now).degraded.unwrap().contains("TRADE_LITE"), "a filter that is not whole is told");

    // A dead key: the last proof of the key, however many pings came since.
    for how in ["expired", "gone", "changed", "unlisted"] {
        let mut rig = Rig::live(SpellingChoice::Auto);
        rig.at(1_020_000);
        rig.account.handle_key_extended(rig.now.wall, rig.now);
        rig.at(1_060_000);
        rig.account.handle_activity(rig.now);
        rig.at(1_100_000);
        rig.account.handle_activity(rig.now);
        let since = Some(1_020_000 - MARGIN);
        let early = match how {
            "expired" => rig.recorded(EXPIRED),
            "gone" => {
                rig.account.handle_key_gone(rig.now);
                rig.gap()
            }
            "unlisted" => {
                let mut probe = String::new();
                rig.account.write_probe(&mut probe);
                rig.reply(2, "")
            }
            _ => None,
        };
        assert_eq!(rig.account.wants_key(), how != "changed", "{how}");
        if how != "changed" {
            assert_eq!(early, Some((since, 1_100_000, "key".to_owned())), "{how}: told at once");
        }
        rig.at(1_101_000);
        rig.key(OTHER);
        if how == "changed" {
            assert_eq!(rig.gap(), Some((since, 1_101_000, "key".to_owned())), "{how}: told at once");
        }
        assert_eq!(rig.account.poll_nudge(rig.now), Some(Pace::Now), "{how}");
        assert!(matches!(rig.reconnect(), Some((Some(Spelling::Query), Pace::Now))));
        let id = rig.connected();
        rig.at(1_102_000);
        let late = rig.reply(id, &format!(r#""{OTHER}""#)).unwrap();
        let again = if how == "changed" { 1_101_000 } else { 1_100_000 };
        assert_eq!(late, (Some(again - MARGIN), 1_102_000, "key".to_owned()), "{how}");
    }

    // A wall clock that was set back.
    let mut rig = Rig::live(SpellingChoice::Auto);
    rig.fault(None);
    rig.at(500_000);
    let id = rig.connected();
    let gap = rig.reply(id, &format!(r#""{KEY}""#)).unwrap();
    assert_eq!(gap, (Some(500_000 - MARGIN), 500_000, "reconnect".to_owned()));

    // A new key at the start, and the row of the old one says when that was good.
    let mut rig = Rig::new(SpellingChoice::Auto, Some(900_000));
    let news = KeyNews { key: ListenKey::new(KEY).unwrap(), replaced: Some(Wall::from_millis(700_000)) };
    rig.account.handle_key(news, rig.now);
    rig.account.poll_open();
    let id = rig.connected();
    assert_eq!(rig.reply(id, &format!(r#""{KEY}""#)).unwrap().0, Some(700_000 - MARGIN));
}

#[test]
fn an_expiry_of_an_earlier_key_is_old_news() {
    let mut rig = Rig::live(SpellingChoice::Auto);
    let text = format!(r#"{{"e":"listenKeyExpired","listenKey":"{OTHER}"}}"#);
    assert_eq!((rig.recorded(&text), rig.phase()), (None, "live"));
    let text = format!(r#"{{"e":"listenKeyExpired","listenKey":"{KEY}"}}"#);
    assert!(rig.recorded(&text).is_some() && rig.account.wants_key());
    // Twice: one wish, and one more gap record before the second frame.
    rig.at(1_000_500);
    assert_eq!(rig.recorded(&text), Some((Some(1_000_000 - MARGIN), 1_000_500, "key".to_owned())));
    assert!(rig.account.wants_key() && rig.reconnect().is_none());
}

#[test]
fn a_connection_of_before_a_key_change_proves_nothing() {
    let mut rig = Rig::live(SpellingChoice::Auto);
    rig.fault(None);
    rig.key(OTHER);
    // The session got through with the old URL before it heard.
    rig.account.handle_connected(rig.now);
    assert_eq!(rig.reconnect(), Some((Some(Spelling::Query), Pace::Now)), "no question is asked there");
    assert_eq!(rig.account.state(rig.now).failed_proofs, 0);
}

#[test]
fn junk_on_an_unproven_connection_is_recorded_within_a_bound() {
    let mut rig = Rig::new(SpellingChoice::Auto, Some(900_000));
    rig.key(KEY);
    rig.account.poll_open();
    rig.connected();
    for n in 0..UNPROVEN_FRAMES_MAX {
        assert!(rig.recorded("junk").is_some(), "each with a gap before it");
        assert!(rig.reconnect().is_none(), "{n}");
    }
    rig.recorded("junk");
    assert_eq!(rig.reconnect(), Some((Some(Spelling::Stream), Pace::Now)));
}

#[test]
fn a_server_that_goes_away_is_left() {
    let mut rig = Rig::live(SpellingChoice::Auto);
    assert_eq!(rig.recorded(r#"{"e":"serverShutdown","E":1}"#), None);
    assert_eq!(rig.reconnect(), Some((Some(Spelling::Query), Pace::Backoff)));
    rig.account.handle_down(Down::Left, rig.now);
    assert_eq!(rig.phase(), "connecting");
}

#[test]
fn a_held_account_is_not_called_unproven() {
    let mut rig = Rig::new(SpellingChoice::Auto, None);
    rig.key(KEY);
    rig.account.poll_open();
    rig.connected();
    rig.account.handle_hold(true, rig.now);
    rig.at(1_100_000);
    assert_eq!(rig.account.poll_nudge(rig.now), None);
    rig.account.handle_hold(false, rig.now);
    assert_eq!(rig.account.poll_nudge(rig.now), None);
    rig.at(1_100_000 + PROOF_WITHIN.as_millis() as i64);
    assert!(rig.account.poll_nudge(rig.now).is_some());
}

#[test]
fn after_a_pause_what_waited_is_old() {
    for (pause_ms, expected) in [(999, None), (1_000, Some(1_000_000 - MARGIN)), (200_000, Some(1_000_000 - MARGIN))] {
        for with_ping in [false, true] {
            let mut rig = Rig::live(SpellingChoice::Auto);
            rig.account.handle_hold(true, rig.now);
            rig.at(1_000_000 + pause_ms - 1);
            rig.account.handle_hold(true, rig.now);
            rig.at(1_000_000 + pause_ms);
            rig.account.handle_hold(false, rig.now);
            let gap = match with_ping {
                true => {
                    rig.account.handle_activity(rig.now);
                    rig.gap()
                }
                false => rig.recorded(EVENT),
            };
            let since = gap.map(|(since, live_at, reason)| {
                assert_eq!((live_at, reason.as_str()), (1_000_000 + pause_ms, "paused"));
                since.unwrap()
            });
            assert_eq!(since, expected);
            assert_eq!((rig.phase(), rig.recorded(EVENT)), ("live", None), "once");
        }
    }
}

/// Milliseconds by both clocks.
fn apart(mono_ms: u64, wall_ms: i64) -> Now {
    Now { mono: Mono::from_nanos(mono_ms * 1_000_000), wall: Wall::from_millis(wall_ms) }
}

#[test]
fn a_wall_clock_that_jumps_makes_no_gap_and_no_gap_too_short() {
    const HOUR: i64 = 3_600_000;
    for jump in [-HOUR, -30_000, 30_000, HOUR] {
        // Nothing breaks: nothing is told.
        let mut rig = Rig::live(SpellingChoice::Auto);
        rig.now = apart(1_030_000, 1_030_000 + jump);
        rig.account.handle_activity(rig.now);
        assert_eq!((rig.recorded(EVENT), rig.phase()), (None, "live"), "{jump}");

        // A break, and the clock jumps before it, or while the gap is open. The last sign of life is 15 s old at the end.
        for jumps_first in [true, false] {
            let mut rig = Rig::live(SpellingChoice::Auto);
            rig.now = apart(1_005_000, 1_005_000 + if jumps_first { jump } else { 0 });
            rig.fault(None);
            rig.now = apart(1_015_000, 1_015_000 + jump);
            let id = rig.connected();
            let (since, live_at, reason) = rig.reply(id, &format!(r#""{KEY}""#)).unwrap();
            let since = since.unwrap();
            assert_eq!((live_at, reason.as_str()), (1_015_000 + jump, "reconnect"), "never in the future");
            assert!(since <= live_at - 15_000 - MARGIN, "{jump}: as long as it was at least: {since}..{live_at}");
            assert!(since <= 1_000_000 - MARGIN, "{jump}: and by the stamps of that time");
            let expected = (live_at - 15_000 - MARGIN).min(1_000_000 - MARGIN);
            assert_eq!(since, expected, "{jump}: but no longer than one of the two says");
        }
        // A key whose last proof is of before the jump.
        let mut rig = Rig::live(SpellingChoice::Auto);
        rig.account.handle_key_extended(rig.now.wall, rig.now);
        rig.now = apart(1_040_000, 1_040_000 + jump);
        rig.account.handle_activity(rig.now);
        rig.now = apart(1_060_000, 1_060_000 + jump);
        let (since, live_at, _) = rig.recorded(EXPIRED).unwrap();
        assert_eq!(since, Some((live_at - 60_000 - MARGIN).min(1_000_000 - MARGIN)), "{jump}");
    }
}

#[test]
fn a_mark_of_the_future_says_nothing() {
    for (mark, since) in [(999_000, Some(999_000 - MARGIN)), (1_000_000 + MARGIN + 1, None), (4_600_000, None)] {
        let mut rig = Rig::new(SpellingChoice::Auto, Some(mark));
        rig.key(KEY);
        assert!(rig.account.poll_open().is_some());
        let id = rig.connected();
        let gap = rig.reply(id, &format!(r#""{KEY}""#));
        assert_eq!(gap, Some((since, 1_000_000, "start".to_owned())), "{mark}");
    }
}

#[test]
fn what_is_read_after_a_sleep_bears_nothing_out() {
    let since = Some(1_000_000 - MARGIN);
    for with_ping in [true, false] {
        let mut rig = Rig::live(SpellingChoice::Auto);
        rig.at(1_000_000 + 2 * 3_600_000);
        let live_at = rig.now.wall.as_millis();
        let gap = match with_ping {
            true => {
                rig.account.handle_activity(rig.now);
                rig.gap()
            }
            false => rig.recorded(EVENT),
        };
        assert_eq!(gap, Some((since, live_at, "paused".to_owned())), "what waited in the socket is two hours old");
        // The socket is dead all the same, and that is a gap of its own.
        rig.fault(None);
        rig.at(live_at + 1_000);
        let id = rig.connected();
        let gap = rig.reply(id, &format!(r#""{KEY}""#));
        assert_eq!(gap, Some((Some(live_at - MARGIN), live_at + 1_000, "reconnect".to_owned())));
    }
    // Nothing was in the socket: one gap over the whole time.
    let mut rig = Rig::live(SpellingChoice::Auto);
    rig.at(1_000_000 + 2 * 3_600_000);
    rig.fault(None);
    let id = rig.connected();
    let gap = rig.reply(id, &format!(r#""{KEY}""#));
    assert_eq!(gap, Some((since, rig.now.wall.as_millis(), "reconnect".to_owned())));
}

#[test]
fn people_are_told_why() {
    let mut rig = Rig::new(SpellingChoice::Auto, None);
    let degraded = |rig: &Rig| rig.account.state(rig.now).degraded;
    rig.account.handle_key_refused("the venue rejects this account's API key");
    assert_eq!(degraded(&rig).as_deref(), Some("the venue rejects this account's API key"));
    rig.key(KEY);
    assert!(degraded(&rig).unwrap().starts_with("not live for 1000 s"));
    rig = Rig::live(SpellingChoice::Auto);
    assert_eq!(degraded(&rig), None);
    rig.account.handle_hold(true, rig.now);
    assert!(degraded(&rig).unwrap().starts_with("not read"));
    rig.account.handle_hold(false, rig.now);
    rig.fault(None);
    rig.at(1_029_999);
    assert_eq!(degraded(&rig), None, "a reconnect at its own pace is no trouble");
    rig.at(1_030_000);
    assert_eq!(degraded(&rig).as_deref(), Some("not live for 30 s: tcp: cut"));
    rig.account.stop();
    assert_eq!((degraded(&rig), rig.account.poll_request()), (None, Some(Request::Close)));
    assert_eq!(rig.account.poll_request(), None);
    rig.key(OTHER);
    assert_eq!(rig.phase(), "stopped");
    let shown = format!("{:?}", rig.account);
    assert!(!shown.contains("SYNTH"), "{shown}");
}

#[test]
fn a_connection_that_brings_nothing_of_what_happens_is_left_with_its_key() {
    let second = 1_000;
    let at = |s: i64| Wall::from_millis(s * second);
    // When it was live, when it brought its last event, when the unheard one happened, when that is known; in s.
    for (brought, unheard, known, since) in [
        (None, 1_001, 1_100, None),
        (None, 1_095, 1_100, None),
        (Some(1_050), 1_040, 1_100, None),
        (Some(1_050), 1_052, 1_100, None),
        (None, 1_010, 1_100, Some(1_000)),
        (Some(1_050), 1_080, 1_100, Some(1_050)),
    ] {
        let mut rig = Rig::live(SpellingChoice::Auto);
        if let Some(brought) = brought {
            rig.at(brought * second);
            assert_eq!(rig.recorded(EVENT), None);
        }
        for at in (brought.unwrap_or(1_000)..known).step_by(30).skip(1) {
            rig.at(at * second);
            assert!(rig.account.handle_activity(rig.now), "pings are answered");
        }
        rig.at(known * second);
        assert_eq!(rig.account.handle_unheard(at(unheard), rig.now), since.is_some(), "{brought:?} {unheard}");
        let Some(since) = since else {
            assert_eq!((rig.phase(), rig.gap()), ("live", None));
            continue;
        };
        assert_eq!(rig.gap(), Some((Some(since * second - MARGIN), known * second, "mute".to_owned())));
        assert!(rig.account.wants_key() && !rig.account.handle_activity(rig.now));
        rig.at(known * second + 100);
        assert!(!rig.account.handle_unheard(at(unheard), rig.now), "once");
        rig.key(OTHER);
        // A spelling that never brought anything may be the reason; one that did is not.
        let expected = if brought.is_some() { Spelling::Query } else { Spelling::Stream };
        assert_eq!(rig.reconnect(), Some((Some(expected), Pace::Now)));
        let id = rig.connected();
        rig.at(known * second + 300);
        let told = rig.reply(id, &format!(r#""{OTHER}""#));
        assert_eq!(told, Some((Some(known * second - MARGIN), known * second + 300, "mute".to_owned())));
        assert_eq!(rig.phase(), "live");
    }
}

#[test]
fn a_half_open_connection_that_the_venues_books_give_away_leaves_one_gap() {
    let mut rig = Rig::live(SpellingChoice::Auto);
    rig.at(1_050_000);
    assert_eq!(rig.recorded(EVENT), None);
    rig.at(1_100_000);
    assert!(rig.account.handle_unheard(Wall::from_millis(1_080_000), rig.now));
    assert_eq!((rig.gap(), rig.account.wants_key()), (None, true));
    rig.key(OTHER);
    rig.reconnect();
    let id = rig.connected();
    rig.at(1_100_300);
    let told = rig.reply(id, &format!(r#""{OTHER}""#));
    assert_eq!(told, Some((Some(1_050_000 - MARGIN), 1_100_300, "mute".to_owned())));
}
