//! By what a private event is known again when its bytes are not the same: a fill by symbol and trade id, any other change
//! of an order by id, execution type, status, cumulative quantity and time (`i`, `x`, `X`, `z`, `T`; of an algo order `aid`
//! and `aq`). Data plane: one walk over the event, no allocation.

use sha2::{Digest as _, Sha256};

use super::outline::{Span, key_is, members, skip_blanks};

/// See the module's documentation. Equal for two spellings of one change, but for chance in 2^128.
pub type EventKey = [u8; 16];

/// The key of an event that was proven to be JSON; `None` for what is no change of an order.
#[must_use]
pub fn event_key(event: &[u8]) -> Option<EventKey> {
    let (mut time, mut order) = (None, None);
    for (key, value) in members(event, skip_blanks(event, 0)) {
        match &event[key] {
            key if key_is(key, b"T") => time = Some(value),
            key if key_is(key, b"o") => order = Some(value),
            _ => {}
        }
    }
    let order = order.filter(|value| event.get(value.start) == Some(&b'{'))?;
    let mut parts = Parts::default();
    for (key, value) in members(event, order.start) {
        if let Some(place) = parts.place(&event[key]) {
            *place = Some(value);
        }
    }
    let text = |span: &Option<Span>| span.clone().map(|span| &event[span]);
    let id = text(&parts.id).or(text(&parts.algo_id))?;
    let trade = text(&parts.trade_id).filter(|id| !matches!(*id, b"0" | b"\"0\"" | b"null" | b"-1"));
    let is_fill = text(&parts.execution) == Some(b"\"TRADE\"");
    Some(match trade.filter(|_| is_fill) {
        Some(trade) => digest(b"fill", &[text(&parts.symbol), Some(trade)]),
        None => {
            let quantity = text(&parts.quantity).or(text(&parts.algo_quantity));
            let time = time.map(|span| &event[span]);
            digest(b"order", &[Some(id), text(&parts.execution), text(&parts.status), quantity, time])
        }
    })
}

fn digest(kind: &[u8], parts: &[Option<&[u8]>]) -> EventKey {
    let mut hash = Sha256::new_with_prefix(kind);
    for part in parts {
        // A raw JSON value holds no control character.
        hash.update([0]);
        hash.update(part.unwrap_or_default());
    }
    let mut key = EventKey::default();
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

#[derive(Default)]
struct Parts {
    symbol: Option<Span>,
    id: Option<Span>,
    algo_id: Option<Span>,
    execution: Option<Span>,
    status: Option<Span>,
    quantity: Option<Span>,
    algo_quantity: Option<Span>,
    trade_id: Option<Span>,
}

impl Parts {
    fn place(&mut self, key: &[u8]) -> Option<&mut Option<Span>> {
        Some(match key {
            key if key_is(key, b"s") => &mut self.symbol,
            key if key_is(key, b"i") => &mut self.id,
            key if key_is(key, b"aid") => &mut self.algo_id,
            key if key_is(key, b"x") => &mut self.execution,
            key if key_is(key, b"X") => &mut self.status,
            key if key_is(key, b"z") => &mut self.quantity,
            key if key_is(key, b"aq") => &mut self.algo_quantity,
            key if key_is(key, b"t") => &mut self.trade_id,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::event_key;

    const FILL: &str =
        r#"{"e":"ORDER_TRADE_UPDATE","T":7,"E":8,"o":{"s":"A","x":"TRADE","X":"FILLED","i":5,"z":"1","t":9}}"#;
    const NEW: &str = r#"{"e":"ORDER_TRADE_UPDATE","T":7,"E":8,"o":{"s":"A","x":"NEW","X":"NEW","i":5,"z":"0","t":0}}"#;
    const ALGO: &str = r#"{"e":"ALGO_UPDATE","T":7,"E":8,"o":{"s":"A","X":"NEW","aid":5,"aq":"0"}}"#;

    #[test]
    fn what_is_the_same_change() {
        for (one, from, to, is_same) in [
            (FILL, r#""E":8"#, r#""E":9"#, true),
            (FILL, r#""X":"FILLED""#, r#""X":"PARTIALLY_FILLED""#, true),
            (FILL, r#""T":7,"E":8"#, r#""E":8,"T":6"#, true),
            (FILL, r#""t":9"#, r#""t":10"#, false),
            (FILL, r#""s":"A""#, r#""s":"B""#, false),
            (NEW, r#""E":8"#, r#""E" : 9"#, true),
            (NEW, r#""s":"A""#, r#""s":"A","m":true"#, true),
            (NEW, r#""T":7"#, r#""T":6"#, false),
            (NEW, r#""x":"NEW""#, r#""x":"AMENDMENT""#, false),
            (NEW, r#""z":"0""#, r#""z":"1""#, false),
            (NEW, r#""i":5"#, r#""i":6"#, false),
            (ALGO, r#""E":8"#, r#""E":9"#, true),
            (ALGO, r#""aq":"0""#, r#""aq":"1""#, false),
        ] {
            let other = one.replace(from, to);
            assert_ne!(one, other);
            assert_eq!(event_key(one.as_bytes()) == event_key(other.as_bytes()), is_same, "{other}");
        }
        assert_ne!(event_key(FILL.as_bytes()), event_key(NEW.as_bytes()));
        for other in
            ["", "[]", "{}", r#"{"e":"ACCOUNT_UPDATE","a":{}}"#, r#"{"o":5}"#, r#"{"o":{"s":"A"}}"#, r#"{"o":{"#]
        {
            assert_eq!(event_key(other.as_bytes()), None, "{other}");
        }
    }
}
