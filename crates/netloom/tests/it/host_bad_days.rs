//! Bad days of the host itself: processes of others in the way, hands on our objects, a process that is stopped, disks
//! that are full or frozen, too few descriptors.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::bad_days::ring;
use crate::lab::{node, pair};
use crate::sandbox::{Ended, NETLOOM, Sandbox};

/// A process of somebody else in a sandbox; it ends with this.
struct Foreign<'a> {
    host: &'a Sandbox,
    pid: String,
    child: Child,
}

impl Drop for Foreign<'_> {
    fn drop(&mut self) {
        self.host.sh(&format!("kill -KILL {}", self.pid));
        let _ = self.child.wait();
    }
}

/// Starts a process that runs `script` behind `way` (a program that goes somewhere), and waits until it is there.
fn foreign<'a>(host: &'a Sandbox, way: &str, script: &str) -> Foreign<'a> {
    let script = format!("echo $$; exec {way} sh -c '{script} && echo ready && exec sleep 1000'");
    let mut child = host.command("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = lines.next().unwrap().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    Foreign { host, pid, child }
}

fn pid_of(host: &Sandbox, lab: &str, name: &str) -> String {
    node(&host.lab(lab), name)["pid"].to_string()
}

#[test]
fn a_foreign_process_in_a_nodes_namespaces_keeps_no_destroy_from_ending() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    for spaces in ["--net", "--net --mount", "--mount --uts --ipc", "--net --mount --uts --ipc --pid"] {
        let before = host.traces();
        host.netloom(&["deploy", "-t", &file]).code(0);
        let pid = pid_of(&host, "x", "a");
        let guest = foreign(&host, &format!("nsenter --target {pid} {spaces}"), "true");
        host.netloom(&["destroy", "--name", "x"]).code(0);
        // The lab can come and go beside what is left of the old one.
        host.netloom(&["deploy", "-t", &file]).code(0);
        host.netloom(&["exec", "x/a", "--", "ping", "-c", "1", "-W", "5", "b"]).code(0);
        host.netloom(&["destroy", "--name", "x"]).code(0);
        drop(guest);
        before.are_all(&host);
    }
}

#[test]
fn a_foreign_process_in_a_nodes_group_is_put_out_of_it_and_lives() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let instance = host.netloom(&["agent", "status", "--json"]).json()["instance"].as_str().unwrap().to_owned();
    let find = format!("find /sys/fs/cgroup -path \"*/{instance}/lab-x/node-a/cgroup.procs\" 2>/dev/null");
    let guest = foreign(&host, "env", &format!("for file in $({find}); do echo $$ > $file || exit 1; done"));
    host.netloom(&["destroy", "--name", "x"]).code(0);
    host.sh(&format!("kill -0 {}", guest.pid)).code(0);
    assert!(host.log().contains("processes of others are moved out"), "{}", host.log());
    drop(guest);
    before.are_all(&host);
}

#[test]
fn mounts_that_are_busy_keep_no_destroy_from_ending() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    let before = host.traces();
    host.netloom(&["deploy", "-t", &file]).code(0);
    let layer = "$NETLOOM_ROOT/var/lib/netloom/layers/x/a/upper";
    let pin = "$NETLOOM_ROOT/run/netloom/netns/x/a";
    host.netloom(&["exec", "x/a", "--", "mkdir", "-p", "/srv/here"]).code(0);
    let inside = foreign(&host, "env", &format!("cd {layer}/srv/here"));
    let bound = "$NETLOOM_ROOT/bound";
    host.sh(&format!("touch {bound} && mount --bind {pin} {bound}")).code(0);
    // Another mount namespace has a copy of every mount, the pins among them.
    let copy = foreign(&host, "unshare --mount --propagation unchanged", "true");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    host.sh(&format!("umount {bound} && rm {bound}")).code(0);
    drop((inside, copy));
    before.are_all(&host);
}

