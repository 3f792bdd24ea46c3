//! From a node of a lab to the container that Docker is asked for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use netloom_docker::{
    ContainerSpec, ContainerUpdate, DeviceMapping, EndpointAddresses, EndpointSettings, Healthcheck, HostConfig,
    NetworkingConfig, PortBinding, RestartPolicy,
};
use netloom_engine::{Layout, NodeOrder};
use netloom_model::{
    Access, CgroupNamespace, Lab, LinkKind, Management, ManagementDriver, NetworkMode, Node, NodeName, PidMode,
    PortMapping, Privilege, Protocol, Volume, VolumeContent,
};

use super::super::environment::environment;
use super::super::order::node_of;
use super::mark;
use super::networks::DOCKERS_OWN;
use super::privilege::Privileges;

/// The interface of a container that Docker connects to one network.
const DOCKERS_INTERFACE: &str = "eth0";
/// Where a node finds the names of its lab.
const HOSTS: &str = "/etc/hosts";
/// What holds in a network of its own unless the topology says otherwise. Docker switches IPv6 off in containers that it
/// connects to no IPv6 network; and it switches forwarding on for its host, from which a new namespace takes it over, so
/// topologies count on it: it must not hang on where the daemon runs.
const DEFAULT_SYSCTLS: [(&str, &str); 2] = [(FORWARDING, "1"), ("net.ipv6.conf.all.disable_ipv6", "0")];
const FORWARDING: &str = "net.ipv4.ip_forward";
/// The same by another name.
const FORWARDING_TOO: &str = "net.ipv4.conf.all.forwarding";
/// The part of a second that a limit of processors is counted in, in microseconds: Docker's own default. It is said, and no
/// `NanoCpus`, as users know it from other tools.
const CPU_PERIOD: i64 = 100_000;
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// What a container is made from beside its order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) layout: &'a Layout,
    pub(super) privileges: &'a Privileges,
}

/// The container of a node.
pub(super) fn container(ground: Ground<'_>, order: &NodeOrder) -> Result<ContainerSpec, String> {
    let node = node_of(order)?;
    let image = node.image.clone().ok_or_else(|| format!("node {} has no image", order.node))?;
    let words = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    check_name(&order.lab.container_name(&order.node))?;
    check_interface(node)?;
    // Docker refuses a host name together with the network of another container.
    let named = !matches!(node.network_mode, NetworkMode::Container(_));
    Ok(ContainerSpec {
        image,
        hostname: if named { node.hostname.clone() } else { String::new() },
        user: node.user.clone().unwrap_or_default(),
        // A shell with an open terminal stays.
        tty: true,
        open_stdin: true,
        attach_stdout: true,
        attach_stderr: true,
        env: variables(order, node),
        cmd: words(&node.cmd),
        entrypoint: words(&node.entrypoint),
        labels: mark::labels(order, node, ground.layout.instance()),
        exposed_ports: node.container.ports.iter().flat_map(exposed).collect(),
        volumes: node.container.volumes.iter().filter(|volume| is_plain(volume)).map(|v| v.target.clone()).collect(),
        healthcheck: node.healthcheck.as_ref().map(healthcheck),
        host_config: host_config(ground, order, node)?,
        networking_config: networking(&order.lab, node),
        ..ContainerSpec::default()
    })
}

/// What Docker takes as the name of a container.
fn check_name(name: &str) -> Result<(), String> {
    let of = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.len() >= 2 && name.bytes().all(of) && name.as_bytes()[0].is_ascii_alphanumeric() {
        return Ok(());
    }
    Err(format!(
        "Docker takes no container of the name `{name}`: a name has at least two of `a-z`, `A-Z`, `0-9`, `_`, `.` and `-`, the \
         first a letter or a digit; write another `prefix` or another name"
    ))
}

/// The interface that Docker gives to a container that it connects has one name.
fn check_interface(node: &Node) -> Result<(), String> {
    let interface = node.management_interface();
    if !(node.is_managed() && node.publishes()) || interface.as_str() == DOCKERS_INTERFACE {
        return Ok(());
    }
    Err(format!(
        "it publishes ports, so Docker connects it to the management network, and always by `{DOCKERS_INTERFACE}`; its kind has \
         `{interface}` there. Leave `ports` out (the host reaches the node by its address), or write another kind"
    ))
}

