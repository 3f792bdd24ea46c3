//! Many ports in one plan, each time beside one `ovs-vsctl` that makes as many.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netloom_engine::{OperationView, StepRecord};

use super::Host;
use super::floor::Floor;
use crate::pairs::Pairs;
use crate::stats::{Sample, seconds};
use crate::table::Line;

/// How many times what one chained `ovs-vsctl` takes the links of a plan may take.
const BAR: f64 = 1.3;
/// How many times faster they are to be than an `ovs-vsctl` for each port.
const FASTER: f64 = 50.0;
const LAB: &str = "ports";

/// Measures pairs with so many ports. The first one warms the caches of both sides and is not counted.
pub(super) fn measure(host: &Host, floor: &Floor, ports: usize, pairs: usize, single: Duration) -> Result<bool> {
    let (mut added, mut wired) = (Pairs::default(), Pairs::default());
    let (mut removed, mut unwired) = (Pairs::default(), Pairs::default());
    let (mut deploy, mut destroy, mut faster) = (Sample::default(), Sample::default(), Sample::default());
    for pair in 0..=pairs {
        let made = floor.add(ports)?;
        let gone = floor.remove(ports)?;
        let deployed = host.deploy(LAB, ports / 2)?;
        let links = host.links("deploy", ports / 2)?;
        ensure!(host.ports().len() == ports, "not all ports are in the database");
        let destroyed = host.agent.destroy(LAB)?;
        let taken = host.links("destroy", ports / 2)?;
        ensure!(host.ports().is_empty(), "not all ports have left the database");
        if pair == 0 {
            continue;
        }
        added.add(made.ports, links);
        wired.add(made.cables + made.ports, links);
        removed.add(gone.ports, taken);
        unwired.add(gone.cables + gone.ports, taken);
        deploy.time(deployed);
        destroy.time(destroyed);
        faster.value(single.as_secs_f64() * f64::from(u32::try_from(ports)?) / links.as_secs_f64());
    }
    let what = |what: &str| format!("{ports} ports: {what}");
    let whole = |name: &str, sample: &Sample| Line {
        what: what(name),
        figure: seconds(sample.median()),
        more: "nodes too, from return to prompt".to_owned(),
        ..Line::default()
    };
    let no_bar = |line: Line| Line { bar: None, ..line };
    let least = faster.median();
    let one_by_one = Line {
        what: what("an ovs-vsctl for each"),
        floor: seconds(single.as_secs_f64() * f64::from(u32::try_from(ports)?)),
        figure: format!("1/{least:.0}"),
        more: "from 100 that were made so".to_owned(),
        bar: Some((format!("≥ {FASTER} × faster"), least >= FASTER)),
    };
    Ok(crate::table::print_all([
        added.line(what("added"), BAR),
        no_bar(wired.line(what("added, floor with cables"), BAR)),
        one_by_one,
        whole("deploy", &deploy),
        removed.line(what("removed"), BAR),
        no_bar(unwired.line(what("removed, floor with cables"), BAR)),
        whole("destroy", &destroy),
    ]))
}

impl Host {
    /// How long the links of the last operation of a kind took: from the start of the first to the end of the last.
    fn links(&self, kind: &str, count: usize) -> Result<Duration> {
        let operations: Vec<OperationView> = serde_json::from_value(self.agent.socket().get("/operations")?)?;
        let last = operations.iter().rev().find(|operation| operation.kind == kind).context("the operation")?;
        let is_of_link = |step: &&StepRecord| step.id.as_str().starts_with("link/");
        let steps: Vec<&StepRecord> = last.steps.iter().filter(is_of_link).collect();
        ensure!(steps.len() == count, "{} links in a {kind} of {count}", steps.len());
        let started = steps.iter().filter_map(|step| step.started).min().context("a start")?;
        let ended = steps.iter().filter_map(|step| step.ended).max().context("an end")?;
        Ok(ended.duration_since(started)?)
    }
}
