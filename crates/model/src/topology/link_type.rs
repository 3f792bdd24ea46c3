//! The types that links have in a file, and the fields of each.

use super::diagnostic::{Code, Path, cut};
use super::end::port;
use super::reader::{At, Cx, Read, Table, get, list, optional};
use super::tree::{Data, Entry, Value};
use super::value::number::whole;
use crate::lab::{Macvlan, MacvlanMode, Vxlan};
use crate::name::{InterfaceName, Invalid};

/// A link's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Brief,
    Veth,
    VethStitch,
    Host,
    ManagementNet,
    Macvlan,
    Dummy,
    Vxlan,
    VxlanStitch,
}

/// The fields of one type: its own, and those that all have. What Go's reader of the format takes by accident is
/// accepted, too.
macro_rules! table {
    ($($own:literal),*) => {
        Table {
            what: "link",
            acted: &[$($own,)* "type", "mtu", "labels", "vars", "ipv4", "ipv6"],
            later: &["deploymentstate", "linktype"],
        }
    };
}

const TWO_ENDS: Table = table!("endpoints");
const ONE_END: Table = table!("endpoint");
const TO_HOST: Table = table!("endpoint", "host-interface");
const MACVLAN: Table = table!("endpoint", "host-interface", "mode");
const VXLAN: Table = table!("endpoint", "remote", "vni", "dst-port", "src-port", "parent-interface", "udp-port");

impl Type {
    const ALL: [(&'static str, Self); 9] = [
        ("veth", Self::Veth),
        ("veth-stitch", Self::VethStitch),
        ("host", Self::Host),
        ("mgmt-net", Self::ManagementNet),
        ("macvlan", Self::Macvlan),
        ("dummy", Self::Dummy),
        ("vxlan", Self::Vxlan),
        ("vxlan-stitch", Self::VxlanStitch),
        ("brief", Self::Brief),
    ];

    pub(super) fn table(self) -> &'static Table {
        match self {
            Self::Brief | Self::Veth | Self::VethStitch => &TWO_ENDS,
            Self::Host | Self::ManagementNet => &TO_HOST,
            Self::Dummy => &ONE_END,
            Self::Macvlan => &MACVLAN,
            Self::Vxlan | Self::VxlanStitch => &VXLAN,
        }
    }

    /// The tables of all types.
    pub(super) fn tables() -> Vec<&'static Table> {
        Self::ALL.iter().map(|(_, kind)| kind.table()).collect()
    }

    /// The names of all types.
    pub(super) fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|(name, _)| *name).collect()
    }

    /// Its name in a file.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("brief", |(name, _)| name)
    }

    /// How many addresses of each family it takes.
    pub(super) fn addresses(self) -> usize {
        match self {
            Self::Brief | Self::Veth | Self::VethStitch | Self::Host | Self::ManagementNet => 2,
            Self::Macvlan | Self::Dummy | Self::Vxlan | Self::VxlanStitch => 1,
        }
    }

    /// The link's type; brief when it has none.
    pub(super) fn read(entries: &[Entry<'_>], at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let Some(value) = get(entries, "type").filter(|value| !matches!(value.data, Data::Null)) else {
            return Some(Self::Brief);
        };
        let at = at.key("type");
        let text = cx.text(value, &at)?;
        if text.is_empty() {
            return Some(Self::Brief);
        }
        if let Some((_, found)) = Self::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(text)) {
            return Some(*found);
        }
        let names = Self::ALL.map(|(name, _)| name);
        let nearest = cx.report.nearest(text, names.into_iter());
        cx.report
            .error(Code::UnknownLinkType, value.span, &at, format!("there is no link type `{}`", cut(text)))
            .help(format!("possible: {}", list(&names[..8])))
            .suggest(nearest);
        None
    }
}

