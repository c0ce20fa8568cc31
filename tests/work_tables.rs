//! Promise: the embedded store keeps what the worker decides, each job in one transaction that survives a power cut, and
//! recorded frames byte for byte.

#![cfg(feature = "embedded")]

use std::path::Path;

use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::work::End;
use kraite_streams::store::{ErrorClass, StoreUrl, WorkStore};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

#[path = "support/audit_payloads.rs"]
mod audit_payloads;
#[path = "support/reconcile_tables.rs"]
mod reconcile_tables;
#[path = "support/work_tables.rs"]
mod work_tables;
use work_tables::{Rig, build_world, commit, hold, in_transaction};

struct File(Connection);

impl Rig for File {
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

fn store(path: &Path) -> WorkStore {
    WorkStore::new(&StoreUrl::Sqlite(path.to_owned()), &UserDataOptions::new("test")).unwrap()
}

/// A store in a folder of the test's own, and a connection beside it.
fn opened(folder: &tempfile::TempDir) -> (WorkStore, File) {
    let path = folder.path().join("a.sqlite");
    let mut store = store(&path);
    assert!(!store.is_open(), "nothing is opened before it is needed");
    assert_eq!(store.run(|tables| tables.unpushed_intents(1)).unwrap(), []);
    (store, File(Connection::open(&path).unwrap()))
}

#[test]
fn the_promises_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut rig) = opened(&folder);
    hold(&mut store, &mut rig, true);
    reconcile_tables::hold_reconcile(&mut store, &mut rig);
}

#[test]
fn frames_are_kept_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut rig) = opened(&folder);
    build_world(&mut rig);
    audit_payloads::hold(&mut store, &mut rig);
}

#[test]
fn one_writes_at_a_time_and_readers_see_what_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut rig) = opened(&folder);
    assert_eq!(rig.one("PRAGMA journal_mode").as_deref(), Some("wal"));
    build_world(&mut rig);
    let path = folder.path().join("a.sqlite");
    let mut other = self::store(&path);
    assert_eq!(other.run(|tables| tables.unpushed_intents(1)).unwrap(), []);
    let in_between = in_transaction(&mut store, End::Commit, |tx| {
        tx.set_position_status(1010, "closing")?;
        assert_eq!(rig.one("SELECT status FROM positions WHERE id = 1010").as_deref(), Some("active"));
        Ok(in_transaction(&mut other, End::Commit, |tx| tx.lock_progress(101)))
    });
    let busy = in_between.unwrap().unwrap_err();
    assert_eq!(busy.class(), ErrorClass::Transient, "{busy}");
    assert!(other.is_open(), "it passes by itself");
    assert_eq!(rig.one("SELECT status FROM positions WHERE id = 1010").as_deref(), Some("closing"));
    assert_eq!(commit(&mut other, |tx| tx.lock_position(1010)).unwrap().status, "closing");
}

#[test]
fn a_row_of_progress_that_is_not_ours_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut rig) = opened(&folder);
    rig.sql("INSERT INTO stream_progress (account_id, epoch, position, fence) VALUES (1, 'x', 'y', 'z')");
    let odd = in_transaction(&mut store, End::Commit, |tx| tx.lock_progress(1)).unwrap_err();
    assert_eq!(odd.class(), ErrorClass::Data);
    assert!(odd.sentence().contains("stream_progress of account 1"), "{odd}");
}

#[test]
fn plans_use_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, rig) = opened(&folder);
    for (statement, index) in [
        (
            "SELECT id FROM api_data_stream WHERE account_id = 1 AND received_at < 'x' ORDER BY received_at LIMIT 5",
            "api_data_stream_account_received_idx",
        ),
        (
            "SELECT min(d.account_id) FROM api_data_stream d WHERE d.account_id > 5",
            "api_data_stream_account_received_idx",
        ),
        (
            "SELECT min(+id) FROM api_data_stream WHERE account_id = 1 AND received_at >= 'x'",
            "api_data_stream_account_received_idx",
        ),
        (
            "SELECT id FROM workflow_intents i WHERE i.pushed_at IS NULL ORDER BY i.id LIMIT 5",
            "workflow_intents_unpushed_index",
        ),
    ] {
        let mut found = rig.0.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let lines: Vec<String> = found.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        assert!(lines.iter().any(|line| line.contains(index)), "{statement}: {lines:?}");
    }
}