#[test]
fn a_mount_on_what_a_node_has_written_is_named_and_waited_for() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    let before = host.traces();
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.sh("mount -t tmpfs none $NETLOOM_ROOT/var/lib/netloom/layers/x/a/upper").code(0);
    // Tried five times, 15 seconds in all.
    let way_out = format!("`umount {}/var/lib/netloom/layers/x/a/upper`", host.root.path().display());
    host.netloom(&["destroy", "--name", "x"]).code(1).says("busy").says(&way_out);
    host.sh("umount $NETLOOM_ROOT/var/lib/netloom/layers/x/a/upper").code(0);
    host.until("the rest goes by itself", |host| !host.netloom(&["inspect"]).out.contains("x "));
    before.are_all(&host);
}

#[test]
fn what_ip_netns_does_by_hand_comes_back_and_what_is_foreign_is_left_alone() {
    let Some(host) = Sandbox::new() else { return };
    let netns = "$NETLOOM_ROOT/run/netns";
    host.sh(&format!("mount -t tmpfs none /run && mkdir -p /run/netns {netns} && mount --bind {netns} /run/netns"))
        .code(0);
    host.sh(&format!("NETLOOM_RELIST_SECONDS=1 {NETLOOM} agent --background")).code(0);
    let file = host.topology("x", &pair("x", ""));
    host.sh("ip netns add foreign").code(0);
    let before = host.traces();
    host.netloom(&["deploy", "-t", &file]).code(0);
    let ping = |host: &Sandbox| {
        host.netloom(&["exec", "x/a", "--", "ping", "-c", "1", "-W", "5", "b"]).code(0);
    };
    let ready = |host: &Sandbox| host.netloom(&["inspect"]).out.contains("x    ready");
    host.sh("ip netns exec clab-x-a ip -o address show dev eth1").code(0).says("10.0.0.1/24");
    let pid = pid_of(&host, "x", "a");

    host.sh("ip netns add clab-x-c && ip netns del clab-x-c").code(0);
    // A name that is ours is a link to our pin, and what is at its end goes.
    host.sh("ip netns del clab-x-a").code(0);
    host.until("it is pinned again", |host| host.sh("ip netns exec clab-x-a true").code == 0);
    host.until("it is seen again", ready);
    ping(&host);
    assert_eq!(pid_of(&host, "x", "a"), pid, "it ran on");

    // With nothing that runs in it the namespace is gone for good, and is made anew.
    host.netloom(&["agent", "stop"]).code(0);
    host.sh(&format!("kill -KILL {pid}; ip netns del clab-x-a")).code(0);
    host.sh(&format!("NETLOOM_RELIST_SECONDS=1 {NETLOOM} agent --background")).code(0);
    host.until("it is made again", |host| ready(host) && pid_of(host, "x", "a") != pid);
    ping(&host);

    host.netloom(&["destroy", "--name", "x"]).code(0);
    host.sh("ip netns exec foreign true").code(0);
    before.are_all(&host);
    host.sh("ip netns del foreign").code(0);
}

/// Twelve seconds of packets: more than the ten after which loops are late and calls give up.
const FLOW: &str = "ping -q -i 0.02 -c 600 10.0.0.2";

#[test]
fn an_agent_that_is_stopped_for_a_while_goes_on_as_if_nothing_had_been_and_traffic_never_knew() {
    let Some(host) = Sandbox::with_agent() else { return };
    let (x, file) = (host.topology("x", &pair("x", "")), host.topology("big", &ring("big", 20)));
    host.netloom(&["deploy", "-t", &x]).code(0);
    let before = host.lab("x");
    let deploy = host.start(&["deploy", "-t", &file]);
    host.until("the deploy has begun", |host| host.root.path().join("run/netloom/nodes/big/r1").exists());
    let agent = host.agent();
    host.sh(&format!("kill -STOP {agent}")).code(0);
    // Its end is what is waited for. Not by the agent, which would carry its output.
    let flow = format!("timeout 120 nsenter --target {} --net {FLOW}", node(&before, "a")["pid"]);
    host.sh(&flow).code(0).says("600 packets transmitted, 600 received");
    host.sh(&format!("kill -CONT {agent}")).code(0);

    let ended = Ended::from(&deploy.wait_with_output().unwrap());
    ended.code(0).says("20 of 20");
    assert_eq!((host.answers("/livez"), host.answers("/readyz")), (200, 200));
    for (lab, file) in [("x", &x), ("big", &file)] {
        host.netloom(&["deploy", "-t", file]).code(0).says(&format!("lab {lab}: nothing to change"));
    }
    let after = host.lab("x");
    assert!(["a", "b"].iter().all(|name| node(&after, name)["pid"] == node(&before, name)["pid"]), "{after}");
    host.netloom(&["destroy", "--all"]).code(0);
}

