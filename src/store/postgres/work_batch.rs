//! Rows of several jobs in one statement: audit rows ahead of their jobs, decisions behind them. A row costs a round trip
//! else, and that is most of what it costs.
//!
//! Each column travels as an array; `WITH ORDINALITY` keeps the order, so that ids grow as the jobs follow one another.

use std::collections::HashSet;

use super::work_transaction::{PostgresTransaction, digits, stamp, zoned};
use crate::store::error::Result;
use crate::store::user_data_rows::epoch_text;
use crate::store::work_rows::{AuditRow, DecisionRow, column_stamp, fitted, micros_stamp};

impl PostgresTransaction<'_> {
    /// Inserts audit rows, and remembers which of them were new.
    pub(super) fn insert_audits(&mut self, rows: &[AuditRow<'_>]) -> Result<()> {
        /// A column of the rows.
        macro_rules! column {
            ($row:ident => $value:expr) => {
                rows.iter().map(|$row| $value).collect::<Vec<_>>()
            };
        }
        let keys = column!(row => row.idempotency_key);
        let inserted = self.rows(
            "INSERT INTO api_data_stream (account_id, api_system_id, raw_event_type, event_type, exchange_order_id, \
             client_order_id, symbol, status, normalized_status, price, average_price, original_quantity, \
             filled_quantity, last_filled_price, last_filled_quantity, event_time, received_at, raw_payload, \
             idempotency_key, created_at, updated_at) \
             SELECT c1, c2, c3, c4, c5, c6, c7, c8, c9, c10::numeric, c11::numeric, c12::numeric, c13::numeric, \
             c14::numeric, c15::numeric, c16::timestamptz, c17::timestamptz, c18::json, c19, clock_timestamp(), \
             clock_timestamp() FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], \
             $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], \
             $15::text[], $16::text[], $17::text[], $18::text[], $19::text[]) WITH ORDINALITY AS given (c1, c2, c3, c4, \
             c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, place) ORDER BY place \
             ON CONFLICT (idempotency_key) DO NOTHING RETURNING idempotency_key::text",
            &[
                &column!(row => row.account_id),
                &column!(row => row.api_system_id),
                &column!(row => row.columns.raw_event_type.as_str()),
                &column!(row => row.columns.event_type.as_str()),
                &column!(row => row.columns.exchange_order_id.as_deref()),
                &column!(row => row.columns.client_order_id.as_deref()),
                &column!(row => row.columns.symbol.as_deref()),
                &column!(row => row.columns.status.as_deref()),
                &column!(row => row.columns.normalized_status.as_deref()),
                &column!(row => digits(row.columns.price.as_ref())),
                &column!(row => digits(row.columns.average_price.as_ref())),
                &column!(row => digits(row.columns.original_quantity.as_ref())),
                &column!(row => digits(row.columns.filled_quantity.as_ref())),
                &column!(row => digits(row.columns.last_filled_price.as_ref())),
                &column!(row => digits(row.columns.last_filled_quantity.as_ref())),
                &column!(row => row.columns.event_time.and_then(column_stamp).map(zoned)),
                &column!(row => stamp(row.received_at)),
                &column!(row => row.raw_payload),
                &keys,
            ],
        )?;
        let new: HashSet<&str> = inserted.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?;
        for key in keys {
            // The second of two rows with one key is a duplicate: its job asks second.
            self.audited.entry(key.to_owned()).or_insert(new.contains(key));
        }
        Ok(())
    }

    /// Inserts decisions; a second one about the same event is dropped, or takes the first one's place where it may.
    pub(super) fn insert_decisions(&mut self, rows: &[DecisionRow]) -> Result<()> {
        let (replacing, replaced) = (std::mem::take(&mut self.replacing), std::mem::take(&mut self.replaced));
        macro_rules! column {
            ($row:ident => $value:expr) => {
                rows.iter().map(|$row| $value).collect::<Vec<_>>()
            };
        }
        self.execute(
            "INSERT INTO stream_decisions (idempotency_key, account_id, order_id, epoch, position, job_uuid, rule, note, \
             reserved_at, decided_at) \
             SELECT c1, c2, c3, c4, c5::numeric, c6, c7, c8, c9::timestamptz, c10::timestamptz \
             FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], \
             $8::text[], $9::text[], $10::text[]) WITH ORDINALITY \
             AS given (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, place) ORDER BY place \
             ON CONFLICT (idempotency_key) DO UPDATE SET \
             account_id = excluded.account_id, order_id = excluded.order_id, epoch = excluded.epoch, \
             position = excluded.position, job_uuid = excluded.job_uuid, rule = excluded.rule, note = excluded.note, \
             reserved_at = excluded.reserved_at, decided_at = excluded.decided_at \
             WHERE excluded.idempotency_key = ANY ($11::text[]) AND stream_decisions.rule = ANY ($12::text[])",
            &[
                &column!(row => row.idempotency_key.as_str()),
                &column!(row => row.account_id),
                &column!(row => row.order_id),
                &column!(row => epoch_text(row.identity.0)),
                &column!(row => row.identity.1.to_string()),
                &column!(row => fitted(&row.job_uuid, 255)),
                &column!(row => fitted(&row.rule, 40)),
                &column!(row => fitted(&row.note, 255)),
                &column!(row => zoned(micros_stamp(row.reserved_at))),
                &column!(row => zoned(micros_stamp(row.decided_at))),
                &replacing,
                &replaced,
            ],
        )?;
        Ok(())
    }
}
