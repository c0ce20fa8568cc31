//! Processes as windows over one file, each with a clock of its own.

use std::fs;

use super::*;
use crate::domain::Random;
use crate::domain::limits::CONNECT_UNREACHED_MAX;

const WINDOW: Duration = Duration::from_secs(300);
const START: i64 = 1_795_419_015_000_000;

/// `seconds` after the start of a process, on a machine whose wall clock is right.
fn at_s(seconds: u64) -> Now {
    let wall = Wall::from_micros(START + seconds as i64 * 1_000_000);
    Now { mono: Mono::from_nanos(seconds * 1_000_000_000), wall }
}

fn window(path: &Path, instance: u64) -> SharedWindow {
    SharedWindow::new(Some(path.to_owned()), ConnectLimit::new(10, WINDOW).with_reserved(1, 2), instance)
}

fn granted(window: &SharedWindow, class: ConnectClass, now: Now) -> usize {
    (0..1_000).take_while(|_| window.permit(class, now) == Permit::Now).count()
}

#[test]
fn processes_share_one_window() {
    use ConnectClass::{Exposed, Ordinary, Prices};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connects");
    let (one, other) = (window(&path, 1), window(&path, 2));
    assert_eq!(granted(&one, Ordinary, at_s(1_000)), 7);
    // The other process started later: its clock is younger than the attempts.
    let late = Now { mono: Mono::from_nanos(5_000_000_000), wall: at_s(1_100).wall };
    assert_eq!(other.permit(Ordinary, late), Permit::At(Mono::from_nanos(205_000_000_000)));
    assert_eq!(other.time_to_all(8, late), Duration::from_secs(500));
    assert_eq!((granted(&other, Exposed, late), granted(&other, Prices, late)), (2, 1));
    assert_eq!(one.permit(Prices, at_s(1_200)), Permit::At(at_s(1_300).mono));
    assert_eq!(one.time_to_all(1, at_s(1_250)), Duration::from_secs(50));
    assert_eq!(granted(&one, Ordinary, at_s(1_300)), 7);
    assert_eq!((one.warning(), other.warning()), (None, None));
    // A process that starts again knows what the one before it did.
    assert_eq!(window(&path, 3).permit(Ordinary, at_s(1_301)), Permit::At(at_s(1_600).mono));
}

#[test]
fn garbage_stale_lines_and_lines_of_the_future_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connects");
    let line = |seconds: i64| format!("{} 00000000000000aa o\n", START + seconds * 1_000_000);
    let wild = format!("{} 00000000000000aa o\n{} 00000000000000aa o\n", i64::MAX, i64::MIN);
    for (before, granted_now) in [
        (String::new(), 7),
        (line(999) + &line(998), 5),
        ("\0\0\0\n\n 7\n1 2 3 4\nö".repeat(2_000), 7),
        (format!("{}{}9 x o", line(1_000), &line(1_000)[..20]), 6),
        (line(700) + &line(400) + &line(-5_000), 7),
        // Seconds ahead: of now. A day ahead: another clock's mistake.
        (line(1_005) + &line(1_299) + &line(90_000), 5),
        (wild, 7),
    ] {
        fs::write(&path, &before).unwrap();
        let shared = window(&path, 1);
        assert_eq!(granted(&shared, ConnectClass::Ordinary, at_s(1_000)), granted_now, "{before:.60?}");
        assert_eq!(shared.warning(), None);
        // What is written makes sense, and is free again a window later.
        let after = fs::read_to_string(&path).unwrap();
        assert!(after.lines().count() <= 10 && after.lines().all(|line| line.split(' ').count() == 3), "{after}");
        assert_eq!(granted(&window(&path, 2), ConnectClass::Ordinary, at_s(1_301)), 7);
    }
    // Whatever the bytes are.
    let mut random = Random::from_seed(1);
    for _ in 0..200 {
        let mut bytes = vec![0; random.below(3_000) as usize];
        random.fill(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(granted(&window(&path, 1), ConnectClass::Ordinary, at_s(1_000)), 7);
    }
}

