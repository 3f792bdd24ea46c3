//! For tests: a lab that a controller decides in, and an inventory of what is there of it, told fact by fact.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use netloom_engine::testing::Sketch;
use netloom_engine::{
    Fact, Inventory, NodeFact, Place, PortFact, PortKind, PortMark, Report, Reporter, Snapshot, Source, SwitchPortFact,
    Wish, channel, task,
};
use netloom_model::{InterfaceName, Lab, LabName, Node, NodeName, PortVlan, RuntimeKind, SwitchPort};
use netloom_plan::{AdminState, LinkFingerprint, NodeFingerprint, NodeState};
use serde_json::{Value, json};

use super::sight::Wishes;

/// What the nodes run on.
const DOCKER: Source = Source::Runtime(RuntimeKind::Docker);

/// A lab `lab` with the containers `r1` and `r2` and a link between their `eth1`.
pub(super) struct Scene {
    pub(super) wishes: Wishes,
    reporter: Reporter,
    inventory: Inventory,
}

/// Where the link is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fabric {
    Kernel,
    Switch,
}

impl Scene {
    /// Everything was listed once, and nothing of the lab is there.
    pub(super) async fn pair(fabric: Fabric) -> Self {
        let scene = Self::unlisted(fabric);
        for source in [DOCKER, Source::Fabric, Source::Switch] {
            scene.list(source, Vec::new()).await;
        }
        scene
    }

    /// Nothing was listed yet.
    pub(super) fn unlisted(fabric: Fabric) -> Self {
        let (reporter, inventory, writer) = channel();
        task::spawn("inventory", writer.run());
        let lab = Sketch::new("lab").container("r1").container("r2").link("r1:eth1", "r2:eth1").lab();
        let mut wish = json!({
            "lab": &*lab, "authority": { "controller": "c" }, "phase": "run", "generation": 1, "rebuild": 0,
            "created": "2026-01-01T00:00:00Z",
        });
        if fabric == Fabric::Switch {
            wish["switch"] = "arch-ovs".into();
        }
        let wish: Wish = serde_json::from_value(wish).unwrap();
        Self { wishes: BTreeMap::from([(lab.name().clone(), Arc::new(wish))]), reporter, inventory }
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.inventory.snapshot()
    }

    /// Changes what is wanted.
    pub(super) fn wish(&mut self, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::to_value(&*self.wishes[&lab_name()]).unwrap();
        change(&mut value);
        self.wishes.insert(lab_name(), Arc::new(serde_json::from_value(value).unwrap()));
    }

    /// Changes the spec of a node.
    pub(super) fn spec(&mut self, node: &str, change: impl FnOnce(&mut Node)) {
        self.wish(|wish| {
            let spec = &mut wish["lab"]["nodes"][node];
            let mut node: Node = serde_json::from_value(spec.clone()).unwrap();
            change(&mut node);
            *spec = serde_json::to_value(node).unwrap();
        });
    }

    async fn report(&self, report: Report) {
        let mut changes = self.inventory.changes();
        changes.borrow_and_update();
        self.reporter.send(report);
        changes.changed().await.unwrap();
    }

    /// A source was listed whole.
    pub(super) async fn list(&self, source: Source, facts: Vec<Fact>) {
        let started = SystemTime::now();
        self.report(Report::Relist { source, started, facts, unseen: BTreeMap::new() }).await;
    }

    /// A node is seen in its first life.
    pub(super) async fn node(&self, node: &str, state: NodeState) {
        self.node_in(node, state, "one").await;
    }

    /// A node is seen in some life.
    pub(super) async fn node_in(&self, node: &str, state: NodeState, life: &str) {
        self.report(Report::Events(DOCKER, vec![Fact::Node(self.node_fact(node, state, life))])).await;
    }

    pub(super) fn node_fact(&self, node: &str, state: NodeState, life: &str) -> NodeFact {
        let node: NodeName = node.parse().unwrap();
        let spec = &self.lab().nodes()[&node];
        NodeFact {
            lab: lab_name(),
            runtime: RuntimeKind::Docker,
            state,
            pid: None,
            incarnation: Some(format!("{life}@2026")),
            health: None,
            reserved: false,
            namespace: None,
            left_behind: false,
            restarting: false,
            fingerprint: NodeFingerprint::of(spec, 0, 0),
            container: self.lab().container_name(&node),
            runtime_id: None,
            image: None,
            last_output: None,
            note: None,
            seen: SystemTime::now(),
            node,
        }
    }

    /// A node is gone.
    pub(super) async fn node_gone(&self, node: &str) {
        self.report(Report::Events(DOCKER, vec![Fact::NodeGone(lab_name(), node.parse().unwrap())])).await;
    }

    /// The `eth1` of a node is seen, switched on or off by its guest.
    pub(super) async fn port(&self, node: &str, is_up: bool) {
        self.port_marked(node, is_up, AdminState::Up).await;
    }

    /// The same, with what its mark says.
    pub(super) async fn port_marked(&self, node: &str, is_up: bool, switched: AdminState) {
        self.report(Report::Events(Source::Fabric, vec![self.port_fact(node, is_up, switched)])).await;
    }

    pub(super) fn port_fact(&self, node: &str, is_up: bool, switched: AdminState) -> Fact {
        let place = Place::Node(lab_name(), node.parse().unwrap());
        Fact::Port(self.fact(place, 2, "eth1".parse().unwrap(), is_up, switched))
    }

    /// It is gone.
    pub(super) async fn port_gone(&self, node: &str) {
        let place = Place::Node(lab_name(), node.parse().unwrap());
        self.report(Report::Events(Source::Fabric, vec![Fact::PortGone(place, 2)])).await;
    }

    /// The end on the host of a node's cable is seen.
    pub(super) async fn cable(&self, node: &str, is_up: bool) {
        let name = cable_name(node);
        let ifindex = if node == "r1" { 101 } else { 102 };
        let port = self.fact(Place::Host, ifindex, name, is_up, AdminState::Up);
        self.report(Report::Events(Source::Fabric, vec![Fact::Port(port)])).await;
    }

    /// It is a port of the switch.
    pub(super) async fn plugged(&self, node: &str) {
        let fact = SwitchPortFact {
            name: cable_name(node),
            bridge: "arch-ovs".parse().unwrap(),
            vlan: PortVlan::default(),
            lab: lab_name(),
            link: self.lab().links()[0].id(),
            tunnel: None,
            fault: None,
            seen: SystemTime::now(),
        };
        self.report(Report::Events(Source::Switch, vec![Fact::SwitchPort(fact)])).await;
    }

    fn fact(&self, place: Place, ifindex: u32, name: InterfaceName, admin_up: bool, switched: AdminState) -> PortFact {
        let link = &self.lab().links()[0];
        PortFact {
            place,
            ifindex,
            name,
            altnames: Vec::new(),
            kind: PortKind::Veth,
            admin_up,
            carrier: admin_up,
            mtu: 1500,
            mac: None,
            addresses: Vec::new(),
            given: Vec::new(),
            master: None,
            signals: netloom_engine::FailSignals::default(),
            mark: Some(PortMark::Link {
                lab: lab_name(),
                link: link.id(),
                fingerprint: LinkFingerprint::of(link, 0),
                switched,
            }),
            seen: SystemTime::now(),
        }
    }

    fn lab(&self) -> &Lab {
        &self.wishes[&lab_name()].lab
    }
}

pub(super) fn lab_name() -> LabName {
    "lab".parse().unwrap()
}

fn cable_name(node: &str) -> InterfaceName {
    SwitchPort::cable_to(&lab_name(), &format!("{node}:eth1"))
}
