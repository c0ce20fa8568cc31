//! From settings to what the roles take. Everything that can be wrong with a setting and was not seen while it was read
//! is said here, before any thread starts: a file that is no PEM, a database that this build cannot speak to.

use std::path::Path;
use std::sync::Arc;

use super::rotation_share::RotationShare;
use crate::domain::limits::PRICE_MESSAGE_MAX;
use crate::domain::{Random, Venue};
use crate::event_loop::{ConnectGate, SharedWindow};
use crate::exchange::binance::{self, mark_price_url};
use crate::exchange::exchange;
use crate::ops::Settings;
use crate::ops::settings::{PriceTarget, Spelling, Statement};
use crate::prices::case_when::Form;
use crate::prices::price_table::PriceTable;
use crate::prices::sink::PriceSink;
use crate::prices::writer::WriterSettings;
use crate::store::url::StoreUrl;
use crate::stream::SessionConfig;
use crate::stream::connect_limiter::ConnectLimit;
use crate::stream::liveness::Liveness;
use crate::stream::tls::client_config;
use crate::stream::url::StreamUrl;

/// TLS tickets kept: the price stream and the REST client have one peer each.
const TICKETS: usize = 8;

/// TLS tickets kept for the sockets of accounts.
pub(super) const ACCOUNT_TICKETS: usize = 12_000;

/// A setting that cannot be carried out: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct BadSetting {
    /// The setting, as `section.key`.
    pub key: &'static str,
    /// What is wrong with it and what to do, without a secret.
    pub what: String,
}

pub(super) fn bad(key: &'static str, what: impl std::fmt::Display) -> BadSetting {
    BadSetting { key, what: what.to_string() }
}

/// Scheme and host of the venue's REST for accounts.
pub(super) fn account_rest_base(settings: &Settings) -> String {
    let named = settings.user_data.rest.clone();
    let named = named.or_else(|| settings.net.rest_base(Venue::Binance).map(str::to_owned));
    named.unwrap_or_else(|| exchange(Venue::Binance).rest_base().to_owned())
}

/// Trust for streams and REST: the web's roots and those of `net.extra_roots`.
///
/// # Errors
/// [`BadSetting`] when the file cannot be read or holds no certificate.
pub fn tls_config(settings: &Settings) -> Result<Arc<rustls::ClientConfig>, BadSetting> {
    let pem = read_roots("net.extra_roots", settings.net.extra_roots.as_deref())?;
    client_config(&pem, TICKETS).map_err(|error| bad("net.extra_roots", error))
}

/// As [`tls_config`], with room for the tickets of many sockets: a storm of reconnects is then resumed handshakes.
///
/// # Errors
/// As [`tls_config`].
pub fn account_tls(settings: &Settings) -> Result<Arc<rustls::ClientConfig>, BadSetting> {
    let pem = read_roots("net.extra_roots", settings.net.extra_roots.as_deref())?;
    client_config(&pem, ACCOUNT_TICKETS).map_err(|error| bad("net.extra_roots", error))
}

/// The price stream.
///
/// # Errors
/// [`BadSetting`] for a URL or roots that do not serve.
pub fn price_session(settings: &Settings) -> Result<SessionConfig, BadSetting> {
    let prices = &settings.prices;
    let url = match &prices.path {
        Some(path) => format!("{}{path}", prices.url.trim_end_matches('/')),
        None => {
            let spelling = match prices.spelling {
                Spelling::Combined => binance::Spelling::Combined,
                Spelling::Raw => binance::Spelling::Raw,
            };
            mark_price_url(&format!("{}/market", prices.url.trim_end_matches('/')), spelling)
        }
    };
    let url = StreamUrl::parse(&url).map_err(|error| bad("prices.url", error))?;
    let mut session = SessionConfig::new(url, tls_config(settings)?);
    session.max_message = PRICE_MESSAGE_MAX;
    session.liveness = Liveness::StrictData { silence: prices.silence, escalate: prices.silence_exit };
    session.connect_deadline = settings.net.connect_deadline;
    Ok(session)
}

/// The limiter of connection attempts, which all streams of this address share: this process's, and those of others.
#[must_use]
pub fn connect_gate(settings: &Settings, random: &mut Random) -> Arc<dyn ConnectGate> {
    let net = &settings.net;
    let limit = ConnectLimit::new(net.connects_per_window as usize, net.connect_window);
    Arc::new(SharedWindow::new(Some(net.connect_file.clone()), limit, random.next_u64()))
}

