//! What makes a stream.

use std::sync::Arc;
use std::time::Duration;

use super::liveness::Liveness;
use super::url::StreamUrl;
use crate::domain::limits::{CONNECT_DEADLINE, PRICE_MESSAGE_MAX};

/// What makes one stream.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Where it is.
    pub url: StreamUrl,
    /// Whom it trusts; it always verifies.
    pub tls: Arc<rustls::ClientConfig>,
    /// Bytes of the largest message; a larger one is a fault.
    pub max_message: usize,
    /// When it is not alive.
    pub liveness: Liveness,
    /// From the start of an attempt to the upgraded connection.
    pub connect_deadline: Duration,
}

impl SessionConfig {
    /// The price stream's limits for `url`.
    #[must_use]
    pub fn new(url: StreamUrl, tls: Arc<rustls::ClientConfig>) -> Self {
        SessionConfig {
            url,
            tls,
            max_message: PRICE_MESSAGE_MAX,
            liveness: Liveness::default(),
            connect_deadline: CONNECT_DEADLINE,
        }
    }
}
