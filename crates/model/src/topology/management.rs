//! `mgmt`: the management network of the lab.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::addresses::Written;
use super::diagnostic::{Code, Path, Span, cut};
use super::facts::{AllFacts, Facts};
use super::reader::{At, Cx, Field, Merged, Read, Table, get, optional};
use super::tree::{Data, Entry, Value};
use crate::kind::Shape;
use crate::lab::{Family, Management, ManagementDriver, RuntimeKind};
use crate::name::{InterfaceName, Invalid, Ipv4Net, Ipv6Net, Mtu};

const MGMT: Table = Table {
    what: "`mgmt`",
    acted: &[
        "network",
        "bridge",
        "driver",
        "macvlan-parent",
        "macvlan-aux",
        "ipv4-subnet",
        "ipv4-gw",
        "ipv4-range",
        "ipv6-subnet",
        "ipv6-gw",
        "ipv6-range",
        "mtu",
        "external-access",
        "skip-when-unused",
        "driver-opts",
        "ipv4_subnet",
        "ipv6_subnet",
    ],
    later: &[],
};

/// Reads the management network, and which subnets the file gives.
pub(super) fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> (Management, Written) {
    let Some(entries) = cx.fields(value, at, &MGMT) else { return (Management::default(), Written::default()) };
    let default = Management::default();
    let given = |names: [&str; 2]| names.iter().any(|name| located(entries, name).is_some());
    let written = Written { ipv4: given([Ipv4::SUBNET, Ipv4::OLD]), ipv6: given([Ipv6::SUBNET, Ipv6::OLD]) };
    // Giving one family's subnet alone switches the other off.
    let v4 = if written.ipv6 && !written.ipv4 { Family::Off } else { default.ipv4 };
    let v6 = if written.ipv4 && !written.ipv6 { Family::Off } else { default.ipv6 };
    let (ipv4, ipv6) = (family::<Ipv4>(entries, v4, at, cx), family::<Ipv6>(entries, v6, at, cx));
    let options = get(entries, "driver-opts");
    let driver = driver(entries, at, cx);
    let management = Management {
        driver,
        network: optional(located(entries, "network").map_or(&[], |_| entries), "network", at, cx)
            .map_or(default.network, |Network(name)| name),
        bridge: optional::<Bridge>(entries, "bridge", at, cx).and_then(|Bridge(name)| name),
        ipv4,
        ipv6,
        mtu: get(entries, "mtu").filter(|value| !is_zero(value)).and_then(|value| Mtu::read(value, &at.key("mtu"), cx)),
        external_access: optional(entries, "external-access", at, cx).unwrap_or(true),
        skip_when_unused: optional(entries, "skip-when-unused", at, cx).unwrap_or(false),
        driver_options: options
            .map(|value| Merged::<String>::read(value, &at.key("driver-opts"), cx).values())
            .unwrap_or_default(),
    };
    (management, written)
}

/// What the network is made of. What only a macvlan has is said of a bridge.
fn driver(entries: &[Entry<'_>], at: &Path<'_>, cx: &mut Cx<'_>) -> ManagementDriver {
    let is_macvlan = located(entries, "driver").is_some_and(|At { value, .. }| {
        cx.choice(value, &at.key("driver"), &[("bridge", false), ("macvlan", true)], &[]).unwrap_or(false)
    });
    let parent = optional::<InterfaceName>(entries, "macvlan-parent", at, cx);
    let host = optional::<Ipv4Net>(entries, "macvlan-aux", at, cx);
    if is_macvlan {
        return ManagementDriver::Macvlan { parent, host };
    }
    for field in ["macvlan-parent", "macvlan-aux"] {
        if let Some(At { span, .. }) = located(entries, field) {
            let message = format!("`{field}` has no effect: the network is a bridge");
            cx.report.warning(Code::NoEffect, span, &at.key(field), message).help("add `driver: macvlan`");
        }
    }
    ManagementDriver::Bridge
}

/// Says it if no node of the lab can be on the network.
pub(super) fn say_unused(span: Span, facts: &AllFacts, cx: &mut Cx<'_>) {
    // What runs and does not say on what is meant for a runtime that has the network, or has a mistake that is said.
    let runs = |facts: &Facts| facts.shape.is_none_or(|shape| shape == Shape::Runs);
    let managed = |facts: &Facts| match facts.runtime {
        Some(RuntimeKind::Docker | RuntimeKind::Libvirt) => true,
        Some(RuntimeKind::Namespace) => false,
        None => runs(facts),
    };
    if !facts.iter().any(managed) {
        let message = "the management network needs nodes with `runtime: docker`, and this lab has none";
        cx.report.warning(Code::IgnoredField, span, &Path::Root.key("mgmt"), message).label("has no effect");
    }
}

/// Whether it is a number that stands for none.
pub(super) fn is_zero(value: &Value<'_>) -> bool {
    matches!(&value.data, Data::Text(text) if *text == "0") || matches!(value.data, Data::Null)
}

/// The name of a network.
#[derive(Debug, Clone)]
struct Network(String);

impl Read for Network {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(good) {
            return Some(Self(text.to_owned()));
        }
        let message = format!("`{}` cannot be the name of a network", cut(text));
        cx.invalid(value, at, message, "letters, digits, `-`, `.` and `_` are possible");
        None
    }
}

/// The name of a bridge; none if it is empty.
#[derive(Debug, Clone)]
struct Bridge(Option<InterfaceName>);

