//! Marks: how an interface says that it is ours, and of what.
//!
//! Two of them. The *group* (IFLA_GROUP, a number) is set by the message that creates an interface, so not even a crash
//! leaves one without it; the *alias* (ifalias, text) by the message that brings it up, and only the alias makes it
//! ours in full:
//!
//! ```text
//! netloom/<instance>/<lab>/<link id>/<fingerprint>         an end of a link
//! netloom/<instance>/<lab>/<link id>/<fingerprint>/down    the same, switched off by us
//! netloom/<instance>/bridge                                a bridge
//! netloom/<instance>/transport                             a subinterface of the host, of no lab
//! ```
//!
//! The end of a link that its node's default routes lead through has ` via` and the gateways at its end: an interface that
//! moves to another namespace, or is off for a while, loses its routes. While one that has moved is without its addresses and
//! routes, the second half of its fingerprint is that of no link: they are still to be given to it, whoever moved it.
//!
//! The kernel takes 255 bytes. An id that may not fit is written as `#` and 16 hex digits of its hash; which id is behind
//! a hash is kept in memory and in a file beside the pins (see [`super::places`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use netloom_engine::{Place, PortMark};
use netloom_kernel::LinkInfo;
use netloom_model::{InterfaceName, LabName, LinkId, Mac, hex};
use netloom_plan::{AdminState, LinkFingerprint};

/// IFALIASZ of linux/if.h, less the NUL.
const ALIAS_MAX: usize = 255;
/// Two times eight hex digits and a dot.
const FINGERPRINT: usize = 17;
/// What follows the fingerprint of an end that was switched off through us.
const DOWN: &str = "/down";
/// What the gateways follow.
const VIA: &str = " via";
/// What an end is configured as that was configured as something and has lost it: as no link is.
const BARE: &str = "bare";
/// The gateways at their longest: one of each family.
const GATEWAYS: usize = 4 + 16 + 40;

/// IFA_PROTO of the addresses that links are given; the kernel's own are 1 to 3.
pub(crate) const ADDRESS_PROTOCOL: u8 = 0x4e;

/// The marks of one agent instance.
#[derive(Debug)]
pub(crate) struct Marks {
    instance: String,
    hashed: Mutex<HashMap<String, LinkId>>,
}

impl Marks {
    pub(crate) fn new(instance: &str) -> Self {
        Self { instance: instance.to_owned(), hashed: Mutex::default() }
    }

    /// The group of all links of a lab: 31 bits of a hash, never 0 (the default group).
    pub(crate) fn lab_group(&self, lab: &LabName) -> u32 {
        self.group(&format!("lab\0{lab}"))
    }

    /// The group of the bridges.
    pub(crate) fn bridge_group(&self) -> u32 {
        self.group("bridge")
    }

    /// A group for links that are about to be deleted; another one each time.
    pub(crate) fn doomed_group(&self) -> u32 {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        self.group(&format!("doomed\0{}\0{call}", std::process::id()))
    }

    fn group(&self, of: &str) -> u32 {
        let digits = hex(format!("{}\0{of}", self.instance).as_bytes());
        let bits = u32::from_str_radix(&digits[..8], 16).expect("eight hex digits are 32 bits");
        (bits >> 1).max(1)
    }

    /// A MAC address for a bridge, the same each time: without one of its own a bridge takes that of a port.
    pub(crate) fn bridge_mac(&self, place: &Place, bridge: &InterfaceName) -> Mac {
        let at = match place {
            Place::Host => String::new(),
            Place::Node(lab, node) => format!("{lab}\0{node}\0"),
        };
        let digits = hex(format!("{}\0bridge\0{at}{bridge}", self.instance).as_bytes());
        let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two hex digits are an octet");
        Mac([0xaa, 0xc1, 0xab, octet(0), octet(2), octet(4)])
    }

    /// The alias of an end of a link.
    pub(crate) fn link_alias(
        &self,
        lab: &LabName,
        link: &LinkId,
        fingerprint: &LinkFingerprint,
        switched: AdminState,
    ) -> String {
        let suffix = if switched == AdminState::Down { DOWN } else { "" };
        let id = if self.is_long(lab, link) { short_id(link) } else { link.as_str().to_owned() };
        format!("netloom/{}/{lab}/{id}/{fingerprint}{suffix}", self.instance)
    }

