//! Which valid name a person may have meant.

/// The candidate with the fewest edits, if they are few for its length (one in three characters).
pub(crate) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // No name of the format is longer; the cost is the square of the length.
    const LONGEST: usize = 128;
    let wanted: Vec<char> = name.to_lowercase().chars().take(LONGEST + 1).collect();
    if wanted.len() > LONGEST {
        return None;
    }
    let allowed = (wanted.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate.len().abs_diff(name.len()) > allowed * 4 {
            continue;
        }
        let letters: Vec<char> = candidate.to_lowercase().chars().collect();
        if letters.len().abs_diff(wanted.len()) > allowed {
            continue;
        }
        let edits = edits(&wanted, &letters);
        // A whole name must not turn into another: `r1` is no misspelling of `r2` only because it is short.
        if edits <= allowed && edits < letters.len() && best.is_none_or(|(fewest, _)| edits < fewest) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
pub(crate) fn edits(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut row = vec![0; b.len() + 1];
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        std::mem::swap(&mut before, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn misspelt_names_are_recognised() {
        let fields = ["memory", "restart-policy", "startup-delay", "exec", "env", "image"];
        let near = |name| nearest(name, fields.into_iter());
        assert_eq!(near("memmory"), Some("memory"));
        assert_eq!(near("startup_delay"), Some("startup-delay"));
        assert_eq!(near("Image"), Some("image"));
        assert_eq!(near("exce"), Some("exec"));
        assert_eq!(near("banana"), None);
        assert_eq!(near(&"x".repeat(100_000)), None);
    }
}
