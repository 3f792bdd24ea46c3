//! Two agents on one host: each sees and touches only what is its own, whatever happens to either.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::Value;

use crate::recovery::fixed;
use crate::sandbox::{Ended, NETLOOM, PATIENCE, Sandbox};

/// An agent with a root of its own.
pub(crate) struct Agent<'a> {
    host: &'a Sandbox,
    pub(crate) root: PathBuf,
    port: u16,
}

impl<'a> Agent<'a> {
    pub(crate) fn new(host: &'a Sandbox, root: &str, port: u16) -> Self {
        let agent = Self { host, root: host.root.path().join(root), port };
        std::fs::create_dir_all(&agent.root).unwrap();
        agent.start();
        agent
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.host.command(program);
        command.env("NETLOOM_ROOT", &self.root).env("NETLOOM_LISTEN", format!("127.0.0.1:{}", self.port));
        command
    }

    pub(crate) fn netloom(&self, arguments: &[&str]) -> Ended {
        Ended::from(&self.command(NETLOOM).args(arguments).output().unwrap())
    }

    pub(crate) fn sh(&self, script: &str) -> Ended {
        Ended::from(&self.command("sh").args(["-c", script]).output().unwrap())
    }

    pub(crate) fn start(&self) {
        self.netloom(&["agent", "--background"]).code(0);
    }

    pub(crate) fn kill(&self) {
        let pid = self.netloom(&["agent", "status", "--json"]).code(0).json()["pid"].to_string();
        self.sh(&format!("kill -KILL {pid}")).code(0);
        self.host.until("it is gone", |_| self.netloom(&["agent", "status"]).code == 3);
    }

    fn lab(&self) -> Value {
        fixed(&self.netloom(&["inspect", "--name", "twin", "--json"]).code(0).json())
    }

    /// Waits until its lab is seen just so.
    fn has(&self, lab: &Value) {
        self.host.until("its lab is as it was", |_| {
            let shown = self.netloom(&["inspect", "--name", "twin", "--json"]);
            shown.code == 0 && &fixed(&shown.json()) == lab
        });
        self.netloom(&["exec", "twin/a", "--", "ping", "-c", "1", "-W", "5", "b"]).code(0);
    }

    /// Everything of it that is seen without an agent.
    fn things(&self) -> Vec<String> {
        let said = self.sh(r#"cd "$NETLOOM_ROOT/run/netloom"
            for pin in netns/*/*; do echo "$pin"; nsenter --net="$pin" ip -o link show; done
            ls -l "$NETLOOM_ROOT/run/netns"; find nodes labs "$NETLOOM_ROOT/var/lib/netloom/layers" | sort
            for node in nodes/*/*/status.json; do cat "$node"; done
            instance=$(grep -ho '"instance":"[^"]*"' nodes/*/*/node.json | head -1 | cut -d'"' -f4)
            ip -o link show | grep "netloom/$instance/"
            find /sys/fs/cgroup -path "*/netloom/$instance/*" -name cgroup.procs | sort | xargs grep ."#);
        said.out.lines().map(str::to_owned).collect()
    }
}

#[track_caller]
fn same(now: &[String], before: &[String]) {
    let without = |some: &[String], others: &[String]| {
        some.iter().filter(|line| !others.contains(line)).cloned().collect::<Vec<_>>()
    };
    let (new, gone) = (without(now, before), without(before, now));
    assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}");
}

/// Same lab, same nodes; what is in the host's namespace has other names.
fn twin(host: &Sandbox, of: &str) -> String {
    let text = format!(
        "name: twin\ntopology:\n  defaults: {{ kind: linux, runtime: namespace }}\n  nodes:\n    a: {{ cmd: sleep 100000 }}\n    \
         b:\n    nl-br-{of}: {{ kind: bridge }}\n  links:\n    - {{ endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.0.0.1/24, \
         10.0.0.2/24] }}\n    - endpoints: [\"a:eth2\", \"host:nl-h-{of}\"]\n    - endpoints: [\"b:eth2\", \
         \"nl-br-{of}:nl-p-{of}\"]\n"
    );
    host.topology(&format!("twin-{of}"), &text)
}

fn guest(host: &Sandbox, name: &str, nodes: &str, end: &str) -> String {
    let text = format!(
        "name: {name}\ntopology:\n  nodes:\n    c: {{ kind: linux, runtime: namespace }}\n{nodes}  links:\n    - endpoints: \
         [\"c:eth1\", \"{end}\"]\n"
    );
    host.topology(name, &text)
}

