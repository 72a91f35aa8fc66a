//! The names nearest to one that was not found: what a reader needs to see that the prefix differs.

/// How many names a message can hold and still be read.
const NAMES: usize = 3;

/// Those of `names` that are nearest to `wanted` by edit distance, nearest first: three at most.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> =
        names.map(|name| (edit_distance(wanted, name), name)).collect();
    near.sort_unstable();
    near.into_iter().take(NAMES).map(|(_, name)| name).collect()
}

/// The nearest names as a message has them, in backticks.
pub(crate) fn listed<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near: Vec<String> =
        nearest(wanted, names).into_iter().map(|name| format!("`{name}`")).collect();
    if near.is_empty() { "none".into() } else { near.join(", ") }
}

/// Levenshtein's distance in bytes, one row of the table at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }

    #[test]
    fn other_prefix() {
        let names =
            ["transformer.wte.weight", "model.h.0.q.weight", "model.h.1.q.weight", "b", "c"];
        assert_eq!(
            listed("h.0.q.weight", names.into_iter()),
            "`model.h.0.q.weight`, `model.h.1.q.weight`, `b`"
        );
        assert_eq!(listed("a", std::iter::empty()), "none");
    }
}
