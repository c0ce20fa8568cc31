//! The ledger under load and faults: what plain recorders hold, with their gaps, is exactly what the ledger says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kraite_streams::domain::Wall;
use kraite_streams::sim::{AccountFault, AccountsConfig, Fate, Missed, SimConfig, SimHandle};
use tungstenite::Message;

use super::private_client::{EVENTS, PATIENCE, desk, quiet, recorded, start};

fn now() -> Wall {
    Wall::from_micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64)
}

/// Lets the recorders end when the test does, however it does.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Recorder {
    frames: Vec<Vec<u8>>,
    gaps: Vec<(Wall, Wall)>,
}

/// A frame proves that its sender was heard up to its `E`, not up to when it was read; `E` is a few milliseconds ahead.
fn told_at(text: &str) -> Option<Wall> {
    let digits = text.split_once("\"E\":")?.1.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(Wall::from_millis(digits.parse::<i64>().ok()? - 5))
}

/// Records an account until told to stop: reconnects after each break, and notes from when to when it did not listen.
fn record(sim: &SimHandle, account: usize, wrapped: bool, stop: &AtomicBool) -> Recorder {
    let mut recorder = Recorder::default();
    let mut silent_since = now();
    while !stop.load(Ordering::Relaxed) {
        let answer = desk(sim, "POST", account);
        if answer.status != 200 {
            continue;
        }
        let key = answer.key();
        let form = if wrapped { "stream" } else { "ws" };
        let url = format!("{}/private/{form}?listenKey={key}&events={EVENTS}", sim.stream_base());
        let Ok(stream) = super::client::try_tls(sim) else { continue };
        let Ok((mut socket, _)) = tungstenite::client(url, stream) else { continue };
        socket.set_config(|config| config.max_frame_size = Some(1 << 20));
        socket.get_ref().sock.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
        recorder.gaps.push((silent_since, now()));
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    let text = text.as_str();
                    recorder.frames.push(recorded(text, &key));
                    silent_since = told_at(text).unwrap_or(silent_since);
                    if text.contains("listenKeyExpired") {
                        break;
                    }
                }
                Ok(_) => {}
                // Silence, too: a half-open socket says nothing else.
                Err(_) => break,
            }
        }
    }
    recorder.gaps.push((silent_since, now()));
    recorder
}

#[test]
fn recorders_and_ledgers_agree_through_every_fault() {
    let accounts =
        AccountsConfig { count: 3, frames_per_second: 600.0, duplicate_one_in: 40, ..AccountsConfig::default() };
    let sim = start(SimConfig { accounts, connects: None, seed: 11, ..quiet() });
    let stop = AtomicBool::new(false);
    let recorders: Vec<_> = thread::scope(|scope| {
        let handles: Vec<_> = (0..3)
            .map(|account| {
                scope.spawn({
                    let (sim, stop) = (&sim, &stop);
                    move || record(sim, account, account == 1, stop)
                })
            })
            .collect();
        let stopper = StopOnDrop(&stop);
        thread::sleep(Duration::from_millis(300));
        for fault in AccountFault::ALL {
            let fault = match fault {
                // As they are, these would fill the recorders' quiet time.
                AccountFault::Flood { .. } => AccountFault::Flood { frames: 300 },
                AccountFault::Stall { .. } => AccountFault::Stall { lasts: Duration::from_millis(100) },
                AccountFault::Mute { .. } => AccountFault::Mute { lasts: Duration::from_millis(400) },
                AccountFault::SlowHandshake { .. } => AccountFault::SlowHandshake { delay: Duration::from_millis(100) },
                AccountFault::KeyDelay { .. } => AccountFault::KeyDelay { delay: Duration::from_millis(100) },
                // It never comes where nobody sends a PUT.
                AccountFault::RotateKey { .. } => continue,
                // The same where nobody reads.
                AccountFault::Read { .. } => continue,
                fault => fault,
            };
            for account in 0..2 {
                sim.inject(fault.on(account));
            }
            thread::sleep(Duration::from_millis(120));
        }
        // Those that still wait at the door are met on the way back in.
        for account in 0..2 {
            sim.inject(AccountFault::Cut.on(account));
        }
        let deadline = Instant::now() + PATIENCE;
        let waits = |account| sim.account_ledger(account).faults_waiting > 0;
        while (0..2).any(waits) {
            assert!(Instant::now() < deadline, "{:?}", sim.account_ledger(0).faults);
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(300));
        sim.quiesce();
        assert!(sim.wait_delivered(PATIENCE));
        drop(stopper);
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for (account, recorder) in recorders.iter().enumerate() {
        let ledger = sim.account_ledger(account);
        let verdict = ledger.judge(recorder.frames.iter().map(Vec::as_slice), &recorder.gaps);
        assert!(verdict.is_clean(), "account {account}: {verdict:?}");
        assert!(verdict.distinct > 400 && ledger.unrecorded == 0 && ledger.in_flight == 0);
        let delivered = ledger.frames.iter().filter(|frame| frame.fate == Fate::Delivered).count();
        assert_eq!(delivered, ledger.distinct_delivered().len());
        assert!(ledger.frames.iter().all(|frame| frame.fate != Fate::InFlight));
        assert!(ledger.deliveries.len() > delivered, "doubles");
        let of_sessions: u64 = ledger.sessions.iter().map(|session| session.frames_delivered).sum();
        assert_eq!(of_sessions, ledger.deliveries.len() as u64);
        if account == 2 {
            // Nothing of all this met the third.
            let missed = ledger.missed().filter(|(_, why)| *why != Missed::Filtered).count();
            assert_eq!((ledger.sessions.len(), missed, ledger.faults.len()), (1, 0, 0));
            assert_eq!(verdict.distinct, delivered as u64);
        } else {
            assert!(ledger.sessions.len() > 5 && verdict.covered > 0, "{verdict:?}");
        }
    }
}

#[test]
fn the_pace_holds_and_the_ledger_has_room_for_it() {
    let accounts = AccountsConfig { count: 2, frames_per_second: 1_000.0, ..AccountsConfig::default() };
    let sim = start(SimConfig { accounts, ..quiet() });
    let stop = AtomicBool::new(false);
    let generated = |sim: &SimHandle| (0..2).map(|account| sim.account_ledger(account).deliveries.len()).sum::<usize>();
    thread::scope(|scope| {
        let _stopper = StopOnDrop(&stop);
        for account in 0..2 {
            let (sim, stop) = (&sim, &stop);
            scope.spawn(move || record(sim, account, false, stop));
        }
        let deadline = Instant::now() + PATIENCE;
        while generated(&sim) == 0 {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(5));
        }
        let (started, before) = (Instant::now(), generated(&sim));
        thread::sleep(Duration::from_secs(2));
        let rate = (generated(&sim) - before) as f64 / started.elapsed().as_secs_f64();
        // More it can never be; less on a machine that is busy with something else.
        assert!((200.0..=1_100.0).contains(&rate), "{rate}");
        sim.set_frames_per_second(0.0);
        sim.sync();
        let after = generated(&sim);
        thread::sleep(Duration::from_millis(200));
        assert_eq!(generated(&sim), after);
    });
}