impl Read for Bridge {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        if text.is_empty() {
            return Some(Self(None));
        }
        let parsed: Result<InterfaceName, Invalid> = text.parse();
        parsed.map(|name| Self(Some(name))).map_err(|invalid| cx.invalid(value, at, invalid.to_string(), "")).ok()
    }
}

/// The two address families, as far as they differ.
trait Version {
    type Net: Read + Copy + PartialEq + std::fmt::Display;
    type Address: Read + Copy + PartialEq + std::fmt::Display;
    const SUBNET: &'static str;
    const OLD: &'static str;
    const GATEWAY: &'static str;
    const RANGE: &'static str;
    fn network(net: Self::Net) -> Self::Net;
    fn contains(net: Self::Net, address: Self::Address) -> bool;
    fn covers(net: Self::Net, other: Self::Net) -> bool;
}

struct Ipv4;
struct Ipv6;

macro_rules! version {
    ($version:ty, $net:ty, $address:ty, $name:literal) => {
        impl Version for $version {
            type Net = $net;
            type Address = $address;
            const SUBNET: &'static str = concat!($name, "-subnet");
            const OLD: &'static str = concat!($name, "_subnet");
            const GATEWAY: &'static str = concat!($name, "-gw");
            const RANGE: &'static str = concat!($name, "-range");
            fn network(net: $net) -> $net {
                net.network()
            }
            fn contains(net: $net, address: $address) -> bool {
                net.contains(address)
            }
            fn covers(net: $net, other: $net) -> bool {
                net.covers(other)
            }
        }
    };
}

version!(Ipv4, Ipv4Net, Ipv4Addr, "ipv4");
version!(Ipv6, Ipv6Net, Ipv6Addr, "ipv6");

fn family<V: Version>(
    entries: &[Entry<'_>],
    default: Family<V::Net, V::Address>,
    at: &Path<'_>,
    cx: &mut Cx<'_>,
) -> Family<V::Net, V::Address> {
    let mut subnet = located(entries, V::SUBNET);
    if let Some(old) = located(entries, V::OLD) {
        let message = format!("`{}` is an old name of this field", V::OLD);
        cx.report.warning(Code::OldName, old.span, &at.key(V::OLD), message).help(format!("write `{}`", V::SUBNET));
        subnet = subnet.or(Some(old));
    }
    let (gateway, range) = (located(entries, V::GATEWAY), located(entries, V::RANGE));
    let net = match subnet {
        None => match default {
            Family::Subnet { net, .. } => net,
            other => {
                for (found, field) in [(gateway, V::GATEWAY), (range, V::RANGE)] {
                    if let Some(At { span, .. }) = found {
                        let message =
                            format!("`{field}` has no effect: `mgmt` gives a subnet of the other family only");
                        cx.report
                            .warning(Code::NoEffect, span, &at.key(field), message)
                            .help(format!("add `{}`", V::SUBNET));
                    }
                }
                return other;
            }
        },
        Some(At { value, .. }) if matches!(&value.data, Data::Text(text) if text.eq_ignore_ascii_case("auto")) => {
            for (found, field) in [(gateway, V::GATEWAY), (range, V::RANGE)] {
                if let Some(At { span, .. }) = found {
                    let message = format!("`{field}` has no effect: the subnet is chosen when the network is made");
                    cx.report
                        .warning(Code::NoEffect, span, &at.key(field), message)
                        .help(format!("write a network as `{}`", V::SUBNET));
                }
            }
            return Family::Auto;
        }
        Some(At { value, span }) => {
            let Some(net) = V::Net::read(value, &at.key(V::SUBNET), cx) else {
                return Family::Off;
            };
            let network = V::network(net);
            if network != net {
                let message = format!("`{net}` is an address in a network, not a network");
                cx.report
                    .warning(Code::InvalidValue, span, &at.key(V::SUBNET), message)
                    .label(format!("taken as `{network}`"));
            }
            network
        }
    };
    let gateway_at = gateway;
    let gateway = gateway.and_then(|At { value, .. }| V::Address::read(value, &at.key(V::GATEWAY), cx));
    let range_at = range;
    let range = range.and_then(|At { value, .. }| V::Net::read(value, &at.key(V::RANGE), cx));
    let mut outside = |span: Span, field: &'static str, what: String| {
        let diagnostic =
            cx.report.error(Code::InvalidValue, span, &at.key(field), format!("`{field}` {what} is not in {net}"));
        if let Some(subnet) = span_of(subnet) {
            diagnostic.note(subnet, "the subnet");
        } else {
            diagnostic.help(format!("that is the subnet if none is given; add `{}`", V::SUBNET));
        }
    };
    if let (Some(gateway), Some(found)) = (gateway.filter(|gateway| !V::contains(net, *gateway)), gateway_at) {
        outside(found.span, V::GATEWAY, gateway.to_string());
    }
    if let (Some(range), Some(found)) = (range.filter(|range| !V::covers(net, *range)), range_at) {
        outside(found.span, V::RANGE, range.to_string());
    }
    Family::Subnet { net, gateway, range: range.map(V::network) }
}

fn located<'v>(entries: &'v [Entry<'v>], key: &str) -> Option<At<&'v Value<'v>>> {
    let value = get(entries, key)?;
    let empty = matches!(&value.data, Data::Null) || matches!(&value.data, Data::Text(text) if text.is_empty());
    (!empty).then_some(At { value, span: value.span })
}

fn span_of(found: Option<At<&Value<'_>>>) -> Option<Span> {
    found.map(|found| found.span)
}
