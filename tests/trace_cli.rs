//! Promise: `trace` prints an order's whole road from spool and database, under each of its ids, says what is not there, and
//! writes nothing.

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
use trace_rig::{LIST, Rig, masked, program};

fn with_rig(check: impl FnOnce(&mut Rig<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kraite-streams.sqlite");
    let mut file = File::create(&path);
    check(&mut Rig::new(folder, StoreUrl::Sqlite(path), Vec::new(), &mut file));
}

const ROAD: &str = "\
order 100120 of account 100100: PROFIT-LIMIT, position 100100, exchange id 90100120, client id c-100120
  now FILLED, reference FILLED, price 4.11 (placed 4.105), quantity 20.99

account 100100: ORDER_TRADE_UPDATE TRADE PARTIALLY_FILLED  z 9.45  p 4.105  ap 4.1  id 90100120
  venue                     T 2026-11-18 11:06:40.000 UTC, E 2026-11-18 11:06:40.000 UTC
  received      +12.000 ms  2026-11-18 11:06:40.012 UTC; spool: position 2, epoch 6f6e65206c69666527732065706f6368
  reserved  * ms  job *
  decided  * ms  applied: NEW to PARTIALLY_FILLED; intent SyncPositionQuantityFromExchangeJob [applied]
  audit                  -  row 1
  intent                 -  SyncPositionQuantityFromExchangeJob (id 1) for position 100100, order 100120 on positions: \
not pushed, nobody said that it has finished

account 100100: ORDER_TRADE_UPDATE TRADE FILLED  z 20.99  p 4.105  ap 4.11  id 90100120
  venue                     T 2026-11-18 11:06:40.002 UTC, E 2026-11-18 11:06:40.002 UTC
  received      +12.000 ms  2026-11-18 11:06:40.014 UTC; spool: position 4, epoch 6f6e65206c69666527732065706f6368
  reserved  * ms  job *
  decided  * ms  applied: PARTIALLY_FILLED to FILLED at 4.11; intent ClosePositionJob [applied]
  audit                  -  row 3
  intent  * ms  ClosePositionJob (id 3) for position 100100, order 100120 on priority: pushed, \
finished 2026-11-24 23:00:01.000 UTC

account 100100: ORDER_TRADE_UPDATE TRADE NEW  z 0  p 4.105  ap 0  id 90100120
  venue                     T 2026-11-18 11:06:40.003 UTC, E 2026-11-18 11:06:40.003 UTC
  received      +12.000 ms  2026-11-18 11:06:40.015 UTC; spool: position 5, epoch 6f6e65206c69666527732065706f6368
  reserved  * ms  job *
  decided  * ms  rank guard: FILLED > NEW [rank_guard]
  audit                  -  row 4
";

#[test]
fn an_orders_road_is_whole_under_either_id() {
    with_rig(|rig| {
        let scene = rig.seed(1, "long; tp; limit");
        rig.receive(&scene, "tp PARTIALLY_FILLED z=9.45 ap=4.1; limit CANCELED; tp FILLED ap=4.11; tp NEW x=TRADE");
        rig.work(LIST);
        rig.database.sql(
            "UPDATE workflow_intents SET pushed_at = '2026-11-24 23:00:00.000', finished_at = '2026-11-24 23:00:01.000' \
             WHERE name = 'ClosePositionJob'",
        );
        let before = rig.everything();
        let text = rig.says(LIST, &["trace", "90100120"], 0);
        assert_eq!(masked(&text), ROAD);
        assert_eq!(rig.says(LIST, &["trace", "c-100120"], 0), text);
        assert_eq!(rig.says(LIST, &["trace", " 90100120", "--account", "100100"], 0), text);
        assert_eq!(rig.everything(), before, "nothing is written");
        // The rows behind the hops are told to the microsecond, and no hop goes backwards.
        let json: Value = serde_json::from_str(&rig.says(LIST, &["trace", "90100120", "--json"], 0)).unwrap();
        for event in json["events"].as_array().unwrap() {
            let time = |name: &str| event[name].as_i64().unwrap();
            assert!(time("reserved_at_us") > time("received_at_us") && time("decided_at_us") >= time("reserved_at_us"));
            assert_eq!(event["ms"]["venue_to_received"], 12.0);
        }
    });
}

#[test]
fn json_has_the_shape_that_is_promised() {
    with_rig(|rig| {
        let scene = rig.seed(1, "long; tp");
        rig.receive(&scene, "tp CANCELED");
        rig.work(LIST);
        let mut json: Value = serde_json::from_str(&rig.says(LIST, &["trace", "90100120", "--json"], 0)).unwrap();
        let event = &mut json["events"][0];
        for changing in ["job", "reserved_at_us", "decided_at_us", "ms"] {
            assert!(!event[changing].is_null(), "{changing}");
            event[changing] = Value::Null;
        }
        assert!(event["intents"][0]["created_at_us"].is_i64());
        event["intents"][0]["created_at_us"] = Value::Null;
        let expected = json!({
            "id": "90100120",
            "orders": [{
                "order_id": 100_120, "account": 100_100, "position_id": 100_100, "exchange_order_id": "90100120",
                "client_order_id": "c-100120", "is_algo": false, "status": "CANCELLED", "reference_status": "NEW",
                "price": "4.105", "quantity": "20.99", "child_ended": null,
            }],
            "events": [{
                "account": 100_100, "order_id": 100_120, "event": "ORDER_TRADE_UPDATE", "execution_type": "CANCELED",
                "status": "CANCELED", "exchange_order_id": "90100120", "triggered_order_id": null,
                "transaction_time_ms": 1_795_000_000_000_i64, "event_time_ms": 1_795_000_000_000_i64,
                "received_at_us": 1_795_000_000_012_000_i64, "epoch": "6f6e65206c69666527732065706f6368", "position": 2,
                "in_spool": true, "job": null, "reserved_at_us": null, "decided_at_us": null, "audit_id": 1,
                "rule": "applied", "note": "applied: NEW to CANCELLED; intent PreparePositionReplacementJob",
                "intents": [{
                    "id": 1, "name": "PreparePositionReplacementJob", "position_id": 100_100, "order_id": 100_120,
                    "queue": "priority", "created_at_us": null, "pushed_at_us": null, "finished_at_us": null,
                }],
                "ms": null,
            }],
            "intents": [],
            "spool": { "is_there": true, "oldest_position": 1, "oldest_received_at_us": 1_795_000_000_000_000_i64 },
            "notes": [],
        });
        assert_eq!(json, expected);
    });
}

#[test]
fn an_algo_orders_road_holds_the_order_that_it_became() {
    with_rig(|rig| {
        let scene = rig.seed(1, "long; sl");
        rig.receive(&scene, "sl TRIGGERED ai=78; #78 FILLED R=true ap=4.0; sl FINISHED ai=78 aq=20.99");
        rig.work(LIST);
        let text = rig.says(LIST, &["trace", "90100120"], 0);
        let parts = [
            "order 100120 of account 100100: STOP-MARKET, position 100100, exchange id 90100120, client id c-100120, algo\n",
            "  the real order that it became has ended: FILLED\n",
            "ALGO_UPDATE ALGO_TRIGGERED TRIGGERED  p 4.105  id 90100120  became 78\n",
            "ORDER_TRADE_UPDATE TRADE FILLED  z 20.99  p 0  ap 4  id 78\n",
            "the algo order's real order ended FILLED; the algo order stays TRIGGERED [real_order]\n",
            "ALGO_UPDATE ALGO_FINISHED FINISHED  aq 20.99  p 4.105  id 90100120  became 78\n",
            "applied: TRIGGERED to FILLED [applied]\n",
        ];
        let mut at = 0;
        for part in parts {
            at += text[at..].find(part).unwrap_or_else(|| panic!("{part:?} does not follow in\n{text}"));
        }
        assert_eq!(rig.says(LIST, &["trace", "78"], 0), text, "the real order's id leads to the same road");
    });
}

#[test]
fn what_is_not_there_is_said() {
    with_rig(|rig| {
        let scene = rig.seed(1, "long; limit");
        rig.receive(&scene, "limit PARTIALLY_FILLED z=1");
        let says = |rig: &mut Rig<'_>, list: &str, id: &str, code: i32, parts: &[&str]| {
            let text = rig.says(list, &["trace", id], code);
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in\n{text}");
            }
        };
        let shadow = "the allowlist in force is empty (shadow mode)";
        says(rig, LIST, "90100120", 0, &["spool: position 2, epoch", "-  not applied yet", "-  no row\n"]);
        rig.work("");
        says(
            rig,
            "",
            "90100120",
            0,
            &["spool: position 2", "-  shadow mode: audited, nothing was decided", "row 1", shadow],
        );
        says(rig, LIST, "90100120", 0, &["no decision: it came in shadow mode, or another program applied it"]);
        says(
            rig,
            LIST,
            "nobody",
            1,
            &["no row in orders has", "whose oldest record is position 1 of 2026-11-18 11:06:40.000"],
        );
        says(rig, LIST, "90100120", 0, &["now NEW, reference NEW"]);
        let narrowed = rig.says(LIST, &["trace", "90100120", "--account", "7"], 1);
        assert!(
            narrowed.starts_with("no row in orders of account 7 has this id\nno event of it is in the audit"),
            "{narrowed}"
        );
        // An order of another account has an event as well, which is not of this one's road.
        let other = rig.seed(2, "long; limit x=90100120");
        rig.receive(&other, "limit CANCELED");
        rig.work(LIST);
        let both = rig.says(LIST, &["trace", "90100120"], 0);
        assert!(both.contains("of account 100100") && both.contains("of account 100200"), "{both}");
        let one = rig.says(LIST, &["trace", "90100120", "--account", "100200"], 0);
        assert!(!one.contains("100100") && one.contains("applied: NEW to CANCELLED"), "{one}");
        rig.database.sql("DELETE FROM api_data_stream");
        rig.lose_spool();
        says(rig, LIST, "90100120", 0, &["an event of which only the decision is kept", "; there is no spool here"]);
        says(rig, LIST, "nobody", 1, &["and there is no spool here (spool.folder)"]);
    });
}

