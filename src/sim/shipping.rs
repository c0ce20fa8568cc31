//! Events of accounts on their way to sockets: generated, recorded, handed to each connection that wants them, counted when
//! the last byte is gone.
//!
//! The accounts are locked while events are made and queued; no system call happens meanwhile.

use std::sync::Arc;

use crate::domain::Now;

use super::connection::{Connection, Farewell, Mark, Phase};
use super::framing::{OPCODE_TEXT, write_frame};
use super::ledger::Ending;
use super::private::account_ledger::Missed;
use super::private::fault::AccountFault;
use super::private::life::LifeKind;
use super::private::sessions::AccountSession;
use super::private::subscription::SpellingAnswer;
use super::private::{Account, Event, ExpiryNotice, What, listen_key_expired};
use super::server::Server;
use super::websocket::Rules;

/// Steps of lives in one turn of the loop, so that a high rate cannot starve reading.
const STEPS_PER_TURN_MAX: usize = 256;

/// One frame on its way: its number in the ledger, if there was room.
pub(super) struct Parcel {
    pub(super) number: Option<u64>,
    pub(super) event: Event,
}

impl Server {
    /// As many frames as the pace wants.
    pub(super) fn run_lives(&mut self, now: Now) {
        if now.mono < self.pace.due() {
            return;
        }
        self.pace.earn(now.mono);
        for _ in 0..STEPS_PER_TURN_MAX {
            if !self.pace.has_credit() {
                return;
            }
            let Some(index) = self.shared.accounts.lock().draw() else { return };
            let parcels = self.produce(index, What::Step, now);
            let parcels = self.with_doubles(parcels);
            self.pace.spend(parcels.len());
            self.deliver(index, &parcels, now);
        }
    }

    /// A whole life at once, on demand.
    pub(super) fn run_life(&mut self, index: usize, kind: LifeKind, now: Now) {
        if index < self.shared.accounts.lock().list.len() {
            let parcels = self.produce(index, What::Life(kind), now);
            self.deliver(index, &parcels, now);
        }
    }

    /// Keys whose time is over.
    pub(super) fn expire_keys(&mut self, now: Now) {
        loop {
            let shared = Arc::clone(&self.shared);
            let mut accounts = shared.accounts.lock();
            let notice = accounts.config.expiry_notice;
            let Some(index) = accounts.poll_expired(now.mono) else { return };
            drop(accounts);
            self.expire_key(index, notice, now);
        }
    }

    /// The account's key dies, and the client hears of it or not.
    pub(super) fn expire_key(&mut self, index: usize, notice: ExpiryNotice, now: Now) {
        let shared = Arc::clone(&self.shared);
        let mut accounts = shared.accounts.lock();
        let Some(key) = accounts.list[index].keys.active().cloned() else { return };
        let mut parcels = Vec::new();
        if notice != ExpiryNotice::Silent {
            let event_ms = accounts.list[index].lives.tell(now.wall.as_millis()).event_ms;
            let event = listen_key_expired(notice, &key, event_ms);
            let number = accounts.record(index, &event, false, now);
            parcels.push(Parcel { number, event });
            if notice == ExpiryNotice::Twice {
                parcels.extend(parcels.first().map(Parcel::again));
            }
        }
        // It is said on the sockets of the dying key, which from then on are silent.
        self.hand_out(&mut accounts.list[index], index, &parcels, true, now);
        accounts.drop_key(index);
        let sockets = accounts.list[index].sockets.clone();
        drop(accounts);
        self.flush_all(&sockets, now);
    }

    /// The next events of an account, recorded.
    pub(super) fn produce(&mut self, index: usize, what: What, now: Now) -> Vec<Parcel> {
        let mut accounts = self.shared.accounts.lock();
        let events = accounts.step(index, what, &self.market, now.wall.as_millis());
        let parcel = |event| Parcel { number: accounts.record(index, &event, false, now), event };
        events.into_iter().map(parcel).collect()
    }

    /// To every connection of the account that wants them.
    pub(super) fn deliver(&mut self, index: usize, parcels: &[Parcel], now: Now) {
        let shared = Arc::clone(&self.shared);
        let mut accounts = shared.accounts.lock();
        self.hand_out(&mut accounts.list[index], index, parcels, false, now);
        let sockets = accounts.list[index].sockets.clone();
        drop(accounts);
        self.flush_all(&sockets, now);
    }

