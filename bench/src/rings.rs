//! Rings deployed and destroyed, each time beside the same ring made of the kernel's objects alone.

use std::time::Instant;

use anyhow::Result;

use crate::agent::Agent;
use crate::floor::Floor;
use crate::host::Kernel;
use crate::idle;
use crate::pairs::Pairs;
use crate::table::Line;

/// How many times what the floor takes a deploy or a destroy may take; and how many times the cost of a node in a lab
/// of 100 a node of a larger one may cost, beyond what the floor loses.
const BAR: f64 = 1.5;
/// Bytes that the agent may take with the largest ring.
const MEMORY: f64 = 64.0 * 1024.0 * 1024.0;

/// What the pairs of one size came to.
pub(crate) struct Rings {
    size: usize,
    deploy: Pairs,
    destroy: Pairs,
    /// Whether what was looked at while it was there is within its bars.
    rest: bool,
}

/// Measures pairs of one size. The first one warms the caches of both sides and is not counted.
pub(crate) fn measure(agent: &Agent, floor: &Floor, kernel: &Kernel, size: usize, pairs: usize) -> Result<Rings> {
    let mut rings = Rings { size, deploy: Pairs::default(), destroy: Pairs::default(), rest: true };
    for pair in 0..=pairs {
        kernel.wait_until_quiet()?;
        let (ring, made) = floor.make(size)?;
        let removed = floor.remove(ring, kernel)?;
        kernel.wait_until_quiet()?;
        let deployed = agent.deploy("ring", size)?;
        if pair == pairs && size == crate::LARGE {
            rings.rest = idle::measure(agent, "ring", size, MEMORY)?;
        }
        let started = Instant::now();
        agent.destroy("ring")?;
        kernel.settle()?;
        let destroyed = started.elapsed();
        if pair > 0 {
            rings.deploy.add(made, deployed);
            rings.destroy.add(removed, destroyed);
        }
    }
    Ok(rings)
}

impl Rings {
    /// Its two lines; whether the bars hold, where there are any.
    pub(crate) fn print(&self, largest: bool) -> bool {
        let line = |what: &str, pairs: &Pairs| {
            let line = pairs.line(format!("ring of {}: {what}", self.size), BAR);
            Line { bar: line.bar.filter(|_| largest), ..line }
        };
        let deploy = line("deploy", &self.deploy).print();
        line("destroy", &self.destroy).print() && deploy && self.rest
    }

    /// How much dearer a node is than in a smaller ring, on top of what the floor loses; whether that is within the bar.
    pub(crate) fn print_growth(&self, from: &Self) -> bool {
        let growth = |what: &str, of: fn(&Self) -> &Pairs| {
            let growth = of(self).ratio() / of(from).ratio();
            Line {
                what: format!("cost of a node, {} against {}: {what}", self.size, from.size),
                figure: format!("× {growth:.2}"),
                more: "beyond what the floor loses".to_owned(),
                bar: Some((format!("≤ {BAR}"), growth <= BAR)),
                ..Line::default()
            }
        };
        let deploy = growth("deploy", |rings| &rings.deploy).print();
        growth("destroy", |rings| &rings.destroy).print() && deploy
    }
}
