//! What is done when the crash comes, and to which lab.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    /// The lab is deployed on a host that has had no agent yet; the command starts one.
    Deploy,
    /// It runs, and is deployed in another shape.
    Change,
    /// A cable of it is cut while it runs.
    Link,
    /// A node of it is started again; the links of a container follow it into its new namespace.
    Restart,
    /// A node of it is stopped.
    Halt,
    /// A node that was stopped is started.
    Wake,
    /// It is destroyed; one of namespaces with somebody else's process in the group of one of its nodes.
    Destroy,
    /// It runs, and is taken back by an agent that has lost its store.
    Adopt,
    /// An agent starts after somebody has unpinned the namespace of a node.
    Repin,
    /// An agent starts after a crash that came just when a deploy was stored.
    Recover,
    /// An agent starts after a crash that came when all nodes were made, none ran, and links were made but not complete.
    Mend,
    /// An agent starts after somebody has deleted the bridge of the management network.
    Rebridge,
    /// An agent starts after a crash that came just when a destroy was stored.
    Undo,
    /// The agent is asked to stop.
    Stop,
    /// A controller has an interface of the host set up.
    Provision,
    /// It wants nothing of that any more.
    Release,
    /// It has an interface set up so that the host would not be reached any more.
    Cut,
    /// An agent starts after somebody has taken away what is wanted of an interface.
    Replug,
    /// An agent starts whose configuration names another interface than before.
    Reconfigure,
}

/// What the lab is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Namespaces,
    /// A few containers without a management network.
    Containers,
    /// The same and more of them: twenty.
    Many,
    /// Containers on a management network.
    Managed,
    /// Namespaces on Open vSwitch, beside a bridge of it that is a node.
    Switched,
    /// Containers with what is around them: one that something else made, a tunnel, and a command that waits for its links.
    Around,
    /// Containers, cables and a tunnel on Open vSwitch that another agent has left.
    Inherited,
    /// No lab: an interface that is the host's own.
    Host,
}

/// What is done to which lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) act: Act,
    pub(crate) kind: Kind,
}

pub(crate) const DEPLOY: Scenario = of(Act::Deploy, Kind::Namespaces);
pub(crate) const CHANGE: Scenario = of(Act::Change, Kind::Namespaces);
pub(crate) const LINK: Scenario = of(Act::Link, Kind::Namespaces);
pub(crate) const RESTART: Scenario = of(Act::Restart, Kind::Namespaces);
pub(crate) const HALT: Scenario = of(Act::Halt, Kind::Namespaces);
pub(crate) const WAKE: Scenario = of(Act::Wake, Kind::Namespaces);
pub(crate) const DESTROY: Scenario = of(Act::Destroy, Kind::Namespaces);
pub(crate) const ADOPT: Scenario = of(Act::Adopt, Kind::Namespaces);
pub(crate) const REPIN: Scenario = of(Act::Repin, Kind::Namespaces);
pub(crate) const RECOVER: Scenario = of(Act::Recover, Kind::Namespaces);
pub(crate) const MEND: Scenario = of(Act::Mend, Kind::Namespaces);
pub(crate) const UNDO: Scenario = of(Act::Undo, Kind::Namespaces);
pub(crate) const STOP: Scenario = of(Act::Stop, Kind::Namespaces);
pub(crate) const DOCKER_DEPLOY: Scenario = of(Act::Deploy, Kind::Containers);
pub(crate) const DOCKER_CHANGE: Scenario = of(Act::Change, Kind::Containers);
pub(crate) const DOCKER_RESTART: Scenario = of(Act::Restart, Kind::Containers);
pub(crate) const DOCKER_DESTROY: Scenario = of(Act::Destroy, Kind::Containers);
pub(crate) const MANY_DEPLOY: Scenario = of(Act::Deploy, Kind::Many);
pub(crate) const MANY_CHANGE: Scenario = of(Act::Change, Kind::Many);
pub(crate) const MANY_DESTROY: Scenario = of(Act::Destroy, Kind::Many);
pub(crate) const MGMT_DEPLOY: Scenario = of(Act::Deploy, Kind::Managed);
pub(crate) const MGMT_REBRIDGE: Scenario = of(Act::Rebridge, Kind::Managed);
pub(crate) const MGMT_DESTROY: Scenario = of(Act::Destroy, Kind::Managed);
pub(crate) const AROUND_DEPLOY: Scenario = of(Act::Deploy, Kind::Around);
pub(crate) const AROUND_DESTROY: Scenario = of(Act::Destroy, Kind::Around);
pub(crate) const OVS_DEPLOY: Scenario = of(Act::Deploy, Kind::Switched);
pub(crate) const OVS_CHANGE: Scenario = of(Act::Change, Kind::Switched);
pub(crate) const OVS_DESTROY: Scenario = of(Act::Destroy, Kind::Switched);
pub(crate) const INHERITED_ADOPT: Scenario = of(Act::Adopt, Kind::Inherited);
pub(crate) const INHERITED_DESTROY: Scenario = of(Act::Destroy, Kind::Inherited);
pub(crate) const HOST_PROVISION: Scenario = of(Act::Provision, Kind::Host);
pub(crate) const HOST_RELEASE: Scenario = of(Act::Release, Kind::Host);
pub(crate) const HOST_CUT: Scenario = of(Act::Cut, Kind::Host);
pub(crate) const HOST_REPLUG: Scenario = of(Act::Replug, Kind::Host);
pub(crate) const HOST_RECONFIGURE: Scenario = of(Act::Reconfigure, Kind::Host);

