//! The kinds of the format by name: those that can be run and those that are only known.

use super::diagnostic::{Code, Path, cut};
use super::reader::{Cx, Read};
use super::tree::Value;
use crate::lab::NodeKind;

const SUPPORTED: [(&str, NodeKind); 3] =
    [("linux", NodeKind::Linux), ("bridge", NodeKind::Bridge), ("host", NodeKind::Host)];

/// Kinds of the format that cannot be run yet.
const LATER: &[&str] = &[
    "6wind_vsr",
    "arista_ceos",
    "arista_veos",
    "arrcus_arcos",
    "aruba_aoscx",
    "border0",
    "ceos",
    "checkpoint_cloudguard",
    "cisco_asav",
    "cisco_c8000",
    "cisco_c8000v",
    "cisco_cat9kv",
    "cisco_csr1000v",
    "cisco_ftdv",
    "cisco_iol",
    "cisco_n9kv",
    "cisco_sdwan",
    "cisco_vios",
    "cisco_xrd",
    "cisco_xrv",
    "cisco_xrv9k",
    "crpd",
    "cumulus_cvx",
    "cvx",
    "dell_ftosv",
    "dell_sonic",
    "ext-container",
    "f5_bigip-ve",
    "fdio_vpp",
    "fortinet_fortigate",
    "freebsd",
    "generic_vm",
    "huawei_vrp",
    "ipinfusion_ocnos",
    "juniper_cjunosevolved",
    "juniper_crpd",
    "juniper_vjunosevolved",
    "juniper_vjunosrouter",
    "juniper_vjunosswitch",
    "juniper_vmx",
    "juniper_vqfx",
    "juniper_vsrx",
    "k8s-kind",
    "keysight_ixia-c-one",
    "keysight_ixiac",
    "mikrotik_ros",
    "nokia_srlinux",
    "nokia_sros",
    "nokia_srsim",
    "openbsd",
    "openwrt",
    "ostinato",
    "ovs-bridge",
    "paloalto_panos",
    "rare",
    "sonic-vm",
    "sonic-vs",
    "spirent_stc",
    "srl",
    "vr-aoscx",
    "vr-arista_veos",
    "vr-c8000v",
    "vr-cisco_csr1000v",
    "vr-cisco_n9kv",
    "vr-cisco_xrv",
    "vr-cisco_xrv9k",
    "vr-csr",
    "vr-dell_ftosv",
    "vr-ftosv",
    "vr-juniper_vjunosswitch",
    "vr-juniper_vmx",
    "vr-juniper_vqfx",
    "vr-juniper_vsrx",
    "vr-mikrotik_ros",
    "vr-n9kv",
    "vr-nokia_sros",
    "vr-paloalto_panos",
    "vr-pan",
    "vr-ros",
    "vr-sros",
    "vr-veos",
    "vr-vjunosevolved",
    "vr-vjunosswitch",
    "vr-vmx",
    "vr-vqfx",
    "vr-vsrx",
    "vr-xrv",
    "vr-xrv9k",
    "vyosnetworks_vyos",
    "xrd",
];

/// The kind of a name, in any case.
pub(super) fn find(name: &str) -> Option<NodeKind> {
    SUPPORTED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, kind)| *kind)
}

/// The name of a kind.
pub(super) fn name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Linux => "linux",
        NodeKind::Bridge => "bridge",
        NodeKind::Host => "host",
    }
}

/// Whether the format has a kind of this name.
pub(super) fn is_known(name: &str) -> bool {
    names().any(|known| known.eq_ignore_ascii_case(name))
}

/// The names of all kinds of the format.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SUPPORTED.iter().map(|(name, _)| *name).chain(LATER.iter().copied())
}

impl Read for NodeKind {
    fn read(value: &Value, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let name = cx.text(value, at)?;
        if let Some(kind) = find(name) {
            return Some(kind);
        }
        let possible = "possible: `linux`, `bridge` or `host`";
        if is_known(name) {
            cx.report
                .error(Code::Unsupported, value.span, at, format!("kind `{name}` is not supported yet"))
                .help(possible);
        } else {
            let nearest = cx.report.nearest(name, names());
            cx.report
                .error(Code::UnknownKind, value.span, at, format!("there is no kind `{}`", cut(name)))
                .help(possible)
                .suggest(nearest);
        }
        None
    }
}
