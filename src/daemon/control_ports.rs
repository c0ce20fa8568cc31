//! The control and reconcile threads' way out of their room: calls by the REST client, columns by Laravel's encrypter.

use std::sync::Arc;

use crate::domain::limits::{ACCOUNT_ANSWER_MAX, LISTEN_KEY_ANSWER_MAX, LISTEN_KEY_WEIGHT, WEIGHT_LIMIT};
use crate::domain::{Clock, Wall};
use crate::exchange::binance::listen_key::{API_KEY_HEADER, KeyCall, listen_key_url, read_extension, read_listen_key};
use crate::exchange::binance::server_time::SERVER_TIME_PATH;
use crate::exchange::binance::signed::AccountRead;
use crate::ops::rest::Method;
use crate::ops::{Encrypter, RestClient};
use crate::store::user_data_rows::Ciphertext;
use crate::user_data::control::ports::{ColumnCipher, ListenKeyRest};
use crate::user_data::discovery::ApiKey;
use crate::user_data::listen_keys::VenueAnswer;
use crate::user_data::reconcile::meter_file::SharedMeter;
use crate::user_data::reconcile::ports::{AccountRest, Credentials};
use crate::user_data::weight_meter::{WeightClass, WeightPermit};

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

/// Listen-key calls that are counted in the address's weight meter, and told to it: never refused by a budget, only by a ban.
pub struct MeteredListenKeyRest {
    /// Makes the calls.
    pub rest: Arc<dyn ListenKeyRest>,
    /// Counts them.
    pub meter: Arc<SharedMeter>,
    /// The process's clock.
    pub clock: Arc<dyn Clock>,
}

impl ListenKeyRest for MeteredListenKeyRest {
    fn ask(&self, call: KeyCall, api_key: &ApiKey) -> Result<VenueAnswer, String> {
        let now = self.clock.now();
        if let WeightPermit::At(at) = self.meter.permit(WeightClass::Keys, LISTEN_KEY_WEIGHT, now) {
            return Err(format!("the venue has banned this address for {} s", at.since(now.mono).as_secs() + 1));
        }
        let mut answer = self.rest.ask(call, api_key)?;
        let retry_after = answer.retry_after.as_deref();
        let refusal = match call {
            KeyCall::Create => read_listen_key(answer.status, &answer.body, retry_after).err(),
            KeyCall::Extend => read_extension(answer.status, &answer.body, retry_after).err(),
        };
        self.meter.handle_answer(answer.used_weight, refusal, self.clock.now());
        answer.used_weight = answer.used_weight.map(|used| in_proportion(used, self.meter.status(now).limit));
        Ok(answer)
    }
}

/// What is used of `limit`, as the schedule of keys takes it: of [`WEIGHT_LIMIT`], whose shares its thresholds are.
fn in_proportion(used: u32, limit: u32) -> u32 {
    let used = u64::from(used) * u64::from(WEIGHT_LIMIT) / u64::from(limit.max(1));
    u32::try_from(used).unwrap_or(u32::MAX)
}

/// Signed reads of accounts at one REST base.
#[derive(Clone, Debug)]
pub struct BinanceAccountRest {
    client: RestClient,
    base: String,
}

impl BinanceAccountRest {
    /// `base` is scheme and host; the client's deadline is [`ACCOUNT_READ_MAX`](crate::domain::limits::ACCOUNT_READ_MAX).
    #[must_use]
    pub fn new(client: RestClient, base: &str) -> Self {
        BinanceAccountRest { client, base: base.to_owned() }
    }
}

impl AccountRest for BinanceAccountRest {
    fn read(&self, read: &AccountRead<'_>, credentials: &Credentials, now: Wall) -> Result<VenueAnswer, String> {
        let url = read.url(&self.base, now.as_millis(), &credentials.secret);
        self.ask(&url, (API_KEY_HEADER, credentials.api_key.expose()))
    }

    fn server_time(&self) -> Result<VenueAnswer, String> {
        let url = format!("{}{SERVER_TIME_PATH}", self.base.trim_end_matches('/'));
        self.ask(&url, ("accept", "application/json"))
    }
}

impl BinanceAccountRest {
    fn ask(&self, url: &str, header: (&str, &str)) -> Result<VenueAnswer, String> {
        let answer = self.client.send(Method::Get, url, header, ACCOUNT_ANSWER_MAX);
        let answer = answer.map_err(|error| error.to_string())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_weight_is_told_as_a_share_of_the_limit_that_is_set() {
        for (used, limit, told) in [
            (1_000, 2_400, 1_000),
            (1_140, 1_200, 2_280),
            (1_920, 24_000, 192),
            (u32::MAX, 200, u32::MAX),
            (7, 0, 16_800),
        ] {
            assert_eq!(in_proportion(used, limit), told, "{used} of {limit}");
        }
    }
}