const fn of(act: Act, kind: Kind) -> Scenario {
    Scenario { act, kind }
}

impl Scenario {
    pub(crate) const ALL: [Self; 35] = [
        DEPLOY,
        CHANGE,
        LINK,
        RESTART,
        HALT,
        WAKE,
        DESTROY,
        ADOPT,
        REPIN,
        RECOVER,
        MEND,
        UNDO,
        STOP,
        DOCKER_DEPLOY,
        DOCKER_CHANGE,
        DOCKER_RESTART,
        DOCKER_DESTROY,
        MANY_DEPLOY,
        MANY_CHANGE,
        MANY_DESTROY,
        MGMT_DEPLOY,
        MGMT_REBRIDGE,
        MGMT_DESTROY,
        AROUND_DEPLOY,
        AROUND_DESTROY,
        OVS_DEPLOY,
        OVS_CHANGE,
        OVS_DESTROY,
        INHERITED_ADOPT,
        INHERITED_DESTROY,
        HOST_PROVISION,
        HOST_RELEASE,
        HOST_CUT,
        HOST_REPLUG,
        HOST_RECONFIGURE,
    ];

    /// The point at which the agent dies before the scenario begins, where it begins with a crash.
    pub(crate) fn first_crash(self) -> Option<&'static str> {
        match self.act {
            Act::Recover => Some("operation.stored"),
            Act::Mend => Some("link.created"),
            Act::Undo => Some("operation.destroy.stored"),
            Act::Deploy
            | Act::Change
            | Act::Link
            | Act::Restart
            | Act::Halt
            | Act::Wake
            | Act::Destroy
            | Act::Adopt
            | Act::Repin
            | Act::Rebridge
            | Act::Stop
            | Act::Provision
            | Act::Release
            | Act::Cut
            | Act::Replug
            | Act::Reconfigure => None,
        }
    }

    /// The same with a lab of a few containers instead of many, which leads to no other points.
    pub(crate) fn with_few(self) -> Self {
        let kind = if self.kind == Kind::Many { Kind::Containers } else { self.kind };
        Self { kind, ..self }
    }

    /// Whether lab `x` is one of containers, and the host has a daemon for them.
    pub(crate) fn has_docker(self) -> bool {
        matches!(self.kind, Kind::Containers | Kind::Many | Kind::Managed | Kind::Around | Kind::Inherited)
    }

    /// Whether lab `x` is on Open vSwitch, and the host has one.
    pub(crate) fn has_switch(self) -> bool {
        matches!(self.kind, Kind::Switched | Kind::Inherited)
    }

    /// Whether lab `x` is on a management network.
    pub(crate) fn has_network(self) -> bool {
        self.kind == Kind::Managed
    }

    /// Whether it begins on a host that has had no agent yet.
    pub(crate) fn is_first(self) -> bool {
        self.act == Act::Deploy
    }

    /// Whether it is the start of an agent, which is at work when the command has ended.
    pub(crate) fn is_start(self) -> bool {
        matches!(
            self.act,
            Act::Repin | Act::Recover | Act::Mend | Act::Undo | Act::Rebridge | Act::Replug | Act::Reconfigure
        )
    }

    /// Whether it starts or ends processes of nodes, so that the death of one in the middle of it is of interest.
    pub(crate) fn turns_nodes(self) -> bool {
        let turns = matches!(self.act, Act::Deploy | Act::Change | Act::Restart | Act::Halt | Act::Wake | Act::Recover);
        turns && self.kind == Kind::Namespaces
    }

    /// How many times longer all of it may take than where it is not Docker's work.
    pub(crate) fn slowness(self) -> u32 {
        match self.kind {
            Kind::Namespaces | Kind::Host => 1,
            Kind::Switched => 2,
            Kind::Containers | Kind::Managed | Kind::Around | Kind::Inherited => 3,
            Kind::Many => 6,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Namespaces => "",
            Kind::Containers => "docker-",
            Kind::Many => "docker-many-",
            Kind::Managed => "docker-mgmt-",
            Kind::Around => "docker-around-",
            Kind::Switched => "ovs-",
            Kind::Inherited => "inherited-",
            Kind::Host => "host-",
        };
        let act = match self.act {
            Act::Deploy => "deploy",
            Act::Change => "change",
            Act::Link => "link",
            Act::Restart => "restart",
            Act::Halt => "halt",
            Act::Wake => "wake",
            Act::Destroy => "destroy",
            Act::Adopt => "adopt",
            Act::Repin => "repin",
            Act::Recover => "recover",
            Act::Mend => "mend",
            Act::Rebridge => "rebridge",
            Act::Undo => "undo",
            Act::Stop => "stop",
            Act::Provision => "provision",
            Act::Release => "release",
            Act::Cut => "cut",
            Act::Replug => "replug",
            Act::Reconfigure => "reconfigure",
        };
        f.pad(&format!("{kind}{act}"))
    }
}