#[test]
fn a_close_by_hand_leads_to_its_workflow() {
    with_rig(|rig| {
        let scene = rig.seed(1, "long");
        rig.receive(&scene, "#77 FILLED R=true ap=1.25");
        rig.work(LIST);
        let text = rig.says(LIST, &["trace", "77"], 0);
        for part in [
            "external close of position 100100; intent PreparePositionReplacementJob [external_close]\n",
            "intent                 -  PreparePositionReplacementJob (id 1) for position 100100 on priority: not pushed",
            "no row in orders has this id\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    });
}

#[test]
fn a_terminal_does_nothing_with_what_a_venue_sent() {
    with_rig(|rig| {
        let scene = rig.seed(1, "long; tp");
        rig.receive(&scene, r"tp FILLED X=\u001b[2J x=TRADE");
        rig.work(LIST);
        let text = rig.says(LIST, &["trace", "90100120"], 0);
        assert!(text.contains(r"TRADE \u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
    });
}

#[test]
fn bad_input_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code, part) in [
        (&["trace", "1"][..], 66, "kraite-streams.sqlite is not there: no daemon has run here, or store.url"),
        (&["trace"], 64, "<ORDER_ID>"),
        (&["trace", " "], 64, "an order id has 1 to 255 characters"),
        (&["trace", "1", "--account", "x"], 64, "invalid digit"),
    ] {
        let output = program(folder.path(), arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && text.contains(part), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made by looking");
}
