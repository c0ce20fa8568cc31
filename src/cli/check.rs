//! `check`: what the daemons would do with these settings and this database. Reads, and writes nothing.
//!
//! Every part is told even where an earlier one failed, so that one run shows all there is to mend.

use std::fmt::Write as _;

use super::exit::{CommandError, Exit};
use super::store::AnyStore;
use super::{Loaded, out};
use crate::daemon::memory_plan::MemoryPlan;
use crate::daemon::wiring;
use crate::domain::Venue;
use crate::exchange::exchange;
use crate::ops::Settings;
use crate::ops::settings::Statement;
use crate::prices::map_report::{MapReport, Pairing};
use crate::prices::symbol_map::SymbolMap;
use crate::store::StoreUrl;
use crate::store::schema::Outcome;
use crate::store::shape::TableShape;

/// Lines of a list that is shown; the rest is counted.
const LISTED_MAX: usize = 200;

pub(super) fn run(loaded: &Loaded) -> Result<Exit, CommandError> {
    let mut report = Text::default();
    let mut exit = Exit::Ok;
    report.settings(loaded);
    if let Err(error) = report.stream(&loaded.settings) {
        report.fail(&error);
        exit = error.exit;
    }
    if let Err(error) = report.database(loaded) {
        report.fail(&error);
        exit = if exit == Exit::Ok { error.exit } else { exit };
    }
    let streamed = report.private_streams(loaded).unwrap_or_else(|error| {
        report.fail(&error);
        exit = if exit == Exit::Ok { error.exit } else { exit };
        Some(0)
    });
    report.section("memory");
    report.line(MemoryPlan::of_prices(&loaded.settings));
    if let Some(accounts) = streamed {
        report.section("memory of user data");
        report.line(MemoryPlan::of_accounts(&loaded.settings, accounts));
        report.section("memory of the worker");
        report.line(MemoryPlan::of_work(&loaded.settings));
    }
    let problems = report.problems;
    report.text.push('\n');
    match problems {
        0 if streamed.is_some() => report.line("check: prices and user-data would run with this"),
        0 => report.line("check: prices would run with this"),
        n => report.line(format_args!("check: {n} to mend, marked with !!")),
    }
    out(&report.text)?;
    Ok(match exit {
        Exit::Ok if problems > 0 => Exit::Failed,
        exit => exit,
    })
}

/// The report as it grows.
#[derive(Default)]
pub(super) struct Text {
    text: String,
    problems: usize,
}

impl Text {
    pub(super) fn section(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let _ = writeln!(self.text, "{title}");
    }

    pub(super) fn line(&mut self, line: impl std::fmt::Display) {
        for line in line.to_string().lines() {
            let _ = writeln!(self.text, "  {line}");
        }
    }

    pub(super) fn problem(&mut self, line: impl std::fmt::Display) {
        self.problems += 1;
        self.line(format_args!("!! {line}"));
    }

    fn fail(&mut self, error: &CommandError) {
        self.problem(&error.sentence);
    }

