//! From what a controller says of a node to what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use netloom_engine::ControlledNode;
use netloom_model::{
    Access, Bind, CgroupNamespace, Config, Container, Device, DeviceConfig, Document, InterfaceName, Kind, LabName,
    Mtu, Needs, NetworkMode, Node, NodeName, Privilege, PullPolicy, RestartPolicy, RuntimeKind, Volume, VolumeContent,
};
use serde::Deserialize;

use super::vendor::{Seen, Vendor};

/// The MTU of interfaces within a host.
const LOCAL_MTU: u32 = 9000;
/// The interface for management.
const MANAGEMENT: &str = "eth0";
/// How many interfaces a node has of which nothing is said.
const INTERFACES: u32 = 4;
/// More than any device has.
const MOST_INTERFACES: u32 = 128;

/// A node of a deploy, or one that is created by itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeSpec {
    #[serde(alias = "node_name")]
    pub(super) name: String,
    pub(super) node_definition_id: Option<String>,
    display_name: Option<String>,
    kind: Option<String>,
    image: Option<String>,
    interface_count: Option<u32>,
    binds: Vec<String>,
    env: BTreeMap<String, String>,
    cpu: Option<u32>,
    cpu_limit: Option<u32>,
    readiness_probe: Option<String>,
    readiness_pattern: Option<String>,
    readiness_timeout: Option<u32>,
    startup_config: Option<String>,
}

impl NodeSpec {
    /// What it is; `linked` are the interfaces that links of it name. `Err` says what is wrong with it.
    pub(super) fn node(
        &self,
        lab: &LabName,
        name: &NodeName,
        linked: impl Iterator<Item = InterfaceName>,
    ) -> Result<ControlledNode, String> {
        let kind_word = self.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("linux");
        let vendor = Vendor::of(kind_word, self.image.as_deref());
        let image = self.image.clone().filter(|image| !image.is_empty()).or(vendor.image.map(str::to_owned));
        let image =
            image.ok_or_else(|| format!("node {name}: devices of kind `{kind_word}` need an image; name one"))?;
        // Its word stands in a label; what it is here is a container.
        let mut node = Node::new(Kind::linux(), name.as_str());
        node.runtime = Some(RuntimeKind::Docker);
        node.image = Some(image);
        node.network_mode = NetworkMode::None;
        node.restart_policy = RestartPolicy::No;
        node.env = vendor.env_with(&self.env);
        node.entrypoint = vendor.entrypoint.iter().map(|word| (*word).to_owned()).collect();
        node.cmd = vendor.command();
        let needs = Needs { interfaces_first: vendor.interfaces_first, ..Needs::default() };
        node.device = Device { needs, ..Device::default() }.into();
        node.sysctls = vendor.sysctls.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        node.labels = self.labels(lab, name, kind_word);
        let mut volumes = Vec::new();
        for bind in &self.binds {
            match read_bind(bind)? {
                Mount::Path(bind) => node.binds.push(bind),
                Mount::Volume(volume) => volumes.push(volume),
            }
        }
        // Its `memory` is no limit: nodes that were never held to it would be killed by one.
        node.cpu_millis = self.cpu_limit.filter(|percent| (1..=100).contains(percent)).map(|percent| {
            let cpus = self.cpu.filter(|cpus| *cpus > 0).unwrap_or(1);
            cpus.saturating_mul(percent).saturating_mul(10)
        });
        node.container = Container {
            pull_policy: PullPolicy::Never,
            capabilities: vendor.capabilities.iter().map(|name| (*name).to_owned()).collect(),
            privilege: if vendor.privileged { Privilege::Full } else { Privilege::Confined },
            cgroup_namespace: Some(CgroupNamespace::Host),
            volumes,
            ..Container::default()
        }
        .into();
        let mtu = Mtu::try_from(LOCAL_MTU).map_err(|invalid| invalid.to_string())?;
        let interfaces = self.interfaces(&vendor, linked)?;
        if vendor.managed {
            // Images that wait for so many count those for data alone.
            let count = interfaces.iter().filter(|name| name.as_str() != MANAGEMENT).count();
            node.env.entry("CLAB_INTFS".to_owned()).or_insert_with(|| count.to_string());
        }
        Ok(ControlledNode { name: name.clone(), node, interfaces, mtu, keep: false })
    }

