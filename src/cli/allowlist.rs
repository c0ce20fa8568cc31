//! `allowlist preview`: audited frames through the worker's own rules, in a transaction that is rolled back; what only the
//! longer list does is the answer.
//!
//! Memory is bounded: frames come in pages from a session of its own, what was written is kept up to a number, beyond which the
//! command asks for less.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::allowlist_record::{Recording, Written};
use super::exit::{CommandError, Exit};
use super::trace_args::{AllowlistCommand, PreviewArgs};
use super::{Loaded, out, work_tables};
use crate::daemon::work_wiring;
use crate::domain::limits::{PREVIEW_CHANGES_MAX, PREVIEW_PAGE_ROWS};
use crate::domain::time::{Clock as _, SystemClock};
use crate::domain::{Venue, Wall};
use crate::exchange::binance::project;
use crate::store::work::End;
use crate::store::work_rows::AuditRecord;
use crate::store::{ErrorClass, StoreError, WorkStore};
use crate::user_data::apply::{JobEvent, Policy, apply, audit_key};
use crate::user_data::rules::Allowlist;

pub(super) fn run(loaded: &Loaded, command: &AllowlistCommand) -> Result<Exit, CommandError> {
    let AllowlistCommand::Preview(args) = command;
    let present = work_wiring::policy(&loaded.settings)?;
    let words = present.allowlist.words().map(str::to_owned).chain(args.types.iter().cloned());
    let longer = Policy { allowlist: Allowlist::new(words), ..present.clone() };
    let since = Wall::from_micros(
        SystemClock::start().now().wall.as_micros() - i64::try_from(args.since.as_micros()).unwrap_or(i64::MAX),
    );
    let mut preview = Preview { store: work_tables::open(loaded)?, pages: work_tables::open(loaded)?, since };
    // That opens the session for pages: later the other one may hold a file's lock.
    let audited = preview.pages.run(|tables| tables.audited_accounts())?;
    let accounts = args.account.map_or(audited, |account| vec![account]);
    let mut views = Vec::new();
    for account in accounts {
        let now = preview.replay(account, &present)?;
        let then = preview.replay(account, &longer)?;
        if then.frames > 0 || args.account.is_some() {
            views.push(AccountView::new(account, now, then));
        }
    }
    let text = match args.json {
        true => format!("{}\n", json_of(args, &present.allowlist, since, &views)),
        false => text_of(args, &present.allowlist, since, &views),
    };
    out(&text)?;
    Ok(Exit::Ok)
}

/// One thing that one frame wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Change {
    audit_id: i64,
    at: Wall,
    word: String,
    written: Written,
}

/// What one list does to one account.
#[derive(Default)]
struct Replayed {
    frames: u64,
    by_type: BTreeMap<String, u64>,
    admitted: u64,
    changes: Vec<Change>,
}

struct Preview {
    store: WorkStore,
    /// Pages are read beside the transaction, which has the other session.
    pages: WorkStore,
    since: Wall,
}

impl Preview {
    fn replay(&mut self, account: i64, policy: &Policy) -> Result<Replayed, CommandError> {
        let (pages, since) = (&mut self.pages, self.since);
        let mut replayed = Replayed::default();
        let mut is_too_much = false;
        self.store.run(|tables| {
            tables.transaction(&mut |tx| {
                replayed = Replayed::default();
                let mut recording = Recording::new(tx);
                let mut after = 0;
                loop {
                    let page = pages
                        .run(|tables| tables.audit_of_account(account, since, after, PREVIEW_PAGE_ROWS))
                        .map_err(|error| error.during(&format!("reading the audit of account {account}")))?;
                    for record in &page {
                        replay_one(&mut recording, record, policy, &mut replayed)?;
                    }
                    is_too_much = replayed.changes.len() > PREVIEW_CHANGES_MAX;
                    match page.last() {
                        Some(last) if !is_too_much => after = last.id,
                        _ => return Ok(End::RollBack),
                    }
                }
            })
        })?;
        if is_too_much {
            let sentence = format!(
                "account {account}: more than {PREVIEW_CHANGES_MAX} changes; ask for a shorter --since, or for one --account"
            );
            return Err(CommandError::new(Exit::DataErr, sentence));
        }
        Ok(replayed)
    }
}

