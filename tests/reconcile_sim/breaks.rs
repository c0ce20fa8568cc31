//! The rows of `stream_gaps` against the breaks that the simulator knows of: one for each, none without one, bounds right.

use std::time::Duration;

use kraite_streams::domain::Wall;
use kraite_streams::domain::limits::GAP_MARGIN;
use kraite_streams::sim::{AccountLedger, Break};

use crate::rig::{GapRow, Rig};

/// A gap begins [`GAP_MARGIN`] before the last sign of life that the daemon noted. It notes frames as they come, and what is
/// no event once a second.
const START_BEFORE_MAX: Duration = Duration::from_millis(GAP_MARGIN.as_millis() as u64 + 1_000);

/// What is wrong with an account's gap rows.
pub fn complaints(rig: &Rig) -> Vec<String> {
    let (gaps, _) = rig.gaps();
    let accounts = rig.sim.accounts();
    let of = |index: usize| {
        let mine = gaps.iter().filter(move |gap| gap.account == index as i64 + 1).collect::<Vec<_>>();
        judge(&mine, &rig.sim.account_ledger(index))
            .into_iter()
            .map(move |wrong| format!("account {}: {wrong}", index + 1))
    };
    accounts.iter().flat_map(|account| of(account.index)).collect()
}

/// How long each break lasted that is over.
pub fn lengths(ledger: &AccountLedger) -> Vec<Duration> {
    let over = |one: &Break| {
        let millis = one.proven_at?.as_millis() - one.began_at.as_millis();
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    };
    ledger.breaks().iter().filter_map(over).collect()
}

fn judge(gaps: &[&GapRow], ledger: &AccountLedger) -> Vec<String> {
    let breaks = ledger.breaks();
    let mut wrong = Vec::new();
    let Some(first) = ledger.first_proven_at() else { return vec!["it was never live".to_owned()] };
    if let Some(open) = breaks.iter().find(|one| one.proven_at.is_none()) {
        wrong.push(format!("{open:?} is not over"));
    }
    // The first connect ends a silence from nothing, which is a gap and no break.
    let mut ends = vec![(None, first)];
    ends.extend(breaks.iter().filter_map(|one| Some((Some(one), one.proven_at?))));
    let mut gaps = gaps.to_vec();
    gaps.sort_by_key(|gap| gap.bounds.1);
    if gaps.len() != ends.len() {
        wrong.push(format!("{} gaps for {} breaks and the first connect", gaps.len(), ends.len() - 1));
    }
    for (at, (broken, proven_at)) in ends.iter().enumerate() {
        // From the proof of the new socket up to when that one broke, too, or now.
        let until = breaks.iter().map(|one| one.began_at).find(|began| began > proven_at);
        let is_mine = |gap: &&&GapRow| {
            let end = gap.bounds.1;
            end >= rounded(*proven_at) && until.is_none_or(|until| end <= until)
        };
        let mine: Vec<_> = gaps.iter().filter(is_mine).collect();
        let [gap] = mine[..] else {
            wrong.push(format!("the break {at}, {broken:?}, has {} gaps: {mine:?}", mine.len()));
            continue;
        };
        let start = gap.bounds.0;
        let is_right = match broken {
            None => start == Wall::from_millis(0),
            Some(broken) => {
                let earliest = broken.spoken_at.as_millis() - START_BEFORE_MAX.as_millis() as i64;
                start.as_millis() >= earliest && start <= broken.began_at
            }
        };
        // What ended the silence may have been the safety net, which leaves a connection that brings nothing.
        if !is_right || (gap.reason == "start") != (at == 0) {
            wrong.push(format!("the break {at}, {broken:?}, has a gap with wrong bounds: {gap:?}"));
        }
    }
    wrong
}

/// Rows hold milliseconds.
fn rounded(at: Wall) -> Wall {
    Wall::from_millis(at.as_millis())
}
