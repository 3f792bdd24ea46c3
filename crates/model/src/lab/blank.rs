//! Labs, nodes and links of which nothing is said but what must be.

use std::collections::BTreeMap;

use super::{
    End, Endpoint, LabParts, Link, LinkKind, Management, NetworkMode, Node, NodeManagement, Prefix, Rare,
    RestartPolicy, Settings, Vars,
};
use crate::interface::Interface;
use crate::name::{Kind, LabName, Mac, Mtu};

impl LabParts {
    /// A lab without nodes.
    pub fn new(name: LabName) -> Self {
        Self {
            name,
            prefix: Prefix::default(),
            source: None,
            management: Management::default(),
            settings: Settings::default(),
            nodes: BTreeMap::new(),
            links: Vec::new(),
        }
    }
}

impl Node {
    /// A node of this kind and host name that runs nothing.
    pub fn new(kind: Kind, hostname: impl Into<String>) -> Self {
        Self {
            kind,
            runtime: None,
            image: None,
            group: None,
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            exec: Vec::new(),
            env: BTreeMap::new(),
            binds: Vec::new(),
            hostname: hostname.into(),
            user: None,
            sysctls: BTreeMap::new(),
            labels: BTreeMap::new(),
            cpu_millis: None,
            memory_bytes: None,
            startup_delay: 0,
            restart_policy: RestartPolicy::default(),
            network_mode: NetworkMode::default(),
            variant: None,
            position: None,
            container: Rare::default(),
            management: NodeManagement::default(),
            config: Rare::default(),
            stages: BTreeMap::new(),
            healthcheck: None,
            link_apply_mode: None,
            device: Rare::default(),
        }
    }
}

impl Link {
    /// A link between these ends, or of one end that is a dummy.
    pub fn new(a: End, b: Option<End>) -> Self {
        Self { a, b, mtu: Mtu::DEFAULT, labels: BTreeMap::new(), kind: LinkKind::Plain, vars: Vars::new() }
    }
}

impl End {
    /// An end without addresses.
    pub fn new(at: Endpoint, interface: Interface, mac: Mac) -> Self {
        Self { at, interface, mac, ipv4: None, ipv6: None, vars: Vars::new(), shared: None }
    }
}
