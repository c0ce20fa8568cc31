//! Just enough HTTP/1.1 for REST and for the head of an upgrade: requests out of a buffer, answers into one.

use tungstenite::http::{self, StatusCode};

use crate::domain::limits::{SIM_REQUEST_BODY_MAX, SIM_REQUEST_HEAD_MAX};

/// A request with its body, if it had one.
pub(super) type Request = http::Request<Vec<u8>>;

/// What is answered: status, JSON unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    /// For the header `x-mbx-used-weight-1m`.
    pub(super) used_weight: Option<u32>,
}

impl Response {
    pub(super) fn json(value: &serde_json::Value) -> Self {
        let body = value.to_string().into_bytes();
        Response { status: StatusCode::OK, content_type: "application/json;charset=UTF-8", body, used_weight: None }
    }

    pub(super) fn text(status: StatusCode, text: &str) -> Self {
        let body = text.as_bytes().to_vec();
        Response { status, content_type: "text/plain;charset=UTF-8", body, used_weight: None }
    }

    /// Appends the answer to `out`.
    pub(super) fn write(&self, keep_alive: bool, out: &mut Vec<u8>) {
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {}\r\n",
            self.status.as_str(),
            self.status.canonical_reason().unwrap_or("Unknown"),
            self.content_type,
            self.body.len(),
            if keep_alive { "keep-alive" } else { "close" },
        );
        out.extend_from_slice(head.as_bytes());
        if let Some(used) = self.used_weight {
            out.extend_from_slice(format!("x-mbx-used-weight-1m: {used}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
    }
}

/// Takes one whole request off the front of `inbox`; `None` when more bytes are needed.
///
/// # Errors
/// The status that tells the client what is wrong; the connection ends with it.
pub(super) fn read_request(inbox: &mut Vec<u8>) -> Result<Option<Request>, StatusCode> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let head_len = match head.parse(inbox) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if inbox.len() > SIM_REQUEST_HEAD_MAX => {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(StatusCode::BAD_REQUEST),
    };
    let version = if head.version == Some(1) { http::Version::HTTP_11 } else { http::Version::HTTP_10 };
    let mut builder = http::Request::builder()
        .method(head.method.unwrap_or_default())
        .uri(head.path.unwrap_or_default())
        .version(version);
    let mut body_len = 0;
    for header in head.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(|_| StatusCode::BAD_REQUEST)?;
            body_len = text.trim().parse::<usize>().map_err(|_| StatusCode::BAD_REQUEST)?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
        builder = builder.header(header.name, header.value);
    }
    if body_len > SIM_REQUEST_BODY_MAX {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    if inbox.len() < head_len + body_len {
        return Ok(None);
    }
    let body = inbox[head_len..head_len + body_len].to_vec();
    let request = builder.body(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    inbox.drain(..head_len + body_len);
    Ok(Some(request))
}

/// Whether the client wants the connection back after the answer.
pub(super) fn keeps_alive(request: &Request) -> bool {
    let said = request.headers().get("connection").and_then(|value| value.to_str().ok()).unwrap_or("");
    match request.version() {
        http::Version::HTTP_11 => !said.eq_ignore_ascii_case("close"),
        _ => said.eq_ignore_ascii_case("keep-alive"),
    }
}

/// The value of `name` in the query, decoded.
pub(super) fn query_value(request: &Request, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode(value))
    })
}

/// Undoes percent-encoding; what is not UTF-8 afterwards becomes the replacement character.
pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |b: u8| (b as char).to_digit(16).map(|digit| digit as u8);
        let escaped = match &bytes[at..] {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Escapes everything but the unreserved characters of RFC 3986.
pub(super) fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_one_by_one_whatever_the_cut() {
        let bytes = b"GET /a?x=1%20b&y HTTP/1.1\r\nHost: h\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET";
        for cut in 0..bytes.len() {
            let mut inbox = bytes[..cut].to_vec();
            let mut found = Vec::new();
            for rest in [&b""[..], &bytes[cut..]] {
                inbox.extend_from_slice(rest);
                while let Some(request) = read_request(&mut inbox).unwrap() {
                    found.push(request);
                }
            }
            assert_eq!(found.len(), 2, "cut at {cut}");
            assert_eq!(found[0].uri().path(), "/a");
            assert_eq!(query_value(&found[0], "x").as_deref(), Some("1 b"));
            assert_eq!(query_value(&found[0], "y").as_deref(), Some(""));
            assert_eq!(query_value(&found[0], "z"), None);
            assert_eq!((found[1].method().as_str(), found[1].body().as_slice()), ("POST", &b"abc"[..]));
            assert_eq!(inbox, b"GET");
        }
    }

    #[test]
    fn what_is_refused() {
        for (bytes, status) in [
            (b"\x16\x03\x01 nonsense\r\n\r\n".to_vec(), StatusCode::BAD_REQUEST),
            (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_vec(), StatusCode::BAD_REQUEST),
            (b"GET / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n".to_vec(), StatusCode::PAYLOAD_TOO_LARGE),
            (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), StatusCode::NOT_IMPLEMENTED),
            ([&b"GET /"[..], &[b'a'; SIM_REQUEST_HEAD_MAX]].concat(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        ] {
            assert_eq!(read_request(&mut bytes.clone()).unwrap_err(), status, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn percent_escapes() {
        for (text, decoded) in [
            ("%21markPrice%40arr", "!markPrice@arr"),
            ("%E5%B8%81USDT", "币USDT"),
            ("100%", "100%"),
            ("%zz%2", "%zz%2"),
        ] {
            assert_eq!(percent_decode(text), decoded);
            assert_eq!(percent_decode(&percent_encode(decoded)), decoded);
        }
        assert_eq!(percent_encode("last=币"), "last%3D%E5%B8%81");
    }
}