    /// Half of a frame, then the end of TCP, on every connection of the account.
    pub(super) fn deliver_half(&mut self, index: usize, parcels: &[Parcel], ending: Ending, now: Now) {
        let shared = Arc::clone(&self.shared);
        let mut accounts = shared.accounts.lock();
        let account = &mut accounts.list[index];
        for id in &account.sockets.clone() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let mut half = None;
            let mut is_filtered = true;
            for parcel in parcels {
                let wrapped = wrap(connection, index, parcel, account, &self.rules, false, now);
                is_filtered &= matches!(wrapped, Err(Missed::Filtered));
                if let Some(number) = parcel.number {
                    account.ledger.skipped(number, wrapped.as_ref().err().copied().unwrap_or(Missed::Lost));
                }
                half = half.or(wrapped.ok());
            }
            // Of events that it does not want it gets no half, but its end.
            if half.is_some() || is_filtered {
                connection.pump(now.mono);
                let frame = half.unwrap_or_default();
                connection.queue(&frame[..frame.len() / 2]);
                connection.leave(Farewell { ending, polite: false });
                account.ledger.fall_silent(*id, now.wall);
            }
        }
        let sockets = account.sockets.clone();
        drop(accounts);
        self.flush_all(&sockets, now);
    }

    fn hand_out(&mut self, account: &mut Account, index: usize, parcels: &[Parcel], dying: bool, now: Now) {
        for id in &account.sockets.clone() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.pump(now.mono);
            for parcel in parcels {
                let wrapped = wrap(connection, index, parcel, account, &self.rules, dying, now);
                match (wrapped, parcel.number) {
                    (Ok(bytes), number) => {
                        let frame = number.map(|number| (index, number));
                        if let Some(number) = number {
                            account.ledger.queued(number);
                        }
                        send(connection, frame, bytes, now);
                    }
                    (Err(why), Some(number)) => account.ledger.skipped(number, why),
                    (Err(_), None) => {}
                }
            }
        }
    }

    pub(super) fn flush_all(&mut self, sockets: &[u64], now: Now) {
        for &id in sockets {
            let Some(mut connection) = self.connections.remove(&id) else { continue };
            match self.flush(&mut connection, now) {
                Ok(()) => self.put_back(connection, now),
                Err(ending) => self.finish(connection, ending),
            }
        }
    }

    fn with_doubles(&mut self, parcels: Vec<Parcel>) -> Vec<Parcel> {
        let one_in = self.config.accounts.duplicate_one_in;
        if one_in == 0 {
            return parcels;
        }
        let mut out = Vec::with_capacity(parcels.len() + 1);
        for parcel in parcels {
            let double = (self.random.below(one_in) == 0).then(|| parcel.again());
            out.push(parcel);
            out.extend(double);
        }
        out
    }

    /// Takes the accounts' frames out of what went into a socket, and counts them.
    pub(super) fn count_account_frames(&mut self, delivered: &mut Vec<(u64, Mark)>, now: Now) {
        if !delivered.iter().any(|(_, mark)| matches!(mark, Mark::Account { .. })) {
            return;
        }
        let mut accounts = self.shared.accounts.lock();
        delivered.retain(|(id, mark)| {
            let &Mark::Account { account, frame } = mark else { return true };
            accounts.list[account].ledger.delivered(frame, *id, now.wall);
            false
        });
        drop(accounts);
        self.shared.delivered.notify_all();
    }

    /// A private connection's subscriptions were named, or bytes went into its socket.
    pub(super) fn note_sign_of_life(&mut self, connection: &mut Connection, now: Now) {
        let id = connection.id;
        let Some(side) = connection.websocket().and_then(|side| side.private_mut()) else { return };
        let is_named = std::mem::take(&mut side.is_named);
        let mut accounts = self.shared.accounts.lock();
        for &index in &side.accounts {
            let ledger = &mut accounts.list[index].ledger;
            ledger.speak(id, now.wall);
            if is_named {
                ledger.prove(id, now.wall);
            }
        }
    }

    /// Enters a connection in the lists of the accounts whose keys it asks for, and takes it out of the others.
    pub(super) fn enter_accounts(&mut self, connection: &mut Connection, now: Now) {
        let (id, peer) = (connection.id, connection.peer);
        let Some(side) = connection.websocket().and_then(|side| side.private_mut()) else { return };
        if !std::mem::take(&mut side.is_changed) {
            return;
        }
        let mut accounts = self.shared.accounts.lock();
        let before = std::mem::take(&mut side.accounts);
        for one in &side.subscriptions {
            let Some(index) = one.account.filter(|index| !side.accounts.contains(index)) else { continue };
            side.accounts.push(index);
            if self.rules.private.spellings.answer(one.spelling) == SpellingAnswer::Delivers {
                accounts.begin(index);
                self.pace.wake(now.mono);
            }
            if !before.contains(&index) {
                accounts.list[index].sockets.push(id);
                accounts.list[index].ledger.open(AccountSession::new(id, peer, one.spelling, now.wall));
            }
        }
        for index in before.into_iter().filter(|index| !side.accounts.contains(index)) {
            accounts.list[index].sockets.retain(|socket| *socket != id);
        }
    }

    /// The connection is over; what it did not deliver is lost.
    pub(super) fn leave_accounts(&mut self, connection: &mut Connection, ending: Ending, now: Now) {
        let lost = connection.take_unsent();
        let id = connection.id;
        let Some(side) = connection.websocket().and_then(|side| side.private_mut()) else { return };
        let mut accounts = self.shared.accounts.lock();
        for (account, frame) in lost {
            accounts.list[account].ledger.lost(frame);
        }
        for &index in &side.accounts {
            let account = &mut accounts.list[index];
            account.sockets.retain(|socket| *socket != id);
            account.ledger.end(id, now.wall, ending);
        }
        drop(accounts);
        self.shared.delivered.notify_all();
    }
}