/// Connections that send nothing, or a head without an end.
struct Idle {
    unix: Vec<UnixStream>,
    tcp: Vec<TcpStream>,
}

impl Idle {
    /// As many as there may be, and more.
    fn open(host: &Sandbox) -> Self {
        let socket = host.root.path().join("run/netloom/agent.sock");
        // The queue of the kernel is full when nobody accepts any more.
        let unix = |_| {
            let stream = UnixStream::connect(&socket).ok()?;
            stream.set_nonblocking(true).unwrap();
            Some(stream)
        };
        let tcp = |n: usize| {
            let address = "127.0.0.1:8001".parse().unwrap();
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
            if n.is_multiple_of(2) {
                stream.write_all(b"GET /labs HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").ok()?;
            }
            Some(stream)
        };
        let tcp = host.netns().run(|| (0..120).filter_map(tcp).collect()).unwrap();
        Self { unix: (0..120).filter_map(unix).collect(), tcp }
    }
}

#[test]
fn idle_connections_keep_nobody_from_health_and_take_no_descriptors_from_the_rest() {
    let Some(host) = Sandbox::new() else { return };
    host.sh(&format!("ulimit -n 128; exec {NETLOOM} agent --background")).code(0);
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let agent = host.agent();
    let open = |host: &Sandbox| host.sh(&format!("ls /proc/{agent}/fd | wc -l")).out.trim().parse::<usize>().unwrap();
    let at_rest = open(&host);

    let idle = Idle::open(&host);
    assert!(idle.unix.len() > 60 && idle.tcp.len() > 60, "{} {}", idle.unix.len(), idle.tcp.len());
    for _ in 0..20 {
        assert_eq!(host.answers("/livez"), 200);
    }
    assert!(open(&host) <= 120, "{} are open, {at_rest} were", open(&host));
    let pid = pid_of_init(&host, "x", "a");
    host.sh(&format!("kill -KILL {pid}")).code(0);
    host.until("the node is back", |host| !["", &pid].contains(&pid_of_init(host, "x", "a").as_str()));

    drop(idle);
    host.netloom(&["exec", "x/a", "--", "ping", "-c", "1", "-W", "5", "b"]).code(0);
    let other = host.topology("y", &pair("y", ""));
    host.netloom(&["deploy", "-t", &other]).code(0);
    host.netloom(&["destroy", "--name", "y"]).code(0);
    assert_eq!(host.answers("/readyz"), 200);
    host.until("no descriptor was lost", |host| open(host) <= at_rest + 1);
    host.netloom(&["destroy", "--all"]).code(0);
}

/// The init of a node, without asking the agent.
fn pid_of_init(host: &Sandbox, lab: &str, name: &str) -> String {
    let status = format!("$NETLOOM_ROOT/run/netloom/nodes/{lab}/{name}/status.json");
    let said = host.sh(&format!("sed 's/.*\"init\":{{\"pid\":\\([0-9]*\\).*/\\1/' {status}"));
    said.out.trim().to_owned()
}

/// Descriptors that are left: enough for a probe of health, too few to start anything.
const SPARE: usize = 2;

