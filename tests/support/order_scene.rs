//! The notation of `order_cases.rs`: from a case's text to rows and frames, and from what the database holds to text again.
//!
//! Seed, rows apart by `;`: `long|short [SYMBOL] [status]` a position; `tp|tpm|sl|limit|market|mcancel [Q@P]
//! [STATUS/REFERENCE] [x=ID] [c=ID] [ref=Q@P]` an order of the last position, placed for 20.99 at 4.105 unless it says other;
//! `hedge` the account; `other [bybit]` begins a second account, whose rows are called `other.…`. A second row of a name is
//! called `limit2`, and so on.
//!
//! Frames, apart by `;`: `ROW STATUS [KEY=VALUE…]` an event of that order (of an algo order an ALGO_UPDATE), with members of
//! `o` replaced or, by `-`, left out; `#ID STATUS …` of an order that is none of ours, `algo#ID`; `account SYMBOL/SIDE=QTY…`;
//! `raw TEXT`; `hex DIGITS`; `again` the last frame as a record of its own; `redeliver` the last job. `T=` is the
//! transaction time, else each frame has a later one; `to=other` sends to the other account. Then what others do between
//! frames, once all frames before are applied: `app ROW column=value…`, `app intents end`, `app intents grow old`, and `policy …` the next
//! policy of the case.
//!
//! What the database holds: rows that differ from the seed, in order, `ROW STATUS/REFERENCE PRICE [filled]`, `POSITION
//! status`, then the intents, then `reconcile`.

#![allow(dead_code, reason = "shared by two test binaries, each of which uses a part")]

use std::fmt::Write as _;

use kraite_streams::domain::Decimal;

use crate::order_frames::account_frame;

/// The test's own access to the database under the worker.
pub trait Database {
    fn sql(&mut self, text: &str);
    /// All rows, fields as text, NULL as `-`.
    fn rows(&mut self, text: &str) -> Vec<Vec<String>>;
}

pub struct Account {
    pub id: i64,
    pub is_bybit: bool,
    pub is_hedge: bool,
}

pub struct Position {
    pub label: String,
    pub id: i64,
    pub account: usize,
    pub symbol: String,
    pub direction: &'static str,
    pub status: String,
}

pub struct Order {
    pub label: String,
    pub id: i64,
    pub position: usize,
    pub kind: &'static str,
    pub exchange: String,
    pub client: String,
    pub placed: (String, String),
    pub reference: (String, String),
    pub status: (String, String),
}

/// Rows of one case: accounts of its own, so that all cases live in one database.
pub struct Scene {
    pub accounts: Vec<Account>,
    pub positions: Vec<Position>,
    pub orders: Vec<Order>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// An event arrives for an account, by its number in the scene.
    Frame(usize, Vec<u8>),
    /// The last job comes again as it was.
    Redeliver,
    /// Somebody else writes; SQL.
    App(String),
    /// The policy is replaced.
    Policy(String),
}

impl Scene {
    /// Of a case's seed; `number` makes its ids.
    pub fn new(number: usize, seed: &str) -> Scene {
        let base = i64::try_from(number).unwrap() * 100 + 100_000;
        let account = |id, is_bybit| Account { id, is_bybit, is_hedge: false };
        let mut scene = Scene { accounts: vec![account(base, false)], positions: Vec::new(), orders: Vec::new() };
        for row in parts(seed) {
            let mut words = row.split_whitespace();
            match words.next().unwrap() {
                "hedge" => scene.accounts.last_mut().unwrap().is_hedge = true,
                "other" => scene.accounts.push(account(base + 1, words.next() == Some("bybit"))),
                direction @ ("long" | "short") => scene.add_position(base, direction, words),
                kind => scene.add_order(base, kind, words),
            }
        }
        scene
    }

    fn label(&self, name: &str) -> String {
        let name = if self.accounts.len() > 1 { format!("other.{name}") } else { name.to_owned() };
        let known: Vec<&String> =
            self.positions.iter().map(|row| &row.label).chain(self.orders.iter().map(|row| &row.label)).collect();
        let free = (1..).map(|at| if at == 1 { name.clone() } else { format!("{name}{at}") });
        free.into_iter().find(|label| !known.contains(&label)).unwrap()
    }