impl Parcel {
    /// The same frame once more.
    pub(super) fn again(&self) -> Parcel {
        Parcel { number: self.number, event: self.event.clone() }
    }
}

/// The WebSocket frame of an event for this connection. `dying` lets a key that is over have its last word.
fn wrap(
    connection: &mut Connection,
    index: usize,
    parcel: &Parcel,
    account: &Account,
    rules: &Rules,
    dying: bool,
    now: Now,
) -> Result<Vec<u8>, Missed> {
    let is_blocked = connection.is_blocked();
    let is_half_open = connection.half_open.is_some();
    let Phase::WebSocket(side) = &mut connection.phase else { return Err(Missed::NobodyListened) };
    let private = side.private_mut().ok_or(Missed::NobodyListened)?;
    let is_alive = |key: &str| match dying {
        true => account.keys.active().is_some_and(|active| **active == *key),
        false => account.keys.delivers(key, now.mono),
    };
    let subscription = private.route(index, parcel.event.name, is_alive, &rules.private, now.mono)?;
    if is_half_open {
        return Err(Missed::HalfOpen);
    }
    if is_blocked {
        return Err(Missed::Blocked);
    }
    let stream = subscription.stream(parcel.event.name);
    let payload = side.payload(&stream, parcel.event.text.as_bytes());
    let mut bytes = Vec::with_capacity(payload.len() + 10);
    write_frame(OPCODE_TEXT, true, &payload, &mut bytes);
    Ok(bytes)
}

/// Queues a frame, or holds it back.
fn send(connection: &mut Connection, frame: Option<(usize, u64)>, bytes: Vec<u8>, now: Now) {
    let private = connection.websocket().and_then(|side| side.private_mut());
    if let Some(private) = private
        && let Some(due) = private.holds_until(now.mono)
    {
        return private.hold(due, frame, bytes);
    }
    connection.queue(&bytes);
    if let Some((account, frame)) = frame {
        connection.mark(Mark::Account { account, frame });
    }
}

/// Whether a fault can show on this connection.
pub(super) fn is_struck_by(
    connection: &mut Connection,
    index: usize,
    account: &Account,
    rules: &Rules,
    now: Now,
) -> bool {
    if connection.is_blocked() || connection.half_open.is_some() {
        return false;
    }
    let side = connection.websocket().and_then(|side| side.private_mut());
    side.is_some_and(|side| {
        let is_alive = |key: &str| account.keys.delivers(key, now.mono);
        let routed = side.route(index, "ORDER_TRADE_UPDATE", is_alive, &rules.private, now.mono);
        // A connection that filters orders out lives all the same.
        matches!(routed, Ok(_) | Err(Missed::Filtered)) && now.mono >= side.muted_until.max(side.stalled_until)
    })
}

/// The ending that a fault gives.
pub(super) fn ended_by(fault: AccountFault) -> Ending {
    Ending::AccountFault(fault)
}
