//! What the role hears and what the rows get, for everything that a database, a venue and a stream may say.

use std::time::Duration;

use super::*;
use crate::domain::Wall;

const LANES: [Lane; 2] = [Lane::Create, Lane::KeepAlive];

struct Rig {
    keys: ListenKeys,
    seconds: u64,
}

impl Rig {
    fn new() -> Rig {
        let pace = Pace { min: Duration::from_secs(60), max: Duration::from_secs(1_500) };
        Rig { keys: ListenKeys::new(pace, Random::from_seed(1)), seconds: 0 }
    }

    /// With account 1 on key `a`, spawned, its row written.
    fn streaming() -> Rig {
        let mut rig = Rig::new();
        rig.see(&[account(1, "k1")], &[]);
        rig.call(200, &body('a'));
        assert_eq!(rig.heard(), ["spawn 1 with a"]);
        rig.written();
        rig
    }

    fn now(&self) -> Now {
        let seconds = Duration::from_secs(self.seconds);
        Now { mono: Mono::ZERO.plus(seconds), wall: at(self.seconds) }
    }

    fn see(&mut self, accounts: &[WantedAccount], rows: &[SeenRow]) {
        let sighting = Sighting { accounts: accounts.to_vec(), rows: rows.to_vec(), ..Sighting::default() };
        let now = self.now();
        self.keys.handle_sighting(&sighting, now);
    }

    /// Goes to the next call; a key that runs out on the way is no call.
    fn due(&mut self) -> VenueCall {
        for _ in 0..2 {
            let due = self.keys.next_deadline(&LANES);
            assert_ne!(due, Mono::NEVER);
            self.seconds = self.seconds.max(due.as_nanos().div_ceil(1_000_000_000));
            let now = self.now();
            if let Some(call) = self.keys.poll_call(&LANES, now) {
                return call;
            }
        }
        panic!("no call is due");
    }

    /// Goes to the next call and answers it.
    fn call(&mut self, status: u16, body: &str) -> VenueCall {
        let call = self.due();
        self.answer(&call, status, body);
        call
    }

    fn answer(&mut self, call: &VenueCall, status: u16, body: &str) {
        let answer = VenueAnswer { status, body: body.as_bytes().to_vec(), retry_after: None, used_weight: Some(7) };
        let now = self.now();
        self.keys.handle_answer(&call.order, Ok(&answer), now);
    }

    fn heard(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.keys.poll_command()).map(|command| told(&command)).collect()
    }

    fn written(&mut self) -> Vec<String> {
        let now = self.now().mono;
        self.keys
            .rows()
            .take(100, now)
            .rows
            .into_iter()
            .map(|(account, change)| {
                let delete = if change.delete { "delete " } else { "" };
                let put = change.put.map_or(String::new(), |(key, is_new, _)| {
                    format!("put {}{} ", letter(&key), if is_new { " new" } else { "" })
                });
                let kept = change.kept.map_or(String::new(), |(_, rotated)| {
                    rotated.map_or("kept ".to_owned(), |key| format!("kept as {} ", letter(&key)))
                });
                let failures = if change.failures > 0 { format!("failed {} ", change.failures) } else { String::new() };
                format!("{account}: {delete}{put}{kept}{failures}").trim().to_owned()
            })
            .collect()
    }
}

fn account(id: i64, key: &str) -> WantedAccount {
    WantedAccount { id, api_system_id: 3, name: format!("account {id}").into(), api_key: Ok(ApiKey::new(key)) }
}

fn unreadable(id: i64) -> WantedAccount {
    WantedAccount { api_key: Err("none of the keys fits: another APP_KEY".into()), ..account(id, "") }
}

fn key(letter: char) -> ListenKey {
    ListenKey::new(&letter.to_string().repeat(64)).unwrap()
}

fn row(account: i64, letter: char, kept_at: u64) -> SeenRow {
    SeenRow { account, key: Some(key(letter)), kept_at: Some(at(kept_at)) }
}

fn at(seconds: u64) -> Wall {
    Wall::from_millis(1_000_000_000 + seconds as i64 * 1_000)
}

