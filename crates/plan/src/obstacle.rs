//! What stands in the way of a plan, found before anything is touched.

use std::collections::BTreeMap;
use std::fmt;

use netloom_model::{End, Endpoint, InterfaceName, Lab, Link, LinkId, NodeName, PullPolicy};
use serde::{Deserialize, Serialize};

use crate::fingerprint::Effect;
use crate::left_out::LeftOut;
use crate::state::{Desired, ImageStock, Observed};

/// A reason why a desired lab cannot be made on this host as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "obstacle")]
pub enum Obstacle {
    /// A link wants an interface on the host whose name something else has.
    InterfaceTaken {
        /// The link.
        link: LinkId,
        /// The name.
        interface: InterfaceName,
    },
    /// A link hangs on an interface that the host does not have.
    ParentMissing {
        /// The link.
        link: LinkId,
        /// The name.
        parent: InterfaceName,
    },
    /// A bridge wants the name of an interface that is no bridge of the lab's.
    BridgeTaken {
        /// The name.
        bridge: InterfaceName,
    },
    /// Images are not on the host, and are not to be fetched either.
    ImagesMissing {
        /// All of them.
        images: Vec<UnfetchedImage>,
    },
}

/// An image that is missing, with the nodes whose pull policy is `never`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfetchedImage {
    /// Its reference.
    pub image: String,
    /// The nodes that are to be made from it.
    pub nodes: Vec<NodeName>,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InterfaceTaken { link, interface } => write!(
                f,
                "link {link}: the host already has an interface `{interface}` that is not of this lab; \
                 choose another name, or remove it (`ip link show {interface}`)"
            ),
            Self::ParentMissing { link, parent } => write!(
                f,
                "link {link}: the host has no interface `{parent}`, which it hangs on; write the name of one that \
                 `ip link` shows"
            ),
            Self::BridgeTaken { bridge } => write!(
                f,
                "bridge {bridge}: the host has an interface of that name that is not a bridge; choose another name"
            ),
            Self::ImagesMissing { images } => {
                let (are, them) = if images.len() == 1 { ("image is", "it") } else { ("images are", "them") };
                write!(
                    f,
                    "{} {are} not on this host, and `image-pull-policy: Never` forbids to pull {them}: ",
                    images.len()
                )?;
                let named: Vec<String> = images.iter().map(ToString::to_string).collect();
                let first = images.first().map_or("", |first| &first.image);
                write!(
                    f,
                    "{}; load {them} (`netloom image load FILE`) or pull {them} (`netloom image pull {first}`), or write \
                     `image-pull-policy: IfNotPresent`",
                    named.join(", ")
                )
            }
        }
    }
}

impl fmt::Display for UnfetchedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<&str> = self.nodes.iter().map(NodeName::as_str).collect();
        let node = if nodes.len() == 1 { "node" } else { "nodes" };
        write!(f, "`{}` ({node} {})", self.image, nodes.join(", "))
    }
}

/// Finds everything that stands in the way.
pub fn obstacles(desired: &Desired<'_>, observed: &Observed) -> Vec<Obstacle> {
    let Some(lab) = desired.lab else { return Vec::new() };
    let left_out = LeftOut::of(lab);
    let mut found = Vec::new();
    for link in left_out.made(lab) {
        let id = link.id();
        let ends = link.ends().filter(|end| matches!(end.home(), Endpoint::Host | Endpoint::Bridge(_)));
        let seams = link.stitch().into_iter().flat_map(|stitch| [stitch.veth, stitch.vxlan]);
        let mut wanted: Vec<InterfaceName> = ends.map(|end| end.interface.kernel().clone()).collect();
        wanted.extend(seams.map(|interface| interface.kernel().clone()));
        if link.switch().is_some() {
            wanted.extend(lab.switch_ports(link).into_iter().map(|port| port.interface));
        }
        for interface in wanted.into_iter().filter(|name| observed.taken.contains(name)) {
            found.push(Obstacle::InterfaceTaken { link: id.clone(), interface });
        }
        if let Some(parent) = link.kind.parent()
            && !observed.taken.contains(parent)
            && !comes_with(lab, parent)
        {
            found.push(Obstacle::ParentMissing { link: id, parent: parent.clone() });
        }
    }
    for (name, node) in lab.nodes() {
        if let Some(bridge) = node.host_bridge(name)
            && observed.taken.contains(&bridge)
            && !observed.bridges.get(&bridge).is_some_and(|there| there.exists)
        {
            found.push(Obstacle::BridgeTaken { bridge });
        }
    }
    let images = unfetched_images(lab, desired, observed);
    if !images.is_empty() {
        found.push(Obstacle::ImagesMissing { images });
    }
    found
}

/// Images that nodes are to be made from, and that nobody may fetch. A node that is made needs its image no longer.
fn unfetched_images(lab: &Lab, desired: &Desired<'_>, observed: &Observed) -> Vec<UnfetchedImage> {
    let mut missing: BTreeMap<&str, Vec<NodeName>> = BTreeMap::new();
    for (name, node) in lab.nodes() {
        let (Some(runtime), Some(image)) = (node.runtime, node.image.as_deref()) else { continue };
        let is_missing = || observed.images.get(&(runtime, image.to_owned())) == Some(&ImageStock::Missing);
        let is_made = || {
            observed.nodes.get(name).is_some_and(|there| {
                let change = there.fingerprint.change_to(&desired.fingerprint(name, node));
                !there.is_begun() && change < Some(Effect::Recreate)
            })
        };
        if node.container.pull_policy == PullPolicy::Never && is_missing() && !is_made() {
            missing.entry(image).or_default().push(name.clone());
        }
    }
    missing.into_iter().map(|(image, nodes)| UnfetchedImage { image: image.to_owned(), nodes }).collect()
}

/// Whether an interface of the host is one of the lab.
fn comes_with(lab: &Lab, name: &InterfaceName) -> bool {
    let on_host = |end: &End| matches!(end.home(), Endpoint::Host | Endpoint::Bridge(_));
    let mut ends = lab.links().iter().flat_map(Link::ends).filter(|end| on_host(end));
    ends.any(|end| end.interface.kernel() == name)
        || lab.nodes().iter().any(|(node, of)| of.host_bridge(node).as_ref() == Some(name))
}