    fn add_position<'w>(&mut self, base: i64, direction: &str, words: impl Iterator<Item = &'w str>) {
        let mut position = Position {
            label: self.label(direction),
            id: base + self.positions.len() as i64,
            account: self.accounts.len() - 1,
            symbol: "SOLUSDT".to_owned(),
            direction: if direction == "long" { "LONG" } else { "SHORT" },
            status: "active".to_owned(),
        };
        for word in words {
            match word.ends_with("USDT") {
                true => position.symbol = word.to_owned(),
                false => position.status = word.to_owned(),
            }
        }
        self.positions.push(position);
    }

    fn add_order<'w>(&mut self, base: i64, kind: &str, words: impl Iterator<Item = &'w str>) {
        let id = base + 20 + self.orders.len() as i64;
        let mut order = Order {
            label: self.label(kind),
            id,
            position: self.positions.len().checked_sub(1).expect("an order needs a position"),
            kind: match kind {
                "tp" => "PROFIT-LIMIT",
                "tpm" => "PROFIT-MARKET",
                "sl" => "STOP-MARKET",
                "limit" => "LIMIT",
                "market" => "MARKET",
                "mcancel" => "MARKET-CANCEL",
                other => panic!("{other} is no row"),
            },
            exchange: format!("90{id}"),
            client: format!("c-{id}"),
            placed: ("20.99".to_owned(), "4.105".to_owned()),
            reference: (String::new(), String::new()),
            status: ("NEW".to_owned(), "NEW".to_owned()),
        };
        let pair = |word: &str, by: char| {
            let (left, right) = word.split_once(by).unwrap_or_else(|| panic!("{word} is not understood"));
            (left.to_owned(), right.to_owned())
        };
        let mut reference = None;
        for word in words {
            if let Some(id) = word.strip_prefix("x=") {
                order.exchange = id.to_owned();
            } else if let Some(id) = word.strip_prefix("c=") {
                order.client = id.to_owned();
            } else if let Some(placed) = word.strip_prefix("ref=") {
                reference = Some(pair(placed, '@'));
            } else if word.contains('@') {
                order.placed = pair(word, '@');
            } else {
                order.status = pair(word, '/');
            }
        }
        order.reference = reference.unwrap_or_else(|| order.placed.clone());
        self.orders.push(order);
    }

    /// The seed as SQL.
    pub fn seed_sql(&self) -> String {
        let mut sql = String::new();
        for Account { id, is_bybit, is_hedge } in &self.accounts {
            let system = if *is_bybit { "bybit" } else { "binance" };
            writeln!(
                sql,
                "INSERT INTO accounts (id, uuid, name, api_system_id, is_active, on_hedge_mode) SELECT {id}, 'case-{id}', \
                 'case {id}', id, '1', '{}' FROM api_systems WHERE canonical = '{system}';",
                u8::from(*is_hedge)
            )
            .unwrap();
        }
        for row in &self.positions {
            writeln!(
                sql,
                "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
                 VALUES ({}, {}, '{}', '{}', '{}');",
                row.id, self.accounts[row.account].id, row.symbol, row.status, row.direction
            )
            .unwrap();
        }
        for row in &self.orders {
            let texts = [
                &row.status.0,
                &row.status.1,
                &row.client,
                &row.exchange,
                &row.placed.0,
                &row.placed.1,
                &row.reference.0,
                &row.reference.1,
            ];
            let values: Vec<String> = texts.iter().map(|text| literal(text)).collect();
            writeln!(
                sql,
                "INSERT INTO orders (id, position_id, uuid, type, is_algo, status, reference_status, client_order_id, \
                 exchange_order_id, quantity, price, reference_quantity, reference_price) \
                 VALUES ({0}, {1}, 'case-{0}', '{2}', '{3}', {4});",
                row.id,
                self.positions[row.position].id,
                row.kind,
                u8::from(row.kind == "STOP-MARKET"),
                values.join(", ")
            )
            .unwrap();
        }
        sql
    }

    /// What happens, in order.
    pub fn happenings(&self, frames: &str) -> Vec<Happening> {
        let mut all: Vec<Happening> = Vec::new();
        for (at, text) in parts(frames).enumerate() {
            let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
            let happening = match first {
                "redeliver" => Happening::Redeliver,
                "again" => all.iter().rfind(|one| matches!(one, Happening::Frame(..))).unwrap().clone(),
                "app" => Happening::App(self.app_sql(rest)),
                "policy" => Happening::Policy(rest.to_owned()),
                "raw" => Happening::Frame(0, rest.as_bytes().to_vec()),
                "hex" => {
                    let digits = rest.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
                    Happening::Frame(0, digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect())
                }
                "account" => Happening::Frame(0, account_frame(at, rest).into_bytes()),
                _ => self.order_frame(at, first, rest),
            };
            all.push(happening);
        }
        all
    }

    fn app_sql(&self, text: &str) -> String {
        let main = self.accounts[0].id;
        let (label, columns) = match text {
            "intents end" => {
                return format!(
                    "UPDATE workflow_intents SET finished_at = '2026-11-24 00:00:00.000' WHERE account_id = {main}"
                );
            }
            "intents grow old" => {
                return format!(
                    "UPDATE workflow_intents SET created_at = '2026-01-01 00:00:00.000' WHERE account_id = {main}"
                );
            }
            _ => text.split_once(' ').unwrap(),
        };
        let sets: Vec<String> = columns
            .split_whitespace()
            .map(|set| set.split_once('=').map(|(column, value)| format!("{column} = {}", literal(value))).unwrap())
            .collect();
        let orders = self.orders.iter().map(|row| ("orders", &row.label, row.id));
        let mut rows = orders.chain(self.positions.iter().map(|row| ("positions", &row.label, row.id)));
        let (table, _, id) = rows.find(|row| row.1 == label).unwrap_or_else(|| panic!("there is no {label}"));
        format!("UPDATE {table} SET {} WHERE id = {id}", sets.join(", "))
    }

    fn account_list(&self) -> String {
        self.accounts.iter().map(|account| account.id.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// What differs from the seed, and what was started.
    pub fn state(&self, database: &mut dyn Database) -> String {
        let list = self.account_list();
        let rows = database.rows(&format!(
            "SELECT o.id, o.status, o.reference_status, o.price, o.filled_at, o.quantity, o.reference_quantity, \
             o.reference_price FROM orders o JOIN positions p ON p.id = o.position_id WHERE p.account_id IN ({list}) \
             ORDER BY o.id"
        ));
        let mut state = Vec::new();
        assert_eq!(rows.len(), self.orders.len(), "orders are neither made nor deleted");
        for (order, row) in self.orders.iter().zip(rows) {
            let seeded = [&order.placed.0, &order.reference.0, &order.reference.1].map(|text| plain(text));
            assert_eq!(row[5..8].iter().map(|text| plain(text)).collect::<Vec<_>>(), seeded, "{}", order.label);
            let price = plain(&row[3]);
            let is_filled = row[4] != "-";
            if (&row[1], &row[2]) != (&order.status.0, &order.status.1) || price != plain(&order.placed.1) || is_filled
            {
                let filled = if is_filled { " filled" } else { "" };
                state.push(format!("{} {}/{} {price}{filled}", order.label, row[1], row[2]));
            }
        }
        let rows = database.rows(&format!("SELECT status FROM positions WHERE account_id IN ({list}) ORDER BY id"));
        for (position, row) in self.positions.iter().zip(rows) {
            if position.status != row[0] {
                state.push(format!("{} {}", position.label, row[0]));
            }
        }
        let rows = database.rows(&format!(
            "SELECT name, queue, position_id, order_id, arguments, account_id FROM workflow_intents \
             WHERE account_id IN ({list}) ORDER BY account_id, id"
        ));
        state.extend(rows.iter().map(|row| self.intent(row)));
        let rows = database.rows(&format!("SELECT reason FROM stream_gaps WHERE account_id IN ({list})"));
        state.extend(rows.iter().map(|row| row[0].replace("event_incomplete", "reconcile")));
        state.join("; ")
    }

    fn intent(&self, row: &[String]) -> String {
        let position = self.positions.iter().find(|position| position.id.to_string() == row[2]).expect("its position");
        assert_eq!(row[5], self.accounts[position.account].id.to_string(), "an intent is of its position's account");
        let order = self.orders.iter().find(|order| order.id.to_string() == row[3]);
        let arguments: serde_json::Value = serde_json::from_str(&row[4]).unwrap();
        assert_eq!(arguments["positionId"], position.id);
        let word = match row[0].as_str() {
            "PrepareOrderCorrectionJob" => "CORRECT",
            "ClosePositionJob" => "CLOSE",
            "PreparePositionReplacementJob" => "REPLACE",
            "SyncPositionQuantityFromExchangeJob" => "SYNC",
            "ApplyWapJob" => "WAP",
            "CancelPositionOpenOrdersJob" => "CANCEL",
            "BlockExchangeSymbolJob" => "BLOCK",
            other => panic!("{other} is no workflow"),
        };
        assert_eq!(row[1], if word == "SYNC" { "positions" } else { "priority" });
        assert!(word != "CORRECT" || arguments["orderId"] == order.unwrap().id);
        assert!(word != "CANCEL" || arguments["openingOrdersOnly"] == true);
        let mut text = format!("{word} {}", order.map_or(&position.label, |order| &order.label));
        if let Some(status) = arguments["triggerStatus"].as_str() {
            write!(text, " {status}").unwrap();
        }
        if arguments["manualCloseDetected"] == true {
            write!(text, " at {}", arguments["manualClosingPrice"].as_str().unwrap_or("-")).unwrap();
        }
        text
    }

    /// The rules that decided, in order.
    pub fn rules(&self, database: &mut dyn Database) -> String {
        let list = self.account_list();
        let query = format!("SELECT rule FROM stream_decisions WHERE account_id IN ({list}) ORDER BY account_id, id");
        database.rows(&query).into_iter().map(|mut row| row.remove(0)).collect::<Vec<_>>().join(" ")
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty())
}

fn literal(text: &str) -> String {
    if text == "-" { "NULL".to_owned() } else { format!("'{text}'") }
}

fn plain(text: &str) -> String {
    Decimal::parse(text).map_or_else(|| text.to_owned(), |decimal| decimal.to_string())
}
