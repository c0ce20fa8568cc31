//! The control threads' way out of their room: listen-key calls by the REST client, columns by Laravel's encrypter.

use crate::domain::limits::LISTEN_KEY_ANSWER_MAX;
use crate::exchange::binance::listen_key::{API_KEY_HEADER, KeyCall, listen_key_url};
use crate::ops::rest::Method;
use crate::ops::{Encrypter, RestClient};
use crate::store::user_data_rows::Ciphertext;
use crate::user_data::control::ports::{ColumnCipher, ListenKeyRest};
use crate::user_data::discovery::ApiKey;
use crate::user_data::listen_keys::VenueAnswer;

/// The venue's counter of this address's weight in the current minute (facts/binance.md §6).
const USED_WEIGHT_HEADER: &str = "x-mbx-used-weight-1m";

/// Listen-key calls to one REST base.
#[derive(Clone, Debug)]
pub struct BinanceListenKeyRest {
    client: RestClient,
    url: String,
}

impl BinanceListenKeyRest {
    /// `base` is scheme and host; the client's deadline is
    /// [`LISTEN_KEY_CALL_MAX`](crate::domain::limits::LISTEN_KEY_CALL_MAX).
    #[must_use]
    pub fn new(client: RestClient, base: &str) -> Self {
        BinanceListenKeyRest { client, url: listen_key_url(base) }
    }
}

impl ListenKeyRest for BinanceListenKeyRest {
    fn ask(&self, call: KeyCall, api_key: &ApiKey) -> Result<VenueAnswer, String> {
        let method = match call {
            KeyCall::Create => Method::Post,
            KeyCall::Extend => Method::Put,
        };
        let secret = (API_KEY_HEADER, api_key.expose());
        let answer =
            self.client.send(method, &self.url, secret, LISTEN_KEY_ANSWER_MAX).map_err(|error| error.to_string())?;
        let retry_after = answer.header("retry-after").map(str::to_owned);
        let used_weight = answer.header(USED_WEIGHT_HEADER).and_then(|text| text.trim().parse().ok());
        Ok(VenueAnswer { status: answer.status, body: answer.body, retry_after, used_weight })
    }
}

/// Laravel's columns under `APP_KEY` and the keys before it.
#[derive(Clone, Debug)]
pub struct LaravelColumns(pub Encrypter);

impl ColumnCipher for LaravelColumns {
    fn open(&self, text: &Ciphertext) -> Result<String, String> {
        let opened = self.0.decrypt(text.as_str());
        let opened = opened
            .map_err(|error| format!("a credential in the accounts table cannot be read with APP_KEY: {error}"))?;
        Ok(opened.expose().to_owned())
    }

    fn seal(&self, text: &str) -> Result<Ciphertext, String> {
        self.0.encrypt(text).map(Ciphertext::new).map_err(|error| format!("cannot encrypt with APP_KEY: {error}"))
    }
}
