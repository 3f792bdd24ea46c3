//! What a case is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is done when the crash comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// A lab is deployed on a host that has had no agent yet; the command starts one.
    Deploy,
    /// A running lab is deployed in another shape.
    Change,
    /// A cable of a running lab is cut.
    Link,
    /// A node of a running lab is started again.
    Restart,
    /// A node of a running lab is stopped.
    Halt,
    /// A node that was stopped is started.
    Wake,
    /// A running lab is destroyed, with somebody else's process in the group of one of its nodes.
    Destroy,
    /// A lab that runs is taken back by an agent that has lost its store.
    Adopt,
    /// An agent starts after somebody has unpinned the namespace of a node.
    Repin,
    /// An agent starts after a crash that came just when a deploy was stored.
    Recover,
    /// An agent starts after a crash that came when all nodes were made, none ran, and links were made but not complete.
    Mend,
    /// An agent starts after a crash that came just when a destroy was stored.
    Undo,
    /// The agent is asked to stop.
    Stop,
    /// A lab of containers is deployed on a host that has had no agent yet.
    DockerDeploy,
    /// A running lab of containers is deployed in another shape.
    DockerChange,
    /// A container is started again, and its links follow it into its new namespace.
    DockerRestart,
    /// A running lab of containers is destroyed.
    DockerDestroy,
    /// A lab of containers on a management network is deployed on a host that has had no agent yet.
    MgmtDeploy,
    /// An agent starts after somebody has deleted the bridge of the management network.
    MgmtMend,
    /// A running lab of containers is destroyed, the last one on the management network.
    MgmtDestroy,
}

impl Scenario {
    pub(crate) const ALL: [Self; 20] = [
        Self::Deploy,
        Self::Change,
        Self::Link,
        Self::Restart,
        Self::Halt,
        Self::Wake,
        Self::Destroy,
        Self::Adopt,
        Self::Repin,
        Self::Recover,
        Self::Mend,
        Self::Undo,
        Self::Stop,
        Self::DockerDeploy,
        Self::DockerChange,
        Self::DockerRestart,
        Self::DockerDestroy,
        Self::MgmtDeploy,
        Self::MgmtMend,
        Self::MgmtDestroy,
    ];

    /// The point at which the agent dies before the scenario begins, where it begins with a crash.
    pub(crate) fn first_crash(self) -> Option<&'static str> {
        match self {
            Self::Recover => Some("operation.stored"),
            Self::Mend => Some("link.created"),
            Self::Undo => Some("operation.destroy.stored"),
            Self::Deploy
            | Self::Change
            | Self::Link
            | Self::Restart
            | Self::Halt
            | Self::Wake
            | Self::Destroy
            | Self::Adopt
            | Self::Repin
            | Self::Stop
            | Self::DockerDeploy
            | Self::DockerChange
            | Self::DockerRestart
            | Self::DockerDestroy
            | Self::MgmtDeploy
            | Self::MgmtMend
            | Self::MgmtDestroy => None,
        }
    }

    /// Whether lab `x` is one of containers, and the host has a daemon for them.
    pub(crate) fn has_docker(self) -> bool {
        let alone = matches!(self, Self::DockerDeploy | Self::DockerChange | Self::DockerRestart | Self::DockerDestroy);
        alone || self.has_network()
    }

    /// Whether lab `x` is on a management network.
    pub(crate) fn has_network(self) -> bool {
        matches!(self, Self::MgmtDeploy | Self::MgmtMend | Self::MgmtDestroy)
    }

    /// Whether it begins on a host that has had no agent yet.
    pub(crate) fn is_first(self) -> bool {
        matches!(self, Self::Deploy | Self::DockerDeploy | Self::MgmtDeploy)
    }

    /// Whether it is the start of an agent, which is at work when the command has ended.
    pub(crate) fn is_start(self) -> bool {
        matches!(self, Self::Repin | Self::Recover | Self::Mend | Self::Undo | Self::MgmtMend)
    }

    /// Whether it starts or ends processes of nodes, so that the death of one in the middle of it is of interest.
    pub(crate) fn turns_nodes(self) -> bool {
        matches!(self, Self::Deploy | Self::Change | Self::Restart | Self::Halt | Self::Wake | Self::Recover)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Deploy => "deploy",
            Self::Change => "change",
            Self::Link => "link",
            Self::Restart => "restart",
            Self::Halt => "halt",
            Self::Wake => "wake",
            Self::Destroy => "destroy",
            Self::Adopt => "adopt",
            Self::Repin => "repin",
            Self::Recover => "recover",
            Self::Mend => "mend",
            Self::Undo => "undo",
            Self::Stop => "stop",
            Self::DockerDeploy => "docker-deploy",
            Self::DockerChange => "docker-change",
            Self::DockerRestart => "docker-restart",
            Self::DockerDestroy => "docker-destroy",
            Self::MgmtDeploy => "docker-mgmt-deploy",
            Self::MgmtMend => "docker-mgmt-mend",
            Self::MgmtDestroy => "docker-mgmt-destroy",
        };
        f.pad(text)
    }
}

/// What happens in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Event {
    /// Nothing: which points are passed is noted.
    Nothing,
    /// The agent dies at this passage of a point.
    Point { name: String, passage: usize },
    /// The agent is killed after this time, in microseconds since the command began.
    Moment { after: u64 },
    /// The init of a node is killed after this time; the agent lives.
    Node { after: u64 },
    /// The agent's binary is replaced while it runs; then it is stopped, and the new one started.
    Upgrade,
}

/// A scenario and what happens in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) event: Event,
    pub(crate) seed: u64,
}

impl Case {
    /// The case of a name as [`Display`](fmt::Display) writes it; `None` if it is only the beginning of one, or of none.
    pub(crate) fn named(name: &str, seed: u64) -> Option<Self> {
        let (scenario, event) = name.split_once('/')?;
        let scenario = Scenario::ALL.into_iter().find(|known| known.to_string() == scenario)?;
        let event = match event.split_once(':') {
            None if event == "nothing" => Event::Nothing,
            None if event == "upgrade" => Event::Upgrade,
            None => return None,
            Some(("moment", after)) => Event::Moment { after: after.strip_suffix("us")?.parse().ok()? },
            Some(("node", after)) => Event::Node { after: after.strip_suffix("us")?.parse().ok()? },
            Some((name, passage)) => Event::Point { name: name.to_owned(), passage: passage.parse().ok()? },
        };
        Some(Self { scenario, event, seed })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.scenario)?;
        match &self.event {
            Event::Nothing => f.write_str("nothing"),
            Event::Point { name, passage } => write!(f, "{name}:{passage}"),
            Event::Moment { after } => write!(f, "moment:{after}us"),
            Event::Node { after } => write!(f, "node:{after}us"),
            Event::Upgrade => f.write_str("upgrade"),
        }
    }
}

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one, below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}
