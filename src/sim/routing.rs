//! What clients ask for: REST answers, upgrades, and the WebSocket conversation after them.

use std::time::Duration;

use tungstenite::handshake::server::{create_response, write_response};
use tungstenite::http::StatusCode;

use crate::domain::{Mono, Now};

use super::connection::{Connection, Farewell, Mark, Phase};
use super::fault::FaultKind;
use super::http::{Request, Response, keeps_alive, read_request};
use super::ledger::Ending;
use super::rest;
use super::server::{CLOSE_MAX, Server};
use super::websocket::{Outcome, WebSocketSide, read_target};

/// Between requests of a kept connection.
const IDLE_MAX: Duration = Duration::from_secs(60);

impl Server {
    /// Decrypted bytes of a client; answers are queued.
    pub(super) fn handle_plain(&mut self, connection: &mut Connection, plain: &[u8], now: Now) {
        if matches!(connection.phase, Phase::Http) {
            connection.inbox.extend_from_slice(plain);
            self.handle_requests(connection, now);
            return;
        }
        self.handle_websocket(connection, plain, now);
    }

    fn handle_requests(&mut self, connection: &mut Connection, now: Now) {
        while connection.farewell.is_none() {
            let request = match read_request(&mut connection.inbox) {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(status) => {
                    self.answer(connection, &Response::text(status, "bad request\n"), false);
                    return;
                }
            };
            connection.deadline = (now.mono.plus(IDLE_MAX), Ending::TimedOut);
            let asks_upgrade = request.headers().get("upgrade").is_some();
            let target = read_target(request.uri().path(), request.uri().query());
            match (asks_upgrade, target) {
                (true, Some((route, wrapped, names))) => {
                    let side = WebSocketSide::new(route, wrapped, names, &self.rules, now.mono);
                    if self.upgrade(connection, &request, side, now) {
                        let rest = std::mem::take(&mut connection.inbox);
                        self.handle_websocket(connection, &rest, now);
                        return;
                    }
                }
                (false, Some(_)) => {
                    self.answer(connection, &Response::text(StatusCode::BAD_REQUEST, "upgrade expected\n"), false);
                }
                (_, None) => {
                    self.shared.ledger.lock().rest_requests += 1;
                    let response = rest::respond(&request, &self.market, now.wall.as_millis());
                    self.answer(connection, &response, keeps_alive(&request));
                }
            }
        }
    }

    fn answer(&mut self, connection: &mut Connection, response: &Response, keep_alive: bool) {
        let mut bytes = Vec::with_capacity(response.body.len() + 256);
        response.write(keep_alive, &mut bytes);
        connection.queue(&bytes);
        if !keep_alive {
            connection.leave(Farewell { ending: Ending::Answered, polite: true });
        }
    }

    /// Whether the connection is a WebSocket now.
    fn upgrade(&mut self, connection: &mut Connection, request: &Request, side: WebSocketSide, now: Now) -> bool {
        let target = request.uri().to_string();
        if let Some(status) = self.door.refuse_upgrade.take() {
            let mut ledger = self.shared.ledger.lock();
            ledger.upgrades_refused += 1;
            ledger.count_fault(FaultKind::RefuseUpgrade { status });
            drop(ledger);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            self.answer(connection, &Response::text(status, "refused by the simulator\n"), false);
            return false;
        }
        let head = tungstenite::http::Request::from_parts(request.clone().into_parts().0, ());
        let mut bytes = Vec::with_capacity(256);
        let accepted = create_response(&head).and_then(|response| write_response(&mut bytes, &response));
        if let Err(error) = accepted {
            tracing::debug!(%error, target, "an upgrade is malformed");
            self.shared.ledger.lock().upgrades_refused += 1;
            self.answer(connection, &Response::text(StatusCode::BAD_REQUEST, "malformed upgrade\n"), false);
            return false;
        }
        tracing::debug!(connection = connection.id, target, "upgraded");
        self.shared.ledger.lock().open(connection.id, connection.peer, target);
        connection.deadline = (Mono::NEVER, Ending::TimedOut);
        let glued = self.glue(connection.id, &side, &mut bytes, now);
        connection.phase = Phase::WebSocket(Box::new(side));
        connection.queue(&bytes);
        if let Some(record) = glued {
            connection.mark(Mark::Frame(record));
        }
        true
    }

    fn handle_websocket(&mut self, connection: &mut Connection, bytes: &[u8], now: Now) {
        let Phase::WebSocket(side) = &mut connection.phase else { return };
        let received = side.handle_bytes(bytes, &self.rules, now.mono);
        let mut ledger = self.shared.ledger.lock();
        ledger.client_messages += received.messages;
        ledger.pongs_matched += received.pongs_matched;
        ledger.pongs_unsolicited += received.pongs_unsolicited;
        drop(ledger);
        match received.outcome {
            Outcome::Open => {}
            Outcome::TooFast => connection.deadline = (now.mono.plus(CLOSE_MAX), Ending::RateLimited),
            Outcome::Breach => connection.leave(Farewell { ending: Ending::ClientProtocol, polite: true }),
            Outcome::Closed => {
                let ending = connection.reason(Ending::ClientClosed);
                connection.leave(Farewell { ending, polite: true });
            }
        }
    }
}
