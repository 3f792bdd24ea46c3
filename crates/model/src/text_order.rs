//! Texts that are sorted by the ten thousand.

/// A text that sorts as texts do, and mostly without a look at it: its first eight bytes are beside it as a number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SortKey {
    /// Compared first. Where texts are shorter they are filled up with zeros, so it never contradicts them.
    head: u64,
    text: String,
}

impl SortKey {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<String> for SortKey {
    fn from(text: String) -> Self {
        let mut head = [0; 8];
        for (to, from) in head.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self { head: u64::from_be_bytes(head), text }
    }
}

#[cfg(test)]
mod tests {
    use proptest::proptest;

    use super::SortKey;

    #[test]
    fn keys_sort_as_their_texts_also_around_zeros_and_where_texts_end() {
        let texts = ["", "\0", "a", "a\0", "a\0\0\0\0\0\0\0b", "abcdefgh", "abcdefgh\0", "abcdefghi", "é"];
        for (a, b) in texts.iter().flat_map(|a| texts.iter().map(move |b| (*a, *b))) {
            assert_eq!(SortKey::from(a.to_owned()).cmp(&b.to_owned().into()), a.cmp(b), "{a:?} {b:?}");
        }
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_texts(a in ".{0,12}", b in ".{0,12}") {
            assert_eq!(SortKey::from(a.clone()).cmp(&b.clone().into()), a.cmp(&b));
        }
    }
}
