//! Promise: a private frame goes from the socket's bytes through account, lane and spooler into the spool, and a sign of life
//! into a liveness mark, without an allocation once the buffers are warm; also on a socket that took another one's place.

use std::sync::Arc;
use std::time::Duration;

use kraite_streams::domain::{Mono, Now, Random, Wall};
use kraite_streams::exchange::binance::listen_key::ListenKey;
use kraite_streams::exchange::binance::private_url::SpellingChoice;
use kraite_streams::spool::{AccountId, Epoch, ExchangeId, FolderDisk, Opened, ReadBatch, SpoolConfig, open};
use kraite_streams::user_data::account::{Account, AccountConfig, KeyNews, RotationPlan};
use kraite_streams::user_data::intake::{Intake, Taken};
use kraite_streams::user_data::lane::Lane;
use kraite_streams::user_data::registry::{AccountCell, Accounts};
use kraite_streams::user_data::spooler::{Reading, Spooler};

#[path = "support/counting_alloc.rs"]
mod counting_alloc;

#[global_allocator]
static ALLOCATOR: counting_alloc::CountingAlloc = counting_alloc::CountingAlloc;

const ACCOUNTS: u64 = 50;
const KEY: &str = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
const OTHER_KEY: &str = "SYNTHETIClistenKeyB0000000000000000000000000000000000000000000BB";

/// A loop that nobody has to stop.
struct NeverPaused;

impl Reading for NeverPaused {
    fn pause(&self, _: AccountId) -> bool {
        unreachable!("there is room")
    }
    fn resume(&self, _: AccountId) -> bool {
        unreachable!("there is room")
    }
    fn pause_all(&self) -> bool {
        unreachable!("there is room")
    }
    fn resume_all(&self) -> bool {
        unreachable!("there is room")
    }
}

#[test]
fn twenty_thousand_frames_allocate_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let disk = FolderDisk::open(temp.path()).unwrap();
    let at = |turn: u64| Now { mono: Mono::from_nanos(turn * 5_000_000), wall: Wall::from_millis(turn as i64 * 5) };
    let opened = open(disk, SpoolConfig::default(), Epoch([1; 16]), at(0)).unwrap();
    let Opened { appender, mut syncer, mut reader, .. } = opened;
    let lane = Lane::new(crossbeam_channel::bounded(1).0);
    let accounts = Accounts::new();
    let mut intakes: Vec<Intake> = (1..=ACCOUNTS)
        .map(|id| {
            let config = AccountConfig {
                account: AccountId(id),
                exchange: ExchangeId(1),
                base: "wss://localhost/private".to_owned(),
                choice: SpellingChoice::Auto,
                delivered: None,
                alive_at: None,
            };
            let plan = RotationPlan { after: Some(Duration::from_secs(3_600)), random: Random::from_seed(id) };
            let account = Account::new(config, at(0)).with_rotation(plan);
            let cell = AccountCell::new(account, Arc::clone(&lane));
            let key = ListenKey::new(KEY).unwrap();
            cell.account(at(0), |account| account.handle_key(KeyNews { key, replaced: None }, at(0)));
            cell.account(at(0), |account| account.poll_open()).unwrap();
            accounts.insert(Arc::clone(&cell));
            let mut intake = Intake::new(cell);
            intake.handle_connected(at(0));
            while intake.poll_request().is_some() {}
            intake
        })
        .collect();
    let mut spooler = Spooler::new(appender, vec![lane], Arc::clone(&accounts), Box::new(NeverPaused))
        .with_marks_every(Duration::from_millis(500));
    let frame = [
        br#"{"stream":"SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA@ORDER_TRADE_UPDATE","data":"#
            .as_slice(),
        br#"{"e":"ORDER_TRADE_UPDATE","E":1,"o":{"c":""#,
        &[b'x'; 1_000],
        br#""}}}"#,
    ]
    .concat();
    let (mut out, mut skipped) = (ReadBatch::default(), Vec::new());
    let mut records = 0;
    let mut work = |intakes: &mut [Intake], turns: std::ops::Range<u64>| {
        for turn in turns {
            for n in 0..20 {
                let intake = &mut intakes[((turn * 7 + n) % ACCOUNTS) as usize];
                assert_eq!(intake.handle_message(&frame, at(turn)), Taken::Recorded);
                intake.handle_activity(at(turn));
                assert!(intake.poll_request().is_none());
            }
            spooler.turn(at(turn));
            while reader.read(&mut out, &mut skipped).unwrap() > 0 {
                records += out.len();
                reader.ack(out.iter().last().unwrap().identity.position + 1);
            }
            if turn % 10 == 0 {
                syncer.turn(at(turn));
            }
        }
    };
    work(&mut intakes, 1..400);
    let (first, ()) = counting_alloc::allocations_in(|| work(&mut intakes, 400..1_400));

    // Every account gets another key and a second socket, which takes the first one's place.
    let now = at(1_400);
    let old = std::mem::take(&mut intakes);
    for (cell, mut old) in accounts.all().into_iter().zip(old) {
        let key = ListenKey::new(OTHER_KEY).unwrap();
        cell.account(now, |account| account.handle_key(KeyNews { key, replaced: None }, now));
        let (seat, _) = cell.account(now, |account| account.begin_rotation(now)).unwrap();
        cell.account(now, |account| account.handle_rotation_opened(true, now));
        let mut new = Intake::at_seat(Arc::clone(&cell), seat);
        new.handle_connected(now);
        while new.poll_request().is_some() {}
        assert_eq!(
            (new.handle_message(&frame, now), old.handle_message(&frame, now)),
            (Taken::Recorded, Taken::Recorded)
        );
        assert_eq!(cell.account(now, |account| account.seat()), seat, "both have brought the frame");
        intakes.push(new);
    }
    let (during, ()) = counting_alloc::allocations_in(|| work(&mut intakes, 1_400..1_410));
    assert!(during > 0, "a handover is no steady state");
    let later = at(4_400);
    for cell in accounts.all() {
        assert!(cell.account(later, |account| account.poll_leaving(later)).is_some());
        assert!(!cell.account(later, |account| account.is_rotating()));
    }
    work(&mut intakes, 4_400..4_800);
    let (second, ()) = counting_alloc::allocations_in(|| work(&mut intakes, 4_800..5_800));
    // Free space and old segments are looked at once a second: the counts below hold their few lists.
    for allocations in [first, second] {
        assert!(allocations <= 8, "{allocations} allocations in 20,000 frames");
    }
    assert!(records > 2_809 * 20, "marks and gaps too: {records}");
}
