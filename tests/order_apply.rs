//! Promise: on the embedded store a private event does to orders, positions and intents what the rules say, once, in its own
//! account; and in shadow mode nothing.

#![cfg(feature = "embedded")]

use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::{StoreUrl, WorkStore};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

#[path = "support/order_apply.rs"]
mod order_apply;
#[path = "support/order_world.rs"]
mod order_world;
#[path = "support/work_tables.rs"]
mod work_tables;

struct File(Connection);

impl work_tables::Rig for File {
    fn sql(&mut self, text: &str) {
        self.0.execute_batch(text).unwrap();
    }

    fn one(&mut self, text: &str) -> Option<String> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(match row.get_ref(0)? {
                ValueRef::Null => None,
                ValueRef::Integer(number) => Some(number.to_string()),
                other => Some(other.as_str().unwrap().to_owned()),
            })
        };
        self.0.query_row(text, [], read).unwrap()
    }
}

#[test]
fn the_promises_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let mut store = WorkStore::new(&StoreUrl::Sqlite(path.clone()), &UserDataOptions::new("test")).unwrap();
    assert_eq!(store.run(|tables| tables.unpushed_intents(1)).unwrap(), []);
    order_apply::hold(&mut store, &mut File(Connection::open(&path).unwrap()));
}
