//! The job and the queue it stands on: the Laravel contract, PHP's `serialize()`, Redis.
//!
//! May import `domain`.

pub mod json;
pub mod php;