    /// Has a node begin with the configuration that the request has, or with the one that is kept for it, or with what its device
    /// saved in its last life; and see what of it outlives its containers, which is in the directory `workspace`.
    pub(super) fn configure(&self, node: &mut Node, kept: Option<&str>, workspace: &Path, seen: &Seen) {
        let vendor = Vendor::of(self.kind.as_deref().unwrap_or("linux"), node.image.as_deref());
        let own = node.binds.clone();
        let bind = |source: String, target: &str, access: Access| {
            let is_free = own.iter().all(|bind| bind.target != target);
            is_free.then(|| Bind { source, target: target.to_owned(), access })
        };
        let keeps = vendor
            .keeps
            .iter()
            .filter_map(|(name, target)| bind(workspace.join(name).to_str()?.to_owned(), target, Access::ReadWrite));
        let sees = vendor.sees.iter().filter(|path| seen.has(path));
        let sees = sees.filter_map(|path| bind((*path).to_owned(), path, Access::ReadOnly));
        node.binds.extend(keeps.chain(sees));

        let mut texts = self.startup_config.as_deref().into_iter().chain(kept).map(readable);
        let said = texts.find(|text| !text.trim().is_empty());
        let hostname = self.display_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&node.hostname);
        // What was said goes over what was saved; what it begins with otherwise does not.
        let enforce_startup = said.is_some();
        let text = said.or_else(|| Some(vendor.begins?(hostname)));
        if let (Some(path), Some(text)) = (vendor.reads, text) {
            let config = DeviceConfig { path: Some(path.to_owned()), ..DeviceConfig::default() };
            node.device = Device { config: Some(config), ..Device::clone(&node.device) }.into();
            node.config = Config { startup: Some(Document::Text(text)), enforce_startup, ..Config::default() }.into();
        }
    }

    fn interfaces(
        &self,
        vendor: &Vendor,
        linked: impl Iterator<Item = InterfaceName>,
    ) -> Result<BTreeSet<InterfaceName>, String> {
        let count = self.interface_count.unwrap_or(INTERFACES);
        if count > MOST_INTERFACES {
            return Err(format!("`interface_count` is {count}; at most {MOST_INTERFACES} are possible"));
        }
        let first = u32::from(!vendor.managed);
        let all = (first..=count).map(|number| format!("eth{number}").parse().expect("a name that the kernel takes"));
        Ok(all.chain(linked).collect())
    }

    fn labels(&self, lab: &LabName, name: &NodeName, kind: &str) -> BTreeMap<String, String> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let count = self.interface_count.filter(|count| *count > 0).map(|count| count.to_string());
        let all = [
            ("lab_id", Some(lab.to_string())),
            ("node_name", Some(name.to_string())),
            ("node_definition_id", some(&self.node_definition_id)),
            ("node_display_name", some(&self.display_name)),
            ("node_kind", Some(kind.to_owned())),
            ("node_interface_count", count),
            ("provider", Some("docker".to_owned())),
            ("readiness_probe", some(&self.readiness_probe)),
            ("readiness_pattern", some(&self.readiness_pattern)),
            ("readiness_timeout", self.readiness_timeout.map(|seconds| seconds.to_string())),
        ];
        all.into_iter().filter_map(|(key, value)| Some((format!("archetype.{key}"), value?))).collect()
    }
}

/// What `vtysh` says before the configuration that it shows, which no line of a configuration is.
const HEADINGS: [&str; 2] = ["Building configuration...", "Current configuration:"];

/// A configuration as it is shown, without what is none of it.
pub(super) fn readable(shown: &str) -> String {
    let lines = shown.lines().filter(|line| !HEADINGS.contains(&line.trim()));
    lines.skip_while(|line| line.trim().is_empty()).flat_map(|line| [line.trim_end_matches('\r'), "\n"]).collect()
}

/// What a node sees of its host.
enum Mount {
    Path(Bind),
    Volume(Volume),
}

