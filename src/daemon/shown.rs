//! What the live page reads: the newest status, and a reader of newest prices once there is one.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ops::{Page, PageSource, PriceRow, Status};

type Newest = Box<dyn Fn(usize) -> Vec<PriceRow> + Send + Sync>;

/// Handed from whoever looks at the roles to the page's thread.
pub struct Shown {
    status: Mutex<Status>,
    newest: Mutex<Option<Newest>>,
}

impl Shown {
    /// Shows `status`, and no prices yet.
    #[must_use]
    pub fn new(status: Status) -> Shown {
        Shown { status: Mutex::new(status), newest: Mutex::new(None) }
    }

    /// Shows `status` from now on.
    pub fn show(&self, status: &Status) {
        self.status.lock().clone_from(status);
    }

    /// Shows what `newest` reads from now on.
    pub fn show_prices(&self, newest: impl Fn(usize) -> Vec<PriceRow> + Send + Sync + 'static) {
        *self.newest.lock() = Some(Box::new(newest));
    }
}

impl PageSource for Shown {
    fn status(&self) -> Status {
        self.status.lock().clone()
    }

    fn prices(&self, limit: usize) -> Vec<PriceRow> {
        self.newest.lock().as_ref().map_or_else(Vec::new, |newest| newest(limit))
    }
}

/// The page is a convenience: a port that is taken is said and costs nothing else.
pub fn open_page(address: SocketAddr, shown: &Arc<Shown>) -> Option<Page> {
    match Page::start(address, Arc::<Shown>::clone(shown)) {
        Ok(page) => {
            tracing::info!("live page: http://{}/", page.address());
            Some(page)
        }
        Err(error) => {
            tracing::warn!("no live page on {address}: {error}; choose another in ops.page");
            None
        }
    }
}
