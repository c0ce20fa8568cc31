//! What a job does to the rows of an account, as one list of promises that both databases keep: `order_apply.rs` and
//! `servers_order_apply.rs` run it. Each promise works in accounts of its own.

use std::path::Path;

use kraite_streams::domain::Decimal;
use kraite_streams::store::{ErrorClass, WorkStore};
use kraite_streams::user_data::apply::AuditOutcome;
use kraite_streams::user_data::rules::IntentSwitches;

use crate::order_world::{PRODUCTION, World, account_frame, algo_frame, order_frame, ours, policy};
use crate::work_tables::{AT, Rig, later};

/// Every promise, on a migrated store.
pub fn hold(store: &mut WorkStore, rig: &mut dyn Rig) {
    let world = &mut World::new(store, rig);
    shadow_mode_decides_nothing(world);
    an_order_is_found_in_its_own_account_and_system_only(world);
    four_cancels_are_one_replacement(world);
    a_change_by_hand_is_one_correction(world);
    a_filled_take_profit_closes_once(world);
    a_rung_is_acknowledged_when_it_is_filled(world);
    a_flat_position_loses_its_opening_orders(world);
    a_close_by_hand_is_one_replacement(world);
    a_triggered_stop_is_no_close_by_hand(world);
    redelivery_changes_nothing(world);
    a_duplicate_suppresses_no_effect(world);
    a_kind_that_is_off_leaves_everything(world);
    an_old_intent_lives_no_more(world);
    what_was_heard_is_not_audited_again(world);
    what_cannot_be_done_is_said_and_nothing_else_fails(world);
}

fn shadow_mode_decides_nothing(world: &mut World<'_>) {
    let mut frames = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "json") => {
                    frames.push(std::fs::read(&path).unwrap());
                }
                false => {}
            }
        }
    }
    assert!(frames.len() > 75, "{}", frames.len());
    // Rows on which each branch would act.
    world.account(false);
    let position = world.position("BTCUSDT", "active", "LONG");
    for (kind, client, exchange) in [
        ("STOP-MARKET", "qa-sl-0001", "4000001910709999"),
        ("LIMIT", "shadow-rung", "shadow-rung"),
        ("PROFIT-LIMIT", "shadow-profit", "912345680010"),
    ] {
        let order = world.order(position, kind);
        world.rig.sql(&format!(
            "UPDATE orders SET client_order_id = '{client}', exchange_order_id = '{exchange}' WHERE id = {order}"
        ));
    }
    let flat = account_frame(1, "BTCUSDT", "BOTH", "0");
    let by_hand = order_frame(("77", "web-77"), "TRADE", "FILLED", 2, ("20.99", "0", "4"), r#","S":"SELL","R":true"#)
        .replace("SOLUSDT", "BTCUSDT");
    frames.extend([flat.into_bytes(), by_hand.into_bytes(), b"{".to_vec(), vec![0xff, 0]]);

    let before = world.decided();
    let distinct: std::collections::BTreeSet<&Vec<u8>> = frames.iter().collect();
    world.policy = policy(" , ");
    for frame in &frames {
        let outcome = world.job("frame", frame).unwrap();
        assert_eq!((outcome.decision.rule(), outcome.intents), ("shadow", vec![]));
    }
    assert_eq!(world.decided(), before);
    let account = world.account;
    assert_eq!(world.count(&format!("api_data_stream WHERE account_id = {account}")), distinct.len() as u64);
    // The same frames do something as soon as they may, though every audit row is there already.
    world.policy = policy(PRODUCTION);
    for frame in &frames {
        assert_eq!(world.job("frame", frame).unwrap().audit, AuditOutcome::Duplicate);
    }
    assert_ne!(world.decided(), before);
    assert!(world.intents() >= 2, "{}", world.intents());
    assert_eq!(world.count(&format!("api_data_stream WHERE account_id = {account}")), distinct.len() as u64);
}

