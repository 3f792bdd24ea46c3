//! A host with Docker, Open vSwitch and an agent that has joined the double of a controller.

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;

use netloom_dockerd_fixture::archive;
use netloom_fault_kit::Proxy;
use netloom_ovs_fixture::Ovs;
use serde_json::{Value, json};

use super::client::Client;
use super::double::{Controller, SECRET};
use super::steps::{LAB, Node};
use super::traffic::Traffic;
use crate::docker::host::DockerHost;

/// The id that the controller gives to the agent of a rig, which calls itself otherwise.
pub(crate) const AGENT: &str = "fake0001";

/// Where the controller listens on its host.
const CONTROLLER: ([u8; 4], u16) = ([127, 0, 0, 1], 8000);

/// A host whose agent is driven by a controller.
pub(crate) struct Rig {
    pub(crate) controller: Controller,
    pub(crate) agent: Client,
    pub(crate) docker: Option<Proxy>,
    host: Machine,
}

/// A host with Docker and Open vSwitch, and what its agent is told.
pub(crate) struct Machine {
    // Ends first: it is in the sandbox.
    pub(crate) ovs: Ovs,
    pub(crate) host: DockerHost,
}

impl Deref for Machine {
    type Target = DockerHost;

    fn deref(&self) -> &DockerHost {
        &self.host
    }
}

impl Deref for Rig {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.host
    }
}

/// What the agent of a machine is told, in the variables of its environment.
pub(crate) struct Told<'a> {
    pub(crate) controller: SocketAddr,
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) host: &'a str,
}

impl Machine {
    /// One without an agent; `None`, loudly, where it cannot be had.
    pub(crate) fn new() -> Option<Self> {
        Self::on(DockerHost::new()?)
    }

    /// One whose daemon finds the plugin of another agent.
    pub(crate) fn plugged() -> Option<Self> {
        Self::on(DockerHost::plugged()?)
    }

    fn on(host: DockerHost) -> Option<Self> {
        let ovs = Ovs::start_with_switch_by(&mut host.command("env"))?;
        Some(Self { ovs, host })
    }

    /// Tells what its agent has to know, from its next start on.
    pub(crate) fn tell(&mut self, told: &Told<'_>) {
        let Told { controller, id, name, host } = told;
        self.host.environment().extend([
            ("NETLOOM_OVS_SOCKET", self.ovs.socket().display().to_string()),
            ("NETLOOM_SECRET", SECRET.to_owned()),
            ("NETLOOM_CONTROLLER", format!("http://{controller}")),
            ("NETLOOM_AGENT_ID", (*id).to_owned()),
            ("NETLOOM_AGENT_NAME", (*name).to_owned()),
            ("NETLOOM_ADVERTISE_HOST", (*host).to_owned()),
            ("NETLOOM_LISTEN", format!("{host}:8001")),
        ]);
    }

    /// Has the programs of the host reach Docker by another socket.
    pub(crate) fn docker_by(&mut self, socket: &Path) {
        self.host.environment().push(("DOCKER_HOST", format!("unix://{}", socket.display())));
    }

    pub(crate) fn start_agent(&self) {
        self.netloom(&["agent", "--background"]).code(0);
    }
}

impl Rig {
    /// One whose agent has registered; `None`, loudly, where it cannot be had.
    pub(crate) fn new() -> Option<Self> {
        Machine::new().map(Self::with)
    }

    /// One on whose host something is before its agent comes.
    pub(crate) fn after(before: impl FnOnce(&mut Machine)) -> Option<Self> {
        Machine::new().map(|machine| Self::on(machine, before))
    }

    /// The same on a machine that is there.
    pub(crate) fn on(mut machine: Machine, before: impl FnOnce(&mut Machine)) -> Self {
        before(&mut machine);
        Self::with(machine)
    }

    /// One whose agent reaches Docker by a proxy that can make it slow or ill.
    pub(crate) fn with_ill_docker() -> Option<Self> {
        let mut host = Machine::new()?;
        let proxy = Proxy::start(&host.daemon.socket()).unwrap();
        let own = host.daemon.socket();
        host.docker_by(&proxy.socket());
        let mut rig = Self::with(host);
        rig.docker = Some(proxy);
        // Only the agent was to have it.
        rig.host.docker_by(&own);
        Some(rig)
    }

    /// Has a node run whose device is played by an image of this name, with the script that it runs and with these programs.
    #[track_caller]
    pub(crate) fn plays(&self, node: Node, (image, script): (&str, &str), programs: &[(&str, &[u8], u32)]) {
        let path = self.labs.path().join("device.tar");
        let config = json!({ "Cmd": ["/bin/sh", "-c", script], "Env": ["PATH=/bin"] });
        // Some devices have their first program by its name.
        let init = format!("#!/bin/sh\n{script}\n");
        let programs = [programs, &[("sbin/init", init.as_bytes(), 0o755)]].concat();
        fs::write(&path, archive(image, &config, &programs)).unwrap();
        self.docker(&format!("load -q -i {}", path.display()));
        self.until("its image is seen", |_| self.agent.image_exists(image));
        let mut body = node.to_create();
        (body["image"], body["readiness_probe"]) = (json!(image), json!("log_pattern"));
        for (call, body) in [("create", &body), ("start", &json!({}))] {
            let answer = self.agent.post(&format!("/labs/{LAB}/nodes/{}/{call}?provider=docker", node.name), body);
            assert_eq!(answer["success"], true, "{answer:#}");
        }
    }

