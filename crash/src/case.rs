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
    /// A running lab is destroyed.
    Destroy,
    /// An agent starts after a crash that came just when a deploy was stored.
    Recover,
    /// An agent starts after a crash that came just when the links were made, but not complete.
    Mend,
    /// An agent starts after a crash that came just when a destroy was stored.
    Undo,
    /// The agent is asked to stop.
    Stop,
}

impl Scenario {
    pub(crate) const ALL: [Self; 8] =
        [Self::Deploy, Self::Change, Self::Link, Self::Destroy, Self::Recover, Self::Mend, Self::Undo, Self::Stop];

    /// The point at which the agent dies before the scenario begins, where it begins with a crash.
    pub(crate) fn first_crash(self) -> Option<&'static str> {
        match self {
            Self::Recover => Some("operation.stored"),
            Self::Mend => Some("link.created"),
            Self::Undo => Some("operation.destroy.stored"),
            Self::Deploy | Self::Change | Self::Link | Self::Destroy | Self::Stop => None,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Deploy => "deploy",
            Self::Change => "change",
            Self::Link => "link",
            Self::Destroy => "destroy",
            Self::Recover => "recover",
            Self::Mend => "mend",
            Self::Undo => "undo",
            Self::Stop => "stop",
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
    /// The agent's binary is replaced, and the agent started again.
    Upgrade,
}

/// A scenario and what happens in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) event: Event,
    pub(crate) seed: u64,
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