#[test]
fn with_no_descriptors_left_health_goes_on_and_everything_else_does_afterwards() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let (agent, pid) = (host.agent(), pid_of(&host, "x", "a"));
    let limits = host.sh(&format!("prlimit --pid {agent} --nofile --noheadings --output SOFT,HARD")).code(0).out;
    let limits: Vec<&str> = limits.split_whitespace().collect();
    let open = |host: &Sandbox| {
        let listed = host.sh(&format!("ls /proc/{agent}/fd")).code(0).out;
        listed.lines().map(|number| number.parse().unwrap()).collect::<BTreeSet<usize>>()
    };
    // Numbers are given from below, and some below the highest are free: those are filled up. Numbers far from the rest
    // were asked for (F_DUPFD).
    let (mut limit, mut free) = (0, 0);
    for number in open(&host) {
        if number - limit > 8 {
            break;
        }
        free += number - limit;
        limit = number + 1;
    }
    let set = |limit: usize| host.sh(&format!("prlimit --pid {agent} --nofile={limit}:{}", limits[1])).code(0);
    set(limit);
    let socket = host.root.path().join("run/netloom/agent.sock");
    let idle: Vec<_> = (0..free).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    host.until("none is left", |host| open(host).range(..limit).count() >= limit);
    for _ in 0..20 {
        assert_eq!(host.answers("/livez"), 200);
    }
    // For the command line, so that it can be asked what is wrong.
    set(limit + SPARE);
    host.sh(&format!("kill -KILL {pid}")).code(0);
    let said = |host: &Sandbox| host.netloom(&["events"]).out.to_lowercase();
    host.until("it cannot be started again", |host| said(host).contains("too many open files"));
    drop(idle);

    host.sh(&format!("prlimit --pid {agent} --nofile={}:{}", limits[0], limits[1])).code(0);
    host.until("the command line works again", |host| host.netloom(&["inspect"]).code == 0);
    host.until("the lab is whole again", |host| lives_anew(host, "a", &pid) && all_ready(host, &["x"]));
    host.netloom(&["exec", "x/a", "--", "ping", "-c", "1", "-W", "5", "b"]).code(0);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    assert_eq!(host.answers("/readyz"), 200);
    host.netloom(&["destroy", "--all"]).code(0);
}

/// A disk of a few MiB where the agent keeps something, that can be filled and emptied.
struct Disk<'a> {
    host: &'a Sandbox,
    at: &'static str,
}

impl<'a> Disk<'a> {
    fn mount(host: &'a Sandbox, at: &'static str) -> Self {
        host.sh(&format!(
            "mkdir -p $NETLOOM_ROOT/{at} && mount -t tmpfs -o size=8m,nr_inodes=400 none $NETLOOM_ROOT/{at}"
        ))
        .code(0);
        Self { host, at }
    }

    /// Leaves no room for anything, not even an empty file.
    fn fill(&self) {
        let script = "cd $NETLOOM_ROOT/AT && mkdir filler; dd if=/dev/zero of=filler/data bs=4k; n=0; while : > filler/$n; do n=$((n+1)); done";
        self.host.sh(&format!("({}) 2>/dev/null; true", script.replace("AT", self.at)));
        self.host.sh(&format!("echo x > $NETLOOM_ROOT/{}/probe", self.at)).code(2);
    }

    fn empty(&self) {
        self.host.sh(&format!("rm -r $NETLOOM_ROOT/{}/filler", self.at)).code(0);
    }
}

/// Whether a node of lab `x` has another process than it had. Between two lives it has none.
fn lives_anew(host: &Sandbox, name: &str, former: &str) -> bool {
    !["null", former].contains(&pid_of(host, "x", name).as_str())
}

/// Whether both nodes of these labs run and their links are up.
fn all_ready(host: &Sandbox, labs: &[&str]) -> bool {
    let shown = host.netloom(&["inspect"]).out;
    labs.iter().all(|lab| shown.lines().any(|line| line.split_whitespace().take(2).eq([*lab, "ready"])))
}

/// Whether nothing would be lost if the agent were killed now.
fn has_all(host: &Sandbox) -> bool {
    host.ask("GET /metrics").body.lines().any(|line| line == "netloom_store_writes_owed 0.0")
}

