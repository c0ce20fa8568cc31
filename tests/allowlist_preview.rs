//! Promise: `allowlist preview` says what more execution types would have done, by the worker's own rules, and writes nothing.

#![cfg(feature = "embedded")]

use kraite_streams::store::StoreUrl;
use serde_json::{Value, json};

#[path = "support/order_frames.rs"]
mod order_frames;
#[path = "support/order_scene.rs"]
mod order_scene;
#[path = "support/sqlite_rows.rs"]
mod sqlite_rows;
#[path = "support/trace_rig.rs"]
mod trace_rig;
#[path = "support/worker_line.rs"]
mod worker_line;
use sqlite_rows::File;
use trace_rig::{Rig, program};

fn with_rig(check: impl FnOnce(&mut Rig<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kraite-streams.sqlite");
    let mut file = File::create(&path);
    check(&mut Rig::new(folder, StoreUrl::Sqlite(path), Vec::new(), &mut file));
}

/// What follows the line that says since when.
fn body(text: &str) -> &str {
    text.split_once("\n\n").unwrap().1
}

#[test]
fn a_flip_out_of_shadow_mode_is_told_whole() {
    with_rig(|rig| {
        let scene = rig.seed(1, "long; tp; limit");
        rig.receive(&scene, "limit PARTIALLY_FILLED z=1; tp FILLED ap=4.2; limit CANCELED; tp FILLED ap=4.2 L=1");
        let other = rig.seed(2, "short; limit");
        rig.receive(&other, "limit NEW; account SOLUSDT/BOTH=0; raw {\"e\":");
        rig.work("");
        let before = rig.everything();
        let text = rig.says("", &["allowlist", "preview", "TRADE", "--since", "30d"], 0);
        assert!(text.starts_with(
            "what TRADE would have done besides the allowlist in force (empty: shadow mode)\naudited frames since "
        ));
        assert_eq!(
            body(&text),
            "\
account 100100: 4 frames, 3 of them admitted by the addition alone
  types: CANCELED 1, TRADE 3
  + 2026-11-18 11:06:40.012  TRADE  order 100121: NEW to PARTIALLY_FILLED
  + 2026-11-18 11:06:40.012  TRADE  intent SyncPositionQuantityFromExchangeJob: position 100100, order 100121
  + 2026-11-18 11:06:40.013  TRADE  order 100120: NEW to FILLED, price 4.105 to 4.2
  + 2026-11-18 11:06:40.013  TRADE  intent ClosePositionJob: position 100100, order 100120
  + 2026-11-18 11:06:40.013  TRADE  order 100120: reference_status FILLED
  + 2026-11-18 11:06:40.013  TRADE  position 100100: active to closing

account 100200: 3 frames, 0 of them admitted by the addition alone
  types: NEW 1
  + 2026-11-18 11:06:40.013  ACCOUNT_UPDATE  intent CancelPositionOpenOrdersJob: position 100200

total: 2 order changes, 1 position changes, 3 intents (CancelPositionOpenOrdersJob 1, ClosePositionJob 1, \
SyncPositionQuantityFromExchangeJob 1)
"
        );
        let one = rig.says("", &["allowlist", "preview", "TRADE", "--since", "30d", "--account", "100200"], 0);
        assert!(!one.contains("account 100100") && one.contains("account 100200: 3 frames"), "{one}");
        let none = rig.says("", &["allowlist", "preview", "TRADE", "--since", "1h"], 0);
        assert!(none.ends_with("\ntotal: 0 order changes, 0 position changes, 0 intents\n"), "{none}");
        assert_eq!(rig.everything(), before, "all is rolled back");
    });
}

#[test]
fn what_the_list_in_force_does_is_not_counted() {
    with_rig(|rig| {
        let scene = rig.seed(1, "long; tp; limit");
        rig.receive(&scene, "limit CANCELED; tp REJECTED; limit EXPIRED");
        rig.work("TRADE");
        // CANCELED has been put on the list since; what it would do by itself is no effect of REJECTED.
        let before = rig.everything();
        let list = "TRADE,CANCELED";
        let text = rig.says(list, &["allowlist", "preview", "REJECTED,ALGO_NEW", "--since", "30d"], 0);
        assert_eq!(
            body(&text),
            "\
account 100100: 3 frames, 1 of them admitted by the addition alone
  types: CANCELED 1, EXPIRED 1, REJECTED 1
  + 2026-11-18 11:06:40.013  REJECTED  order 100120: NEW to REJECTED
  not counted: 2 changes that the list in force makes by itself

no frame of type ALGO_NEW is in the audit of that time

total: 1 order changes, 0 position changes, 0 intents
"
        );
        let mut json: Value =
            serde_json::from_str(&rig.says(list, &["allowlist", "preview", "REJECTED", "--since", "30d", "--json"], 0))
                .unwrap();
        assert!(json["since_us"].is_i64());
        json["since_us"] = Value::Null;
        let expected = json!({
            "types": ["REJECTED"],
            "allowlist": ["TRADE", "CANCELED"],
            "since_us": null,
            "accounts": [{
                "account": 100_100, "frames": 3, "admitted": 1, "types": { "CANCELED": 1, "EXPIRED": 1, "REJECTED": 1 },
                "added": [{
                    "kind": "order", "order_id": 100_120, "status_from": "NEW", "status_to": "REJECTED",
                    "price_from": "4.105", "price_to": "4.105", "audit_id": 2, "received_at_us": 1_795_000_000_013_000_i64,
                    "type": "REJECTED",
                }],
                "removed": [],
                "present_changes": 2,
            }],
            "totals": { "orders": 1, "positions": 0, "intents": {} },
        });
        assert_eq!(json, expected);
        assert_eq!(rig.everything(), before, "all is rolled back");
        // What was told is what the flip then does: every frame comes again under the longer list.
        rig.work_again("TRADE,CANCELED,REJECTED");
        let orders = rig.database.rows("SELECT id, status FROM orders ORDER BY id");
        assert_eq!(orders, [["100120", "REJECTED"], ["100121", "CANCELLED"]]);
        let intents = rig.database.rows("SELECT name, order_id FROM workflow_intents ORDER BY id");
        assert_eq!(intents, [["PreparePositionReplacementJob", "100121"]], "the list's own, which kept the other away");
        let applied = rig.says("TRADE,CANCELED", &["allowlist", "preview", "REJECTED", "--since", "30d"], 0);
        assert!(applied.contains("nothing would have changed"), "{applied}");
    });
}

#[test]
fn pages_are_walked_in_the_order_of_receiving() {
    with_rig(|rig| {
        let scene = rig.seed(1, "long; tp");
        // More than two pages, of which the last event alone says something new.
        let mut frames: Vec<String> = (0..1_200).map(|number| format!(r#"raw {{"e":"X","n":{number}}}"#)).collect();
        frames.push("tp NEW x=AMENDMENT p=4.2".to_owned());
        rig.receive(&scene, &frames.join(";"));
        rig.work("TRADE");
        let text = rig.says("TRADE", &["allowlist", "preview", "AMENDMENT", "--since", "30d"], 0);
        assert!(text.contains("account 100100: 1201 frames, 1 of them admitted"), "{text}");
        assert!(text.contains("order 100120: NEW to NEW, price 4.105 to 4.2\n"), "{text}");
        assert!(
            text.contains("total: 1 order changes, 0 position changes, 1 intents (PrepareOrderCorrectionJob 1)"),
            "{text}"
        );
    });
}

#[test]
fn bad_input_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code, part) in [
        (&["TRADE"][..], 66, "kraite-streams.sqlite is not there"),
        (&[], 64, "<TYPE>"),
        (&["trade"], 64, "case counts, did you mean TRADE?"),
        (&["TRADE,FILL"], 64, "it is none of"),
        (&["TRADE", "--since", "1w"], 64, "as in 24h"),
        (&["TRADE", "--since", "0h"], 64, "as in 24h"),
    ] {
        let all: Vec<&str> = ["allowlist", "preview"].iter().chain(arguments).copied().collect();
        let output = program(folder.path(), &all).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && text.contains(part), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made by looking");
}
