//! Faults of accounts and of the venue taking effect.

use std::sync::Arc;

use crate::domain::limits::{SIM_ACCOUNT_OVERSIZE_LEN, SIM_FAULTS_WAITING_MAX};
use crate::domain::{Mono, Now};

use super::injection::{flood_pings, go_away, send_oversize, throw_garbage};
use super::ledger::Ending;
use super::private::What;
use super::private::fault::{AccountFault, Injection, VenueFault};
use super::server::Server;
use super::shipping::{Parcel, ended_by, is_struck_by};

impl Server {
    /// A fault is asked for.
    pub(super) fn inject(&mut self, injection: Injection, now: Now) {
        match injection {
            Injection::Prices(kind) => self.ask(kind),
            Injection::Venue(fault) => self.strike_venue(fault, now),
            Injection::Account { account: index, fault } => {
                let shared = Arc::clone(&self.shared);
                let mut accounts = shared.accounts.lock();
                let Some(account) = accounts.list.get_mut(index) else {
                    tracing::warn!(account = index, fault = fault.as_str(), "there is no such account");
                    return;
                };
                let queue = if fault.waits_at_door() { &mut account.door } else { &mut account.faults };
                if queue.len() == SIM_FAULTS_WAITING_MAX {
                    tracing::warn!(
                        account = index,
                        fault = fault.as_str(),
                        "too many faults wait; this one is dropped"
                    );
                    return;
                }
                queue.push_back(fault);
                account.count_waiting();
                drop(accounts);
                self.faulty.insert(index);
                self.apply_account_faults(now);
            }
        }
    }

    /// Nothing waits any more, nothing is held back, no order life goes on.
    pub(super) fn calm_accounts(&mut self, now: Now) {
        self.pace.set(0.0, now.mono);
        self.faulty.clear();
        let mut sockets = Vec::new();
        for account in &mut self.shared.accounts.lock().list {
            account.faults.clear();
            account.door.clear();
            account.refuses_until = (Mono::ZERO, 0);
            account.count_waiting();
            sockets.extend_from_slice(&account.sockets);
        }
        for id in sockets {
            if let Some(side) = self.connections.get_mut(&id).and_then(|one| one.websocket()?.private_mut()) {
                side.calm();
            }
            self.step(id, now);
        }
    }

    /// Faults whose account has a live connection now.
    pub(super) fn apply_account_faults(&mut self, now: Now) {
        for index in self.faulty.clone() {
            while let Some(fault) = self.next_fault(index, now) {
                tracing::info!(account = index, fault = fault.as_str(), "injected");
                self.strike_account(index, fault, now);
            }
            if self.shared.accounts.lock().list[index].faults.is_empty() {
                self.faulty.remove(&index);
            }
        }
    }

    fn next_fault(&mut self, index: usize, now: Now) -> Option<AccountFault> {
        let shared = Arc::clone(&self.shared);
        let mut accounts = shared.accounts.lock();
        let account = &mut accounts.list[index];
        let next = *account.faults.front()?;
        // A key dies, and a door shuts, whether anybody listens or not.
        let at_once = matches!(
            next,
            AccountFault::ExpireKey { .. } | AccountFault::NumbKey | AccountFault::RefuseUpgrades { .. }
        );
        let sockets = account.sockets.clone();
        let mut is_live = |id: &u64| {
            self.connections.get_mut(id).is_some_and(|one| is_struck_by(one, index, account, &self.rules, now))
        };
        if !at_once && !sockets.iter().any(&mut is_live) {
            return None;
        }
        account.faults.pop_front();
        account.ledger.count_fault(next.as_str());
        account.count_waiting();
        Some(next)
    }

