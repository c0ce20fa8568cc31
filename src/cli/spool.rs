//! `spool list|show|replay`: what the spool holds, for people, and onto the queue once more. Beside a running daemon: the
//! folder is only looked at.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::exit::{CommandError, Exit};
use super::spool_args::{ReplayArgs, ShowArgs, SpoolCommand};
use super::{Loaded, out, spool_replay};
use crate::domain::Wall;
use crate::domain::time::{Clock as _, SystemClock};
use crate::exchange::binance::user_data::classify;
use crate::ops::status::Status;
use crate::spool::{AccountId, Holder, Kind, LivenessEntry, Record, SpoolSurvey, SpoolView};

/// Bytes of output that are gathered before they are written.
const OUT_LEN: usize = 64 << 10;

pub(super) fn run(loaded: &Loaded, command: &SpoolCommand) -> Result<Exit, CommandError> {
    match command {
        SpoolCommand::List => list(loaded),
        SpoolCommand::Show(args) => show(loaded, args),
        SpoolCommand::Replay(args) => replay(loaded, args),
    }
}

fn replay(loaded: &Loaded, args: &ReplayArgs) -> Result<Exit, CommandError> {
    spool_replay::run(loaded, &open(loaded)?, args)
}

fn open(loaded: &Loaded) -> Result<SpoolView, CommandError> {
    let folder = &loaded.settings.spool.folder;
    SpoolView::open(folder).map_err(|error| match error.kind() {
        ErrorKind::NotFound => CommandError::new(
            Exit::NoInput,
            format!("{} is not there: no daemon has run here, or it has another spool.folder", folder.display()),
        ),
        _ => CommandError::of_spool(folder, &error),
    })
}

fn list(loaded: &Loaded) -> Result<Exit, CommandError> {
    let folder = &loaded.settings.spool.folder;
    let survey = open(loaded)?.survey().map_err(|error| CommandError::of_spool(folder, &error))?;
    let mut text = format!("spool {}\n", folder.display());
    match &survey.holder {
        Holder::Nobody => text.push_str("  no process has it\n"),
        Holder::Held(name) if name.is_empty() => text.push_str("  a process has it\n"),
        Holder::Held(name) => line(&mut text, format_args!("held by {name}")),
        Holder::Unknown => text.push_str("  the system does not tell whether a process has it\n"),
    }
    positions(&mut text, loaded, &survey);
    segments(&mut text, &survey);
    accounts(&mut text, &survey);
    let is_damaged = survey.segments.iter().any(|segment| segment.damaged > 0)
        || !survey.headless.is_empty()
        || !survey.quarantine.is_empty();
    text.push_str("\nquarantine\n");
    if survey.quarantine.is_empty() {
        text.push_str("  empty\n");
    }
    for (name, bytes) in &survey.quarantine {
        line(&mut text, format_args!("{name}  {bytes} bytes"));
    }
    out(&text)?;
    Ok(if is_damaged { Exit::Failed } else { Exit::Ok })
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "  {line}");
}

fn positions(text: &mut String, loaded: &Loaded, survey: &SpoolSurvey) {
    text.push_str("\npositions (each is the one behind the last record that it covers)\n");
    line(text, format_args!("written     {:>12}", survey.written));
    match &survey.cursor {
        Some(cursor) => {
            line(text, format_args!("synced      {:>12}  at least, when the cursor was saved", cursor.synced));
            line(text, format_args!("acked       {:>12}  durable; saved {} UTC", cursor.acked, cursor.saved_at));
        }
        None => line(text, format_args!("no durable cursor yet: nothing counts as acknowledged")),
    }
    // Dispatched is known to the daemon alone.
    let now = SystemClock::start().now().wall;
    let daemon = Status::read(&loaded.settings.ops.status_file).ok().filter(|status| {
        !status.is_stale(now) && survey.holder != Holder::Nobody && Path::new(&format!("/proc/{}", status.pid)).exists()
    });
    match daemon.as_ref().and_then(|status| status.user_data.as_ref()) {
        Some(now) => line(
            text,
            format_args!(
                "the daemon's: written {}, synced {}, dispatched {}, acked {}",
                now.written, now.synced, now.dispatched, now.acked
            ),
        ),
        None => line(text, format_args!("dispatched is known to a running daemon alone, and none tells it")),
    }
}

fn segments(text: &mut String, survey: &SpoolSurvey) {
    let bytes: u64 = survey.segments.iter().map(|segment| segment.bytes).sum();
    let _ = writeln!(text, "\nsegments: {}, {bytes} bytes", survey.segments.len());
    for segment in &survey.segments {
        let header = &segment.header;
        let mut notes = String::new();
        if segment.damaged > 0 {
            let _ = write!(notes, "  !! {} bytes damaged", segment.damaged);
        }
        if segment.unfinished > 0 {
            let _ = write!(notes, "  {} bytes at the end unfinished", segment.unfinished);
        }
        line(
            text,
            format_args!(
                "{:016x}  positions {} to {}  {} records  {} bytes  epoch {}  begun {} UTC{notes}",
                header.id,
                header.first,
                segment.end.saturating_sub(1).max(header.first),
                segment.records,
                segment.bytes,
                header.epoch,
                header.created_at
            ),
        );
    }
    for name in &survey.headless {
        line(text, format_args!("!! {name}: its head is damaged, or is being written"));
    }
    match survey.reserve {
        Some(reserve) => line(text, format_args!("{reserve} bytes are kept for marks on a full disk")),
        None => line(text, format_args!("no reserve for marks on a full disk")),
    }
}