/// What can be changed of a container while it runs.
pub(super) fn update(node: &Node) -> ContainerUpdate {
    let memory = memory(node);
    ContainerUpdate {
        cpu_period: CPU_PERIOD,
        cpu_quota: cpu_quota(node).unwrap_or(-1),
        cpuset_cpus: node.container.cpu_set.clone().unwrap_or_default(),
        memory,
        // With the limit alone Docker refuses one that is higher than the limit of memory and swap from before.
        memory_swap: if memory == 0 { 0 } else { -1 },
        restart_policy: Some(restart_policy(node)),
        ..ContainerUpdate::default()
    }
}

fn variables(order: &NodeOrder, node: &Node) -> Vec<String> {
    // What waits for so many interfaces does not count the one on the management network.
    let managed = node.management_interface();
    let links = order.lab.links().iter().flat_map(|link| link.ends().map(|end| (&link.kind, end)));
    let own = links
        .filter(|(_, end)| end.at.node() == Some(&order.node))
        .filter(|(kind, end)| !matches!(kind, LinkKind::Attachment(_)) || *end.interface.kernel() != managed)
        .count();
    let mut variables = environment(node, &mark::plain_labels(order, node));
    if !node.env.contains_key("CLAB_INTFS") {
        variables.push(format!("CLAB_INTFS={own}"));
    }
    variables
}

fn host_config(ground: Ground<'_>, order: &NodeOrder, node: &Node) -> Result<HostConfig, String> {
    let container = &node.container;
    let lab = &order.lab;
    let own_network = matches!(node.network_mode, NetworkMode::Default | NetworkMode::None);
    let mut host = HostConfig {
        binds: binds(ground.layout, order, node)?,
        tmpfs: container.tmpfs.clone(),
        devices: container.devices.iter().map(|device| mapping(device)).collect::<Result<_, _>>()?,
        cap_add: container.capabilities.clone(),
        security_opt: container.security_options.clone(),
        // Those of a network that is not its own are the affair of whose it is; Docker refuses them.
        sysctls: node
            .sysctls
            .iter()
            .filter(|(name, _)| own_network || !name.starts_with("net."))
            .map(|(name, value)| (name.clone(), value.clone()))
            .chain(default_sysctls(node).filter(|_| own_network))
            .collect(),
        dns: container.dns.servers.iter().map(ToString::to_string).collect(),
        dns_search: container.dns.search.clone(),
        dns_options: container.dns.options.clone(),
        port_bindings: port_bindings(&container.ports),
        cpu_period: cpu_quota(node).map_or(0, |_| CPU_PERIOD),
        cpu_quota: cpu_quota(node).unwrap_or_default(),
        cpuset_cpus: container.cpu_set.clone().unwrap_or_default(),
        memory: memory(node),
        shm_size: container.shm_bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        cgroup_parent: container.cgroup_parent.clone().unwrap_or_default(),
        cgroupns_mode: match container.cgroup_namespace {
            None => String::new(),
            Some(CgroupNamespace::Host) => "host".into(),
            Some(CgroupNamespace::Private) => "private".into(),
        },
        pid_mode: match &container.pid_mode {
            PidMode::Own => String::new(),
            PidMode::Host => "host".into(),
            PidMode::Container(other) => format!("container:{}", container_of(lab, other)),
        },
        network_mode: match &node.network_mode {
            NetworkMode::Default => connected(lab, node).map_or("none", |network| &network.network).to_owned(),
            NetworkMode::None => "none".into(),
            NetworkMode::Host => "host".into(),
            NetworkMode::Container(other) => format!("container:{}", container_of(lab, other)),
        },
        restart_policy: (!container.auto_remove).then(|| restart_policy(node)),
        auto_remove: container.auto_remove,
        ..HostConfig::default()
    };
    if container.privilege == Privilege::Full {
        ground.privileges.grant(&mut host);
    }
    Ok(host)
}

