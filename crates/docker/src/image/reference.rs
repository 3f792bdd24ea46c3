//! References of images.

/// The name in a reference, and which of its versions is meant: a digest, a tag, or `latest`. Without the last the
/// daemon would fetch all that there are.
pub(super) fn split(reference: &str) -> (&str, &str) {
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    // A colon before the last slash is a port's.
    let last = named.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match named[last..].find(':') {
        Some(colon) => (&named[..last + colon], &named[last + colon + 1..]),
        None => (named, "latest"),
    };
    (name, digest.unwrap_or(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_a_name_and_one_version() {
        assert_eq!(split("alpine"), ("alpine", "latest"));
        assert_eq!(split("quay.io/frr/frr:10.1"), ("quay.io/frr/frr", "10.1"));
        assert_eq!(split("localhost:5000/a/b"), ("localhost:5000/a/b", "latest"));
        assert_eq!(split("a/b@sha256:00"), ("a/b", "sha256:00"));
        assert_eq!(split("a/b:1@sha256:00"), ("a/b", "sha256:00"));
    }
}
