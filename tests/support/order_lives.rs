//! A cycle of an account's life as the venue tells it, and the rows that it belongs to: a position whose rung is filled in two
//! parts, whose take-profit is placed anew, moved by hand and filled, and whose stop is taken back; beside it somebody else's
//! order, a funding fee and a change of leverage.

/// Frames of a cycle.
pub const FRAMES: usize = 20;
/// Intents that a cycle causes: quantities read anew, the average price anew, a correction, the position's close.
pub const INTENTS: usize = 4;
/// The list of production.
pub const ALLOWLIST: &str = "TRADE,AMENDMENT,CANCELED,EXPIRED,ALGO_NEW,ALGO_CANCELED,ALGO_EXPIRED,ALGO_FILLED";

/// The statements, for either database, that make the cycle's position and its orders.
pub fn rows(account: i64, cycle: u64) -> String {
    let position = position_id(account, cycle);
    let mut text = format!(
        "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
         VALUES ({position}, {account}, '{}', 'active', 'LONG');",
        symbol(cycle)
    );
    for (role, kind, reference, price, is_algo) in [
        (Role::Rung, "LIMIT", "NEW", "86450.10", 0),
        (Role::OldProfit, "PROFIT-LIMIT", "CANCELLED", "88100.00", 0),
        (Role::Profit, "PROFIT-LIMIT", "NEW", "87300.00", 0),
        (Role::Stop, "STOP-MARKET", "CANCELLED", "80000.00", 1),
    ] {
        let id = position * 10 + role as i64;
        text.push_str(&format!(
            "INSERT INTO orders (id, position_id, uuid, type, status, reference_status, client_order_id, \
             exchange_order_id, is_algo, quantity, price, reference_quantity, reference_price) \
             VALUES ({id}, {position}, 'life-{id}', '{kind}', 'NEW', '{reference}', 'c-{id}', '9{id}', '{is_algo}', \
             '0.120', '{price}', '0.120', '{price}');"
        ));
    }
    text
}

/// The cycle's frames, in the venue's order; no two of an account have the same bytes.
pub fn frames(account: i64, cycle: u64) -> Vec<String> {
    let life = Life { position: position_id(account, cycle), symbol: symbol(cycle), at: first_time(cycle) };
    vec![
        life.order(0, Role::Rung, "NEW", "NEW", ("0", "0"), "86450.10"),
        life.lite(1, Role::Rung, "0.045"),
        life.account(1, "ORDER", "0.045"),
        life.order(1, Role::Rung, "TRADE", "PARTIALLY_FILLED", ("0.045", "0.045"), "86450.10"),
        life.lite(2, Role::Rung, "0.075"),
        life.account(2, "ORDER", "0.120"),
        life.order(2, Role::Rung, "TRADE", "FILLED", ("0.075", "0.120"), "86450.10"),
        life.order(3, Role::OldProfit, "NEW", "NEW", ("0", "0"), "88100.00"),
        life.order(4, Role::OldProfit, "CANCELED", "CANCELED", ("0", "0"), "88100.00"),
        life.order(5, Role::Profit, "NEW", "NEW", ("0", "0"), "87300.00"),
        life.algo(6, "NEW"),
        life.order(7, Role::Strange, "NEW", "NEW", ("0", "0"), "3.00"),
        life.order(8, Role::Strange, "TRADE", "FILLED", ("0.120", "0.120"), "3.00"),
        life.account(9, "FUNDING_FEE", "0.120"),
        format!(
            r#"{{"e":"ACCOUNT_CONFIG_UPDATE","T":{0},"E":{0},"ac":{{"s":"{1}","l":20}}}}"#,
            life.at + 10,
            life.symbol
        ),
        life.order(11, Role::Profit, "AMENDMENT", "NEW", ("0", "0"), "87350.00"),
        life.algo(12, "CANCELED"),
        life.lite(13, Role::Profit, "0.120"),
        life.account(13, "ORDER", "0"),
        life.order(13, Role::Profit, "TRADE", "FILLED", ("0.120", "0.120"), "87350.00"),
    ]
}

