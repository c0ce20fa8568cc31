//! Binance USDⓈ-M futures: the venue that prices come from, and the accounts' events.

pub mod account_answers;
pub mod account_fact;
pub mod control;
mod entry;
pub mod event_key;
mod event_type;
pub mod fact;
mod frame_fault;
mod grammar;
mod instruments;
pub mod listen_key;
pub mod mark_price;
mod outline;
pub mod private_url;
mod projection;
pub mod recovered;
mod refusal;
pub mod server_time;
pub mod signed;
mod stream_url;
pub mod user_data;
mod wrapper;

pub use instruments::Binance;
pub use projection::{ALGO_FILLED, project};
pub use stream_url::{STREAM_BASE, Spelling, UnknownSpelling, mark_price_url};
