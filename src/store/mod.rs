//! The databases: PostgreSQL and SQLite, migrations, and every statement text but the price update's.
//!
//! [`url`] says where a store is, [`schema`] what its tables look like, [`rows`] what is read from them; [`postgres`] and
//! [`sqlite`] are the two executors, with the same functions. A fault is a [`StoreError`]: a class that decides, a sentence
//! for people, and never a password.
//!
//! May import `domain`.

pub mod error;
pub mod lease;
#[cfg(feature = "server")]
pub mod postgres;
pub mod reconcile;
pub mod rows;
pub mod schema;
pub mod shape;
#[cfg(feature = "embedded")]
pub mod sqlite;
pub mod url;
pub mod user_data;
pub mod user_data_rows;
pub mod work;
pub mod work_rows;
pub mod work_shape;

pub use error::{ErrorClass, Result, StoreError};
pub use lease::{LeaseState, SyncLease};
pub use reconcile::ReconcileTables;
pub use shape::{TableShape, WriteCounts};
pub use url::{PostgresUrl, SslMode, StoreUrl};
pub use user_data::{UserDataStore, UserDataTables};
pub use work::{WorkStore, WorkTables, WorkTransaction};
