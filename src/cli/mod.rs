//! The commands. May import everything.
//!
//! A command is a function from its arguments to an [`Exit`] or a [`CommandError`]; [`run`] is the one place that turns
//! either into text and a code. Standard output carries what was asked for and nothing else.

pub mod account_args;
mod accounts;
mod allowlist;
mod allowlist_record;
pub mod args;
mod check;
mod check_accounts;
mod check_work;
#[cfg(feature = "sim")]
mod demo;
pub mod exit;
mod migrate;
mod prices;
mod print;
mod secret_input;
#[cfg(feature = "sim")]
mod sim;
mod spool;
pub mod spool_args;
mod spool_replay;
mod status;
mod status_accounts;
mod store;
mod symbols;
pub mod sync_orders;
mod sync_report;
mod trace;
pub mod trace_args;
mod trace_road;
mod trace_spool;
mod work_tables;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::daemon::process::Mode;
use crate::daemon::wiring::BadSetting;
use crate::ops::settings::{Origin, Settings};
use crate::store::StoreUrl;
use args::{Cli, Command, PrintCommand, SymbolsCommand};
pub use exit::{CommandError, Exit};

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    run_with(std::env::args_os()).into()
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return out(&error.to_string()).map_or_else(|error| tell(&error), |()| Exit::Ok);
        }
        Err(error) => {
            // Nobody is left to tell when standard error is gone.
            let _ = write!(io::stderr(), "{error}");
            return Exit::Usage;
        }
    };
    dispatch(&cli).unwrap_or_else(|error| tell(&error))
}

fn dispatch(cli: &Cli) -> Result<Exit, CommandError> {
    match &cli.command {
        #[cfg(feature = "sim")]
        Command::Demo(args) => demo::run(args),
        Command::Prices(_) => prices::run(Mode::Prices, load_settings(cli)?, cli.settings.as_deref()),
        Command::UserData(_) => prices::run(Mode::UserData, load_settings(cli)?, cli.settings.as_deref()),
        Command::Work(_) => prices::run(Mode::Work, load_settings(cli)?, cli.settings.as_deref()),
        Command::Run(_) => prices::run(Mode::Run, load_settings(cli)?, cli.settings.as_deref()),
        Command::Check(_) => check::run(&load_settings(cli)?),
        #[cfg(feature = "sim")]
        Command::Sim(args) => sim::run(args),
        Command::Accounts(command) => accounts::run(&load_settings(cli)?, command),
        Command::Spool(command) => spool::run(&load_settings(cli)?, command),
        Command::Trace(args) => trace::run(&load_settings(cli)?, args),
        Command::Allowlist(command) => allowlist::run(&load_settings(cli)?, command),
        Command::Migrate(args) => migrate::run(&load_settings(cli)?, args),
        Command::Symbols(SymbolsCommand::Sync(args)) => symbols::sync(&load_settings(cli)?, args),
        Command::Print(PrintCommand::Settings) => print::settings(),
        Command::Print(PrintCommand::LaravelAdapter(args)) => print::laravel_adapter(args.intents),
        Command::Print(PrintCommand::Supervisor(args)) => print::supervisor(cli.settings.as_deref(), args),
        Command::SyncOrders(args) => sync_orders::run(&load_settings(cli)?, args),
        Command::Status(args) => status::run(|| Ok(load_settings(cli)?.settings), args),
    }
}

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// All of them.
    pub settings: Settings,
    /// Where they came from.
    pub origin: Origin,
    /// `store.url`, parsed.
    pub store: StoreUrl,
}

/// Reads settings, file and environment, and checks what only the store's room can check.
///
/// # Errors
/// [`Exit::NoInput`] or [`Exit::Config`], with every problem found.
pub fn load_settings(cli: &Cli) -> Result<Loaded, CommandError> {
    let (settings, origin) = Settings::load(cli.settings.as_deref())?;
    let store = StoreUrl::parse(settings.store.url.expose())
        .map_err(|error| CommandError::new(Exit::Config, format!("store.url: {}", error.sentence())))?;
    Ok(Loaded { settings, origin, store })
}

/// Reads the PEM file of the setting `key`; empty where none is named.
pub(crate) fn read_roots(key: &str, path: Option<&Path>) -> Result<Vec<u8>, CommandError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    std::fs::read(path).map_err(|error| {
        CommandError::new(Exit::NoInput, format!("cannot read {} (setting {key}): {error}", path.display()))
    })
}

/// A seed from the system.
fn seed() -> Result<u64, CommandError> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| CommandError::new(Exit::Software, format!("the system gives no random bytes: {error}")))?;
    Ok(u64::from_le_bytes(seed))
}

impl From<BadSetting> for CommandError {
    fn from(error: BadSetting) -> Self {
        CommandError::new(Exit::Config, error.to_string())
    }
}

/// Writes to standard output. A reader that has gone (`| head`) is no failure.
pub(crate) fn out(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::new(Exit::IoErr, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Tells a failure on standard error, each line of it under the program's name.
fn tell(error: &CommandError) -> Exit {
    let mut stderr = io::stderr().lock();
    for line in error.sentence.lines() {
        // Nobody is left to tell when standard error is gone; the code still does.
        let _ = writeln!(stderr, "kraite-streams: {line}");
    }
    error.exit
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
