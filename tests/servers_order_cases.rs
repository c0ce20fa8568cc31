//! Promise: on PostgreSQL too, events of orders and positions have the effects that the incumbent's own cases pin
//! (facts/incumbent.md §12) and those that algo orders ask for, each through the real worker.

#![cfg(feature = "servers")]

use kraite_streams::store::StoreUrl;
use kraite_streams::store::postgres::{PostgresOptions, PostgresStore};
use postgres::SimpleQueryMessage;

#[path = "support/order_cases.rs"]
mod order_cases;
#[path = "support/order_frames.rs"]
mod order_frames;
#[path = "support/order_scene.rs"]
mod order_scene;
#[path = "support/order_worker.rs"]
mod order_worker;
#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/worker_line.rs"]
mod worker_line;
use postgres_server::PostgresServer;

struct Server(postgres::Client);

impl order_scene::Database for Server {
    fn sql(&mut self, text: &str) {
        self.0.batch_execute(text).unwrap();
    }

    fn rows(&mut self, text: &str) -> Vec<Vec<String>> {
        let messages = self.0.simple_query(text).unwrap();
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or("-").to_owned()).collect())
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }
}

#[test]
fn every_case_ends_as_it_says() {
    let server = PostgresServer::start();
    let mut store = PostgresStore::connect(&server.url("postgres"), &PostgresOptions::command("a test")).unwrap();
    store.migrate().unwrap();
    store.close();
    let url = StoreUrl::parse(&server.url_text("postgres")).unwrap();
    order_worker::hold(&url, &mut Server(server.client("postgres")));
}
