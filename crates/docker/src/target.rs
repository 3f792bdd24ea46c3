//! Paths and queries of requests.

use std::fmt::Write;

/// What a request is about: a path below the version, and a query.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    text: String,
    queried: bool,
}

impl Target {
    /// A path of these segments. `/` in a segment is kept: references of images have it.
    pub(crate) fn at<const N: usize>(segments: [&str; N]) -> Self {
        let mut text = String::new();
        for segment in segments {
            text.push('/');
            encode(&mut text, segment, b"-._~/:@");
        }
        Self { text, queried: false }
    }

    /// With a parameter.
    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.text.push(if self.queried { '&' } else { '?' });
        self.queried = true;
        self.text.push_str(key);
        self.text.push('=');
        encode(&mut self.text, value, b"-._~/:");
        self
    }

    /// With a parameter that is left out where it has no value.
    pub(crate) fn query_some(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    /// With a parameter that is 1 if `set`.
    pub(crate) fn flag(self, key: &str, set: bool) -> Self {
        if set { self.query(key, "1") } else { self }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// RFC 3986: what is neither a letter, a digit nor in `kept` is percent-encoded.
fn encode(text: &mut String, plain: &str, kept: &[u8]) {
    for byte in plain.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_values_are_encoded() {
        let target = Target::at(["images", "quay.io/frr/frr:10.1", "json"]);
        assert_eq!(target.as_str(), "/images/quay.io/frr/frr:10.1/json");
        let target =
            Target::at(["containers", "a?b c#", "archive"]).query("path", "/a b&c").flag("x", true).flag("y", false);
        assert_eq!(target.as_str(), "/containers/a%3Fb%20c%23/archive?path=/a%20b%26c&x=1");
    }
}
