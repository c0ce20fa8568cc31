//! Promise: on the embedded store, events of orders and positions have the effects that the incumbent's own cases pin
//! (facts/incumbent.md §12) and those that algo orders ask for, each through the real worker.

#![cfg(feature = "embedded")]

use kraite_streams::store::StoreUrl;
use kraite_streams::store::user_data::UserDataOptions;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

#[path = "support/order_cases.rs"]
mod order_cases;
#[path = "support/order_frames.rs"]
mod order_frames;
#[path = "support/order_scene.rs"]
mod order_scene;
#[path = "support/order_worker.rs"]
mod order_worker;
#[path = "support/worker_line.rs"]
mod worker_line;

struct File(Connection);

impl order_scene::Database for File {
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

#[test]
fn every_case_ends_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("a.sqlite"));
    // The first session brings the schema.
    let mut store = kraite_streams::store::WorkStore::new(&url, &UserDataOptions::new("test")).unwrap();
    store.run(|tables| tables.unpushed_intents(1)).unwrap();
    let connection = Connection::open(folder.path().join("a.sqlite")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    order_worker::hold(&url, &mut File(connection));
}
