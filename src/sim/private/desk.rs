//! The listen-key desk: POST, PUT and DELETE of `/fapi/v1/listenKey`, `facts/binance.md` §2.
//!
//! Authenticated by the header alone. Nothing here logs a key.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use tungstenite::http::{Method, StatusCode};

use crate::domain::Now;
use crate::sim::http::{Request, Response};

use super::Accounts;
use super::fault::AccountFault;

/// Where the desk is.
pub(in crate::sim) const PATH: &str = "/fapi/v1/listenKey";

/// The answer, and how much later it is given.
pub(in crate::sim) fn respond(
    request: &Request,
    source: IpAddr,
    accounts: &mut Accounts,
    now: Now,
) -> (Response, Duration) {
    let method = request.method();
    if !matches!(*method, Method::POST | Method::PUT | Method::DELETE) {
        return (Response::text(StatusCode::NOT_FOUND, "not found\n"), Duration::ZERO);
    }
    let index = match authenticate(request, source, accounts) {
        Ok(index) => index,
        Err(refused) => {
            if let Some(index) = refused.known {
                accounts.list[index].ledger.key_errors += 1;
            }
            return (refused.response, Duration::ZERO);
        }
    };
    let account = &mut accounts.list[index];
    let delay = match account.meet(|fault| matches!(fault, AccountFault::KeyDelay { .. })) {
        Some(AccountFault::KeyDelay { delay }) => delay,
        _ => Duration::ZERO,
    };
    if let Some(AccountFault::KeyError { status, code }) =
        account.meet(|fault| matches!(fault, AccountFault::KeyError { .. }))
    {
        account.ledger.key_errors += 1;
        return (refusal(status, code), delay);
    }
    let response = match *method {
        Method::POST => {
            accounts.list[index].ledger.posts += 1;
            let key = accounts.post_key(index, now.mono);
            Response::json(&json!({ "listenKey": &*key }))
        }
        Method::PUT => {
            let rotation = match accounts.list[index].keys.active() {
                Some(_) => account_rotation(accounts, index),
                None => None,
            };
            match accounts.put_key(index, rotation, now.mono) {
                Some(key) => {
                    accounts.list[index].ledger.puts += 1;
                    Response::json(&json!({ "listenKey": &*key }))
                }
                None => no_such_key(accounts, index),
            }
        }
        _ => match accounts.drop_key(index) {
            true => {
                accounts.list[index].ledger.deletes += 1;
                Response::json(&json!({}))
            }
            false => no_such_key(accounts, index),
        },
    };
    (response, delay)
}

/// An API key that is not accepted.
pub(in crate::sim) struct Unauthorized {
    /// Whose key it was before it was revoked.
    pub(in crate::sim) known: Option<usize>,
    pub(in crate::sim) response: Response,
}

/// Whose API key the header holds.
pub(in crate::sim) fn authenticate(
    request: &Request,
    source: IpAddr,
    accounts: &Accounts,
) -> Result<usize, Unauthorized> {
    let header = request.headers().get("x-mbx-apikey").and_then(|value| value.to_str().ok());
    let well_formed = header.filter(|key| key.len() == 64 && key.bytes().all(|b| b.is_ascii_alphanumeric()));
    let Some(api_key) = well_formed else {
        let response = error(StatusCode::UNAUTHORIZED, -2014, "API-key format invalid.");
        return Err(Unauthorized { known: None, response });
    };
    let known = accounts.of_api_key(api_key);
    known.filter(|&index| !accounts.list[index].is_revoked).ok_or_else(|| {
        let msg = format!("Invalid API-key, IP, or permissions for action, request ip: {source}");
        Unauthorized { known, response: error(StatusCode::UNAUTHORIZED, -2015, &msg) }
    })
}

fn account_rotation(accounts: &mut Accounts, index: usize) -> Option<Duration> {
    match accounts.list[index].meet(|fault| matches!(fault, AccountFault::RotateKey { .. })) {
        Some(AccountFault::RotateKey { grace }) => Some(grace),
        _ => None,
    }
}

fn no_such_key(accounts: &mut Accounts, index: usize) -> Response {
    accounts.list[index].ledger.key_errors += 1;
    error(StatusCode::BAD_REQUEST, -1125, "This listenKey does not exist.")
}

/// An error as the venue words it.
pub(in crate::sim) fn error(status: StatusCode, code: i32, msg: &str) -> Response {
    Response { status, ..Response::json(&json!({ "code": code, "msg": msg })) }
}

/// An error that a fault asked for.
pub(in crate::sim) fn refusal(status: u16, code: i32) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let msg = match code {
        0 => return Response::text(status, "<html>the simulator refuses</html>\n"),
        -1008 => "Server is currently overloaded with other requests. Please try again in a few minutes.",
        -1001 => "Internal error; unable to process your request. Please try again.",
        -1125 => "This listenKey does not exist.",
        -2014 => "API-key format invalid.",
        -2015 => "Invalid API-key, IP, or permissions for action",
        _ => "An unknown error occurred while processing the request.",
    };
    error(status, code, msg)
}
