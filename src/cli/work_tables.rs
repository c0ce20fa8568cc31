//! The worker's tables as a command opens them: whatever the settings name, and only if it is there.

use super::Loaded;
use super::exit::{CommandError, Exit};
use super::read_roots;
use crate::store::user_data::UserDataOptions;
use crate::store::{StoreUrl, WorkStore};

/// For the store of the settings; an SQLite file has to be there, since a command that only looks makes none.
pub(super) fn open(loaded: &Loaded) -> Result<WorkStore, CommandError> {
    if let StoreUrl::Sqlite(path) = &loaded.store
        && !path.exists()
    {
        let sentence = format!(
            "{} is not there: no daemon has run here, or store.url (KRAITE_STORE_URL) names another place",
            path.display()
        );
        return Err(CommandError::new(Exit::NoInput, sentence));
    }
    let settings = &loaded.settings.store;
    let options = UserDataOptions {
        extra_roots_pem: read_roots("store.extra_roots", settings.extra_roots.as_deref())?,
        connect_timeout: settings.connect_timeout,
        ..UserDataOptions::new(format!("kraite-streams command, pid {}", std::process::id()))
    };
    Ok(WorkStore::new(&loaded.store, &options)?)
}
