//! Mark prices from a parsed frame to committed rows: symbol map, board, `CASE … WHEN` text, writer.
//!
//! May import `domain`, `exchange` and `store`.

pub mod batch;
pub mod board;
pub mod case_when;
pub mod frame_stamp;
pub mod intake;
pub mod intake_counts;
pub mod map_report;
mod map_rules;
pub mod price_table;
mod set_aside;
pub mod sink;
#[cfg(feature = "server")]
pub mod sink_postgres;
#[cfg(feature = "embedded")]
pub mod sink_sqlite;
pub mod symbol_map;
mod symbol_table;
mod target;
pub mod writer;
pub mod writer_status;
pub mod writer_thread;
