//! The database of a command: whichever the settings name, opened with a command's patience.

#[cfg(feature = "server")]
use crate::store::postgres::{PostgresOptions, PostgresStore, StoreLock};
#[cfg(feature = "embedded")]
use crate::store::sqlite::SqliteStore;

use super::Loaded;
use super::exit::CommandError;
use crate::domain::Instrument;
use crate::store::rows::MapRows;
use crate::store::schema::Step;
use crate::store::shape::TableShape;
use crate::store::user_data::UserDataTables;
use crate::store::{StoreUrl, WriteCounts};

#[cfg(not(any(feature = "server", feature = "embedded")))]
compile_error!("a build needs a database: enable the feature `server`, `embedded` or both");

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

    /// Opens what the settings name to look at it: an SQLite file is opened read-only, and has to be there.
    pub(super) fn open_to_read(loaded: &Loaded) -> Result<AnyStore, CommandError> {
        match &loaded.store {
            #[cfg(feature = "embedded")]
            StoreUrl::Sqlite(path) => Ok(AnyStore::Sqlite(SqliteStore::open_read_only(path)?)),
            _ => AnyStore::open(loaded),
        }
    }

    pub(super) fn table_shape(&mut self, table: &str) -> Result<TableShape, CommandError> {
        match self {
            #[cfg(feature = "server")]
            AnyStore::Postgres(store) => Ok(store.table_shape(table)?),
            #[cfg(feature = "embedded")]
            AnyStore::Sqlite(store) => Ok(store.table_shape(table)?),
        }
    }

    pub(super) fn map_rows(&mut self) -> Result<MapRows, CommandError> {
        match self {
            #[cfg(feature = "server")]
            AnyStore::Postgres(store) => Ok(store.map_rows()?),
            #[cfg(feature = "embedded")]
            AnyStore::Sqlite(store) => Ok(store.map_rows()?),
        }
    }

    /// The tables of the user-data role.
    pub(super) fn user_data(&mut self) -> &mut dyn UserDataTables {
        match self {
            #[cfg(feature = "server")]
            AnyStore::Postgres(store) => store,
            #[cfg(feature = "embedded")]
            AnyStore::Sqlite(store) => store,
        }
    }

    /// Who writes prices now, as people are told.
    pub(super) fn price_lock_holder(&mut self) -> Result<Option<String>, CommandError> {
        match self {
            #[cfg(feature = "server")]
            AnyStore::Postgres(store) => Ok(store.lock_holder(StoreLock::Prices)?.map(|holder| holder.to_string())),
            #[cfg(feature = "embedded")]
            AnyStore::Sqlite(store) => Ok(crate::store::sqlite::FileLock::current_holder(store.path())),
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
