//! What is read from SQLite: the rows of the symbol map, and what a table looks like.

use rusqlite::{Connection, Row};

use super::SqliteStore;
use crate::store::error::Result;
use crate::store::rows::{ApiSystem, ColumnKind, ColumnShape, MapRows, SymbolRow, TokenMapper};
use crate::store::shape::{LeadingColumn, TableShape, key_column};

impl SqliteStore {
    /// Everything that the symbol map is built from.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn map_rows(&self) -> Result<MapRows> {
        let connection = &self.connection;
        Ok(MapRows {
            systems: rows(
                connection,
                "SELECT id, canonical, coalesce(is_active, 1) FROM api_systems ORDER BY id",
                |row| Ok(ApiSystem { id: row.get(0)?, canonical: row.get(1)?, is_active: row.get(2)? }),
            )?,
            symbols: rows(
                connection,
                "SELECT id, api_system_id, token, quote, asset, parsed_trading_pair, coalesce(is_price_aligned, 1) \
                 FROM exchange_symbols WHERE token IS NOT NULL AND quote IS NOT NULL ORDER BY id",
                |row| {
                    Ok(SymbolRow {
                        id: row.get(0)?,
                        api_system_id: row.get(1)?,
                        token: row.get(2)?,
                        quote: row.get(3)?,
                        asset: row.get(4)?,
                        parsed_trading_pair: row.get(5)?,
                        is_price_aligned: row.get(6)?,
                    })
                },
            )?,
            mappers: rows(
                connection,
                "SELECT binance_token, other_token, other_api_system_id, CAST(price_ratio AS TEXT) FROM token_mappers \
                 ORDER BY id",
                |row| {
                    Ok(TokenMapper {
                        binance_token: row.get(0)?,
                        other_token: row.get(1)?,
                        other_api_system_id: row.get(2)?,
                        price_ratio: row.get(3)?,
                    })
                },
            )?,
        })
    }

    /// What a table looks like; without columns where it is not there.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn table_shape(&self, table: &str) -> Result<TableShape> {
        table_shape(&self.connection, table)
    }
}

pub(super) fn table_shape(connection: &Connection, table: &str) -> Result<TableShape> {
    let mut statement = connection.prepare("SELECT name, type, \"notnull\", pk FROM pragma_table_info(?1)")?;
    let mut leading: Vec<LeadingColumn> = Vec::new();
    let mut columns = Vec::new();
    let mut found = statement.query([table])?;
    while let Some(row) = found.next()? {
        let name: String = row.get(0)?;
        let declared: String = row.get(1)?;
        if row.get::<_, i64>(3)? == 1 {
            leading.push(LeadingColumn { name: name.clone(), is_unique: true });
        }
        columns.push(ColumnShape { kind: kind(&declared), name, declared, nullable: row.get::<_, i64>(2)? == 0 });
    }
    let mut statement = connection.prepare(
        "SELECT l.name, l.\"unique\" AND (SELECT count(*) FROM pragma_index_info(l.name)) = 1, i.seqno, i.name, l.partial \
         FROM pragma_index_list(?1) l, pragma_index_info(l.name) i",
    )?;
    let mut price_indexes: Vec<String> = Vec::new();
    let mut found = statement.query([table])?;
    while let Some(row) = found.next()? {
        let (index, unique, place): (String, bool, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let Some(column) = row.get::<_, Option<String>>(3)? else { continue };
        if place == 0 && !row.get::<_, bool>(4)? {
            leading.push(LeadingColumn { name: column.clone(), is_unique: unique });
        }
        if matches!(column.as_str(), "mark_price" | "mark_price_synced_at") && !price_indexes.contains(&index) {
            price_indexes.push(index);
        }
    }
    let key_indexed = leading.iter().any(|column| column.is_unique && column.name == key_column(table));
    Ok(TableShape { columns, fillfactor: 0, price_indexes, key_indexed, leading })
}

/// The affinity decides what a column keeps of the text (<https://sqlite.org/datatype3.html> §3.1): TEXT keeps the digits,
/// NUMERIC and REAL turn them into a float.
fn kind(declared: &str) -> ColumnKind {
    let declared = declared.to_ascii_uppercase();
    if declared.contains("INT") {
        ColumnKind::Integer
    } else if ["CHAR", "CLOB", "TEXT"].iter().any(|word| declared.contains(word)) {
        ColumnKind::Text
    } else {
        ColumnKind::Other
    }
}

fn rows<T>(connection: &Connection, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], read)?.collect::<rusqlite::Result<Vec<T>>>()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_keeps_digits() {
        for (declared, found) in [
            ("TEXT", ColumnKind::Text),
            ("varchar(64)", ColumnKind::Text),
            ("INTEGER", ColumnKind::Integer),
            ("bigint", ColumnKind::Integer),
            ("numeric(36,18)", ColumnKind::Other),
            ("REAL", ColumnKind::Other),
            ("", ColumnKind::Other),
        ] {
            assert_eq!(kind(declared), found, "{declared}");
        }
    }
}