fn accounts(text: &mut String, survey: &SpoolSurvey) {
    let _ = writeln!(text, "\naccounts: {}", survey.accounts.len());
    for (account, view) in &survey.accounts {
        line(
            text,
            format_args!(
                "account {}: {} frames, {} gaps, {} recovered, {} bytes, {} not acknowledged; the last at position {}, {} UTC",
                account.0,
                view.frames,
                view.gaps,
                view.recovered,
                view.bytes,
                view.unacknowledged,
                view.last_position,
                view.last_received_at
            ),
        );
    }
}

fn show(loaded: &Loaded, args: &ShowArgs) -> Result<Exit, CommandError> {
    let view = open(loaded)?;
    let mut printed = 0;
    let mut is_cut = false;
    let mut bytes: Vec<u8> = Vec::new();
    let mut broken = None;
    view.read(args.from, |record| {
        if args.to.is_some_and(|to| record.identity.position > to) {
            return ControlFlow::Break(());
        }
        if args.account.is_some_and(|account| record.account != AccountId(account))
            || args.kind.is_some_and(|kind| record.kind != kind.kind())
        {
            return ControlFlow::Continue(());
        }
        if args.limit > 0 && printed == args.limit {
            is_cut = true;
            return ControlFlow::Break(());
        }
        printed += 1;
        write_record(record, args, &mut bytes);
        if bytes.len() < OUT_LEN {
            return ControlFlow::Continue(());
        }
        match flush(&mut bytes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        }
    })
    .map_err(|error| CommandError::of_spool(&loaded.settings.spool.folder, &error))?;
    match broken.map_or_else(|| flush(&mut bytes), Err) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(CommandError::new(Exit::IoErr, format!("cannot write to standard output: {error}")));
        }
        _ => {}
    }
    if is_cut {
        // On standard error, so that what was asked for stays alone.
        let _ = writeln!(io::stderr(), "kraite-streams: there are more than {} (--limit, 0 is all)", args.limit);
    }
    Ok(Exit::Ok)
}

fn flush(bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    bytes.clear();
    stdout.flush()
}

fn write_record(record: &Record<'_>, args: &ShowArgs, to: &mut Vec<u8>) {
    if args.raw {
        to.extend_from_slice(record.payload);
    } else if args.json {
        to.extend_from_slice(json_of(record).to_string().as_bytes());
    } else {
        let account = match record.account {
            AccountId(0) => "-".to_owned(),
            AccountId(id) => id.to_string(),
        };
        let (position, kind) = (record.identity.position, record.kind.as_str());
        let head = format!("{position:>10}  {}  {account:>6}  {kind:<9}  {:<24}  ", record.received_at, event(record));
        to.extend_from_slice(head.as_bytes());
        if record.kind == Kind::Liveness {
            let entries: Vec<String> = LivenessEntry::read_all(record.payload)
                .map(|entry| format!("{} alive {}", entry.account.0, entry.alive_at))
                .collect();
            to.extend_from_slice(entries.join(", ").as_bytes());
        } else {
            to.extend_from_slice(escape(record.payload).as_bytes());
        }
    }
    to.push(b'\n');
}

/// What a frame says that it is; of other kinds nothing.
fn event(record: &Record<'_>) -> &'static str {
    match record.kind {
        Kind::Frame | Kind::Recovered => classify(record.payload).class.as_str(),
        Kind::Gap | Kind::Liveness => "-",
    }
}

/// Text as it is; control characters and what is no text escaped, so that a terminal does nothing with them.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn json_of(record: &Record<'_>) -> serde_json::Value {
    let micros = |wall: Wall| wall.as_micros();
    let mut object = json!({
        "position": record.identity.position,
        "epoch": record.identity.epoch.to_string(),
        "account": record.account.0,
        "exchange": record.exchange.0,
        "previous": record.previous,
        "kind": record.kind.as_str(),
        "received_at_us": micros(record.received_at),
        "event": event(record),
        "suffix": String::from_utf8_lossy(record.suffix),
    });
    if record.kind == Kind::Liveness {
        let entries = LivenessEntry::read_all(record.payload).map(|entry| {
            json!({ "account": entry.account.0, "alive_at_us": micros(entry.alive_at), "last_position": entry.last_position })
        });
        object["entries"] = entries.collect();
    } else {
        match std::str::from_utf8(record.payload) {
            Ok(text) => object["payload"] = text.into(),
            Err(_) => object["payload_base64"] = BASE64.encode(record.payload).into(),
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_does_nothing_with_bytes() {
        for (bytes, shown) in [
            (&b"{\"a\":\"\xc3\xbc\"}"[..], "{\"a\":\"ü\"}"),
            (b"\x1b[2J\r\n\\", "\\u{1b}[2J\\r\\n\\\\"),
            (b"a\xff\xfeb", "a\\xff\\xfeb"),
        ] {
            assert_eq!(escape(bytes), shown);
        }
    }
}
