//! Promise: on PostgreSQL too a private event does to orders, positions and intents what the rules say, once, in its own
//! account; and in shadow mode nothing. Two workers that apply events of one position at a time start one workflow.

#![cfg(feature = "servers")]

use std::sync::Barrier;

use kraite_streams::store::postgres::{PostgresOptions, PostgresStore};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::work::End;
use kraite_streams::store::{StoreUrl, WorkStore};
use kraite_streams::user_data::apply::{JobEvent, apply};

#[path = "support/order_apply.rs"]
mod order_apply;
#[path = "support/order_world.rs"]
mod order_world;
#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/work_tables.rs"]
mod work_tables;
use order_apply::hold;
use order_world::{PRODUCTION, World, ours, policy};
use postgres_server::PostgresServer;
use work_tables::{AT, Rig, in_transaction};

struct Server(postgres::Client);

impl Rig for Server {
    fn sql(&mut self, text: &str) {
        self.0.batch_execute(text).unwrap();
    }

    fn one(&mut self, text: &str) -> Option<String> {
        let messages = self.0.simple_query(text).unwrap();
        let row = messages.iter().find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.unwrap().get(0).map(str::to_owned)
    }
}

fn store(server: &PostgresServer) -> WorkStore {
    let url = StoreUrl::parse(&server.url_text("postgres")).unwrap();
    WorkStore::new(&url, &UserDataOptions::new("kraite-streams work, a test")).unwrap()
}

#[test]
fn the_promises_hold_and_workers_that_race_start_one_workflow() {
    let server = PostgresServer::start();
    let mut migrated = PostgresStore::connect(&server.url("postgres"), &PostgresOptions::command("a test")).unwrap();
    migrated.migrate().unwrap();
    migrated.close();
    let mut rig = Server(server.client("postgres"));
    hold(&mut store(&server), &mut rig);

    // Four cancels of one position, each by a worker of its own that did not wait for the account's progress.
    let mut own = store(&server);
    let mut world = World::new(&mut own, &mut rig);
    world.account = 900;
    let account = world.account(false);
    let (system, position) = (world.system, {
        world.rig.sql(&format!(
            "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
             VALUES (90000, {account}, 'SOLUSDT', 'active', 'LONG')"
        ));
        90_000
    });
    let frames = [90_001, 90_002, 90_003, 90_004].map(|order| {
        work_tables::place(world.rig, order, position, "LIMIT", &format!("c-{order}"), &format!("90{order}"));
        ours(order, "CANCELED", "CANCELED", order, "0", "4.105", "0")
    });
    let (start, ask) = (Barrier::new(frames.len()), policy(PRODUCTION));
    let written: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..)
            .zip(&frames)
            .map(|(at, frame)| {
                let (start, ask, mut store) = (&start, &ask, store(&server));
                scope.spawn(move || {
                    let event = JobEvent {
                        account_id: account,
                        api_system_id: system,
                        canonical: "binance",
                        kind: "frame",
                        uuid: "a job",
                        epoch: [9; 16],
                        position: at,
                        previous: None,
                        received_at: AT,
                        reserved_at: AT,
                        raw: frame.as_bytes(),
                    };
                    in_transaction(&mut store, End::RollBack, |tx| tx.account(account)).unwrap();
                    start.wait();
                    in_transaction(&mut store, End::Commit, |tx| apply(tx, &event, ask, AT)).unwrap().intents.len()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(written, 1);
    assert_eq!(rig.one(&format!("SELECT count(*) FROM workflow_intents WHERE position_id = {position}")).unwrap(), "1");
    assert_eq!(
        rig.one(&format!("SELECT count(*) FROM orders WHERE position_id = {position} AND status = 'CANCELLED'"))
            .unwrap(),
        "4"
    );
}