fn replay_one(
    recording: &mut Recording<'_>,
    record: &AuditRecord,
    policy: &Policy,
    replayed: &mut Replayed,
) -> Result<(), StoreError> {
    let raw = recorded_bytes(record);
    let projection = project(&raw);
    replayed.frames += 1;
    if let Some(word) = &projection.execution_type {
        *replayed.by_type.entry(word.clone()).or_default() += 1;
    }
    replayed.admitted += u64::from(policy.allowlist.admits(&projection).is_some());
    let event = JobEvent {
        account_id: record.account_id,
        api_system_id: record.api_system_id,
        canonical: Venue::Binance.canonical(),
        kind: "frame",
        uuid: "preview",
        epoch: [0; 16],
        position: 0,
        previous: None,
        received_at: record.received_at,
        reserved_at: record.received_at,
        raw: &raw,
    };
    // As if the worker had taken it when it came: workflows then live and end as they did.
    match apply(recording, &event, policy, record.received_at) {
        Ok(_) => {}
        Err(error) if error.class() == ErrorClass::Data => {
            return Err(error.during("the rules refused an audited frame"));
        }
        Err(error) => return Err(error),
    }
    let word = projection.execution_type.unwrap_or(projection.raw_event_type);
    let changes = recording.take().into_iter();
    replayed.changes.extend(changes.map(|written| Change {
        audit_id: record.id,
        at: record.received_at,
        word: word.clone(),
        written,
    }));
    Ok(())
}

/// The bytes as they were received: what was no JSON is kept as base64.
fn recorded_bytes(record: &AuditRecord) -> Cow<'_, [u8]> {
    let payload = record.raw_payload.as_bytes();
    if audit_key(record.account_id, record.api_system_id, payload) != record.idempotency_key
        && let Ok(Value::Object(object)) = serde_json::from_slice(payload)
        && let Some(Value::String(text)) = object.get("raw_base64")
        && let Ok(bytes) = BASE64.decode(text)
    {
        return Cow::Owned(bytes);
    }
    Cow::Borrowed(payload)
}

/// What differs for one account.
struct AccountView {
    account: i64,
    frames: u64,
    by_type: BTreeMap<String, u64>,
    /// Frames that only the longer list admits.
    admitted: u64,
    added: Vec<Change>,
    removed: Vec<Change>,
    present: usize,
}

impl AccountView {
    fn new(account: i64, now: Replayed, then: Replayed) -> AccountView {
        let present = now.changes.len();
        let mut left: HashMap<Change, usize> = HashMap::new();
        for change in &now.changes {
            *left.entry(change.clone()).or_default() += 1;
        }
        let mut take = |change: &Change| match left.get_mut(change) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        };
        let added = then.changes.into_iter().filter(|change| !take(change)).collect();
        let removed = now.changes.into_iter().filter(|change| take(change)).collect();
        AccountView {
            account,
            frames: then.frames,
            by_type: then.by_type,
            admitted: then.admitted - now.admitted.min(then.admitted),
            added,
            removed,
            present,
        }
    }
}

/// Counts over all accounts: order changes, position changes, intents by name.
#[derive(Default)]
struct Totals {
    orders: u64,
    positions: u64,
    intents: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn of<'c>(changes: impl Iterator<Item = &'c Change>) -> Totals {
        let mut totals = Totals::default();
        for change in changes {
            match &change.written {
                Written::Order { .. } => totals.orders += 1,
                Written::Position { .. } => totals.positions += 1,
                Written::Intent { name, .. } => *totals.intents.entry(name).or_default() += 1,
                Written::Reference { .. } => {}
            }
        }
        totals
    }
}