    /// The alias of an end that default routes lead through.
    pub(crate) fn with_gateways(alias: String, gateways: &[IpAddr]) -> String {
        if gateways.is_empty() {
            return alias;
        }
        gateways.iter().fold(alias + VIA, |alias, gateway| format!("{alias} {gateway}"))
    }

    /// The gateways that an alias says.
    pub(crate) fn gateways(interface: &LinkInfo) -> Vec<IpAddr> {
        let said = interface.alias.as_deref().and_then(|alias| alias.rsplit_once(VIA));
        said.map(|(_, gateways)| gateways.split_whitespace().filter_map(|text| text.parse().ok()).collect())
            .unwrap_or_default()
    }

    /// The alias that says of the end of a link that its addresses and routes are still to be given to it; `None` if it is none.
    pub(crate) fn as_bare(&self, interface: &LinkInfo) -> Option<String> {
        let Some(PortMark::Link { lab, link, fingerprint, switched }) = self.read(interface) else { return None };
        let bare = LinkFingerprint { config: BARE.into(), ..fingerprint };
        Some(Self::with_gateways(self.link_alias(&lab, &link, &bare, switched), &Self::gateways(interface)))
    }

    /// Whether an interface says that.
    pub(crate) fn is_bare(&self, interface: &LinkInfo) -> bool {
        matches!(self.read(interface), Some(PortMark::Link { fingerprint, .. }) if fingerprint.config == BARE.into())
    }

    /// Whether the id is written as a hash: whatever the rest of the alias is, so that it is always written the same way.
    pub(crate) fn is_long(&self, lab: &LabName, link: &LinkId) -> bool {
        let rest = format!("netloom/{}/{lab}///{DOWN}", self.instance).len() + FINGERPRINT + GATEWAYS;
        rest + link.as_str().len() > ALIAS_MAX
    }

    /// Makes an id known behind its hash. False if it was.
    pub(crate) fn learn(&self, link: &LinkId) -> bool {
        let mut hashed = self.hashed.lock().unwrap_or_else(PoisonError::into_inner);
        hashed.insert(short_id(link), link.clone()).is_none()
    }

    /// The alias of a bridge.
    pub(crate) fn bridge_alias(&self) -> String {
        format!("netloom/{}/bridge", self.instance)
    }

    /// The group of the subinterfaces of the host's transport.
    pub(crate) fn transport_group(&self) -> u32 {
        self.group("transport")
    }

    /// The alias of a subinterface of the host's transport.
    pub(crate) fn transport_alias(&self) -> String {
        format!("netloom/{}/transport", self.instance)
    }

    /// Whether an interface carries the mark of some agent: of this one or of another, for labs or for the host.
    pub(crate) fn is_any(interface: &LinkInfo) -> bool {
        interface.alias.as_deref().is_some_and(|alias| alias.starts_with("netloom/"))
    }

    /// Whether an interface carries the mark of a link.
    pub(crate) fn is_of(&self, interface: &LinkInfo, lab: &LabName, id: &LinkId) -> bool {
        matches!(self.read(interface), Some(PortMark::Link { lab: of, link, .. }) if of == *lab && link == *id)
    }

    /// What the mark of an interface says; `None` if it carries none of this instance.
    pub(crate) fn read(&self, interface: &LinkInfo) -> Option<PortMark> {
        let text = interface.alias.as_deref()?.strip_prefix("netloom/")?.strip_prefix(&self.instance)?;
        let text = text.strip_prefix('/')?;
        if text == "bridge" {
            return Some(PortMark::Bridge);
        }
        // No name of an interface has a space in it.
        let text = text.split_once(VIA).map_or(text, |(text, _)| text);
        let (text, switched) = match text.strip_suffix(DOWN) {
            Some(text) => (text, AdminState::Down),
            None => (text, AdminState::Up),
        };
        // Lab and fingerprint have no slash; an interface name in the id may have one.
        let (lab, rest) = text.split_once('/')?;
        let (id, fingerprint) = rest.rsplit_once('/')?;
        let known = || self.hashed.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let link = known().unwrap_or_else(|| LinkId::from_text(id));
        Some(PortMark::Link { lab: lab.parse().ok()?, link, fingerprint: fingerprint.parse().ok()?, switched })
    }
}

/// Whether an interface was created by us with that group but never brought up: the work of an order that was cut off.
pub(crate) fn is_half_made(interface: &LinkInfo, group: u32) -> bool {
    interface.group == group && interface.alias.is_none() && !interface.up
}

