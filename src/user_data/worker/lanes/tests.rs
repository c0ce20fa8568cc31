//! The lanes, turn by turn, and under random orders of everything that can happen.

use std::collections::HashMap;

use super::*;
use crate::domain::Random;
use crate::user_data::worker::disorder::Place;
use crate::user_data::worker::job::JobContent;

struct Still(Mono);

impl Clock for Still {
    fn now(&self) -> Now {
        Now { mono: self.0, wall: Wall::from_micros(i64::try_from(self.0.as_nanos() / 1_000).unwrap()) }
    }
}

fn at(ms: u64) -> Still {
    Still(Mono::ZERO.plus(Duration::from_millis(ms)))
}

fn lanes() -> Lanes {
    let lanes = Lanes::new(LaneBounds { jobs: 100, bytes: 10_000, piece: 3 });
    lanes.set_fence(Some(1));
    lanes
}

fn job(account_id: i64, position: u64) -> LaneJob {
    LaneJob {
        ticket: account_id.unsigned_abs() * 1_000 + position,
        attempt: 1,
        body: vec![0; 10],
        reserved_at: Wall::default(),
        uuid: String::new(),
        content: Ok(JobContent {
            account_id,
            api_system_id: 1,
            canonical: None,
            kind: "frame".to_owned(),
            place: Some(Place { epoch: [0; 16], position, previous: position.checked_sub(1) }),
            received_at: Wall::default(),
            raw: vec![0; 10],
        }),
    }
}

fn positions(piece: &Piece) -> Vec<u64> {
    piece.jobs.iter().map(|job| position_of(job)).collect()
}

fn position_of(job: &LaneJob) -> u64 {
    job.content.as_ref().unwrap().place.unwrap().position
}

fn take(lanes: &Lanes, ms: u64) -> Option<Piece> {
    lanes.take(&at(ms), Duration::ZERO)
}

fn done(jobs: usize) -> Verdict {
    Verdict { done: jobs, then: Then::Go }
}

fn retry(ms: u64, spent: bool) -> Verdict {
    let then = Then::Retry { after: Duration::from_millis(ms), why: "busy".into(), spent, failing: None };
    Verdict { done: 0, then }
}

#[test]
fn a_lane_is_with_one_thread_and_goes_behind_the_others() {
    let lanes = lanes();
    for position in 1..=5 {
        lanes.add(job(1, position));
    }
    lanes.add(job(2, 1));
    let first = take(&lanes, 0).unwrap();
    assert_eq!((first.lane, positions(&first)), (LaneKey::Account(1), vec![1, 2, 3]));
    let other = take(&lanes, 0).unwrap();
    assert_eq!(other.lane, LaneKey::Account(2));
    assert!(take(&lanes, 0).is_none(), "both lanes are taken");
    lanes.put_down(&first, done(3), at(1).now());
    let rest = take(&lanes, 1).unwrap();
    assert_eq!((positions(&rest), rest.passed), (vec![4, 5], Some(3)));
    lanes.put_down(&rest, done(2), at(1).now());
    lanes.put_down(&other, done(1), at(1).now());
    let mut settled = Vec::new();
    lanes.settled(&mut settled);
    assert_eq!(settled, [1_001, 1_002, 1_003, 1_004, 1_005, 2_001]);
    assert_eq!(lanes.room(), 94, "what is not acknowledged is in hand");
    lanes.acknowledged(1, &settled);
    assert_eq!((lanes.room(), lanes.is_empty()), (100, true));
}

#[test]
fn a_lane_that_waits_holds_nobody_else() {
    let lanes = lanes();
    lanes.add(job(1, 1));
    lanes.add(job(1, 2));
    lanes.add(job(2, 1));
    let piece = take(&lanes, 0).unwrap();
    lanes.put_down(&piece, retry(50, true), at(0).now());
    let other = take(&lanes, 0).unwrap();
    assert_eq!(other.lane, LaneKey::Account(2));
    lanes.put_down(&other, done(1), at(0).now());
    assert!(take(&lanes, 49).is_none());
    let held = lanes.counts(9).held;
    assert_eq!((held.len(), held[0].lane, held[0].jobs, &*held[0].why), (1, LaneKey::Account(1), 2, "busy"));
    let again = take(&lanes, 50).unwrap();
    assert_eq!((positions(&again), again.spent), (vec![1], 1), "the job that is to blame goes alone");
    lanes.put_down(&again, done(1), at(50).now());
    let next = take(&lanes, 50).unwrap();
    assert_eq!((positions(&next), next.spent, next.failures), (vec![2], 0, 0));
    assert!(lanes.counts(9).held.is_empty());
}

#[test]
fn a_predecessor_that_comes_ends_the_wait() {
    let lanes = lanes();
    lanes.add(job(1, 3));
    lanes.add(job(1, 4));
    let piece = take(&lanes, 0).unwrap();
    let until = at(1_000).now().mono;
    lanes.put_down(&piece, Verdict { done: 0, then: Then::Missing { position: 2, until } }, at(0).now());
    assert!(take(&lanes, 999).is_none());
    lanes.add(job(1, 5));
    assert!(take(&lanes, 999).is_none(), "a later one changes nothing");
    lanes.add(job(1, 2));
    let piece = take(&lanes, 999).unwrap();
    assert_eq!((positions(&piece), piece.missing_since), (vec![2, 3, 4], None));
    // Nothing is put among what a thread has.
    lanes.add(job(1, 1));
    lanes.put_down(&piece, done(3), at(0).now());
    assert_eq!(positions(&take(&lanes, 999).unwrap()), [1, 5]);
}

