//! The account's machine, in tables.