#[test]
fn two_agents_never_touch_each_others_objects() {
    let Some(host) = Sandbox::new() else { return };
    let (one, two) = (Agent::new(&host, "one", 8001), Agent::new(&host, "two", 8002));
    let (first, second) = (twin(&host, "1"), twin(&host, "2"));
    // Each has needed its directories once.
    for (agent, file) in [(&one, &first), (&two, &second)] {
        agent.netloom(&["deploy", "-t", file]).code(0);
        agent.netloom(&["destroy", "--all"]).code(0);
    }
    let before = host.traces();
    one.netloom(&["deploy", "-t", &first]).code(0);
    two.netloom(&["deploy", "-t", &second]).code(0);
    let (lab_one, lab_two) = (one.lab(), two.lab());
    let (things_one, things_two) = (one.things(), two.things());
    for (things, of) in [(&things_one, '1'), (&things_two, '2')] {
        for thing in ["eth2", &format!("nl-h-{of}"), &format!("nl-br-{of}"), "clab-twin-a", "upper", "cgroup.procs:"] {
            assert!(things.iter().any(|line| line.contains(thing)), "no {thing} in: {things:#?}");
        }
    }

    // The names of the host are everybody's.
    let taken = guest(&host, "taken", "", "host:nl-h-1");
    two.netloom(&["deploy", "-t", &taken]).code(2).says("already has an interface `nl-h-1`");
    let no_bridge = guest(&host, "nobridge", "    nl-h-1: { kind: bridge }\n", "nl-h-1:nl-p-3");
    two.netloom(&["deploy", "-t", &no_bridge]).code(2).says("nl-h-1");
    // A bridge of another is used as any bridge of the host is, and stays.
    let used = guest(&host, "used", "    nl-br-1: { kind: bridge }\n", "nl-br-1:nl-p-3");
    two.netloom(&["deploy", "-t", &used]).code(0);
    two.netloom(&["destroy", "--name", "used"]).code(0);
    same(&one.things(), &things_one);
    same(&two.things(), &things_two);

    // Killed, and started again in the other order.
    one.kill();
    two.kill();
    same(&one.things(), &things_one);
    same(&two.things(), &things_two);
    two.start();
    one.start();
    one.has(&lab_one);
    two.has(&lab_two);
    same(&one.things(), &things_one);
    same(&two.things(), &things_two);

    // One removes everything of its own while the other is dead …
    one.kill();
    two.netloom(&["destroy", "--all"]).code(0);
    same(&one.things(), &things_one);
    one.start();
    one.has(&lab_one);
    // … and while it lives.
    two.netloom(&["deploy", "-t", &second]).code(0);
    let (lab_two, things_two) = (two.lab(), two.things());
    one.netloom(&["destroy", "--all"]).code(0);
    two.has(&lab_two);
    same(&two.things(), &things_two);
    one.netloom(&["inspect", "--all"]).code(0);
    assert!(!one.netloom(&["inspect", "--all"]).out.contains("twin"));
    two.netloom(&["destroy", "--all"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_bridge_that_another_agents_lab_is_on_outlives_its_maker_with_the_reason() {
    let Some(host) = Sandbox::new() else { return };
    let (one, two) = (Agent::new(&host, "one", 8001), Agent::new(&host, "two", 8002));
    let first = twin(&host, "1");
    one.netloom(&["deploy", "-t", &first]).code(0);
    let used = guest(&host, "used", "    nl-br-1: { kind: bridge }\n", "nl-br-1:nl-p-3");
    two.netloom(&["deploy", "-t", &used]).code(0);
    let mut destroy = one.command(NETLOOM);
    destroy.args(["destroy", "--name", "twin"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut destroy = destroy.spawn().unwrap();
    let mut said = BufReader::new(destroy.stderr.take().unwrap()).lines().map_while(Result::ok);
    // On a thread of its own: a pipe is read without end as long as nothing is said.
    let (heard, waits) = mpsc::sync_channel(1);
    thread::spawn(move || heard.send(said.any(|line| line.contains("it still has ports: nl-p-3"))));
    assert_eq!(waits.recv_timeout(PATIENCE), Ok(true), "it says what it waits for");
    two.netloom(&["exec", "used/c", "--", "ip", "link", "show", "dev", "eth1"]).code(0).says("LOWER_UP");
    two.netloom(&["destroy", "--name", "used"]).code(0);
    assert!(destroy.wait().unwrap().success());
    assert_ne!(host.sh("ip link show nl-br-1").code, 0);
}
