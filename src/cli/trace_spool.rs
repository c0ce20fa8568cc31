//! What the spool still holds of an order: one walk over it, which takes no lock. A record is known by the key that its audit
//! row has, or would have.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::Path;

use crate::domain::Wall;
use crate::domain::limits::TRACE_EVENTS_MAX;
use crate::exchange::binance::project;
use crate::spool::{Identity, Kind, SpoolView};
use crate::user_data::apply::audit_key;

/// A record about the order.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) identity: Identity,
    pub(super) account: i64,
    pub(super) received_at: Wall,
    pub(super) payload: Vec<u8>,
}

/// The spool, looked through.
#[derive(Clone, Debug, Default)]
pub(super) struct SpoolLook {
    /// Whether there is one.
    pub(super) is_there: bool,
    /// Records about the order, by audit key.
    pub(super) found: BTreeMap<String, Found>,
    /// The oldest record of all: position and when it arrived.
    pub(super) oldest: Option<(u64, Wall)>,
    /// More records than are shown.
    pub(super) is_cut: bool,
}

/// Records of an event with one of these ids: an order's own, or that of the real order that it became. An empty set of
/// accounts is all.
pub(super) fn look(folder: &Path, ids: &BTreeSet<String>, accounts: &BTreeSet<i64>) -> io::Result<SpoolLook> {
    let mut look = SpoolLook::default();
    let view = match SpoolView::open(folder) {
        Ok(view) => view,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(look),
        Err(error) => return Err(error),
    };
    look.is_there = true;
    view.read(0, |record| {
        look.oldest.get_or_insert((record.identity.position, record.received_at));
        let Ok(account) = i64::try_from(record.account.0) else { return ControlFlow::Continue(()) };
        let is_event = matches!(record.kind, Kind::Frame | Kind::Recovered);
        if !is_event || (!accounts.is_empty() && !accounts.contains(&account)) || !is_about(record.payload, ids) {
            return ControlFlow::Continue(());
        }
        if look.found.len() >= TRACE_EVENTS_MAX as usize {
            look.is_cut = true;
            return ControlFlow::Break(());
        }
        let key = audit_key(account, i64::from(record.exchange.0), record.payload);
        look.found.entry(key).or_insert_with(|| Found {
            identity: record.identity,
            account,
            received_at: record.received_at,
            payload: record.payload.to_vec(),
        });
        ControlFlow::Continue(())
    })?;
    Ok(look)
}

/// Most records are about other orders: their text is searched before it is read.
fn is_about(payload: &[u8], ids: &BTreeSet<String>) -> bool {
    let Ok(text) = std::str::from_utf8(payload) else { return false };
    if !ids.iter().any(|id| text.contains(id.as_str())) {
        return false;
    }
    let event = project(payload);
    [&event.exchange_order_id, &event.client_order_id, &event.triggered_order_id]
        .into_iter()
        .flatten()
        .any(|id| ids.contains(id))
}
