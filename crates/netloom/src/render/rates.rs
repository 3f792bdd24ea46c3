//! Rates as tables.

use std::fmt::Write;

use netloom_engine::{EndRates, Flow, LinkRates, NodeRates, Rates};
use netloom_plan::NodeState;

use super::{count, table, text};

/// One lab: links with traffic, the most first, then its nodes, then all other links. So a window that is too small shows
/// what flows.
pub(crate) fn rates(rates: &Rates) -> String {
    let mut out = format!("lab {}: {}\n", rates.lab, summary(rates));
    if let Some(trouble) = &rates.trouble {
        let _ = writeln!(out, "not everything can be looked at: {trouble}");
    }
    let (mut busy, idle): (Vec<&LinkRates>, Vec<&LinkRates>) = rates.links.iter().partition(|link| traffic(link) > 0.0);
    busy.sort_by(|a, b| traffic(b).total_cmp(&traffic(a)));
    if !busy.is_empty() {
        let _ = write!(out, "\n{}", links(&busy));
    }
    if !rates.nodes.is_empty() {
        let _ = write!(out, "\n{}", nodes(&rates.nodes));
    }
    if !idle.is_empty() {
        let _ = write!(out, "\n{}", links(&idle));
    }
    out
}

/// In bits per second; what one end sends is counted at the other too, so only the busier end says it.
fn traffic(link: &LinkRates) -> f64 {
    let end = |end: &EndRates| flows(end).filter_map(|flow| flow.bits_per_second).sum();
    link.ends.iter().map(end).fold(0.0, f64::max)
}

/// All labs, one line each.
pub(crate) fn all_rates(all: &[Rates]) -> String {
    let mut table = table(&["LAB", "NODES", "LINKS", "CPU", "MEMORY", "TRAFFIC", "", "DROPS", "ERRORS"]);
    for rates in all {
        let received = || rates.links.iter().flat_map(|link| &link.ends).filter_map(|end| end.rx.as_ref());
        let both = || rates.links.iter().flat_map(|link| &link.ends).flat_map(|end| [&end.rx, &end.tx]).flatten();
        let (running, up) = running_and_up(rates);
        table.add_row(vec![
            rates.lab.to_string(),
            format!("{running}/{}", rates.nodes.len()),
            format!("{up}/{}", rates.links.len()),
            rates
                .nodes
                .iter()
                .filter_map(|node| node.cpu_percent)
                .reduce(|a, b| a + b)
                .map(percent)
                .unwrap_or_default(),
            rates.nodes.iter().filter_map(|node| node.memory_bytes).reduce(|a, b| a + b).map(bytes).unwrap_or_default(),
            received().filter_map(|flow| flow.bits_per_second).reduce(|a, b| a + b).map(bits).unwrap_or_default(),
            received().filter_map(|flow| flow.packets_per_second).reduce(|a, b| a + b).map(packets).unwrap_or_default(),
            lost(both(), |flow| (flow.drops, flow.drops_per_second)),
            lost(both(), |flow| (flow.errors, flow.errors_per_second)),
        ]);
    }
    if all.is_empty() { "no labs\n".to_owned() } else { text(table) }
}

fn running_and_up(rates: &Rates) -> (usize, usize) {
    let running = rates.nodes.iter().filter(|node| node.state == NodeState::Running).count();
    (running, rates.links.iter().filter(|link| link.state == "up").count())
}

fn summary(rates: &Rates) -> String {
    let (running, up) = running_and_up(rates);
    let (nodes, links) = (count(rates.nodes.len(), "node"), count(rates.links.len(), "link"));
    format!("{running} of {nodes} running, {up} of {links} up")
}

fn nodes(all: &[NodeRates]) -> String {
    let mut table = table(&["NODE", "STATE", "READY", "CPU", "MEMORY"]);
    for node in all {
        let state = match &node.state {
            NodeState::Exited { code } => format!("exited({code})"),
            other => other.word().to_owned(),
        };
        table.add_row(vec![
            node.name.to_string(),
            state,
            if node.ready { "yes" } else { "no" }.to_owned(),
            node.cpu_percent.map(percent).unwrap_or_default(),
            node.memory_bytes.map(bytes).unwrap_or_default(),
        ]);
    }
    text(table)
}

fn links(all: &[&LinkRates]) -> String {
    let mut table = table(&["END", "TO", "STATE", "RECEIVED", "", "SENT", "", "DROPS", "ERRORS"]);
    for link in all {
        for (at, end) in link.ends.iter().enumerate() {
            let other = link.ends.get(1 - at.min(1)).filter(|_| link.ends.len() > 1);
            let other = other.map(|end| end.end.clone()).unwrap_or_default();
            let [received, sent] = [end.rx, end.tx].map(|flow| {
                let rate = |rate: fn(&Flow) -> Option<f64>| flow.as_ref().and_then(rate);
                (rate(|flow| flow.bits_per_second), rate(|flow| flow.packets_per_second))
            });
            table.add_row(vec![
                end.end.clone(),
                other,
                link.state.clone(),
                received.0.map(bits).unwrap_or_default(),
                received.1.map(packets).unwrap_or_default(),
                sent.0.map(bits).unwrap_or_default(),
                sent.1.map(packets).unwrap_or_default(),
                lost(flows(end), |flow| (flow.drops, flow.drops_per_second)),
                lost(flows(end), |flow| (flow.errors, flow.errors_per_second)),
            ]);
        }
    }
    text(table)
}

