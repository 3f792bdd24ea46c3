//! The phases, in their order. Those of a daemon or a disk have others between them, in which they recover.

use std::time::Duration;

use netloom_fault_kit::{Habit, Manner};

use super::fault::Fault;
use super::load::Load;

/// A load and a fault that last for so many probes.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(super) name: &'static str,
    pub(super) load: Load,
    pub(super) fault: Fault,
    /// The work done in it is what the work in others is compared with.
    pub(super) is_reference: bool,
    /// Whether it is left out where phases are short, unless it is asked for.
    pub(super) is_rare: bool,
}

const fn phase(name: &'static str, load: Load, fault: Fault) -> Phase {
    Phase { name, load, fault, is_reference: false, is_rare: false }
}

/// One that shows what others show too, in another way.
const fn rare(name: &'static str, load: Load, fault: Fault) -> Phase {
    Phase { is_rare: true, ..phase(name, load, fault) }
}

const HALF: Duration = Duration::from_millis(500);

pub(super) const PHASES: &[Phase] = &[
    phase("idle", Load::Nothing, Fault::None),
    Phase { is_reference: true, ..phase("work", Load::Work, Fault::None) },
    phase("docker-late-0.5s", Load::Docker, Fault::Docker(Manner::Late(HALF))),
    phase("pollers", Load::Pollers, Fault::None),
    phase("docker-late-3s", Load::Docker, Fault::Docker(Manner::Late(Duration::from_secs(3)))),
    phase("sessions", Load::Sessions, Fault::None),
    phase("docker-hung", Load::Docker, Fault::Docker(Manner::Hung)),
    phase("labs", Load::Labs, Fault::None),
    phase("docker-500", Load::Docker, Fault::Docker(Manner::Failing)),
    phase("silent-clients", Load::Work, Fault::Clients(10_000, Habit::Silent)),
    phase("docker-cut", Load::Docker, Fault::Docker(Manner::Cut)),
    phase("slow-clients", Load::Work, Fault::Clients(500, Habit::Slow)),
    phase("docker-corrupt", Load::Docker, Fault::Docker(Manner::Corrupt)),
    phase("starved", Load::Work, Fault::Starved),
    phase("docker-frozen", Load::Docker, Fault::DockerFrozen),
    phase("rtnl-busy", Load::Work, Fault::Rtnl),
    phase("docker-killed", Load::Docker, Fault::DockerKilled),
    phase("memory", Load::Pollers, Fault::Memory),
    rare("ovs-late-0.5s", Load::Switch, Fault::Ovs(Manner::Late(HALF))),
    phase("ovs-hung", Load::Switch, Fault::Ovs(Manner::Hung)),
    rare("ovs-cut", Load::Switch, Fault::Ovs(Manner::Cut)),
    rare("ovs-frozen", Load::Switch, Fault::OvsFrozen),
    phase("ovs-killed", Load::Switch, Fault::OvsKilled),
    phase("disk-full", Load::Work, Fault::DiskFull),
    phase("descriptors", Load::Work, Fault::Descriptors),
    phase("disk-frozen", Load::Work, Fault::DiskFrozen),
    phase("log-unread", Load::Labs, Fault::LogUnread),
    phase("agent-stopped", Load::Nothing, Fault::AgentStopped),
    phase("agent-killed", Load::Nothing, Fault::AgentStarted(Manner::Faithful)),
    phase("started-docker-hung", Load::Nothing, Fault::AgentStarted(Manner::Hung)),
    phase("workers-blocked", Load::Nothing, Fault::WorkersBlocked),
];
