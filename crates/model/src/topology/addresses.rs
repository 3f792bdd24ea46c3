//! Addresses of nodes on the management network: no two may have the same, and the network has to have them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::diagnostic::{Code, Path, Span};
use super::node::Spec;
use super::reader::{Cx, Field};
use crate::lab::{Family, Management};
use crate::name::Ipv4Net;

/// The addresses that the nodes of a file have.
#[derive(Default)]
pub(super) struct Addresses {
    taken: HashMap<IpAddr, (Span, String)>,
}

impl Addresses {
    /// Keeps what a node says of itself; says it if another has it.
    pub(super) fn note(&mut self, own: &Spec, at: &Path<'_>, cx: &mut Cx<'_>) {
        let v4 = own.mgmt_ipv4.0.get().map(|address| IpAddr::V4(*address)).zip(own.mgmt_ipv4.span());
        let v6 = own.mgmt_ipv6.0.get().map(|address| IpAddr::V6(*address)).zip(own.mgmt_ipv6.span());
        for (field, found) in [("mgmt-ipv4", v4), ("mgmt-ipv6", v6)] {
            let Some((address, span)) = found else { continue };
            let at = at.key(field);
            if let Some((first, _)) = self.taken.get(&address) {
                let message = format!("address `{address}` is given to two nodes");
                cx.report
                    .error(Code::DuplicateAddress, span, &at, message)
                    .label("the second one")
                    .note(*first, "the first one");
                continue;
            }
            self.taken.insert(address, (span, at.to_string()));
        }
    }

    /// Says which addresses are no addresses of a management network that the file describes.
    pub(super) fn check(&self, written: Written, management: &Management, cx: &mut Cx<'_>) {
        let mut outside: Vec<(&IpAddr, &(Span, String), String)> = Vec::new();
        for (address, place) in &self.taken {
            match (address, &management.ipv4, &management.ipv6) {
                (IpAddr::V4(address_v4), Family::Subnet { net, gateway, .. }, _) if written.ipv4 => {
                    if !net.contains(*address_v4) {
                        outside.push((address, place, format!("`{address}` is not in the management network {net}")));
                    } else if gateway.is_some_and(|gateway| gateway == *address_v4) {
                        outside.push((address, place, format!("`{address}` is the gateway of the management network")));
                    } else if is_reserved(*net, *address_v4) {
                        let message =
                            format!("no node can have `{address}`: {net} has it for itself or for broadcasts");
                        outside.push((address, place, message));
                    }
                }
                (IpAddr::V6(address_v6), _, Family::Subnet { net, gateway, .. }) if written.ipv6 => {
                    if !net.contains(*address_v6) {
                        outside.push((address, place, format!("`{address}` is not in the management network {net}")));
                    } else if gateway.is_some_and(|gateway| gateway == *address_v6) {
                        outside.push((address, place, format!("`{address}` is the gateway of the management network")));
                    }
                }
                _ => {}
            }
        }
        for (_, (span, at), message) in outside {
            cx.report
                .error(Code::InvalidValue, *span, &Path::Text(at), message)
                .help("choose a free address of the subnet that `mgmt` gives");
        }
    }
}

/// Whether it is the first or the last address of a network that is larger than a link between two.
fn is_reserved(net: Ipv4Net, address: Ipv4Addr) -> bool {
    if net.prefix > 30 {
        return false;
    }
    let hosts = u32::MAX >> net.prefix;
    let host = u32::from(address) & hosts;
    host == 0 || host == hosts
}

/// Which subnets the file itself gives. A network that is there already may have any.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
}
