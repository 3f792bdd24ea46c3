//! Links added to and removed from a large lab that runs, at rest and while another lab is destroyed.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use netloom_kernel::{Netns, Place, dump};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::host::Kernel;
use crate::ring;
use crate::stats::{Sample, milliseconds};
use crate::table::{Line, print_all};

/// Nodes of the lab that is edited.
const SIZE: usize = 500;
/// Links added and removed at rest.
const AT_REST: usize = 200;
/// Nodes of the lab that is destroyed meanwhile, and how often.
const OTHER: usize = 200;
const ROUNDS: usize = 25;
/// The bars, in seconds.
const ADD_P50: f64 = 0.020;
const REMOVE_P50: f64 = 0.040;
const P99: f64 = 0.150;

/// From the request to both ends up, or to no end visible any more.
#[derive(Default)]
struct Edits {
    add: Sample,
    remove: Sample,
}

/// Measures, and prints its lines; whether the bars hold.
pub(crate) fn measure(agent: &Agent, kernel: &Kernel) -> Result<bool> {
    agent.deploy("live", SIZE)?;
    kernel.wait_until_quiet()?;
    let mut rest = Edits::default();
    for number in 0..AT_REST {
        rest.edit(agent, number)?;
    }
    let mut busy = Edits::default();
    let mut number = AT_REST;
    for _ in 0..ROUNDS {
        agent.deploy("other", OTHER)?;
        thread::scope(|scope| {
            let destroy = scope.spawn(|| agent.destroy("other").and_then(|_| kernel.settle()));
            while !destroy.is_finished() {
                busy.edit(agent, number)?;
                number += 1;
            }
            destroy.join().ok().context("the destroy panicked")?
        })?;
    }
    agent.destroy("live")?;
    let median = |what: &str, sample: &Sample, most: f64| {
        line(what, sample, (format!("p50 ≤ {}", milliseconds(most)), sample.median() <= most))
    };
    let tail = |what: &str, sample: &Sample| {
        line(what, sample, (format!("p99 ≤ {}", milliseconds(P99)), sample.at(0.99) <= P99))
    };
    Ok(print_all([
        median("a live link added, at rest", &rest.add, ADD_P50),
        median("a live link removed, at rest", &rest.remove, REMOVE_P50),
        tail("added while another lab goes", &busy.add),
        tail("removed while another lab goes", &busy.remove),
    ]))
}

fn line(what: &str, sample: &Sample, bar: (String, bool)) -> Line {
    Line {
        what: format!("lab of {SIZE}: {what}"),
        figure: milliseconds(sample.median()),
        more: format!("p99 {}, of {}", milliseconds(sample.at(0.99)), sample.count()),
        bar: Some(bar),
        ..Line::default()
    }
}

impl Edits {
    /// Adds a link between two nodes and removes it again.
    fn edit(&mut self, agent: &Agent, number: usize) -> Result<()> {
        let nodes = [number % SIZE, (number + SIZE / 2) % SIZE].map(ring::node);
        let link = format!("{}:live {}:live", nodes[0], nodes[1]);
        for (value, there) in [(json!({}), true), (Value::Null, false)] {
            let patch = json!({ "links": { (link.as_str()): value } });
            let started = Instant::now();
            let operation = agent.socket().patch("live", &patch)?;
            agent.socket().wait(&operation)?;
            let took = started.elapsed();
            if there {
                self.add.time(took);
            } else {
                self.remove.time(took);
            }
            // What the agent says is held against the kernel, outside the time that counts.
            for node in &nodes {
                let netns = Netns::open(agent.pin("live", node))?;
                let seen = dump(&[Place::node(netns, node.as_str())])?.pop().context("a dump")??;
                let up = seen.named("live").map(|link| link.lower_up);
                ensure!(up == there.then_some(true), "{node}: the link is wanted: {there}, its carrier: {up:?}");
            }
        }
        Ok(())
    }
}
