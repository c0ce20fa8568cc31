//! What a reconcile needs from outside its room: somebody who reads the venue with an account's credentials.

use crate::domain::Wall;
use crate::exchange::binance::signed::{AccountRead, ApiSecret};
use crate::user_data::discovery::ApiKey;
use crate::user_data::listen_keys::VenueAnswer;

/// What an account's reads are made with. Neither is ever shown.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The header's value.
    pub api_key: ApiKey,
    /// Signs.
    pub secret: ApiSecret,
}

/// Reads one account. May block for [`crate::domain::limits::ACCOUNT_READ_MAX`].
pub trait AccountRest: Send + Sync {
    /// Makes the call, stamped with `now`, which is by the venue's clock.
    ///
    /// # Errors
    /// A sentence that says why nobody answered; no credential is in it. A refusal is an answer.
    fn read(&self, read: &AccountRead<'_>, credentials: &Credentials, now: Wall) -> Result<VenueAnswer, String>;

    /// Asks for the venue's clock, without any credential.
    ///
    /// # Errors
    /// As for [`AccountRest::read`].
    fn server_time(&self) -> Result<VenueAnswer, String>;
}