/// How many connections of accounts may be replaced in a window.
#[must_use]
pub fn rotation_share(settings: &Settings) -> RotationShare {
    let limit = ConnectLimit::new(settings.net.connects_per_window as usize, settings.net.connect_window);
    RotationShare::of(limit.ordinary(), limit.window())
}

/// When the writer writes.
#[must_use]
pub fn writer_settings(settings: &Settings) -> WriterSettings {
    WriterSettings {
        settle: settings.prices.settle,
        write_interval: settings.prices.write_interval,
        map_reload: settings.prices.map_reload,
        lock_wait: settings.store.writer_lock_wait,
    }
}

/// The database, as a URL.
///
/// # Errors
/// [`BadSetting`] for a URL that is none.
pub fn store_url(settings: &Settings) -> Result<StoreUrl, BadSetting> {
    StoreUrl::parse(settings.store.url.expose()).map_err(|error| bad("store.url", error))
}

/// The table that takes the prices.
#[must_use]
pub fn price_table(settings: &Settings) -> PriceTable {
    let name = match settings.prices.table {
        PriceTarget::ExchangeSymbols => "exchange_symbols",
        PriceTarget::ExchangeSymbolPrices => "exchange_symbol_prices",
    };
    PriceTable::parse(name).expect("both words of the setting are tables")
}

/// The statement's form.
#[must_use]
pub fn statement_form(settings: &Settings) -> Form {
    match settings.prices.statement {
        Statement::Case => Form::Case,
        Statement::CaseBucketed => Form::CaseBucketed,
    }
}

/// The writer's way into the database. Opens nothing yet. `name` is what others see: application name, lock file.
///
/// # Errors
/// [`BadSetting`] for a URL that is none, a database that this build cannot speak to, or roots that cannot be read.
pub fn price_sink(settings: &Settings, name: &str) -> Result<Box<dyn PriceSink>, BadSetting> {
    match store_url(settings)? {
        #[cfg(feature = "server")]
        StoreUrl::Postgres(url) => {
            let options = postgres_options(settings, name, crate::store::postgres::PostgresOptions::prices(name))?;
            let (table, form) = (price_table(settings), statement_form(settings));
            Ok(Box::new(crate::prices::sink_postgres::PostgresSink::new(
                url,
                options,
                table,
                form,
                settings.prices.chunk_rows,
            )))
        }
        #[cfg(feature = "embedded")]
        StoreUrl::Sqlite(path) => {
            Ok(Box::new(crate::prices::sink_sqlite::SqliteSink::new(path, &price_table(settings), name)))
        }
        #[cfg(not(all(feature = "server", feature = "embedded")))]
        _ => Err(no_such_database()),
    }
}

/// What to say when this build lacks the database that `store.url` names.
#[cfg(not(all(feature = "server", feature = "embedded")))]
#[must_use]
pub fn no_such_database() -> BadSetting {
    let (has, lacks, feature) = if cfg!(feature = "server") {
        ("PostgreSQL", "SQLite", "embedded")
    } else {
        ("SQLite", "PostgreSQL", "server")
    };
    bad(
        "store.url",
        format!(
            "this build speaks {has} only; for {lacks} build with the feature `{feature}`, or name another database"
        ),
    )
}

/// Options of a PostgreSQL session, with what the settings say.
///
/// # Errors
/// [`BadSetting`] when `store.extra_roots` cannot be read.
#[cfg(feature = "server")]
pub fn postgres_options(
    settings: &Settings,
    name: &str,
    base: crate::store::postgres::PostgresOptions,
) -> Result<crate::store::postgres::PostgresOptions, BadSetting> {
    let mut options = base;
    name.clone_into(&mut options.application_name);
    options.extra_roots_pem = read_roots("store.extra_roots", settings.store.extra_roots.as_deref())?;
    options.connect_timeout = settings.store.connect_timeout;
    if !options.synchronous_commit {
        options.lock_timeout = settings.store.lock_timeout;
        options.statement_timeout = settings.store.statement_timeout;
    }
    Ok(options)
}

pub(super) fn read_roots(key: &'static str, path: Option<&Path>) -> Result<Vec<u8>, BadSetting> {
    let Some(path) = path else { return Ok(Vec::new()) };
    std::fs::read(path).map_err(|error| bad(key, format!("{} cannot be read: {error}", path.display())))
}
