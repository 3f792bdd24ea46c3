//! Who reaches the nodes of a management network past the firewall that Docker keeps, and what is left of that: nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::host::{DockerHost, IMAGE, docker_is};
use crate::sandbox::NETLOOM;

/// A host with a firewall, and another one on a network that it routes to, which knows no way back.
struct Guarded {
    host: DockerHost,
    /// The process whose network the other one is.
    world: String,
}

impl Guarded {
    fn new() -> Option<Self> {
        let host = DockerHost::guarded()?;
        let world = host.sh("unshare --net sleep 100000 >/dev/null 2>&1 & echo $!").code(0).out.trim().to_owned();
        host.until("it has a network of its own", |host| {
            host.sh(&format!("[ $(readlink /proc/{world}/ns/net) != $(readlink /proc/self/ns/net) ]")).code == 0
        });
        let wire = format!(
            "ip link add w0 type veth peer name w1 netns {world}
             ip address add 10.50.0.1/24 dev w0; ip address add fd50::1/64 dev w0 nodad; ip link set w0 up
             nsenter -t {world} -n sh -c 'ip address add 10.50.0.2/24 dev w1
                 ip address add fd50::2/64 dev w1 nodad; ip link set w1 up; ip -6 route add default via fd50::1'
             iptables --wait 5 -P FORWARD DROP"
        );
        host.sh(&wire).code(0);
        // What Docker leaves of its first network stays for all others.
        host.docker("network create first");
        host.docker("network rm first");
        Some(Self { host, world })
    }

    /// Whether a script of the other host ends well.
    fn world(&self, script: &str) -> bool {
        self.host.sh(&format!("nsenter -t {} -n bash -c '{script}'", self.world)).code == 0
    }

    fn world_pings(&self, address: &str) -> bool {
        self.world(&format!("ping -c 1 -W 2 {address}"))
    }

    /// The other host learns where the nodes are.
    fn route_back(&self) {
        assert!(self.world("ip route add 172.20.20.0/24 via 10.50.0.1"));
    }

    /// All rules of the host.
    fn rules(&self) -> Vec<String> {
        let saved = self.host.sh("iptables-save; ip6tables-save").code(0).out;
        let rules = saved.lines().filter(|line| !line.starts_with('#'));
        rules.map(|line| line.split(" [").next().unwrap().to_owned()).collect()
    }

    fn our_rules(&self) -> usize {
        self.rules().iter().filter(|rule| rule.contains("netloom:")).count()
    }

