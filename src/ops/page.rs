//! The live page: a small HTTP server on a thread of its own, which only reads.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page; it asks `/status.json` and `/prices.json` each second |
//! | `/status.json` | [`Status`] |
//! | `/prices.json?limit=50` | the newest prices, 1 to 1,000 |
//! | `/healthz` | 200 and `ok`, or 503 and a complaint a line |
//! | `/metrics` | Prometheus text |
//!
//! It asks for no password. On loopback a request must also name a loopback host, so that no foreign site can read the
//! page through the browser of somebody who sits there. One request a connection, [`CONNECTIONS_MAX`] connections,
//! [`CONNECTION_LIFE_MAX`] for each: a slow client costs its own place and nothing else.

mod answer;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;

use super::status::Status;

/// Connections at a time; more are closed unanswered.
pub const CONNECTIONS_MAX: usize = 32;
/// From accept to the last byte of the answer.
pub const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(10);
/// From accept to the end of the request's head.
pub const HEAD_MAX: Duration = Duration::from_secs(3);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How soon the thread sees that it should stop.
const STOP_TURN: Duration = Duration::from_millis(100);

/// What the page shows. Called on the page's thread; must only look, and briefly.
pub trait PageSource: Send + Sync + 'static {
    /// The status at this moment.
    fn status(&self) -> Status;
    /// At most `limit` newest prices, in the order to be shown.
    fn prices(&self, limit: usize) -> Vec<PriceRow>;
}

/// One line of the price table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PriceRow {
    /// The venue's symbol.
    pub symbol: String,
    /// The price as the venue wrote it.
    pub price: String,
    /// When the frame that carried it arrived, UTC.
    pub at: String,
}

/// The running page.
pub struct Page {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Page {
    /// Listens on `address` (port 0 takes a free one) and serves `source`.
    ///
    /// # Errors
    /// The address is taken or not ours. The caller goes on without the page.
    pub fn start(address: SocketAddr, source: Arc<dyn PageSource>) -> io::Result<Page> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::Builder::new().name("page".to_owned()).spawn(move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, address, source, &seen).await,
                    Err(error) => tracing::warn!(%error, "the live page ended"),
                }
            });
        })?;
        Ok(Page { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A source that panicked took its own connection down; there is nothing left to tell.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: tokio::net::TcpListener, own: SocketAddr, source: Arc<dyn PageSource>, stop: &AtomicBool) {
    // Each connection holds a clone: their number is the count of clones.
    let places = Arc::new(());
    while !stop.load(Ordering::Relaxed) {
        let stream = match tokio::time::timeout(STOP_TURN, listener.accept()).await {
            Err(_) => continue,
            Ok(Ok((stream, _))) => stream,
            // No descriptor left, or the peer has gone: neither is worth more than a pause.
            Ok(Err(_)) => {
                tokio::time::sleep(STOP_TURN).await;
                continue;
            }
        };
        if Arc::strong_count(&places) > CONNECTIONS_MAX {
            continue;
        }
        let (place, source) = (Arc::clone(&places), Arc::clone(&source));
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let source = Arc::clone(&source);
                async move { Ok::<_, std::convert::Infallible>(answer::answer(&request, own, &*source)) }
            });
            let connection = http1::Builder::new()
                .keep_alive(false)
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_MAX)
                .max_buf_size(HEAD_BYTES_MAX)
                .max_headers(64)
                .serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(CONNECTION_LIFE_MAX, connection).await;
        });
    }
}

#[cfg(test)]
mod tests;
