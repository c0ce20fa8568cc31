//! The application that trades on an account beside other people: asked before its orders reach the venue.
//!
//! An application writes an order into its own tables, then sends it; so an [`Announcement`] comes before the first frame of
//! an order, and the order waits until [`Application::send`]. What is not answered is never placed. Nothing here blocks the
//! venue: at most eight lives of an account wait, and the queue of announcements is bounded.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::sim::Shared;

use super::book::{AccountBook, AlgoTruth, OrderTruth};
use super::decimal::{Padded, Trimmed};
use super::event::Times;
use super::life::{Life, LifeKind, Lives, Move, Own, Placement, Prices};

/// One in so many lives is somebody else's, where an application trades.
const FOREIGN_ONE_IN: u64 = 5;

/// What an application is about to ask of the venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// [`AccountCredentials::index`](super::AccountCredentials::index).
    pub account: usize,
    /// Grows on the account.
    pub ticket: u64,
    /// What it is.
    pub wish: Wish,
}

/// Place or cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A new order.
    Place(PlacedOrder),
    /// The order with this client id is to end.
    Cancel {
        /// `c` or `caid`.
        client_id: String,
    },
}

/// An order of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedOrder {
    /// `c`, or `caid` of an algo order: the application's own choice.
    pub client_id: String,
    /// `i`, or `aid`: what the venue's answer is going to say.
    pub id: u64,
    /// It is an algo order.
    pub is_algo: bool,
    /// What it is for.
    pub purpose: Purpose,
    /// What is traded.
    pub symbol: Arc<str>,
    /// `S`.
    pub side: &'static str,
    /// `ps`.
    pub position_side: &'static str,
    /// The position that it belongs to is long.
    pub is_long: bool,
    /// `q`, padded.
    pub quantity: String,
    /// `p` or `tp`, without trailing zeros; of a market order the price that it is placed at.
    pub price: String,
}

/// What an application places an order for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// It opens at the market.
    Entry,
    /// It opens at a price.
    Rung,
    /// It closes at a price.
    TakeProfit,
    /// It closes when a price is reached.
    Stop,
}

/// The application's end; clones share it.
#[derive(Clone)]
pub struct Application {
    pub(in crate::sim) announcements: Receiver<Announcement>,
    pub(in crate::sim) shared: Arc<Shared>,
}

impl Application {
    /// The next announcement; `None` where there is none for so long, or the simulator is gone.
    #[must_use]
    pub fn next(&self, timeout: Duration) -> Option<Announcement> {
        self.announcements.recv_timeout(timeout).ok()
    }

    /// Sends the request on: from now on the venue may act on it. A ticket that is not open is ignored.
    pub fn send(&self, announcement: &Announcement) {
        if let Some(account) = self.shared.accounts.lock().list.get_mut(announcement.account) {
            account.lives.answer(announcement.ticket);
        }
    }
}

/// Where an application's next request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Nothing,
    Waiting(u64),
    Answered,
}

/// An order that has been announced, and is not in the book yet.
#[derive(Clone, Debug)]
pub(super) enum Draft {
    Order(OrderTruth),
    Algo(AlgoTruth),
}

impl Life {
    pub(super) fn take_order(&mut self) -> Option<OrderTruth> {
        match self.own.as_mut()?.draft.take()? {
            Draft::Order(order) => Some(order),
            Draft::Algo(_) => None,
        }
    }

    pub(super) fn take_algo(&mut self) -> Option<AlgoTruth> {
        match self.own.as_mut()?.draft.take()? {
            Draft::Algo(algo) => Some(algo),
            Draft::Order(_) => None,
        }
    }
}

impl OrderTruth {
    /// The same, placed now.
    pub(super) fn at(mut self, times: Times) -> Self {
        (self.created_ms, self.updated_ms) = (times.transaction_ms, times.transaction_ms);
        self
    }
}

impl LifeKind {
    /// Whether an application would do such a thing.
    const fn is_of_applications(self) -> bool {
        matches!(
            self,
            LifeKind::Filled
                | LifeKind::Canceled
                | LifeKind::Amended
                | LifeKind::ExpiredIoc
                | LifeKind::ExpiredGtd
                | LifeKind::ExpiredInMatch
                | LifeKind::Market
                | LifeKind::AlgoTriggered
                | LifeKind::AlgoZeroFill
                | LifeKind::AlgoCanceled
                | LifeKind::AlgoExpired
                | LifeKind::AlgoRejected
        )
    }

    const fn may_take_profit(self) -> bool {
        matches!(self, LifeKind::Filled | LifeKind::Canceled | LifeKind::Amended)
    }
}

impl Lives {
    /// Whether a new life is the application's.
    pub(super) fn draw_own(&mut self, kind: LifeKind) -> Option<Own> {
        if !self.has_application || !kind.is_of_applications() || self.random.below(FOREIGN_ONE_IN) == 0 {
            return None;
        }
        let takes_profit = kind.may_take_profit() && self.random.below(2) == 0;
        let cancels = self.random.below(2) == 0;
        Some(Own { takes_profit, cancels, ask: Ask::Nothing, draft: None })
    }

