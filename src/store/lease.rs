//! Who plays the safety net: one process a database, whatever machine it is on.
//!
//! On PostgreSQL the lease is an advisory lock of a session that does nothing else: the server frees it when the session ends,
//! at once when the process dies and within [`GHOST_MAX`](super::postgres::GHOST_MAX) when its machine does. An SQLite file is
//! one machine's, so its lease is a lock file beside it, which the system frees with the process.

use super::error::Result;
#[cfg(feature = "server")]
use super::postgres::{PostgresStore, StoreLock};
#[cfg(feature = "embedded")]
use super::sqlite::FileLock;
use super::url::StoreUrl;
use super::user_data::{Place, UserDataOptions};

/// A place to hold the lease; dropping it gives it back.
pub struct SyncLease {
    place: Place,
    #[cfg_attr(not(feature = "embedded"), allow(dead_code, reason = "a session bears its name itself"))]
    holder: String,
    #[cfg(feature = "server")]
    session: Option<PostgresStore>,
    #[cfg(feature = "embedded")]
    file: Option<FileLock>,
}

/// Whose the lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// This one's.
    Ours,
    /// Somebody else's: how people are told of them.
    Theirs(String),
}

impl SyncLease {
    /// For the store at `url`; contacts nothing yet. `options.application_name` is what others are told of its holder.
    ///
    /// # Errors
    /// A build without the feature for that database.
    pub fn new(url: &StoreUrl, options: &UserDataOptions) -> Result<SyncLease> {
        Ok(SyncLease {
            place: Place::new(url, options)?,
            holder: options.application_name.clone(),
            #[cfg(feature = "server")]
            session: None,
            #[cfg(feature = "embedded")]
            file: None,
        })
    }

    /// Takes the lease unless another has it. Asked again, it says whether it is still this one's: a session that was lost has
    /// lost it, and another one is opened.
    ///
    /// # Errors
    /// What the database says; the lease is not held then.
    pub fn take(&mut self) -> Result<LeaseState> {
        match &self.place {
            #[cfg(feature = "server")]
            Place::Postgres(url, options) => {
                let mut session = match self.session.take().filter(|session| !session.is_closed()) {
                    Some(session) => session,
                    None => PostgresStore::connect(url, options)?,
                };
                let state = match session.try_lock(StoreLock::SyncOrders)? {
                    true => LeaseState::Ours,
                    false => {
                        let holder = session.lock_holder(StoreLock::SyncOrders)?;
                        LeaseState::Theirs(
                            holder.map_or_else(|| "one that has just ended".to_owned(), |who| who.to_string()),
                        )
                    }
                };
                self.session = Some(session);
                Ok(state)
            }
            #[cfg(feature = "embedded")]
            Place::Sqlite(path) => {
                if self.file.is_some() {
                    return Ok(LeaseState::Ours);
                }
                let mut beside = path.as_os_str().to_owned();
                beside.push(".sync-orders");
                let beside = std::path::PathBuf::from(beside);
                self.file = FileLock::try_take(&beside, &self.holder)?;
                Ok(match self.file {
                    Some(_) => LeaseState::Ours,
                    None => LeaseState::Theirs(FileLock::holder(&beside)),
                })
            }
        }
    }

    /// Gives it back; it can be taken again.
    pub fn give_up(&mut self) {
        #[cfg(feature = "server")]
        if let Some(session) = self.session.take() {
            session.close();
        }
        #[cfg(feature = "embedded")]
        {
            self.file = None;
        }
    }
}

impl std::fmt::Debug for SyncLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SyncLease({})", self.holder)
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_holder_who_is_named_until_it_gives_up() {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("a.sqlite"));
        let lease = |name: &str| SyncLease::new(&url, &UserDataOptions::new(name)).unwrap();
        let (mut one, mut other) = (lease("one"), lease("other"));
        assert_eq!((one.take().unwrap(), one.take().unwrap()), (LeaseState::Ours, LeaseState::Ours));
        assert_eq!(other.take().unwrap(), LeaseState::Theirs("one".to_owned()));
        one.give_up();
        assert_eq!(other.take().unwrap(), LeaseState::Ours);
        drop(other);
        assert_eq!(one.take().unwrap(), LeaseState::Ours);
    }
}
