//! One link between two containers of a controller, from the request until both tags are read and a ping passes.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Controlled, no_processes, set};
use crate::host::LIMIT;
use crate::idle;
use crate::stats::{Sample, milliseconds};
use crate::table::{Line, print_all};

/// The bar, in seconds.
const BAR: f64 = 0.100;
const INTERFACE: &str = "eth1";
const ADDRESSES: [&str; 2] = ["10.0.1.1", "10.0.1.2"];
const MACS: [&str; 2] = ["02:00:00:00:01:01", "02:00:00:00:01:02"];

/// Makes and removes a link so many times; whether the bars hold.
pub(super) fn measure(controlled: &Controlled, times: usize) -> Result<bool> {
    let pids = nodes(controlled)?;
    // Addresses that need not be resolved, which would be tried but once a second.
    for (at, pid) in pids.iter().enumerate() {
        let (address, mac, far) = (ADDRESSES[at], MACS[at], 1 - at);
        within(*pid, &["ip", "link", "set", INTERFACE, "address", mac])?;
        within(*pid, &["ip", "link", "set", INTERFACE, "up"])?;
        within(*pid, &["ip", "address", "replace", &format!("{address}/24"), "dev", INTERFACE])?;
        let (address, mac) = (ADDRESSES[far], MACS[far]);
        within(*pid, &["ip", "neigh", "replace", address, "lladdr", mac, "dev", INTERFACE, "nud", "permanent"])?;
    }
    // The first is not counted: it warms the caches.
    edit(controlled, pids, &mut Sample::default(), &mut Sample::default())?;
    let process = controlled.agent.pid()?;
    let before = idle::children(process)?;
    let (mut made, mut removed) = (Sample::default(), Sample::default());
    for _ in 0..times {
        edit(controlled, pids, &mut made, &mut removed)?;
    }
    let started = idle::children(process)? - before;
    let line = |what: &str, before: &str, sample: &Sample, bar| Line {
        what: format!("controller: a link {what}"),
        floor: before.to_owned(),
        figure: milliseconds(sample.median()),
        more: format!("p99 {}, of {}", milliseconds(sample.at(0.99)), sample.count()),
        bar,
    };
    let holds = (format!("p50 ≤ {}", milliseconds(BAR)), made.median() <= BAR);
    Ok(print_all([
        line("made, a ping passes", "830 ms", &made, Some(holds)),
        line("removed", "930 ms", &removed, None),
        no_processes("a link", "107", started),
    ]))
}

fn edit(controlled: &Controlled, pids: [u64; 2], made: &mut Sample, removed: &mut Sample) -> Result<()> {
    let (client, lab) = (&controlled.set.client, set::lab(0));
    let nodes = [0, 1].map(set::node);
    ensure!(!pings(pids[0])?, "a ping passes without a link");
    let ends = json!({ "source_node": nodes[0], "source_interface": INTERFACE, "target_node": nodes[1],
        "target_interface": INTERFACE });
    let started = Instant::now();
    let answer = client.does(&format!("/labs/{lab}/links"), &ends)?;
    let tag = |node: &str| -> Result<Value> {
        let path = format!("/labs/{lab}/interfaces/{node}/{INTERFACE}/vlan?read_from_ovs=true");
        Ok(client.get(&path)?["vlan_tag"].clone())
    };
    let tags = [tag(&nodes[0])?, tag(&nodes[1])?];
    let said = &answer["link"]["vlan_tag"];
    ensure!(tags.iter().all(|tag| tag == said), "the link has the tag {said}, its ends have {tags:?}");
    while !pings(pids[0])? {
        if started.elapsed() > LIMIT {
            bail!("no ping passes over a link that was made");
        }
    }
    made.time(started.elapsed());
    let link = answer["link"]["link_id"].as_str().context("the id of the link")?;
    let started = Instant::now();
    let gone = client.delete(&format!("/labs/{lab}/links/{link}"))?;
    ensure!(gone["success"] == true, "the link does not go: {gone}");
    removed.time(started.elapsed());
    Ok(())
}

/// The processes of the first two nodes of the first lab.
fn nodes(controlled: &Controlled) -> Result<[u64; 2]> {
    let view = controlled.agent.socket().get(&format!("/labs/{}", set::lab(0)))?;
    let pid = |number: usize| {
        let mut nodes = view["nodes"].as_array().into_iter().flatten();
        nodes.find(|node| node["name"] == set::node(number))?["pid"].as_u64()
    };
    Ok([pid(0).context("a node that runs")?, pid(1).context("a node that runs")?])
}

fn in_node(pid: u64, arguments: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &pid.to_string()]).args(arguments);
    command
}

fn within(pid: u64, arguments: &[&str]) -> Result<()> {
    let output = in_node(pid, arguments).output()?;
    ensure!(output.status.success(), "{}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Whether a ping from the first end is answered at once.
fn pings(pid: u64) -> Result<bool> {
    let mut ping = in_node(pid, &["ping", "-n", "-q", "-c", "1", "-W", "0.05", ADDRESSES[1]]);
    Ok(ping.stdout(Stdio::null()).stderr(Stdio::null()).status().context("ping")?.success())
}
