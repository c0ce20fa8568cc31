//! The databases: PostgreSQL and SQLite, migrations, and every statement text but the price update's.
//!
//! May import `domain`.

pub mod rows;
