//! Topologies of regular shapes, for tests and demos: a few numbers in, the text of a topology file out.
//!
//! Equal recipes give equal bytes. Interfaces are `eth1`, `eth2`, … in the order of the links, since `eth0` may be a
//! node's management interface; the shape says which are linked.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

use super::write::quoted;
use crate::name::LabName;

/// More links, or nodes, than any of them are not written.
pub const MAX: u64 = 100_000;

/// Which nodes there are and which of them are linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nodes in a row, each linked with the next.
    Line {
        /// How many nodes; at least 2.
        nodes: u32,
    },
    /// As a line, and the last is linked with the first: `eth1` goes to the next node, `eth2` to the one before.
    Ring {
        /// How many nodes; at least 3.
        nodes: u32,
    },
    /// One node that all others are linked with.
    Star {
        /// How many nodes are around it; at least 1.
        around: u32,
    },
    /// Each node is linked with each other.
    Mesh {
        /// How many nodes; at least 2.
        nodes: u32,
    },
    /// Leaf and spine: each leaf is linked with each spine, and has hosts of its own.
    Clos {
        /// How many spines; at least 1.
        spines: u32,
        /// How many leaves; at least 1.
        leaves: u32,
        /// How many hosts each leaf has.
        hosts: u32,
    },
}

/// Whether ends of links get addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// None.
    Absent,
    /// A /31 of 10.0.0.0/8 for each link (RFC 3021), the lower one at the end that is written first.
    PerLink,
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The nodes and links.
    pub shape: Shape,
    /// The lab's name.
    pub name: LabName,
    /// The format's `prefix` of container names, if it is to be written.
    pub prefix: Option<String>,
    /// The kind of all nodes. Whether there is such a kind shows when the text is read.
    pub kind: String,
    /// What all nodes run on, if it is to be written.
    pub runtime: Option<String>,
    /// The image of all nodes, if it is to be written.
    pub image: Option<String>,
    /// Whether links get addresses.
    pub addresses: Addresses,
}

/// Why a shape of this size is not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Fewer nodes than the shape needs.
    #[error("{what} needs at least {least} {of}, and this is {given}")]
    TooFew {
        /// The shape.
        what: &'static str,
        /// Of what there are too few.
        of: &'static str,
        /// How many it needs.
        least: u32,
        /// How many were given.
        given: u32,
    },
    /// More than a topology can have.
    #[error("this would be {nodes} nodes and {links} links; at most {MAX} of each are written")]
    TooMany {
        /// How many nodes it would be.
        nodes: u64,
        /// How many links it would be.
        links: u64,
    },
}

/// The text of a topology file. Reading it gives no diagnostics if the recipe's kind, runtime and image fit together.
pub fn generate(recipe: &Recipe) -> Result<String, Refused> {
    recipe.shape.check()?;
    let network = recipe.shape.network();
    let mut out = format!("# {}\nname: {}\n", recipe.shape.describe(), quoted(recipe.name.as_str()));
    if let Some(prefix) = &recipe.prefix {
        let _ = writeln!(out, "prefix: {}", quoted(prefix));
    }
    let _ = writeln!(out, "topology:\n  defaults:\n    kind: {}", quoted(&recipe.kind));
    for (field, value) in [("runtime", &recipe.runtime), ("image", &recipe.image)] {
        if let Some(value) = value {
            let _ = writeln!(out, "    {field}: {}", quoted(value));
        }
    }
    let mut tiers = network.tiers.iter().filter(|tier| tier.group.is_some()).enumerate().peekable();
    if tiers.peek().is_some() {
        out.push_str("  groups:\n");
    }
    for (level, tier) in tiers {
        // Rows of a drawing, see `graph`.
        let _ = writeln!(out, "    {}: {{ labels: {{ graph-level: {level} }} }}", tier.group.unwrap_or_default());
    }
    out.push_str("  nodes:\n");
    for Tier { group, names } in &network.tiers {
        let fields = group.map_or("{}".to_owned(), |group| format!("{{ group: {group} }}"));
        for name in names {
            let _ = writeln!(out, "    {name}: {fields}");
        }
    }
    out.push_str("  links:\n");
    let mut used: BTreeMap<&str, u32> = BTreeMap::new();
    let mut next = |node| {
        let number = used.entry(node).or_default();
        *number += 1;
        *number
    };
    for (index, (a, b)) in network.links.iter().enumerate() {
        let (x, y) = match recipe.shape {
            // The same at each node, so that a node's neighbours are known by its interfaces.
            Shape::Ring { .. } | Shape::Line { .. } => (1, 2),
            Shape::Star { .. } | Shape::Mesh { .. } | Shape::Clos { .. } => (next(a), next(b)),
        };
        let ends = format!("endpoints: [\"{a}:eth{x}\", \"{b}:eth{y}\"]");
        let _ = match recipe.addresses {
            Addresses::Absent => writeln!(out, "    - {ends}"),
            Addresses::PerLink => {
                let [low, high] = pair(index);
                writeln!(out, "    - {{ {ends}, ipv4: [{low}/31, {high}/31] }}")
            }
        };
    }
    Ok(out)
}

