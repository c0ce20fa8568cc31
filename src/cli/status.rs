//! `status`: a running daemon's own words, and whether to believe them.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::json;

use super::args::StatusArgs;
use super::exit::{CommandError, Exit};
use super::out;
use crate::domain::time::SystemClock;
use crate::domain::{Clock as _, Wall};
use crate::ops::settings::Settings;
use crate::ops::status::{LatencyUs, Status, WorkStatus, millis};

pub(super) fn run(
    settings: impl FnOnce() -> Result<Settings, CommandError>,
    args: &StatusArgs,
) -> Result<Exit, CommandError> {
    let path = match &args.file {
        Some(file) => file.clone(),
        None => settings()?.ops.status_file,
    };
    let status = Status::read(&path).map_err(|error| unreadable(&path, &error))?;
    let now = SystemClock::start().now().wall;
    let verdict = judge(&status, now, Path::new(&format!("/proc/{}", status.pid)).exists());
    let text = if args.json { json_text(&status, &verdict, now) } else { table(&status, &verdict, now) };
    out(&text)?;
    Ok(verdict.exit)
}

struct Verdict {
    exit: Exit,
    complaints: Vec<String>,
}

fn judge(status: &Status, now: Wall, is_alive: bool) -> Verdict {
    let mut complaints = Vec::new();
    if status.is_stale(now) {
        let (age, interval) = (status.age(now).as_secs(), status.interval_s);
        complaints
            .push(format!("the file is {age} s old, though it is replaced every {interval} s: what it says is past"));
    }
    if !is_alive {
        complaints.push(format!("process {} is gone", status.pid));
    }
    if !complaints.is_empty() {
        return Verdict { exit: Exit::Unavailable, complaints };
    }
    let complaints = status.complaints();
    Verdict { exit: if complaints.is_empty() { Exit::Ok } else { Exit::Failed }, complaints }
}

fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => CommandError::new(
            Exit::NoInput,
            format!("{path} is not there: no daemon has run here, or it has another ops.status_file (try --file)"),
        ),
        io::ErrorKind::PermissionDenied => CommandError::new(Exit::NoPerm, format!("cannot read {path}: {error}")),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            CommandError::new(Exit::DataErr, format!("{path} is no status file: {error}"))
        }
        _ => CommandError::new(Exit::IoErr, format!("cannot read {path}: {error}")),
    }
}

fn json_text(status: &Status, verdict: &Verdict, now: Wall) -> String {
    let object = json!({
        "healthy": verdict.exit == Exit::Ok,
        "fresh": verdict.exit != Exit::Unavailable,
        "age_s": status.age(now).as_secs(),
        "complaints": verdict.complaints,
        "status": status,
    });
    format!("{object}\n")
}

fn table(status: &Status, verdict: &Verdict, now: Wall) -> String {
    let Status { stream, writer, .. } = status;
    let none = || "none".to_owned();
    let health = match verdict.exit {
        Exit::Ok => "healthy",
        Exit::Unavailable => "not running",
        _ => "needs a look",
    };
    let counts = |counts: &std::collections::BTreeMap<String, u64>| {
        let shown: Vec<String> =
            counts.iter().filter(|(_, count)| **count > 0).map(|(kind, count)| format!("{kind} {count}")).collect();
        if shown.is_empty() { none() } else { shown.join(", ") }
    };
    let names = |names: &[String]| if names.is_empty() { none() } else { names.join(", ") };
    let fault = |fault: &crate::ops::status::LastFault| format!("{} ({})", fault.text, fault.at);
    let mut rows = vec![
        (
            status.role.clone(),
            format!("{health}; version {}, pid {}, since {}", status.version, status.pid, status.started_at),
        ),
        ("updated".to_owned(), format!("{} s ago ({})", status.age(now).as_secs(), status.updated_at)),
    ];
    let price_rows = [
        ("stream".to_owned(), format!("{}; {}, attempt {}", stream.state.in_words(), stream.host, stream.attempt)),
        ("connected since".to_owned(), stream.connected_since.clone().unwrap_or_else(none)),
        ("newest price".to_owned(), stream.last_data_at.clone().unwrap_or_else(none)),
        ("last fault".to_owned(), stream.last_fault.as_ref().map_or_else(none, fault)),
        ("faults".to_owned(), counts(&status.faults)),
        ("of these".to_owned(), counts(&status.fault_kinds)),
        (
            "received".to_owned(),
            format!(
                "{} frames, {:.1} MB, {:.0} prices/s",
                stream.frames,
                stream.bytes as f64 / 1e6,
                stream.prices_per_s
            ),
        ),
        ("entries".to_owned(), counts(&stream.entries)),
        ("writer".to_owned(), writer.state.in_words().to_owned()),
        ("last error".to_owned(), writer.last_error.clone().unwrap_or_else(none)),
        (
            "written".to_owned(),
            format!("{} rows in {} commits, {:.0} rows/s", writer.rows_written, writer.commits, writer.rows_per_s),
        ),
        (
            "tick to commit".to_owned(),
            writer.tick_to_commit_us.map_or_else(none, |us| {
                format!("p50 {}, p99 {}, max {}", millis(us.p50), millis(us.p99), millis(us.max))
            }),
        ),
        (
            "symbol map".to_owned(),
            format!(
                "{} symbols, {} rows, {} shifted, {} without a known ratio",
                writer.map.symbols, writer.map.rows, writer.map.shifted, writer.map.unknown
            ),
        ),
        ("unseen for 60 s".to_owned(), names(&writer.unseen)),
        ("quarantined".to_owned(), names(&writer.quarantined)),
    ];
    if status.has_prices() {
        rows.extend(price_rows);
    }
    if let Some(user_data) = &status.user_data {
        rows.extend(super::status_accounts::rows(user_data));
    }
    if let Some(work) = &status.work {
        rows.extend(work_rows(work));
    }
    rows.extend([
        ("memory".to_owned(), format!("{:.1} MB", status.rss_bytes as f64 / 1e6)),
        ("alarms".to_owned(), names(&status.alarms)),
    ]);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in &rows {
        let _ = writeln!(text, "{name:width$}  {}", printable(value));
    }
    for complaint in &verdict.complaints {
        let _ = writeln!(text, "! {}", printable(complaint));
    }
    text
}