fn body(letter: char) -> String {
    format!(r#"{{"listenKey":"{}"}}"#, letter.to_string().repeat(64))
}

fn letter(key: &ListenKey) -> char {
    key.expose().chars().next().unwrap()
}

fn told(command: &AccountCommand) -> String {
    let since =
        |replaced: Option<Wall>| replaced.map_or(String::new(), |wall| format!(", good until {}", seconds(wall)));
    let seconds_of = |wall: Wall| seconds(wall);
    match command {
        AccountCommand::Spawn { account, key, replaced, .. } => {
            format!("spawn {} with {}{}", account.id, letter(key), since(*replaced))
        }
        AccountCommand::KeyChanged { account, key, replaced, .. } => {
            format!("{account} now {}{}", letter(key), since(*replaced))
        }
        AccountCommand::KeyExtended { account, at } => format!("{account} extended {}", seconds_of(*at)),
        AccountCommand::KeyGone { account, loss, .. } => format!("{account} gone: {loss}"),
        AccountCommand::Reap { account } => format!("reap {account}"),
        AccountCommand::Health { account, trouble: Some(trouble) } => format!("{} in trouble: {trouble}", account.id),
        AccountCommand::Health { account, trouble: None } => format!("{} well", account.id),
    }
}

fn seconds(wall: Wall) -> i64 {
    wall.as_millis() / 1_000 - 1_000_000
}

const GONE: &str = r#"{"code":-1125,"msg":"This listenKey does not exist."}"#;
const BAD_KEY: &str = r#"{"code":-2015,"msg":"Invalid API-key, IP 203.0.113.7"}"#;
const BUSY: &str = r#"{"code":-1008,"msg":"busy"}"#;

#[test]
fn a_life_from_the_first_key_to_the_reap() {
    let mut rig = Rig::new();
    rig.see(&[account(1, "k1")], &[]);
    assert_eq!((rig.heard(), rig.written()), (vec![], vec![]), "nothing is said before there is a key");
    let call = rig.call(200, &body('a'));
    assert_eq!((call.order.call, call.api_key.expose()), (KeyCall::Create, "k1"));
    assert_eq!((rig.heard(), rig.written()), (vec!["spawn 1 with a".to_owned()], vec!["1: put a new".to_owned()]));
    for unchanged in ["{}", &body('a'), ""] {
        let call = rig.call(200, unchanged);
        assert_eq!(call.order.call, KeyCall::Extend);
        let extended = format!("1 extended {}", rig.seconds);
        assert_eq!((rig.heard(), rig.written()), (vec![extended], vec!["1: kept".to_owned()]));
    }
    rig.see(&[], &[row(1, 'a', 0)]);
    assert_eq!((rig.heard(), rig.written()), (vec!["reap 1".to_owned()], vec!["1: delete".to_owned()]));
    assert_eq!((rig.keys.next_deadline(&LANES), rig.keys.sizes()), (Mono::NEVER, (0, 0)));
}

#[test]
fn a_put_that_answers_another_key_is_a_rotation() {
    let mut rig = Rig::streaming();
    rig.call(200, &body('b'));
    assert_eq!(
        (rig.heard(), rig.written()),
        (vec!["1 now b, good until 0".to_owned()], vec!["1: kept as b".to_owned()])
    );
    assert_eq!(rig.keys.counts().rotated, 1);
    // What the role has not heard of is replaced without a word, but not the last moment at which its own key was good.
    rig.call(200, &body('c'));
    rig.call(200, &body('d'));
    assert_eq!(rig.heard(), ["1 now d, good until 60"]);
}

#[test]
fn a_key_that_the_venue_forgot_needs_a_new_socket_even_if_it_comes_back() {
    for (answer, expected) in [('b', "1 now b, good until 0"), ('a', "1 now a, good until 0")] {
        let mut rig = Rig::streaming();
        rig.call(400, GONE);
        assert_eq!(
            (rig.heard(), rig.written()),
            (vec!["1 gone: unknown to the venue".to_owned()], vec!["1: failed 1".to_owned()])
        );
        let call = rig.call(200, &body(answer));
        assert_eq!(call.order.call, KeyCall::Create);
        assert_eq!(rig.heard(), [expected]);
    }
}

#[test]
fn an_expiry_that_the_stream_brings_is_heard_once() {
    let mut rig = Rig::streaming();
    rig.seconds = 20;
    let now = rig.now();
    rig.keys.handle_expiry(1, 99, now);
    rig.keys.handle_expiry(2, 1, now);
    assert_eq!(rig.keys.counts().lost, 0, "of another key, of another account");
    rig.keys.handle_expiry(1, 1, now);
    rig.keys.handle_expiry(1, 1, now);
    assert_eq!((rig.heard(), rig.keys.counts().lost), (vec![], 1), "the role knows it");
    rig.call(200, &body('b'));
    assert_eq!((rig.seconds, rig.heard()), (20, vec!["1 now b, good until 0".to_owned()]));
    let now = rig.now();
    rig.keys.handle_expiry(1, 1, now);
    assert_eq!(rig.keys.counts().lost, 1, "from the old socket, late");
}

#[test]
fn an_extension_that_was_out_when_the_key_expired_says_nothing_about_the_new_one() {
    let mut rig = Rig::streaming();
    let late = rig.due();
    let now = rig.now();
    rig.keys.handle_expiry(1, 1, now);
    rig.answer(&late, 200, "{}");
    assert_eq!(rig.heard(), [] as [String; 0]);
    rig.call(200, &body('b'));
    assert_eq!(rig.heard(), ["1 now b, good until 0"]);
}

#[test]
fn trouble_is_told_once_and_ends() {
    let mut rig = Rig::new();
    rig.see(&[account(1, "k1"), account(2, "k2"), unreadable(3), account(4, "with blank")], &[]);
    let heard = rig.heard();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].starts_with("3 in trouble") && heard[0].contains("APP_KEY"), "{heard:?}");
    assert!(heard[1].starts_with("4 in trouble: the API key in the database"), "{heard:?}");
    let refused = rig.call(400, BAD_KEY);
    assert_eq!(refused.order.account, 1);
    let heard = rig.heard();
    assert!(heard.len() == 1 && heard[0].starts_with("1 in trouble: the venue rejects"), "{heard:?}");
    assert!(!heard[0].contains("203.0.113.7"), "nothing of the venue's text");
    rig.call(200, &body('b'));
    assert_eq!(rig.heard(), ["spawn 2 with b"], "the others are not touched");
    // Refused again: told already. A new API key in the database starts anew, at once.
    loop {
        let call = rig.due();
        if call.order.account == 1 {
            rig.answer(&call, 400, BAD_KEY);
            break;
        }
        rig.answer(&call, 200, "{}");
    }
    assert!(rig.heard().iter().all(|line| line.starts_with("2 extended")));
    let before = rig.seconds;
    rig.see(&[account(1, "new"), account(2, "k2"), account(3, "readable"), account(4, "k4")], &[row(2, 'b', 0)]);
    let (first, second) = (rig.call(200, &body('a')), rig.call(200, &body('c')));
    assert_eq!((first.order.account, first.api_key.expose(), second.order.account), (1, "new", 3));
    assert!(rig.seconds <= before + 2);
    let heard = rig.heard();
    for expected in ["1 well", "spawn 1 with a", "3 well", "spawn 3 with c", "4 well"] {
        assert!(heard.contains(&expected.to_owned()), "{expected} in {heard:?}");
    }
}

