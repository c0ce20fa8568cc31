//! What an operator touches: settings, logs, status file and page, signals, REST client, encrypted secrets.
//!
//! Nothing here may hurt the stream: the status file is replaced by rename, the page reads snapshots on a thread of its
//! own, log lines pass through a bounded lane. May import `domain`.

pub mod app_key;
pub mod encrypter;
pub mod logging;
pub mod metrics;
pub mod page;
pub mod rest;
pub mod secret;
pub mod settings;
pub mod signals;
pub mod status;

pub use app_key::AppKeys;
pub use encrypter::Encrypter;
pub use logging::Logging;
pub use page::{Page, PageSource, PriceRow};
pub use rest::{RestClient, RestError};
pub use secret::Secret;
pub use settings::Settings;
pub use signals::{Signal, Signals};
pub use status::{Status, summary_line};
