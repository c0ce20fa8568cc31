//! What venues say and how: URLs, frame shapes, REST shapes. Pure: bytes in, meaning out; no socket, no clock.
//!
//! May import `domain`.
