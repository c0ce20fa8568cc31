//! Promise: a job costs so many statements on the embedded store, and no more.
#![cfg(feature = "embedded")]

use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::{StoreUrl, WorkStore};

#[path = "support/order_lives.rs"]
mod order_lives;
#[path = "support/work_statements.rs"]
mod work_statements;
use work_statements::{Cost, measure};

#[test]
fn a_job_costs_so_many_statements() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let mut store = WorkStore::new(&StoreUrl::Sqlite(path.clone()), &UserDataOptions::new("test")).unwrap();
    store.run(|_| Ok(())).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let cost = measure(&mut store, |text| connection.execute_batch(text).unwrap());
    let pinned = Cost { shadow_alone: 120, shadow_together: 25, applied_alone: 189, applied_together: 94, again: 68 };
    assert_eq!(cost, pinned);
}
