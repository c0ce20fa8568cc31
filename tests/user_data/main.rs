//! Promise: every event of a venue is a job on the queue, in order per account, or lies inside a gap that is a job and a row;
//! whatever dies, fills up, refuses or is slow, and whenever.
//!
//! A seeded world moves time by hand around the real roles: intakes, lane, spooler, syncer, dispatcher and the in-process
//! queue. The seed is the bug report: `KRAITE_SEED=n cargo test --test user_data`.

mod dispatch;
mod world;

use std::cell::RefCell;
use std::rc::Rc;

use kraite_streams::domain::Random;
use kraite_streams::spool::{FolderDisk, MemDisk, Survives};
use world::{Faults, Life, World};

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let one = std::env::var("KRAITE_SEED").ok().and_then(|seed| seed.parse().ok());
    (0..count).map(move |seed| one.unwrap_or(seed)).take(if one.is_some() { 1 } else { count as usize })
}

/// A disk of memory that lives through kills and power cuts, and a handle on it.
fn mem_disk(seed: u64) -> (impl FnMut(Option<Life>) -> MemDisk, Rc<RefCell<MemDisk>>) {
    let handle = Rc::new(RefCell::new(MemDisk::new()));
    let current = Rc::clone(&handle);
    let mut random = Random::from_seed(seed);
    let reopen = move |ended: Option<Life>| {
        let mut disk = current.borrow_mut();
        *disk = match ended {
            None => disk.clone(),
            Some(Life::Ended) => disk.after_kill(),
            Some(Life::PowerCut) => disk.after_crash(match random.below(3) {
                0 => Survives::Synced,
                1 => Survives::Prefix(random.next_u64()),
                _ => Survives::Sectors(random.next_u64()),
            }),
        };
        disk.clone()
    };
    (reopen, handle)
}

#[test]
fn nothing_is_lost_when_the_process_is_killed() {
    for seed in seeds(10) {
        let mut world = World::new(seed, Faults { kills: true, ..Faults::default() }, mem_disk(seed).0);
        world.run(3_000);
        world.judge();
        assert!(world.lives() > 1, "seed {seed}: nobody was killed");
    }
}

#[test]
fn what_a_power_cut_takes_lies_in_a_gap() {
    for seed in seeds(10) {
        let mut world = World::new(seed, Faults { power: true, ..Faults::default() }, mem_disk(seed).0);
        world.run(3_000);
        world.judge();
        assert!(world.lives() > 1, "seed {seed}: the power stayed on");
    }
}

#[test]
fn a_full_disk_pauses_all_and_loses_nothing() {
    let mut shut = 0;
    for seed in seeds(8) {
        let (reopen, disk) = mem_disk(seed);
        let mut world = World::new(seed, Faults { kills: true, full_disk: Some(disk), ..Faults::default() }, reopen);
        world.run(3_000);
        world.judge();
        shut += usize::from(world.was_shut());
    }
    assert!(shut > 0, "there was always room");
}

#[test]
fn a_used_up_share_pauses_its_account_and_loses_nothing() {
    let mut held = 0;
    for seed in seeds(8) {
        let faults = Faults { kills: true, slow_consumer: true, ..Faults::default() };
        let mut world = World::new(seed, faults, mem_disk(seed).0);
        world.run(3_000);
        world.judge();
        held += usize::from(world.was_held());
    }
    assert!(held > 0, "there was always room");
}

#[test]
fn a_real_folder_keeps_the_same_promises() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let faults = Faults { kills: true, slow_consumer: true, ..Faults::default() };
    let mut world = World::new(7, faults, move |_| FolderDisk::open(&path).unwrap());
    world.run(2_000);
    world.judge();
    assert!(world.lives() > 1, "nobody was killed");
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        world::assert_no_key(&std::fs::read(entry.unwrap().path()).unwrap(), "a file of the spool");
    }
}

#[test]
fn a_stop_leaves_nothing_unwritten() {
    for seed in seeds(10) {
        let mut world = World::new(seed, Faults::default(), mem_disk(seed).0);
        world.run(1_000);
        world.stop_and_start_again();
        world.run(200);
        world.judge();
    }
}