#[test]
fn a_jump_of_the_wall_clock_never_lets_this_process_through() {
    for jump_s in [-100_000, -3_600, -1, 1, 3_600, 100_000] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("connects");
        let shared = window(&path, 1);
        assert_eq!(granted(&shared, ConnectClass::Ordinary, at_s(1_000)), 7);
        let jumped = |seconds| {
            let wall = Wall::from_micros(at_s(seconds).wall.as_micros() + jump_s * 1_000_000);
            Now { wall, ..at_s(seconds) }
        };
        assert_eq!(shared.permit(ConnectClass::Ordinary, jumped(1_001)), Permit::At(at_s(1_300).mono));
        assert_eq!(granted(&shared, ConnectClass::Ordinary, jumped(1_300)), 7, "{jump_s}");
        // Nor does it lock others out for longer than a window.
        let other = window(&path, 2);
        assert_eq!(granted(&other, ConnectClass::Ordinary, jumped(1_601)), 7, "{jump_s}");
    }
}

#[test]
fn a_busy_lock_is_tried_again_and_a_useless_file_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connects");
    let shared = window(&path, 1);
    let held = File::create(&path).unwrap();
    held.lock().unwrap();
    let soon = Permit::At(at_s(10).mono.plus(CONNECT_LOCK_RETRY));
    assert_eq!(shared.permit(ConnectClass::Prices, at_s(10)), soon);
    drop(held);
    assert_eq!(shared.permit(ConnectClass::Prices, at_s(11)), Permit::Now);

    for useless in [folder.path().to_owned(), folder.path().join("missing/connects"), PathBuf::from("/dev/null")] {
        let shared = window(&useless, 1);
        assert_eq!(granted(&shared, ConnectClass::Ordinary, at_s(10)), 7, "it limits this process");
        let warning = shared.warning().expect("it says so");
        assert!(warning.contains(&useless.display().to_string()), "{warning}");
        assert_eq!(shared.time_to_all(1, at_s(110)), Duration::from_secs(200));
    }
    // It is used as soon as it can be, with what was done without it.
    let later = folder.path().join("later");
    let shared = window(&later.join("connects"), 1);
    assert_eq!(granted(&shared, ConnectClass::Ordinary, at_s(10)), 7);
    fs::create_dir(&later).unwrap();
    assert_eq!(shared.permit(ConnectClass::Exposed, at_s(39)), Permit::Now);
    assert!(shared.warning().is_some());
    assert_eq!(shared.permit(ConnectClass::Exposed, at_s(41)), Permit::Now);
    assert_eq!(shared.warning(), None);
    assert_eq!(window(&later.join("connects"), 2).permit(ConnectClass::Exposed, at_s(42)), Permit::At(at_s(310).mono));
    let own = SharedWindow::new(None, ConnectLimit::new(10, WINDOW), 1);
    assert_eq!((own.permit(ConnectClass::Prices, at_s(1)), own.warning()), (Permit::Now, None));
}

#[test]
fn an_address_that_was_turned_away_waits_as_one_and_one_goes_ahead() {
    use ConnectClass::{Exposed, Ordinary, Prices};
    let at = |seconds| Permit::At(at_s(seconds).mono);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connects");
    let (one, other) = (window(&path, 1), window(&path, 2));
    one.hold(Duration::from_secs(60), at_s(1_000));
    one.hold(Duration::from_secs(10), at_s(1_001));
    // Whatever the class, and in a process that begins later and whose clock is younger, too.
    for class in ConnectClass::ALL {
        assert_eq!((one.permit(class, at_s(1_002)), other.permit(class, at_s(1_002))), (at(1_060), at(1_060)));
    }
    let young =
        |seconds: u64| Now { mono: Mono::from_nanos((seconds - 1_000) * 1_000_000_000), wall: at_s(seconds).wall };
    let late = window(&path, 3);
    assert_eq!(late.permit(Ordinary, young(1_030)), Permit::At(young(1_060).mono));
    assert_eq!((late.held_for(young(1_030)), one.held_for(at_s(1_060))), (Duration::from_secs(30), Duration::ZERO));
    assert!(window(&path, 4).time_to_all(1, at_s(1_030)) >= Duration::from_secs(30));
    // It is over: one goes ahead, of all processes, and the others see what comes of it.
    assert_eq!(other.permit(Exposed, at_s(1_060)), Permit::Now);
    assert_eq!(
        (one.permit(Prices, at_s(1_060)), late.permit(Ordinary, young(1_061))),
        (at(1_062), Permit::At(young(1_062).mono))
    );
    // Nothing came of it: all go on, within the window.
    assert_eq!((one.permit(Prices, at_s(1_062)), other.permit(Exposed, at_s(1_062))), (Permit::Now, Permit::Now));
    assert_eq!(granted(&late, Ordinary, young(1_062)), 7);
    // It is turned away again: so are all.
    other.hold(Duration::from_secs(20), at_s(1_063));
    assert_eq!(one.permit(Prices, at_s(1_063)), at(1_083));
    // A process that starts anew knows what the one before it was told.
    assert_eq!(window(&path, 5).permit(Prices, at_s(1_064)), at(1_083));
}