fn position_id(account: i64, cycle: u64) -> i64 {
    account * 1_000_000 + cycle as i64
}

fn symbol(cycle: u64) -> String {
    format!("C{cycle}USDT")
}

fn first_time(cycle: u64) -> u64 {
    1_795_419_000_000 + 20 * cycle
}

#[derive(Clone, Copy)]
enum Role {
    Rung,
    OldProfit,
    Profit,
    Stop,
    /// An order that has no row.
    Strange,
}

struct Life {
    position: i64,
    symbol: String,
    at: u64,
}

impl Life {
    fn ids(&self, role: Role) -> (String, String) {
        let id = self.position * 10 + role as i64;
        (format!("c-{id}"), format!("9{id}"))
    }

    fn order(&self, at: u64, role: Role, x: &str, status: &str, (last, filled): (&str, &str), price: &str) -> String {
        let (client, id) = self.ids(role);
        let time = self.at + at;
        let (side, is_closing) = match role {
            Role::Rung | Role::Strange => ("BUY", false),
            _ => ("SELL", true),
        };
        let (average, last_price) = if filled == "0" { ("0", "0") } else { (price, price) };
        // Of a symbol that we have no position of.
        let symbol = if matches!(role, Role::Strange) { "OTHERUSDT" } else { &self.symbol };
        let trade = if last == "0" { 0 } else { 7_000_000_000 + time % 1_000_000_000 };
        format!(
            r#"{{"e":"ORDER_TRADE_UPDATE","T":{time},"E":{time},"o":{{"s":"{symbol}","c":"{client}","S":"{side}","o":"LIMIT","f":"GTC","q":"0.120","p":"{price}","ap":"{average}","sp":"0","x":"{x}","X":"{status}","i":{id},"l":"{last}","z":"{filled}","L":"{last_price}","n":"0","N":"USDT","T":{time},"t":{trade},"b":"10374.01200","a":"0","m":false,"R":{is_closing},"wt":"CONTRACT_PRICE","ot":"LIMIT","ps":"BOTH","cp":false,"rp":"0","pP":false,"si":0,"ss":0,"V":"EXPIRE_MAKER","pm":"NONE","gtd":0,"er":"0"}}}}"#
        )
    }

    fn algo(&self, at: u64, status: &str) -> String {
        let ((client, id), time) = (self.ids(Role::Stop), self.at + at);
        format!(
            r#"{{"e":"ALGO_UPDATE","T":{time},"E":{time},"o":{{"caid":"{client}","aid":{id},"at":"CONDITIONAL","o":"STOP_MARKET","s":"{}","S":"SELL","ps":"BOTH","f":"GTC","q":"0.120","X":"{status}","ai":"","tp":"80000.00","p":"0","V":"EXPIRE_MAKER","wt":"MARK_PRICE","pm":"NONE","cp":false,"pP":false,"R":true,"tt":0,"gtd":0,"ia":false}}}}"#,
            self.symbol
        )
    }

    fn lite(&self, at: u64, role: Role, last: &str) -> String {
        let ((client, id), time) = (self.ids(role), self.at + at);
        format!(
            r#"{{"e":"TRADE_LITE","E":{time},"T":{time},"s":"{}","q":"0.120","p":"86450.10","m":true,"c":"{client}","S":"BUY","L":"86450.10","l":"{last}","t":7012345701,"i":{id}}}"#,
            self.symbol
        )
    }

    fn account(&self, at: u64, reason: &str, amount: &str) -> String {
        let time = self.at + at;
        format!(
            r#"{{"e":"ACCOUNT_UPDATE","T":{time},"E":{time},"a":{{"B":[{{"a":"USDT","wb":"25341.18820411","cw":"25341.18820411","bc":"0"}}],"P":[{{"s":"{}","pa":"{amount}","ep":"86450.1","cr":"1532.40170000","up":"3.11400000","mt":"cross","iw":"0","ps":"BOTH","ma":"USDT","bep":"86467.39002"}}],"m":"{reason}"}}}}"#,
            self.symbol
        )
    }
}
