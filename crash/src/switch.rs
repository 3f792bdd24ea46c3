//! What the switch of the host has of lab `x`: read from its database by its own program, not by ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use netloom_engine::LabView;
use netloom_ovs_fixture::Ovs;
use serde_json::Value;

use crate::topology::{SHARED, UNTAGGED};

/// The bridge that all labs share.
const BRIDGE: &str = SHARED[0];
/// How a claim of a tag begins.
const CLAIM: &str = "netloom-tag-";

/// What is other than it should be: the ports of the switch are those of the lab, each link has a tag of its own, and exactly
/// those tags are claimed.
pub(crate) fn mislaid(switch: &Ovs, lab: Option<&LabView>) -> String {
    let mut why = String::new();
    let (ports, claims) = (ports(switch), claims(switch));
    let links = lab.into_iter().flat_map(|lab| &lab.links);
    let shown: BTreeMap<String, Option<u16>> =
        links.clone().flat_map(|link| &link.switch).map(|port| (port.port.clone(), port.tag)).collect();
    if shown != ports {
        let _ = write!(why, "the switch has the ports {ports:?}, not {shown:?}");
    }
    let mut tags: BTreeMap<u16, String> = BTreeMap::new();
    for link in links {
        let of: BTreeSet<Option<u16>> = link.switch.iter().map(|port| port.tag).collect();
        let untagged = link.switch.iter().any(|port| UNTAGGED.contains(&port.port.as_str()));
        match of.into_iter().collect::<Vec<_>>().as_slice() {
            [None] if untagged && link.switch.len() == 1 => {}
            [Some(tag)] if !untagged && link.switch.len() == 2 => {
                if let Some(other) = tags.insert(*tag, link.id.clone()) {
                    let _ = write!(why, "links {other} and {} have one tag, {tag}", link.id);
                }
            }
            _ => {
                let _ = write!(why, "link {} has the ports {:?}", link.id, link.switch);
            }
        }
    }
    if tags != claims {
        let _ = write!(why, "the tags {claims:?} are claimed, and the links have {tags:?}");
    }
    why
}

/// What is left on it when all labs are gone: nothing but the bridge that they shared, and nothing on that.
pub(crate) fn left(switch: &Ovs) -> Vec<String> {
    let bridges = switch.vsctl(["list-br"]);
    let bridges = bridges.lines().filter(|bridge| *bridge != BRIDGE).map(|bridge| format!("switch bridge {bridge}"));
    let ports = ports(switch).into_keys().map(|port| format!("switch port {port}"));
    let claims = claims(switch).into_iter().map(|(tag, link)| format!("switch tag {tag} of {link}"));
    bridges.chain(ports).chain(claims).collect()
}

/// Removes that bridge.
pub(crate) fn clear(switch: &Ovs) {
    switch.vsctl(["--if-exists", "del-br", BRIDGE]);
}

/// All ports but those that are bridges themselves, with their tags.
fn ports(switch: &Ovs) -> BTreeMap<String, Option<u16>> {
    let bridges = switch.vsctl(["list-br"]);
    let rows = rows(&switch.vsctl(["--format=json", "--columns=name,tag", "list", "Port"]));
    let ports = rows.into_iter().filter_map(|row| Some((row.first()?.as_str()?.to_owned(), row.get(1)?.as_u64())));
    let ports = ports.filter(|(name, _)| !bridges.lines().any(|bridge| bridge == name));
    ports.map(|(name, tag)| (name, tag.and_then(|tag| u16::try_from(tag).ok()))).collect()
}

/// The links that tags are claimed for on any bridge.
fn claims(switch: &Ovs) -> BTreeMap<u16, String> {
    let rows = rows(&switch.vsctl(["--format=json", "--columns=external_ids", "list", "Bridge"]));
    // `["map",[[key,value],…]]`
    let pairs = rows.iter().flatten().filter_map(|ids| ids[1].as_array()).flatten();
    let claims = pairs.filter_map(|pair| Some((pair[0].as_str()?.strip_prefix(CLAIM)?, pair[1].as_str()?)));
    claims.filter_map(|(tag, of)| Some((tag.parse().ok()?, of.rsplit_once('/')?.1.to_owned()))).collect()
}

fn rows(answer: &str) -> Vec<Vec<Value>> {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    serde_json::from_value(answer["data"].clone()).unwrap_or_default()
}