#[test]
fn failures_in_passing_are_trouble_from_the_third_on() {
    let mut rig = Rig::streaming();
    for expected in [None, None, Some("1 in trouble: the venue is overloaded or has an internal error"), None] {
        rig.call(503, BUSY);
        assert_eq!(rig.heard(), expected.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(rig.written(), ["1: failed 4"]);
    let call = rig.due();
    let now = rig.now();
    rig.keys.handle_answer(&call.order, Err("fapi.example: connect: refused"), now);
    assert_eq!(rig.heard(), ["1 in trouble: fapi.example: connect: refused"]);
    rig.call(200, &body('a'));
    assert_eq!(rig.heard(), [format!("1 extended {}", rig.seconds), "1 well".to_owned()]);
    assert_eq!(rig.written(), ["1: kept"]);
}

#[test]
fn credentials_that_become_unreadable_do_not_end_a_stream() {
    let mut rig = Rig::streaming();
    rig.see(&[unreadable(1)], &[row(1, 'a', 0)]);
    let heard = rig.heard();
    assert!(heard.len() == 1 && heard[0].contains("APP_KEY"), "{heard:?}");
    let call = rig.call(200, "{}");
    assert_eq!((call.order.call, call.api_key.expose()), (KeyCall::Extend, "k1"), "by the key that is known");
    rig.heard();
    rig.see(&[account(1, "k1")], &[row(1, 'a', 0)]);
    assert_eq!(rig.heard(), ["1 well"]);
    rig.seconds += 1;
    // Another API key of the same venue account gives the same listen key: the stream goes on.
    rig.see(&[account(1, "k1 of another name".replace(' ', "-").as_str())], &[row(1, 'a', 0)]);
    let call = rig.call(200, &body('a'));
    assert_eq!((call.order.call, call.api_key.expose()), (KeyCall::Create, "k1-of-another-name"));
    assert_eq!(rig.heard(), [format!("1 extended {}", rig.seconds)]);
    // Of another one it gives another.
    rig.see(&[account(1, "k9")], &[row(1, 'a', 0)]);
    rig.call(200, &body('z'));
    assert_eq!(rig.heard().len(), 1);
}

#[test]
fn what_an_earlier_process_left_is_used() {
    for (left, answer, spawned, written) in
        [('a', 'a', "spawn 1 with a", "1: put a"), ('o', 'a', "spawn 1 with a, good until 40", "1: put a new")]
    {
        let mut rig = Rig::new();
        rig.seconds = 100;
        rig.see(&[account(1, "k1")], &[row(1, left, 40), row(7, 'x', 0)]);
        assert_eq!(rig.written(), ["7: delete"], "a row of nobody");
        rig.call(200, &body(answer));
        assert_eq!((rig.heard(), rig.written()), (vec![spawned.to_owned()], vec![written.to_owned()]));
    }
}

#[test]
fn a_row_that_vanished_is_written_again_and_a_foreign_key_raises_one_doubt() {
    let mut rig = Rig::streaming();
    rig.see(&[account(1, "k1")], &[]);
    assert_eq!(rig.written(), ["1: put a new"]);
    let now = rig.now();
    rig.keys.handle_missing_row(1, now);
    rig.keys.handle_missing_row(9, now);
    assert_eq!(rig.written(), ["1: put a new"]);
    // Somebody else has put another key there: POST says which one is right, and then it is left alone.
    rig.seconds = 10;
    rig.see(&[account(1, "k1")], &[row(1, 'f', 9)]);
    let call = rig.call(200, &body('a'));
    assert_eq!((rig.seconds, call.order.call), (10, KeyCall::Create));
    rig.written();
    rig.see(&[account(1, "k1")], &[row(1, 'f', 9)]);
    rig.due();
    assert!(rig.seconds >= 60, "no second doubt about the same key");
}

#[test]
fn a_slow_role_hears_the_newest_and_what_waits_is_bounded() {
    let mut rig = Rig::new();
    rig.see(&[account(1, "k1")], &[]);
    rig.call(200, &body('a'));
    for letter in ['b', 'c', 'd'] {
        rig.call(200, &body(letter));
    }
    assert_eq!(rig.heard(), ["spawn 1 with d"]);
    for round in 0..100u64 {
        rig.seconds += 60;
        rig.see(&[], &[]);
        rig.see(&[account(1, "k1")], &[]);
        rig.call(200, &body(['a', 'b'][round as usize % 2]));
    }
    assert_eq!(rig.keys.unsaid.len(), 1);
    assert_eq!(rig.heard(), ["reap 1", "spawn 1 with b"], "in this order");
    // An account that nobody heard of needs no reap.
    rig.see(&[account(1, "k1"), account(2, "k2")], &[row(1, 'b', 0)]);
    rig.see(&[account(1, "k1")], &[row(1, 'b', 0)]);
    assert_eq!(rig.heard(), [] as [String; 0]);
}

#[test]
fn a_key_of_an_hour_without_extension_is_gone() {
    let mut rig = Rig::streaming();
    let mut heard = Vec::new();
    while rig.seconds < 3_700 {
        let call = rig.due();
        let now = rig.now();
        rig.keys.handle_answer(&call.order, Err("no answer in time"), now);
        heard.extend(rig.heard());
    }
    assert_eq!(heard, ["1 in trouble: no answer in time", "1 gone: not extended for an hour"]);
    rig.call(200, &body('a'));
    assert_eq!(rig.heard(), ["1 now a, good until 0", "1 well"]);
}

#[test]
fn nothing_shows_a_secret() {
    let mut rig = Rig::streaming();
    rig.see(&[account(1, "PLANTED-api-key")], &[row(1, 'a', 0)]);
    let call = rig.due();
    let answer = VenueAnswer { status: 200, body: body('a').into(), retry_after: None, used_weight: None };
    let shown = format!("{call:?} {answer:?} {:?}", rig.keys);
    assert!(!shown.contains("PLANTED") && !shown.contains("aaaa"), "{shown}");
}
