//! What the kernel can do, found by trying.

use std::collections::BTreeMap;
use std::io;

use netloom_kernel::{Cgroups, Feature, Limits, probe};

use super::Finding;
use crate::failure::plain;

const AREA: &str = "kernel";

/// What a feature is for, and the module that has it.
struct Use {
    name: &'static str,
    means: &'static str,
    module: &'static str,
    /// Whether no lab can do without.
    vital: bool,
}

fn use_of(feature: Feature) -> Use {
    let of = |name, means, module| Use { name, means, module, vital: false };
    let vital = |name, means, module| Use { vital: true, ..of(name, means, module) };
    match feature {
        Feature::Namespace("net") => vital("network namespaces", "no node can be made", ""),
        Feature::Namespace(kind) => {
            let name = match kind {
                "mnt" => "mount namespaces",
                "uts" => "host name namespaces",
                _ => "IPC namespaces",
            };
            vital(name, "nodes of the runtime namespace cannot be made", "")
        }
        Feature::Link("veth") => vital("veth", "no link can be made", "veth"),
        Feature::Link("bridge") => vital("bridge", "no bridge and no management network can be made", "bridge"),
        Feature::Link("vxlan") => of("vxlan", "links of the types vxlan and vxlan-stitch cannot be made", "vxlan"),
        Feature::Link("macvlan") => of("macvlan", "links of the type macvlan cannot be made", "macvlan"),
        Feature::Link("dummy") => of("dummy", "links of the type dummy cannot be made, nor dummies in nodes", "dummy"),
        Feature::Link("vrf") => of("vrf", "routers in nodes cannot have VRFs", "vrf"),
        Feature::Link("vlan") => of("802.1Q", "nodes cannot have VLAN interfaces (eth1.10)", "8021q"),
        Feature::Link(kind) => of(kind, "traffic that comes in cannot be shaped", "ifb"),
        Feature::Netem => of("netem", "links cannot be given delay, loss or rates", "sch_netem"),
        Feature::Overlay => {
            vital("overlay", "nodes of the runtime namespace have no file system of their own", "overlay")
        }
    }
}

/// Namespaces, kinds of interfaces and the like.
pub(super) fn features() -> Vec<Finding> {
    if !rustix::process::geteuid().is_root() {
        let found = "not tried: that takes root's rights";
        return vec![Finding::warn(AREA, "features", found).mend("sudo netloom doctor")];
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    judge(&release, probe())
}

fn judge(release: &str, found: BTreeMap<Feature, io::Result<bool>>) -> Vec<Finding> {
    let (mut there, mut findings) = (Vec::new(), Vec::new());
    for (feature, tried) in found {
        let Use { name, means, module, vital } = use_of(feature);
        let what = match tried {
            Ok(true) => {
                there.push(name);
                continue;
            }
            Ok(false) => format!("kernel {release} has none"),
            Err(error) => format!("the try failed: {}", plain(&error)),
        };
        let finding = if vital { Finding::fail(AREA, name, what) } else { Finding::warn(AREA, name, what) };
        let mend = match module {
            "" => "a kernel that is built with it; in a container, more rights for that (docker run --privileged)"
                .to_owned(),
            module => format!(
                "modprobe {module}; where that fails, a kernel that has it (apt install linux-image-amd64, \
                 linux-modules-extra-$(uname -r))"
            ),
        };
        findings.push(finding.means(means).mend(mend));
    }
    if !there.is_empty() {
        findings.insert(0, Finding::ok(AREA, "features", format!("kernel {release}: {}", there.join(", "))));
    }
    findings
}

/// Control groups, by which nodes are limited and outlive the agent.
pub(super) fn control_groups() -> Vec<Finding> {
    const CHECK: &str = "control groups";
    let cgroups = match Cgroups::detect() {
        Ok(cgroups) => cgroups,
        Err(error) => return vec![Finding::fail(AREA, CHECK, plain(&error)).means("no agent can start")],
    };
    let versions = cgroups.versions();
    if versions.is_empty() {
        let means = "nodes end with the agent's service, and cannot be limited";
        let mend = "mount -t cgroup2 none /sys/fs/cgroup";
        return vec![Finding::warn(AREA, CHECK, "none are mounted").means(means).mend(mend)];
    }
    let with = |cpu_millis, memory_bytes| cgroups.supports(Limits { cpu_millis, memory_bytes }).is_ok();
    let missing: Vec<&str> = [("cpu", with(Some(1), None)), ("memory", with(None, Some(1)))]
        .into_iter()
        .filter(|(_, there)| !there)
        .map(|(controller, _)| controller)
        .collect();
    let version = versions.iter().map(|version| format!("version {version}")).collect::<Vec<_>>().join(" and ");
    if missing.is_empty() {
        return vec![Finding::ok(AREA, CHECK, format!("{version}, with the controllers cpu and memory"))];
    }
    let found = format!("{version}, without the controller {}", missing.join(" and "));
    let means = format!("nodes with `{}` are refused", missing.join("` or `"));
    let mend = "boot with cgroup_enable=memory; in a container, give it its own control groups (--cgroupns=private)";
    vec![Finding::warn(AREA, CHECK, found).means(means).mend(mend)]
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_is_missing_is_judged_by_who_needs_it() {
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        let found = BTreeMap::from([
            (Feature::Namespace("net"), Ok(true)),
            (Feature::Link("veth"), Ok(true)),
            (Feature::Link("vlan"), Ok(false)),
            (Feature::Overlay, Err(refused())),
        ]);
        let findings = judge("6.1", found);
        let told: Vec<_> = findings.iter().map(|f| (f.verdict, f.check.as_str(), f.found.as_str())).collect();
        let expected = [
            (Verdict::Ok, "features", "kernel 6.1: network namespaces, veth"),
            (Verdict::Warn, "802.1Q", "kernel 6.1 has none"),
            (Verdict::Fail, "overlay", "the try failed: permission denied"),
        ];
        assert_eq!(told, expected);
        assert!(findings[1].mend.as_ref().unwrap().starts_with("modprobe 8021q"));
        assert!(findings.iter().skip(1).all(|finding| finding.means.is_some()));
    }
}
