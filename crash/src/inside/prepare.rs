//! Everything up to the moment in which a case begins.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{PATIENCE, Run};
use crate::case::Event;
use crate::host::{Orders, until};
use crate::inherited;
use crate::pings::Pings;
use crate::scenario::{Act, Kind};
use crate::topology::{
    AFTER, AROUND, BEFORE, BRIDGE, DOCKER_AFTER, DOCKER_BEFORE, INHERITED, MGMT, MGMT_BRIDGE, STEADY, SWITCHED_AFTER,
    SWITCHED_BEFORE, TURNED, UNDERLAY, UNTOUCHED, many,
};
use crate::traffic::Traffic;
use crate::uplink;
use crate::wanted::{Shape, Uplink, all_nodes_are_made};

impl Run<'_> {
    /// Everything up to the moment in which the case begins. What an agent was told that died meanwhile.
    pub(super) fn prepare(&mut self, orders: &Orders) -> Result<Option<Orders>> {
        let scenario = self.case.scenario;
        if scenario.kind == Kind::Around {
            self.host.surround()?;
        }
        if scenario.is_first() {
            return Ok(None);
        }
        let mut first = scenario.first_crash().map(|point| self.host.orders("first", point.to_owned()));
        let gate = match (&first, scenario.act) {
            (Some(orders), Act::Mend) => {
                // The thread that opens places for links waits here, until every node is made.
                let (gate, waiting) = orders.hold("netns.watched")?;
                first = Some(waiting);
                Some(gate)
            }
            _ => None,
        };
        let with = first.as_ref().unwrap_or(orders);
        self.deploy(with, &self.host.file("steady", STEADY)?)?;
        match scenario.act {
            Act::Recover => {}
            _ if scenario.kind == Kind::Host => {}
            _ if scenario.kind == Kind::Inherited => inherited::leave(self.host)?,
            Act::Mend => self.deploy(with, &self.host.file("x", BRIDGE)?)?,
            _ => self.deploy(with, &self.file(Shape::Before)?)?,
        }
        if let Some(first) = &first {
            first.arm()?;
            let file = self.file(Shape::Before)?;
            let destroys = scenario.act == Act::Undo;
            let arguments: &[&str] = if destroys { &["destroy", "--name", "x"] } else { &["deploy", "-t", &file] };
            let mut command = self.host.start(first, arguments)?;
            if let Some(gate) = gate {
                let made = until(PATIENCE, || Ok(all_nodes_are_made(&first.trace())))?;
                ensure!(made, "the nodes were not made before their links: {:?}", first.trace());
                std::fs::remove_file(gate)?;
            }
            command.wait()?;
            ensure!(self.dies(first)?, "the first agent did not die at {}", first.failpoint);
        }
        self.begin_traffic("steady", ["s1", "s2"], "10.9.0.2")?;
        let untouched: &[&str] = match scenario.act {
            _ if scenario.has_docker() => &[],
            Act::Change if scenario.has_switch() => &UNTOUCHED,
            Act::Change if matches!(self.case.event, Event::Node { .. }) => &UNTOUCHED,
            Act::Change => &["u1", "u2", "a"],
            Act::Restart | Act::Halt | Act::Wake => &["u1", "u2", "a", "c", "gone"],
            Act::Link | Act::Adopt | Act::Repin | Act::Stop => &["u1", "u2", "a", "b", "c", "gone"],
            Act::Deploy
            | Act::Destroy
            | Act::Recover
            | Act::Mend
            | Act::Rebridge
            | Act::Undo
            | Act::Provision
            | Act::Release
            | Act::Cut
            | Act::Replug
            | Act::Reconfigure => &[],
        };
        if scenario.has_docker() {
            let labs = self.host.labs()?;
            self.addresses = self.management_addresses()?;
            let nodes = labs.iter().filter(|lab| lab.name.as_str() == "x").flat_map(|lab| &lab.nodes);
            self.turned = nodes.filter(|node| node.name.as_str() == TURNED).find_map(|node| node.pid);
        }
        if !untouched.is_empty() {
            // A switch in user space passes no stream, since nobody reckons its checksums: the steady lab has the traffic.
            if !scenario.has_switch() {
                self.begin_traffic("x", UNTOUCHED, "10.8.0.2")?;
            }
            self.remember("x", untouched)?;
            self.turned = self.init("x", TURNED)?;
        }
        self.set_the_scene(orders)?;
        Ok(first)
    }

    /// What others do before the command.
    fn set_the_scene(&mut self, orders: &Orders) -> Result<()> {
        let done = |arguments: &[&str]| {
            let ended = self.host.netloom_with(orders, arguments)?;
            ensure!(ended.code == Some(0), "{}: {}", arguments.join(" "), ended.text);
            anyhow::Ok(())
        };
        match self.case.scenario.act {
            Act::Wake => done(&["node", "stop", &format!("x/{TURNED}")]),
            Act::Destroy if self.case.scenario.kind == Kind::Inherited => {
                done(&["adopt", "x"])?;
                // Its nodes are told their names when the command has ended.
                let names = self.host.layout.run().join("labs/x/hosts");
                ensure!(until(PATIENCE, || Ok(names.exists()))?, "its nodes are not told their names");
                self.wiring = inherited::wiring(self.host)?;
                Ok(())
            }
            Act::Destroy if !self.case.scenario.has_docker() => {
                self.stranger = Some(self.host.stranger("x", TURNED)?);
                Ok(())
            }
            Act::Adopt if self.case.scenario.kind == Kind::Inherited => {
                self.wiring = inherited::wiring(self.host)?;
                let from = inherited::pid(self.host, INHERITED[1])?;
                self.pings = Some(Pings::start(&from, "10.8.0.1", self.host.scratch("pings"))?);
                Ok(())
            }
            Act::Adopt => {
                done(&["agent", "stop"])?;
                std::fs::remove_file(self.host.layout.store())?;
                done(&["agent", "--background"])?;
                done(&["adopt", "steady"])
            }
            Act::Repin => {
                done(&["agent", "stop"])?;
                let pin = self.host.layout.pins().join("x").join(TURNED);
                Ok(rustix::mount::unmount(&pin, rustix::mount::UnmountFlags::DETACH)?)
            }
            Act::Release => uplink::have(self.host, &uplink::provision()),
            Act::Replug => {
                uplink::have(self.host, &uplink::provision())?;
                done(&["agent", "stop"])?;
                uplink::flush()
            }
            Act::Reconfigure => {
                done(&["agent", "stop"])?;
                self.host.configure(Some(UNDERLAY[0]));
                done(&["agent", "--background"])?;
                uplink::until_so(PATIENCE, Uplink::Provided)?;
                done(&["agent", "stop"])?;
                self.host.configure(Some(UNDERLAY[1]));
                Ok(())
            }
            Act::Rebridge => {
                done(&["agent", "stop"])?;
                let deleted = Command::new("ip").args(["link", "delete", MGMT_BRIDGE]).status()?;
                ensure!(deleted.success(), "the bridge {MGMT_BRIDGE} cannot be deleted");
                let flushed = Command::new("iptables").args(["--wait", "5", "-F", "DOCKER-USER"]).status()?;
                ensure!(flushed.success(), "the rules of the host cannot be taken away");
                Ok(())
            }
            Act::Deploy
            | Act::Change
            | Act::Link
            | Act::Restart
            | Act::Halt
            | Act::Destroy
            | Act::Recover
            | Act::Mend
            | Act::Undo
            | Act::Stop
            | Act::Provision
            | Act::Cut => Ok(()),
        }
    }

    /// The file of lab `x`: one path, whatever is in it.
    pub(super) fn file(&self, shape: Shape) -> Result<String> {
        let few = match shape {
            Shape::Before => DOCKER_BEFORE,
            Shape::After => DOCKER_AFTER,
        };
        let text = match (self.case.scenario.kind, shape) {
            (Kind::Namespaces, Shape::Before) => BEFORE,
            (Kind::Namespaces, Shape::After) => AFTER,
            (Kind::Switched, Shape::Before) => SWITCHED_BEFORE,
            (Kind::Switched, Shape::After) => SWITCHED_AFTER,
            (Kind::Containers, _) => few,
            (Kind::Many, _) => &many(few, shape),
            (Kind::Managed, _) => MGMT,
            (Kind::Around, _) => AROUND,
            // No file says what is wanted there.
            (Kind::Inherited | Kind::Host, _) => "",
        };
        self.host.file("x", text)
    }

    fn deploy(&self, orders: &Orders, file: &str) -> Result<()> {
        let ended = self.host.netloom_with(orders, &["deploy", "-t", file])?;
        ensure!(ended.code == Some(0), "deploy: {}", ended.text);
        Ok(())
    }

    fn begin_traffic(&mut self, lab: &str, nodes: [&str; 2], address: &str) -> Result<()> {
        let pins = self.host.layout.pins().join(lab);
        self.traffic.push(Traffic::start(&pins.join(nodes[0]), &pins.join(nodes[1]), address).context("traffic")?);
        self.remember(lab, &nodes)
    }

    /// Which processes these nodes run, which they are to run at the end, too.
    fn remember(&mut self, lab: &str, nodes: &[&str]) -> Result<()> {
        for node in nodes {
            let pid = self.init(lab, node)?;
            self.pids.insert(format!("{lab}/{node}"), pid);
        }
        Ok(())
    }

    /// The init of a node. Also when there is no agent: what is written down of a node says which process it is.
    fn init(&self, lab: &str, node: &str) -> Result<Option<u32>> {
        let status = self.host.layout.run().join("nodes").join(lab).join(node).join("status.json");
        let status: serde_json::Value = serde_json::from_slice(&std::fs::read(status)?)?;
        Ok(status["init"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()))
    }
}