/// The addresses of a link. [`MAX`] links take 200,000 of 16 million.
fn pair(link: usize) -> [Ipv4Addr; 2] {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 0));
    let low = first + 2 * u32::try_from(link).unwrap_or_default();
    [low, low + 1].map(Ipv4Addr::from)
}

/// Nodes that are alike.
struct Tier {
    group: Option<&'static str>,
    names: Vec<String>,
}

struct Network {
    tiers: Vec<Tier>,
    links: Vec<(String, String)>,
}

impl Shape {
    fn check(self) -> Result<(), Refused> {
        let (what, needs): (_, &[(&str, u32, u32)]) = match self {
            Self::Line { nodes } => ("a line", &[("nodes", 2, nodes)]),
            Self::Ring { nodes } => ("a ring", &[("nodes", 3, nodes)]),
            Self::Star { around } => ("a star", &[("nodes around its hub", 1, around)]),
            Self::Mesh { nodes } => ("a mesh", &[("nodes", 2, nodes)]),
            Self::Clos { spines, leaves, .. } => ("a Clos network", &[("spine", 1, spines), ("leaf", 1, leaves)]),
        };
        if let Some((of, least, given)) = needs.iter().copied().find(|(_, least, given)| given < least) {
            return Err(Refused::TooFew { what, of, least, given });
        }
        let (nodes, links) = self.size();
        if nodes > MAX || links > MAX {
            return Err(Refused::TooMany { nodes, links });
        }
        Ok(())
    }

    /// How many nodes and links it has.
    fn size(self) -> (u64, u64) {
        match self {
            Self::Line { nodes } => (nodes.into(), u64::from(nodes).saturating_sub(1)),
            Self::Ring { nodes } => (nodes.into(), nodes.into()),
            Self::Star { around } => (u64::from(around) + 1, around.into()),
            Self::Mesh { nodes } => {
                let nodes = u64::from(nodes);
                (nodes, nodes * nodes.saturating_sub(1) / 2)
            }
            Self::Clos { spines, leaves, hosts } => {
                let [spines, leaves, hosts] = [spines, leaves, hosts].map(u64::from);
                // Three numbers of 32 bits: the product of two fits into 64.
                let all_hosts = leaves * hosts;
                (all_hosts.saturating_add(spines + leaves), all_hosts.saturating_add(spines * leaves))
            }
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Line { nodes } => format!("A line of {nodes} nodes."),
            Self::Ring { nodes } => {
                format!("A ring of {nodes} nodes: eth1 goes to the next one, eth2 to the one before.")
            }
            Self::Star { around } => format!("A star; nodes around its hub: {around}."),
            Self::Mesh { nodes } => format!("A full mesh of {nodes} nodes."),
            Self::Clos { spines, leaves, hosts } => {
                format!("A Clos network; spines: {spines}, leaves: {leaves}, hosts at each leaf: {hosts}.")
            }
        }
    }

    fn network(self) -> Network {
        let link = |a: &String, b: &String| (a.clone(), b.clone());
        match self {
            Self::Line { nodes } => {
                let names = numbered("r", nodes);
                let links = names.windows(2).map(|pair| link(&pair[0], &pair[1])).collect();
                Network { tiers: vec![Tier { group: None, names }], links }
            }
            Self::Ring { nodes } => {
                let names = numbered("r", nodes);
                let links = names.iter().zip(names.iter().cycle().skip(1)).map(|(a, b)| link(a, b)).collect();
                Network { tiers: vec![Tier { group: None, names }], links }
            }
            Self::Star { around } => {
                let (hub, names) = ("hub".to_owned(), numbered("r", around));
                let links = names.iter().map(|name| link(&hub, name)).collect();
                let tiers = [vec![hub], names].map(|names| Tier { group: None, names });
                Network { tiers: tiers.into(), links }
            }
            Self::Mesh { nodes } => {
                let names = numbered("r", nodes);
                let later = |(at, a)| names.iter().skip(at + 1).map(move |b| link(a, b));
                let links = names.iter().enumerate().flat_map(later).collect();
                Network { tiers: vec![Tier { group: None, names }], links }
            }
            Self::Clos { spines, leaves, hosts } => {
                let (spines, leaves) = (numbered("s", spines), numbered("l", leaves));
                let per_leaf = usize::try_from(hosts).unwrap_or_default();
                let hosts = numbered("h", hosts * u32::try_from(leaves.len()).unwrap_or_default());
                let mut links: Vec<_> =
                    leaves.iter().flat_map(|leaf| spines.iter().map(|spine| link(leaf, spine))).collect();
                for (index, host) in hosts.iter().enumerate() {
                    links.push(link(&leaves[index / per_leaf], host));
                }
                let tiers = [("spines", spines), ("leaves", leaves), ("hosts", hosts)];
                let tiers = tiers.into_iter().filter(|(_, names)| !names.is_empty());
                Network { tiers: tiers.map(|(group, names)| Tier { group: Some(group), names }).collect(), links }
            }
        }
    }
}

fn numbered(letter: &str, count: u32) -> Vec<String> {
    (1..=count).map(|number| format!("{letter}{number}")).collect()
}