/// `host:container[:ro]`, where `host` is a path or the name of a volume of Docker's. What else may follow is about labels of
/// SELinux, which are Docker's affair and not ours.
fn read_bind(text: &str) -> Result<Mount, String> {
    let wrong = || {
        format!(
            "bind `{text}` is not `/on/host:/in/container`, with `:ro` behind it or not, nor has a volume's name in front"
        )
    };
    let mut parts = text.splitn(3, ':');
    let (source, target) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(wrong)?);
    let mut access = Access::ReadWrite;
    for option in parts.next().into_iter().flat_map(|options| options.split(',')) {
        match option {
            "ro" => access = Access::ReadOnly,
            "rw" | "z" | "Z" => {}
            _ => return Err(wrong()),
        }
    }
    if !target.starts_with('/') {
        return Err(wrong());
    }
    let target = target.to_owned();
    if source.starts_with('/') {
        return Ok(Mount::Path(Bind { source: source.to_owned(), target, access }));
    }
    let is_name = source.starts_with(|first: char| first.is_ascii_alphanumeric())
        && source.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !is_name {
        return Err(wrong());
    }
    Ok(Mount::Volume(Volume { name: Some(source.to_owned()), target, access, content: VolumeContent::Image }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(spec: serde_json::Value) -> Result<ControlledNode, String> {
        let spec: NodeSpec = serde_json::from_value(spec).unwrap();
        spec.node(&"lab".parse().unwrap(), &"r1".parse().unwrap(), std::iter::once("eth9".parse().unwrap()))
    }

    #[test]
    fn a_node_has_the_interfaces_that_it_counts_and_those_that_are_linked() {
        let plain =
            node(serde_json::json!({ "name": "r1", "kind": "linux", "image": "x", "interface_count": 2 })).unwrap();
        let names: Vec<String> = plain.interfaces.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["eth1", "eth2", "eth9"]);
        let managed = node(serde_json::json!({ "node_name": "r1", "kind": "ceos", "interface_count": 1 })).unwrap();
        assert!(managed.interfaces.contains(&"eth0".parse().unwrap()));
        assert_eq!(managed.node.image.as_deref(), Some("ceos:latest"));
        assert!(node(serde_json::json!({ "interface_count": 100_000 })).unwrap_err().contains("at most 128"));
    }

    #[test]
    fn what_is_said_of_a_node_is_in_its_labels_and_limits() {
        let spec = serde_json::json!({ "name": "r1", "kind": "frr", "node_definition_id": "id", "display_name": "",
            "memory": 1024, "cpu": 2, "cpu_limit": 50, "readiness_timeout": 7, "binds": ["/a:/b:ro,z", "data:/c"] });
        let node = node(spec).unwrap().node;
        let label = |key: &str| node.labels.get(&format!("archetype.{key}")).map(String::as_str);
        assert_eq!(
            [label("node_definition_id"), label("node_kind"), label("readiness_timeout")],
            [Some("id"), Some("frr"), Some("7")]
        );
        assert_eq!(label("node_display_name"), None);
        assert_eq!((node.memory_bytes, node.cpu_millis), (None, Some(1000)), "`memory` is for virtual machines");
        assert_eq!(node.binds, [Bind { source: "/a".into(), target: "/b".into(), access: Access::ReadOnly }]);
        let volume = &node.container.volumes[0];
        assert_eq!((volume.name.as_deref(), volume.target.as_str()), (Some("data"), "/c"));
    }

    #[test]
    fn a_device_begins_with_what_the_request_says_or_what_is_kept() {
        let shown = "Building configuration...\r\n\r\nCurrent configuration:\r\n!\r\nhostname r1\r\nend\r\n";
        let begins = |spec: serde_json::Value, kept: Option<&str>| {
            let spec: NodeSpec = serde_json::from_value(spec).unwrap();
            let mut node = spec.node(&"lab".parse().unwrap(), &"r1".parse().unwrap(), std::iter::empty()).unwrap().node;
            spec.configure(&mut node, kept, Path::new("/w"), &Seen::look());
            let path = node.device.config.as_ref().and_then(|config| config.path.clone());
            match &node.config.startup {
                Some(Document::Text(text)) => Some((path.unwrap(), text.clone())),
                _ => None,
            }
        };
        let frr = |startup: serde_json::Value| serde_json::json!({ "kind": "linux", "image": "frr:8", "startup_config": startup });
        let at = |text: &str| Some(("/etc/frr/frr.conf".to_owned(), text.to_owned()));
        assert_eq!(begins(frr(serde_json::Value::Null), Some(shown)), at("!\nhostname r1\nend\n"));
        assert_eq!(begins(frr("hostname r2".into()), Some(shown)), at("hostname r2\n"));
        assert_eq!(begins(frr("".into()), None), None);
        assert_eq!(begins(frr("".into()), Some(" \n")), None, "whoever keeps a blank one wants none");
        assert_eq!(begins(serde_json::json!({ "kind": "linux", "image": "x" }), Some(shown)), None, "it reads none");
    }

    #[test]
    fn what_is_no_bind_is_refused() {
        for bad in ["/a", "./a:/b", "a/b:/c", ":/b", "/a:b", "/a:/b:rx", "/a:/b:ro:z"] {
            assert!(node(serde_json::json!({ "binds": [bad] })).unwrap_err().contains(bad));
        }
    }
}
