//! What both databases must do for the user-data role, as one list of promises: `accounts_sqlite.rs` and
//! `servers_accounts.rs` run it, each with a store of its own.

#![allow(dead_code, reason = "shared by two test binaries, each of which uses a part")]

use kraite_streams::domain::Wall;
use kraite_streams::store::user_data_rows::{Ciphertext, GapQuery, KeepAlive, NewAccount, NewGap, NewListenKey};
use kraite_streams::store::{ErrorClass, UserDataStore};

/// 2026-11-23 07:30:15.123 UTC.
pub const AT: Wall = Wall::from_micros(1_795_419_015_123_000);

pub fn later(seconds: i64) -> Wall {
    Wall::from_micros(AT.as_micros() + seconds * 1_000_000)
}

pub fn text(text: &str) -> Ciphertext {
    Ciphertext::new(text)
}

pub fn add(store: &mut UserDataStore, canonical: &str, name: &str, key: &str, secret: &str) -> Option<i64> {
    let (api_key, api_secret) = (text(key), text(secret));
    let uuid = format!("{canonical}-{name}-{key}");
    let account =
        NewAccount { canonical, name, user_id: None, uuid: &uuid, api_key: &api_key, api_secret: &api_secret };
    store.run(|tables| tables.add_account(&account)).unwrap()
}

