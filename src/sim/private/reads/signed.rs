//! What makes a read a signed one: `timestamp` inside the window, `signature` last, the HMAC of the query as it was sent.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::sim::http::Request;

use super::Refused;
use super::params::Params;

/// How much ahead of the server a client's clock may be.
const AHEAD_MAX_MS: i64 = 1_000;
const WINDOW_MS: u64 = 5_000;
const WINDOW_MAX_MS: u64 = 60_000;

/// The parameters of a read that is signed with `secret`.
pub(super) fn verify(request: &Request, secret: &str, now_ms: i64) -> Result<Params, Refused> {
    let query = request.uri().query().unwrap_or("");
    let params = Params::read(query);
    let Some(timestamp) = params.number("timestamp")? else { return Err(missing("timestamp")) };
    let window = params.number("recvWindow")?.unwrap_or(WINDOW_MS);
    if window > WINDOW_MAX_MS {
        return Err(Refused::new(-1131, "recvWindow must be less than 60000."));
    }
    let Some(sent) = params.text("signature") else { return Err(missing("signature")) };
    let age_ms = i64::try_from(timestamp).map_or(i64::MIN, |timestamp| now_ms.saturating_sub(timestamp));
    if age_ms <= -AHEAD_MAX_MS {
        let msg = "Timestamp for this request was 1000ms ahead of the server's time.";
        return Err(Refused::new(-1021, msg));
    }
    if age_ms > window as i64 {
        return Err(Refused::new(-1021, "Timestamp for this request is outside of the recvWindow."));
    }
    let is_right = query
        .rsplit_once("&signature=")
        .is_some_and(|(signed, last)| last == sent && is_signature(signed.as_bytes(), secret.as_bytes(), sent));
    match is_right {
        true => Ok(params),
        false => Err(Refused::new(-1022, "Signature for this request is not valid.")),
    }
}

fn missing(name: &str) -> Refused {
    Refused::new(-1102, &format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed."))
}

fn is_signature(signed: &[u8], secret: &[u8], sent: &str) -> bool {
    // A key of any length will do; a simulated secret is never too long for anything.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
    mac.update(signed);
    let hex = |pair: &[u8]| {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)
    };
    let bytes: Option<Vec<u8>> = sent.as_bytes().chunks(2).map(|pair| (pair.len() == 2).then(|| hex(pair))?).collect();
    bytes.is_some_and(|bytes| mac.verify_slice(&bytes).is_ok())
}
