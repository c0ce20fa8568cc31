//! What clients ask for: REST answers, upgrades, and the WebSocket conversation after them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tungstenite::handshake::server::{create_response, write_response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::domain::{Mono, Now};

use super::connection::{Connection, Farewell, Mark, Phase};
use super::fault::FaultKind;
use super::gate::{self, ConnectRefusal};
use super::http::{Request, Response, keeps_alive, query_value, read_request};
use super::ledger::Ending;
use super::private::desk;
use super::private::fault::AccountFault;
use super::private::reads::{self, Read, Reply};
use super::private::side::PrivateSide;
use super::private::subscription::{SpellingAnswer, add, read_names, read_query};
use super::rest;
use super::server::{CLOSE_MAX, Server};
use super::websocket::{Outcome, Route, WebSocketSide, read_target};

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
            let delayed = connection.delayed.take();
            let is_admitted = delayed.is_some();
            let request =
                match delayed.map_or_else(|| read_request(&mut connection.inbox), |request| Ok(Some(*request))) {
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
                    let refused = if is_admitted { None } else { self.admit(connection, now) };
                    if matches!(refused, Some(ConnectRefusal::Status(_) | ConnectRefusal::Hangup)) {
                        return;
                    }
                    let side = if route == Route::Private {
                        match self.private_side(connection, &request, wrapped, &names, is_admitted, now) {
                            Some(side) => side,
                            None => return,
                        }
                    } else {
                        WebSocketSide::new(route, wrapped, names, &self.rules, now.mono)
                    };
                    if self.upgrade(connection, &request, side, now) {
                        if refused.is_some() {
                            self.turn_away(connection, now);
                        }
                        let rest = std::mem::take(&mut connection.inbox);
                        self.enter_accounts(connection, now);
                        self.handle_websocket(connection, &rest, now);
                        return;
                    }
                }
                (false, Some(_)) => {
                    self.answer(connection, &Response::text(StatusCode::BAD_REQUEST, "upgrade expected\n"), false);
                }
                (_, None) => match self.answer_rest(connection.peer.ip(), &request, now) {
                    Reply::Answer(response, delay) => {
                        self.answer(connection, &response, keeps_alive(&request));
                        if !delay.is_zero() {
                            connection.asleep_until = now.mono.plus(delay);
                        }
                    }
                    Reply::Half(response) => {
                        let mut bytes = Vec::new();
                        response.write(true, &mut bytes);
                        connection.queue(&bytes[..bytes.len() - response.body.len().div_ceil(2)]);
                        connection.leave(Farewell { ending: Ending::Answered, polite: true });
                    }
                    Reply::Reset => connection.leave(Farewell { ending: Ending::Answered, polite: false }),
                },
            }
        }
    }

    /// What becomes of an upgrade above the connect limit.
    fn admit(&mut self, connection: &mut Connection, now: Now) -> Option<ConnectRefusal> {
        let ip = connection.peer.ip();
        let refusal = self.gate.connect(ip, now.mono, &mut self.shared.ledger.lock())?;
        match refusal {
            ConnectRefusal::Status(status) => {
                self.shared.ledger.lock().upgrades_refused += 1;
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
                self.answer(connection, &Response::text(status, "too many connection attempts\n"), false);
            }
            ConnectRefusal::Hangup => {
                connection.leave(Farewell { ending: Ending::ConnectLimit, polite: false });
            }
            ConnectRefusal::Close1008 => {}
        }
        Some(refusal)
    }

    /// A close frame 1008 right after the upgrade.
    fn turn_away(&mut self, connection: &mut Connection, now: Now) {
        if let Phase::WebSocket(side) = &mut connection.phase {
            side.close(CloseCode::Policy, "Too many connection attempts");
        }
        connection.deadline = (now.mono.plus(CLOSE_MAX), Ending::ConnectLimit);
    }

    /// The private part of an upgrade; `None` where it is refused or answered later.
    fn private_side(
        &mut self,
        connection: &mut Connection,
        request: &Request,
        wrapped: bool,
        names: &[String],
        is_admitted: bool,
        now: Now,
    ) -> Option<WebSocketSide> {
        let refuse = |server: &mut Server, connection: &mut Connection, status: u16| {
            server.shared.ledger.lock().upgrades_refused += 1;
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            server.answer(connection, &Response::text(status, "refused by the simulator\n"), false);
        };
        let Ok(mut subscriptions) = read_query(wrapped, request.uri().query().unwrap_or("")) else {
            refuse(self, connection, 400);
            return None;
        };
        for named in read_names(wrapped, names) {
            add(&mut subscriptions, named);
        }
        for one in &subscriptions {
            if let SpellingAnswer::Refused(status) = self.rules.private.spellings.answer(one.spelling) {
                refuse(self, connection, status);
                return None;
            }
        }
        let shared = Arc::clone(&self.shared);
        let mut accounts = shared.accounts.lock();
        for one in &mut subscriptions {
            one.account = accounts.of_listen_key(&one.key);
        }
        let mut side = PrivateSide::new(subscriptions);
        let first = side.subscriptions.iter().find_map(|one| one.account);
        if let Some(account) = first.and_then(|index| accounts.list.get_mut(index)) {
            let (until, status) = account.refuses_until;
            if now.mono < until {
                drop(accounts);
                refuse(self, connection, status);
                return None;
            }
            if let Some(AccountFault::RefuseUpgrade { status }) =
                account.meet(|fault| matches!(fault, AccountFault::RefuseUpgrade { .. }))
            {
                drop(accounts);
                refuse(self, connection, status);
                return None;
            }
            if !is_admitted
                && let Some(AccountFault::SlowHandshake { delay }) =
                    account.meet(|fault| matches!(fault, AccountFault::SlowHandshake { .. }))
            {
                connection.delayed = Some(Box::new(request.clone()));
                connection.asleep_until = now.mono.plus(delay);
                return None;
            }
            if account.meet(|fault| *fault == AccountFault::MuteNext).is_some() {
                side.muted_until = Mono::NEVER;
            }
            if let Some(AccountFault::LagNext { delay }) =
                account.meet(|fault| matches!(fault, AccountFault::LagNext { .. }))
            {
                side.lag = delay;
            }
        }
        Some(WebSocketSide::private(wrapped, side, &self.private_rules, now.mono))
    }

    /// The answer to a request that is no upgrade.
    fn answer_rest(&mut self, source: IpAddr, request: &Request, now: Now) -> Reply {
        let path = request.uri().path();
        let now_ms = now.wall.as_millis();
        let mut ledger = self.shared.ledger.lock();
        ledger.rest_requests += 1;
        if !path.starts_with("/fapi/") {
            return Reply::Answer(rest::respond(request, &self.market, now_ms), Duration::ZERO);
        }
        let has_symbol = query_value(request, "symbol").is_some_and(|symbol| !symbol.is_empty());
        let (refusal, used) = self.gate.request(source, gate::weight(path, has_symbol), now, &mut ledger);
        drop(ledger);
        let everybody = self.gate.read_fault(now.mono);
        let mut reply = match (refusal, Read::of(path)) {
            (Some(refusal), _) => Reply::Answer(refusal, Duration::ZERO),
            (None, Some(read)) => {
                let mut accounts = self.shared.accounts.lock();
                reads::respond(request, read, source, &mut accounts, &self.market, everybody, now)
            }
            (None, None) if path == desk::PATH => {
                let (response, delay) = desk::respond(request, source, &mut self.shared.accounts.lock(), now);
                Reply::Answer(response, delay)
            }
            (None, None) => Reply::Answer(rest::respond(request, &self.market, now_ms), Duration::ZERO),
        };
        if let Reply::Answer(response, _) | Reply::Half(response) = &mut reply {
            response.used_weight = Some(used);
        }
        reply
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
        let target = mask(&request.uri().to_string());
        // The faults of prices meet no account.
        let is_private = side.route() == Route::Private;
        if let Some(status) = self.door.refuse_upgrade.take_if(|_| !is_private) {
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
        if side.route() == Route::Market {
            self.takers.insert(connection.id);
        }
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
        let rules = if side.route() == Route::Private { &self.private_rules } else { &self.rules };
        let shared = Arc::clone(&self.shared);
        let whose = |key: &str| shared.accounts.lock().of_listen_key(key);
        let received = side.handle_bytes(bytes, rules, &whose, now.mono);
        let mut ledger = self.shared.ledger.lock();
        ledger.client_messages += received.messages;
        ledger.pongs_matched += received.pongs_matched;
        ledger.pongs_unsolicited += received.pongs_unsolicited;
        drop(ledger);
        self.enter_accounts(connection, now);
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

/// Overwrites whatever is as long as a listen key.
fn mask(target: &str) -> String {
    let mut out = String::with_capacity(target.len());
    let mut run = String::new();
    for c in target.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_alphanumeric() {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() >= 32 { "***" } else { &run });
        run.clear();
        out.push(c);
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_left_in_a_target() {
        let key = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
        for (target, masked) in [
            (format!("/private/ws/{key}"), "/private/ws/***"),
            (
                format!("/private/ws?listenKey={key}&events=ORDER_TRADE_UPDATE"),
                "/private/ws?listenKey=***&events=ORDER_TRADE_UPDATE",
            ),
            (format!("/private/stream?streams={key}@TRADE_LITE/{key}"), "/private/stream?streams=***@TRADE_LITE/***"),
            ("/market/ws/!markPrice@arr@1s".to_owned(), "/market/ws/!markPrice@arr@1s"),
        ] {
            assert_eq!(mask(&target), masked);
        }
    }
}
