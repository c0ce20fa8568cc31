//! Roles wired into threads: start and stop order, escalation, memory plan.
//!
//! May import everything but `sim` and `cli`.
