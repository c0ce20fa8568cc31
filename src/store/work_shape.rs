//! What the worker's tables look like in the database at hand, held against what it needs of them: `check` tells it.
//!
//! A table may be an application's own, made long before us: types that take the same values are as good as ours.

use super::rows::{ColumnKind, ColumnShape};
use super::schema::{MIGRATIONS, Script};
use super::shape::TableShape;

/// The tables of the worker that `migrate` makes, in its order.
pub const WORK_TABLES: [&str; 10] = [
    "positions",
    "orders",
    "api_data_stream",
    "failed_jobs",
    "stream_progress",
    "workflow_intents",
    "order_progress",
    "algo_order_links",
    "stream_decisions",
    "order_comparisons",
];

/// Columns that an index has to lead with, and what happens without one.
const INDEXED: [(&str, &str, &str); 4] = [
    ("orders", "exchange_order_id", "without it every event reads all orders"),
    ("orders", "client_order_id", "without it every event reads all orders"),
    ("api_data_stream", "exchange_order_id", "without it `trace` reads all events"),
    ("api_data_stream", "account_id", "without (account_id, received_at) retention reads all events"),
];

/// What is wrong with a table of the worker, each with what to do; empty where nothing is.
#[must_use]
pub fn work_faults(table: &str, shape: &TableShape) -> Vec<String> {
    let Some(migration) = MIGRATIONS.iter().find(|migration| migration.name == table) else { return Vec::new() };
    if !shape.exists() {
        return vec![format!("{table} is not there; `kraite-streams migrate` makes it")];
    }
    let mut faults = Vec::new();
    let script = Script::read(migration.postgres);
    let missing: Vec<&str> =
        script.columns.iter().map(|column| column.name).filter(|name| shape.column(name).is_none()).collect();
    if !missing.is_empty() {
        faults.push(format!(
            "{table} has no column {}; `kraite-streams migrate` adds what is missing where it has not been run yet",
            missing.join(", ")
        ));
    }
    for declared in &script.columns {
        let Some(found) = shape.column(declared.name) else { continue };
        faults.extend(column_fault(table, declared.definition, found));
    }
    if table == "api_data_stream" && !shape.leading.iter().any(|key| key.is_unique && key.name == "idempotency_key") {
        faults.push(format!(
            "{table}.idempotency_key has no unique index, so that no event could be told from its duplicate: \
             CREATE UNIQUE INDEX ON {table} (idempotency_key)"
        ));
    }
    for (of, column, cost) in INDEXED {
        if of == table && shape.column(column).is_some() && !shape.leading.iter().any(|key| key.name == column) {
            faults.push(format!("{table} has no index that leads with {column}; {cost}"));
        }
    }
    faults
}

