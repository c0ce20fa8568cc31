//! REST of the control plane: bounded requests, blocking, with an error that says at which layer they broke.
//!
//! TLS is the caller's [`rustls::ClientConfig`] (web PKI and extra roots), so REST trusts what the streams trust. ureq's own
//! TLS settings know either built-in roots or given ones, not both; its connector chain is open, so ours takes TCP from
//! ureq and puts our TLS on it. Proxies of the environment are not used, as the streams do not use them either.

mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, TcpConnector};

use crate::domain::Layer;
use tls::{LayerFault, LayeredResolver, LayeredTcp, OwnTls};

/// Bytes of an answer, unpacked. Binance's exchangeInfo, the largest one read, was 1.6 MB in Nov 2026.
pub const BODY_MAX: u64 = 16 << 20;
/// Characters of an error answer that are shown.
const EXCERPT_MAX: usize = 200;
/// Redirects that are followed.
const REDIRECTS_MAX: u32 = 3;

/// Asks venues' REST endpoints.
#[derive(Clone, Debug)]
pub struct RestClient {
    agent: ureq::Agent,
}

impl RestClient {
    /// A client whose every request ends within `deadline`, name resolution and body included.
    #[must_use]
    pub fn new(tls: Arc<rustls::ClientConfig>, deadline: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(deadline))
            .http_status_as_error(false)
            .max_redirects(REDIRECTS_MAX)
            .max_redirects_will_error(true)
            .proxy(None)
            .user_agent(concat!("kraite-streams/", env!("CARGO_PKG_VERSION")))
            .build();
        let connector = ().chain(LayeredTcp(TcpConnector::default())).chain(OwnTls(tls));
        RestClient { agent: ureq::Agent::with_parts(config, connector, LayeredResolver(DefaultResolver::default())) }
    }

    /// The body of a successful answer.
    ///
    /// # Errors
    /// [`RestError`]; nothing of the URL but its host is in it.
    pub fn get(&self, url: &str) -> Result<Vec<u8>, RestError> {
        let uri: ureq::http::Uri = url.parse().map_err(|_| RestError::new("", Fault::BadUrl))?;
        let host = uri.authority().map_or("", |authority| authority.host()).to_owned();
        let mut answer = self.agent.get(uri).call().map_err(|error| RestError::from_ureq(&host, error))?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(BODY_MAX).read_to_vec();
        if !status.is_success() {
            let excerpt = excerpt(&body.unwrap_or_default());
            return Err(RestError::new(&host, Fault::Status { status: status.as_u16(), excerpt }));
        }
        body.map_err(|error| RestError::from_ureq(&host, error))
    }

    /// Sends a request without a body and gives back the answer, whatever its status. `secret` is one header, name and
    /// value; it goes to this host and nowhere else: a redirect is an answer like any other. `body_max` bounds the answer.
    ///
    /// # Errors
    /// [`RestError`], where there is no answer; of the request nothing but the host is in it.
    pub fn send(&self, method: Method, url: &str, secret: (&str, &str), body_max: u64) -> Result<Answer, RestError> {
        let uri: ureq::http::Uri = url.parse().map_err(|_| RestError::new("", Fault::BadUrl))?;
        let host = uri.authority().map_or("", |authority| authority.host()).to_owned();
        let protocol =
            |text: &str| RestError::new(&host, Fault::Connection { layer: Layer::Protocol, text: text.to_owned() });
        let mut value =
            ureq::http::HeaderValue::from_str(secret.1).map_err(|_| protocol("the header cannot be sent"))?;
        value.set_sensitive(true);
        let answer = match method {
            Method::Get => self.agent.get(uri).header(secret.0, value).config().max_redirects(0).build().call(),
            Method::Post => self.agent.post(uri).header(secret.0, value).config().max_redirects(0).build().send_empty(),
            Method::Put => self.agent.put(uri).header(secret.0, value).config().max_redirects(0).build().send_empty(),
        };
        let mut answer = answer.map_err(|error| RestError::from_ureq(&host, error))?;
        let body = answer.body_mut().with_config().limit(body_max).read_to_vec();
        let body = body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => protocol("the answer is too long"),
            other => RestError::from_ureq(&host, other),
        })?;
        Ok(Answer { status: answer.status().as_u16(), body, headers: std::mem::take(answer.headers_mut()) })
    }
}