fn flows(end: &EndRates) -> impl Iterator<Item = &Flow> {
    end.rx.iter().chain(&end.tx)
}

/// How many until now, and how fast they grow if they do.
fn lost<'a>(flows: impl Iterator<Item = &'a Flow>, of: impl Fn(&Flow) -> (u64, Option<f64>)) -> String {
    let all = flows.map(of).reduce(|a, b| (a.0 + b.0, a.1.zip(b.1).map(|(a, b)| a + b)));
    match all {
        None => String::new(),
        Some((total, Some(rate))) if rate > 0.0 => format!("{total} (+{}/s)", short(rate)),
        Some((total, _)) => total.to_string(),
    }
}

fn percent(number: f64) -> String {
    format!("{number:.1} %")
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn bytes(number: u64) -> String {
    let mut number = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 {
            let digits = usize::from(number < 10.0 && unit != "B");
            return format!("{number:.digits$} {unit}");
        }
        number /= 1024.0;
    }
    format!("{number:.1} TiB")
}

fn bits(number: f64) -> String {
    let (number, unit) = scaled(number);
    format!("{number} {unit}bit/s")
}

fn packets(number: f64) -> String {
    format!("{}/s", short(number))
}

fn short(number: f64) -> String {
    let (number, unit) = scaled(number);
    format!("{number}{unit}")
}

/// Three digits and a prefix of a thousand.
fn scaled(mut number: f64) -> (String, &'static str) {
    for unit in ["", "k", "M", "G"] {
        // What would be rounded up to a thousand has the next unit.
        if number < 999.5 {
            let digits = usize::from(number < 9.95 && number > 0.0);
            return (format!("{number:.digits$}"), unit);
        }
        number /= 1000.0;
    }
    (format!("{number:.1}"), "T")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_at_most_and_a_unit() {
        let shown = [0.0, 0.5, 12.34, 999.4, 999.6, 1_250_000.0, 9_990_000_000.0].map(bits);
        let expected = ["0 bit/s", "0.5 bit/s", "12 bit/s", "999 bit/s", "1.0 kbit/s", "1.2 Mbit/s", "10 Gbit/s"];
        assert_eq!(shown, expected);
        assert_eq!([0, 512, 4096, 3 << 20, 200 << 20].map(bytes), ["0 B", "512 B", "4.0 KiB", "3.0 MiB", "200 MiB"]);
        assert_eq!((packets(1234.0), percent(12.345)), ("1.2k/s".into(), "12.3 %".into()));
    }

    #[test]
    fn a_lab_is_shown_with_what_flows_at_each_end() {
        let flow = |bits: f64, drops: u64| {
            serde_json::json!({ "bits_per_second": bits, "packets_per_second": bits / 8000.0, "drops_per_second": drops,
                "errors_per_second": 0.0, "bytes": 1, "packets": 1, "drops": drops * 2, "errors": 0 })
        };
        let lab: Rates = serde_json::from_value(serde_json::json!({
            "lab": "x", "time": "2026-11-24T13:41:05Z", "seconds": 1.0,
            "nodes": [
                { "name": "r1", "state": { "phase": "running" }, "ready": true, "cpu_percent": 1.5, "memory_bytes": 2_097_152 },
                { "name": "r2", "state": { "phase": "exited", "code": 3 }, "ready": false, "cpu_percent": null, "memory_bytes": null },
            ],
            "links": [{ "id": "r1:eth1-r2:eth1", "state": "up", "ends": [
                { "end": "r1:eth1", "rx": flow(0.0, 0), "tx": flow(8_000_000.0, 0) },
                { "end": "r2:eth1", "rx": flow(8_000_000.0, 5), "tx": null },
            ]}],
        }))
        .unwrap();
        insta::assert_snapshot!(rates(&lab), @r"
        lab x: 1 of 2 nodes running, 1 of 1 link up

        END      TO       STATE  RECEIVED            SENT                DROPS        ERRORS
        r1:eth1  r2:eth1  up     0 bit/s     0/s     8.0 Mbit/s  1.0k/s  0            0
        r2:eth1  r1:eth1  up     8.0 Mbit/s  1.0k/s                      10 (+5.0/s)  0

        NODE  STATE      READY  CPU    MEMORY
        r1    running    yes    1.5 %  2.0 MiB
        r2    exited(3)  no
        ");
        let mut more = lab.clone();
        let link = |id: &str, bits: f64| {
            let ends = serde_json::json!([{ "end": id, "rx": flow(bits, 0), "tx": null }]);
            serde_json::from_value(serde_json::json!({ "id": id, "state": "up", "ends": ends })).unwrap()
        };
        more.links.splice(..0, [link("idle", 0.0), link("busy", 9_000_000.0)]);
        let shown = rates(&more);
        let at = ["busy", "r1:eth1", "NODE", "idle"].map(|text| shown.find(text).unwrap());
        assert!(at.is_sorted(), "{shown}");
        insta::assert_snapshot!(all_rates(&[lab]), @r"
        LAB  NODES  LINKS  CPU    MEMORY   TRAFFIC             DROPS        ERRORS
        x    1/2    1/1    1.5 %  2.0 MiB  8.0 Mbit/s  1.0k/s  10 (+5.0/s)  0
        ");
    }
}
