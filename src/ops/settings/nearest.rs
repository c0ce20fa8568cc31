//! The known word nearest to an unknown one, for "did you mean".

/// The candidate at the smallest edit distance, if it is near enough to be a slip: a third of the longer word, at least 2.
pub(super) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (word.len().max(candidate.len()) / 3).max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance in characters, one row kept.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["settle_ms", "write_interval_ms", "url", "path"];
        for (word, found) in [
            ("setle_ms", Some("settle_ms")),
            ("settle", Some("settle_ms")),
            ("settle-ms", Some("settle_ms")),
            ("write_interval", Some("write_interval_ms")),
            ("ulr", Some("url")),
            ("", None),
            ("completely_else", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), found, "{word}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
