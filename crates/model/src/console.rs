//! The shell that somebody gets who opens a console of a node.

use crate::lab::Node;

/// The label by which a controller says of what kind a node is; the node's own kind is often no more than `linux`.
pub const KIND_LABEL: &str = "archetype.node_kind";

/// What controllers call devices, and the shell of each. Others have that of their kind, or a plain one.
const SHELLS: [(&[&str], &str); 7] = [
    (&["frr"], "vtysh"),
    (&["vyos"], "/bin/vbash"),
    (&["cvx", "cisco_xrd"], "/bin/bash"),
    (&["nokia_srlinux"], "sr_cli"),
    (&["ceos", "eos", "arista_eos", "arista_ceos"], "FastCli"),
    (&["juniper_crpd", "juniper_vsrx3", "vsrx3"], "cli"),
    (&["iol", "iol-xe", "iol-l2"], "screen -x iol"),
];
/// Beginnings of names of which there are many.
const FAMILIES: [(&str, &str); 4] =
    [("juniper_cjunos", "cli"), ("cjunos", "cli"), ("juniper_vjunos", "cli"), ("vjunos", "cli")];

/// Goes home, then into the words that follow if the node has that program, or else into a plain shell.
const OPEN: &str =
    "cd 2>/dev/null || cd /; [ $# -gt 0 ] && command -v \"$1\" >/dev/null 2>&1 && exec \"$@\"; exec /bin/sh";

/// The shell of a node, as words; none for a plain one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleShell(Vec<String>);

impl ConsoleShell {
    /// `/bin/sh`.
    pub fn plain() -> Self {
        Self(Vec::new())
    }

    /// That of a node: of the kind that a controller says it is, else of its own kind, else of what is in its image. `image` is
    /// what it was made from, if nothing else is known of it.
    pub fn of(node: Option<&Node>, image: Option<&str>) -> Self {
        let label = node.and_then(|node| of_device(node.labels.get(KIND_LABEL)?));
        let image = node.and_then(|node| node.image.as_deref()).or(image);
        let in_image = || image.filter(|image| is_frr(image)).map(|_| "vtysh");
        match (label, node.map(|node| &node.device.shell)) {
            (None, Some(shell)) if !shell.is_empty() => Self(shell.clone()),
            (label, _) => {
                Self(label.or_else(in_image).into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect())
            }
        }
    }

    /// Its words; none of a plain one.
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// Whether it is `/bin/sh`.
    pub fn is_plain(&self) -> bool {
        self.0.is_empty()
    }

    /// What to run in the node: begins at home, and ends in `/bin/sh` where the node does not have the shell.
    pub fn argv(&self) -> Vec<String> {
        let open = ["/bin/sh", "-c", OPEN, "sh"].into_iter().map(str::to_owned);
        open.chain(self.0.iter().cloned()).collect()
    }
}

fn of_device(kind: &str) -> Option<&'static str> {
    let listed = SHELLS.iter().find(|(kinds, _)| kinds.contains(&kind)).map(|(_, shell)| *shell);
    listed.or_else(|| FAMILIES.iter().find(|(family, _)| kind.starts_with(family)).map(|(_, shell)| *shell))
}

/// Whether FRR is in an image, by its name: `quay.io/frrouting/frr:10.1`, `frr-debug`.
fn is_frr(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let mut parts = name.split('/').map(|part| part.split(':').next().unwrap_or_default());
    parts.any(|part| part == "frrouting" || part == "frr" || part.starts_with("frr-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Kind;

    fn node(label: Option<&str>, image: Option<&str>) -> Node {
        let mut node = Node::new(Kind::linux(), "n");
        node.labels.extend(label.map(|kind| (KIND_LABEL.to_owned(), kind.to_owned())));
        node.image = image.map(str::to_owned);
        node
    }

    fn words(node: &Node) -> String {
        ConsoleShell::of(Some(node), None).words().join(" ")
    }

    #[test]
    fn a_device_has_the_shell_of_what_a_controller_calls_it() {
        for (kind, shell) in [
            ("frr", "vtysh"),
            ("linux", ""),
            ("alpine", ""),
            ("haproxy", ""),
            ("vyos", "/bin/vbash"),
            ("cisco_xrd", "/bin/bash"),
            ("arista_ceos", "FastCli"),
            ("juniper_cjunosevolved", "cli"),
            ("vjunosrouter", "cli"),
            ("iol-l2", "screen -x iol"),
        ] {
            assert_eq!(words(&node(Some(kind), None)), shell, "{kind}");
        }
    }

    #[test]
    fn frr_that_comes_as_linux_is_known_by_its_image() {
        let shell = |image: &str| words(&node(Some("linux"), Some(image)));
        for image in
            ["quay.io/frrouting/frr:latest", "frr", "localhost:5000/frr:10", "lab/frr-debug:1", "frr@sha256:00"]
        {
            assert_eq!(shell(image), "vtysh", "{image}");
        }
        for image in ["alpine:3.20", "myfrr", "debian:frr"] {
            assert_eq!(shell(image), "", "{image}");
        }
        assert_eq!(ConsoleShell::of(None, Some("frrouting/frr")).words(), ["vtysh"]);
    }

    #[test]
    fn the_label_goes_before_the_kind_and_the_kind_before_the_image() {
        let mut there = node(None, Some("frr"));
        there.device.shell = vec!["acmesh".into(), "-l".into()];
        assert_eq!(words(&there), "acmesh -l");
        there.labels.insert(KIND_LABEL.to_owned(), "linux".to_owned());
        assert_eq!(words(&there), "acmesh -l");
        there.labels.insert(KIND_LABEL.to_owned(), "nokia_srlinux".to_owned());
        assert_eq!(words(&there), "sr_cli");
    }

    #[test]
    fn what_opens_it_ends_in_a_plain_shell() {
        let argv = ConsoleShell::of(None, Some("frr")).argv();
        assert_eq!(
            (&argv[..2], &argv[4..]),
            (["/bin/sh".to_owned(), "-c".to_owned()].as_slice(), ["vtysh".to_owned()].as_slice())
        );
        assert!(argv[2].ends_with("exec /bin/sh"));
        assert_eq!(ConsoleShell::plain().argv().len(), 4);
    }
}