fn an_order_is_found_in_its_own_account_and_system_only(world: &mut World<'_>) {
    let other = world.account(false);
    let others_position = world.position("SOLUSDT", "active", "LONG");
    let others_order = world.order(others_position, "PROFIT-LIMIT");
    world.account(false);
    let frame = ours(others_order, "TRADE", "FILLED", 1, "20.99", "4.105", "4.1");
    assert_eq!(world.frame(&frame), ("unknown_order", vec![]));
    assert_eq!(world.state(others_order).0, "NEW");
    // Its own account, but another venue's event.
    (world.account, world.system) = (other, world.system + 1);
    assert_eq!(world.frame(&frame), ("other_system", vec![]));
    world.system -= 1;
    assert_eq!(world.state(others_order).0, "NEW");
    assert_eq!(world.frame(&frame), ("applied", vec!["ClosePositionJob"]));
    world.account += 1;
}

fn four_cancels_are_one_replacement(world: &mut World<'_>) {
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let orders = ["PROFIT-LIMIT", "STOP-MARKET", "LIMIT", "LIMIT"].map(|kind| world.order(position, kind));
    let mut written = Vec::new();
    for (time, order) in (10..).zip(orders) {
        let frame = match time {
            11 => algo_frame(order, "CANCELED", time, "", ""),
            _ => ours(order, "CANCELED", "CANCELED", time, "0", "4.105", "0"),
        };
        let (rule, intents) = world.frame(&frame);
        assert_eq!(rule, "applied");
        written.extend(intents);
        assert_eq!(world.frame(&frame), ("unchanged", vec![]));
        assert_eq!(world.state(order), ("CANCELLED".to_owned(), "4.105".to_owned(), "NEW".to_owned()));
    }
    assert_eq!(written, ["PreparePositionReplacementJob"]);
    assert_eq!(world.intents(), 1);
    assert_eq!(world.position_status(position), "active");
}

fn a_change_by_hand_is_one_correction(world: &mut World<'_>) {
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let order = world.order(position, "PROFIT-LIMIT");
    let part = ours(order, "TRADE", "PARTIALLY_FILLED", 1, "9.45", "4.105", "4.10499999");
    assert_eq!(world.frame(&part), ("applied", vec!["SyncPositionQuantityFromExchangeJob"]));
    assert_eq!(world.state(order), ("PARTIALLY_FILLED".to_owned(), "4.105".to_owned(), "NEW".to_owned()));
    let order = world.order(position, "PROFIT-LIMIT");
    let moved = ours(order, "AMENDMENT", "NEW", 2, "0", "4.100", "0");
    assert_eq!(world.frame(&moved), ("applied", vec!["PrepareOrderCorrectionJob"]));
    assert_eq!(world.state(order), ("NEW".to_owned(), "4.1".to_owned(), "NEW".to_owned()));
    assert_eq!(world.frame(&moved), ("unchanged", vec![]));
    let again = ours(order, "AMENDMENT", "NEW", 3, "0", "4.2", "0");
    assert_eq!(world.frame(&again), ("applied", vec![]), "a correction of this order runs");
    let placed = world.one(&format!("SELECT quantity FROM orders WHERE id = {order}"));
    assert_eq!(Decimal::parse(&placed), Decimal::parse("20.99"));
    // NEW is off the list: the echo of a placement is kept out.
    assert_eq!(world.frame(&ours(order, "NEW", "NEW", 9, "0", "4.3", "0")), ("not_on_allowlist", vec![]));
    assert_eq!(world.state(order).1, "4.2");
}

