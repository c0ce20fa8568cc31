//! An account with positions and orders on either database, the frames that come for it, and a job of each: what the
//! promises about applied events stand on.

#![allow(dead_code, reason = "shared by two test binaries, each of which uses a part")]

use std::time::Duration;

use kraite_streams::domain::{Decimal, Wall};
use kraite_streams::store::work::End;
use kraite_streams::store::{Result, WorkStore};
use kraite_streams::user_data::apply::{JobEvent, Outcome, Policy, apply};
use kraite_streams::user_data::rules::{Allowlist, IntentSwitches};

use crate::work_tables::{AT, Rig, in_transaction};

/// What production has on its list.
pub const PRODUCTION: &str = "TRADE,AMENDMENT,CANCELED,EXPIRED,ALGO_NEW,ALGO_CANCELED,ALGO_EXPIRED,ALGO_FILLED";
/// Tables that nothing may touch in shadow mode.
const DECIDED: [&str; 6] =
    ["orders", "positions", "workflow_intents", "stream_decisions", "order_progress", "algo_order_links"];

pub fn policy(list: &str) -> Policy {
    Policy {
        allowlist: Allowlist::of_comma_list(list),
        intents: IntentSwitches::default(),
        live_for: Duration::from_secs(900),
    }
}

/// An account with its rows, and the jobs that come for it.
pub struct World<'a> {
    pub store: &'a mut WorkStore,
    pub rig: &'a mut dyn Rig,
    pub policy: Policy,
    pub account: i64,
    pub system: i64,
    pub now: Wall,
    next: i64,
}

impl<'a> World<'a> {
    pub fn new(store: &'a mut WorkStore, rig: &'a mut dyn Rig) -> World<'a> {
        let system = crate::work_tables::system(rig, "binance");
        World { store, rig, policy: policy(PRODUCTION), account: 500, system, now: AT, next: 5_000 }
    }

    fn id(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    /// A new account at Binance, which the following rows and jobs belong to.
    pub fn account(&mut self, is_hedge: bool) -> i64 {
        self.account += 1;
        self.policy = policy(PRODUCTION);
        self.rig.sql(&format!(
            "INSERT INTO accounts (id, uuid, name, api_system_id, is_active, on_hedge_mode) \
             VALUES ({0}, 'apply-{0}', 'apply {0}', {1}, '1', '{2}')",
            self.account,
            self.system,
            u8::from(is_hedge)
        ));
        self.account
    }

    pub fn position(&mut self, symbol: &str, status: &str, direction: &str) -> i64 {
        let id = self.id();
        self.rig.sql(&format!(
            "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
             VALUES ({id}, {}, '{symbol}', '{status}', '{direction}')",
            self.account
        ));
        id
    }

    /// Placed for 20.99 at 4.105, acknowledged as NEW; exchange id `90…id`, client id `c-id`.
    pub fn order(&mut self, position: i64, kind: &str) -> i64 {
        let id = self.id();
        self.rig.sql(&format!(
            "INSERT INTO orders (id, position_id, uuid, type, status, reference_status, client_order_id, \
             exchange_order_id, is_algo, quantity, price, reference_quantity, reference_price) \
             VALUES ({id}, {position}, 'apply-{id}', '{kind}', 'NEW', 'NEW', 'c-{id}', '90{id}', '{}', '20.99', '4.105', \
             '20.99', '4.105')",
            u8::from(kind == "STOP-MARKET")
        ));
        id
    }

    pub fn job(&mut self, kind: &str, raw: &[u8]) -> Result<Outcome> {
        let position = self.id() as u64;
        let event = JobEvent {
            account_id: self.account,
            api_system_id: self.system,
            canonical: "binance",
            kind,
            uuid: "a job",
            epoch: [7; 16],
            position,
            previous: None,
            received_at: AT,
            reserved_at: AT,
            raw,
        };
        let (policy, now) = (self.policy.clone(), self.now);
        in_transaction(self.store, End::Commit, |tx| apply(tx, &event, &policy, now))
    }

    /// Applies a frame; the deciding rule's word and the intents.
    pub fn frame(&mut self, raw: &str) -> (&'static str, Vec<&'static str>) {
        let outcome = self.job("frame", raw.as_bytes()).unwrap();
        (outcome.decision.rule(), outcome.intents)
    }

    pub fn one(&mut self, query: &str) -> String {
        self.rig.one(query).unwrap_or_default()
    }

    pub fn count(&mut self, of: &str) -> u64 {
        self.one(&format!("SELECT count(*) FROM {of}")).parse().unwrap()
    }

    /// Status, price and `reference_status` of an order.
    pub fn state(&mut self, order: i64) -> (String, String, String) {
        let mut field = |name: &str| self.one(&format!("SELECT {name} FROM orders WHERE id = {order}"));
        let (status, price, reference) = (field("status"), field("price"), field("reference_status"));
        (status, Decimal::parse(&price).unwrap().to_string(), reference)
    }

    pub fn position_status(&mut self, position: i64) -> String {
        self.one(&format!("SELECT status FROM positions WHERE id = {position}"))
    }

    pub fn intents(&mut self) -> u64 {
        let account = self.account;
        self.count(&format!("workflow_intents WHERE account_id = {account}"))
    }

    /// Everything that shadow mode must leave, as one text.
    pub fn decided(&mut self) -> String {
        let mut text = String::new();
        for table in DECIDED {
            text.push_str(&format!("{table} {}\n", self.count(table)));
        }
        for sum in ["status", "price", "reference_status", "filled_at"] {
            text.push_str(&format!("{sum} {}\n", self.count(&format!("orders WHERE {sum} IS NOT NULL"))));
        }
        for status in ["NEW", "FILLED", "CANCELLED", "EXPIRED", "PARTIALLY_FILLED"] {
            text.push_str(&format!("{status} {}\n", self.count(&format!("orders WHERE status = '{status}'"))));
        }
        text.push_str(&format!("active {}\n", self.count("positions WHERE status = 'active'")));
        text
    }
}

