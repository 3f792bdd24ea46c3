//! VLANs of ports of a lab's own bridge of Open vSwitch, which stand under `vars` of that end.

use super::diagnostic::{Code, Path};
use super::end::Draft;
use super::link::Links;
use super::reader::{Cx, get};
use super::tree::{Data, Entry};
use crate::kind::Shape;
use crate::lab::{Endpoint, NoVlan, Vars, Vlan};

/// Says what is wrong with those of an end at a bridge of Open vSwitch.
pub(super) fn check(vars: &Vars, entries: &[Entry<'_>], at: &Path<'_>, cx: &mut Cx<'_>) {
    let Err(NoVlan { key, why, help }) = Vlan::read(vars) else { return };
    let Some(value) = get(entries, "vars") else { return };
    let at = at.key("vars");
    let own = match &value.data {
        Data::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.span),
        _ => None,
    };
    cx.report.error(Code::InvalidValue, own.unwrap_or(value.span), &at.key(&key), why).help(help);
}

impl Links<'_> {
    /// Whether an end is a port of a bridge of Open vSwitch.
    pub(super) fn is_switch(&self, at: &Endpoint) -> bool {
        let Endpoint::Bridge(bridge) = at else { return false };
        let facts = &self.nodes.facts;
        facts.find(bridge.as_str()).is_some_and(|index| facts[index].shape == Some(Shape::OvsBridge))
    }

    /// Says of VLANs that stand at another place of a link to a bridge that they have no effect there. They may be data for
    /// templates: nobody is kept from having them.
    pub(super) fn check_vlans(&self, near: &Draft, far: Option<&Draft>, vars: &Vars, at: &Path<'_>, cx: &mut Cx<'_>) {
        let ends = || std::iter::once(near).chain(far);
        if let Some(port) = ends().find(|end| self.is_switch(&end.at)) {
            let elsewhere = ends().filter(|end| !std::ptr::eq(*end, port)).find(|end| Vlan::is_meant(&end.vars));
            let misplaced = elsewhere.map(Draft::label).or_else(|| Vlan::is_meant(vars).then(|| "its link".to_owned()));
            if let Some(misplaced) = misplaced.filter(|_| !Vlan::is_meant(&port.vars)) {
                let message = format!("a VLAN at {misplaced} has no effect on the port `{}`", port.label());
                let node = port.at.node().map_or("sw", |node| node.as_str());
                let help = format!(
                    "write it at the end of the bridge, with `type: veth`: `{{ node: {node}, interface: {}, vars: {{ vlan: \
                     10 }} }}`",
                    port.interface
                );
                cx.report.warning(Code::NoEffect, port.span, at, message).help(help);
            }
        }
        let is_plain = |end: &&Draft| matches!(end.at, Endpoint::Bridge(_)) && !self.is_switch(&end.at);
        for end in ends().filter(is_plain).filter(|end| Vlan::is_meant(&end.vars)) {
            let message = format!("a VLAN at `{}` has no effect: it is a bridge of the kernel", end.label());
            let help = "give its node `kind: ovs-bridge`";
            cx.report.warning(Code::NoEffect, end.span, at, message).help(help);
        }
    }
}
