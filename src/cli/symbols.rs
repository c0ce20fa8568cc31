//! `symbols sync`: what the venues list, brought into `exchange_symbols`.
//!
//! Fetch, read, upsert, one venue after the other and one transaction each. A venue that fails leaves its rows as they were
//! and does not stop the others; the first failure gives the exit code.

use std::time::Duration;

use super::args::SyncArgs;
use super::exit::{CommandError, Exit};
use super::store::AnyStore;
use super::{Loaded, out, read_roots, tell};
use crate::domain::Venue;
use crate::exchange::{ListError, exchange, list_instruments};
use crate::ops::rest::{Fault, RestClient, RestError};
use crate::stream::tls::client_config;

/// TLS sessions kept for resumption: pages of one venue come from one server.
const TICKETS: usize = 4;

pub(super) fn sync(loaded: &Loaded, args: &SyncArgs) -> Result<Exit, CommandError> {
    let net = &loaded.settings.net;
    let roots = read_roots("net.extra_roots", net.extra_roots.as_deref())?;
    let tls = client_config(&roots, TICKETS)
        .map_err(|error| CommandError::new(Exit::Config, format!("net.extra_roots: {error}")))?;
    let client = RestClient::new(tls, net.connect_deadline.max(Duration::from_secs(1)));
    let mut store = AnyStore::open(loaded)?;
    if store.is_embedded() {
        store.migrate()?;
    }

    let mut exit = Exit::Ok;
    for venue in Venue::ALL.into_iter().filter(|venue| args.exchange.is_empty() || args.exchange.contains(venue)) {
        match sync_venue(venue, net.rest_base(venue), &client, &mut store) {
            Ok(line) => out(&line)?,
            Err(error) => {
                tell(&CommandError::new(error.exit, format!("{}: {}", venue.name(), error.sentence)));
                if exit == Exit::Ok {
                    exit = error.exit;
                }
            }
        }
    }
    Ok(exit)
}

/// One venue; the line that tells what happened.
fn sync_venue(
    venue: Venue,
    base: Option<&str>,
    client: &RestClient,
    store: &mut AnyStore,
) -> Result<String, CommandError> {
    let exchange = exchange(venue);
    let list = list_instruments(exchange, base.unwrap_or(exchange.rest_base()), |url| client.get(url))
        .map_err(|error| refuse(venue, error))?;
    // An empty list is no list: a venue of this size never has none.
    if list.instruments.is_empty() {
        let sentence = format!("the list holds no perpetual (left out: {}); nothing was changed", list.left_out);
        return Err(CommandError::new(Exit::DataErr, sentence));
    }
    let counts = store.upsert_instruments(&list.instruments)?;
    Ok(format!(
        "{}: {} listed: {} new, {} changed, {} unchanged, {} skipped; left out: {}\n",
        venue.name(),
        list.instruments.len(),
        counts.inserted,
        counts.updated,
        counts.unchanged,
        counts.skipped,
        list.left_out,
    ))
}

fn refuse(venue: Venue, error: ListError<RestError>) -> CommandError {
    match error {
        ListError::Fetch(error) => {
            let exit = match error.fault {
                Fault::BadUrl => Exit::Config,
                Fault::TooLarge => Exit::DataErr,
                Fault::Connection { .. } | Fault::Status { .. } => Exit::Unavailable,
            };
            CommandError::new(exit, format!("{error}; another endpoint can be set as net.rest_{venue}"))
        }
        other => CommandError::new(Exit::DataErr, other.to_string()),
    }
}
