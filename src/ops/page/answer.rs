//! One request, one answer.

use std::net::{IpAddr, SocketAddr};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::PageSource;
use crate::ops::metrics;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Prices shown when the request does not say.
const PRICES_DEFAULT: usize = 50;
/// Prices of one answer.
const PRICES_MAX: usize = 1_000;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

pub(super) fn answer<B>(request: &Request<B>, own: SocketAddr, source: &dyn PageSource) -> Response<Full<Bytes>> {
    let (status, kind, body) = if is_foreign_host(request, own) {
        (StatusCode::MISDIRECTED_REQUEST, TEXT, "ask for this page by its loopback address\n".to_owned())
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned())
    } else {
        route(request.uri().path(), request.uri().query(), source)
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn route(path: &str, query: Option<&str>, source: &dyn PageSource) -> (StatusCode, &'static str, String) {
    let ok = StatusCode::OK;
    match path {
        "/" => (ok, "text/html; charset=utf-8", PAGE.to_owned()),
        "/page.css" => (ok, "text/css; charset=utf-8", STYLE.to_owned()),
        "/page.js" => (ok, "text/javascript; charset=utf-8", SCRIPT.to_owned()),
        "/status.json" => json(&source.status()),
        "/metrics" => (ok, metrics::CONTENT_TYPE, metrics::render(&source.status())),
        "/healthz" => match source.status().complaints() {
            complaints if complaints.is_empty() => (ok, TEXT, "ok\n".to_owned()),
            complaints => (StatusCode::SERVICE_UNAVAILABLE, TEXT, complaints.join("\n") + "\n"),
        },
        "/prices.json" => match limit(query) {
            Some(limit) => json(&source.prices(limit)),
            None => {
                (StatusCode::BAD_REQUEST, TEXT, format!("write ?limit=N with N from 1 to {PRICES_MAX}, nothing else\n"))
            }
        },
        _ => (StatusCode::NOT_FOUND, TEXT, "there are /, /status.json, /prices.json, /healthz, /metrics\n".to_owned()),
    }
}

fn json<T: serde::Serialize>(value: &T) -> (StatusCode, &'static str, String) {
    match serde_json::to_string(value) {
        Ok(text) => (StatusCode::OK, JSON, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

fn limit(query: Option<&str>) -> Option<usize> {
    match query {
        None | Some("") => Some(PRICES_DEFAULT),
        Some(query) => query.strip_prefix("limit=")?.parse().ok().filter(|limit| (1..=PRICES_MAX).contains(limit)),
    }
}

/// Whether a page on loopback is asked for under a name that is not loopback's (DNS rebinding).
fn is_foreign_host<B>(request: &Request<B>, own: SocketAddr) -> bool {
    if !own.ip().is_loopback() {
        return false;
    }
    let Some(host) = request.headers().get(header::HOST) else { return request.uri().host().is_some() };
    let host = host.to_str().unwrap_or("");
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(""),
    };
    let is_loopback = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !(is_loopback || name.eq_ignore_ascii_case("localhost"))
}
