//! What `status` says of the accounts' streams: how many are live, which are not well and why, and how reconciles stand.

use crate::ops::status::{DriftStatus, ReconcileStatus, UserDataStatus};

/// Repairs and drifted orders that are shown, of each the newest.
const NEWEST_SHOWN: usize = 5;

pub(super) fn rows(user_data: &UserDataStatus) -> Vec<(String, String)> {
    let mut rows = vec![
        (
            "accounts".to_owned(),
            format!("{} of {} live, {} frames", user_data.live, user_data.accounts, user_data.frames),
        ),
        (
            "spool".to_owned(),
            format!(
                "{:.1} MB, {} records behind; {} jobs, {} rewinds, {} records left out",
                user_data.spool_bytes as f64 / 1e6,
                user_data.behind,
                user_data.jobs,
                user_data.rewinds,
                user_data.left_out
            ),
        ),
    ];
    match &user_data.reconcile {
        Some(reconcile) => rows.extend(reconcile_rows(reconcile, user_data.gaps)),
        None => rows.push(("gaps".to_owned(), format!("{} recorded; user_data.reconcile is off", user_data.gaps))),
    }
    let degraded = user_data.streams.iter().filter_map(|stream| Some((stream, stream.degraded.as_ref()?)));
    rows.extend(degraded.map(|(stream, why)| (format!("account {}", stream.id), format!("degraded: {why}"))));
    rows
}

fn reconcile_rows(reconcile: &ReconcileStatus, gaps: u64) -> Vec<(String, String)> {
    let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1e3);
    let held = |what: &str, seconds: u64| if seconds > 0 { format!("; {what} for {seconds} s") } else { String::new() };
    let mut standing = format!(
        "{gaps} recorded, {} closed; accounts: {} wait, {} at work, {} degraded",
        reconcile.gaps_closed, reconcile.waiting, reconcile.running, reconcile.degraded
    );
    if reconcile.switched_off > 0 {
        standing.push_str(&format!(", {} switched off before their gaps were closed", reconcile.switched_off));
    }
    let round = match (&reconcile.sync_round_at, reconcile.sync_round_ms) {
        (Some(at), Some(ms)) => format!("the last of {} rounds ended {at}, in {}", reconcile.sync_rounds, seconds(ms)),
        _ => "no round yet".to_owned(),
    };
    let clock = match reconcile.venue_ahead_ms {
        None => "not asked yet".to_owned(),
        Some(ms) if ms < 0 => format!("{} behind this machine's", seconds(ms.unsigned_abs())),
        Some(ms) => format!("{} ahead of this machine's", seconds(ms.unsigned_abs())),
    };
    let weight = format!(
        "{} of {} in the last minute{}{}",
        reconcile.weight_used,
        reconcile.weight_limit,
        held("the venue has banned this address", reconcile.banned_s),
        held("a 429 holds reconciles", reconcile.held_s)
    );
    let drifted = format!("{} events; {} local orders had drifted", reconcile.recovered, reconcile.drifted);
    let mut rows = vec![
        ("gaps".to_owned(), standing),
        ("recovered".to_owned(), drifted),
        ("sync-orders".to_owned(), format!("{round}; {} accounts left", reconcile.sync_left)),
        ("REST weight".to_owned(), weight),
        ("venue's clock".to_owned(), clock),
    ];
    let newest = |count: usize| count.saturating_sub(NEWEST_SHOWN);
    for repair in &reconcile.repairs[newest(reconcile.repairs.len())..] {
        rows.push(("closed gap".to_owned(), repair.in_words()));
    }
    for drift in &reconcile.drift[newest(reconcile.drift.len())..] {
        let DriftStatus { account, order, symbol, local, venue, .. } = drift;
        rows.push((
            "drift".to_owned(),
            format!("account {account}, order {order} ({symbol}): {local}, at the venue {venue}"),
        ));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::status::{AccountStatus, RepairStatus};

    fn text(status: &UserDataStatus) -> String {
        rows(status).into_iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }

    #[test]
    fn what_is_not_well_is_named() {
        let ill = AccountStatus {
            id: 7,
            degraded: Some("not reconciled: it is shut".to_owned()),
            ..AccountStatus::default()
        };
        let reconcile = ReconcileStatus {
            degraded: 1,
            switched_off: 2,
            venue_ahead_ms: Some(-1_500),
            ..ReconcileStatus::default()
        };
        let mut status = UserDataStatus {
            streams: vec![AccountStatus::default(), ill],
            reconcile: Some(reconcile),
            ..UserDataStatus::default()
        };
        for says in [
            "account 7: degraded: not reconciled: it is shut\n",
            "1 degraded, 2 switched off",
            "venue's clock: 1.5 s behind this machine's",
            "sync-orders: no round yet",
        ] {
            assert!(text(&status).contains(says), "{says}: {}", text(&status));
        }
        assert!(!text(&status).contains("account 0"), "{}", text(&status));
        status.reconcile = None;
        assert!(text(&status).contains("user_data.reconcile is off"));
    }

    #[test]
    fn gaps_and_their_repairs_are_in_words() {
        let off = UserDataStatus { live: 2, accounts: 3, gaps: 4, left_out: 5, ..UserDataStatus::default() };
        let repair = |account| RepairStatus {
            account,
            ended_at: "2026-11-23T07:30:17.123Z".to_owned(),
            reason: "reconnect".to_owned(),
            recovered: 12,
            closed_at: "2026-11-23T07:30:22.000Z".to_owned(),
            ..RepairStatus::default()
        };
        let reconcile = ReconcileStatus {
            gaps_closed: 9,
            recovered: 31,
            degraded: 1,
            sync_rounds: 2,
            sync_round_ms: Some(4_500),
            weight_used: 480,
            weight_limit: 2_400,
            banned_s: 77,
            repairs: (1..=9).map(repair).collect(),
            drift: vec![DriftStatus {
                account: 7,
                order: 8,
                symbol: "BTCUSDT".to_owned(),
                local: "NEW".to_owned(),
                venue: "FILLED".to_owned(),
                ..DriftStatus::default()
            }],
            ..ReconcileStatus::default()
        };
        let on = UserDataStatus { reconcile: Some(reconcile), ..off.clone() };
        for (user_data, lines) in [
            (
                off,
                &[
                    "accounts: 2 of 3 live, 0 frames\n",
                    "0 rewinds, 5 records left out\n",
                    "gaps: 4 recorded; user_data.reconcile is off\n",
                ][..],
            ),
            (
                on,
                &[
                    "gaps: 4 recorded, 9 closed; accounts: 0 wait, 0 at work, 1 degraded\n",
                    "recovered: 31 events; 0 local orders had drifted\n",
                    "REST weight: 480 of 2400 in the last minute; the venue has banned this address for 77 s\n",
                    "closed gap: account 9, the beginning to 2026-11-23T07:30:17.123Z (reconnect): 12 events recovered, closed \
                     2026-11-23T07:30:22.000Z\n",
                    "drift: account 7, order 8 (BTCUSDT): NEW, at the venue FILLED\n",
                ][..],
            ),
        ] {
            let text = text(&user_data);
            lines.iter().for_each(|line| assert!(text.contains(line), "{line}\n{text}"));
            assert!(!text.contains("account 4,"), "only the newest: {text}");
        }
    }
}
