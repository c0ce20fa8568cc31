//! A test's own connection to a PostgreSQL store, beside the program's.

use postgres::SimpleQueryMessage;

use crate::order_scene::Database;
use crate::postgres_server::PostgresServer;

pub struct Server(postgres::Client);

impl Server {
    /// To the server's database `postgres`, with its tables.
    pub fn migrated(server: &PostgresServer) -> Server {
        use kraite_streams::store::postgres::{PostgresOptions, PostgresStore};

        let mut store = PostgresStore::connect(&server.url("postgres"), &PostgresOptions::command("a test")).unwrap();
        store.migrate().unwrap();
        store.close();
        Server(server.client("postgres"))
    }
}

impl Database for Server {
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