fn short_id(link: &LinkId) -> String {
    format!("#{}", &hex(link.as_str().as_bytes())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(alias: &str) -> LinkInfo {
        LinkInfo {
            ifindex: 1,
            name: "eth1".into(),
            altnames: Vec::new(),
            kind: None,
            up: true,
            lower_up: true,
            mtu: 1500,
            mac: None,
            group: 0,
            alias: Some(alias.into()),
            master: None,
            peer: None,
            peer_nsid: None,
            vni: None,
            vlan: None,
            between: None,
        }
    }

    fn mark(id: &str, switched: AdminState) -> PortMark {
        PortMark::Link {
            lab: "lab".parse().unwrap(),
            link: LinkId::from_text(id),
            fingerprint: "01234567.89abcdef".parse().unwrap(),
            switched,
        }
    }

    #[test]
    fn a_mark_reads_back_as_it_was_written_also_with_slashes_and_at_any_length() {
        let marks = Marks::new("0123456789ab");
        for id in ["r1:eth1-r2:eth1", "r1:Gi0/0/1-r2:Gi0/0/2", &"x".repeat(200)] {
            marks.learn(&LinkId::from_text(id));
            for state in [AdminState::Up, AdminState::Down] {
                let PortMark::Link { lab, link, fingerprint, switched } = mark(id, state) else { unreachable!() };
                let alias = marks.link_alias(&lab, &link, &fingerprint, switched);
                assert!(alias.len() <= ALIAS_MAX);
                assert_eq!(marks.read(&interface(&alias)), Some(mark(id, state)));
            }
        }
        assert_eq!(marks.read(&interface(&marks.bridge_alias())), Some(PortMark::Bridge));
    }

    #[test]
    fn gateways_stand_behind_a_mark_that_reads_as_without_them() {
        let marks = Marks::new("0123456789ab");
        let PortMark::Link { lab, link, fingerprint, .. } = mark("host:mg01-r1:eth0", AdminState::Down) else {
            unreachable!()
        };
        let alias = marks.link_alias(&lab, &link, &fingerprint, AdminState::Down);
        let gateways: Vec<IpAddr> = ["172.20.20.1", "3fff:172:20:20::1"].map(|text| text.parse().unwrap()).into();
        let alias = Marks::with_gateways(alias, &gateways);
        assert_eq!(marks.read(&interface(&alias)), Some(mark("host:mg01-r1:eth0", AdminState::Down)));
        assert_eq!(Marks::gateways(&interface(&alias)), gateways);
    }

    #[test]
    fn a_mark_without_what_the_link_is_configured_as_differs_in_that_alone() {
        let marks = Marks::new("0123456789ab");
        let PortMark::Link { lab, link, fingerprint, .. } = mark("r1:eth1-r2:eth1", AdminState::Down) else {
            unreachable!()
        };
        let whole = marks.link_alias(&lab, &link, &fingerprint, AdminState::Down);
        let whole = interface(&Marks::with_gateways(whole, &["10.0.0.1".parse().unwrap()]));
        let bare = interface(&marks.as_bare(&whole).unwrap());
        assert_eq!((marks.is_bare(&whole), marks.is_bare(&bare)), (false, true));
        let fingerprint = LinkFingerprint { config: BARE.into(), ..fingerprint };
        assert_eq!(marks.read(&bare), Some(PortMark::Link { lab, link, fingerprint, switched: AdminState::Down }));
        assert_eq!(Marks::gateways(&bare), Marks::gateways(&whole));
        assert_eq!(marks.as_bare(&interface(&marks.bridge_alias())), None);
    }

    #[test]
    fn what_another_instance_or_a_person_wrote_is_no_mark() {
        let marks = Marks::new("0123456789ab");
        let other = Marks::new("0123456789a").bridge_alias();
        for alias in [other.as_str(), "uplink to spine 1", "netloom/0123456789ab", "netloom/0123456789ab/lab/x", ""] {
            assert_eq!(marks.read(&interface(alias)), None, "{alias}");
        }
    }

    #[test]
    fn groups_differ_by_lab_and_instance_and_are_never_the_default_one() {
        let (one, two) = (Marks::new("one"), Marks::new("two"));
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let groups = [one.lab_group(&a), one.lab_group(&b), two.lab_group(&a), one.bridge_group()];
        for (at, group) in groups.iter().enumerate() {
            assert!(*group > 0 && i32::try_from(*group).is_ok());
            assert!(!groups[..at].contains(group));
        }
    }
}