fn work_rows(work: &WorkStatus) -> Vec<(String, String)> {
    let latency = |latency: Option<LatencyUs>| {
        latency.map_or_else(
            || "none".to_owned(),
            |us| format!("p50 {}, p99 {}, max {}", millis(us.p50), millis(us.p99), millis(us.max)),
        )
    };
    let mut rows = vec![
        ("worker".to_owned(), work.mode()),
        ("lease".to_owned(), format!("{}, lost {} times", work.lease, work.leases_lost)),
        (
            "jobs".to_owned(),
            format!(
                "{} applied, {:.0}/s, {} duplicates, {} gaps, {} transactions",
                work.applied, work.jobs_per_s, work.duplicates, work.gaps, work.transactions
            ),
        ),
        (
            "waiting".to_owned(),
            format!(
                "{} in hand ({:.1} MB), {} on the queue, oldest {}",
                work.in_hand,
                work.in_hand_bytes as f64 / 1e6,
                work.queue_depth,
                millis(work.oldest_ms.saturating_mul(1_000))
            ),
        ),
        (
            "trouble".to_owned(),
            format!(
                "{} retries, {} attempts in vain, {} failed ({} unreadable), {} put aside, {} out of order, {} misfits, {} panics",
                work.retries,
                work.attempts,
                work.failed,
                work.unreadable,
                work.put_aside,
                work.disorder,
                work.misfits,
                work.panics
            ),
        ),
        ("intents".to_owned(), format!("{} written, {} pushed", work.intents, work.intents_pushed)),
        ("frame to commit".to_owned(), latency(work.receive_to_commit_us)),
        ("job to commit".to_owned(), latency(work.reserve_to_commit_us)),
    ];
    for lane in &work.held {
        let whose = lane.account.map_or_else(|| "jobs not ours".to_owned(), |account| format!("account {account}"));
        rows.push((whose, format!("held since {}, {} jobs: {}", lane.since, lane.jobs, lane.why)));
    }
    rows
}

/// Names and messages came over the wire: nothing in them may move the cursor of a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ops::status::{StreamState, WriterState};

    #[test]
    fn freshness_comes_before_health() {
        let mut status = Status::new("prices", Wall::from_millis(1_000), Duration::from_secs(2));
        status.touch(Wall::from_millis(10_000));
        (status.stream.state, status.writer.state) = (StreamState::Live, WriterState::Writing);
        let sick = Status { alarms: vec!["the clock is off".to_owned()], ..status.clone() };
        for (status, age_ms, is_alive, exit, says) in [
            (&status, 0, true, Exit::Ok, ""),
            (&status, 6_000, true, Exit::Ok, ""),
            (&status, 6_001, true, Exit::Unavailable, "the file is 6 s old"),
            (&status, 0, false, Exit::Unavailable, "is gone"),
            (&sick, 0, true, Exit::Failed, "the clock is off"),
            (&sick, 60_000, true, Exit::Unavailable, "the file is 60 s old"),
        ] {
            let now = Wall::from_millis(10_000 + age_ms);
            let verdict = judge(status, now, is_alive);
            assert_eq!(verdict.exit, exit, "{age_ms} {is_alive}");
            let text = table(status, &verdict, now);
            assert!(text.contains(says), "{text}");
            assert_eq!(text.contains("\n! "), exit != Exit::Ok, "{text}");
        }
    }

    #[test]
    fn a_terminal_is_left_alone() {
        let mut status = Status::new("prices", Wall::from_millis(0), Duration::from_secs(2));
        status.writer.unseen = vec!["\u{1b}[2J我踏马来了USDT\n".to_owned()];
        let verdict = judge(&status, Wall::from_millis(0), true);
        let text = table(&status, &verdict, Wall::from_millis(0));
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("unseen for 60 s  \u{fffd}[2J我踏马来了USDT\u{fffd}\n"), "{text}");
    }
}
