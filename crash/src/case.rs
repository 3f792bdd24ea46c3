//! What a case is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;

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

/// What is wrong with the host when the agent is killed, and still is when it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// The daemon of containers hangs: it takes connections and does not answer.
    DockerHangs,
    /// Everything it says comes three seconds late.
    DockerLate,
    /// There is no room on the disk of the agent's state, not for an empty file.
    DiskFull,
}

impl Fault {
    const ALL: [Self; 3] = [Self::DockerHangs, Self::DockerLate, Self::DiskFull];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DockerHangs => "docker-hangs",
            Self::DockerLate => "docker-late",
            Self::DiskFull => "disk-full",
        })
    }
}

/// A scenario, what happens in it, and what is wrong meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) event: Event,
    /// Only with a kill of the agent.
    pub(crate) fault: Option<Fault>,
    pub(crate) seed: u64,
}

impl Case {
    /// One without a fault.
    pub(crate) fn new(scenario: Scenario, event: Event, seed: u64) -> Self {
        Self { scenario, event, fault: None, seed }
    }

    /// The same with one.
    pub(crate) fn with(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// The case of a name as [`Display`](fmt::Display) writes it; `None` if it is only the beginning of one, or of none.
    pub(crate) fn named(name: &str, seed: u64) -> Option<Self> {
        let (scenario, event) = name.split_once('/')?;
        let scenario = Scenario::ALL.into_iter().find(|known| known.to_string() == scenario)?;
        let (fault, event) = match event.split_once('+') {
            Some((fault, event)) => (Some(Fault::ALL.into_iter().find(|known| known.to_string() == fault)?), event),
            None => (None, event),
        };
        let event = match event.split_once(':') {
            None if event == "nothing" => Event::Nothing,
            None if event == "upgrade" => Event::Upgrade,
            None => return None,
            Some(("moment", after)) => Event::Moment { after: after.strip_suffix("us")?.parse().ok()? },
            Some(("node", after)) => Event::Node { after: after.strip_suffix("us")?.parse().ok()? },
            Some((name, passage)) => Event::Point { name: name.to_owned(), passage: passage.parse().ok()? },
        };
        Some(Self { scenario, event, fault, seed })
    }
}

impl Case {
    /// How many times longer all of it may take than where no daemon has a part in it.
    pub(crate) fn slowness(&self) -> u32 {
        let late = if self.fault == Some(Fault::DockerLate) { 2 } else { 1 };
        self.scenario.slowness() * late
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.scenario)?;
        if let Some(fault) = self.fault {
            write!(f, "{fault}+")?;
        }
        match &self.event {
            Event::Nothing => f.write_str("nothing"),
            Event::Point { name, passage } => write!(f, "{name}:{passage}"),
            Event::Moment { after } => write!(f, "moment:{after}us"),
            Event::Node { after } => write!(f, "node:{after}us"),
            Event::Upgrade => f.write_str("upgrade"),
        }
    }
}

impl Event {
    pub(crate) fn point(name: &str, passage: usize) -> Self {
        Self::Point { name: name.to_owned(), passage }
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
