//! The frames of `order_cases.rs`: an order's event, or an algo order's, with the members that the venue sends, in its order
//! (facts/binance.md §4.1, §4.4); and an account's.

use std::collections::BTreeMap;

use crate::order_scene::{Happening, Scene};

impl Scene {
    /// The event of a row, or of an order that is none of ours; `at` makes its time.
    pub fn order_frame(&self, at: usize, subject: &str, rest: &str) -> Happening {
        let own = self.orders.iter().find(|row| row.label == subject);
        let position = own.map(|row| &self.positions[row.position]);
        let kind = own.map_or(if subject.starts_with("algo#") { "STOP-MARKET" } else { "" }, |row| row.kind);
        let (is_algo, is_market) = (kind == "STOP-MARKET", matches!(kind, "MARKET" | "MARKET-CANCEL"));
        let (mut status, mut values) = ("", BTreeMap::new());
        for word in rest.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => drop(values.insert(key, value)),
                None => status = word,
            }
        }
        let account = match values.remove("to") {
            Some("main") => 0,
            Some("other") => 1,
            Some(to) => panic!("there is no account {to}"),
            None => position.map_or(0, |position| position.account),
        };
        let stranger = subject.trim_start_matches("algo").trim_start_matches('#');
        assert!(own.is_some() || subject.contains('#'), "there is no {subject}");
        let exchange = own.map_or(stranger.to_owned(), |row| row.exchange.clone());
        let client = own.map_or(format!("web-{stranger}"), |row| row.client.clone());
        let quantity = own.map_or("20.99", |row| &row.placed.0).to_owned();
        let stated = own.map_or("0", |row| if is_market { "0" } else { &row.placed.1 }).to_owned();
        let is_long = position.is_none_or(|position| position.direction == "LONG");
        let side = if is_long == matches!(kind, "LIMIT" | "MARKET") { "BUY" } else { "SELL" };
        let position_side = match position {
            Some(position) if self.accounts[position.account].is_hedge => position.direction,
            _ => "BOTH",
        };
        let execution = match status {
            "PARTIALLY_FILLED" | "FILLED" => "TRADE",
            "EXPIRED_IN_MATCH" => "EXPIRED",
            other => other,
        };
        let filled = if status == "FILLED" { quantity.clone() } else { "0".to_owned() };
        let average = if status == "FILLED" && !is_market { stated.clone() } else { "0".to_owned() };
        let text = |value: &str| format!("\"{value}\"");
        let symbol = text(position.map_or("SOLUSDT", |position| &position.symbol));
        // In the venue's order, so that a frame is what the venue would have sent.
        let mut members: Vec<(&str, String)> = match is_algo {
            true => vec![
                ("caid", text(&client)),
                ("aid", exchange),
                ("at", text("CONDITIONAL")),
                ("o", text("STOP_MARKET")),
                ("s", symbol),
                ("S", text(side)),
                ("ps", text(position_side)),
                ("f", text("GTC")),
                ("q", text(&quantity)),
                ("X", text(status)),
                ("ai", text("")),
                ("tp", text(&stated)),
                ("p", text("0")),
                ("cp", "false".to_owned()),
                ("R", "true".to_owned()),
            ],
            false => vec![
                ("s", symbol),
                ("c", text(&client)),
                ("S", text(side)),
                ("o", text(if is_market { "MARKET" } else { "LIMIT" })),
                ("q", text(&quantity)),
                ("p", text(&stated)),
                ("ap", text(&average)),
                ("x", text(execution)),
                ("X", text(status)),
                ("i", exchange),
                ("l", text("0")),
                ("z", text(&filled)),
                ("L", text("0")),
                ("R", "false".to_owned()),
                ("ps", text(position_side)),
                ("cp", "false".to_owned()),
            ],
        };
        let time = values.remove("T").map_or_else(|| time_of(at), str::to_owned);
        for (key, value) in values {
            let value = match key {
                "i" | "aid" | "R" | "cp" => value.to_owned(),
                _ => text(value),
            };
            members.retain(|member| value != "-" && value != "\"-\"" || member.0 != key);
            match members.iter_mut().find(|member| member.0 == key) {
                Some(member) => member.1 = value,
                None if value != "-" && value != "\"-\"" => members.push((key, value)),
                None => {}
            }
        }
        let body: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let event = if is_algo { "ALGO_UPDATE" } else { "ORDER_TRADE_UPDATE" };
        let time = if time == "-" { String::new() } else { format!("\"T\":{time},\"E\":{time},") };
        Happening::Frame(account, format!(r#"{{"e":"{event}",{time}"o":{{{}}}}}"#, body.join(",")).into_bytes())
    }
}

fn time_of(at: usize) -> String {
    (1_795_000_000_000 + at as u64).to_string()
}

/// Positions of an account update, `SYMBOL/SIDE=QUANTITY` each.
pub fn account_frame(at: usize, entries: &str) -> String {
    let entries: Vec<String> = entries
        .split_whitespace()
        .map(|entry| {
            let (place, quantity) = entry.split_once('=').unwrap();
            let (symbol, side) = place.split_once('/').unwrap();
            format!(r#"{{"s":"{symbol}","pa":"{quantity}","ps":"{side}"}}"#)
        })
        .collect();
    let (time, entries) = (time_of(at), entries.join(","));
    format!(r#"{{"e":"ACCOUNT_UPDATE","T":{time},"E":{time},"a":{{"m":"ORDER","B":[],"P":[{entries}]}}}}"#)
}
