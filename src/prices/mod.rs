//! Mark prices from a parsed frame to committed rows: symbol map, board, `CASE … WHEN` text, writer.
//!
//! May import `domain`, `exchange` and `store`.

pub mod board;
pub mod frame_stamp;