#[test]
fn a_hold_is_bounded_and_needs_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connects");
    let day = Duration::from_secs(86_400);
    for file in [None, Some(folder.path().to_owned()), Some(path.clone())] {
        let shared = SharedWindow::new(file, ConnectLimit::new(10, WINDOW), 1);
        shared.hold(day, at_s(1_000));
        assert_eq!(shared.permit(ConnectClass::Prices, at_s(1_001)), Permit::At(at_s(4_600).mono));
        assert_eq!(granted(&shared, ConnectClass::Prices, at_s(4_600)), 1);
        assert!(granted(&shared, ConnectClass::Prices, at_s(4_602)) > 1);
    }
    // What another clock's mistake or another program wrote holds nobody for longer.
    for line in ["99999999999999999 00000000000000aa h\n", "x 00000000000000aa h\n", "1 2 h\n"] {
        fs::write(&path, line).unwrap();
        assert_eq!(window(&path, 1).permit(ConnectClass::Prices, at_s(1_000)), Permit::Now, "{line}");
    }
    // A lock that is busy when the venue turns us away: this process waits at once, the others as soon as it could say so.
    let (one, other) = (window(&path, 1), window(&path, 2));
    let held = File::create(&path).unwrap();
    held.lock().unwrap();
    one.hold(Duration::from_secs(60), at_s(1_000));
    drop(held);
    assert_eq!(one.permit(ConnectClass::Prices, at_s(1_001)), Permit::At(at_s(1_060).mono));
    assert_eq!(other.permit(ConnectClass::Prices, at_s(1_001)), Permit::At(at_s(1_060).mono));
}

#[test]
fn an_attempt_that_reached_nobody_is_taken_back() {
    use ConnectClass::{Exposed, Ordinary, Prices};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connects");
    let alone = SharedWindow::new(None, ConnectLimit::new(10, WINDOW).with_reserved(1, 2), 3);
    for own in [window(&path, 1), alone] {
        // A thousand attempts at a host that is away, by one a second at last, use nothing of the window.
        let mut begun = 0;
        for second in 1_000..1_060 {
            while own.permit(Ordinary, at_s(second)) == Permit::Now {
                begun += 1;
                own.handle_unreached(Ordinary, at_s(second).mono, at_s(second));
            }
        }
        assert_eq!(begun, u64::from(CONNECT_UNREACHED_MAX) + 59);
        let before = own.recoveries();
        assert_eq!(own.permit(Exposed, at_s(1_060)), Permit::Now, "it finds out");
        assert_eq!(own.permit(Ordinary, at_s(1_060)), Permit::At(at_s(1_061).mono));
        assert_eq!(own.permit(Prices, at_s(1_060)), Permit::Now, "the price stream is not held back by it");
        own.handle_reached(Exposed, at_s(1_060).mono, at_s(1_061));
        assert_eq!(own.recoveries(), before + 1);
        let later = |ms: u64| Now { mono: at_s(1_061).mono.plus(Duration::from_millis(ms)), ..at_s(1_061) };
        let granted = (0..1_000).step_by(5).filter(|ms| own.permit(Ordinary, later(*ms)) == Permit::Now).count();
        assert_eq!(granted, 7, "all that is left for them");
        // An attempt leaves the window by the time at which it was over: the venue counted it some time before.
        assert_eq!(own.permit(Exposed, at_s(1_070)), Permit::Now, "its share is two");
        assert_eq!(own.permit(Exposed, at_s(1_359)), Permit::At(at_s(1_361).mono), "not at 1,360, when it began");
    }
}