pub fn eligible(store: &mut UserDataStore) -> Vec<i64> {
    let rows = store.run(|tables| tables.eligible_accounts("binance")).unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

/// Every promise, on an empty migrated store. `sql` runs a text of one's own in it.
pub fn hold(store: &mut UserDataStore, sql: &mut dyn FnMut(&str)) {
    only_eligible_accounts_are_streamed(store, sql);
    a_listen_key_row_means_what_it_meant(store, sql);
    a_gap_is_one_row_and_covers_what_was_missed(store);
    accounts_are_switched_and_removed(store);
    exposed_accounts_have_a_position_or_an_order(store, sql);
}

fn exposed_accounts_have_a_position_or_an_order(store: &mut UserDataStore, sql: &mut dyn FnMut(&str)) {
    let exposed = |store: &mut UserDataStore| store.run(|tables| tables.exposed_accounts("binance")).unwrap();
    assert_eq!(exposed(store), [0_i64; 0]);
    let named = |store: &mut UserDataStore, canonical, name| add(store, canonical, name, "k", "s").unwrap();
    let ids = ["opened", "closed", "working", "not placed", "filled"].map(|name| named(store, "binance", name));
    let elsewhere = named(store, "bybit", "opened on bybit");
    let positions = [(ids[0], "active"), (ids[0], "opening"), (ids[1], "closed"), (elsewhere, "active")];
    let positions = positions.into_iter().chain(ids[2..].iter().map(|id| (*id, "failed")));
    for (number, (account, status)) in (70_001..).zip(positions) {
        sql(&format!(
            "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
             VALUES ({number}, {account}, 'BTCUSDT', '{status}', 'LONG')"
        ));
    }
    for (position, exchange, status) in
        [(70_005, "77", "PARTIALLY_FILLED"), (70_006, "", "NEW"), (70_007, "78", "FILLED")]
    {
        sql(&format!(
            "INSERT INTO orders (position_id, client_order_id, type, status, exchange_order_id, quantity, price) \
             VALUES ({position}, 'exposed {position}', 'LIMIT', '{status}', '{exchange}', '1', '1')"
        ));
    }
    assert_eq!(exposed(store), [ids[0], ids[2]], "each once, whatever the position of a working order is");
    sql("ALTER TABLE orders RENAME TO orders_away");
    assert_eq!(exposed(store), [0_i64; 0], "an installation without the application's tables");
    sql("ALTER TABLE orders_away RENAME TO orders");
    assert_eq!(exposed(store), [ids[0], ids[2]]);
}

fn only_eligible_accounts_are_streamed(store: &mut UserDataStore, sql: &mut dyn FnMut(&str)) {
    let venue = store.run(|tables| tables.venue_system("binance")).unwrap().unwrap();
    assert!(venue.is_active && venue.canonical == "binance");
    assert_eq!(store.run(|tables| tables.venue_system("o'kraken")).unwrap(), None);

    let good = add(store, "binance", "main", "key '1", "secret-1").unwrap();
    let off = add(store, "binance", "off", "k", "s").unwrap();
    let elsewhere = add(store, "bybit", "main on bybit", "k", "s").unwrap();
    let (no_key, no_secret) =
        (add(store, "binance", "no key", "", "s").unwrap(), add(store, "binance", "no secret", "k", "").unwrap());
    let null = add(store, "binance", "null", "k", "s").unwrap();
    let deleted = add(store, "binance", "deleted", "k", "s").unwrap();
    let cannot_trade = add(store, "binance", "cannot trade", "k", "s").unwrap();
    assert_eq!(add(store, "binance", "main", "k", "s"), None, "a name is taken once");
    assert!(store.run(|tables| tables.set_account_active(off, Some("it's over"))).unwrap());
    assert!(store.run(|tables| tables.remove_account(deleted)).unwrap());
    sql(&format!("UPDATE accounts SET binance_api_secret = NULL WHERE id = {null}"));
    sql(&format!("UPDATE accounts SET can_trade = '0' WHERE id = {cannot_trade}"));
    assert_eq!(eligible(store), [good, cannot_trade], "not {off} {elsewhere} {no_key} {no_secret} {null} {deleted}");

    let row = store.run(|tables| tables.eligible_accounts("binance")).unwrap().swap_remove(0);
    assert_eq!((row.canonical.as_str(), row.name.as_str(), row.api_system_id), ("binance", "main", venue.id));
    assert_eq!((row.api_key_ciphertext.as_str(), row.api_secret_ciphertext.as_str()), ("key '1", "secret-1"));
    assert!(!format!("{row:?}").contains("secret-1"), "{row:?}");
    // By our own clock, to the minute: the database stamps it.
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
        - row.updated_at.unwrap().as_millis() / 1_000;
    assert!((-60..60).contains(&age), "{age}");

    let unknown = NewAccount {
        canonical: "nasdaq",
        name: "x",
        user_id: None,
        uuid: "u",
        api_key: &text("k"),
        api_secret: &text("s"),
    };
    let refused = store.run(|tables| tables.add_account(&unknown)).unwrap_err();
    assert_eq!((refused.class(), refused.sentence()), (ErrorClass::Other, "api_systems has no row for nasdaq"));
    sql("UPDATE api_systems SET is_active = '0' WHERE canonical = 'kucoin'");
    assert!(!store.run(|tables| tables.venue_system("kucoin")).unwrap().unwrap().is_active);
}

fn a_listen_key_row_means_what_it_meant(store: &mut UserDataStore, sql: &mut dyn FnMut(&str)) {
    let [account, other] = eligible(store)[..] else { panic!("two accounts") };
    let key = |store: &mut UserDataStore| store.run(|tables| tables.listen_keys()).unwrap().into_iter().next();
    assert_eq!(key(store), None);
    let put = |store: &mut UserDataStore, key: &str, is_new, at| {
        let listen_key = text(key);
        let new = NewListenKey { account_id: account, listen_key: &listen_key, is_new, at };
        store.run(|tables| tables.put_listen_key(&new)).unwrap();
    };

    put(store, "lk'1", true, AT);
    let row = key(store).unwrap();
    assert_eq!((row.account_id, row.listen_key.as_str(), row.failure_count), (account, "lk'1", 0));
    assert_eq!((row.last_created_at, row.last_keep_alive_at, row.last_frame_at), (Some(AT), Some(AT), None));
    assert_eq!(row.last_keep_alive, Some(KeepAlive::Success));

    // The same key again, as POST answers after a restart: extended, not created.
    put(store, "lk'1 encrypted anew", false, later(60));
    let row = key(store).unwrap();
    assert_eq!((row.last_created_at, row.last_keep_alive_at), (Some(AT), Some(later(60))));
    assert_eq!(row.listen_key.as_str(), "lk'1 encrypted anew");

    // Failures count up and stop at what the column holds.
    for expected in 1..=3 {
        assert_eq!(store.run(|tables| tables.keep_alive_failed(account)).unwrap(), Some(expected));
    }
    let row = key(store).unwrap();
    assert_eq!((row.last_keep_alive, row.last_keep_alive_at), (Some(KeepAlive::Failure), Some(later(60))));
    sql("UPDATE binance_listen_keys SET failure_count = 254");
    for _ in 0..3 {
        assert_eq!(store.run(|tables| tables.keep_alive_failed(account)).unwrap(), Some(255));
    }
    assert!(store.run(|tables| tables.keep_alive_succeeded(account, later(120), None)).unwrap());
    let row = key(store).unwrap();
    assert_eq!((row.failure_count, row.last_keep_alive), (0, Some(KeepAlive::Success)));
    assert_eq!((row.last_created_at, row.last_keep_alive_at), (Some(AT), Some(later(120))));

    // A rotated key counts as created when it came.
    assert!(store.run(|tables| tables.keep_alive_succeeded(account, later(180), Some(&text("lk2")))).unwrap());
    let row = key(store).unwrap();
    assert_eq!((row.listen_key.as_str(), row.last_created_at), ("lk2", Some(later(180))));

    // Activity: to the millisecond, never backwards, only where there is a row.
    let touch =
        |store: &mut UserDataStore, active: &[(i64, Wall)]| store.run(|tables| tables.touch_frames(active)).unwrap();
    assert_eq!(touch(store, &[]), 0);
    assert_eq!(touch(store, &[(account, AT), (other, AT)]), 1);
    assert_eq!(touch(store, &[(account, later(-1))]), 0);
    assert_eq!(key(store).unwrap().last_frame_at, Some(AT));
    assert_eq!(touch(store, &[(account, later(30))]), 1);
    put(store, "lk3", true, later(200));
    assert_eq!(key(store).unwrap().last_frame_at, Some(later(30)), "a new key is no activity");

    // The row that somebody took away is missed by each call.
    let listed = store.run(|tables| tables.accounts()).unwrap();
    let streamed: Vec<i64> = listed.iter().filter(|row| row.listen_key.is_some()).map(|row| row.id).collect();
    assert_eq!(streamed, [account]);
    assert!(store.run(|tables| tables.delete_listen_key(account)).unwrap());
    assert!(!store.run(|tables| tables.delete_listen_key(account)).unwrap());
    assert!(!store.run(|tables| tables.keep_alive_succeeded(account, AT, None)).unwrap());
    assert_eq!(store.run(|tables| tables.keep_alive_failed(account)).unwrap(), None);
    assert_eq!(touch(store, &[(account, AT)]), 0);
}

fn a_gap_is_one_row_and_covers_what_was_missed(store: &mut UserDataStore) {
    let [account, other] = eligible(store)[..] else { panic!("two accounts") };
    let venue = store.run(|tables| tables.venue_system("binance")).unwrap().unwrap().id;
    let gap = NewGap {
        account_id: account,
        api_system_id: venue,
        started_at: Some(Wall::from_micros(AT.as_micros() + 999)),
        ended_at: Wall::from_micros(AT.as_micros() + 1),
        reason: "reconnect",
        identity: Some(([0xab; 16], 7)),
    };
    let insert = |store: &mut UserDataStore, gap: NewGap<'_>| store.run(|tables| tables.insert_gap(&gap)).unwrap();
    let first = insert(store, gap).unwrap();
    assert_eq!(insert(store, gap), None, "the same record again is no new row");
    let second = insert(store, NewGap { identity: Some(([0xab; 16], 8)), started_at: None, ..gap }).unwrap();
    let third = insert(store, NewGap { identity: None, account_id: other, ..gap }).unwrap();
    let fourth = insert(store, NewGap { identity: None, account_id: other, ..gap }).unwrap();

    let list = |store: &mut UserDataStore, account_id, limit| {
        store.run(|tables| tables.gaps(&GapQuery { account_id, outstanding: true, limit })).unwrap()
    };
    let ids =
        |rows: &[kraite_streams::store::user_data_rows::GapRow]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(&list(store, None, 100)), [fourth, third, second, first]);
    assert_eq!(ids(&list(store, None, 1)), [fourth]);
    let own = list(store, Some(account), 100);
    assert_eq!(ids(&own), [second, first]);
    assert_eq!((own[0].started_at, own[0].identity), (None, Some(([0xab; 16], 8))));
    let row = &own[1];
    assert_eq!(row.started_at, Some(AT), "rounded down: never later than the truth");
    assert_eq!(row.ended_at, Wall::from_micros(AT.as_micros() + 1_000), "rounded up: never earlier than the truth");
    assert_eq!((row.account_id, row.api_system_id, row.reason.as_str()), (account, venue, "reconnect"));
    assert_eq!((row.opened_at, row.outcome.as_deref()), (None, None));

    let nobody = NewGap { account_id: 999_999, identity: None, ..gap };
    let refused = store.run(|tables| tables.insert_gap(&nobody)).unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Data);
    assert!(store.is_open(), "a refused row is no reason to reconnect");

    // Several at once: all or none, and none twice.
    let fifth = NewGap { identity: Some(([0xab; 16], 9)), ..gap };
    let refused = store.run(|tables| tables.insert_gaps(&[fifth, nobody])).unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Data);
    assert_eq!(ids(&list(store, None, 100)), [fourth, third, second, first]);
    let sixth = NewGap { identity: Some(([0xab; 16], 10)), ..gap };
    store.run(|tables| tables.insert_gaps(&[gap, fifth, sixth, fifth])).unwrap();
    let identities: Vec<_> = list(store, None, 2).iter().map(|row| row.identity).collect();
    assert_eq!(identities, [sixth.identity, fifth.identity]);
    assert_eq!(list(store, None, 100).len(), 6);
}