#[test]
fn a_predecessor_that_comes_while_a_thread_looks_is_first_afterwards() {
    let lanes = lanes();
    lanes.add(job(1, 4));
    let piece = take(&lanes, 0).unwrap();
    lanes.add(job(1, 3));
    lanes.add(job(1, 2));
    let until = at(1_000).now().mono;
    lanes.put_down(&piece, Verdict { done: 0, then: Then::Missing { position: 3, until } }, at(0).now());
    let piece = take(&lanes, 0).unwrap();
    assert_eq!((positions(&piece), piece.missing_since), (vec![2, 3, 4], None));
}

#[test]
fn a_new_lease_begins_with_nothing_and_keeps_threads_apart() {
    let lanes = lanes();
    lanes.add(job(1, 1));
    lanes.add(job(2, 1));
    let old = take(&lanes, 0).unwrap();
    lanes.set_fence(None);
    lanes.add(job(3, 1));
    assert!(lanes.is_empty() && take(&lanes, 0).is_none(), "without a lease nothing is taken in");
    lanes.set_fence(Some(2));
    lanes.add(job(1, 1));
    assert!(take(&lanes, 0).is_none(), "a thread is still at this account");
    lanes.put_down(&old, done(1), at(0).now());
    let mut settled = Vec::new();
    lanes.settled(&mut settled);
    assert!(settled.is_empty(), "what was done under the old lease is not acknowledged under the new one");
    let fresh = take(&lanes, 0).unwrap();
    assert_eq!((fresh.fence, positions(&fresh)), (2, vec![1]));
    lanes.put_down(&fresh, Verdict { done: 0, then: Then::Fenced(7) }, at(0).now());
    assert_eq!((lanes.fenced_by(), take(&lanes, 0).is_none()), (Some(7), true));
}

#[test]
fn jobs_and_bytes_are_bounded() {
    let lanes = Lanes::new(LaneBounds { jobs: 4, bytes: 50, piece: 9 });
    lanes.set_fence(Some(1));
    assert_eq!(lanes.room(), 4);
    lanes.add(job(1, 1));
    lanes.add(job(1, 2));
    assert_eq!(lanes.room(), 2);
    lanes.add(job(1, 3));
    assert_eq!(lanes.room(), 0, "60 bytes are in hand");
    let piece = take(&lanes, 0).unwrap();
    lanes.put_down(&piece, done(3), at(0).now());
    assert_eq!(lanes.room(), 1, "bodies are gone, places are not");
    lanes.close();
    lanes.add(job(1, 4));
    assert!(take(&lanes, 0).is_none());
}

#[test]
fn any_order_of_events_keeps_every_lane_in_order_and_loses_nothing() {
    for seed in 0..200 {
        let mut random = Random::from_seed(seed);
        let lanes = lanes();
        let (mut next, mut applied) = ([0u64; 5], HashMap::<i64, Vec<u64>>::new());
        let (mut hands, mut acked, mut now) = (Vec::<Piece>::new(), 0u64, 0);
        while acked < 300 {
            now += 1;
            match random.below(5) {
                0 | 1 if next.iter().sum::<u64>() < 300 && lanes.room() > 0 => {
                    let account = random.below(5);
                    next[account as usize] += 1;
                    lanes.add(job(account as i64, next[account as usize]));
                }
                2 => hands.extend(take(&lanes, now)),
                3 if !hands.is_empty() => {
                    let piece = hands.swap_remove(random.below(hands.len() as u64) as usize);
                    assert!(hands.iter().all(|other| other.lane != piece.lane), "seed {seed}: a lane with two threads");
                    let verdict = match random.below(4) {
                        0 => retry(random.below(20), random.below(2) == 0),
                        1 => Verdict { done: 0, then: Then::Alone(piece.jobs.len()) },
                        _ => done(1 + random.below(piece.jobs.len() as u64) as usize),
                    };
                    for job in &piece.jobs[..verdict.done] {
                        let content = job.content.as_ref().unwrap();
                        applied.entry(content.account_id).or_default().push(position_of(job));
                    }
                    lanes.put_down(&piece, verdict, at(now).now());
                }
                _ => {
                    let mut settled = Vec::new();
                    lanes.settled(&mut settled);
                    lanes.acknowledged(1, &settled);
                    acked += settled.len() as u64;
                }
            }
        }
        for (account, count) in next.iter().enumerate() {
            let found = applied.remove(&(account as i64)).unwrap_or_default();
            assert_eq!(found, (1..=*count).collect::<Vec<_>>(), "seed {seed}, account {account}");
        }
        let counts = lanes.counts(9);
        assert_eq!((counts.jobs, counts.bytes, counts.lanes), (0, 0, 0), "seed {seed}");
    }
}