fn text_of(args: &PreviewArgs, present: &Allowlist, since: Wall, views: &[AccountView]) -> String {
    let mut text = String::new();
    let list = if present.is_empty() { "empty: shadow mode".to_owned() } else { present.to_string() };
    let _ = writeln!(text, "what {} would have done besides the allowlist in force ({list})", args.types.join(", "));
    let _ = writeln!(
        text,
        "audited frames since {since} UTC, against orders and positions as they are now; nothing is written"
    );
    for view in views {
        let _ = writeln!(
            text,
            "\naccount {}: {} frames, {} of them admitted by the addition alone",
            view.account, view.frames, view.admitted
        );
        let seen: Vec<String> = view.by_type.iter().map(|(word, count)| format!("{word} {count}")).collect();
        if !seen.is_empty() {
            let _ = writeln!(text, "  types: {}", seen.join(", "));
        }
        for (sign, changes) in [('+', &view.added), ('-', &view.removed)] {
            for change in changes {
                let _ = writeln!(text, "  {sign} {}  {}  {}", change.at, change.word, words_of(&change.written));
            }
        }
        if view.added.is_empty() && view.removed.is_empty() {
            text.push_str("  nothing would have changed\n");
        }
        if view.present > 0 {
            let _ = writeln!(text, "  not counted: {} changes that the list in force makes by itself", view.present);
        }
    }
    for word in &args.types {
        if !views.iter().any(|view| view.by_type.contains_key(word)) && word != "ALGO_FILLED" {
            let _ = writeln!(text, "\nno frame of type {word} is in the audit of that time");
        }
    }
    let totals = Totals::of(views.iter().flat_map(|view| &view.added));
    let intents: Vec<String> = totals.intents.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let _ = writeln!(
        text,
        "\ntotal: {} order changes, {} position changes, {} intents{}",
        totals.orders,
        totals.positions,
        totals.intents.values().sum::<u64>(),
        if intents.is_empty() { String::new() } else { format!(" ({})", intents.join(", ")) }
    );
    text
}

fn words_of(written: &Written) -> String {
    match written {
        Written::Order { order_id, from, to } => {
            let mut text = format!("order {order_id}: {} to {}", from.0, to.0);
            if from.1 != to.1 {
                let price = |price: &Option<String>| price.clone().unwrap_or_else(|| "none".to_owned());
                let _ = write!(text, ", price {} to {}", price(&from.1), price(&to.1));
            }
            text
        }
        Written::Reference { order_id, status } => format!("order {order_id}: reference_status {status}"),
        Written::Position { position_id, from, to } => format!("position {position_id}: {from} to {to}"),
        Written::Intent { name, position_id, order_id } => {
            let order = order_id.map(|id| format!(", order {id}")).unwrap_or_default();
            format!("intent {name}: position {position_id}{order}")
        }
    }
}

fn json_of(args: &PreviewArgs, present: &Allowlist, since: Wall, views: &[AccountView]) -> Value {
    let totals = Totals::of(views.iter().flat_map(|view| &view.added));
    let accounts: Vec<Value> = views
        .iter()
        .map(|view| {
            json!({
                "account": view.account,
                "frames": view.frames,
                "admitted": view.admitted,
                "types": view.by_type,
                "added": view.added.iter().map(json_of_change).collect::<Vec<_>>(),
                "removed": view.removed.iter().map(json_of_change).collect::<Vec<_>>(),
                "present_changes": view.present,
            })
        })
        .collect();
    json!({
        "types": args.types,
        "allowlist": present.words().collect::<Vec<_>>(),
        "since_us": since.as_micros(),
        "accounts": accounts,
        "totals": { "orders": totals.orders, "positions": totals.positions, "intents": totals.intents },
    })
}

fn json_of_change(change: &Change) -> Value {
    let mut object = match &change.written {
        Written::Order { order_id, from, to } => json!({
            "kind": "order", "order_id": order_id, "status_from": from.0, "status_to": to.0, "price_from": from.1,
            "price_to": to.1,
        }),
        Written::Reference { order_id, status } => {
            json!({ "kind": "reference", "order_id": order_id, "status_to": status })
        }
        Written::Position { position_id, from, to } => {
            json!({ "kind": "position", "position_id": position_id, "status_from": from, "status_to": to })
        }
        Written::Intent { name, position_id, order_id } => {
            json!({ "kind": "intent", "name": name, "position_id": position_id, "order_id": order_id })
        }
    };
    object["audit_id"] = change.audit_id.into();
    object["received_at_us"] = change.at.as_micros().into();
    object["type"] = change.word.as_str().into();
    object
}