fn accounts_are_switched_and_removed(store: &mut UserDataStore) {
    let [account, other] = eligible(store)[..] else { panic!("two accounts") };
    assert!(store.run(|tables| tables.set_account_active(account, Some("by hand"))).unwrap());
    assert_eq!(eligible(store), [other]);
    assert!(store.run(|tables| tables.set_account_active(account, None)).unwrap());
    assert_eq!(eligible(store), [account, other]);
    assert!(store.run(|tables| tables.remove_account(account)).unwrap());
    assert!(!store.run(|tables| tables.remove_account(account)).unwrap(), "removed before");
    assert!(!store.run(|tables| tables.set_account_active(account, None)).unwrap(), "removed is removed");
    assert!(!store.run(|tables| tables.set_account_active(999_999, None)).unwrap());
    let listed = store.run(|tables| tables.accounts()).unwrap();
    assert!(listed.iter().all(|row| row.id != account && row.name != "deleted"));
    let find = |name: &str| listed.iter().find(|row| row.name == name).unwrap();
    assert!(find("no key").api_key.is_none() && find("no key").has_secret && find("no key").is_active);
    assert!(!find("no secret").has_secret && !find("null").has_secret && !find("off").is_active);
    assert_eq!(find("main on bybit").canonical, "bybit");
    // Its name is free again.
    assert!(add(store, "binance", "main", "k2", "s2").is_some());
}
