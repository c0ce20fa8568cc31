//! What is read from PostgreSQL: the rows of the symbol map, and what a table looks like.

use super::{PostgresStore, literal, quoted};
use crate::domain::ColumnScale;
use crate::store::error::Result;
use crate::store::rows::{ApiSystem, ColumnKind, ColumnShape, MapRows, SymbolRow, TokenMapper};
use crate::store::shape::{LeadingColumn, SYMBOLS_TABLE, TableShape};

/// Bits that `atttypmod` of a numeric or character type is offset by (`VARHDRSZ`).
const TYPMOD_OFFSET: i64 = 4;

impl PostgresStore {
    /// Everything that the symbol map is built from. Columns that a table of somebody else's lacks read as their default.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn map_rows(&mut self) -> Result<MapRows> {
        let systems = self.table_shape("api_systems")?;
        let is_active = match systems.column("is_active") {
            // Moved from MySQL it may be a small integer.
            Some(_) => "coalesce(is_active::int, 1) <> 0",
            None => "true",
        };
        let systems = self.rows(&format!("SELECT id, canonical, {is_active} FROM api_systems ORDER BY id"))?;
        let symbols = self.table_shape(SYMBOLS_TABLE)?;
        let optional = |name: &str| if symbols.column(name).is_some() { name.to_owned() } else { "NULL".to_owned() };
        let aligned = match symbols.column("is_price_aligned") {
            Some(_) => "coalesce(is_price_aligned::int, 1) <> 0",
            None => "true",
        };
        let symbols = self.rows(&format!(
            "SELECT id, api_system_id, token, quote, {}, {}, {aligned} FROM {SYMBOLS_TABLE} ORDER BY id",
            optional("asset"),
            optional("parsed_trading_pair"),
        ))?;
        let mappers = self.table_shape("token_mappers")?;
        let ratio = if mappers.column("price_ratio").is_some() { "price_ratio" } else { "NULL" };
        let mappers = self.rows(&format!(
            "SELECT binance_token, other_token, other_api_system_id, {ratio} FROM token_mappers ORDER BY id"
        ))?;
        Ok(MapRows {
            systems: systems.into_iter().filter_map(api_system).collect(),
            symbols: symbols.into_iter().filter_map(symbol_row).collect(),
            mappers: mappers.into_iter().filter_map(token_mapper).collect(),
        })
    }

    /// Which of `ids` have no row in `table`, a name that is safe SQL already.
    ///
    /// # Errors
    /// What the server says.
    pub fn missing_rows(&mut self, table: &str, key: &str, ids: &[i64]) -> Result<Vec<i64>> {
        let listed: Vec<String> = ids.iter().map(i64::to_string).collect();
        let rows = self.rows(&format!(
            "SELECT listed.id FROM unnest('{{{}}}'::bigint[]) AS listed (id) \
             WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE t.{key} = listed.id)",
            listed.join(",")
        ))?;
        Ok(first_column(rows).filter_map(|id| id.parse().ok()).collect())
    }

    /// What a table looks like; without columns where it is not there.
    ///
    /// # Errors
    /// What the server says.
    pub fn table_shape(&mut self, table: &str) -> Result<TableShape> {
        let table = literal(&quoted(table));
        let columns = self.rows(&format!(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.typname, a.atttypmod, NOT a.attnotnull \
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             WHERE a.attrelid = to_regclass({table}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        ))?;
        let fillfactor = self.rows(&format!(
            "SELECT coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions) \
             WHERE option_name = 'fillfactor'), '100') FROM pg_class c WHERE c.oid = to_regclass({table})"
        ))?;
        let price_indexes = self.rows(&format!(
            "SELECT DISTINCT i.indexrelid::regclass::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
             LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid \
             AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum \
             WHERE i.indrelid = to_regclass({table}) AND a.attname IN ('mark_price', 'mark_price_synced_at') \
             AND (a.attnum = ANY (i.indkey) OR d.objid IS NOT NULL)"
        ))?;
        let leading = self.rows(&format!(
            "SELECT DISTINCT a.attname, i.indisunique AND i.indnkeyatts = 1 FROM pg_index i \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
             WHERE i.indrelid = to_regclass({table}) AND i.indisvalid AND i.indpred IS NULL ORDER BY 1, 2"
        ))?;
        let leading: Vec<LeadingColumn> = leading.into_iter().filter_map(leading_column).collect();
        let key = if columns.iter().any(|row| row[0].as_deref() == Some("exchange_symbol_id")) {
            "exchange_symbol_id"
        } else {
            "id"
        };
        Ok(TableShape {
            columns: columns.into_iter().filter_map(column).collect(),
            fillfactor: first_column(fillfactor).next().and_then(|text| text.parse().ok()).unwrap_or(100),
            price_indexes: first_column(price_indexes).collect(),
            key_indexed: leading.iter().any(|column| column.is_unique && column.name == key),
            leading,
        })
    }
}