/// A method whose request has a header of its own and no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
}

/// An answer with whatever status. The body may be a credential, so `Debug` shows its length only.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, unpacked.
    pub body: Vec<u8>,
    headers: ureq::http::HeaderMap,
}

impl Answer {
    /// A header's first value, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes)", self.status, self.body.len())
    }
}

/// Why a request brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestError {
    /// Whom it was sent to.
    pub host: String,
    /// What happened.
    pub fault: Fault,
}

/// What happened to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The URL is not one.
    BadUrl,
    /// The connection failed at this layer.
    Connection {
        /// Resolve, connect, tls, silence, or protocol for broken HTTP.
        layer: Layer,
        /// What the system or the library says.
        text: String,
    },
    /// The venue answered, but not with success.
    Status {
        /// HTTP status.
        status: u16,
        /// The beginning of its answer, made printable.
        excerpt: String,
    },
    /// The answer to a GET is longer than [`BODY_MAX`].
    TooLarge,
}

impl RestError {
    fn new(host: &str, fault: Fault) -> Self {
        RestError { host: host.to_owned(), fault }
    }

    fn from_ureq(host: &str, error: ureq::Error) -> Self {
        let connection = |layer, text: String| Fault::Connection { layer, text };
        let fault = match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Fault::BadUrl,
            ureq::Error::HostNotFound => connection(Layer::Resolve, "no such host".to_owned()),
            ureq::Error::BodyExceedsLimit(_) => Fault::TooLarge,
            ureq::Error::Timeout(timeout) => {
                let layer = match timeout {
                    ureq::Timeout::Resolve => Layer::Resolve,
                    _ => Layer::Silence,
                };
                connection(layer, "no answer in time".to_owned())
            }
            ureq::Error::Rustls(error) => connection(Layer::Tls, error.to_string()),
            ureq::Error::ConnectionFailed => connection(Layer::Connect, "no address answered".to_owned()),
            ureq::Error::Io(error) => connection(Layer::Connect, error.to_string()),
            ureq::Error::Other(error) => match error.downcast::<LayerFault>() {
                Ok(fault) => connection(fault.layer, fault.text),
                Err(other) => connection(Layer::Protocol, other.to_string()),
            },
            other => connection(Layer::Protocol, other.to_string()),
        };
        RestError::new(host, fault)
    }

    /// Whether the same request may succeed later without a change on our side.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match &self.fault {
            Fault::Connection { layer, .. } => !matches!(layer, Layer::Tls),
            Fault::Status { status, .. } => matches!(status, 408 | 418 | 425 | 429 | 500..=599),
            Fault::BadUrl | Fault::TooLarge => false,
        }
    }
}

impl fmt::Display for RestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.fault {
            Fault::BadUrl => f.write_str("the request's URL is not usable"),
            Fault::Connection { layer, text } => write!(f, "{host}: {layer}: {text}"),
            Fault::Status { status, excerpt } => {
                write!(f, "{host} answered HTTP {status}")?;
                match status {
                    403 | 451 => f.write_str(" (it refuses this address or country)")?,
                    418 | 429 => f.write_str(" (too many requests from this address: wait some minutes)")?,
                    _ => {}
                }
                if excerpt.is_empty() { Ok(()) } else { write!(f, ": {excerpt}") }
            }
            Fault::TooLarge => write!(f, "{host} answered with more than {} MiB", BODY_MAX >> 20),
        }
    }
}

impl std::error::Error for RestError {}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * EXCERPT_MAX)]);
    let printable = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    let words: String = printable.take(EXCERPT_MAX).collect();
    words.trim().to_owned()
}

#[cfg(test)]
mod tests;
