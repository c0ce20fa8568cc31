//! `migrate`: the tables, created or completed.

use super::args::MigrateArgs;
use super::exit::{CommandError, Exit};
use super::store::AnyStore;
use super::{Loaded, out};
use crate::store::StoreUrl;

pub(super) fn run(loaded: &Loaded, args: &MigrateArgs) -> Result<Exit, CommandError> {
    if args.plan {
        return plan(loaded);
    }
    let steps = AnyStore::open(loaded)?.migrate()?;
    let lines: String = steps.iter().map(|step| format!("{step}\n")).collect();
    out(&format!("{}\n{lines}", loaded.store))?;
    Ok(Exit::Ok)
}

fn plan(loaded: &Loaded) -> Result<Exit, CommandError> {
    // Opening a file would create it, and a plan leaves no traces.
    if let StoreUrl::Sqlite(path) = &loaded.store
        && !path.exists()
    {
        out(&format!("{} is not there: migrate would create it with all tables\n", path.display()))?;
        return Ok(Exit::Ok);
    }
    let steps = AnyStore::open(loaded)?.plan_migrations()?;
    let lines: String = steps.iter().map(|step| format!("{step}\n")).collect();
    out(&format!("{}: nothing was changed; migrate would end in\n{lines}", loaded.store))?;
    Ok(Exit::Ok)
}
