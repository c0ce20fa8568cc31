//! Which file counts for which positions, when a rewrite made two files hold the same ones; and which positions no file
//! holds although they were written.
//!
//! Pure arithmetic over ranges of positions.

use std::ops::Range;

use crate::domain::Wall;

/// Records without a hole in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub id: u64,
    pub first: u64,
    pub end: u64,
    /// Offset of the first record.
    pub start: u64,
    /// Offset behind the last one.
    pub stop: u64,
    /// Newest receive time in it.
    pub newest: Wall,
}

/// The part of a run that counts: `first` and `end` cut, the offsets still the run's.
pub(super) type Window = Run;

/// Gives each position to the newest file that holds it. In order of position.
pub(super) fn resolve(runs: &[Run]) -> Vec<Window> {
    let mut newest_first: Vec<&Run> = runs.iter().collect();
    newest_first.sort_by_key(|run| std::cmp::Reverse((run.id, run.first)));
    let mut windows: Vec<Window> = Vec::with_capacity(runs.len());
    for run in newest_first {
        // The windows so far are sorted and apart; what of the run lies between them is its own.
        let mut from = run.first;
        let mut own = Vec::new();
        let at = windows.partition_point(|window| window.end <= run.first);
        for window in &windows[at..] {
            if window.first >= run.end {
                break;
            }
            if window.first > from {
                own.push(Window { first: from, end: window.first, ..*run });
            }
            from = from.max(window.end);
        }
        if from < run.end {
            own.push(Window { first: from, ..*run });
        }
        for window in own {
            let at = windows.partition_point(|other| other.first < window.first);
            windows.insert(at, window);
        }
    }
    windows
}

/// Holes that are losses: positions from `from` on which a header or the cursor promised, or which lay in damage. With
/// each the newest receive time before it.
pub(super) fn holes(
    windows: &[Window],
    from: Option<u64>,
    promised: &[u64],
    damage: &[Range<u64>],
) -> Vec<(Range<u64>, Option<Wall>)> {
    let mut lost = Vec::new();
    let mut behind = match (windows.first(), from) {
        // Older segments were deleted once acknowledged: what they held is not lost.
        (Some(window), Some(from)) => window.first.min(from),
        (Some(window), None) => window.first,
        (None, from) => from.unwrap_or(0),
    };
    // Of a deleted segment nothing is left that could be damaged.
    behind = damage.iter().map(|gone| gone.start).fold(behind, u64::min);
    let mut after = None;
    let mut look = |hole: Range<u64>, after: Option<Wall>| {
        let told = promised.iter().copied().filter(|&end| end > hole.start && end <= hole.end);
        let damaged = damage.iter().filter(|gone| gone.start < hole.end && gone.end > hole.start);
        if let Some(end) = told.chain(damaged.map(|gone| gone.end.min(hole.end))).max() {
            lost.push((hole.start..end, after));
        }
    };
    for window in windows {
        if window.first > behind {
            look(behind..window.first, after);
        }
        behind = behind.max(window.end);
        after = Some(window.newest);
    }
    look(behind..u64::MAX, after);
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_file_counts_for_what_it_holds() {
        check(&[(1, 1, 10), (2, 10, 20)], &[(1, 1, 10), (2, 10, 20)]);
        check(&[(1, 1, 10), (2, 10, 20), (3, 5, 20)], &[(1, 1, 5), (3, 5, 20)]);
        // A rewrite that the power cut short takes nothing away.
        check(&[(1, 1, 10), (2, 10, 20), (3, 5, 8)], &[(1, 1, 5), (3, 5, 8), (1, 8, 10), (2, 10, 20)]);
        // A hole in the old file is healed by the new one.
        check(&[(1, 1, 6), (2, 10, 20), (3, 5, 20)], &[(1, 1, 5), (3, 5, 20)]);
        check(&[(1, 1, 30), (2, 5, 6), (3, 10, 12)], &[(1, 1, 5), (2, 5, 6), (1, 6, 10), (3, 10, 12), (1, 12, 30)]);
        check(&[], &[]);
    }

    #[test]
    fn only_promised_positions_are_lost() {
        let run = |first, end| Run { id: 1, first, end, start: 0, stop: 0, newest: Wall::from_micros(end as i64) };
        let windows = [run(10, 20), run(25, 30), run(100, 110)];
        let plain = |promised: &[u64], damage: &[(u64, u64)], from| -> Vec<(u64, u64)> {
            let damage: Vec<Range<u64>> = damage.iter().map(|&(start, end)| start..end).collect();
            holes(&windows, from, promised, &damage).into_iter().map(|(lost, _)| (lost.start, lost.end)).collect()
        };
        assert_eq!(plain(&[], &[], None), []);
        assert_eq!(plain(&[20, 30], &[], None), [], "positions leap at an open, and behind a refused write");
        assert_eq!(plain(&[25], &[], None), [(20, 25)]);
        assert_eq!(plain(&[], &[(21, 25)], None), [(20, 25)]);
        assert_eq!(plain(&[], &[(3, 10)], Some(50)), [(3, 10)]);
        assert_eq!(plain(&[33], &[], None), [(30, 33)]);
        assert_eq!(plain(&[110], &[], None), []);
        assert_eq!(plain(&[120], &[], None), [(110, 120)]);
        assert_eq!(plain(&[8], &[], Some(5)), [(5, 8)]);
        assert_eq!(plain(&[8], &[], Some(40)), []);
        assert_eq!(holes(&[], Some(5), &[9], &[]), [(5..9, None)]);
        assert_eq!(holes(&windows, None, &[25], &[])[0].1, Some(Wall::from_micros(20)));
    }

    #[track_caller]
    fn check(runs: &[(u64, u64, u64)], expected: &[(u64, u64, u64)]) {
        let runs: Vec<Run> = runs
            .iter()
            .map(|&(id, first, end)| Run { id, first, end, start: 0, stop: 0, newest: Wall::default() })
            .collect();
        let windows: Vec<_> = resolve(&runs).iter().map(|window| (window.id, window.first, window.end)).collect();
        assert_eq!(windows, expected);
    }
}
