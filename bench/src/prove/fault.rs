//! What is done to the agent, or to what it needs, in a phase.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use netloom_fault_kit::{Clients, Descriptors, Habit, LinkStorm, Manner, Memory, Starved};
use netloom_ovs_fixture::Daemon;
use serde_json::json;

use super::world::World;
use crate::canary;

/// Where the agent listens.
const AGENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8001);
/// Busy processes for each processor.
const BUSY: usize = 4;
/// Processes that make and delete links.
const STORMS: usize = 3;
/// Memory that the agent has beside what it has.
const SPARE: u64 = 32 << 20;
/// Descriptors that it may still open.
const FEW: u64 = 4;

/// Bytes of a label that the state has no room for.
const LARGE: usize = 3 << 20;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Docker, as the proxy in front of it has it.
    Docker(Manner),
    /// dockerd is stopped.
    DockerFrozen,
    /// dockerd is killed, and started again at the end.
    DockerKilled,
    /// The database of Open vSwitch, as the proxy in front of it has it.
    Ovs(Manner),
    /// ovsdb-server is stopped.
    OvsFrozen,
    /// ovsdb-server is killed, and started again at the end.
    OvsKilled,
    /// So many clients.
    Clients(usize, Habit),
    Starved,
    Rtnl,
    Memory,
    Descriptors,
    DiskFull,
    DiskFrozen,
    /// The agent's log goes into a pipe that nobody reads.
    LogUnread,
    AgentStopped,
    /// The agent is killed, and started again while Docker is so.
    AgentStarted(Manner),
    WorkersBlocked,
}

impl Fault {
    /// The capability that may suffer: it may say so once, and once that it is well again.
    pub(super) fn disturbs(self) -> Option<&'static str> {
        match self {
            Self::Docker(_) | Self::DockerFrozen | Self::DockerKilled => Some("docker"),
            Self::Ovs(_) | Self::OvsFrozen | Self::OvsKilled => Some("ovs"),
            Self::DiskFull | Self::DiskFrozen => Some("store"),
            _ => None,
        }
    }

    /// Whether it is the fault of a daemon: all that does not need that goes on as usual.
    pub(super) fn is_of_a_daemon(self) -> bool {
        matches!(self.disturbs(), Some("docker" | "ovs"))
    }

    /// Whether work that needs this is not expected to succeed meanwhile.
    pub(super) fn stops_work(self) -> bool {
        matches!(self, Self::DiskFull | Self::DiskFrozen | Self::Descriptors)
    }

    /// Whether the agent itself cannot answer meanwhile.
    pub(super) fn silences(self) -> bool {
        matches!(self, Self::AgentStopped | Self::AgentStarted(_) | Self::WorkersBlocked)
    }

    /// Whether the agent is started anew for it: what is under way before has to be over.
    pub(super) fn restarts(self) -> bool {
        self.silences() || self == Self::LogUnread
    }

    pub(super) fn needs_failpoints(self) -> bool {
        self == Self::WorkersBlocked
    }
}

/// A fault that is there; it ends with the drop of this.
pub(super) trait Lasting {}

impl<T> Lasting for T {}

/// Does at its drop what ends a fault.
struct Undo<F: FnMut()>(F);

impl<F: FnMut()> Drop for Undo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Begins a fault of those under which the agent answers.
pub(super) fn begin<'a>(fault: Fault, world: &'a World) -> Result<Box<dyn Lasting + 'a>> {
    let agent = || -> Result<u32> { Ok(u32::try_from(world.agent.pid()?)?) };
    Ok(match fault {
        Fault::None | Fault::LogUnread | Fault::AgentStopped | Fault::AgentStarted(_) | Fault::WorkersBlocked => {
            Box::new(())
        }
        Fault::Docker(manner) => {
            world.proxy.behave(manner);
            Box::new(Undo(|| world.proxy.behave(Manner::Faithful)))
        }
        Fault::DockerFrozen => {
            world.bare.daemon().freeze();
            Box::new(Undo(|| world.bare.daemon().thaw()))
        }
        Fault::DockerKilled => {
            world.bare.daemon().kill();
            Box::new(Undo(|| world.bare.daemon().start_again()))
        }
        Fault::Ovs(manner) => {
            world.ovs_proxy.behave(manner);
            Box::new(Undo(|| world.ovs_proxy.behave(Manner::Faithful)))
        }
        Fault::OvsFrozen => {
            world.ovs.freeze(Daemon::Database);
            Box::new(Undo(|| world.ovs.thaw(Daemon::Database)))
        }
        Fault::OvsKilled => {
            world.ovs.kill(Daemon::Database);
            Box::new(Undo(|| world.ovs.start_again(Daemon::Database)))
        }
        Fault::Clients(many, habit) => Box::new(Clients::start(AGENT, many, habit)?),
        Fault::Starved => Box::new(Starved::by(BUSY)?),
        Fault::Rtnl => Box::new(LinkStorm::by(STORMS)?),
        Fault::Memory => {
            let resident = crate::idle::resident(world.agent.pid()?)?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a process")]
            let limit = resident as u64 + SPARE;
            Box::new(Memory::limit(agent()?, limit).context("a memory limit")?)
        }
        Fault::Descriptors => Box::new(Descriptors::leave(agent()?, FEW)?),
        Fault::DiskFull => {
            world.disk.fill()?;
            // The file of the state has room of its own, but not for this.
            let large = json!({ "nodes": { "n0": { "labels": { "large": "x".repeat(LARGE) } } } });
            ensure!(world.agent.socket().patch(canary::LAB, &large).is_err(), "the disk is full and takes more");
            Box::new(Undo(|| drop(world.disk.empty())))
        }
        Fault::DiskFrozen => {
            world.disk.freeze()?;
            Box::new(Undo(|| drop(world.disk.thaw())))
        }
    })
}
