//! Checksums that are complete when they leave, of what ends behind a switch in user space send.
//!
//! A veth interface leaves the checksums of TCP and UDP to the hardware that its packets leave the host by, and the kernel
//! keeps in mind beside each packet that its checksum is unfinished. A switch in user space reads the packet and not that, and
//! passes it on as one with a wrong checksum: who it is for drops it. So the interface is told to complete them itself.
//!
//! It keeps that, also when it is moved to another namespace. It is told before it is marked, so that one that was made and
//! carries its mark was told, also when the agent was killed meanwhile; and again whenever its link is set right.

use std::collections::BTreeSet;

use netloom_kernel::{KernelErrorKind, Request};
use netloom_model::{InterfaceName, Lab};

use super::wire::{Port, Wire};

/// Who completes the checksums of what an interface sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksums {
    /// Whoever takes it off the host, as the kernel has it.
    Left,
    /// The interface.
    Complete,
}

impl Wire {
    /// Has those of its ends complete checksums that are behind ports of these bridges.
    pub(super) fn complete_checksums(&mut self, lab: &Lab, in_user_space: &BTreeSet<InterfaceName>) {
        if in_user_space.is_empty() {
            return;
        }
        let ports = lab.link(&self.id).map(|link| lab.switch_ports(link)).unwrap_or_default();
        let behind = ports.iter().filter(|port| in_user_space.contains(&port.bridge)).filter_map(|port| port.end);
        for end in behind {
            self.ports_mut().filter(|own| own.end == *end).for_each(|own| own.checksums = Checksums::Complete);
        }
    }
}

impl Port {
    /// What tells it to complete checksums, if it is to.
    pub(super) fn checksum_request(&self, place: &netloom_kernel::Place) -> Option<Request> {
        let request = || Request::DisableTxChecksum { place: place.clone(), name: self.name().clone() };
        (self.checksums == Checksums::Complete).then(request)
    }
}

/// What of a refusal to complete checksums is no failure of the link: that the interface cannot. The link carries all that has
/// no such checksum, as ARP, ping and OSPF; one that fails would carry nothing, however often it is tried. What may be
/// otherwise the next time (no time left, the interface is gone) fails it, and it is tried again.
pub(super) const LIVED_WITH: KernelErrorKind = KernelErrorKind::Unsupported;

#[cfg(test)]
mod tests {
    use netloom_plan::LinkFingerprint;

    use super::*;

    /// A lab with a link between nodes and one to a bridge of Open vSwitch, on a switch.
    fn lab() -> Lab {
        let node = |kind: &str| serde_json::json!({ "kind": kind, "runtime": "namespace", "hostname": "n" });
        let end = |at: (&str, &str), interface: &str, mac: u8| serde_json::json!({ "at": { at.0: at.1 }, "interface": interface, "mac": format!("02:00:00:00:00:{mac:02x}") });
        let lab: Lab = serde_json::from_value(serde_json::json!({
            "name": "t",
            "nodes": { "r1": node("linux"), "r2": node("linux"), "sw": { "kind": "ovs-bridge", "hostname": "sw" } },
            "links": [
                { "a": end(("node", "r1"), "eth1", 1), "b": end(("node", "r2"), "eth1", 2) },
                { "a": end(("node", "r1"), "eth2", 3), "b": end(("bridge", "sw"), "p1", 4) },
            ],
        }))
        .unwrap();
        lab.on_switch(&"br".parse().unwrap())
    }

    /// The interfaces that complete checksums when these bridges forward in user space.
    fn complete(bridges: &[&str]) -> Vec<String> {
        let (lab, bridges) = (lab(), bridges.iter().map(|name| name.parse().unwrap()).collect());
        let wires = lab.links().iter().flat_map(|link| {
            let fingerprint = LinkFingerprint::of(link, 0);
            Wire::of("create", 0, &lab, &link.id(), &fingerprint).unwrap()
        });
        let mut named = Vec::new();
        for mut wire in wires {
            wire.complete_checksums(&lab, &bridges);
            let told = wire.ports().filter(|port| port.checksums == Checksums::Complete);
            named.extend(told.map(|port| port.end.label()));
        }
        named.sort();
        named
    }

    #[test]
    fn what_sends_to_a_bridge_in_user_space_completes_checksums_and_nothing_else_does() {
        assert_eq!(complete(&[]), [""; 0]);
        assert_eq!(complete(&["another"]), [""; 0]);
        assert_eq!(complete(&["br"]), ["r1:eth1", "r2:eth1"]);
        assert_eq!(complete(&["sw"]), ["r1:eth2"]);
        assert_eq!(complete(&["br", "sw"]), ["r1:eth1", "r1:eth2", "r2:eth1"]);
    }
}
