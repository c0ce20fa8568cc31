//! The venue's clock: `GET /fapi/v1/time`, which needs no key (facts/binance.md §6).

use serde_json::Value;

use super::account_answers::{AnswerError, answer};
use crate::domain::limits::EVENT_TIME_MS_MAX;

/// Below the venue's REST base.
pub const SERVER_TIME_PATH: &str = "/fapi/v1/time";
/// What it costs of the address's minute.
pub const SERVER_TIME_WEIGHT: u32 = 1;

/// `serverTime`, ms since 1970 UTC.
///
/// # Errors
/// [`AnswerError`].
pub fn read_server_time(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<i64, AnswerError> {
    let answer = answer(status, body, retry_after)?;
    let time = answer.get("serverTime").and_then(Value::as_i64).filter(|ms| (1..=EVENT_TIME_MS_MAX).contains(ms));
    time.ok_or(AnswerError::Shape("serverTime"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::binance::listen_key::Refusal;

    #[test]
    fn answers() {
        for (status, body, expected) in [
            (200, r#"{"serverTime":1795419600000}"#, Ok(1_795_419_600_000)),
            (200, r#"{"serverTime":"1"}"#, Err(AnswerError::Shape("serverTime"))),
            (200, r#"{"serverTime":-1}"#, Err(AnswerError::Shape("serverTime"))),
            (200, "[]", Err(AnswerError::Shape("serverTime"))),
            (503, "", Err(AnswerError::Refused(Refusal::Overload { retry_after: None }))),
        ] {
            assert_eq!(read_server_time(status, body.as_bytes(), None), expected, "{body}");
        }
    }
}
