//! Seeded worlds: two of ours that take the lease from each other, a worker in PHP, a clock that leaps. Whatever happens in
//! whatever order, each job is in exactly one place until it is acked.

use std::collections::BTreeSet;
use std::time::Duration;

use kraite_streams::domain::Random;
use kraite_streams::queue::{JobReader, JobSource as _, Lease, SourceJob};

use crate::laravel::{ack, migrate, pop};
use crate::redis_server::RedisServer;
use crate::rig::Rig;
use crate::side::{Side, keys, list, set};

struct World {
    client: redis::Connection,
    rig: Rig,
    sides: [Side; 2],
    hands: [Vec<SourceJob>; 2],
    fences: [u64; 2],
    /// Reserved copies of the worker in PHP.
    php: Vec<Vec<u8>>,
    acked: BTreeSet<u64>,
    greatest_fence: u64,
}

#[test]
fn every_job_is_in_one_place_until_it_is_acked() {
    let server = RedisServer::start(&[]);
    for seed in 0..12 {
        redis::cmd("FLUSHALL").exec(&mut server.client()).unwrap();
        let mut random = Random::from_seed(seed);
        let mut world = World {
            client: server.client(),
            rig: Rig::new(&server),
            sides: [(); 2].map(|()| Side::new(&server)),
            hands: [vec![], vec![]],
            fences: [0; 2],
            php: vec![],
            acked: BTreeSet::new(),
            greatest_fence: 0,
        };
        for step in 0..250 {
            world.step(&mut random);
            world.check(&format!("seed {seed}, step {step}"));
        }
        // In the end everything is done by whoever is left.
        redis::cmd("DEL").arg(keys().lease).exec(&mut world.client).unwrap();
        let [side, _] = &mut world.sides;
        side.clock.advance(Duration::from_secs(1_000));
        side.hold();
        loop {
            let jobs = side.take(50);
            if jobs.is_empty() {
                break;
            }
            side.source.ack(&jobs.iter().map(|job| job.ticket).collect::<Vec<_>>()).unwrap();
            world.acked.extend(jobs.iter().map(|job| position(&job.body)));
        }
        assert_eq!(world.acked.len() as u64, world.rig.next - 1, "seed {seed}");
        assert_eq!(list(&mut world.client, &keys().notify), Vec::<Vec<u8>>::new(), "seed {seed}");
        assert_eq!(set(&mut world.client, &keys().in_hand), [], "seed {seed}");
    }
}

impl World {
    fn step(&mut self, random: &mut Random) {
        let which = random.below(2) as usize;
        let now = self.sides[0].clock.seconds();
        let (side, hand) = (&mut self.sides[which], &mut self.hands[which]);
        match random.below(14) {
            0 | 1 => drop(self.rig.push_next(1 + random.below(6))),
            2 => {
                // The holder's lease runs out.
                redis::cmd("DEL").arg(keys().lease).exec(&mut self.client).unwrap();
            }
            3 | 4 => match side.source.keep_lease().unwrap() {
                Lease::Standby => hand.clear(),
                Lease::Held { fence } => {
                    if fence != self.fences[which] {
                        assert!(fence > self.greatest_fence, "fences grow");
                        hand.clear();
                    }
                    self.greatest_fence = self.greatest_fence.max(fence);
                    self.fences[which] = fence;
                }
            },
            5..=7 => {
                let _ = side.source.reserve(1 + random.below(8) as usize, Duration::ZERO, hand);
            }
            8 | 9 if !hand.is_empty() => {
                let jobs: Vec<_> = (0..1 + random.below(hand.len() as u64))
                    .map(|_| hand.remove(random.below(hand.len() as u64) as usize))
                    .collect();
                let before = waiting(&mut self.client);
                if side.source.ack(&jobs.iter().map(|job| job.ticket).collect::<Vec<_>>()).is_ok() {
                    let after: BTreeSet<_> = waiting(&mut self.client).into_iter().collect();
                    let gone: BTreeSet<_> = before.into_iter().filter(|position| !after.contains(position)).collect();
                    assert!(
                        gone.is_subset(&jobs.iter().map(|job| position(&job.body)).collect()),
                        "only what was acked"
                    );
                    self.acked.extend(gone);
                } else {
                    hand.extend(jobs);
                }
            }
            10 if !hand.is_empty() => {
                let job = hand.remove(0);
                let _ = side.source.release(job.ticket, Duration::from_secs(random.below(40)));
            }
            11 => {
                let leap = Duration::from_secs(random.below(60));
                self.sides.iter().for_each(|side| side.clock.advance(leap));
            }
            12 => {
                let _ = side.source.extend();
                if random.below(6) == 0 {
                    side.source.hand_back().unwrap();
                    hand.clear();
                }
            }
            _ => {
                migrate(&mut self.client, now);
                match self.php.pop() {
                    Some(copy) if random.below(2) == 0 => {
                        if ack(&mut self.client, &copy) == 1 {
                            self.acked.insert(position(&copy));
                        }
                    }
                    _ => self.php.extend(pop(&mut self.client, now + 90).map(|(_, copy)| copy)),
                }
            }
        }
    }

    #[track_caller]
    fn check(&mut self, when: &str) {
        let mut all = waiting(&mut self.client);
        all.extend(&self.acked);
        all.sort_unstable();
        assert!(all.iter().copied().eq(1..self.rig.next), "{when}: {all:?}");
        let (queue, tokens) =
            (list(&mut self.client, &keys().queue).len(), list(&mut self.client, &keys().notify).len());
        assert_eq!(queue, tokens, "{when}: a token for each job");
    }
}

/// Positions of all jobs on the server, wherever they are.
fn waiting(client: &mut redis::Connection) -> Vec<u64> {
    let mut positions: Vec<_> = list(client, &keys().queue).iter().map(|body| position(body)).collect();
    for key in [keys().reserved, keys().delayed] {
        positions.extend(set(client, &key).iter().map(|(body, _)| position(body)));
    }
    positions
}

fn position(body: &[u8]) -> u64 {
    JobReader::new().read(body).unwrap().position
}