/// What a column of these does not take. Definitions are those of our PostgreSQL migrations.
fn column_fault(table: &str, definition: &str, found: &ColumnShape) -> Option<String> {
    let name = format!("{table}.{}", found.name);
    let kind = definition.split(' ').next().unwrap_or_default();
    match kind {
        "numeric(20,8)" => match found.price_scale() {
            None => Some(format!("{name} is {}; it must be numeric(20,8), since a float changes a price", found.declared)),
            Some(scale) if scale.integer_digits < 12 || scale.fraction_digits < 8 => {
                Some(format!("{name} is {}, which rounds or refuses what numeric(20,8) holds", found.declared))
            }
            Some(_) => None,
        },
        "json" => (found.declared != "json" && found.kind != ColumnKind::Text).then(|| {
            format!(
                "{name} is {}; only json and text keep the bytes as they came: ALTER TABLE {table} ALTER COLUMN {} TYPE json",
                found.declared, found.name
            )
        }),
        _ if kind.starts_with("timestamptz(3)") && table == "api_data_stream" && found.name != "created_at" => {
            let keeps_millis = match found.kind {
                ColumnKind::Timestamp { fraction_digits, .. } => fraction_digits >= 3 || found.name == "updated_at",
                kind => kind == ColumnKind::Text,
            };
            (!keeps_millis).then(|| format!("{name} is {}; it must be a timestamp with milliseconds", found.declared))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ColumnScale;
    use crate::store::shape::LeadingColumn;

    /// A column as PostgreSQL's catalogue would show it.
    fn column(name: &str, declared: &str) -> ColumnShape {
        let kind = match declared.split('(').next().unwrap() {
            "numeric" if declared == "numeric(10,2)" => ColumnKind::Numeric(ColumnScale::numeric(10, 2)),
            "numeric" => ColumnKind::Numeric(ColumnScale::numeric(20, 8)),
            "timestamptz" => {
                let zoned = true;
                ColumnKind::Timestamp { fraction_digits: declared.as_bytes()[12] - b'0', zoned }
            }
            "varchar" | "text" => ColumnKind::Text,
            "bigint" => ColumnKind::Integer,
            _ => ColumnKind::Other,
        };
        ColumnShape { name: name.to_owned(), declared: declared.to_owned(), kind, nullable: true }
    }

    fn leading(name: &str, is_unique: bool) -> LeadingColumn {
        LeadingColumn { name: name.to_owned(), is_unique }
    }

    /// A table as our migration makes it.
    fn made(table: &str) -> TableShape {
        let migration = MIGRATIONS.iter().find(|migration| migration.name == table).unwrap();
        let columns = Script::read(migration.postgres).columns;
        let columns = columns.iter().map(|it| column(it.name, it.definition.split(' ').next().unwrap())).collect();
        let mut indexes =
            ["account_id", "exchange_order_id", "client_order_id"].map(|name| leading(name, false)).to_vec();
        indexes.push(leading("idempotency_key", true));
        TableShape { columns, leading: indexes, ..TableShape::default() }
    }

    fn check(table: &str, change: impl FnOnce(&mut TableShape), expected: &[&str]) {
        let mut shape = made(table);
        change(&mut shape);
        let found = work_faults(table, &shape);
        assert_eq!(found.len(), expected.len(), "{table}: {found:?}");
        for (fault, words) in found.iter().zip(expected) {
            assert!(fault.contains(words), "{fault:?} does not say {words:?}");
        }
    }

    fn retype(shape: &mut TableShape, name: &str, declared: &str) {
        *shape.columns.iter_mut().find(|column| column.name == name).unwrap() = column(name, declared);
    }

    #[test]
    fn a_fault_is_named_with_what_to_do() {
        let migrated: Vec<&str> = MIGRATIONS[7..].iter().map(|migration| migration.name).collect();
        assert_eq!(migrated[..WORK_TABLES.len()], WORK_TABLES);
        for table in WORK_TABLES {
            check(table, |_| {}, &[]);
            check(table, |shape| shape.columns.clear(), &["is not there; `kraite-streams migrate` makes it"]);
        }
        check("orders", |shape| retype(shape, "price", "double precision"), &["orders.price is double precision"]);
        check("orders", |shape| retype(shape, "price", "numeric(10,2)"), &["orders.price is numeric(10,2)"]);
        check("orders", |shape| retype(shape, "price", "text"), &[]);
        check("orders", |shape| shape.columns.retain(|column| column.name != "is_algo"), &["no column is_algo"]);
        check("orders", |shape| shape.leading.clear(), &["leads with exchange_order_id", "leads with client_order_id"]);
        let audit = "api_data_stream";
        check(audit, |shape| retype(shape, "raw_payload", "jsonb"), &["ALTER COLUMN raw_payload TYPE json"]);
        check(audit, |shape| retype(shape, "raw_payload", "text"), &[]);
        check(audit, |shape| retype(shape, "received_at", "timestamptz(0)"), &["timestamp with milliseconds"]);
        check(audit, |shape| retype(shape, "created_at", "timestamptz(0)"), &[]);
        check(audit, |shape| shape.leading[3].is_unique = false, &["CREATE UNIQUE INDEX ON api_data_stream"]);
        assert_eq!(work_faults("users", &TableShape::default()), [""; 0], "no table of ours");
    }
}
