//! The host's own interfaces: how they are before the case, what is wanted of them, and what they are then.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::controller::Question;
use crate::host::{Host, ip, until};
use crate::topology::{CUT_ADDRESS, UNDERLAY, UNDERLAY_ADDRESS, UPLINK_ADDRESS, UPLINK_MTU, WAY, WAY_ADDRESS};
use crate::wanted::Uplink;

/// An address of the wider world.
const ELSEWHERE: &str = "1.1.1.1";
/// What somebody has made lead by the cable. It needs the address that the cable has before.
const ROUTE: [&str; 3] = ["203.0.113.0/24", "via", "192.0.2.254"];

/// From now on the host has a cable of its own, and another one by which it reaches all others.
pub(crate) fn plug() -> Result<()> {
    for ([near, far], address) in [(UNDERLAY, UNDERLAY_ADDRESS), (WAY, WAY_ADDRESS)] {
        ip(&["link", "add", near, "type", "veth", "peer", "name", far])?;
        ip(&["address", "add", address, "dev", near])?;
        ip(&["link", "set", near, "up"])?;
        ip(&["link", "set", far, "up"])?;
    }
    ip(&[&["route", "add"][..], &ROUTE].concat())?;
    ip(&["route", "add", "default", "via", "198.51.100.1"])
}

/// What is asked for to have it set up,
pub(crate) fn provision() -> Question {
    configure(UPLINK_ADDRESS)
}

/// so that the host is cut off,
pub(crate) fn cut() -> Question {
    configure(CUT_ADDRESS)
}

/// and let go.
pub(crate) fn release() -> Question {
    question(json!({ "action": "delete", "name": UNDERLAY[0] }))
}

fn configure(address: &str) -> Question {
    let mtu: u32 = UPLINK_MTU.parse().expect("it is a number");
    question(
        json!({ "action": "configure", "name": UNDERLAY[0], "ip_cidr": address, "mtu": mtu, "attach_to_ovs": false }),
    )
}

fn question(body: Value) -> Question {
    Question { path: "/interfaces/provision", body }
}

/// The variables of an agent whose configuration names an interface.
pub(crate) fn configuration(interface: &str) -> [(&'static str, String); 4] {
    [
        ("NETLOOM_TRANSPORT", "dedicated".to_owned()),
        ("NETLOOM_TRANSPORT_INTERFACE", interface.to_owned()),
        ("NETLOOM_TRANSPORT_ADDRESS", UPLINK_ADDRESS.to_owned()),
        ("NETLOOM_TRANSPORT_MTU", UPLINK_MTU.to_owned()),
    ]
}

/// Asks for something and waits until it is so.
pub(crate) fn have(host: &Host, question: &Question) -> Result<()> {
    ensure!(host.ask(question)?.wait()?.success(), "{}: {}", question.body, host.said());
    Ok(())
}

/// Waits until it is so.
pub(crate) fn until_so(limit: Duration, wanted: Uplink) -> Result<()> {
    let mut why = String::new();
    let is_so = until(limit, || {
        why = differs(wanted)?;
        Ok(why.is_empty())
    })?;
    ensure!(is_so, "{why}");
    Ok(())
}

/// Somebody takes away all that is wanted.
pub(crate) fn flush() -> Result<()> {
    ip(&["address", "flush", "dev", UNDERLAY[0]])?;
    ip(&["link", "set", UNDERLAY[0], "mtu", "1500"])
}

/// What of the host's own interfaces is other than it should be.
pub(crate) fn differs(wanted: Uplink) -> Result<String> {
    let former = format!("{UNDERLAY_ADDRESS} mtu 1500");
    let provided = format!("{UPLINK_ADDRESS} mtu {UPLINK_MTU}");
    // Nobody puts an MTU back that nobody wants any more.
    let near = match wanted {
        Uplink::Former => Some(former),
        Uplink::Provided => Some(provided.clone()),
        Uplink::Released | Uplink::Moved => None,
    };
    let far = (wanted == Uplink::Moved).then_some(provided);
    let mut why = Vec::new();
    for (interface, expected) in UNDERLAY.into_iter().zip([near, far]) {
        let has = shown(interface)?;
        if expected.as_ref().map_or(has.contains('/'), |expected| has != *expected) {
            why.push(format!("{interface} has `{has}`, not `{}`", expected.unwrap_or_default()));
        }
    }
    let routes = output(&["route", "show", "dev", UNDERLAY[0]])?;
    if wanted == Uplink::Former && !routes.contains(&ROUTE.join(" ")) {
        why.push(format!("{} has the routes `{routes}`, not `{}`", UNDERLAY[0], ROUTE.join(" ")));
    }
    let way = output(&["route", "get", ELSEWHERE])?;
    if !way.contains(&format!("dev {} ", WAY[0])) {
        why.push(format!("the way to {ELSEWHERE} is `{way}`"));
    }
    Ok(why.join("; "))
}

/// The addresses of an interface and its MTU.
fn shown(interface: &str) -> Result<String> {
    let after = |text: &str, word: &str| {
        let mut words = text.split_whitespace().skip_while(|other| *other != word).skip(1);
        words.next().unwrap_or_default().to_owned()
    };
    let addresses = output(&["-o", "-4", "address", "show", "dev", interface])?;
    let mut words: Vec<String> = addresses.lines().map(|line| after(line, "inet")).collect();
    words.push(format!("mtu {}", after(&output(&["-o", "link", "show", interface])?, "mtu")));
    Ok(words.join(" "))
}

fn output(words: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(words).output().context("ip")?;
    ensure!(output.status.success(), "ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