fn a_filled_take_profit_closes_once(world: &mut World<'_>) {
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let (profit, rung) = (world.order(position, "PROFIT-LIMIT"), world.order(position, "LIMIT"));
    let filled = ours(profit, "TRADE", "FILLED", 1, "20.99", "4.105", "4.11");
    assert_eq!(world.frame(&filled), ("applied", vec!["ClosePositionJob"]));
    assert_eq!(world.state(profit), ("FILLED".to_owned(), "4.11".to_owned(), "FILLED".to_owned()));
    assert_eq!(world.position_status(position), "closing");
    assert!(!world.one(&format!("SELECT filled_at FROM orders WHERE id = {profit}")).is_empty());
    assert_eq!(world.frame(&filled), ("unchanged", vec![]));
    // The position is not active any more: orders still follow the venue, workflows do not start.
    let cancelled = ours(rung, "CANCELED", "CANCELED", 2, "0", "4.105", "0");
    assert_eq!(world.frame(&cancelled), ("applied", vec![]));
    assert_eq!(world.state(rung).0, "CANCELLED");
}

fn a_rung_is_acknowledged_when_it_is_filled(world: &mut World<'_>) {
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let rung = world.order(position, "LIMIT");
    let part = ours(rung, "TRADE", "PARTIALLY_FILLED", 1, "5", "4.105", "4.1");
    assert_eq!(world.frame(&part), ("applied", vec!["SyncPositionQuantityFromExchangeJob"]));
    assert_eq!(world.state(rung).2, "NEW", "later parts must not vanish");
    let filled = ours(rung, "TRADE", "FILLED", 2, "20.99", "4.105", "4.1");
    assert_eq!(world.frame(&filled), ("applied", vec!["ApplyWapJob"]));
    assert_eq!(world.state(rung), ("FILLED".to_owned(), "4.1".to_owned(), "FILLED".to_owned()));
    assert_eq!(world.frame(&part), ("rank_guard", vec![]));
    let note = world.one("SELECT note FROM stream_decisions ORDER BY id DESC LIMIT 1");
    assert!(
        note.starts_with("applied: NEW to FILLED at 4.1; intent ApplyWapJob")
            || note.contains("PARTIALLY_FILLED to FILLED"),
        "{note}"
    );
}

fn a_flat_position_loses_its_opening_orders(world: &mut World<'_>) {
    world.account(true);
    let position = world.position("SOLUSDT", "active", "LONG");
    let (rung, profit) = (world.order(position, "LIMIT"), world.order(position, "PROFIT-LIMIT"));
    for (time, symbol, side, quantity) in
        [(1, "SOLUSDT", "LONG", "-2.5"), (2, "SOLUSDT", "SHORT", "0"), (3, "XRPUSDT", "LONG", "0")]
    {
        assert_eq!(world.frame(&account_frame(time, symbol, side, quantity)), ("audited", vec![]), "{time}");
    }
    // A replacement that runs already is another workflow.
    let lost = ours(profit, "EXPIRED", "EXPIRED", 4, "0", "4.105", "0");
    assert_eq!(world.frame(&lost), ("applied", vec!["PreparePositionReplacementJob"]));
    let flat = account_frame(5, "SOLUSDT", "LONG", "0.00000000");
    assert_eq!(world.frame(&flat), ("flat_position", vec!["CancelPositionOpenOrdersJob"]));
    assert_eq!(world.job("frame", flat.as_bytes()).unwrap().audit, AuditOutcome::Duplicate);
    assert_eq!(world.frame(&account_frame(6, "SOLUSDT", "BOTH", "0")), ("flat_position", vec![]));
    assert_eq!(world.intents(), 2);
    assert_eq!((world.state(rung).0, world.position_status(position)), ("NEW".to_owned(), "active".to_owned()));
    // Nothing works any more: nothing to cancel.
    world.account(false);
    let position = world.position("SOLUSDT", "closing", "SHORT");
    world.order(position, "PROFIT-LIMIT");
    assert_eq!(world.frame(&account_frame(7, "SOLUSDT", "BOTH", "0")), ("flat_position", vec![]));
    world.position("SOLUSDT", "active", "LONG");
    assert_eq!(world.frame(&account_frame(8, "SOLUSDT", "BOTH", "0")), ("audited", vec![]), "which of the two?");
}

