//! A host with Open vSwitch, and the lab that most tests have on it.

use std::ops::Deref;

use netloom_ovs_fixture::Ovs;
use serde_json::Value;

use crate::sandbox::{Ended, Sandbox};

/// A sandbox with Open vSwitch, and an agent that finds it.
pub(crate) struct OvsHost {
    // Ends first: it is in the sandbox.
    pub(crate) ovs: Ovs,
    host: Sandbox,
}

impl Deref for OvsHost {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.host
    }
}

impl OvsHost {
    pub(crate) fn new() -> Option<Self> {
        let host = Sandbox::new()?;
        let ovs = Ovs::start_with_switch_by(&mut host.command("env"))?;
        Some(Self::with(host, ovs))
    }

    /// Starts the agent where that is.
    pub(crate) fn with(mut host: Sandbox, ovs: Ovs) -> Self {
        host.environment.push(("NETLOOM_OVS_SOCKET", ovs.socket().display().to_string()));
        host.netloom(&["agent", "--background"]).code(0);
        let made = Self { ovs, host };
        made.until("Open vSwitch is seen", |_| made.capability() == "ok");
        made
    }

    pub(crate) fn vsctl(&self, arguments: &str) -> Ended {
        self.sh(&format!("ovs-vsctl --timeout=10 --db=unix:{} {arguments}", self.ovs.socket().display()))
    }

    /// The state of the capability `ovs`; nothing while it counts for nothing.
    pub(crate) fn capability(&self) -> String {
        self.said_of_capability("status")
    }

    /// Why the capability `ovs` is not well.
    pub(crate) fn why_not(&self) -> String {
        self.said_of_capability("reason")
    }

    fn said_of_capability(&self, field: &str) -> String {
        let ready = self.ask("GET /readyz?verbose").json();
        let all = ready["capabilities"].as_array().unwrap();
        let ovs = all.iter().find(|one| one["name"] == "ovs");
        ovs.and_then(|ovs| ovs[field].as_str()).unwrap_or_default().to_owned()
    }

    /// See [`ports`].
    pub(crate) fn ports(&self) -> Vec<String> {
        ports(&self.ovs)
    }

    pub(crate) fn pings(&self, node: &str, address: &str) -> bool {
        self.netloom(&["exec", node, "--", "ping", "-c", "1", "-W", "1", address]).code == 0
    }

    pub(crate) fn links(&self, lab: &str) -> Vec<Value> {
        self.lab(lab)["links"].as_array().unwrap().clone()
    }

    pub(crate) fn is_up(&self, lab: &str) -> bool {
        self.links(lab).iter().all(|link| link["state"] == "up")
    }
}

/// The ports of labs on the host, as `name tag`.
pub(crate) fn ports(ovs: &Ovs) -> Vec<String> {
    let listed = ovs.vsctl(["--format=csv", "--data=bare", "--no-headings", "--columns=name,tag", "list", "Port"]);
    let mut ports: Vec<String> =
        listed.lines().filter(|line| line.starts_with("vh")).map(|line| line.replace(',', " ")).collect();
    ports.sort();
    ports
}

/// Three nodes in a ring.
pub(crate) fn ring(name: &str, settings: &str) -> String {
    format!(
        "name: {name}
{settings}
topology:
  defaults: {{ kind: linux, runtime: namespace }}
  nodes: {{ a: , b: , c: }}
  links:
    - {{ endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.0.1.1/24, 10.0.1.2/24] }}
    - {{ endpoints: [\"b:eth2\", \"c:eth1\"], ipv4: [10.0.2.1/24, 10.0.2.2/24] }}
    - {{ endpoints: [\"c:eth2\", \"a:eth2\"], ipv4: [10.0.3.1/24, 10.0.3.2/24], mtu: 1400 }}
"
    )
}

pub(crate) const ON_OVS: &str = "settings: { fabric: ovs }";
pub(crate) const WAYS: [(&str, &str); 3] = [("a", "10.0.1.2"), ("b", "10.0.2.2"), ("c", "10.0.3.2")];