fn default_sysctls(node: &Node) -> impl Iterator<Item = (String, String)> {
    let is_said =
        |name| node.sysctls.contains_key(name) || (name == FORWARDING && node.sysctls.contains_key(FORWARDING_TOO));
    let unsaid = DEFAULT_SYSCTLS.into_iter().filter(move |(name, _)| !is_said(*name));
    unsaid.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// The network that Docker connects a node's container to: the management network, if it has ports to publish. All others
/// are connected by a link, which takes half the time.
fn connected<'a>(lab: &'a Lab, node: &Node) -> Option<&'a Management> {
    // Its bridge is known as soon as it is known what network it is.
    let is_known = lab.management().bridge.is_some() && lab.management().driver == ManagementDriver::Bridge;
    (is_known && node.is_managed() && node.publishes()).then(|| lab.management())
}

fn networking(lab: &Lab, node: &Node) -> NetworkingConfig {
    let Some(network) = connected(lab, node) else { return NetworkingConfig::default() };
    let text = |address: Option<String>| address.unwrap_or_default();
    let addresses = EndpointAddresses {
        ipv4_address: text(node.management.ipv4.map(|address| address.to_string())),
        ipv6_address: text(node.management.ipv6.map(|address| address.to_string())),
    };
    // Docker chooses on its own network, whatever is asked for, and has no other names there.
    let is_own = network.network == DOCKERS_OWN;
    let settings = EndpointSettings {
        ipam_config: (!is_own && addresses != EndpointAddresses::default()).then_some(addresses),
        aliases: if is_own { Vec::new() } else { node.management.aliases.clone() },
        ..EndpointSettings::default()
    };
    NetworkingConfig { endpoints_config: [(network.network.clone(), settings)].into() }
}

/// The container that a word of the format means: that of a node of the lab, or one outside.
pub(super) fn container_of(lab: &Lab, word: &str) -> String {
    match word.parse::<NodeName>() {
        Ok(node) if lab.nodes().contains_key(&node) => lab.container_name(&node),
        _ => word.to_owned(),
    }
}

/// Binds and volumes as Docker writes them. One that needs options and has no name is not among them.
fn binds(layout: &Layout, order: &NodeOrder, node: &Node) -> Result<Vec<String>, String> {
    let mut binds: Vec<String> = Vec::new();
    let own_hosts = node.binds.iter().any(|bind| bind.target == HOSTS);
    if !own_hosts && node.network_mode != NetworkMode::Host {
        let names = layout.lab_run(order.lab.name()).join("hosts");
        let names = names.to_str().ok_or_else(|| format!("the path {} is not UTF-8", names.display()))?;
        binds.push(format!("{names}:{HOSTS}"));
    }
    for bind in &node.binds {
        // Docker has no way to write a colon in a path.
        if bind.source.contains(':') || bind.target.contains(':') {
            return Err(format!("bind {} to {}: Docker takes no path with a `:`", bind.source, bind.target));
        }
        let mode = if bind.access == Access::ReadOnly { ":ro" } else { "" };
        binds.push(format!("{}:{}{mode}", bind.source, bind.target));
    }
    for volume in node.container.volumes.iter().filter(|volume| !is_plain(volume)) {
        let mut modes = Vec::new();
        if volume.access == Access::ReadOnly {
            modes.push("ro");
        }
        if volume.content == VolumeContent::Empty {
            modes.push("nocopy");
        }
        let mode = if modes.is_empty() { String::new() } else { format!(":{}", modes.join(",")) };
        let name = volume.name.clone().unwrap_or_else(|| own_volume(order, &volume.target));
        binds.push(format!("{name}:{}{mode}", volume.target));
    }
    Ok(binds)
}

/// Whether a volume is made for the container alone, without any option: Docker names it then.
fn is_plain(volume: &Volume) -> bool {
    volume.name.is_none() && volume.access == Access::ReadWrite && volume.content == VolumeContent::Image
}

/// A volume without a name whose options Docker takes only with one.
fn own_volume(order: &NodeOrder, target: &str) -> String {
    let digits = netloom_model::hex(target.as_bytes());
    format!("{}-{}", order.lab.container_name(&order.node), &digits[..12])
}

