//! The floor: a ring of paused processes, each in five new namespaces, wired by links made in place, both ends
//! up. One thread, no engine, no file system of their own, no marks: what the kernel alone takes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netloom_kernel::{AdminState, LinkChange, Netns, Place, Request, Rtnl, Spawner, Surroundings, VethEnd, unpin};
use netloom_model::Mtu;

/// Makes a ring of `size` nodes and returns how long that took; it is gone when this returns.
pub(crate) fn ring(size: usize) -> Result<Duration> {
    let pins = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let spawner = Spawner::start(&[])?;
    let rtnl = Rtnl::start(Netns::host()?)?;
    let deadline = Instant::now() + Duration::from_secs(300);
    let started = Instant::now();
    let mut nodes = Vec::with_capacity(size);
    for node in 0..size {
        let pin = pins.path().join(node.to_string());
        let netns = Netns::create_pinned(&pin)?;
        let mut command = Command::new("/bin/sleep");
        command.arg("infinity").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let spawned = runtime.block_on(spawner.spawn(Surroundings::Node(netns.clone()), command, deadline))?;
        nodes.push((pin, netns, spawned));
    }
    let place = |node: usize| Place::node(nodes[node % size].1.clone(), format!("n{node}"));
    let links = if size > 1 { size } else { 0 };
    let (mut create, mut up) = (Vec::with_capacity(links), Vec::with_capacity(links));
    for node in 0..links {
        let index = u32::try_from(2 * node)? + 1000;
        let end = |at: usize, name: &str, ifindex: u32| -> Result<VethEnd> {
            let name = name.parse().context("a valid name")?;
            Ok(VethEnd { place: place(at), name, ifindex: Some(ifindex), mac: None, mtu: Some(Mtu::DEFAULT), group: 1 })
        };
        let (a, b) = (end(node, "eth1", index)?, end(node + 1, "eth2", index + 1)?);
        create.push(Request::CreateVeth { a, b, a_state: AdminState::Up, a_master: None });
        // The kernel takes only the first end as up.
        let change = LinkChange { state: Some(AdminState::Up), ..LinkChange::default() };
        up.push(Request::SetLink { place: place(node + 1), ifindex: index + 1, change });
    }
    for batch in [create, up] {
        for answer in runtime.block_on(rtnl.submit(batch, deadline))? {
            answer?;
        }
    }
    let took = started.elapsed();
    for (pin, netns, mut spawned) in nodes {
        drop(netns);
        spawned.child.kill()?;
        if spawned.child.wait()?.success() {
            bail!("a paused process ended by itself");
        }
        unpin(&pin)?;
    }
    Ok(took)
}
