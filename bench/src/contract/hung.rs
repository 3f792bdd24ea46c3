//! The agent killed, and started while Docker hangs beside labs that run: when it says that it is well, whether it leaves
//! everything as it is, and when it knows all of it once Docker answers.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netloom_fault_kit::Manner;
use serde_json::Value;

use super::client::Client;
use super::restart::{self, FIRST, PATIENCE, WHOLE};
use super::set::{self, LABS};
use super::{Controlled, until};
use crate::host::wait;
use crate::stats::seconds;
use crate::table::{Line, print_all};

/// How long Docker hangs: whoever takes silence for an end would have acted on it by then.
const HANGS: Duration = Duration::from_secs(15);

/// Does it; whether the bars hold.
pub(super) fn measure(controlled: &Controlled, containers: usize) -> Result<bool> {
    let (before, lives) = (wiring(controlled)?, lives(controlled)?);
    controlled.calls.behave(Manner::Hung);
    let (first, started) = restart::again(controlled, Ok)?;
    wait(HANGS.saturating_sub(started.elapsed()));
    let touched = difference(&before, &wiring(controlled)?);
    let health = Client::new(PATIENCE).get("/healthz");
    ensure!(health.is_ok(), "it is not well any more while Docker hangs: {health:?}");
    controlled.calls.behave(Manner::Faithful);
    let answers = Instant::now();
    until(|| Ok(controlled.set.is_whole().unwrap_or(false)))?;
    let whole = answers.elapsed();
    let touched = touched + difference(&before, &wiring(controlled)?) + difference(&lives, &self::lives(controlled)?);
    let line = |what: &str, before: &str, took: Duration, bar: f64| Line {
        what: format!("controller: started beside {containers}, Docker hangs: {what}"),
        floor: before.to_owned(),
        figure: seconds(took.as_secs_f64()),
        more: String::new(),
        bar: Some((format!("≤ {}", seconds(bar)), took.as_secs_f64() <= bar)),
    };
    Ok(print_all([
        line("first 200", "never", first, FIRST),
        line("whole after it answers", "6.3 s", whole, WHOLE),
        Line {
            what: "… interfaces, ports and containers touched".to_owned(),
            floor: "all".to_owned(),
            figure: touched.to_string(),
            more: format!("of {}", before.len() + lives.len()),
            bar: Some(("0".to_owned(), touched == 0)),
        },
    ]))
}

/// The interfaces of the host and the ports of the switch, with what tells one from another of the same name.
fn wiring(controlled: &Controlled) -> Result<Vec<String>> {
    let interfaces = Command::new("ip").args(["-oneline", "link"]).output().context("ip")?;
    let interfaces = String::from_utf8_lossy(&interfaces.stdout).into_owned();
    let ports = controlled.ovs.vsctl(["--format=csv", "--no-headings", "--columns=_uuid,name,tag", "list", "Port"]);
    let mut all: Vec<String> = interfaces.lines().chain(ports.lines()).map(str::to_owned).collect();
    all.sort();
    Ok(all)
}

/// The processes of all nodes.
fn lives(controlled: &Controlled) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for number in 0..LABS {
        let view: Value = controlled.agent.socket().get(&format!("/labs/{}", set::lab(number)))?;
        let nodes = view["nodes"].as_array().context("nodes")?;
        all.extend(nodes.iter().map(|node| format!("{number} {} {}", node["name"], node["pid"])));
    }
    Ok(all)
}

/// How many of these are not the same any more.
fn difference(before: &[String], now: &[String]) -> usize {
    before.iter().filter(|one| !now.contains(one)).count() + now.iter().filter(|one| !before.contains(one)).count()
}