fn mapping(device: &str) -> Result<DeviceMapping, String> {
    let mut parts = device.split(':');
    let source = parts.next().unwrap_or_default();
    if !source.starts_with('/') {
        return Err(format!("device `{device}` is none of the host's: write `/dev/…`"));
    }
    let target = parts.next().unwrap_or(source);
    let (target, permissions) = match parts.next() {
        Some(permissions) => (target, permissions),
        // `source:permissions`
        None if !target.starts_with('/') => (source, target),
        None => (target, "rwm"),
    };
    Ok(DeviceMapping {
        path_on_host: source.to_owned(),
        path_in_container: target.to_owned(),
        cgroup_permissions: permissions.to_owned(),
    })
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn exposed(port: &PortMapping) -> impl Iterator<Item = String> + use<> {
    let protocol = protocol(port.protocol);
    (port.node.first..=port.node.last).map(move |number| format!("{number}/{protocol}"))
}

fn port_bindings(ports: &[PortMapping]) -> BTreeMap<String, Vec<PortBinding>> {
    let mut bindings: BTreeMap<String, Vec<PortBinding>> = BTreeMap::new();
    for port in ports {
        let host_ip = port.address.map(|address| address.to_string()).unwrap_or_default();
        let is_range = port.node.last > port.node.first;
        for (at, exposed) in exposed(port).enumerate() {
            let host_port = match port.host {
                None => String::new(),
                Some(host) if is_range => (usize::from(host.first) + at).to_string(),
                // Of several for one the runtime takes the first that is free.
                Some(host) => host.to_string(),
            };
            bindings.entry(exposed).or_default().push(PortBinding { host_ip: host_ip.clone(), host_port });
        }
    }
    bindings
}

/// Microseconds in each period.
fn cpu_quota(node: &Node) -> Option<i64> {
    node.cpu_millis.map(|millis| i64::from(millis) * CPU_PERIOD / 1000)
}

fn memory(node: &Node) -> i64 {
    node.memory_bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn restart_policy(node: &Node) -> RestartPolicy {
    use netloom_model::RestartPolicy as Policy;
    let name = match node.restart_policy {
        Policy::No => "no",
        Policy::Always => "always",
        Policy::OnFailure => "on-failure",
        Policy::UnlessStopped => "unless-stopped",
    };
    RestartPolicy { name: name.to_owned(), maximum_retry_count: 0 }
}

fn healthcheck(check: &netloom_model::Healthcheck) -> Healthcheck {
    let nanos = |seconds: Option<u32>| u64::from(seconds.unwrap_or_default()) * SECOND;
    Healthcheck {
        test: check.test.clone(),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        start_period: nanos(check.start_period),
        retries: check.retries.unwrap_or_default(),
    }
}

/// The paths of the host that a node wants to see.
pub(super) fn sources(node: &Node) -> BTreeSet<&str> {
    node.binds.iter().map(|bind| bind.source.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn order(mut node: Value) -> NodeOrder {
        for (field, value) in [("kind", "linux"), ("runtime", "docker"), ("image", "frr:8"), ("hostname", "r1")] {
            node[field] = value.into();
        }
        let other = json!({ "kind": "linux", "runtime": "docker", "image": "frr:8", "hostname": "r2" });
        let end = |node: &str, interface: &str, mac: &str| json!({ "at": { "node": node }, "interface": interface, "mac": mac });
        // The first shares the network of the second in one of the tests.
        let links =
            json!([{ "a": end("r1", "eth1", "02:00:00:00:00:01"), "b": end("r2", "eth2", "02:00:00:00:00:02") }]);
        let lab = json!({ "name": "lab", "nodes": { "r1": node, "r2": other }, "links": links });
        let (lab, node) = (Arc::new(serde_json::from_value(lab).unwrap()), "r1".parse().unwrap());
        NodeOrder { lab, node, fingerprint: "1.2.3".parse().unwrap(), rebuild: 0, restarts: 0 }
    }

    fn made(node: Value) -> Value {
        let layout = Layout::new("/x").unwrap();
        let ground = Ground { layout: &layout, privileges: &Privileges::Whole };
        serde_json::to_value(container(ground, &order(node)).unwrap()).unwrap()
    }

    /// Without what comes of the labels that every node has.
    fn own_env(made: &Value) -> Vec<&str> {
        let all = made["Env"].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
        all.filter(|one| !one.starts_with("CLAB_LABEL_CLAB_") && !one.starts_with("CLAB_LABEL_CONTAINERLAB=")).collect()
    }

    #[test]
    fn a_node_that_says_nothing_is_a_shell_that_stays_with_its_links_alone() {
        let made = made(json!({}));
        assert_eq!((made["Image"].as_str(), made["Hostname"].as_str()), (Some("frr:8"), Some("r1")));
        assert_eq!((&made["Tty"], &made["OpenStdin"]), (&json!(true), &json!(true)));
        assert_eq!(own_env(&made), ["CLAB_INTFS=1"]);
        assert!(made["Env"].as_array().unwrap().contains(&json!("CLAB_LABEL_CLAB_NODE_NAME=r1")));
        assert_eq!((made.get("Cmd"), made.get("Entrypoint")), (None, None));
        let host = &made["HostConfig"];
        assert_eq!((&host["NetworkMode"], &host["Privileged"]), (&json!("none"), &json!(true)));
        assert_eq!(host["Binds"], json!(["/x/run/netloom/labs/lab/hosts:/etc/hosts"]));
        assert_eq!(host["RestartPolicy"]["Name"], "always");
        assert_eq!(host["Sysctls"], json!({ "net.ipv4.ip_forward": "1", "net.ipv6.conf.all.disable_ipv6": "0" }));
    }

    #[test]
    fn the_interface_on_the_management_network_is_not_among_the_links_that_a_container_is_told_of() {
        let link = |interface: &str, mac: u8, kind: Value| {
            json!({
                "a": { "at": { "node": "r1" }, "interface": interface, "mac": format!("02:00:00:00:00:0{mac}") },
                "b": { "at": "host", "interface": format!("far{mac}"), "mac": format!("02:00:00:00:01:0{mac}") },
                "kind": kind,
            })
        };
        let attachment = json!({ "attachment": { "bridge": "br-clab" } });
        let node = json!({ "kind": "linux", "runtime": "docker", "image": "frr:8", "hostname": "r1" });
        let links = [link("eth0", 0, attachment.clone()), link("eth1", 1, json!("plain")), link("eth2", 2, attachment)];
        let lab: Lab =
            serde_json::from_value(json!({ "name": "lab", "nodes": { "r1": node }, "links": links })).unwrap();
        let order = NodeOrder { lab: Arc::new(lab), ..order(json!({})) };
        let node = node_of(&order).unwrap();
        let told = variables(&order, node).into_iter().find(|variable| variable.starts_with("CLAB_INTFS="));
        assert_eq!(told.as_deref(), Some("CLAB_INTFS=2"), "eth1, and the link of the file");
    }

    #[test]
    fn each_field_of_a_container_is_what_docker_calls_it() {
        let made = made(json!({
            "cmd": ["sleep", "1"], "entrypoint": ["/init"], "user": "1000:1000", "env": { "A": "b" },
            "labels": { "team": "net" }, "cpu_millis": 1500, "memory_bytes": 1_048_576, "restart_policy": "on-failure",
            "sysctls": { "net.ipv4.ip_forward": "0" },
            "binds": [{ "source": "/a", "target": "/b", "access": "read-only" }, { "source": "/h", "target": "/etc/hosts" }],
            "healthcheck": { "test": ["CMD", "true"], "interval": 2, "retries": 3 },
            "container": {
                "privilege": "confined", "capabilities": ["NET_ADMIN"], "ports": ["127.0.0.1:8080-8081:80-81", "53/udp"],
                "volumes": [{ "target": "/v" }, { "name": "n", "target": "/w", "access": "read-only", "content": "empty" }],
                "tmpfs": { "/t": "size=1m" }, "devices": ["/dev/null", "/dev/zero:/dev/z:r"], "shm_bytes": 4096,
                "cpu_set": "0", "pid_mode": { "container": "r2" }, "cgroup_namespace": "host",
                "dns": { "servers": ["192.0.2.1"], "search": ["x"] },
            },
        }));
        assert_eq!((&made["Cmd"], &made["Entrypoint"]), (&json!(["sleep", "1"]), &json!(["/init"])));
        assert_eq!(own_env(&made), ["CLAB_LABEL_TEAM=net", "A=b", "CLAB_INTFS=1"]);
        assert_eq!(
            made["Healthcheck"],
            json!({ "Test": ["CMD", "true"], "Interval": 2_000_000_000_u64, "Retries": 3 })
        );
        assert_eq!(made["ExposedPorts"], json!({ "80/tcp": {}, "81/tcp": {}, "53/udp": {} }));
        assert_eq!(made["Volumes"], json!({ "/v": {} }));
        let host = &made["HostConfig"];
        assert_eq!(host["Binds"], json!(["/a:/b:ro", "/h:/etc/hosts", "n:/w:ro,nocopy"]));
        assert_eq!(host["PortBindings"]["81/tcp"], json!([{ "HostIp": "127.0.0.1", "HostPort": "8081" }]));
        let limits = (&host["CpuQuota"], &host["CpuPeriod"], &host["Memory"]);
        assert_eq!(limits, (&json!(150_000), &json!(100_000), &json!(1_048_576)));
        assert_eq!((host.get("Privileged"), &host["CapAdd"]), (None, &json!(["NET_ADMIN"])));
        assert_eq!(host["Devices"][1]["PathInContainer"], "/dev/z");
        assert_eq!((&host["PidMode"], &host["CgroupnsMode"]), (&json!("container:clab-lab-r2"), &json!("host")));
        let sysctls = json!({ "net.ipv4.ip_forward": "0", "net.ipv6.conf.all.disable_ipv6": "0" });
        assert_eq!((&host["Dns"], &host["Sysctls"]), (&json!(["192.0.2.1"]), &sysctls));
    }

    #[test]
    fn what_belongs_to_a_network_of_its_own_is_left_out_where_it_has_none() {
        let sysctls = json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "1" });
        let shared = made(json!({ "network_mode": { "container": "r2" }, "sysctls": sysctls.clone() }));
        assert_eq!(shared["HostConfig"]["NetworkMode"], "container:clab-lab-r2");
        assert_eq!(
            (shared.get("Hostname"), &shared["HostConfig"]["Sysctls"]),
            (None, &json!({ "kernel.msgmax": "1" }))
        );
        let off = made(json!({ "sysctls": { "net.ipv4.conf.all.forwarding": "0" } }));
        let all = json!({ "net.ipv4.conf.all.forwarding": "0", "net.ipv6.conf.all.disable_ipv6": "0" });
        assert_eq!(off["HostConfig"]["Sysctls"], all, "forwarding has two names");
        let host = made(json!({ "network_mode": "host", "sysctls": sysctls }));
        assert_eq!((&host["HostConfig"]["NetworkMode"], host["HostConfig"].get("Binds")), (&json!("host"), None));
    }

    #[test]
    fn a_node_whose_interface_on_the_network_is_another_than_dockers_publishes_no_ports() {
        let layout = Layout::new("/x").unwrap();
        let made = |node: Value| container(Ground { layout: &layout, privileges: &Privileges::Whole }, &order(node));
        let (device, ports) = (json!({ "management": "mgmt0" }), json!({ "ports": ["8080:80"] }));
        let why = made(json!({ "device": device, "container": ports })).unwrap_err();
        assert!(why.contains("`eth0`") && why.contains("`mgmt0`") && why.contains("Leave `ports` out"), "{why}");
        made(json!({ "device": device })).unwrap();
        made(json!({ "container": ports })).unwrap();
        made(json!({ "device": device, "container": ports, "network_mode": "none" })).unwrap();
    }

    #[test]
    fn what_docker_cannot_write_is_refused() {
        let refused = |node: Value| {
            let layout = Layout::new("/x").unwrap();
            container(Ground { layout: &layout, privileges: &Privileges::Whole }, &order(node)).unwrap_err()
        };
        assert!(refused(json!({ "binds": [{ "source": "/a:b", "target": "/c" }] })).contains("no path with a `:`"));
        assert!(refused(json!({ "container": { "devices": ["vendor.com/gpu=all"] } })).contains("write `/dev/…`"));
        for name in ["a", "", "-a", "_a", "a b", "ä1"] {
            assert!(check_name(name).unwrap_err().contains("another `prefix`"), "{name}");
        }
        assert_eq!(check_name("r1.site_2-x"), Ok(()));
    }
}
