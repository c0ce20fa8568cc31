//! The table that takes the prices: which of the two it is, its key column, and its name as safe SQL.
//!
//! A table name cannot be a bind parameter, so it is checked when the settings are read: the table is one of two known
//! ones, the schema is quoted whatever it holds. Nothing from the wire ever reaches an identifier.

use std::fmt;

/// Which table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// `exchange_symbols`, key `id`: the wide table.
    Symbols,
    /// `exchange_symbol_prices`, key `exchange_symbol_id`: the narrow side table with one writer.
    Sidecar,
}

impl TableKind {
    /// Both.
    pub const ALL: [TableKind; 2] = [TableKind::Symbols, TableKind::Sidecar];

    /// Its name without a schema.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TableKind::Symbols => "exchange_symbols",
            TableKind::Sidecar => "exchange_symbol_prices",
        }
    }

    /// The column that holds `exchange_symbols.id`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            TableKind::Symbols => "id",
            TableKind::Sidecar => "exchange_symbol_id",
        }
    }
}

/// How a price stands in the statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PriceLiteral {
    /// Bare digits: PostgreSQL reads them as `numeric`, exactly.
    #[default]
    Number,
    /// Quoted digits, for a TEXT column: SQLite would read bare ones as a float.
    Text,
}

/// A target table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceTable {
    kind: TableKind,
    schema: Option<String>,
    sql: String,
    literal: PriceLiteral,
}

/// Why a setting names no table that prices can go to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTable {
    /// Neither of the two tables.
    #[error("unknown price table {0:?}: expected exchange_symbols or exchange_symbol_prices, with or without a schema")]
    Unknown(String),
    /// A schema that is empty, too long for PostgreSQL, or holds a point or a control character.
    #[error("bad schema name {0:?}: 1 to 63 bytes, no point, no control character")]
    Schema(String),
}

/// PostgreSQL's longest identifier in bytes.
const IDENTIFIER_LEN_MAX: usize = 63;

impl PriceTable {
    /// From `table` or `schema.table`.
    ///
    /// # Errors
    /// [`BadTable`], a sentence for the person who wrote the setting.
    pub fn parse(setting: &str) -> Result<Self, BadTable> {
        let (schema, table) = match setting.rsplit_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, setting),
        };
        let kind = TableKind::ALL.into_iter().find(|kind| kind.name() == table);
        let kind = kind.ok_or_else(|| BadTable::Unknown(setting.to_owned()))?;
        let sql = match schema {
            Some(schema) => {
                let sound = !schema.contains(|c: char| c == '.' || c.is_control());
                if schema.is_empty() || schema.len() > IDENTIFIER_LEN_MAX || !sound {
                    return Err(BadTable::Schema(schema.to_owned()));
                }
                format!("\"{}\".{table}", schema.replace('"', "\"\""))
            }
            None => table.to_owned(),
        };
        Ok(PriceTable { kind, schema: schema.map(str::to_owned), sql, literal: PriceLiteral::Number })
    }

    /// The same table with prices written as `literal`.
    #[must_use]
    pub fn with_literal(mut self, literal: PriceLiteral) -> Self {
        self.literal = literal;
        self
    }

    /// Which of the two.
    #[must_use]
    pub fn kind(&self) -> TableKind {
        self.kind
    }

    /// The schema as the setting named it, unquoted.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The name as SQL takes it.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The key column.
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.kind.key()
    }

    /// How prices are written.
    #[must_use]
    pub fn literal(&self) -> PriceLiteral {
        self.literal
    }
}

impl fmt::Display for PriceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_safe_sql() {
        for (setting, sql, key) in [
            ("exchange_symbols", "exchange_symbols", "id"),
            ("exchange_symbol_prices", "exchange_symbol_prices", "exchange_symbol_id"),
            ("public.exchange_symbols", "\"public\".exchange_symbols", "id"),
            ("My \"own\".exchange_symbols", "\"My \"\"own\"\"\".exchange_symbols", "id"),
        ] {
            let table = PriceTable::parse(setting).unwrap();
            assert_eq!((table.sql(), table.key()), (sql, key));
        }
        for bad in ["", "orders", "exchange_symbols; DROP TABLE orders", "EXCHANGE_SYMBOLS", "a.orders"] {
            assert_eq!(PriceTable::parse(bad), Err(BadTable::Unknown(bad.to_owned())));
        }
        for schema in ["", "a.b", "a\0", "a\n", &"x".repeat(64)] {
            let setting = format!("{schema}.exchange_symbols");
            assert_eq!(PriceTable::parse(&setting), Err(BadTable::Schema(schema.to_owned())));
        }
    }
}