/// An order's event of `(i, c)` with `(z, p, ap)`; `extra` members as they stand.
pub fn order_frame(
    (i, c): (&str, &str),
    x: &str,
    status: &str,
    time: i64,
    (z, p, ap): (&str, &str, &str),
    extra: &str,
) -> String {
    format!(
        r#"{{"e":"ORDER_TRADE_UPDATE","T":{time},"E":{time},"o":{{"s":"SOLUSDT","c":"{c}","i":{i},"x":"{x}","X":"{status}","q":"20.99","z":"{z}","p":"{p}","ap":"{ap}"{extra}}}}}"#
    )
}

/// An event of one of our orders.
pub fn ours(order: i64, x: &str, status: &str, time: i64, z: &str, p: &str, ap: &str) -> String {
    order_frame(
        (&format!("90{order}"), &format!("c-{order}")),
        x,
        status,
        time,
        (z, p, ap),
        r#","S":"SELL","ps":"BOTH""#,
    )
}

pub fn algo_frame(order: i64, status: &str, time: i64, ai: &str, aq: &str) -> String {
    format!(
        r#"{{"e":"ALGO_UPDATE","T":{time},"E":{time},"o":{{"caid":"c-{order}","aid":90{order},"s":"SOLUSDT","S":"SELL","ps":"BOTH","q":"20.99","X":"{status}","ai":"{ai}","aq":"{aq}","tp":"4.105","p":"0","cp":false,"R":true}}}}"#
    )
}

pub fn account_frame(time: i64, symbol: &str, side: &str, quantity: &str) -> String {
    format!(
        r#"{{"e":"ACCOUNT_UPDATE","T":{time},"E":{time},"a":{{"m":"ORDER","B":[],"P":[{{"s":"{symbol}","pa":"{quantity}","ps":"{side}"}}]}}}}"#
    )
}