/// The own fields of a macvlan.
pub(super) fn macvlan((value, entries): (&Value<'_>, &[Entry<'_>]), at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Macvlan> {
    let mode = match get(entries, "mode").filter(|value| !matches!(value.data, Data::Null)) {
        Some(value) => MacvlanMode::read(value, &at.key("mode"), cx),
        None => Some(MacvlanMode::default()),
    };
    let at_parent = at.key("host-interface");
    let Some(parent) = get(entries, "host-interface").filter(|value| !matches!(value.data, Data::Null)) else {
        cx.report
            .error(Code::Missing, value.span, at, "this link has no `host-interface`")
            .help("add the interface of the host that the macvlan hangs on, such as `host-interface: eno1`");
        return None;
    };
    Some(Macvlan { parent: InterfaceName::read(parent, &at_parent, cx)?, mode: mode? })
}

impl Read for MacvlanMode {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let choices = [
            ("private", Self::Private),
            ("vepa", Self::Vepa),
            ("bridge", Self::Bridge),
            ("passthru", Self::Passthru),
            ("source", Self::Source),
        ];
        cx.choice(value, at, &choices, &[])
    }
}

impl Read for InterfaceName {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let parsed: Result<Self, Invalid> = cx.text(value, at)?.parse();
        parsed.map_err(|invalid| cx.invalid(value, at, invalid.to_string(), "")).ok()
    }
}

/// The own fields of a tunnel.
pub(super) fn vxlan((value, entries): (&Value<'_>, &[Entry<'_>]), at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Vxlan> {
    let remote = optional::<Remote>(entries, "remote", at, cx);
    let vni = optional::<Vni>(entries, "vni", at, cx);
    for (field, example) in [("remote", "192.0.2.7"), ("vni", "100")] {
        if get(entries, field).is_none_or(|value| matches!(value.data, Data::Null)) {
            cx.report
                .error(Code::Missing, value.span, at, format!("this link has no `{field}`"))
                .help(format!("add for example `{field}: {example}`"));
        }
    }
    let old = get(entries, "udp-port").map(|value| {
        cx.report
            .warning(Code::OldName, value.span, &at.key("udp-port"), "`udp-port` is an old name of this field")
            .help("write `dst-port`");
        port(value, &at.key("udp-port"), cx)
    });
    let mut own_port = |field: &'static str| {
        let at = at.key(field);
        let value = get(entries, field).filter(|value| !matches!(value.data, Data::Null))?;
        port(value, &at, cx)
    };
    let (dst, src) = (own_port("dst-port"), own_port("src-port"));
    let parent = optional::<InterfaceName>(entries, "parent-interface", at, cx);
    let dst_port = dst.or(old.flatten()).unwrap_or(Vxlan::DST_PORT);
    Some(Vxlan { remote: remote?.0, vni: vni?.0, dst_port, src_port: src, parent, local: None })
}

/// The other end of a tunnel: an address, or a name that an address is found by.
#[derive(Debug, Clone)]
struct Remote(String);

impl Read for Remote {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let is_address = text.parse::<std::net::IpAddr>().is_ok();
        let letters = |label: &str| label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        let label = |label: &str| (1..=63).contains(&label.len()) && letters(label) && !label.starts_with('-');
        // Four numbers that are no address are no name either.
        let numbers = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        let is_name = text.len() <= 253 && !numbers && text.trim_end_matches('.').split('.').all(label);
        if is_address || is_name {
            return Some(Self(text.to_owned()));
        }
        let message = format!("`{}` is neither an address nor a name of a host", cut(text));
        cx.invalid(value, at, message, "write for example `192.0.2.7` or `peer.example.net`");
        None
    }
}

#[derive(Debug, Clone, Copy)]
struct Vni(u32);

impl Read for Vni {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let vni = whole::<u32>(value, text, at, cx).filter(|vni| *vni <= Vxlan::MAX_VNI);
        if vni.is_none() {
            let message = format!("`{}` is not a VXLAN network identifier", cut(text));
            cx.invalid(value, at, message, "write a number from 1 to 16777215");
        }
        vni.map(Self)
    }
}

/// The interface of the host behind `macvlan:` in a brief endpoint.
pub(super) fn brief_parent(parent: At<&str>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<InterfaceName> {
    let parsed: Result<InterfaceName, Invalid> = parent.value.parse();
    parsed
        .map_err(|invalid| {
            cx.report.error(Code::InvalidName, parent.span, at, invalid.to_string());
        })
        .ok()
}
