//! A test's own connection to an SQLite store, beside the program's.

use std::path::Path;
use std::time::Duration;

use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::{StoreUrl, WorkStore};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::order_scene::Database;

pub struct File(Connection);

impl File {
    /// To a new store, with its tables.
    pub fn create(path: &Path) -> File {
        let url = StoreUrl::Sqlite(path.to_owned());
        // The first session brings the schema.
        let mut store = WorkStore::new(&url, &UserDataOptions::new("test")).unwrap();
        store.run(|tables| tables.unpushed_intents(1)).unwrap();
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        File(connection)
    }
}

impl Database for File {
    fn sql(&mut self, text: &str) {
        self.0.execute_batch(text).unwrap();
    }

    fn rows(&mut self, text: &str) -> Vec<Vec<String>> {
        let mut statement = self.0.prepare(text).unwrap();
        let columns = statement.column_count();
        let read = |row: &rusqlite::Row<'_>| {
            let field = |at| {
                Ok(match row.get_ref(at)? {
                    ValueRef::Null => "-".to_owned(),
                    ValueRef::Integer(number) => number.to_string(),
                    other => other.as_str().unwrap().to_owned(),
                })
            };
            (0..columns).map(field).collect()
        };
        statement.query_map([], read).unwrap().map(Result::unwrap).collect()
    }
}
