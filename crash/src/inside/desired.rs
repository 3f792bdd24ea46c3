//! What is desired after the crash, and how far what there is differs from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, bail, ensure};
use netloom_engine::LabView;
use netloom_kernel::Netns;
use netloom_plan::NodeState;

use super::{CONVERGES, PATIENCE, Run};
use crate::case::{Event, Fault};
use crate::host::until;
use crate::inherited;
use crate::scenario::{Act, Kind};
use crate::switch;
use crate::topology::{
    HOST_AFTER, HOST_AROUND, HOST_BEFORE, HOST_MGMT, HOST_SWITCHED, HOST_SWITCHED_AFTER, MGMT_PUBLISHED, ONCE, RUNNING,
    TURNED,
};
use crate::traces::{nodes_with_traces, on_host};
use crate::uplink;
use crate::wanted::{Edit, Shape, Uplink, Wanted, incomplete};

impl Run<'_> {
    /// What is desired now: what had been stored when the agent died.
    pub(super) fn wanted(&self, trace: &[String]) -> Result<Wanted> {
        let before = |edit| Wanted::Lab(Shape::Before, edit);
        let (without, with) = match self.case.scenario.act {
            Act::Deploy => (Wanted::Nothing, before(Edit::None)),
            Act::Change => (before(Edit::None), Wanted::Lab(Shape::After, Edit::None)),
            Act::Link => (before(Edit::None), before(Edit::Cut)),
            Act::Restart => (before(Edit::Unturned), before(Edit::Turned)),
            Act::Halt => (before(Edit::Unturned), before(Edit::Halted)),
            Act::Wake => (before(Edit::Halted), before(Edit::Turned)),
            Act::Destroy => (before(Edit::None), Wanted::Nothing),
            Act::Adopt => (Wanted::Unknown, before(Edit::Unturned)),
            Act::Repin | Act::Rebridge => return Ok(before(Edit::Unturned)),
            // Stored before the first crash.
            Act::Recover | Act::Mend | Act::Stop => return Ok(before(Edit::None)),
            Act::Undo => return Ok(Wanted::Nothing),
            Act::Provision => (Wanted::Host(Uplink::Former), Wanted::Host(Uplink::Provided)),
            Act::Release => (Wanted::Host(Uplink::Provided), Wanted::Host(Uplink::Released)),
            Act::Cut => return Ok(Wanted::Host(Uplink::Former)),
            Act::Replug => return Ok(Wanted::Host(Uplink::Provided)),
            Act::Reconfigure => return Ok(Wanted::Host(Uplink::Moved)),
        };
        let asked = trace.iter().position(|point| point.ends_with(".before-store"));
        let Some(asked) = asked else { return Ok(without) };
        if trace[asked..].iter().any(|point| point == "store.after-commit") {
            return Ok(with);
        }
        // With a fault the agent is killed a moment after the point, from outside.
        if matches!(self.case.event, Event::Point { .. }) && self.case.fault.is_none() {
            return Ok(without);
        }
        // Killed between the commit and its note: either is right, as long as it is one of them.
        let stored = until(CONVERGES * self.case.slowness(), || {
            Ok(self.differs(with)?.is_empty() || self.differs(without)?.is_empty())
        })?;
        ensure!(stored, "neither as before the command nor as it wanted it");
        Ok(if self.differs(with)?.is_empty() { with } else { without })
    }

    /// What is not as desired yet; empty when all is.
    pub(super) fn differs(&self, wanted: Wanted) -> Result<String> {
        let labs = self.host.labs()?;
        let find = |name: &str| labs.iter().find(|lab| lab.name.as_str() == name);
        if !self.case.scenario.is_first() {
            let Some(steady) = find("steady") else { return Ok("lab steady is not there".into()) };
            let why = [incomplete(steady, Edit::None), self.stale(steady)].concat();
            if !why.is_empty() {
                return Ok(why);
            }
        }
        if self.case.scenario.kind == Kind::Inherited && wanted != Wanted::Nothing {
            return self.not_inherited(wanted, find("x"));
        }
        match (wanted, find("x")) {
            (Wanted::Host(uplink), None) => Ok([self.astray(&[], &[])?, uplink::differs(uplink)?].concat()),
            (Wanted::Nothing, None) => Ok([self.astray(&[], &[])?, self.mislaid(None)].concat()),
            (Wanted::Nothing | Wanted::Host(_), Some(lab)) => Ok(format!("lab x is there: {lab:?}")),
            (Wanted::Lab(..) | Wanted::Unknown, None) => Ok("lab x is not there".into()),
            (Wanted::Unknown, Some(lab)) => {
                let running = lab.nodes.iter().filter(|node| node.state == NodeState::Running).count();
                let as_it_was = lab.phase.is_none() && running == RUNNING;
                Ok(if as_it_was { self.life(lab, Edit::Unturned) } else { format!("lab x is {lab:?}") })
            }
            (Wanted::Lab(shape, edit), Some(lab)) => {
                let why = [incomplete(lab, edit), self.stale(lab), self.life(lab, edit)].concat();
                if !why.is_empty() {
                    return Ok(why);
                }
                if lab.nodes.iter().any(|node| node.pid.is_some() && node.pid == self.victim) {
                    return Ok("a node that was killed is not missed yet".into());
                }
                let planned = self.host.netloom(&["deploy", "-t", &self.file(shape)?, "--dry-run"])?;
                if planned.code != Some(0) || !planned.text.contains("nothing to change") {
                    return Ok(format!("still to do: {}", planned.text));
                }
                let nodes = lab.nodes.iter().filter(|node| node.runtime.is_some()).map(|node| node.name.as_str());
                let interfaces: &[&str] = match (self.case.scenario.kind, shape) {
                    (Kind::Namespaces, Shape::Before) => &HOST_BEFORE,
                    (Kind::Namespaces, Shape::After) => &HOST_AFTER,
                    (Kind::Switched, Shape::Before) => &HOST_SWITCHED,
                    (Kind::Switched, Shape::After) => &HOST_SWITCHED_AFTER,
                    (Kind::Containers | Kind::Many | Kind::Inherited | Kind::Host, _) => &[],
                    (Kind::Managed, _) => &HOST_MGMT,
                    (Kind::Around, _) => &HOST_AROUND,
                };
                let astray = self.astray(&nodes.collect::<Vec<_>>(), interfaces)?;
                Ok([astray, self.mislaid(Some(lab))].concat())
            }
        }
    }

    /// What of a lab that another agent has left is not as it was, or was stored and is not taken over.
    fn not_inherited(&self, wanted: Wanted, lab: Option<&LabView>) -> Result<String> {
        let wiring = inherited::wiring(self.host)?;
        if wiring != self.wiring {
            let (more, less) = (wiring.difference(&self.wiring), self.wiring.difference(&wiring));
            let (more, less) = (more.collect::<Vec<_>>(), less.collect::<Vec<_>>());
            return Ok(format!("the wiring has {more:?} now, and not {less:?}"));
        }
        match (wanted, lab) {
            // What has marks is seen, and nobody wants it.
            (Wanted::Unknown, lab) => Ok(lab
                .and_then(|lab| lab.phase.as_ref())
                .map(|phase| format!("lab x is known: {phase:?}"))
                .unwrap_or_default()),
            (_, None) => Ok("lab x is not there".into()),
            (_, Some(lab)) => {
                let why = [incomplete(lab, Edit::None), self.stale(lab)].concat();
                let left = self.host.netloom(&["adopt", "--dry-run", "x"])?;
                let is_all = left.code == Some(2) && left.text.contains("nothing to adopt");
                Ok(if is_all { why } else { format!("{why}still to be adopted: {}", left.text) })
            }
        }
    }

    /// Since when the agent has not seen a lab whole; of a daemon that is late it says so as long as that is.
    fn stale(&self, lab: &LabView) -> String {
        let is_late = self.case.fault == Some(Fault::DockerLate);
        lab.stale.clone().filter(|_| !is_late).unwrap_or_default()
    }

    /// Whether [`TURNED`] lives the life that it should.
    fn life(&self, lab: &LabView, edit: Edit) -> String {
        let pid = lab.nodes.iter().find(|node| node.name.as_str() == TURNED).and_then(|node| node.pid);
        match edit {
            Edit::Unturned if pid != self.turned => format!("node {TURNED} was started again"),
            Edit::Turned if pid == self.turned => format!("node {TURNED} was not started again"),
            Edit::Unturned if Netns::open(self.host.layout.pins().join("x").join(TURNED)).is_err() => {
                format!("node {TURNED} is not pinned")
            }
            Edit::None | Edit::Cut | Edit::Unturned | Edit::Turned | Edit::Halted => String::new(),
        }
    }

    /// What the switch has of lab `x` beside what it should, or lacks.
    fn mislaid(&self, lab: Option<&LabView>) -> String {
        self.host.switch().map(|switch| switch::mislaid(switch, lab)).unwrap_or_default()
    }

    /// What the host has of lab `x` beside these nodes and these interfaces of its own, or lacks.
    fn astray(&self, nodes: &[&str], interfaces: &[&str]) -> Result<String> {
        let nodes = nodes.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let mut interfaces = interfaces.to_vec();
        interfaces.sort_unstable();
        let (mut has_nodes, has_interfaces) = (nodes_with_traces(&self.host.layout, "x")?, on_host()?);
        let containers = self.host.containers()?;
        has_nodes.extend(containers.into_iter().map(|name| name.trim_start_matches("clab-x-").to_owned()));
        let mut why = String::new();
        if nodes != has_nodes {
            why = format!("there are traces of nodes {has_nodes:?}, not of {nodes:?}");
        }
        if interfaces != has_interfaces {
            let _ = write!(why, "the host has {has_interfaces:?}, not {interfaces:?}");
        }
        Ok(why)
    }

    /// That a second deploy changes nothing, and that what nobody touched was not touched.
    pub(super) fn settled(&self, wanted: Wanted, doubt: usize) -> Result<()> {
        if self.case.scenario.kind == Kind::Inherited && wanted == Wanted::Unknown {
            // The same again finishes what was begun.
            let ended = self.host.netloom(&["adopt", "x"])?;
            ensure!(ended.code == Some(0), "the second adoption: {}", ended.text);
            let mut why = String::new();
            let whole = until(PATIENCE, || {
                why = self.differs(Wanted::Lab(Shape::Before, Edit::Unturned))?;
                Ok(why.is_empty())
            })?;
            ensure!(whole, "adopted for the second time: {why}");
        }
        if let (Wanted::Lab(shape, _), true) = (wanted, self.case.scenario.kind != Kind::Inherited) {
            let ended = self.host.netloom(&["deploy", "-t", &self.file(shape)?])?;
            ensure!(ended.code == Some(0) && ended.text.contains("nothing to change"), "second deploy: {}", ended.text);
            let done = self.host.netloom(&["exec", "--name", "x", "--node", ONCE, "--", "cat", "/done"])?;
            let times = done.text.lines().filter(|line| *line == "done").count();
            // Once; where the agent died before it had noted so, perhaps once more. A node that was killed runs it again.
            // Nor could an agent note it whose disk was full.
            let again = matches!(self.case.event, Event::Node { .. }) || self.case.fault == Some(Fault::DiskFull);
            let most = 1 + doubt + usize::from(again);
            ensure!((1..=most).contains(&times), "the command of {ONCE} was run {times} times: {}", done.text);
            if self.case.scenario.has_network() {
                self.is_managed()?;
            }
        }
        for lab in self.host.labs()? {
            for node in &lab.nodes {
                if let Some(before) = self.pids.get(&format!("{}/{}", lab.name, node.name))
                    && *before != node.pid
                {
                    bail!("node {} of lab {} was started again", node.name, lab.name);
                }
            }
        }
        Ok(())
    }

    /// That nodes reach each other over the management network, with the addresses that they had.
    fn is_managed(&self) -> Result<()> {
        if !self.addresses.is_empty() {
            let addresses = self.management_addresses()?;
            ensure!(addresses == self.addresses, "nodes have {addresses:?} now and had {:?}", self.addresses);
        }
        for node in [ONCE, TURNED] {
            let node = format!("x/{node}");
            let reached = self.host.netloom(&["exec", &node, "--", "ping", "-c", "1", "-W", "5", MGMT_PUBLISHED])?;
            ensure!(reached.code == Some(0), "{node} does not reach {MGMT_PUBLISHED}: {}", reached.text);
        }
        Ok(())
    }

    /// What the nodes of lab `x` have on the management network.
    pub(super) fn management_addresses(&self) -> Result<BTreeMap<String, String>> {
        let labs = self.host.labs()?;
        let nodes = labs.iter().filter(|lab| lab.name.as_str() == "x").flat_map(|lab| &lab.nodes);
        Ok(nodes
            .filter_map(|node| {
                let on = node.management.as_ref()?;
                Some((node.name.to_string(), format!("{:?} {:?}", on.ipv4, on.ipv6)))
            })
            .collect())
    }
}
