//! Promise: the embedded store tells who is to be streamed, keeps listen keys and gaps with the incumbent's meaning, and a
//! session that broke is replaced by the next call.

#![cfg(feature = "embedded")]

use std::path::Path;

use kraite_streams::domain::Wall;
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::{Ciphertext, GapQuery};
use kraite_streams::store::{ErrorClass, StoreUrl, UserDataStore};
use kraite_streams::user_data::control::chore::{self, WriteBatch};
use kraite_streams::user_data::control::gap_book::WaitingGap;
use kraite_streams::user_data::control::ports::ColumnCipher;
use rusqlite::Connection;

#[path = "support/user_data_tables.rs"]
mod user_data_tables;
use user_data_tables::{add, eligible, hold};

fn store(path: &Path) -> UserDataStore {
    UserDataStore::new(&StoreUrl::Sqlite(path.to_owned()), &UserDataOptions::new("test")).unwrap()
}

#[test]
fn the_promises_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let mut store = store(&path);
    assert!(!store.is_open(), "nothing is opened before it is needed");
    assert!(eligible(&mut store).is_empty());
    let other = Connection::open(&path).unwrap();
    hold(&mut store, &mut |sql| other.execute_batch(sql).unwrap());
}

#[test]
fn a_table_of_somebody_elses_is_completed_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "CREATE TABLE api_systems (id INTEGER PRIMARY KEY, canonical TEXT, name TEXT, is_exchange INTEGER); \
             INSERT INTO api_systems VALUES (7, 'binance', 'Binance', 1); \
             CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT, api_system_id INTEGER, is_active INTEGER, \
             binance_api_key TEXT, binance_api_secret TEXT, bybit_api_key TEXT); \
             INSERT INTO accounts VALUES (1, 'old', 7, 1, 'k', 's', NULL), (2, 'odd', 7, NULL, 'k', 's', NULL);",
        )
        .unwrap();
    let mut store = store(&path);
    assert_eq!(eligible(&mut store), [1], "active is what says so, not what says nothing");
    let row = store.run(|tables| tables.eligible_accounts("binance")).unwrap().swap_remove(0);
    assert_eq!((row.api_system_id, row.updated_at), (7, None));
}

#[test]
fn a_session_that_broke_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let mut store = store(&path);
    let id = add(&mut store, "binance", "main", "k", "s").unwrap();

    // Faults that pass leave the session; others end it.
    let locker = Connection::open(&path).unwrap();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = store.run(|tables| tables.keep_alive_failed(id)).unwrap_err();
    assert_eq!(busy.class(), ErrorClass::Transient);
    assert!(store.is_open());
    locker.execute_batch("ROLLBACK").unwrap();
    locker.execute_batch("ALTER TABLE stream_gaps RENAME TO moved").unwrap();
    let query = GapQuery { account_id: None, outstanding: false, limit: 1 };
    let missing = store.run(|tables| tables.gaps(&query)).unwrap_err();
    assert_eq!(missing.class(), ErrorClass::MissingTable);
    assert!(!store.is_open());
    locker.execute_batch("ALTER TABLE moved RENAME TO stream_gaps").unwrap();
    assert_eq!(store.run(|tables| tables.gaps(&query)).unwrap(), []);
    drop(locker);

    // A file that was moved away takes no more writes of ours: the next call sees the one at the path.
    std::fs::rename(&path, folder.path().join("b.sqlite")).unwrap();
    assert!(eligible(&mut store).is_empty());
    let folder_gone = folder.path().join("no/a.sqlite");
    let mut lost = self::store(&folder_gone);
    assert_eq!(lost.run(|tables| tables.accounts()).unwrap_err().class(), ErrorClass::Unreachable);
    assert!(!lost.is_open());
}

struct NoCipher;

impl ColumnCipher for NoCipher {
    fn open(&self, text: &Ciphertext) -> Result<String, String> {
        Ok(text.as_str().to_owned())
    }
    fn seal(&self, _: &str) -> Result<Ciphertext, String> {
        Err("no key of this test is to be written".to_owned())
    }
}

#[test]
fn a_gap_that_the_database_refuses_holds_up_none_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder.path().join("a.sqlite"));
    let account = add(&mut store, "binance", "main", "key", "secret").unwrap();
    let system = store.run(|tables| tables.venue_system("binance")).unwrap().unwrap();
    let gap = |account, position| WaitingGap {
        account,
        api_system_id: system.id,
        started_at: None,
        ended_at: Wall::from_millis(1),
        reason: "start".to_owned(),
        identity: Some(([1; 16], position)),
    };
    let gaps = vec![gap(account, 1), gap(999, 2), gap(account, 3), gap(account, 1)];
    let written = chore::write(&mut store, &NoCipher, WriteBatch { gaps, ..WriteBatch::default() });
    assert_eq!((written.refused.len(), written.refused[0].0), (1, 999), "{written:?}");
    assert!(written.fault.is_none() && written.left.gaps.is_empty());
    let query = GapQuery { account_id: None, outstanding: true, limit: 10 };
    let rows = store.run(|tables| tables.gaps(&query)).unwrap();
    let positions: Vec<_> = rows.iter().filter_map(|row| row.identity.map(|(_, position)| position)).collect();
    assert_eq!(positions, [3, 1]);
}
