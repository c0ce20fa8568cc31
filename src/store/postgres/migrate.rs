//! Migrations on PostgreSQL: each in one transaction, all under one advisory lock, none waiting long for a table's lock.

use std::collections::HashMap;

use super::{PostgresStore, literal, quoted};
use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::schema::{LEDGER, MIGRATIONS, Migration, Outcome, Script, Step};

/// "krai" in ASCII, and 0: the migrator.
const LOCK: &str = "1802658153, 0";

impl PostgresStore {
    /// Applies what the ledger lacks. See [`schema`](crate::store::schema) for what happens to tables that were there.
    ///
    /// # Errors
    /// The first migration that failed, named; it and those behind it are not in the ledger.
    pub fn migrate(&mut self) -> Result<Vec<Step>> {
        // Advisory locks obey lock_timeout, which this session has.
        self.execute(&format!("SELECT pg_advisory_lock({LOCK})")).map_err(|error| match error.class() {
            ErrorClass::Transient => StoreError::new(ErrorClass::Transient, "another migration is running; try again"),
            _ => error,
        })?;
        let steps = self.migrate_locked();
        let freed = self.execute(&format!("SELECT pg_advisory_unlock({LOCK})"));
        let steps = steps?;
        freed?;
        Ok(steps)
    }

    /// What [`PostgresStore::migrate`] would do; changes nothing.
    ///
    /// # Errors
    /// What the server says.
    pub fn plan_migrations(&mut self) -> Result<Vec<Step>> {
        let applied = self.applied()?;
        MIGRATIONS.iter().map(|migration| self.plan(migration, &applied)).collect()
    }

    fn migrate_locked(&mut self) -> Result<Vec<Step>> {
        self.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {LEDGER} (number integer PRIMARY KEY, name varchar(255) NOT NULL, \
             applied_at timestamptz(0) NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        ))?;
        let applied = self.applied()?;
        let mut steps = Vec::new();
        for migration in &MIGRATIONS {
            let step = self.plan(migration, &applied)?;
            let script = Script::read(migration.postgres);
            let mut text = String::from("BEGIN;");
            match &step.outcome {
                Outcome::Applied => {
                    steps.push(step);
                    continue;
                }
                Outcome::Complete => {}
                Outcome::Created => {
                    text.push_str(&script.create);
                    script.rest.iter().for_each(|statement| text.push_str(statement));
                }
                Outcome::Extended(_) => {
                    for column in &script.columns {
                        text.push_str(&format!(
                            "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {};",
                            quoted(script.table),
                            quoted(column.name),
                            column.nullable_definition()
                        ));
                    }
                }
            }
            text.push_str(&format!(
                "INSERT INTO {LEDGER} (number, name) VALUES ({}, {}); COMMIT;",
                migration.number,
                literal(migration.name)
            ));
            if let Err(error) = self.execute(&text) {
                // A connection that broke rolls back by itself.
                let _ = self.execute("ROLLBACK");
                return Err(error.during(&format!("migration {:04}_{}", migration.number, migration.name)));
            }
            steps.push(step);
        }
        Ok(steps)
    }

    fn applied(&mut self) -> Result<HashMap<i32, String>> {
        if self.table_shape(LEDGER)?.columns.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.rows(&format!("SELECT number, name FROM {LEDGER}"))?;
        let read = |row: Vec<Option<String>>| {
            let mut fields = row.into_iter().flatten();
            Some((fields.next()?.parse().ok()?, fields.next()?))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    fn plan(&mut self, migration: &Migration, applied: &HashMap<i32, String>) -> Result<Step> {
        let outcome = if applied.contains_key(&migration.number) {
            Outcome::Applied
        } else {
            let script = Script::read(migration.postgres);
            let shape = self.table_shape(script.table)?;
            let missing: Vec<String> = script
                .columns
                .iter()
                .filter(|column| shape.column(column.name).is_none())
                .map(|column| column.name.to_owned())
                .collect();
            match (shape.exists(), missing.is_empty()) {
                (false, _) => Outcome::Created,
                (true, true) => Outcome::Complete,
                (true, false) => Outcome::Extended(missing),
            }
        };
        Ok(Step { number: migration.number, name: migration.name, outcome })
    }
}