type Row = Vec<Option<String>>;

fn first_column(rows: Vec<Row>) -> impl Iterator<Item = String> {
    rows.into_iter().filter_map(|row| row.into_iter().next().flatten())
}

fn leading_column(row: Row) -> Option<LeadingColumn> {
    let [name, is_unique] = <[Option<String>; 2]>::try_from(row).ok()?;
    Some(LeadingColumn { name: name?, is_unique: is_unique.as_deref() == Some("t") })
}

fn column(row: Row) -> Option<ColumnShape> {
    let [name, declared, kind, typmod, nullable] = <[Option<String>; 5]>::try_from(row).ok()?;
    let typmod: i64 = typmod?.parse().ok()?;
    let kind = match kind?.as_str() {
        "int2" | "int4" | "int8" => ColumnKind::Integer,
        "numeric" if typmod < TYPMOD_OFFSET => ColumnKind::Numeric(ColumnScale::UNBOUNDED),
        "numeric" => {
            let packed = (typmod - TYPMOD_OFFSET) as u32;
            // Eleven bits of scale, signed since PostgreSQL 15; a negative one rounds to tens and takes no fraction.
            let scale = packed & 0x7ff;
            ColumnKind::Numeric(ColumnScale::numeric(packed >> 16, if scale > 1_000 { 0 } else { scale }))
        }
        "text" => ColumnKind::Text,
        kind @ ("timestamp" | "timestamptz") => ColumnKind::Timestamp {
            fraction_digits: u8::try_from(typmod).unwrap_or(6).min(6),
            zoned: kind == "timestamptz",
        },
        _ => ColumnKind::Other,
    };
    Some(ColumnShape { name: name?, declared: declared?, kind, nullable: nullable.as_deref() == Some("t") })
}

fn api_system(row: Row) -> Option<ApiSystem> {
    let [id, canonical, is_active] = <[Option<String>; 3]>::try_from(row).ok()?;
    Some(ApiSystem { id: id?.parse().ok()?, canonical: canonical?, is_active: is_active.as_deref() == Some("t") })
}

/// A row without token or quote belongs to no price: it is left out.
fn symbol_row(row: Row) -> Option<SymbolRow> {
    let [id, system, token, quote, asset, pair, aligned] = <[Option<String>; 7]>::try_from(row).ok()?;
    Some(SymbolRow {
        id: id?.parse().ok()?,
        api_system_id: system?.parse().ok()?,
        token: token?,
        quote: quote?,
        asset,
        parsed_trading_pair: pair,
        is_price_aligned: aligned.as_deref() == Some("t"),
    })
}

fn token_mapper(row: Row) -> Option<TokenMapper> {
    let [binance_token, other_token, system, price_ratio] = <[Option<String>; 4]>::try_from(row).ok()?;
    Some(TokenMapper {
        binance_token: binance_token?,
        other_token: other_token?,
        other_api_system_id: system?.parse().ok()?,
        price_ratio,
    })
}
