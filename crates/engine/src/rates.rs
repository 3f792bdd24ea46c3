//! What flows and what is used: readings of counters, and the rates between two of them. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use netloom_model::{LabName, Link, NodeName};
use netloom_plan::NodeState;
use serde::{Deserialize, Serialize};

use crate::carried::Carried;
use crate::fact::Place;
use crate::view::{EndView, LabView};

/// What one interface has carried since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortCounters {
    /// Where it is.
    pub place: Place,
    /// Its index there.
    pub ifindex: u32,
    /// What came in.
    pub rx: Count,
    /// What went out.
    pub tx: Count,
}

/// What went one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were dropped for want of room, or because they were not wanted.
    pub drops: u64,
    /// Packets with errors.
    pub errors: u64,
}

/// What one node uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUsage {
    /// The node.
    pub node: NodeName,
    /// The time that it had on all cores together since it was made, if that is known.
    pub cpu: Option<Duration>,
    /// Its memory in bytes, if that is known.
    pub memory_bytes: Option<u64>,
}

/// A lab's rates at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// The lab.
    pub lab: LabName,
    /// When it was looked.
    #[serde(with = "crate::time")]
    pub time: SystemTime,
    /// Over which time rates are taken, in seconds; `null` in the first one, which has none.
    pub seconds: Option<f64>,
    /// The nodes by name.
    pub nodes: Vec<NodeRates>,
    /// The links by id.
    pub links: Vec<LinkRates>,
    /// What could not be looked at, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A node's part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRates {
    /// Its name.
    pub name: NodeName,
    /// Its state.
    pub state: NodeState,
    /// Running, with all its links up.
    pub ready: bool,
    /// Hundredths of one core.
    pub cpu_percent: Option<f64>,
    /// Its memory in bytes: as its control group counts it, else what its processes do not share.
    pub memory_bytes: Option<u64>,
}

/// A link's part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkRates {
    /// Its id.
    pub id: String,
    /// `absent`, `down` or `up`.
    pub state: String,
    /// Its one or two ends.
    pub ends: Vec<EndRates>,
}

/// One end's part of it, as that end sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndRates {
    /// `node:interface`.
    pub end: String,
    /// What comes in; `null` when the interface is not there.
    pub rx: Option<Flow>,
    /// What goes out.
    pub tx: Option<Flow>,
}

/// What flows one way: totals, and rates where there is something to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Bits per second.
    pub bits_per_second: Option<f64>,
    /// Packets per second.
    pub packets_per_second: Option<f64>,
    /// Drops per second.
    pub drops_per_second: Option<f64>,
    /// Errors per second.
    pub errors_per_second: Option<f64>,
    /// Bytes until now.
    pub bytes: u64,
    /// Packets until now.
    pub packets: u64,
    /// Drops until now.
    pub drops: u64,
    /// Errors until now.
    pub errors: u64,
}

/// One look at a lab.
#[derive(Debug)]
pub(crate) struct Reading {
    /// When the counters were read.
    pub(crate) at: Instant,
    /// What they said.
    pub(crate) carried: Arc<Carried>,
    /// What each node uses, and when that was read.
    pub(crate) nodes: HashMap<NodeName, (Instant, NodeUsage)>,
    /// What could not be read, if anything.
    pub(crate) trouble: Option<String>,
}

/// Numbers here stay far below 2^52, and where they do not, nobody sees the difference.
#[expect(clippy::cast_precision_loss, reason = "as said above")]
fn float(number: u64) -> f64 {
    number as f64
}

/// What is between two moments, if anything is.
fn seconds(from: Instant, to: Instant) -> Option<f64> {
    Some(to.saturating_duration_since(from).as_secs_f64()).filter(|seconds| *seconds > 0.0)
}

impl Flow {
    fn of(now: Count, before: Option<(Count, f64)>) -> Self {
        // A counter that went back belongs to another interface.
        let rate = |field: fn(&Count) -> u64, unit: f64| {
            let (before, seconds) = before?;
            Some(float(field(&now).checked_sub(field(&before))?) * unit / seconds)
        };
        Self {
            bits_per_second: rate(|count| count.bytes, 8.0),
            packets_per_second: rate(|count| count.packets, 1.0),
            drops_per_second: rate(|count| count.drops, 1.0),
            errors_per_second: rate(|count| count.errors, 1.0),
            bytes: now.bytes,
            packets: now.packets,
            drops: now.drops,
            errors: now.errors,
        }
    }
}

