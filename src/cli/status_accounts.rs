//! What `status` says of the accounts' streams: how many are live, which are not well and why, and how reconciles stand.

use crate::ops::status::{ReconcileStatus, UserDataStatus};

pub(super) fn rows(user_data: &UserDataStatus) -> Vec<(String, String)> {
    let mut rows = vec![
        (
            "accounts".to_owned(),
            format!("{} of {} live, {} frames", user_data.live, user_data.accounts, user_data.frames),
        ),
        (
            "spool".to_owned(),
            format!(
                "{:.1} MB, {} records behind; {} jobs",
                user_data.spool_bytes as f64 / 1e6,
                user_data.behind,
                user_data.jobs
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
    vec![
        ("gaps".to_owned(), standing),
        (
            "recovered".to_owned(),
            format!("{} events; {} local orders had drifted", reconcile.recovered, reconcile.drifted),
        ),
        ("sync-orders".to_owned(), round),
        ("REST weight".to_owned(), format!("{} of {} a minute", reconcile.weight_used, reconcile.weight_limit)),
        ("venue's clock".to_owned(), clock),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::status::AccountStatus;

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
        let text = |status: &UserDataStatus| {
            rows(status).into_iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>()
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
}
