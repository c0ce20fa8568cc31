//! The audit row of an event: its identity and its columns (facts/incumbent.md §1.1, §4.2).

use sha2::{Digest as _, Sha256};

use crate::domain::Wall;
use crate::exchange::projection::Projection;
use crate::store::work_rows::AuditColumns;

/// `api_data_stream.idempotency_key`: 64 lower-case hex digits of SHA-256 over `<account_id>|<api_system_id>|<raw>`.
///
/// The ids are decimal ASCII, the separators one `|` (0x7C) each, and `raw` the recorded bytes as they are up to the end: no
/// digit is a separator and what is variable comes last, so different events hash different bytes. The incumbent's key (md5
/// over JSON that MySQL had re-ordered) cannot be made from a frame.
#[must_use]
pub fn audit_key(account_id: i64, api_system_id: i64, raw: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut hash = Sha256::new();
    hash.update(account_id.to_string());
    hash.update(b"|");
    hash.update(api_system_id.to_string());
    hash.update(b"|");
    hash.update(raw);
    let mut key = String::with_capacity(64);
    for byte in hash.finalize() {
        key.push(char::from(HEX[usize::from(byte >> 4)]));
        key.push(char::from(HEX[usize::from(byte & 15)]));
    }
    key
}

/// The columns of an event.
pub(super) fn columns(event: &Projection) -> AuditColumns {
    AuditColumns {
        raw_event_type: event.raw_event_type.clone(),
        event_type: event.kind.as_str().to_owned(),
        exchange_order_id: event.exchange_order_id.clone(),
        client_order_id: event.client_order_id.clone(),
        symbol: event.symbol.clone(),
        status: event.native_status.clone(),
        normalized_status: event.normalized_status.map(|status| status.as_str().to_owned()),
        price: event.price.clone(),
        average_price: event.average_price.clone(),
        original_quantity: event.original_quantity.clone(),
        filled_quantity: event.filled_quantity.clone(),
        last_filled_price: event.last_filled_price.clone(),
        last_filled_quantity: event.last_filled_quantity.clone(),
        event_time: event.event_time_ms.map(Wall::from_millis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_sha256sum_says() {
        // printf '7|1|{"e":"x"}' | sha256sum
        assert_eq!(
            audit_key(7, 1, br#"{"e":"x"}"#),
            "30ca48ca7c0792ffa5ac31b1d8ffaf85c59f2e7d70ccec4b9cb4de52f0a88956"
        );
    }

    #[test]
    fn account_system_and_bytes_each_make_another_key() {
        let keys = [
            audit_key(7, 1, b"1|{}"),
            audit_key(71, 1, b"{}"),
            audit_key(7, 11, b"{}"),
            audit_key(7, 1, b"{}"),
            audit_key(7, 1, b"{ }"),
            audit_key(7, 1, b""),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(at));
        }
    }
}