    fn settings(&mut self, loaded: &Loaded) {
        self.section("settings");
        self.line(format_args!("from {}", loaded.origin));
        let changed = Settings::default().changed_keys(&loaded.settings);
        if changed.is_empty() {
            self.line("every key at its default");
        } else {
            self.line(format_args!("not at their defaults: {}", changed.join(", ")));
        }
        let ops = &loaded.settings.ops;
        self.line(format_args!("status file {}", ops.status_file.display()));
        match ops.status_file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(folder) if !folder.is_dir() => {
                self.problem(format_args!("ops.status_file: the folder {} is not there", folder.display()));
            }
            _ => {}
        }
        match ops.page {
            Some(address) => self.line(format_args!("live page http://{address}/")),
            None => self.line("no live page"),
        }
    }

    fn stream(&mut self, settings: &Settings) -> Result<(), CommandError> {
        self.section("stream");
        let session = wiring::price_session(settings)?;
        self.line(format_args!("wss://{}{}", session.url, session.url.path_and_query()));
        self.line(format_args!(
            "reconnect after {} s without a price, a fresh process after {} s",
            settings.prices.silence.as_secs(),
            settings.prices.silence_exit.as_secs()
        ));
        match &settings.net.extra_roots {
            Some(path) => self.line(format_args!("trusts the web's roots and {}", path.display())),
            None => self.line("trusts the web's roots"),
        }
        for venue in Venue::ALL {
            let base = settings.net.rest_base(venue).unwrap_or(exchange(venue).rest_base());
            self.line(format_args!("symbols of {} from {base}", venue.name()));
        }
        Ok(())
    }

    fn database(&mut self, loaded: &Loaded) -> Result<(), CommandError> {
        self.section("database");
        self.line(&loaded.store);
        if let StoreUrl::Sqlite(path) = &loaded.store
            && !path.exists()
        {
            self.line("the file is not there yet: prices creates it, and a row for every symbol of the stream");
            return Ok(());
        }
        let mut store = AnyStore::open_to_read(loaded)?;
        for step in store.plan_migrations()? {
            match step.outcome {
                Outcome::Applied => {}
                _ if store.is_embedded() => self.line(format_args!("{step} (prices does that by itself)")),
                _ => self.line(format_args!("`migrate` would end in: {step}")),
            }
        }
        let table = wiring::price_table(&loaded.settings);
        let name = table.kind().name();
        let shape = store.table_shape(name)?;
        self.table(loaded, &store, name, &shape);
        let rows = store.map_rows()?;
        let (map, report) = SymbolMap::build(&rows);
        self.map(&map, &report);
        if let Some(holder) = store.price_lock_holder()? {
            self.line(format_args!("the writer's lock is held now: {holder}"));
        }
        Ok(())
    }

    fn table(&mut self, loaded: &Loaded, store: &AnyStore, name: &str, shape: &TableShape) {
        if !shape.exists() {
            return self.problem(format_args!("{name} is not there; `kraite-streams migrate` creates it"));
        }
        match shape.price_columns(name) {
            Ok((scale, stamp_digits)) => self.line(format_args!(
                "{name}.mark_price holds {} digits before and {} behind the point; mark_price_synced_at holds {stamp_digits} \
                 digits of a second",
                scale.integer_digits, scale.fraction_digits
            )),
            Err(error) => self.problem(error.sentence()),
        }
        if store.is_embedded() {
            return self.line("written by prepared updates in one transaction a tick");
        }
        let form = match loaded.settings.prices.statement {
            Statement::Case => "CASE … WHEN",
            Statement::CaseBucketed => "CASE … WHEN in ranges of 32",
        };
        let chunk = loaded.settings.prices.chunk_rows;
        let transactions = if shape.has_free_space() {
            "all chunks of a tick in one transaction"
        } else {
            "each chunk in a transaction of its own, because pages are packed full"
        };
        self.line(format_args!("fillfactor {}; {form}, {chunk} rows a chunk, {transactions}", shape.fillfactor));
        for advice in shape.advice(name) {
            self.line(format_args!("consider: {advice}"));
        }
    }

    fn map(&mut self, map: &SymbolMap, report: &MapReport) {
        self.section("symbol map");
        self.line(format_args!("{} rows of {} symbols would be updated", map.rows(), report.symbols));
        for (exchange, rows) in &report.rows_by_exchange {
            self.line(format_args!("  {rows:>5}  {exchange}"));
        }
        if report.rows() == 0 {
            self.problem("no row would get a price; `kraite-streams symbols sync` fills exchange_symbols");
        }
        self.pairs("price shifted by a power of ten", &report.shifted);
        self.pairs(
            "!! no price, because the ratio of the contract sizes cannot be known: set token_mappers.price_ratio",
            &report.unknown_ratio,
        );
        self.pairs("no price, because is_price_aligned is false", &report.unaligned);
        self.pairs("no mapper, though only a multiplier differs: these get no price", &report.lookalikes);
        self.problems += report.unknown_ratio.len();
        for contested in report.contested.iter().take(LISTED_MAX) {
            self.line(format_args!(
                "row {} is claimed twice: it gets the price of {}, not of {}",
                contested.row_id, contested.kept, contested.dropped
            ));
        }
        for idle in report.idle_mappers.iter().take(LISTED_MAX) {
            self.line(format_args!(
                "mapper {} → {} on {} finds no row on one side",
                idle.binance_token, idle.other_token, idle.exchange
            ));
        }
        for (count, what) in [
            (report.inactive_mappers, "mappers point to an exchange that is switched off"),
            (report.inactive_rows, "rows belong to an exchange that is switched off"),
        ] {
            if count > 0 {
                self.line(format_args!("{count} {what}"));
            }
        }
        if report.rows_over_limit > 0 {
            self.problem(format_args!("{} rows are beyond the bound and get no price", report.rows_over_limit));
        }
    }

    fn pairs(&mut self, title: &str, pairs: &[Pairing]) {
        if pairs.is_empty() {
            return;
        }
        self.line(format_args!("{title}: {}", pairs.len()));
        for pair in pairs.iter().take(LISTED_MAX) {
            let shift = pair.shift.map_or(String::new(), |shift| format!(" × 10^{shift}"));
            let ratio = pair.price_ratio.as_ref().map_or(String::new(), |ratio| format!(" (price_ratio {ratio})"));
            self.line(format_args!(
                "  {} {}{} = {}{shift}{ratio}, row {}",
                pair.exchange, pair.token, pair.quote, pair.symbol, pair.row_id
            ));
        }
        if pairs.len() > LISTED_MAX {
            self.line(format_args!("  and {} more", pairs.len() - LISTED_MAX));
        }
    }
}