fn a_close_by_hand_is_one_replacement(world: &mut World<'_>) {
    let filled = |id: &str, client: &str, time, extra: &str| {
        order_frame((id, client), "TRADE", "FILLED", time, ("20.99", "0", "1.25"), extra)
    };
    const CLOSES: &str = r#","S":"SELL","ps":"BOTH","R":true"#;
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let profit = world.order(position, "PROFIT-LIMIT");
    for (id, client, extra) in [
        ("1", "autoclose-1", CLOSES),
        ("2", "adl_autoclose", CLOSES),
        ("3", "web_3", r#","S":"BUY","ps":"BOTH","R":true"#),
        ("4", "web_4", r#","S":"SELL","ps":"BOTH","R":false"#),
        ("5", "web_5", r#","S":"SELL","ps":"LONG","R":true"#),
    ] {
        assert_eq!(world.frame(&filled(id, client, 1, extra)), ("unknown_order", vec![]), "{client}");
    }
    let part = order_frame(("6", "web_6"), "TRADE", "PARTIALLY_FILLED", 1, ("5", "0", "1.25"), CLOSES);
    assert_eq!(world.frame(&part), ("unknown_order", vec![]));
    let calculated = order_frame(("7", "web_7"), "CALCULATED", "FILLED", 1, ("5", "0", "1.25"), CLOSES);
    assert_eq!(world.frame(&calculated), ("not_on_allowlist", vec![]));
    // Known by its client id only: the placement's answer is still on its way.
    let racing = filled("8", &format!("c-{profit}"), 2, CLOSES);
    assert_eq!(world.frame(&racing), ("applied", vec!["ClosePositionJob"]));

    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let by_hand = filled("9", "web_9", 3, CLOSES);
    assert_eq!(world.frame(&by_hand), ("external_close", vec!["PreparePositionReplacementJob"]));
    let arguments = world
        .one(&format!("SELECT arguments FROM workflow_intents WHERE position_id = {position} AND order_id IS NULL"));
    for part in [
        r#""manualCloseDetected":true"#,
        r#""manualClosingPrice":"1.25""#,
        r#""triggerStatus":"EXTERNAL_FILL""#,
        &format!(r#""positionId":{position}"#),
    ] {
        assert!(arguments.contains(part), "{arguments}");
    }
    assert_eq!(world.frame(&by_hand), ("external_close", vec![]));
    assert_eq!(world.frame(&filled("10", "web_10", 4, CLOSES)), ("external_close", vec![]));
    assert_eq!((world.intents(), world.position_status(position)), (1, "active".to_owned()));

    // A stop stands below: nothing but a hand closes above it.
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    world.order(position, "STOP-MARKET");
    let above = order_frame(("12", "web_12"), "TRADE", "FILLED", 6, ("20.99", "0", "4.2"), CLOSES);
    assert_eq!(world.frame(&above), ("external_close", vec!["PreparePositionReplacementJob"]));

    world.account(true);
    world.position("SOLUSDT", "active", "LONG");
    world.position("SOLUSDT", "active", "SHORT");
    let hedge = filled("11", "web_11", 5, r#","S":"SELL","ps":"LONG""#);
    assert_eq!(world.frame(&hedge), ("external_close", vec!["PreparePositionReplacementJob"]));
}

fn a_triggered_stop_is_no_close_by_hand(world: &mut World<'_>) {
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let stop = world.order(position, "STOP-MARKET");
    let real = |time, x, status, z| {
        order_frame(
            ("912345680099", "venues-own"),
            x,
            status,
            time,
            (z, "0", "4.1"),
            r#","S":"SELL","ps":"BOTH","R":true"#,
        )
    };
    assert_eq!(world.frame(&algo_frame(stop, "TRIGGERING", 1, "", "")), ("not_on_allowlist", vec![]));
    assert_eq!(world.count("algo_order_links WHERE exchange_order_id = '912345680099'"), 0);
    assert_eq!(world.frame(&algo_frame(stop, "TRIGGERED", 2, "912345680099", "0")), ("not_on_allowlist", vec![]));
    assert_eq!(world.state(stop).0, "NEW", "TRIGGERED is off the list; what it became is kept all the same");
    assert_eq!(world.frame(&real(3, "TRADE", "PARTIALLY_FILLED", "5")), ("real_order", vec![]));
    assert_eq!(world.frame(&real(4, "TRADE", "FILLED", "20.99")), ("real_order", vec![]));
    assert_eq!(world.intents(), 0, "no close by hand");
    let finished = algo_frame(stop, "FINISHED", 5, "912345680099", "20.99");
    assert_eq!(world.frame(&finished), ("applied", vec!["BlockExchangeSymbolJob", "ClosePositionJob"]));
    assert_eq!(world.state(stop), ("FILLED".to_owned(), "4.105".to_owned(), "FILLED".to_owned()));
    assert_eq!(world.position_status(position), "closing");
    assert_eq!(world.frame(&finished), ("unchanged", vec![]));
    assert_eq!(world.frame(&real(4, "TRADE", "FILLED", "20.99")), ("unchanged", vec![]));

    // Its fill comes before any event that names it: nothing starts, a reconcile is asked for, and the end is the same.
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let stop = world.order(position, "STOP-MARKET");
    let early = real(4, "TRADE", "FILLED", "20.99");
    let outcome = world.job("frame", early.as_bytes()).unwrap();
    assert_eq!((outcome.decision.rule(), outcome.intents.len(), outcome.needs_reconcile), ("perhaps_ours", 0, true));
    let of_fill =
        "SELECT rule FROM stream_decisions WHERE rule IN ('perhaps_ours', 'real_order') ORDER BY id DESC LIMIT 1";
    assert_eq!(world.one(of_fill), "perhaps_ours");
    assert_eq!(
        world.frame(&algo_frame(stop, "FINISHED", 5, "912345680099", "20.99")),
        ("applied", vec!["BlockExchangeSymbolJob", "ClosePositionJob"])
    );
    assert_eq!(world.frame(&early), ("real_order", vec![]), "when it comes again it is known");
    assert_eq!(world.one(of_fill), "real_order", "an effect takes the place of none");
    assert_eq!(
        (world.state(stop).0, world.intents(), world.position_status(position)),
        ("FILLED".to_owned(), 2, "closing".to_owned())
    );

    // A part only: the real order's end decides, whichever of the two comes first.
    for real_first in [false, true] {
        world.account(false);
        world.policy = policy(&format!("{PRODUCTION},ALGO_TRIGGERED"));
        let position = world.position("SOLUSDT", "active", "LONG");
        let stop = world.order(position, "STOP-MARKET");
        let triggered = algo_frame(stop, "TRIGGERED", 2, "912345680099", "0");
        assert_eq!(world.frame(&triggered), ("applied", vec!["BlockExchangeSymbolJob", "ClosePositionJob"]));
        let finished = algo_frame(stop, "FINISHED", 5, "912345680099", "5");
        let expired = real(4, "EXPIRED", "EXPIRED", "5");
        let frames = if real_first { [&expired, &finished] } else { [&finished, &expired] };
        for frame in frames {
            world.frame(frame);
        }
        assert_eq!(world.state(stop).0, "EXPIRED", "{real_first}");
        assert_eq!(world.state(stop).2, "TRIGGERED", "what was seen was acknowledged");
        assert_eq!(world.intents(), 2);
    }
}

fn what_was_heard_is_not_audited_again(world: &mut World<'_>) {
    let account = world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let (rung, other) = (world.order(position, "LIMIT"), world.order(position, "LIMIT"));
    let fill = |order, trade: u64, extra: &str| {
        ours(order, "TRADE", "FILLED", 4, "20.99", "4.105", "4.1")
            .replace(r#","ps":"BOTH""#, &format!(r#","ps":"BOTH","t":{trade}{extra}"#))
    };
    // The stream's frame and the reconcile's text are other bytes; the trade's id makes them one.
    assert_eq!(world.frame(&fill(rung, 7, r#","n":"0.1""#)).0, "applied");
    let again = world.job("recovered", fill(rung, 7, "").as_bytes()).unwrap();
    assert_eq!((again.audit, again.decision.rule()), (AuditOutcome::Duplicate, "unchanged"));
    let next = world.job("recovered", fill(rung, 8, "").as_bytes()).unwrap();
    assert_eq!(next.audit, AuditOutcome::Inserted);
    // What was recorded and not applied is applied by the reconcile's text, without a second row.
    world.policy = policy("");
    assert_eq!(world.frame(&fill(other, 9, r#","n":"0.1""#)).0, "shadow");
    world.policy = policy(PRODUCTION);
    let healed = world.job("recovered", fill(other, 9, "").as_bytes()).unwrap();
    assert_eq!((healed.audit, healed.decision.rule()), (AuditOutcome::Duplicate, "applied"));
    assert_eq!(world.state(other).0, "FILLED");
    assert_eq!(world.count(&format!("api_data_stream WHERE account_id = {account}")), 3);
}

fn redelivery_changes_nothing(world: &mut World<'_>) {
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let (rung, profit, other) =
        (world.order(position, "LIMIT"), world.order(position, "PROFIT-LIMIT"), world.order(position, "LIMIT"));
    let frames = [
        ours(profit, "AMENDMENT", "NEW", 1, "0", "4.1", "0"),
        ours(rung, "TRADE", "PARTIALLY_FILLED", 2, "5", "4.105", "4.1"),
        ours(profit, "AMENDMENT", "NEW", 3, "0", "4.105", "0"),
        ours(rung, "TRADE", "FILLED", 4, "20.99", "4.105", "4.1"),
        ours(other, "CANCELED", "CANCELED", 5, "0", "4.105", "0"),
    ];
    for frame in &frames {
        assert_eq!(world.frame(frame).0, "applied");
    }
    let (orders, intents) = ([rung, profit, other].map(|order| world.state(order)), world.intents());
    assert_eq!(intents, 4);
    // Long after every workflow has ended, in either order.
    world.rig.sql(&format!("UPDATE workflow_intents SET finished_at = created_at WHERE position_id = {position}"));
    world.now = later(86_400_000_000);
    for frame in frames.iter().chain(frames.iter().rev()) {
        let outcome = world.job("frame", frame.as_bytes()).unwrap();
        assert_eq!((outcome.audit, outcome.intents), (AuditOutcome::Duplicate, vec![]));
    }
    assert_eq!(([rung, profit, other].map(|order| world.state(order)), world.intents()), (orders, intents));
    world.now = AT;
}

fn a_duplicate_suppresses_no_effect(world: &mut World<'_>) {
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let order = world.order(position, "PROFIT-LIMIT");
    let frame = ours(order, "TRADE", "FILLED", 1, "20.99", "4.105", "4.11");
    world.policy = policy("");
    assert_eq!(world.job("frame", frame.as_bytes()).unwrap().audit, AuditOutcome::Inserted);
    assert_eq!(world.state(order).0, "NEW");
    world.policy = policy(PRODUCTION);
    let outcome = world.job("recovered", frame.as_bytes()).unwrap();
    assert_eq!((outcome.audit, outcome.intents), (AuditOutcome::Duplicate, vec!["ClosePositionJob"]));
    assert_eq!(world.state(order).0, "FILLED");
}

fn a_kind_that_is_off_leaves_everything(world: &mut World<'_>) {
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let stop = world.order(position, "STOP-MARKET");
    world.policy.intents = IntentSwitches::without(&["close_position", "symbol_block"]).unwrap();
    let finished = algo_frame(stop, "FINISHED", 5, "", "20.99");
    assert_eq!(world.frame(&finished), ("applied", vec![]));
    assert_eq!(world.state(stop), ("FILLED".to_owned(), "4.105".to_owned(), "NEW".to_owned()));
    assert_eq!((world.position_status(position), world.intents()), ("active".to_owned(), 0));
}

fn an_old_intent_lives_no_more(world: &mut World<'_>) {
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let orders = [1, 2, 3].map(|_| world.order(position, "LIMIT"));
    let cancel = |order, time| ours(order, "CANCELED", "CANCELED", time, "0", "4.105", "0");
    assert_eq!(world.frame(&cancel(orders[0], 1)).1, ["PreparePositionReplacementJob"]);
    world.now = later(899_000_000);
    assert_eq!(world.frame(&cancel(orders[1], 2)).1, [""; 0]);
    world.now = later(901_000_000);
    assert_eq!(world.frame(&cancel(orders[2], 3)).1, ["PreparePositionReplacementJob"]);
    world.now = AT;
}

fn what_cannot_be_done_is_said_and_nothing_else_fails(world: &mut World<'_>) {
    world.account(false);
    let position = world.position("SOLUSDT", "active", "LONG");
    let order = world.order(position, "LIMIT");
    let id = format!("90{order}");
    for raw in [
        "",
        "null",
        "[]",
        "{}",
        "\u{0}",
        r#"{"e":"ORDER_TRADE_UPDATE"}"#,
        r#"{"e":"ORDER_TRADE_UPDATE","o":[]}"#,
        r#"{"e":"ORDER_TRADE_UPDATE","o":{"i":1e999,"s":"\u0000","x":"TRADE","X":"FILLED"}}"#,
        r#"{"e":"ALGO_UPDATE","o":{"aid":1,"ai":"\u0000","s":"A","X":"TRIGGERED"}}"#,
        r#"{"e":"ACCOUNT_UPDATE","a":{"P":[{"s":"\u0000SOLUSDT","ps":"BOTH","pa":"0"},{"s":1}]}}"#,
        r#"{"e":"MARGIN_CALL","p":[]}"#,
        r#"{"e":"\ud800","o":{}}"#,
        &format!(
            r#"{{"e":"ORDER_TRADE_UPDATE","T":-1,"o":{{"i":{id},"x":"TRADE","X":"PARTIALLY_FILLED","p":"1e300"}}}}"#
        ),
        &format!(
            r#"{{"e":"ORDER_TRADE_UPDATE","T":9e17,"o":{{"i":{id},"x":"TRADE","X":"FILLED","p":"-5","ap":"nan"}}}}"#
        ),
        &format!(r#"{{"e":"ORDER_TRADE_UPDATE","T":1,"o":{{"i":{id},"x":"TRADE","X":"NEW_ADL"}}}}"#),
    ] {
        world.job("frame", raw.as_bytes()).unwrap_or_else(|error| panic!("{raw}: {error}"));
    }
    assert_eq!(world.state(order).0, "FILLED");
    let unknown =
        world.job("frame", format!(r#"{{"e":"ORDER_TRADE_UPDATE","T":2,"o":{{"i":{id},"x":"TRADE"}}}}"#).as_bytes());
    let unknown = unknown.unwrap();
    assert_eq!((unknown.decision.rule(), unknown.needs_reconcile), ("unknown_status", true));

    // A gap is a row of its own, whatever its bytes are.
    let gap = br#"{"silent_since_us":null,"live_at_us":1795419015123000,"reason":"reconnect"}"#;
    let account = world.account;
    assert_eq!(world.job("gap", gap).unwrap().audit, AuditOutcome::NoRow);
    assert_eq!(world.job("gap", b"{").unwrap().decision.note(), "gap: unreadable");
    let absurd = br#"{"silent_since_us":-9000000000000000000,"live_at_us":9000000000000000000,"reason":"reconnect"}"#;
    assert_eq!(world.job("gap", absurd).unwrap().decision.rule(), "gap");
    assert_eq!(world.count(&format!("stream_gaps WHERE account_id = {account}")), 3);

    world.account = 999_999;
    for kind in ["frame", "gap", "recovered"] {
        let error = world.job(kind, b"{}").unwrap_err();
        assert_eq!(error.class(), ErrorClass::Data);
        assert_eq!(error.sentence(), "account 999999 has no row in accounts: its events cannot be audited");
    }
    world.account = account;
}
