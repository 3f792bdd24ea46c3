//! The command of a case, and what happens in the middle of it.

use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netloom_kernel::{Process, Signal};

use super::{CONVERGES, DIES, PATIENCE, Run};
use crate::case::{Event, Random};
use crate::controller;
use crate::host::{Host, Orders, pause, until};
use crate::ledger::Entry;
use crate::scenario::{Act, Kind};
use crate::topology::{CUT, TURNED};
use crate::uplink;
use crate::wanted::Shape;

impl Run<'_> {
    /// The command, and what happens in the middle of it. Whether it came to the kill.
    pub(super) fn disturb(&mut self, orders: &Orders, entry: &mut Entry) -> Result<bool> {
        let act = self.case.scenario.act;
        let shape = if act == Act::Change { Shape::After } else { Shape::Before };
        let file = self.file(shape)?;
        let node = format!("x/{TURNED}");
        if self.case.event == Event::Upgrade {
            self.host.replace_binary()?;
        }
        let arguments: &[&str] = match act {
            Act::Deploy | Act::Change => &["deploy", "-t", &file],
            Act::Link => &["link", "down", "x", CUT],
            Act::Restart => &["node", "restart", &node],
            Act::Halt => &["node", "stop", &node],
            Act::Wake => &["node", "start", &node],
            Act::Destroy => &["destroy", "--name", "x"],
            Act::Adopt => &["adopt", "x"],
            Act::Repin | Act::Recover | Act::Mend | Act::Rebridge | Act::Undo | Act::Replug | Act::Reconfigure => {
                &["agent", "--background"]
            }
            Act::Stop => &["agent", "stop"],
            Act::Provision | Act::Release | Act::Cut => &[],
        };
        let mut command = match act {
            Act::Provision => self.host.ask(&uplink::provision())?,
            Act::Release => self.host.ask(&uplink::release())?,
            Act::Cut => self.host.ask(&uplink::cut())?,
            Act::Destroy if self.case.scenario.kind == Kind::Inherited => self.host.ask(&controller::destroy())?,
            _ => self.host.start(orders, arguments)?,
        };
        match self.case.event {
            Event::Point { .. } if self.case.fault.is_some() => return self.kill_agent_at(orders, command),
            Event::Nothing | Event::Point { .. } | Event::Upgrade => {}
            Event::Moment { after } => return self.kill_agent_after(Duration::from_micros(after), command),
            Event::Node { after } => return self.kill_node_after(Duration::from_micros(after), command),
        }
        let ended = command.wait()?;
        let kills = matches!(self.case.event, Event::Point { .. });
        if kills && self.dies(orders)? {
            return Ok(true);
        }
        // One that would cut the host off is refused.
        if ended.success() == (act == Act::Cut) && !kills {
            entry.problems.push(format!("the command came to {ended}: {}", self.host.said()));
        }
        if self.case.scenario.is_start() && !kills {
            // What the agent does after its start belongs to the scenario.
            let wanted = self.wanted(&[])?;
            until(CONVERGES, || Ok(self.differs(wanted)?.is_empty()))?;
        }
        Ok(false)
    }

    /// The init of a node of lab `x` dies, whichever it is.
    fn kill_node_after(&mut self, time: Duration, mut command: Child) -> Result<bool> {
        pause(time);
        let mut random = Random::new(self.case.seed);
        let (mut killed, mut ended) = (false, false);
        until(DIES, || {
            let untouched: Vec<u32> = self.pids.values().flatten().copied().collect();
            let inits: Vec<u32> = Host::inits().into_iter().filter(|pid| !untouched.contains(pid)).collect();
            let at = usize::try_from(random.below(inits.len() as u64))?;
            if let Some(victim) = inits.get(at)
                && let Some(victim) = Process::open(*victim)?
            {
                victim.signal(Signal::KILL)?;
                self.victim = Some(victim.identity().pid);
                killed = true;
            }
            // No node runs yet, or none any more: one look after the end of all that is to be disturbed.
            let enough = killed || ended;
            ended = command.try_wait()?.is_some() && !self.case.scenario.is_start();
            Ok(enough)
        })?;
        command.wait()?;
        Ok(killed)
    }

    /// Waits for an agent to die by these orders.
    pub(super) fn dies(&self, orders: &Orders) -> Result<bool> {
        if !until(DIES, || Ok(orders.killed_by().is_some()))? {
            return Ok(false);
        }
        ensure!(self.host.all_gone()?, "what the point has killed does not end");
        Ok(true)
    }

    /// The agent is killed, as soon as there is one. Whether it was.
    fn kill_agent_after(&mut self, time: Duration, mut command: Child) -> Result<bool> {
        pause(time);
        let mut killed = false;
        // Before there is an agent there is nothing to kill, and after its end neither.
        until(DIES, || {
            if Host::agent()?.is_some() {
                self.begin_fault()?;
                killed = Host::kill_agent()?;
            }
            Ok(killed || command.try_wait()?.is_some())
        })?;
        self.bury(command)?;
        Ok(killed)
    }

    /// The agent is killed while a thread of it waits at a point, with something wrong with the host from that moment on.
    /// Whether it came to that.
    fn kill_agent_at(&mut self, orders: &Orders, mut command: Child) -> Result<bool> {
        let mut ended: Option<Instant> = None;
        let reached = || orders.killed_by().is_some();
        until(PATIENCE * self.case.scenario.slowness(), || {
            if command.try_wait()?.is_some() {
                ended.get_or_insert_with(Instant::now);
            }
            Ok(reached() || ended.is_some_and(|ended| ended.elapsed() > DIES))
        })?;
        let reached = reached();
        let killed = reached && {
            self.begin_fault()?;
            Host::kill_agent()?
        };
        self.bury(command)?;
        Ok(killed)
    }

    /// Returns when nothing is left of an agent that was killed and of the command that spoke to it.
    fn bury(&mut self, mut command: Child) -> Result<()> {
        command.wait()?;
        ensure!(Host::agent()?.is_some() || self.host.all_gone()?, "what was killed does not end");
        if self.case.fault.is_some() {
            self.runs = self.running()?;
        }
        Ok(())
    }
}
