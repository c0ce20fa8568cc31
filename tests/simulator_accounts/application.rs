//! An application's orders on the wire: announced first, told of only once it has sent them on, among those of others.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use kraite_streams::sim::{Announcement, Wish};

use super::private_client::{PATIENCE, drain, drain_for, listen, start, with};

/// The client id that an announcement is about.
fn named(announcement: &Announcement) -> &str {
    match &announcement.wish {
        Wish::Place(order) => &order.client_id,
        Wish::Cancel { client_id } => client_id,
    }
}

#[test]
fn no_frame_of_an_order_comes_before_the_application_has_sent_it() {
    let sim = start(with(|accounts| {
        (accounts.count, accounts.frames_per_second, accounts.has_application) = (1, 300.0, true);
    }));
    let application = sim.application();
    let (mut socket, _) = listen(&sim, 0);

    // Eight lives wait, and not one of their orders is told of; other people go on.
    let mut waiting: Vec<Announcement> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while waiting.len() < 8 {
        assert!(Instant::now() < deadline, "only {} lives wait", waiting.len());
        waiting.extend(application.next(Duration::from_millis(50)));
    }
    sim.set_frames_per_second(0.0);
    let before = drain(&mut socket, Duration::from_millis(300));
    assert!(before.iter().any(|text| text.contains("ORDER_TRADE_UPDATE")), "other people trade");
    let ids: HashSet<&str> = waiting.iter().map(named).collect();
    assert_eq!(ids.len(), 8);
    let told = |texts: &[String], id: &str| texts.iter().any(|text| text.contains(&format!("\"{id}\"")));
    assert!(ids.iter().all(|id| !told(&before, id)));
    assert_eq!(application.next(Duration::from_millis(50)), None, "a ninth would be a life too many");

    // Sent on, they come, under the ids that were announced.
    waiting.iter().for_each(|announcement| application.send(announcement));
    sim.set_frames_per_second(300.0);
    let deadline = Instant::now() + PATIENCE;
    let mut after = Vec::new();
    while !ids.iter().all(|id| told(&after, id)) {
        assert!(Instant::now() < deadline, "an order that was sent on never came");
        after.append(&mut drain_for(&mut socket, Duration::from_millis(20), Duration::from_millis(200)));
        while let Some(announcement) = application.next(Duration::ZERO) {
            application.send(&announcement);
        }
        if after.len() > 200 {
            sim.set_frames_per_second(40.0);
        }
    }
    for announcement in &waiting {
        if let Wish::Place(order) = &announcement.wish {
            let key = if order.is_algo { "aid" } else { "i" };
            let id = format!("\"{key}\":{}", order.id);
            let text = after.iter().find(|text| text.contains(&format!("\"{}\"", order.client_id))).unwrap();
            assert!(text.contains(&id), "{id} is not in {text}");
            assert!(text.contains(&format!("\"s\":\"{}\"", order.symbol)), "{text}");
        }
    }
}