    /// Whether the next move of a life has to wait for its application; asks it where it has not been asked.
    pub(super) fn waits(&mut self, at: usize, book: &AccountBook, has_room: bool, prices: Prices<'_>) -> bool {
        let life = &self.active[at];
        if self.is_behind_a_draft(at) {
            return true;
        }
        let Some(own) = &life.own else { return false };
        let next = match life.moves.front() {
            Some(&(Move::Cancel | Move::Algo("CANCELED"))) if !own.cancels => return false,
            Some(&next) if is_asked_for(next) => next,
            _ => return false,
        };
        match own.ask {
            Ask::Waiting(_) => return true,
            Ask::Answered => {
                self.active[at].own.as_mut().into_iter().for_each(|own| own.ask = Ask::Nothing);
                return false;
            }
            Ask::Nothing if !has_room => return true,
            Ask::Nothing => {}
        }
        let mut life = self.active.swap_remove(at);
        if let Some(wish) = self.wish(next, &mut life, book, prices) {
            let ticket = self.next();
            if let Some(own) = &mut life.own {
                own.ask = Ask::Waiting(ticket);
            }
            self.announced.push(Announcement { account: self.account, ticket, wish });
        } else {
            // There is nothing left that it could ask for.
            life.own = None;
        }
        self.active.push(life);
        true
    }

    /// Whether another order of the symbol has its id and is not placed yet: the venue gives ids in the order of placements,
    /// and who pages by them relies on it.
    fn is_behind_a_draft(&self, at: usize) -> bool {
        let life = &self.active[at];
        let has_own = life.own.as_ref().is_some_and(|own| own.draft.is_some());
        let draws = life.moves.front().is_some_and(|next| draws_id(*next));
        draws && !has_own && self.is_drafted(&life.instrument.symbol)
    }

    /// Whether an order of the symbol waits for its application, with its id.
    pub(super) fn is_drafted(&self, symbol: &str) -> bool {
        let has_draft = |life: &Life| life.own.as_ref().is_some_and(|own| own.draft.is_some());
        self.active.iter().any(|life| *life.instrument.symbol == *symbol && has_draft(life))
    }

    fn wish(&mut self, next: Move, life: &mut Life, book: &AccountBook, prices: Prices<'_>) -> Option<Wish> {
        let mark = prices(&life.instrument).max(1);
        let times = Times { transaction_ms: 0, event_ms: 0 };
        let draft = match next {
            Move::Place(placement @ (Placement::Limit | Placement::Ioc | Placement::Gtd)) => {
                Draft::Order(self.draft_limit(placement, life, book, times, mark))
            }
            Move::Take { .. } => Draft::Order(self.draft_market(life, times, mark)),
            Move::Algo("NEW") => Draft::Algo(self.draft_algo(life, mark)),
            Move::Cancel => {
                let client_id = book.orders.get(&life.order?)?.client_id.clone();
                return Some(Wish::Cancel { client_id });
            }
            Move::Algo(_) => {
                let client_id = book.algo_orders.get(&life.algo?)?.client_id.clone();
                return Some(Wish::Cancel { client_id });
            }
            _ => return None,
        };
        let own = life.own.as_mut()?;
        let order = match &draft {
            Draft::Order(order) => PlacedOrder {
                client_id: order.client_id.clone(),
                id: order.id,
                is_algo: false,
                purpose: match (own.takes_profit, order.price) {
                    (true, _) => Purpose::TakeProfit,
                    (false, 0) => Purpose::Entry,
                    (false, _) => Purpose::Rung,
                },
                symbol: Arc::clone(&order.instrument.symbol),
                side: order.side,
                position_side: order.position_side,
                is_long: life.is_buy,
                quantity: Padded(order.quantity, order.instrument.quantity_places).to_string(),
                price: Trimmed(if order.price == 0 { mark } else { order.price }).to_string(),
            },
            Draft::Algo(algo) => PlacedOrder {
                client_id: algo.client_id.clone(),
                id: algo.id,
                is_algo: true,
                purpose: Purpose::Stop,
                symbol: Arc::clone(&algo.instrument.symbol),
                side: algo.side,
                position_side: algo.position_side,
                is_long: life.is_buy,
                quantity: Padded(algo.quantity, algo.instrument.quantity_places).to_string(),
                price: Trimmed(algo.trigger).to_string(),
            },
        };
        own.draft = Some(draft);
        Some(Wish::Place(order))
    }

    pub(super) fn answer(&mut self, ticket: u64) {
        let mut owned = self.active.iter_mut().filter_map(|life| life.own.as_mut());
        if let Some(own) = owned.find(|own| own.ask == Ask::Waiting(ticket)) {
            own.ask = Ask::Answered;
        }
    }
}

fn draws_id(next: Move) -> bool {
    matches!(next, Move::Place(_) | Move::Take { .. } | Move::TakeOver | Move::Algo("NEW" | "TRIGGERED"))
}

fn is_asked_for(next: Move) -> bool {
    matches!(next, Move::Place(_) | Move::Take { .. } | Move::Cancel | Move::Algo("NEW" | "CANCELED"))
}
