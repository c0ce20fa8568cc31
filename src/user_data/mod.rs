//! Private streams of all accounts: who is streamed, with which listen key, and what becomes of each frame.
//!
//! Promises: one account's trouble touches no other; nothing is reaped on an error; a listen key is never shown, and never
//! deleted at the venue, because another process may share it. May import `domain`, `exchange`, `spool`, `queue`, `store`;
//! REST and the cipher come in through [`control::ports`].

pub mod control;
pub mod discovery;
pub mod key_schedule;
pub mod listen_keys;