fn goes_on_when_there_is_space_again(at: &'static str) {
    let Some(host) = Sandbox::new() else { return };
    let disk = Disk::mount(&host, at);
    host.netloom(&["agent", "--background"]).code(0);
    let talks = "    talks: { cmd: \"sh -c 'while date +%N; do sleep 0.1; done'\" }\n";
    let (x, y) = (host.topology("x", &pair("x", talks)), host.topology("y", &pair("y", "")));
    host.netloom(&["deploy", "-t", &x]).code(0);
    let (a, b, talks) = (pid_of(&host, "x", "a"), pid_of(&host, "x", "b"), pid_of(&host, "x", "talks"));
    disk.fill();
    host.netloom(&["deploy", "-t", &y]).code(1).says("no space left");
    // What runs is not touched, a node that dies is seen to later, health does not know of it.
    host.sh(&format!("kill -KILL {a}")).code(0);
    host.until("its end is seen", |host| pid_of(host, "x", "a") != a);
    host.netloom(&["exec", "x/b", "--", "true"]).code(0);
    assert_eq!(host.answers("/livez"), 200);
    let said = |host: &Sandbox| host.netloom(&["logs", "x/talks"]).code(0).out.len();
    let before = said(&host);
    disk.empty();
    host.until("everything is there", |host| all_ready(host, &["x", "y"]));
    host.until("what a node says is kept again", |host| said(host) > before);
    assert_eq!((pid_of(&host, "x", "b"), pid_of(&host, "x", "talks")), (b, talks));
    host.netloom(&["exec", "y/a", "--", "ping", "-c", "1", "-W", "5", "b"]).code(0);
    // A destroy needs no space.
    disk.fill();
    host.netloom(&["destroy", "--all"]).code(0);
    disk.empty();
    host.netloom(&["inspect"]).code(0);
    host.netloom(&["agent", "stop"]).code(0);
}

#[test]
fn with_no_space_in_run_a_deploy_says_so_and_goes_on_when_there_is_some() {
    goes_on_when_there_is_space_again("run/netloom");
}

#[test]
fn with_no_space_for_layers_a_deploy_says_so_and_goes_on_when_there_is_some() {
    goes_on_when_there_is_space_again("var/lib/netloom/layers");
}

#[test]
fn with_no_space_for_the_state_file_nothing_is_lost_and_all_agrees_afterwards() {
    let Some(host) = Sandbox::new() else { return };
    let state = Disk::mount(&host, "var/lib/netloom");
    let _layers = Disk::mount(&host, "var/lib/netloom/layers");
    host.netloom(&["agent", "--background"]).code(0);
    let once = "    once: { exec: [\"sh -c 'echo ran >> /ran'\"] }\n";
    let (x, y) = (host.topology("x", &pair("x", once)), host.topology("y", &pair("y", "")));
    host.netloom(&["deploy", "-t", &x]).code(0);
    state.fill();
    let node = |n: usize| format!("    n{n}: {{ labels: {{ text: {} }} }}\n", "x".repeat(100));
    let many = (0..500).map(node).collect::<Vec<_>>().concat();
    let many = host.topology("many", &pair("many", &many));
    host.netloom(&["deploy", "-t", &many]).code(1).says("nothing was changed").says("os error 28");
    assert!(!host.netloom(&["inspect"]).out.contains("many"));
    // A command that runs once is noted when there is space again; the next start must know of it.
    let pid = pid_of(&host, "x", "once");
    host.sh(&format!("kill -KILL {pid}")).code(0);
    host.until("the node runs again", |host| {
        lives_anew(host, "once", &pid) && host.netloom(&["exec", "x/once", "--", "cat", "/ran"]).out == "ran\nran\n"
    });
    assert_eq!(host.answers("/livez"), 200);
    state.empty();
    host.netloom(&["deploy", "-t", &y]).code(0);
    host.until("the store has everything", has_all);
    let restart = || {
        host.kill_agent();
        host.netloom(&["agent", "--background"]).code(0);
    };
    restart();
    host.until("all is as before", |host| all_ready(host, &["x", "y"]));
    host.netloom(&["deploy", "-t", &x]).code(0).says("nothing to change");
    assert_eq!(host.netloom(&["exec", "x/once", "--", "cat", "/ran"]).out, "ran\nran\n");

    state.fill();
    host.netloom(&["destroy", "--all"]);
    host.until("nothing of them is there", |host| !host.root.path().join("run/netloom/nodes/x").exists());
    state.empty();
    host.until("the store has everything", has_all);
    restart();
    host.netloom(&["destroy", "--all"]).code(0).says("there is no lab");
}

