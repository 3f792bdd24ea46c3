//! Many ports in one plan, each time beside one `ovs-vsctl` that makes as many.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netloom_engine::{OperationView, StepRecord};
use netloom_ovs_fixture::Ovs;

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
    let (mut added, mut wired, mut typed) = (Pairs::default(), Pairs::default(), Pairs::default());
    let (mut removed, mut unwired) = (Pairs::default(), Pairs::default());
    let (mut deploy, mut destroy, mut faster) = (Sample::default(), Sample::default(), Sample::default());
    let mut let_go = Pairs::default();
    for pair in 0..=pairs {
        host.rest(floor);
        let made = floor.add(ports)?;
        host.rest(floor);
        let gone = floor.remove(ports)?;
        host.rest(floor);
        let by_ip = floor.add_by_ip(ports)?;
        host.rest(floor);
        floor.remove(ports)?;
        host.rest(floor);
        let deployed = host.deploy(LAB, ports / 2)?;
        let links = host.links("deploy", ports / 2)?;
        ensure!(host.ports().len() == ports, "not all ports are in the database");
        host.rest(floor);
        let began = Instant::now();
        let destroyed = host.agent.destroy(LAB)?;
        let taken = host.links("destroy", ports / 2)?;
        host.rest(floor);
        let rested = began.elapsed();
        ensure!(host.ports().is_empty(), "not all ports have left the database");
        if pair == 0 {
            continue;
        }
        added.add(made.ports, links);
        wired.add(made.cables + made.ports, links);
        typed.add(by_ip.cables + by_ip.ports, links);
        removed.add(gone.ports, taken);
        unwired.add(gone.cables + gone.ports, taken);
        let_go.add(gone.cables + gone.ports, rested);
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
        typed.line(what("added, floor with cables by ip"), BAR),
        one_by_one,
        whole("deploy", &deploy),
        removed.line(what("removed"), BAR),
        no_bar(unwired.line(what("removed, floor with cables"), BAR)),
        let_go.line(what("destroyed, and let go by the switch"), BAR),
        whole("destroy", &destroy),
    ]))
}

impl Host {
    /// Waits until both switches have done all that they have heard of.
    fn rest(&self, floor: &Floor) {
        for ovs in [&self.ovs, floor.ovs()] {
            rest(ovs);
        }
    }

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

/// Waits until a switch has done all that it has heard of: twice, since what it does about ports is told to it as news again.
fn rest(ovs: &Ovs) {
    for turn in ["0", "1"] {
        // `ovs-vsctl` waits for the switch when it has changed something.
        ovs.vsctl(["set", "Open_vSwitch", ".", &format!("other_config:bench={turn}")]);
    }
}
