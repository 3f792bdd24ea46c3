//! What a node is: its kind by name, the shape that gives it, and what the kind says of what runs in it.
//!
//! A [`Kind`] is a name; what belongs to it stands in a file (see [`crate::topology::Kinds`]) and is resolved when a
//! topology is read. Only the [`Shape`] of a kind decides what is done with a node, and only four names have one of
//! their own: everything else runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{InterfaceName, Kind, NodeName};

/// What there is of a node, whatever its kind is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Something that runs: a process tree with a network namespace of its own.
    Runs,
    /// A Linux bridge.
    Bridge,
    /// A bridge of Open vSwitch.
    OvsBridge,
    /// The host itself.
    Host,
    /// A container that something else made and removes.
    External,
}

impl Kind {
    /// A Linux container, or processes over the host's file system.
    pub fn linux() -> Self {
        known("linux")
    }

    /// A Linux bridge.
    pub fn bridge() -> Self {
        known("bridge")
    }

    /// The host itself.
    pub fn host() -> Self {
        known("host")
    }

    /// What there is of a node of this kind.
    pub fn shape(&self) -> Shape {
        match self.as_str() {
            "bridge" => Shape::Bridge,
            "ovs-bridge" => Shape::OvsBridge,
            "host" => Shape::Host,
            "ext-container" => Shape::External,
            _ => Shape::Runs,
        }
    }
}

fn known(name: &str) -> Kind {
    name.parse().expect("a name of lower-case letters")
}

/// What the kind of a node says of what runs in it. Resolved when the topology is read, so that nothing behind it needs
/// the kinds; empty for `linux`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// The interface of the management network; `eth0` unless the kind has another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub management: Option<InterfaceName>,
    /// The device's own shell, as words; a plain one unless the kind has another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// How it is seen that the device is up; otherwise it is as soon as it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// Where its configuration goes and comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<DeviceConfig>,
    /// What it cannot do without.
    #[serde(skip_serializing_if = "Needs::is_none")]
    pub needs: Needs,
    /// Who logs in to it, unless the node's credentials say another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Device {
    /// Whether the kind says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How it is seen that a device is up: any pattern in its output, and the command if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Readiness {
    /// Regular expressions; the first that matches a line of output says that it is up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// A command in the node, as words; exit code 0 says that it is up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Seconds after which it is said to be late.
    pub timeout: u32,
}

/// Where the configuration of a device goes and comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceConfig {
    /// Absolute path in the node that a `startup-config` is put at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Absolute path in the node that a `license` is put at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// A command in the node, as words, that writes the running configuration to its output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extract: Vec<String>,
    /// The name of the file that what it writes is saved in, if the kind has one for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_as: Option<String>,
}

impl DeviceConfig {
    /// The name of the file that the running configuration is saved in: the kind's own, or that of the startup
    /// configuration.
    pub fn file_name(&self) -> &str {
        let startup = || self.path.as_deref().and_then(|path| path.rsplit('/').next()).filter(|name| !name.is_empty());
        self.save_as.as_deref().or_else(startup).unwrap_or("running.cfg")
    }
}

/// What a device cannot do without.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Needs {
    /// `/dev/kvm` of the host.
    #[serde(skip_serializing_if = "is_false")]
    pub kvm: bool,
    /// Processors; 0 says nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub vcpu: u32,
    /// Memory in MiB; 0 says nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub memory_mib: u32,
    /// All its interfaces before its command runs: it does not see those that come later.
    #[serde(skip_serializing_if = "is_false")]
    pub interfaces_first: bool,
}

impl Needs {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What has to be there to make a node, and is not in this version. Such a node is part of its lab; plans leave it and
/// its links out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lacking {
    /// Open vSwitch in the network namespace of a node.
    OpenVswitch,
    /// Interfaces in a network namespace that is no node's.
    OtherNamespaces,
}

impl Lacking {
    /// What a node lacks, if it lacks anything.
    pub fn of(name: &NodeName, kind: &Kind) -> Option<Self> {
        (kind.shape() == Shape::OvsBridge && name.inner_bridge().is_some()).then_some(Self::OpenVswitch)
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OpenVswitch => "Open vSwitch in a node; its bridges are on the host",
            Self::OtherNamespaces => {
                "a network namespace of a node; it would be in that of a container outside, or of the host"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_its_name_on_the_wire() {
        let kind: Kind = serde_json::from_str(r#""nokia_srlinux""#).unwrap();
        assert_eq!((kind.shape(), serde_json::to_string(&kind).unwrap().as_str()), (Shape::Runs, r#""nokia_srlinux""#));
        assert!(serde_json::from_str::<Kind>(r#""no kind""#).is_err());
        assert!(serde_json::from_str::<Kind>(r#""Linux""#).is_err());
    }

    #[test]
    fn a_running_configuration_is_saved_under_the_name_of_the_startup_configuration_unless_the_kind_has_another() {
        let name = |path: Option<&str>, save_as: Option<&str>| {
            let [path, save_as] = [path, save_as].map(|text| text.map(str::to_owned));
            DeviceConfig { path, save_as, ..DeviceConfig::default() }.file_name().to_owned()
        };
        assert_eq!(name(Some("/mnt/flash/startup-config"), None), "startup-config");
        assert_eq!(name(Some("/etc/config.json"), Some("config.cli")), "config.cli");
        assert_eq!(name(Some("/etc/"), None), "running.cfg");
        assert_eq!(name(None, None), "running.cfg");
    }

    #[test]
    fn what_a_kind_does_not_say_is_not_on_the_wire() {
        assert_eq!(serde_json::to_string(&Device::default()).unwrap(), "{}");
        let text = r#"{"readiness":{"log":["ready"],"timeout":120},"needs":{"kvm":true}}"#;
        let device: Device = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&device).unwrap(), text);
    }
}
