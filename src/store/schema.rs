//! The tables as this program declares them, and how a migration is carried out.
//!
//! A migration is one file per database under `migrations/`, same number and name for both: first one
//! `CREATE TABLE IF NOT EXISTS` with one column a line, then whatever goes with a fresh table (indexes, seed rows).
//! **Where the table is not there**, all of it runs. **Where it is**, it belongs to somebody: only declared columns that it
//! lacks are added, nullable, and nothing else runs; differences of type, index and fillfactor are `check`'s to report.
//! Statements end with `;` at the end of a line.

use std::fmt;

/// The ledger of what was applied: `(number, name, applied_at)`.
pub const LEDGER: &str = "kraite_migrations";

/// One migration, in both dialects.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Order, and identity in the ledger.
    pub number: i32,
    /// The file's name behind the number.
    pub name: &'static str,
    /// Text for PostgreSQL.
    pub postgres: &'static str,
    /// Text for SQLite.
    pub sqlite: &'static str,
}

macro_rules! migration {
    ($number:literal, $digits:literal, $name:literal) => {
        Migration {
            number: $number,
            name: $name,
            postgres: include_str!(concat!("../../migrations/postgres/", $digits, "_", $name, ".sql")),
            sqlite: include_str!(concat!("../../migrations/sqlite/", $digits, "_", $name, ".sql")),
        }
    };
}

/// All migrations, in order.
pub const MIGRATIONS: [Migration; 17] = [
    migration!(1, "0001", "api_systems"),
    migration!(2, "0002", "exchange_symbols"),
    migration!(3, "0003", "exchange_symbol_prices"),
    migration!(4, "0004", "token_mappers"),
    migration!(5, "0005", "accounts"),
    migration!(6, "0006", "binance_listen_keys"),
    migration!(7, "0007", "stream_gaps"),
    migration!(8, "0008", "positions"),
    migration!(9, "0009", "orders"),
    migration!(10, "0010", "api_data_stream"),
    migration!(11, "0011", "failed_jobs"),
    migration!(12, "0012", "stream_progress"),
    migration!(13, "0013", "workflow_intents"),
    migration!(14, "0014", "order_progress"),
    migration!(15, "0015", "algo_order_links"),
    migration!(16, "0016", "stream_decisions"),
    migration!(17, "0017", "order_comparisons"),
];

/// A migration's text, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script<'a> {
    /// The table it declares.
    pub table: &'a str,
    /// The `CREATE TABLE` statement.
    pub create: String,
    /// The declared columns, in order.
    pub columns: Vec<Column<'a>>,
    /// What else runs where the table was created: indexes, seed rows.
    pub rest: Vec<String>,
}

/// A declared column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// What stands behind the name.
    pub definition: &'a str,
}

impl<'a> Script<'a> {
    /// Takes a migration's text apart.
    ///
    /// # Panics
    /// Where a file under `migrations/` breaks the form described above: our own mistake, held by a test.
    #[must_use]
    pub fn read(sql: &'a str) -> Self {
        const OPENING: &str = "CREATE TABLE IF NOT EXISTS ";
        let lines = || sql.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with("--"));
        let mut statements = Vec::new();
        let mut statement = String::new();
        for line in lines() {
            statement.push_str(line);
            if line.ends_with(';') {
                statements.push(std::mem::take(&mut statement));
            } else {
                statement.push('\n');
            }
        }
        assert!(statement.is_empty(), "the last statement has no semicolon: {statement}");
        let create = statements.remove(0);
        let mut declared = lines();
        let table = declared
            .next()
            .and_then(|line| line.strip_prefix(OPENING)?.strip_suffix(" ("))
            .expect("a migration opens with CREATE TABLE IF NOT EXISTS name (");
        let columns = declared
            .take_while(|line| !line.starts_with(')'))
            .map(|line| {
                let (name, definition) =
                    line.trim().trim_end_matches(',').split_once(' ').expect("a column has a name and a type");
                Column { name, definition }
            })
            .collect();
        Script { table, create, columns, rest: statements }
    }
}

impl Column<'_> {
    /// What stands behind `ADD COLUMN name` on a table that was already there: the type and a constant default, so
    /// nullable, without a rewrite and without a constraint.
    #[must_use]
    pub fn nullable_definition(&self) -> String {
        let kind = self.definition.split(' ').next().unwrap_or_default();
        match self.definition.split_once(" DEFAULT ") {
            Some((_, value)) if !value.starts_with("AS ") && !value.starts_with("CURRENT_") => {
                format!("{kind} DEFAULT {}", value.split(' ').next().unwrap_or_default())
            }
            _ => kind.to_owned(),
        }
    }
}

/// What a migration did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The table was not there: created, with its indexes and seed rows.
    Created,
    /// The table was there and lacked these columns: added, nullable.
    Extended(Vec<String>),
    /// The table was there with all columns.
    Complete,
    /// The ledger holds it already.
    Applied,
}

/// One line of a migration's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// [`Migration::number`].
    pub number: i32,
    /// [`Migration::name`].
    pub name: &'static str,
    /// What happened.
    pub outcome: Outcome,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}_{}: ", self.number, self.name)?;
        match &self.outcome {
            Outcome::Created => f.write_str("table created"),
            Outcome::Extended(columns) => write!(f, "the table was there; added {}", columns.join(", ")),
            Outcome::Complete => f.write_str("the table was there with all columns; nothing changed"),
            Outcome::Applied => f.write_str("applied before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_taken_apart() {
        let script = Script::read(MIGRATIONS[1].postgres);
        assert_eq!(script.table, "exchange_symbols");
        assert!(script.create.ends_with("WITH (fillfactor = 50);"), "{}", script.create);
        assert_eq!(script.columns[0].name, "id");
        assert_eq!(script.rest.len(), 2);
        for migration in MIGRATIONS {
            assert_eq!(Script::read(migration.postgres).table, migration.name);
            assert_eq!(Script::read(migration.sqlite).table, migration.name);
        }
    }

    #[test]
    fn added_columns_are_nullable() {
        for (definition, added) in [
            ("boolean NOT NULL DEFAULT true", "boolean DEFAULT true"),
            ("varchar(64) NOT NULL UNIQUE", "varchar(64)"),
            ("timestamptz(0) DEFAULT CURRENT_TIMESTAMP", "timestamptz(0)"),
            ("numeric(36,18)", "numeric(36,18)"),
            ("bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "bigint"),
            ("bigint PRIMARY KEY REFERENCES exchange_symbols (id) ON DELETE CASCADE", "bigint"),
        ] {
            assert_eq!(Column { name: "c", definition }.nullable_definition(), added, "{definition}");
        }
    }
}
