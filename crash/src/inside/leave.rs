//! The end of a case: all labs go, and the host has to be as it was.

use anyhow::{Result, ensure};

use super::{PATIENCE, Run};
use crate::controller;
use crate::host::until;
use crate::ledger::Entry;
use crate::scenario::{Act, Kind};
use crate::switch;
use crate::traces::Traces;
use crate::uplink;
use crate::wanted::Uplink;

impl Run<'_> {
    /// What goes only if it is asked for by its name, or by whoever decides about it.
    fn let_go(&self) -> Result<()> {
        let host = self.host;
        match (self.case.scenario.act, self.case.scenario.kind) {
            (Act::Adopt, Kind::Inherited) => {
                ensure!(host.ask(&controller::destroy())?.wait()?.success(), "destroy: {}", host.said());
            }
            (_, Kind::Inherited) => {
                // It is gone, unless the agent died before it had taken that down.
                host.ask(&controller::destroy())?.wait()?;
            }
            (Act::Adopt, _) => {
                // What the agent does not know it destroys only by name; the other one is known.
                host.netloom(&["destroy", "--name", "x"])?;
            }
            (Act::Provision | Act::Release | Act::Replug, _) => {
                // What nobody wants any more is refused.
                host.ask(&uplink::release())?.wait()?;
            }
            (Act::Reconfigure, _) => {
                // An agent whose configuration says nothing takes away what it said.
                host.netloom(&["agent", "stop"])?;
                host.configure(None);
                host.netloom(&["agent", "--background"])?;
                uplink::until_so(PATIENCE, Uplink::Released)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything goes, and the host is as it was.
    pub(super) fn clean_up(&mut self, entry: &mut Entry) -> Result<()> {
        self.let_go()?;
        let ended = self.host.netloom(&["destroy", "--all", "--yes"])?;
        if ended.code != Some(0) {
            entry.problems.push(format!("destroy: {}", ended.text));
        }
        let ended = self.host.netloom(&["agent", "stop"])?;
        ensure!(ended.code == Some(0), "agent stop: {}", ended.text);
        if let Some(mut stranger) = self.stranger.take() {
            ensure!(stranger.try_wait()?.is_none(), "somebody else's process was ended with a node");
            stranger.kill()?;
            stranger.wait()?;
        }
        if self.case.scenario.kind == Kind::Around {
            self.host.bare()?;
        }
        if let Some(switch) = self.host.switch() {
            entry.leftovers.extend(switch::left(switch));
            switch::clear(switch);
        }
        // What the daemon has for a container ends some time after it, and so do interfaces of the switch.
        let mut traces = Vec::new();
        until(PATIENCE, || {
            traces = Traces::look(&self.host.layout)?.since(&self.clean);
            let lasts = self.case.scenario.has_docker() || self.case.scenario.has_switch();
            Ok(traces.is_empty() || !lasts)
        })?;
        entry.leftovers.extend(traces);
        entry.leftovers.extend(self.host.containers()?.into_iter().map(|name| format!("container {name}")));
        let own = ["bridge", "host", "none"];
        let networks = self.host.networks()?.into_iter().filter(|name| !own.contains(&name.as_str()));
        entry.leftovers.extend(networks.map(|name| format!("network {name}")));
        entry.leftovers.extend(self.host.volumes()?.into_iter().map(|name| format!("volume {name}")));
        entry.leftovers.extend(self.host.keys()?.into_iter().map(|key| format!("store {key}")));
        Ok(())
    }
}
