//! Orders of an application: announced before the venue knows them, placed as announced, never without an answer; and other
//! people trade beside it.

use std::collections::{HashMap, HashSet};

use super::application::{PlacedOrder, Purpose, Wish};
use super::*;
use crate::sim::listing::Counts;

fn accounts(count: usize) -> (Accounts, Market) {
    let market = Market::new(5, Counts { ordinary: 300, coin_m: 3, tradfi: 5 }, false);
    let config = AccountsConfig { count, has_application: true, ..AccountsConfig::default() };
    (Accounts::new(config, 5, &market), market)
}

/// Steps of an account, each announcement answered at once where `answers` says so; the orders that were announced, those
/// that were to be canceled, and the events.
fn run(
    accounts: &mut Accounts,
    market: &Market,
    index: usize,
    steps: i64,
    answers: bool,
) -> (HashMap<String, PlacedOrder>, HashSet<String>, Vec<Event>) {
    let inbox = accounts.announcements();
    let (mut placed, mut canceled, mut events) = (HashMap::new(), HashSet::new(), Vec::new());
    let mut announced_at = HashMap::new();
    for at in 0..steps {
        let mut told = accounts.step(index, What::Step, market, 1_795_419_015_000 + at);
        assert!(!told.is_empty(), "a step always tells something");
        events.append(&mut told);
        for announcement in inbox.try_iter() {
            assert_eq!(announcement.account, index);
            if answers {
                accounts.list[index].lives.answer(announcement.ticket);
            }
            match announcement.wish {
                Wish::Place(order) => {
                    announced_at.insert(order.client_id.clone(), events.len());
                    assert!(placed.insert(order.client_id.clone(), order).is_none());
                }
                Wish::Cancel { client_id } => {
                    assert!(placed.contains_key(&client_id), "only its own orders are an application's to cancel");
                    canceled.insert(client_id);
                }
            }
        }
    }
    for (at, event) in events.iter().enumerate() {
        let named = ["\"c\":\"", "\"caid\":\""].into_iter().find_map(|key| event.text.split_once(key));
        let id = named.and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        assert!(announced_at.get(id).is_none_or(|announced| *announced <= at), "told before it was announced: {id}");
    }
    (placed, canceled, events)
}

#[test]
fn what_is_announced_is_placed_as_announced() {
    let (mut accounts, market) = accounts(3);
    let mut purposes = HashSet::new();
    for index in 0..3 {
        let (placed, canceled, _) = run(&mut accounts, &market, index, 6_000, true);
        let book = &accounts.list[index].book;
        let mut unplaced = 0;
        for order in placed.values() {
            purposes.insert(order.purpose);
            let hedge = accounts.list[index].credentials.hedge_mode;
            let closes = matches!(order.purpose, Purpose::TakeProfit | Purpose::Stop);
            assert_eq!(order.side == "BUY", order.is_long != closes, "{order:?}");
            assert_eq!(
                order.position_side,
                if !hedge {
                    "BOTH"
                } else if order.is_long {
                    "LONG"
                } else {
                    "SHORT"
                }
            );
            if order.is_algo {
                let Some(truth) = book.algo_orders.get(&order.id) else {
                    unplaced += 1;
                    continue;
                };
                assert_eq!((&truth.client_id, truth.quantity_text()), (&order.client_id, order.quantity.clone()));
                assert_eq!((truth.trigger_text(), truth.side), (order.price.clone(), order.side));
                continue;
            }
            let Some(truth) = book.orders.get(&order.id) else {
                unplaced += 1;
                continue;
            };
            assert_eq!(
                (&truth.client_id, truth.side, truth.position_side),
                (&order.client_id, order.side, order.position_side)
            );
            assert_eq!(truth.price == 0, order.purpose == Purpose::Entry);
            let was_canceled = truth.status == "CANCELED";
            assert!(was_canceled || !canceled.contains(&order.client_id) || truth.is_open(), "{truth:?}");
        }
        // Lives that still wait have announced an order that is not placed yet.
        assert!(placed.len() > 500 && unplaced <= 8, "{} {unplaced}", placed.len());
        let ended_by_itself = |order: &&book::OrderTruth| {
            order.status == "CANCELED" && placed.contains_key(&order.client_id) && !canceled.contains(&order.client_id)
        };
        assert!(book.orders.values().any(|order| ended_by_itself(&order)), "somebody else cancels too");
        let foreign = book.orders.values().filter(|order| order.algo_id.is_none());
        let foreign = foreign.filter(|order| !placed.contains_key(&order.client_id)).count();
        assert!(foreign > 200, "other people trade too: {foreign}");
    }
    assert_eq!(purposes.len(), 4, "{purposes:?}");
}

#[test]
fn what_is_not_answered_is_never_placed() {
    let (mut accounts, market) = accounts(1);
    let (placed, _, events) = run(&mut accounts, &market, 0, 3_000, false);
    assert!((1..=8).contains(&placed.len()), "a life waits, and there are eight: {}", placed.len());
    let book = &accounts.list[0].book;
    assert!(
        placed.values().all(|order| !book.orders.contains_key(&order.id) && !book.algo_orders.contains_key(&order.id))
    );
    assert!(events.len() >= 3_000, "the venue goes on");
}

#[test]
fn a_full_queue_of_announcements_holds_the_application_up() {
    let count = SIM_ANNOUNCEMENTS_MAX / 4;
    let (mut accounts, market) = accounts(count);
    for at in 0..count * 40 {
        assert!(!accounts.step(at % count, What::Step, &market, 1_795_419_015_000).is_empty());
    }
    let waiting = accounts.announcements().len();
    assert!((SIM_ANNOUNCEMENTS_MAX - 8..=SIM_ANNOUNCEMENTS_MAX).contains(&waiting), "{waiting}");
    let announced: u64 = accounts
        .list
        .iter()
        .map(|account| {
            account.lives.active.iter().filter(|life| life.own.as_ref().is_some_and(|own| own.draft.is_some())).count()
                as u64
        })
        .sum();
    assert_eq!(announced, waiting as u64, "none was dropped");
}

#[test]
fn ids_grow_in_the_order_of_placements_however_long_an_application_takes() {
    let (mut accounts, market) = accounts(1);
    let inbox = accounts.announcements();
    let mut waiting = VecDeque::new();
    for at in 0..6_000 {
        accounts.step(0, What::Step, &market, 1_795_419_015_000 + at);
        waiting.extend(inbox.try_iter().map(|announcement| (at + 40, announcement.ticket)));
        while let Some((_, ticket)) = waiting.pop_front_if(|(due, _)| *due <= at) {
            accounts.list[0].lives.answer(ticket);
        }
    }
    let mut newest: HashMap<Arc<str>, i64> = HashMap::new();
    let orders = &accounts.list[0].book.orders;
    for order in orders.values() {
        let before = newest.insert(Arc::clone(&order.instrument.symbol), order.created_ms);
        assert!(before.is_none_or(|before| before <= order.created_ms), "{order:?} was placed before {before:?}");
    }
    assert!(orders.len() > 300, "{} orders", orders.len());
}
