//! What an operator touches: settings, logs, status file and page, signals, REST client.
//!
//! May import `domain`.
