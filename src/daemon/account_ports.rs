//! What the control threads and the dispatcher need from outside their room: the venue's REST, Laravel's cipher, rows for gaps.

use crate::exchange::binance::listen_key::{API_KEY_HEADER, KeyCall, listen_key_url};
use crate::ops::encrypter::Encrypter;
use crate::ops::rest::{Method, RestClient};
use crate::store::user_data_rows::Ciphertext;
use crate::user_data::control::ControlLink;
use crate::user_data::control::gap_book::WaitingGap;
use crate::user_data::control::ports::{ColumnCipher, ListenKeyRest};
use crate::user_data::discovery::ApiKey;
use crate::user_data::gaps::{GapNotice, GapRows};
use crate::user_data::listen_keys::VenueAnswer;

/// Bytes of an answer that holds a listen key, or says why there is none.
const ANSWER_MAX: u64 = 64 << 10;

/// Asks Binance for listen keys.
pub struct BinanceListenKeys {
    client: RestClient,
    base: String,
}

impl BinanceListenKeys {
    /// At the REST root `base`.
    #[must_use]
    pub fn new(client: RestClient, base: String) -> Self {
        BinanceListenKeys { client, base }
    }
}

impl ListenKeyRest for BinanceListenKeys {
    fn ask(&self, call: KeyCall, api_key: &ApiKey) -> Result<VenueAnswer, String> {
        let method = match call {
            KeyCall::Create => Method::Post,
            KeyCall::Extend => Method::Put,
        };
        let url = listen_key_url(&self.base);
        let answer = self.client.send(method, &url, (API_KEY_HEADER, api_key.expose()), ANSWER_MAX);
        let answer = answer.map_err(|error| error.to_string())?;
        Ok(VenueAnswer {
            status: answer.status,
            retry_after: answer.header("retry-after").map(str::to_owned),
            used_weight: answer.header("x-mbx-used-weight-1m").and_then(|weight| weight.parse().ok()),
            body: answer.body,
        })
    }
}

/// Laravel's `encrypted` columns.
pub struct LaravelColumns(pub Encrypter);

impl ColumnCipher for LaravelColumns {
    fn open(&self, text: &Ciphertext) -> Result<String, String> {
        let plain = self.0.decrypt(text.as_str()).map_err(|error| error.to_string())?;
        Ok(plain.expose().to_owned())
    }

    fn seal(&self, text: &str) -> Result<Ciphertext, String> {
        self.0.encrypt(text).map(Ciphertext::new).map_err(|error| error.to_string())
    }
}

/// Hands the dispatcher's gaps to the control threads.
pub struct GapsToControl(pub ControlLink);

impl GapRows for GapsToControl {
    fn offer(&self, notice: &GapNotice) -> bool {
        let waiting = WaitingGap {
            account: notice.account.0 as i64,
            api_system_id: i64::from(notice.exchange.0),
            started_at: notice.gap.silent_since,
            ended_at: notice.gap.live_at,
            reason: notice.gap.reason.clone(),
            identity: Some((notice.identity.epoch.0, notice.identity.position)),
        };
        self.0.offer_gap(waiting).is_ok()
    }

    fn is_settled(&self) -> bool {
        self.0.gaps_waiting() == 0
    }
}
