//! `prices`, `user-data`, `work` and `run`: the supervised daemons.

use std::path::Path;
use std::sync::Arc;

use super::Loaded;
use super::exit::{CommandError, Exit};
use crate::daemon::process::{self, Ended, Mode, StartError};
use crate::domain::Random;
use crate::domain::time::SystemClock;

pub(super) fn run(mode: Mode, loaded: Loaded, named: Option<&Path>) -> Result<Exit, CommandError> {
    let clock = Arc::new(SystemClock::start());
    let random = Random::from_seed(super::seed()?);
    match process::run(mode, loaded.settings, named.map(Path::to_path_buf), clock, random)? {
        Ended::Stopped => Ok(Exit::Ok),
        Ended::StoppedUnwritten if mode == Mode::Work => Err(CommandError::new(
            Exit::Unavailable,
            "stopped, but a transaction or the queue did not answer in time; what was in hand comes again",
        )),
        Ended::StoppedUnwritten => Err(CommandError::new(
            Exit::Unavailable,
            "stopped, but the database did not take the last prices in time; the next start writes newer ones",
        )),
        Ended::Silent(silent) => Err(CommandError::new(
            Exit::TempFail,
            format!("no price for {} s through every reconnect; a fresh process may help", silent.as_secs()),
        )),
        Ended::Refused(sentence) => Err(CommandError::new(Exit::TempFail, sentence)),
        Ended::Broken => Err(CommandError::new(Exit::Software, "a thread ended that nobody stopped; see the log")),
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Setting(_) => Exit::Config,
            StartError::Log(_) => Exit::CantCreate,
            StartError::System(_) => Exit::Software,
        };
        CommandError::new(exit, error.to_string())
    }
}
