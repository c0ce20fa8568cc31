//! Promise: a job costs so many round trips to PostgreSQL, and no more; jobs that are applied together share what they can,
//! and their audit rows stay in their order.
#![cfg(feature = "servers")]

use kraite_streams::store::postgres::{PostgresOptions, PostgresStore};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::{StoreUrl, WorkStore};

#[path = "support/order_lives.rs"]
mod order_lives;
#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/work_statements.rs"]
mod work_statements;
use postgres_server::PostgresServer;
use work_statements::{Cost, measure};

#[test]
fn a_job_costs_so_many_statements() {
    let server = PostgresServer::start();
    let mut migrated = PostgresStore::connect(&server.url("postgres"), &PostgresOptions::command("a test")).unwrap();
    migrated.migrate().unwrap();
    migrated.close();
    let url = StoreUrl::parse(&server.url_text("postgres")).unwrap();
    let mut store = WorkStore::new(&url, &UserDataOptions::new("a test")).unwrap();
    let mut client = server.client("postgres");
    let cost = measure(&mut store, |text| client.batch_execute(text).unwrap());
    let pinned = Cost { shadow_alone: 100, shadow_together: 5, applied_alone: 162, applied_together: 55, again: 36 };
    assert_eq!(cost, pinned);
    // Each cycle went in its own way, and each is there whole and in order.
    let rows = client.query("SELECT raw_payload::text FROM api_data_stream ORDER BY id", &[]).unwrap();
    let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let wanted: Vec<String> = (1..=5).flat_map(|cycle| order_lives::frames(7, cycle)).collect();
    assert_eq!(found, wanted);
    let decided: i64 = client.query_one("SELECT COUNT(*) FROM stream_decisions", &[]).unwrap().get(0);
    // Of two cycles: their twelve order events and the flat position.
    assert_eq!(decided, 2 * 13);
}