    fn strike_account(&mut self, index: usize, fault: AccountFault, now: Now) {
        match fault {
            AccountFault::ExpireKey { notice } => self.expire_key(index, notice, now),
            AccountFault::RefuseUpgrades { status, lasts } => {
                self.shared.accounts.lock().list[index].refuses_until = (now.mono.plus(lasts), status);
            }
            AccountFault::NumbKey => self.shared.accounts.lock().list[index].keys.numb_active(),
            AccountFault::Flood { frames } => {
                let parcels = self.produce(index, What::Flood(frames as usize), now);
                self.deliver(index, &parcels, now);
            }
            AccountFault::HalfFrame => {
                let parcels = self.produce(index, What::Step, now);
                self.deliver_half(index, &parcels, ended_by(fault), now);
            }
            AccountFault::Malformed => {
                let parcels = self.produce(index, What::Step, now);
                let mut all = vec![self.damaged(index, &parcels[0], now)];
                all.extend(parcels);
                self.deliver(index, &all, now);
            }
            AccountFault::Duplicate => {
                let mut parcels = self.produce(index, What::Step, now);
                parcels.insert(1, parcels[0].again());
                self.deliver(index, &parcels, now);
            }
            AccountFault::Replay => {
                let mut parcels = self.produce(index, What::Step, now);
                let old = self.shared.accounts.lock().list[index].recent.front().cloned();
                parcels.extend(old.map(|(number, event)| Parcel { number: Some(number), event }));
                self.deliver(index, &parcels, now);
            }
            AccountFault::Reorder => {
                let mut parcels = self.produce(index, What::Step, now);
                while parcels.len() < 2 {
                    parcels.append(&mut self.produce(index, What::Step, now));
                }
                parcels.swap(0, 1);
                self.deliver(index, &parcels, now);
            }
            _ => self.strike_sockets(index, fault, now),
        }
    }

    /// Faults of the connection rather than of what is sent on it.
    fn strike_sockets(&mut self, index: usize, fault: AccountFault, now: Now) {
        let mut sockets = self.shared.accounts.lock().list[index].sockets.clone();
        if matches!(fault, AccountFault::Lag { .. }) {
            // One that lags behind the others is the case of interest.
            sockets.drain(..sockets.len().saturating_sub(1));
        }
        for id in sockets {
            let Some(mut connection) = self.connections.remove(&id) else { continue };
            connection.pump(now.mono);
            match fault {
                AccountFault::Cut => {
                    self.finish(connection, ended_by(fault));
                    continue;
                }
                AccountFault::Close => go_away(&mut connection, ended_by(fault), now),
                AccountFault::Garbage => throw_garbage(&mut connection, &mut self.random, false, ended_by(fault), now),
                AccountFault::TlsGarbage => {
                    throw_garbage(&mut connection, &mut self.random, true, ended_by(fault), now)
                }
                AccountFault::Oversize => send_oversize(&mut connection, SIM_ACCOUNT_OVERSIZE_LEN),
                AccountFault::PingFlood => {
                    let pings = flood_pings(&mut connection, &self.private_rules, now);
                    self.shared.ledger.lock().pings_sent += pings;
                }
                AccountFault::Silence { lasts } => {
                    connection.asleep_until = Mono::NEVER;
                    connection.half_open = Some(fault);
                    connection.deadline = (now.mono.plus(lasts), ended_by(fault));
                }
                AccountFault::Deaf { lasts } => connection.deaf_until = now.mono.plus(lasts),
                _ => {}
            }
            if let Some(side) = connection.websocket().and_then(|side| side.private_mut()) {
                match fault {
                    AccountFault::Mute { lasts } => side.muted_until = now.mono.plus(lasts),
                    AccountFault::Stall { lasts } => side.stalled_until = now.mono.plus(lasts),
                    AccountFault::Lag { delay } => side.lag = delay,
                    _ => {}
                }
            }
            if connection.half_open.is_some() || connection.is_at_its_end() {
                self.shared.accounts.lock().list[index].ledger.fall_silent(id, now.wall);
            }
            match self.flush(&mut connection, now) {
                Ok(()) => self.put_back(connection, now),
                Err(ending) => self.finish(connection, ending),
            }
        }
    }

    /// A frame like this one whose JSON is damaged, though its braces are balanced: a colon is missing.
    fn damaged(&mut self, index: usize, parcel: &Parcel, now: Now) -> Parcel {
        let mut event = parcel.event.clone();
        event.text = event.text.replacen("\"E\":", "\"E\" ", 1);
        let number = self.shared.accounts.lock().record(index, &event, true, now);
        Parcel { number, event }
    }

    fn strike_venue(&mut self, fault: VenueFault, now: Now) {
        tracing::info!(fault = fault.as_str(), "injected");
        self.shared.ledger.lock().count_fault_named(fault.as_str());
        self.gate.strike(fault, now.mono);
        match fault {
            VenueFault::RefuseConnects { lasts } => self.close_door(now.mono.plus(lasts)),
            VenueFault::Outage { lasts } => {
                self.close_door(now.mono.plus(lasts));
                for (_, connection) in std::mem::take(&mut self.connections) {
                    self.finish(connection, Ending::VenueFault(fault));
                }
            }
            VenueFault::StaleReads { lag } => self.shared.accounts.lock().config.reads.lag = lag,
            _ => {}
        }
    }
}
