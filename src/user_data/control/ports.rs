//! What the control threads need from outside their room: somebody who asks the venue, and somebody who reads and writes
//! encrypted columns. `daemon` puts the REST client and Laravel's encrypter here, tests put scripts.

use crate::exchange::binance::listen_key::KeyCall;
use crate::store::user_data_rows::Ciphertext;
use crate::user_data::discovery::ApiKey;
use crate::user_data::listen_keys::VenueAnswer;

/// Asks the venue for listen keys. May block for [`crate::domain::limits::LISTEN_KEY_CALL_MAX`].
pub trait ListenKeyRest: Send + Sync {
    /// Makes the call with this account's API key.
    ///
    /// # Errors
    /// A sentence that says why nobody answered; neither key is in it. A refusal is an answer.
    fn ask(&self, call: KeyCall, api_key: &ApiKey) -> Result<VenueAnswer, String>;
}

/// Laravel's `encrypted` columns.
pub trait ColumnCipher: Send + Sync {
    /// The text of a column.
    ///
    /// # Errors
    /// A sentence that names `APP_KEY` and nothing of the value.
    fn open(&self, text: &Ciphertext) -> Result<String, String>;

    /// Encrypts a text for a column.
    ///
    /// # Errors
    /// A sentence that holds nothing of the text.
    fn seal(&self, text: &str) -> Result<Ciphertext, String>;
}
