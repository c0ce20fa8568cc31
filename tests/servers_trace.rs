//! Promise: `trace` and `allowlist preview` do on PostgreSQL what they do on the embedded store: they tell the whole road and
//! the whole effect, write nothing, and show no password.

#![cfg(feature = "servers")]

use kraite_streams::store::StoreUrl;

#[path = "support/order_frames.rs"]
mod order_frames;
#[path = "support/order_scene.rs"]
mod order_scene;
#[path = "support/postgres_rows.rs"]
mod postgres_rows;
#[path = "support/postgres_server.rs"]
mod postgres_server;
#[path = "support/trace_rig.rs"]
mod trace_rig;
#[path = "support/worker_line.rs"]
mod worker_line;
use postgres_server::PostgresServer;
use trace_rig::{LIST, Rig, masked};

const ROAD: &str = "\
order 100120 of account 100100: STOP-MARKET, position 100100, exchange id 90100120, client id c-100120, algo
  now FILLED, reference TRIGGERED, price 4.105 (placed 4.105), quantity 20.99
  the real order that it became has ended: FILLED

account 100100: ALGO_UPDATE ALGO_TRIGGERED TRIGGERED  p 4.105  id 90100120  became 78
  venue                     T 2026-11-18 11:06:40.000 UTC, E 2026-11-18 11:06:40.000 UTC
  received      +12.000 ms  2026-11-18 11:06:40.012 UTC; spool: position 2, epoch 6f6e65206c69666527732065706f6368
  reserved  * ms  job *
  decided  * ms  applied: NEW to TRIGGERED; intent BlockExchangeSymbolJob; intent ClosePositionJob [applied]
  audit                  -  row 1
  intent                 -  BlockExchangeSymbolJob (id 1) for position 100100, order 100120 on priority: not pushed, \
nobody said that it has finished
  intent  * ms  ClosePositionJob (id 2) for position 100100, order 100120 on priority: pushed, \
finished 2026-11-24 23:00:01.000 UTC

account 100100: ORDER_TRADE_UPDATE TRADE FILLED  z 20.99  p 0  ap 4  id 78
  venue                     T 2026-11-18 11:06:40.001 UTC, E 2026-11-18 11:06:40.001 UTC
  received      +12.000 ms  2026-11-18 11:06:40.013 UTC; spool: position 3, epoch 6f6e65206c69666527732065706f6368
  reserved  * ms  job *
  decided  * ms  the algo order's real order ended FILLED; the algo order stays TRIGGERED [real_order]
  audit                  -  row 2

account 100100: ALGO_UPDATE ALGO_FINISHED FINISHED  aq 20.99  p 4.105  id 90100120  became 78
  venue                     T 2026-11-18 11:06:40.002 UTC, E 2026-11-18 11:06:40.002 UTC
  received      +12.000 ms  2026-11-18 11:06:40.014 UTC; spool: position 4, epoch 6f6e65206c69666527732065706f6368
  reserved  * ms  job *
  decided  * ms  applied: TRIGGERED to FILLED [applied]
  audit                  -  row 3
";

#[test]
fn both_commands_tell_all_and_write_nothing() {
    let mut server = PostgresServer::start();
    let mut rows = postgres_rows::Server::migrated(&server);
    let text = server.url_text("postgres");
    let environment = vec![("KRAITE_STORE_URL", text.clone())];
    let url = StoreUrl::parse(&text).unwrap();
    let mut rig = Rig::new(tempfile::tempdir().unwrap(), url, environment, &mut rows);
    let scene = rig.seed(1, "long; sl");
    rig.receive(&scene, "sl TRIGGERED ai=78; #78 FILLED R=true ap=4.0; sl FINISHED ai=78 aq=20.99");
    rig.work(LIST);
    rig.database.sql(
        "UPDATE workflow_intents SET pushed_at = '2026-11-24 23:00:00+00', finished_at = '2026-11-24 23:00:01+00' \
         WHERE name = 'ClosePositionJob'",
    );
    // Another account's events come in shadow mode.
    let other = rig.seed(2, "long; tp; limit");
    rig.receive(&other, "limit CANCELED; tp FILLED ap=4.2; account SOLUSDT/BOTH=0");
    rig.work("");
    let before = rig.everything();

    let road = rig.says(LIST, &["trace", "90100120"], 0);
    assert_eq!(masked(&road), ROAD);
    for id in ["78", "c-100120"] {
        assert_eq!(rig.says(LIST, &["trace", id], 0), road, "{id}");
    }
    assert!(rig.says(LIST, &["trace", "90100220"], 0).contains("no decision: it came in shadow mode"));

    let preview = rig.says("CANCELED", &["allowlist", "preview", "TRADE", "--since", "30d", "--account", "100200"], 0);
    let (_, body) = preview.split_once("\n\n").unwrap();
    assert_eq!(
        body,
        "\
account 100200: 3 frames, 1 of them admitted by the addition alone
  types: CANCELED 1, TRADE 1
  + 2026-11-18 11:06:40.013  TRADE  order 100220: NEW to FILLED, price 4.105 to 4.2
  + 2026-11-18 11:06:40.013  TRADE  intent ClosePositionJob: position 100200, order 100220
  + 2026-11-18 11:06:40.013  TRADE  order 100220: reference_status FILLED
  + 2026-11-18 11:06:40.013  TRADE  position 100200: active to closing
  not counted: 2 changes that the list in force makes by itself

total: 1 order changes, 1 position changes, 1 intents (ClosePositionJob 1)
"
    );
    assert_eq!(rig.everything(), before, "nothing was written, and nothing committed");

    server.kill();
    let output = rig.run(LIST, &["trace", "90100120"]);
    let sentence = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(69) && sentence.starts_with("kraite-streams: "), "{sentence}");
    assert!(output.stdout.is_empty());
}