impl Rates {
    /// The rates of a lab between two readings; with the links that its view shows.
    pub(crate) fn of(view: &LabView, links: &[Link], before: Option<&Reading>, now: &Reading) -> Self {
        let last = before;
        let before = last.and_then(|before| Some((before, seconds(before.at, now.at)?)));
        let nodes = view.nodes.iter().map(|node| {
            let usage = now.nodes.get(&node.name);
            let cpu = || {
                let ((from, before), (to, usage)) = (last?.nodes.get(&node.name)?, usage?);
                let used = usage.cpu?.checked_sub(before.cpu?)?;
                Some(used.as_secs_f64() * 100.0 / seconds(*from, *to)?)
            };
            NodeRates {
                name: node.name.clone(),
                state: node.state.clone(),
                ready: node.ready,
                cpu_percent: cpu(),
                memory_bytes: usage.and_then(|(_, usage)| usage.memory_bytes),
            }
        });
        let links = view.links.iter().zip(links).map(|(link, wanted)| LinkRates {
            id: link.id.clone(),
            state: link.state.clone(),
            ends: link
                .ends
                .iter()
                .zip(wanted.ends())
                .map(|(end, wanted)| end_rates(end, Place::of(&view.name, wanted), before, now))
                .collect(),
        });
        Self {
            lab: view.name.clone(),
            time: SystemTime::now(),
            seconds: before.map(|(_, seconds)| seconds),
            nodes: nodes.collect(),
            links: links.collect(),
            trouble: now.trouble.clone(),
        }
    }
}

fn end_rates(end: &EndView, place: Place, before: Option<(&Reading, f64)>, now: &Reading) -> EndRates {
    let key = end.ifindex.map(|ifindex| (place, ifindex));
    let found = key.and_then(|key| now.carried.ports.get(&key).map(|count| (key, *count)));
    let flow = |way: fn(&(Count, Count)) -> Count| {
        let (key, count) = found.as_ref()?;
        let before = before.and_then(|(reading, seconds)| Some((way(reading.carried.ports.get(key)?), seconds)));
        Some(Flow::of(way(count), before))
    };
    EndRates { end: end.end.clone(), rx: flow(|(rx, _)| *rx), tx: flow(|(_, tx)| *tx) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Wish;
    use crate::snapshot::Snapshot;
    use crate::standing::Standing;
    use crate::testing::Sketch;

    fn count(bytes: u64, packets: u64) -> Count {
        Count { bytes, packets, ..Count::default() }
    }

    #[test]
    fn a_rate_is_what_came_since_the_last_look() {
        let flow = Flow::of(count(3000, 30), Some((count(1000, 10), 2.0)));
        assert_eq!((flow.bits_per_second, flow.packets_per_second), (Some(8000.0), Some(10.0)));
        assert_eq!((flow.bytes, flow.packets), (3000, 30));
        assert_eq!(flow.drops_per_second, Some(0.0));
    }

    #[test]
    fn without_a_look_before_or_with_another_interface_there_is_no_rate() {
        assert_eq!(Flow::of(count(3000, 30), None).bits_per_second, None);
        assert_eq!(Flow::of(count(10, 1), Some((count(1000, 10), 1.0))).bits_per_second, None);
    }

    #[test]
    fn an_end_that_cannot_be_read_shows_nothing_of_an_interface_with_its_index_elsewhere() {
        let lab = Sketch::new("lab").node("r1").link("r1:eth1", "host:h1").lab();
        let wish: Wish = serde_json::from_value(serde_json::json!({
            "lab": *lab, "authority": "local", "phase": "run", "generation": 1, "rebuild": 0,
            "created": "2026-01-01T00:00:00Z",
        }))
        .unwrap();
        let mut view = LabView::of(lab.name(), Some(&wish), &Standing::default(), &Snapshot::default()).unwrap();
        for end in &mut view.links[0].ends {
            end.ifindex = Some(7);
        }
        let ports = [((Place::Host, 7), (count(100, 1), count(200, 2)))].into();
        let now =
            Reading { at: Instant::now(), carried: Arc::new(Carried { ports }), nodes: HashMap::new(), trouble: None };
        let rates = Rates::of(&view, lab.links(), None, &now);
        let seen: Vec<_> =
            rates.links[0].ends.iter().map(|end| (end.end.as_str(), end.rx.map(|flow| flow.bytes))).collect();
        assert_eq!(seen, [("r1:eth1", None), ("host:h1", Some(100))]);
    }
}