/// A real file system of its own where the agent's state is, that can be frozen.
struct Freezable<'a> {
    host: &'a Sandbox,
    at: String,
}

impl<'a> Freezable<'a> {
    /// `None`, loudly, where there are no loop devices.
    fn mount(host: &'a Sandbox) -> Option<Self> {
        let at = host.root.path().join("var/lib/netloom").display().to_string();
        let image = host.labs.path().join("disk").display().to_string();
        let script = format!(
            "truncate -s 64M {image} && mkfs.ext4 -q -F {image} && mkdir -p {at} && mount -o loop {image} {at} && mkdir {at}/layers && \
             mount -t tmpfs none {at}/layers"
        );
        let mounted = host.sh(&script);
        if mounted.code != 0 {
            let required = std::env::var_os("NETLOOM_REQUIRE_ROOT").is_some();
            assert!(!required, "this test needs a loop device: {}", mounted.err);
            eprintln!("SKIPPED: this test needs a loop device: {}", mounted.err);
            return None;
        }
        Some(Self { host, at })
    }

    fn freeze(&self) {
        self.host.sh(&format!("fsfreeze --freeze {}", self.at)).code(0);
    }

    fn thaw(&self) {
        self.host.sh(&format!("fsfreeze --unfreeze {}", self.at)).code(0);
    }
}

impl Drop for Freezable<'_> {
    fn drop(&mut self) {
        // Who writes to a frozen disk cannot be killed, and the disk of a failed test must not stay.
        self.host.sh(&format!("fsfreeze --unfreeze {}", self.at));
    }
}

#[test]
fn while_the_disk_of_the_state_is_frozen_reads_and_health_go_on_and_writes_say_so() {
    let Some(host) = Sandbox::new() else { return };
    let Some(disk) = Freezable::mount(&host) else { return };
    host.netloom(&["agent", "--background"]).code(0);
    let (x, y) = (host.topology("x", &pair("x", "")), host.topology("y", &pair("y", "")));
    host.netloom(&["deploy", "-t", &x]).code(0);
    let a = pid_of(&host, "x", "a");

    disk.freeze();
    // Said while it is frozen: nothing thaws it before.
    host.netloom(&["deploy", "-t", &y]).code(1).says("the store does not answer").says("nothing was changed");
    host.netloom(&["link", "down", "x", "a:eth1"]).code(1).says("the store does not answer");
    for _ in 0..20 {
        assert_eq!(host.answers("/livez"), 200);
        assert!(all_ready(&host, &["x"]));
    }
    assert_ne!(host.answers("/readyz?verbose"), 0);
    // Repairs need no store.
    host.sh(&format!("kill -KILL {a}")).code(0);
    host.until("the node is back", |host| lives_anew(host, "a", &a) && all_ready(host, &["x"]));
    host.netloom(&["exec", "x/a", "--", "ping", "-c", "1", "-W", "5", "b"]).code(0);

    disk.thaw();
    host.until("the store works again", |host| host.answers("/readyz") == 200);
    assert!(!host.netloom(&["inspect"]).out.contains("\ny "), "what was refused is not there");
    host.netloom(&["deploy", "-t", &x]).code(0).says("nothing to change");
    host.netloom(&["deploy", "-t", &y]).code(0);
    host.kill_agent();
    host.netloom(&["agent", "--background"]).code(0);
    host.until("store and labs agree", |host| all_ready(host, &["x", "y"]));
    host.netloom(&["deploy", "-t", &x]).code(0).says("nothing to change");
    host.netloom(&["destroy", "--all"]).code(0);
    host.netloom(&["agent", "stop"]).code(0);
    host.sh(&format!("umount {0}/layers {0}", disk.at)).code(0);
}
