//! References of images: different texts that mean the same.
//!
//! Source: the grammar of `distribution/reference`, whose familiar names leave out `docker.io/library/` and `:latest`.

/// The fewest digits of an id that are taken for one.
const SHORT_ID: usize = 4;

/// Whether two references mean the same image.
pub fn is_same(one: &str, other: &str) -> bool {
    familiar(one) == familiar(other)
}

/// Without what goes without saying: the registry and the name space of Docker, and the tag beside a digest.
fn familiar(reference: &str) -> (String, String) {
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
    let name =
        ["docker.io/", "index.docker.io/"].iter().find_map(|registry| name.strip_prefix(registry)).unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    (name.to_owned(), digest.unwrap_or(tag).to_owned())
}

/// Whether a text is an id, or the beginning of it.
pub(super) fn is_id(id: &str, text: &str) -> bool {
    let digits = |text: &str| text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    let (id, text) = (digits(id), digits(text));
    text.len() >= SHORT_ID && id.starts_with(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_without_saying_makes_no_difference() {
        for same in ["alpine", "alpine:latest", "library/alpine", "docker.io/alpine", "docker.io/library/alpine:latest"]
        {
            assert!(is_same("alpine:latest", same), "{same}");
        }
        assert!(is_same("quay.io/frr/frr:10.1", "quay.io/frr/frr:10.1"));
        assert!(is_same("localhost:5000/a", "localhost:5000/a:latest"));
        assert!(is_same("a@sha256:00", "a:1@sha256:00"));
        for other in ["alpine:3", "quay.io/alpine", "me/alpine", "alpine@sha256:00"] {
            assert!(!is_same("alpine", other), "{other}");
        }
    }

    #[test]
    fn an_id_may_be_cut_short() {
        let id = "sha256:0123456789abcdef";
        assert!(is_id(id, "0123") && is_id(id, "sha256:012345") && is_id(id, id));
        assert!(!is_id(id, "012") && !is_id(id, "1234"));
    }
}
