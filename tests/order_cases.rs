//! Promise: on the embedded store, events of orders and positions have the effects that the incumbent's own cases pin
//! (facts/incumbent.md §12) and those that algo orders ask for, each through the real worker.

#![cfg(feature = "embedded")]

use kraite_streams::store::StoreUrl;

#[path = "support/order_cases.rs"]
mod order_cases;
#[path = "support/order_frames.rs"]
mod order_frames;
#[path = "support/order_scene.rs"]
mod order_scene;
#[path = "support/order_worker.rs"]
mod order_worker;
#[path = "support/sqlite_rows.rs"]
mod sqlite_rows;
#[path = "support/worker_line.rs"]
mod worker_line;

#[test]
fn every_case_ends_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let mut file = sqlite_rows::File::create(&path);
    order_worker::hold(&StoreUrl::Sqlite(path), &mut file);
}
