//! The database of a command: whichever the settings name, opened with a command's patience.

#[cfg(feature = "server")]
use crate::store::postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "embedded")]
use crate::store::sqlite::SqliteStore;

use super::Loaded;
use super::exit::CommandError;
use crate::domain::Instrument;
use crate::store::schema::Step;
use crate::store::{StoreUrl, WriteCounts};

/// An open database.
pub(super) enum AnyStore {
    #[cfg(feature = "server")]
    Postgres(PostgresStore),
    #[cfg(feature = "embedded")]
    Sqlite(SqliteStore),
}

impl AnyStore {
    /// Opens what the settings name; an SQLite file is created where it is not there.
    pub(super) fn open(loaded: &Loaded) -> Result<AnyStore, CommandError> {
        match &loaded.store {
            #[cfg(feature = "server")]
            StoreUrl::Postgres(url) => {
                let settings = &loaded.settings.store;
                let options = PostgresOptions {
                    extra_roots_pem: super::read_roots("store.extra_roots", settings.extra_roots.as_deref())?,
                    connect_timeout: settings.connect_timeout,
                    ..PostgresOptions::command(format!("kraite-streams command, pid {}", std::process::id()))
                };
                Ok(AnyStore::Postgres(PostgresStore::connect(url, &options)?))
            }
            #[cfg(feature = "embedded")]
            StoreUrl::Sqlite(path) => Ok(AnyStore::Sqlite(SqliteStore::open(path)?)),
            #[cfg(not(all(feature = "server", feature = "embedded")))]
            other => Err(CommandError::new(
                super::Exit::Config,
                format!("this build cannot use {other}: it was made without the feature for it"),
            )),
        }
    }

    /// Whether the file is our own, which is migrated without being asked.
    pub(super) fn is_embedded(&self) -> bool {
        match self {
            #[cfg(feature = "server")]
            AnyStore::Postgres(_) => false,
            #[cfg(feature = "embedded")]
            AnyStore::Sqlite(_) => true,
        }
    }

    pub(super) fn migrate(&mut self) -> Result<Vec<Step>, CommandError> {
        match self {
            #[cfg(feature = "server")]
            AnyStore::Postgres(store) => Ok(store.migrate()?),
            #[cfg(feature = "embedded")]
            AnyStore::Sqlite(store) => Ok(store.migrate()?),
        }
    }

    pub(super) fn plan_migrations(&mut self) -> Result<Vec<Step>, CommandError> {
        match self {
            #[cfg(feature = "server")]
            AnyStore::Postgres(store) => Ok(store.plan_migrations()?),
            #[cfg(feature = "embedded")]
            AnyStore::Sqlite(store) => Ok(store.plan_migrations()?),
        }
    }

    pub(super) fn upsert_instruments(&mut self, instruments: &[Instrument]) -> Result<WriteCounts, CommandError> {
        match self {
            #[cfg(feature = "server")]
            AnyStore::Postgres(store) => Ok(store.upsert_instruments(instruments)?),
            #[cfg(feature = "embedded")]
            AnyStore::Sqlite(store) => Ok(store.upsert_instruments(instruments)?),
        }
    }
}
