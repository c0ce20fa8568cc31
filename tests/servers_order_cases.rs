//! Promise: on PostgreSQL too, events of orders and positions have the effects that the incumbent's own cases pin
//! (facts/incumbent.md §12) and those that algo orders ask for, each through the real worker.

#![cfg(feature = "servers")]

use kraite_streams::store::StoreUrl;

#[path = "support/order_cases.rs"]
mod order_cases;
#[path = "support/order_frames.rs"]
mod order_frames;
#[path = "support/order_scene.rs"]
mod order_scene;
#[path = "support/order_worker.rs"]
mod order_worker;
#[path = "support/postgres_rows.rs"]
mod postgres_rows;
#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/worker_line.rs"]
mod worker_line;

#[test]
fn every_case_ends_as_it_says() {
    let server = postgres_server::PostgresServer::start();
    let mut rows = postgres_rows::Server::migrated(&server);
    let url = StoreUrl::parse(&server.url_text("postgres")).unwrap();
    order_worker::hold(&url, &mut rows);
}