    fn deploy(&self, mgmt: &str) -> String {
        let lab = format!(
            "name: x
mgmt: {{ bridge: br-test{mgmt} }}
topology:
  defaults: {{ kind: linux, image: \"{IMAGE}\" }}
  nodes:
    a: {{ mgmt-ipv4: 172.20.20.10, mgmt-ipv6: \"3fff:172:20:20::a\" }}
    web: {{ cmd: \"httpd -f -p 80 -h /etc\", ports: [\"8080:80\"], mgmt-ipv4: 172.20.20.11 }}
"
        );
        let file = self.host.topology("x", &lab);
        self.host.netloom(&["deploy", "-t", &file]).code(0);
        file
    }
}

/// A script that ends well if a node answers at this address of the host.
fn ask(address: &str) -> String {
    format!(
        "exec 3<>/dev/tcp/{address}/8080; printf \"GET /passwd HTTP/1.0\\r\\n\\r\\n\" >&3; timeout 10 grep -q nobody <&3"
    )
}

#[test]
fn others_reach_nodes_past_dockers_firewall_and_afterwards_it_is_as_it_was() {
    let Some(guarded) = Guarded::new() else { return };
    let (before, rules) = (guarded.host.all_traces(), guarded.rules());
    let file = guarded.deploy("");
    let host = &guarded.host;
    assert!(host.pings("a", "web") && host.pings("web", "a") && host.pings("a", "clab-x-web"));
    assert!(host.pings("a", "10.50.0.2"), "the host stands for nodes that nobody knows the way to");
    assert!(host.sh(&format!("bash -c '{}'", ask("127.0.0.1"))).code == 0, "a published port answers on the host");
    assert!(guarded.world(&ask("10.50.0.1")), "and to others");
    guarded.route_back();
    for address in ["172.20.20.10", "172.20.20.11", "3fff:172:20:20::a"] {
        host.wait(address, |_| guarded.world_pings(address));
    }
    assert_eq!(guarded.our_rules(), 2, "{:#?}", guarded.rules());

    host.sh("iptables --wait 5 -F DOCKER-USER").code(0);
    host.wait("what was taken away comes back", |_| guarded.our_rules() == 2);
    assert!(guarded.world_pings("172.20.20.10"));
    host.sh("iptables --wait 5 -A DOCKER-USER -j RETURN").code(0);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");

    host.netloom(&["destroy", "-t", &file]).code(0);
    assert_eq!(guarded.rules(), rules);
    before.are_all(host);
}

#[test]
fn without_external_access_nobody_reaches_nodes_and_nobody_is_reached_by_them() {
    let Some(guarded) = Guarded::new() else { return };
    let (before, rules) = (guarded.host.all_traces(), guarded.rules());
    guarded.deploy(", external-access: false");
    let host = &guarded.host;
    assert!(!host.pings("a", "10.50.0.2"), "the host stands for nobody");
    guarded.route_back();
    assert!(host.pings("a", "10.50.0.2"));
    assert!(!guarded.world_pings("172.20.20.10") && guarded.our_rules() == 0);
    assert!(host.pings("a", "web") && host.sh("ping -c 1 -W 2 172.20.20.10").code == 0);

    // What a file says of it later is so at once.
    guarded.deploy(", external-access: true");
    host.wait("others reach it now", |_| guarded.world_pings("172.20.20.10"));
    guarded.deploy(", external-access: false");
    host.wait("and not any more", |_| guarded.our_rules() == 0);
    assert!(!guarded.world_pings("172.20.20.10"));

    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(guarded.rules(), rules);
    before.are_all(host);
}

#[test]
fn rules_of_the_host_come_before_those_of_a_lab() {
    let Some(guarded) = Guarded::new() else { return };
    let host = &guarded.host;
    host.sh("iptables --wait 5 -I DOCKER-USER -d 172.20.20.11 -j DROP").code(0);
    let rules = guarded.rules();
    guarded.deploy("");
    guarded.route_back();
    host.wait("what is not forbidden is let through", |_| guarded.world_pings("172.20.20.10"));
    assert!(!guarded.world_pings("172.20.20.11"));
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(guarded.rules(), rules);
}

#[test]
fn a_firewall_that_cannot_be_looked_at_is_a_warning_and_fails_no_lab() {
    let Some(guarded) = Guarded::new() else { return };
    let host = &guarded.host;
    let programs = host.labs.path().join("programs");
    let broken = programs.join("iptables-save");
    fs::create_dir(&programs).unwrap();
    fs::write(&broken, "#!/bin/sh\necho it is broken >&2\nexit 1\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    host.netloom(&["agent", "stop"]).code(0);
    host.sh(&format!("PATH={}:$PATH {NETLOOM} agent --background", programs.display())).code(0);
    host.wait("the daemon is seen", |host| docker_is(host, "ok"));
    guarded.deploy("");
    let said = "others may not reach its nodes by IPv4: `iptables-save`: it is broken";
    host.wait("it is said", |host| host.log().contains(said));
    assert_eq!(guarded.our_rules(), 0);
    assert!(host.pings("a", "web"));

    fs::remove_file(&broken).unwrap();
    host.wait("it is looked at again", |_| guarded.our_rules() == 2);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(guarded.our_rules(), 0);
}
