//! What an agent of the contract that was on the host before has left of lab `x`: containers, cables, ports and a tunnel with its
//! marks; and of what nobody may take over, a container that has ended and a port that nothing is behind.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netloom_model::{LinkId, controlled_container, tunnel_name};
use netloom_ovs_fixture::Ovs;
use serde_json::json;

use crate::host::{Host, ip};
use crate::topology::{IMAGE, INHERITED, INHERITED_ENDED, SHARED};

/// The cables: node, interface, tag.
const CABLES: [(&str, &str, u16); 4] =
    [("a", "eth1", 2050), ("b", "eth1", 2050), ("a", "eth2", 2055), ("b", "eth2", 100)];
/// The link that leads to another host, and its tag.
const FAR: (&str, u16) = ("a:eth2-far:eth1", 2055);
/// The port that nothing is behind.
const STRAY: &str = "vhstray";

/// From now on all of it is there.
pub(crate) fn leave(host: &Host) -> Result<()> {
    let switch = host.switch().context("no switch")?;
    vsctl(switch, &format!("--may-exist add-br {0} -- set bridge {0} datapath_type=netdev", SHARED[0]));
    for node in INHERITED.into_iter().chain([INHERITED_ENDED]) {
        let labels = [("lab_id", "x"), ("node_name", node), ("node_kind", "linux"), ("provider", "docker")];
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("--label=archetype.{key}={value}")).collect();
        let (name, mut run) = (container(node), vec!["run", "--detach", "--network", "none", "--hostname", node]);
        run.extend(["--name", &name]);
        run.extend(labels.iter().map(String::as_str));
        run.extend([IMAGE, "sleep", "100000"]);
        host.docker(&run)?;
    }
    host.docker(&["kill", &container(INHERITED_ENDED)])?;
    for (node, interface, tag) in CABLES {
        cable(host, switch, node, interface, tag)?;
    }
    for (node, address) in INHERITED.into_iter().zip(["10.8.0.1/24", "10.8.0.2/24"]) {
        within(host, node, &["ip", "address", "add", address, "dev", "eth1"])?;
    }
    ip(&["link", "add", STRAY, "type", "veth", "peer", "name", "vhstray1"])?;
    let says = "external_ids:archetype.lab_id=x";
    vsctl(switch, &format!("add-port {} {STRAY} tag=102 -- set interface {STRAY} {says}", SHARED[0]));
    tunnel(host, switch)
}

/// The interface of a node, behind a port.
fn cable(host: &Host, switch: &Ovs, node: &str, interface: &str, tag: u16) -> Result<()> {
    let port = format!("vh{node}{interface}");
    let inner = format!("vc{node}{interface}");
    ip(&["link", "add", &port, "type", "veth", "peer", "name", &inner])?;
    ip(&["link", "set", &inner, "netns", &pid(host, node)?])?;
    within(host, node, &["ip", "link", "set", &inner, "name", interface, "up"])?;
    ip(&["link", "set", &port, "up"])?;
    let says = [("lab_id", "x"), ("node_name", node), ("interface_name", interface), ("endpoint_id", &port)];
    let says: Vec<String> = says.iter().map(|(key, value)| format!("external_ids:archetype.{key}={value}")).collect();
    let says = says.join(" ");
    vsctl(switch, &format!("add-port {} {port} tag={tag} -- set interface {port} {says}", SHARED[0]));
    Ok(())
}

/// The tunnel, which is called by a hash of its lab and link, and the file that names that.
fn tunnel(host: &Host, switch: &Ovs) -> Result<()> {
    let (link, tag) = FAR;
    let port = tunnel_name(&"x".parse()?, &LinkId::from_text(link)).to_string();
    let mut words = vec!["link", "add", &port, "mtu", "1450", "type", "vxlan", "id", "7"];
    words.extend(["local", "10.0.0.11", "remote", "10.0.0.12", "dstport", "4789"]);
    ip(&words)?;
    ip(&["link", "set", &port, "up"])?;
    vsctl(switch, &format!("add-port {} {port} tag={tag}", SHARED[0]));
    let file = json!({ "tunnels": [{ "lab_id": "x", "link_id": link }], "declared_labs": ["x"] });
    fs::create_dir_all(host.predecessor())?;
    Ok(fs::write(host.predecessor().join("declared_overlay_state.json"), file.to_string())?)
}

/// The container of a node.
fn container(node: &str) -> String {
    controlled_container(&"x".parse().expect("it is a name"), &node.parse().expect("it is a name"))
}

/// The first process of it, as the host sees it.
pub(crate) fn pid(host: &Host, node: &str) -> Result<String> {
    let shown = host.docker(&["inspect", "--format", "{{.State.Pid}}", &container(node)])?;
    shown.into_iter().next().context("a container has no process")
}

/// Everything of the interfaces of host and nodes and of the ports that must stay as it is: numbers, names, addresses, MTUs,
/// tags; and who runs.
pub(crate) fn wiring(host: &Host) -> Result<BTreeSet<String>> {
    let switch = host.switch().context("no switch")?;
    let mut all = BTreeSet::new();
    for node in INHERITED {
        all.insert(format!("{node} is process {}", pid(host, node)?));
        all.extend(links(&within(host, node, &["ip", "-o", "link", "show"])?, node));
        let addresses = within(host, node, &["ip", "-o", "-4", "address", "show"])?;
        all.extend(addresses.lines().map(|line| format!("{node} {line}")));
    }
    let links_of_host = links(&run("ip", &["-o", "link", "show"])?, "host");
    all.extend(
        links_of_host.into_iter().filter(|link| ["vh", "vx"].iter().any(|kind| link.contains(&format!(" {kind}")))),
    );
    let ports = vsctl(switch, "--format=csv --columns=_uuid,name,tag list port");
    let interfaces = vsctl(switch, "--format=csv --columns=_uuid,name,ofport list interface");
    all.extend(ports.lines().chain(interfaces.lines()).map(str::to_owned));
    Ok(all)
}

/// `2: eth1@if3: <UP> mtu 1500 …`: a name and what is before the queue; the peer may be shown in another way where its namespace
/// is named.
fn links(shown: &str, place: &str) -> Vec<String> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().take(5).collect();
        let [number, name, flags, mtu @ ..] = words.as_slice() else { return place.to_owned() };
        let name = name.split(['@', ':']).next().unwrap_or_default();
        format!("{place} {number} {name} {flags} {}", mtu.join(" "))
    };
    shown.lines().map(line).collect()
}

fn within(host: &Host, node: &str, words: &[&str]) -> Result<String> {
    let pid = pid(host, node)?;
    run("nsenter", &[&["--target", &pid, "--net"], words].concat())
}

fn run(program: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(program).args(words).output().with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {said}", words.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn vsctl(switch: &Ovs, words: &str) -> String {
    switch.vsctl(words.split_whitespace())
}
