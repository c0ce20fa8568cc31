//! Promise: every private frame that the venue is known to send has the columns that facts/incumbent.md §4.1 gives it.
//! `fixtures/projections.txt` holds them, one frame a line, written by another program from the frames and the same facts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kraite_streams::domain::Decimal;
use kraite_streams::domain::order::{PositionSide, Side};
use kraite_streams::exchange::Projection;
use kraite_streams::exchange::binance::project;
use kraite_streams::exchange::binance::user_data::classify;

#[test]
fn every_frame_has_its_columns() {
    let expected = fs::read_to_string(fixtures().join("projections.txt")).unwrap();
    let mut seen = BTreeSet::new();
    for line in expected.lines() {
        let (name, columns) = line.split_once(": ").unwrap();
        let projection = check(&frame(name));
        assert_eq!(shown(&projection), columns, "{name}");
        assert_eq!(projection.misfits, 0, "{name}");
        assert!(seen.insert(name.to_owned()));
    }
    let is_frame = |name: &String| !["rest_", "list_", "subscribe_"].iter().any(|other| name.starts_with(other));
    let names = fs::read_dir(fixtures().join("user_data"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
    let left: Vec<_> = names.filter(is_frame).filter(|name| !seen.contains(name)).collect();
    assert!(left.is_empty() && seen.len() == 61, "{left:?} of {}", seen.len());
}

/// What an algo order's mark relies on, whatever the venue's page calls the two.
#[test]
fn nothing_is_sent_before_it_has_happened() {
    let mut count = 0;
    for line in fs::read_to_string(fixtures().join("projections.txt")).unwrap().lines() {
        let projection = project(&frame(line.split_once(": ").unwrap().0));
        if let Some(happened) = projection.transaction_time_ms {
            assert!(projection.event_time_ms >= Some(happened), "{line}");
            count += usize::from(projection.is_algo);
        }
    }
    assert!(count >= 11, "{count} algo events");
}

#[test]
fn frames_that_are_no_events_are_other() {
    for name in
        ["subscribe_request", "list_subscriptions_request", "list_subscriptions_reply_key", "rest_listen_key_post"]
    {
        assert_eq!(check(&fs::read(path(name)).unwrap()), Projection::default(), "{name}");
    }
}

/// Projects what the spool records of a frame.
fn check(recorded: &[u8]) -> Projection {
    let projection = project(recorded);
    let mut blanks = b" \r\n\t".to_vec();
    blanks.extend_from_slice(recorded);
    blanks.push(b'\n');
    assert_eq!(project(&blanks), projection);
    projection
}

fn frame(name: &str) -> Vec<u8> {
    classify(&fs::read(path(name)).unwrap()).event.to_vec()
}

fn path(name: &str) -> PathBuf {
    let file = format!("{name}.json");
    let known = [fixtures().join("user_data").join(&file), fixtures().join(&file)];
    known.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no fixture {name}"))
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn shown(projection: &Projection) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let time = |time: Option<i64>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let decimal = |decimal: &Option<Decimal>| decimal.as_ref().map_or_else(|| "-".to_owned(), Decimal::to_string);
    let flag = |flag: Option<bool>| flag.map_or_else(|| "-".to_owned(), |flag| flag.to_string());
    let side = |side: PositionSide| match side {
        PositionSide::Both => "BOTH",
        PositionSide::Long => "LONG",
        PositionSide::Short => "SHORT",
    };
    let mut line = format!(
        "{} {} E={} T={}",
        projection.kind.as_str(),
        if projection.raw_event_type.is_empty() { "-" } else { &projection.raw_event_type },
        time(projection.event_time_ms),
        time(projection.transaction_time_ms)
    );
    if let (Some(normalized), Some(status)) = (projection.normalized_status, projection.status) {
        line += &format!(
            " id={} client={} {} {}/{normalized}/{status}",
            text(&projection.exchange_order_id),
            text(&projection.client_order_id),
            text(&projection.symbol),
            text(&projection.native_status),
        );
        line += &format!(
            " p={} ap={} q={} z={} L={} l={}",
            decimal(&projection.price),
            decimal(&projection.average_price),
            decimal(&projection.original_quantity),
            decimal(&projection.filled_quantity),
            decimal(&projection.last_filled_price),
            decimal(&projection.last_filled_quantity),
        );
        line += &format!(
            " x={} alias={} {} {}",
            text(&projection.execution_type),
            projection.execution_alias.unwrap_or("-"),
            projection.side.map_or("-", |side| if side == Side::Buy { "BUY" } else { "SELL" }),
            projection.position_side.map_or("-", side),
        );
        line += &format!(
            " R={} cp={} ai={} aq={}",
            flag(projection.reduce_only),
            flag(projection.close_position),
            text(&projection.triggered_order_id),
            decimal(&projection.executed_quantity),
        );
    }
    if projection.is_forced {
        line += " forced";
    }
    for position in &projection.positions {
        line += &format!(" [{} {} {}]", position.symbol, side(position.side), position.quantity);
    }
    line
}