    fn with(mut host: Machine) -> Self {
        let controller = SocketAddr::from(CONTROLLER);
        host.tell(&Told { controller, id: "b39a05df", name: "rack1", host: "127.0.0.1" });
        let controller = Controller::listen(host.netns(), controller);
        controller.assign("rack1", AGENT);
        host.start_agent();
        let agent = controller.agent(AGENT);
        let rig = Self { controller, agent, docker: None, host };
        rig.until("Docker and Open vSwitch are seen", |_| is_whole(&rig.agent));
        rig
    }
}

/// Whether the agent has what containers need of its host.
pub(crate) fn is_whole(agent: &Client) -> bool {
    agent.get("/ovs/status")["initialized"] == true && agent.get("/capacity")["memory_total_gb"].is_number()
}

impl Machine {
    /// The tags of the ports of nodes and tunnels in Open vSwitch, as `name tag`.
    pub(crate) fn ports(&self) -> Vec<String> {
        // It is made with the first port.
        if !self.ovs.vsctl(["list-br"]).lines().any(|bridge| bridge == "arch-ovs") {
            return Vec::new();
        }
        let bridge = self.ovs.vsctl(["list-ports", "arch-ovs"]);
        let mut ports: Vec<String> = bridge
            .lines()
            .map(|port| format!("{port} {}", self.tag(port).map_or("none".to_owned(), |tag| tag.to_string())))
            .collect();
        ports.sort();
        ports
    }

    /// The tag of a port in Open vSwitch.
    pub(crate) fn tag(&self, port: &str) -> Option<u64> {
        self.ovs.vsctl(["get", "port", port, "tag"]).trim().parse().ok()
    }

    /// The process of a container, as it is seen on the host.
    #[track_caller]
    pub(crate) fn pid_of(&self, container: &str) -> String {
        self.docker(&format!("inspect --format '{{{{.State.Pid}}}}' {container}"))
    }

    /// Gives an interface of a container an address, which its node may not do by itself.
    #[track_caller]
    pub(crate) fn address(&self, container: &str, interface: &str, address: &str) {
        let pid = self.pid_of(container);
        let script = format!("ip address replace {address} dev {interface} && ip link set {interface} up");
        self.sh(&format!("nsenter --target {pid} --net sh -c '{script}'")).code(0);
    }

    /// Whether a packet of this much content goes from a container there and back in one piece.
    pub(crate) fn reaches(&self, container: &str, address: &str, content: usize) -> bool {
        let pid = self.pid_of(container);
        let ping = format!("ping -n -c 1 -W 1 -M do -s {content} {address}");
        self.sh(&format!("nsenter --target {pid} --net {ping}")).code == 0
    }

    /// What a lab could leave on a host: containers, volumes, networks, interfaces, ports.
    pub(crate) fn leavings(&self) -> Vec<String> {
        let script = "docker ps --all --format 'container {{.Names}}'; docker volume ls --quiet | sed 's/^/volume /'
            docker network ls --format 'network {{.Name}}'
            ip -oneline link | sed 's/^[0-9]*: \\([^:@]*\\).*/link \\1/'";
        let mut all: Vec<String> = self.sh(script).code(0).out.lines().map(str::to_owned).collect();
        // The bridge is the host's.
        all.retain(|line| !["link arch-ovs", "link ovs-netdev", "link ovs-system"].contains(&line.as_str()));
        all.extend(self.ports().into_iter().map(|port| format!("port {port}")));
        all.sort();
        all
    }
}

/// The container of a node.
pub(crate) fn container(lab: &str, node: &str) -> String {
    format!("archetype-{}-{node}", &lab[..20.min(lab.len())])
}

/// A field that has to be a text.
#[track_caller]
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("`{field}` is no text in {value:#}"))
}

/// A field that has to be a number.
#[track_caller]
pub(crate) fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("`{field}` is no number in {value:#}"))
}

#[test]
fn what_is_on_a_machine_is_seen_without_an_agent() {
    let Some(machine) = Machine::new() else { return };
    let bridge = "add-br arch-ovs -- set bridge arch-ovs datapath_type=netdev";
    machine.ovs.vsctl(bridge.split(' '));
    let before = machine.leavings();
    let name = container("11c55636-995a-43e9-93d5-009dd12a071a", "r1");
    assert_eq!(name, "archetype-11c55636-995a-43e9-9-r1");
    machine.docker(&format!("run --detach --tty --name {name} --network none {}", crate::docker::host::IMAGE));
    let pid = machine.pid_of(&name);
    machine.sh(&format!("ip link add vhnear type veth peer eth1 netns {pid} && ip link set vhnear up")).code(0);
    machine.sh("ip address add 10.0.1.1/24 dev vhnear").code(0);
    machine.address(&name, "eth1", "10.0.1.2/24");
    let traffic = Traffic::start(&machine, &name, "10.0.1.1");
    assert!(machine.reaches(&name, "10.0.1.1", 1400) && !machine.reaches(&name, "10.0.1.1", 1480));
    traffic.lost_nothing();
    machine.sh("ip address flush dev vhnear").code(0);
    machine.ovs.vsctl(["add-port", "arch-ovs", "vhnear", "tag=2050"]);
    assert_eq!((machine.ports(), machine.tag("vhnear")), (vec!["vhnear 2050".to_owned()], Some(2050)));
    let left: Vec<String> = machine.leavings().into_iter().filter(|one| !before.contains(one)).collect();
    assert_eq!(left, [&format!("container {name}"), "link vhnear", "port vhnear 2050"]);
    machine.ovs.vsctl(["del-port", "arch-ovs", "vhnear"]);
    machine.docker(&format!("rm --force {name}"));
    machine.until("all of it is gone", |_| machine.leavings() == before);
}
