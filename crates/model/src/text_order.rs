//! Sorting by texts, by the ten thousand.

/// The text that an item is sorted by, mostly without a look at it: its first eight bytes are here as a number.
struct Key {
    /// Compared first. Where texts are shorter they are filled up with zeros, so it never contradicts them.
    head: u64,
    /// Where the text begins and ends among all.
    text: (usize, usize),
    /// Where the item is.
    index: usize,
}

/// Sorts by the text that `write` appends for an item: once for each. Items with one text stay in their order.
pub(crate) fn sort_by_text<T>(items: &mut [T], write: impl Fn(&T, &mut String)) {
    let mut all = String::new();
    let mut keys: Vec<Key> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let start = all.len();
        write(item, &mut all);
        keys.push(Key { head: head(&all[start..]), text: (start, all.len()), index });
    }
    let text = |key: &Key| &all[key.text.0..key.text.1];
    keys.sort_unstable_by(|a, b| {
        a.head.cmp(&b.head).then_with(|| text(a).cmp(text(b))).then_with(|| a.index.cmp(&b.index))
    });
    for to in 0..keys.len() {
        // What stood there may have gone where something else came from.
        let mut from = keys[to].index;
        while from < to {
            from = keys[from].index;
        }
        keys[to].index = from;
        items.swap(to, from);
    }
}

fn head(text: &str) -> u64 {
    let mut head = [0; 8];
    for (to, from) in head.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    u64::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use proptest::proptest;

    use super::sort_by_text;

    fn check(texts: Vec<String>) {
        let mut sorted: Vec<(usize, String)> = texts.into_iter().enumerate().collect();
        let mut expected = sorted.clone();
        sort_by_text(&mut sorted, |(_, text), to| to.push_str(text));
        expected.sort_by(|(_, a), (_, b)| a.cmp(b));
        assert_eq!(sorted, expected);
    }

    #[test]
    fn items_are_sorted_also_around_zeros_and_where_texts_end() {
        let texts = ["é", "abcdefghi", "abcdefgh\0", "abcdefgh", "a\0\0\0\0\0\0\0b", "a\0", "a", "\0", ""];
        check(texts.iter().chain(&texts).map(|text| (*text).to_owned()).collect());
    }

    proptest! {
        #[test]
        fn items_are_sorted_by_their_texts(texts in proptest::collection::vec("[ab\0é]{0,12}", 0..40)) {
            check(texts);
        }
    }
}
