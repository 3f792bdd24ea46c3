//! The namespace runtime on the running kernel: real nodes, below a root directory of each test's own.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use the helpers here")]

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_drivers::runtime::namespace::NamespaceRuntime;
use netloom_engine::{
    Context, DriverError, ErrorClass, ExecInput, ExecOutput, ExecRequest, Follow, Inventory, Layout, NodeFact,
    NodeOrder, Runtime, Terminal,
};
use netloom_kernel::{Netns, Process, Signal};
use netloom_model::{Lab, LabName, NodeName};
use netloom_plan::{NodeFingerprint, NodeState};
use serde_json::{Value, json};

fn root() -> bool {
    if std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0\t0\t0")) {
        return true;
    }
    assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root and NETLOOM_REQUIRE_ROOT is set");
    eprintln!("SKIPPED: this test needs root");
    false
}

/// A lab of nodes with these fields beside kind, runtime and host name.
fn lab(nodes: &[(&str, Value)]) -> Arc<Lab> {
    let nodes: serde_json::Map<String, Value> = nodes
        .iter()
        .map(|(name, more)| {
            let mut node = json!({ "kind": "linux", "runtime": "namespace", "hostname": name });
            node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ((*name).to_owned(), node)
        })
        .collect();
    Arc::new(serde_json::from_value(json!({ "name": "lab", "nodes": nodes })).unwrap())
}

fn one(more: Value) -> Arc<Lab> {
    lab(&[("r1", more)])
}

fn context() -> Context {
    Context { deadline: Instant::now() + Duration::from_secs(30), cancel: tokio_util::sync::CancellationToken::new() }
}

fn lab_name() -> LabName {
    "lab".parse().unwrap()
}

fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

fn order(lab: &Arc<Lab>, node: &str) -> NodeOrder {
    let fingerprint = NodeFingerprint::of(&lab.nodes()[&name(node)], 0, 0);
    NodeOrder { lab: lab.clone(), node: name(node), fingerprint, rebuild: 0, restarts: 0 }
}

/// A host's directories of a test's own, and an agent on it.
struct Stage {
    root: tempfile::TempDir,
    layout: Layout,
    runtime: NamespaceRuntime,
    inventory: Inventory,
}

impl Stage {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        Self::of(root, layout)
    }

    fn of(root: tempfile::TempDir, layout: Layout) -> Self {
        let (runtime, inventory) = agent(&layout);
        Self { root, layout, runtime, inventory }
    }

    fn run(&self, node: &str) -> PathBuf {
        self.layout.node_run(&lab_name(), &name(node))
    }

    async fn up(&self, lab: &Arc<Lab>, node: &str) -> Result<(), DriverError> {
        self.runtime.create(&order(lab, node), &context()).await?;
        self.runtime.start(&order(lab, node), &context()).await
    }

    /// Waits until a node is seen so.
    async fn until(&self, node: &str, wanted: impl Fn(&NodeFact) -> bool) -> NodeFact {
        until(&self.inventory, node, wanted).await
    }

    /// Runs a command in a node: exit code, output, errors.
    async fn exec(&self, node: &str, words: &[&str]) -> (i32, String, String) {
        let argv = words.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecRequest::plain(argv);
        let mut session = self.runtime.exec(&lab_name(), &name(node), request).await.unwrap();
        // It may have ended already.
        let _ = session.input.send(ExecInput::CloseStdin).await;
        collect(&mut session.output).await
    }

    /// The output of `sh -c` in a node, which must succeed.
    async fn sh(&self, node: &str, script: &str) -> String {
        let (code, output, errors) = self.exec(node, &["sh", "-c", script]).await;
        assert_eq!(code, 0, "{script}: {output}{errors}");
        output.trim_end().to_owned()
    }

    /// Waits until the runtime says that it could not look at something; what it says.
    async fn complaint(&self) -> String {
        let mut changes = self.inventory.changes();
        let error = async {
            loop {
                let snapshot = self.inventory.snapshot();
                if let Some(error) = snapshot.sources.values().find_map(|state| state.error.clone()) {
                    return error;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), error).await.unwrap()
    }

    async fn delete(&self, node: &str) {
        self.runtime.delete(&lab_name(), &name(node), &context()).await.unwrap();
    }

    async fn log(&self, node: &str) -> String {
        let mut stream = self.runtime.logs(&lab_name(), &name(node), Follow::No).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = stream.chunks.recv().await {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Also after a test that failed: nothing may be left.
        for pid in inits_below(self.root.path()) {
            if let Ok(Some(process)) = Process::open(pid) {
                process.signal(Signal::KILL).unwrap();
                process.wait_until(Instant::now() + Duration::from_secs(10)).unwrap();
                process.reap();
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(mount).starts_with(self.root.path()) {
                let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
            }
        }
        remove_cgroups(&self.layout);
    }
}

fn remove_cgroups(layout: &Layout) {
    for directory in cgroups_of(layout) {
        for lab in std::fs::read_dir(&directory).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
            for node in std::fs::read_dir(lab.path()).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
                let _ = std::fs::remove_dir(node.path());
            }
            let _ = std::fs::remove_dir(lab.path());
        }
        let _ = std::fs::remove_dir(&directory);
    }
}

fn agent(layout: &Layout) -> (NamespaceRuntime, Inventory) {
    let (reporter, inventory, writer) = netloom_engine::channel();
    netloom_engine::task::spawn("inventory", writer.run());
    (NamespaceRuntime::start(layout.clone(), reporter).unwrap(), inventory)
}

async fn until(inventory: &Inventory, node: &str, wanted: impl Fn(&NodeFact) -> bool) -> NodeFact {
    let mut changes = inventory.changes();
    let seen = async {
        loop {
            let snapshot = inventory.snapshot();
            let fact = snapshot.labs.get(&lab_name()).and_then(|lab| lab.nodes.get(&name(node)));
            if let Some(fact) = fact.filter(|fact| wanted(fact)) {
                return NodeFact::clone(fact);
            }
            changes.changed().await.unwrap();
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(10), seen).await;
    result.unwrap_or_else(|_| panic!("not seen; the inventory has {:?}", inventory.snapshot().labs))
}

async fn collect(output: &mut tokio::sync::mpsc::Receiver<ExecOutput>) -> (i32, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), output.recv()).await.unwrap();
        match next.expect("a session ends with an exit code") {
            ExecOutput::Stdout(bytes) => out.extend_from_slice(&bytes),
            ExecOutput::Stderr(bytes) => err.extend_from_slice(&bytes),
            ExecOutput::Exited(code) => {
                return (code, String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned());
            }
        }
    }
}

/// Process numbers of inits whose run directory is below a path.
fn inits_below(root: &Path) -> Vec<u32> {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
            words.first() == Some(&b"netloom-init".as_slice())
                && words.get(2).is_some_and(|run| run.starts_with(root.to_str().unwrap().as_bytes()))
        })
        .collect()
}

fn cgroups_of(layout: &Layout) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = mounts.lines().filter(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup")));
    let ours = mounts.map(|line| Path::new(line.split(' ').nth(1).unwrap()).join("netloom").join(layout.instance()));
    ours.filter(|directory| directory.exists()).collect()
}

fn is_running(fact: &NodeFact) -> bool {
    fact.state == NodeState::Running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_has_a_root_of_its_own_and_cannot_change_the_host() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({ "hostname": "router" }));
    stage.runtime.write_names(&lab_name(), Some("10.0.0.1\tr1\n"), &context()).await.unwrap();
    stage.up(&lab, "r1").await.unwrap();
    let fact = stage.until("r1", is_running).await;
    assert!(fact.pid.is_some());
    assert_eq!(fact.container, "clab-lab-r1");

    assert_eq!(stage.sh("r1", "hostname; cat /etc/hostname /etc/hosts").await, "router\nrouter\n10.0.0.1\tr1");
    let marker = format!("netloom-test-{}", stage.layout.instance());
    stage.sh("r1", &format!("echo x > /etc/{marker} && mkdir /{marker} && rm /etc/passwd")).await;
    assert!(!Path::new("/etc").join(&marker).exists());
    assert!(!Path::new("/").join(&marker).exists());
    assert!(Path::new("/etc/passwd").exists());
    assert_eq!(stage.sh("r1", "ls -A /tmp /home /root; ls -A /run").await, "/home:\n\n/root:\n\n/tmp:\nlock");
    stage.sh("r1", "echo x > /root/file; echo x > /tmp/file; echo x > /run/file").await;
    // The init, the shell and what it runs: no process of the host.
    assert!(stage.sh("r1", "ls /proc | grep -c '^[0-9]'").await.parse::<u32>().unwrap() < 8);
    assert_eq!(stage.sh("r1", "echo ok > /dev/null; head -c 3 /dev/zero | wc -c; test -c /dev/net/tun").await, "3");
    stage.sh("r1", "! touch /proc/sys/kernel/panic; ! echo 0 > /proc/sys/kernel/panic").await;
    stage.sh("r1", "echo 1 > /proc/sys/net/ipv4/ip_forward").await;
    stage
        .sh(
            "r1",
            "! mkdir /sys/x; ! mknod /tmp/sda b 8 0; ! echo c > /proc/sysrq-trigger || test ! -s /proc/sysrq-trigger",
        )
        .await;
    assert_eq!(
        stage.sh("r1", "grep CapBnd /proc/self/status").await,
        stage.sh("r1", "grep CapEff /proc/self/status").await.replace("Eff", "Bnd")
    );
    let bound = stage.sh("r1", "awk '/CapBnd/{print $2}' /proc/self/status").await;
    let bound = u64::from_str_radix(&bound, 16).unwrap();
    for capability in [16, 17, 25, 27] {
        assert_eq!(bound >> capability & 1, 0, "capability {capability}");
    }
    // What names the host's files is not in the node's mount table.
    assert_eq!(stage.sh("r1", "grep -c 'nsfs' /proc/self/mountinfo || true").await, "0");
    assert_eq!(stage.sh("r1", "ls /sys/class/net").await, "lo");
    // The names file is written in place, and running nodes see it.
    stage.runtime.write_names(&lab_name(), Some("10.0.0.2 r2\n"), &context()).await.unwrap();
    assert_eq!(stage.sh("r1", "cat /etc/hosts").await, "10.0.0.2 r2");
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binds_are_seen_read_only_or_not_and_links_in_the_node_do_not_lead_to_the_host() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let source = stage.root.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "content").unwrap();
    let file = source.join("file");
    let binds = json!({ "binds": [
        { "source": source, "target": "/srv/rw" },
        { "source": source, "target": "/srv/ro", "access": "read-only" },
        { "source": file, "target": "/var/run/new/place/conf", "access": "read-only" },
        { "source": file, "target": "/etc/passwd.bind" },
    ]});
    let lab = one(binds);
    stage.up(&lab, "r1").await.unwrap();
    assert_eq!(stage.sh("r1", "cat /srv/ro/file /run/new/place/conf /etc/passwd.bind").await, "contentcontentcontent");
    stage.sh("r1", "! touch /srv/ro/x && ! echo x > /run/new/place/conf && touch /srv/rw/made").await;
    assert!(source.join("made").exists());
    assert!(!Path::new("/run/new").exists());
    stage.delete("r1").await;
    assert!(file.exists());

    let lab = one(json!({ "binds": [{ "source": "/no/such/file", "target": "/x" }] }));
    let error = stage.runtime.check_node(&order(&lab, "r1")).await.unwrap_err();
    assert!(error.to_string().contains("bind source /no/such/file cannot be used: no such file"), "{error}");
    let lab = one(json!({ "sysctls": { "vm.swappiness": "1" } }));
    let error = stage.runtime.check_node(&order(&lab, "r1")).await.unwrap_err();
    assert!(error.cause.contains("whole machine"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_is_recorded_and_pushed_with_the_last_output() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({ "cmd": ["sh", "-c", "echo first; echo second >&2; exit 7"] }));
    stage.up(&lab, "r1").await.unwrap();
    let fact = stage.until("r1", |fact| fact.state == NodeState::Exited { code: 7 }).await;
    assert_eq!(fact.last_output.as_deref(), Some("first\nsecond"));
    assert_eq!(fact.pid, None);
    assert_eq!(stage.log("r1").await, "first\nsecond\n");
    // Started again at once it is another incarnation, and its log goes on.
    stage.runtime.start(&order(&lab, "r1"), &context()).await.unwrap();
    stage.until("r1", |next| next.state == NodeState::Exited { code: 7 } && next.incarnation != fact.incarnation).await;
    assert_eq!(stage.log("r1").await, "first\nsecond\nfirst\nsecond\n");
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_cannot_run_fails_its_node_with_the_reason() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    for (fields, reason) in [
        (json!({ "cmd": ["no-such-thing"] }), "command `no-such-thing` does not exist in the node"),
        (json!({ "cmd": ["/etc/passwd"] }), "command `/etc/passwd` is not executable"),
        (json!({ "cmd": ["sleep", "1"], "user": "who" }), "user `who` does not exist in the node"),
        (
            json!({ "cmd": ["sleep", "1"], "sysctls": { "net.ipv4.nonsense": "1" } }),
            "sysctl net.ipv4.nonsense cannot be set",
        ),
    ] {
        let lab = one(fields);
        let error = stage.up(&lab, "r1").await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.class, ErrorClass::Permanent);
        let fact =
            stage.until("r1", |fact| matches!(&fact.state, NodeState::Failed { cause } if cause.contains(reason)));
        fact.await;
        stage.delete("r1").await;
    }
    assert!(inits_below(stage.root.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_environment_sysctls_and_entrypoint_reach_the_command() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({
        "entrypoint": ["sh", "-c"],
        "cmd": ["id -u; id -g; echo $REGION $CLAB_LABEL_MY_TEAM $HOME; cat /proc/sys/net/ipv4/ip_forward; exec sleep 1000"],
        "user": "daemon",
        "env": { "REGION": "eu" },
        "labels": { "my-team": "net" },
        "sysctls": { "net.ipv4.ip_forward": "1" },
    }));
    stage.up(&lab, "r1").await.unwrap();
    let mut stream = stage.runtime.logs(&lab_name(), &name("r1"), Follow::Yes).await.unwrap();
    let mut text = String::new();
    while text.lines().count() < 4 {
        let chunk = tokio::time::timeout(Duration::from_secs(10), stream.chunks.recv()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert_eq!(text, "1\n1\neu net /usr/sbin\n1\n");
    let (_, id, _) = stage.exec("r1", &["sh", "-c", "id -u; echo $REGION"]).await;
    assert_eq!(id, "1\neu\n");
    stage.delete("r1").await;
    // The end of the node is the end of the stream.
    let end = tokio::time::timeout(Duration::from_secs(10), async { while stream.chunks.recv().await.is_some() {} });
    end.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_bounded_and_loses_only_the_oldest() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({ "cmd": ["sh", "-c", "seq 1 400000; sleep 1000"] }));
    stage.up(&lab, "r1").await.unwrap();
    let mut stream = stage.runtime.logs(&lab_name(), &name("r1"), Follow::Yes).await.unwrap();
    let mut end = Vec::new();
    while !end.ends_with(b"\n400000\n") {
        let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunks.recv()).await.unwrap().unwrap();
        end.extend_from_slice(&chunk);
        end.drain(..end.len().saturating_sub(100));
    }
    let size = |file: &str| std::fs::metadata(stage.run("r1").join(file)).unwrap().len();
    assert!(size("log") <= 512 * 1024 && size("log.1") <= 512 * 1024);
    let text = stage.log("r1").await;
    assert!(text.len() > 512 * 1024);
    let numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.windows(2).all(|two| two[0] + 1 == two[1]));
    assert_eq!(numbers.last(), Some(&400_000));
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_has_the_commands_own_output_and_exit_code() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    assert_eq!(
        stage.exec("r1", &["sh", "-c", "echo out; echo err >&2; exit 3"]).await,
        (3, "out\n".into(), "err\n".into())
    );
    assert_eq!(stage.exec("r1", &["sh", "-c", "kill -9 $$"]).await.0, 137);
    let (code, _, errors) = stage.exec("r1", &["no-such-thing"]).await;
    assert_eq!(code, 127);
    assert!(errors.contains("command `no-such-thing` does not exist in the node"), "{errors}");
    assert_eq!(stage.exec("r1", &["/etc/passwd"]).await.0, 126);

    // What goes in comes out.
    let request = ExecRequest::plain(vec!["cat".into()]);
    let mut session = stage.runtime.exec(&lab_name(), &name("r1"), request).await.unwrap();
    session.input.send(ExecInput::Stdin("hello".into())).await.unwrap();
    assert_eq!(session.output.recv().await, Some(ExecOutput::Stdout("hello".into())));
    session.input.send(ExecInput::CloseStdin).await.unwrap();
    assert_eq!(session.output.recv().await, Some(ExecOutput::Exited(0)));

    // One that ignores TERM is killed; one whose session is dropped too.
    let stubborn = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"];
    let argv: Vec<String> = stubborn.iter().map(ToString::to_string).collect();
    let request = ExecRequest::plain(argv);
    let mut session = stage.runtime.exec(&lab_name(), &name("r1"), request.clone()).await.unwrap();
    assert_eq!(session.output.recv().await, Some(ExecOutput::Stdout("up\n".into())));
    session.input.send(ExecInput::Terminate).await.unwrap();
    assert_eq!(collect(&mut session.output).await.0, 137);
    let mut session = stage.runtime.exec(&lab_name(), &name("r1"), request).await.unwrap();
    assert_eq!(session.output.recv().await, Some(ExecOutput::Stdout("up\n".into())));
    drop(session);
    let gone = async {
        while stage.sh("r1", "ps ax | grep -c '[t]rap' || true").await != "0" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), gone).await.unwrap();

    let request = ExecRequest::plain(vec!["true".into()]);
    let error = stage.runtime.exec(&lab_name(), &name("r2"), request).await.unwrap_err();
    assert!(error.cause.contains("not there"), "{error}");
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_with_a_terminal_has_one_that_can_be_resized() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let script = "tty; stty size; read line; stty size; echo got $line; trap 'exit 9' TERM; echo waiting; while :; do sleep 0.1; done";
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let request = ExecRequest { terminal: Terminal::Size { columns: 100, rows: 30 }, ..ExecRequest::plain(argv) };
    let mut session = stage.runtime.exec(&lab_name(), &name("r1"), request).await.unwrap();
    let mut shown = String::new();
    let mut wait_for = async |text: &str| {
        while !shown.contains(text) {
            match tokio::time::timeout(Duration::from_secs(10), session.output.recv()).await.unwrap().unwrap() {
                ExecOutput::Stdout(bytes) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} after {shown}"),
            }
        }
    };
    wait_for("/dev/pts/0\r\n30 100\r\n").await;
    session.input.send(ExecInput::Resize { columns: 120, rows: 40 }).await.unwrap();
    session.input.send(ExecInput::Stdin("word\n".into())).await.unwrap();
    wait_for("40 120\r\ngot word\r\nwaiting").await;
    session.input.send(ExecInput::Terminate).await.unwrap();
    assert_eq!(collect(&mut session.output).await.0, 9);

    let argv = vec!["no-such-thing".to_owned()];
    let request = ExecRequest { terminal: Terminal::Size { columns: 80, rows: 24 }, ..ExecRequest::plain(argv) };
    let mut session = stage.runtime.exec(&lab_name(), &name("r1"), request).await.unwrap();
    assert_eq!(collect(&mut session.output).await.0, 127);
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_asks_first_and_the_namespace_stays() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab =
        one(json!({ "cmd": ["sh", "-c", "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done"] }));
    stage.up(&lab, "r1").await.unwrap();
    stage.until("r1", is_running).await;
    let mut stream = stage.runtime.logs(&lab_name(), &name("r1"), Follow::Yes).await.unwrap();
    assert_eq!(stream.chunks.recv().await.unwrap(), "up\n");
    let pin = stage.layout.pin(&lab_name(), &name("r1"));
    let cookie = Netns::open(&pin).unwrap().cookie().unwrap();
    stage.runtime.stop(&lab_name(), &name("r1"), &context()).await.unwrap();
    stage.until("r1", |fact| fact.state == NodeState::Stopped).await;
    assert_eq!(stream.chunks.recv().await.unwrap(), "asked\n");
    assert_eq!(Netns::open(&pin).unwrap().cookie().unwrap(), cookie);
    // Again is no error; a start makes it run in the same namespace, with what it wrote.
    stage.runtime.stop(&lab_name(), &name("r1"), &context()).await.unwrap();
    stage.runtime.start(&order(&lab, "r1"), &context()).await.unwrap();
    stage.until("r1", is_running).await;
    assert_eq!(Netns::open(&pin).unwrap().cookie().unwrap(), cookie);
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_buried_and_what_a_node_wrote_outlives_a_restart() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({ "cmd": ["sleep", "1000"] }));
    stage.up(&lab, "r1").await.unwrap();
    stage.sh("r1", "for i in 1 2 3 4 5; do (setsid true &) ; done; echo kept > /etc/kept; echo gone > /tmp/gone").await;
    let buried = async {
        while stage.sh("r1", "ps -eo stat= | grep -c '^Z' || true").await != "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), buried).await.unwrap();
    stage.runtime.stop(&lab_name(), &name("r1"), &context()).await.unwrap();
    stage.runtime.start(&order(&lab, "r1"), &context()).await.unwrap();
    assert_eq!(stage.sh("r1", "cat /etc/kept; ls -A /tmp").await, "kept");
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_outlives_its_node_is_only_for_one_that_was_made_for_the_same() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    let upper = stage.layout.layer(&lab_name(), &name("r1")).join("upper");
    let rebuilt = |rebuild| NodeOrder {
        fingerprint: NodeFingerprint::of(&lab.nodes()[&name("r1")], rebuild, 0),
        rebuild,
        ..order(&lab, "r1")
    };
    // What a reboot leaves, of an older version at that.
    std::fs::create_dir_all(&upper).unwrap();
    std::fs::write(upper.join("written"), "").unwrap();
    let reboot = || std::fs::remove_file(stage.run("r1").join("node.json")).unwrap();
    for (rebuild, kept) in [(0, true), (0, true), (1, false)] {
        stage.runtime.create(&rebuilt(rebuild), &context()).await.unwrap();
        assert_eq!(upper.join("written").exists(), kept, "rebuild {rebuild}");
        reboot();
    }
    // From then on it is the new one's.
    std::fs::write(upper.join("written"), "").unwrap();
    stage.runtime.create(&rebuilt(1), &context()).await.unwrap();
    assert!(upper.join("written").exists());
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_agent_adopts_what_runs_and_learns_its_end() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = lab(&[("r1", json!({ "cmd": ["sleep", "1000"] })), ("r2", json!({}))]);
    stage.up(&lab, "r1").await.unwrap();
    stage.up(&lab, "r2").await.unwrap();
    let before = stage.until("r1", is_running).await;

    let (second, inventory) = agent(&stage.layout);
    second.relist().await.unwrap();
    let after = until(&inventory, "r1", is_running).await;
    assert_eq!(
        (after.pid, &after.incarnation, &after.fingerprint),
        (before.pid, &before.incarnation, &before.fingerprint)
    );
    until(&inventory, "r2", is_running).await;
    // Starting what runs changes nothing.
    second.create(&order(&lab, "r1"), &context()).await.unwrap();
    second.start(&order(&lab, "r1"), &context()).await.unwrap();
    assert_eq!(until(&inventory, "r1", is_running).await.pid, before.pid);
    // Killed from outside: both learn it.
    Process::open(before.pid.unwrap()).unwrap().unwrap().signal(Signal::KILL).unwrap();
    until(&inventory, "r1", |fact| fact.state == NodeState::Exited { code: 137 }).await;
    stage.until("r1", |fact| fact.state == NodeState::Exited { code: 137 }).await;
    second.delete(&lab_name(), &name("r1"), &context()).await.unwrap();
    second.delete(&lab_name(), &name("r2"), &context()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_be_looked_at_is_not_taken_for_gone() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = lab(&[("r1", json!({ "cmd": ["sleep", "1000"] })), ("r2", json!({}))]);
    stage.up(&lab, "r1").await.unwrap();
    stage.up(&lab, "r2").await.unwrap();
    stage.runtime.relist().await.unwrap();
    // What cannot be read, also by root.
    let (record, aside) = (stage.run("r1").join("node.json"), stage.run("r1").join("aside"));
    std::fs::rename(&record, &aside).unwrap();
    std::fs::create_dir(&record).unwrap();
    stage.runtime.stop(&lab_name(), &name("r2"), &context()).await.unwrap();
    stage.runtime.relist().await.unwrap();
    assert!(stage.complaint().await.contains("nodes/lab/r1"));
    stage.until("r1", is_running).await;
    stage.until("r2", |fact| fact.state == NodeState::Stopped).await;
    // Also to an agent that has not seen it before; it sees the rest.
    let (other, inventory) = agent(&stage.layout);
    other.relist().await.unwrap();
    until(&inventory, "r2", |fact| fact.state == NodeState::Stopped).await;
    other.create(&order(&lab, "r1"), &context()).await.unwrap_err();

    std::fs::remove_dir(&record).unwrap();
    std::fs::rename(&aside, &record).unwrap();
    stage.runtime.relist().await.unwrap();
    stage.delete("r1").await;
    stage.delete("r2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_cannot_be_looked_at_is_not_taken_for_gone() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({ "cmd": ["sleep", "1000"] }));
    stage.up(&lab, "r1").await.unwrap();
    stage.runtime.stop(&lab_name(), &name("r1"), &context()).await.unwrap();
    stage.until("r1", |fact| fact.state == NodeState::Stopped).await;
    let pin = stage.layout.pin(&lab_name(), &name("r1"));
    let cookie = Netns::open(&pin).unwrap().cookie().unwrap();
    // What nobody can open, also not root: a link to itself.
    let (lab_pins, aside) = (pin.parent().unwrap(), stage.layout.pins().join("aside"));
    std::fs::rename(lab_pins, &aside).unwrap();
    std::os::unix::fs::symlink(lab_pins, lab_pins).unwrap();
    stage.runtime.relist().await.unwrap();
    assert!(stage.complaint().await.contains("nodes/lab/r1"));
    stage.runtime.create(&order(&lab, "r1"), &context()).await.unwrap_err();
    stage.runtime.start(&order(&lab, "r1"), &context()).await.unwrap_err();
    let facts = stage.inventory.snapshot();
    assert_eq!(facts.labs[&lab_name()].nodes[&name("r1")].state, NodeState::Stopped);

    std::fs::remove_file(lab_pins).unwrap();
    std::fs::rename(&aside, lab_pins).unwrap();
    stage.runtime.start(&order(&lab, "r1"), &context()).await.unwrap();
    assert_eq!(Netns::open(&pin).unwrap().cookie().unwrap(), cookie);
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_record_another_version_wrote_is_neither_made_again_nor_removed() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let mark = stage.run("r1").join("node.json");
    let own = std::fs::read(&mark).unwrap();
    // It cannot be read as a spec: the node is seen, only not adopted.
    let mut record: Value = serde_json::from_slice(&own).unwrap();
    record["applied"]["spec"]["newer"] = json!(1);
    std::fs::write(&mark, record.to_string()).unwrap();
    let (other, inventory) = agent(&stage.layout);
    other.relist().await.unwrap();
    until(&inventory, "r1", is_running).await;
    assert_eq!(other.applied(&lab_name()).await.unwrap(), [(name("r1"), None)].into());
    // It cannot be read at all.
    std::fs::write(&mark, r#"{"newer": 1}"#).unwrap();
    for refused in
        [other.create(&order(&lab, "r1"), &context()).await, other.delete(&lab_name(), &name("r1"), &context()).await]
    {
        let error = refused.unwrap_err();
        assert!(error.cause.contains("node.json cannot be understood"), "{error}");
    }
    assert_eq!(inits_below(stage.root.path()).len(), 1);
    assert!(stage.layout.layer(&lab_name(), &name("r1")).join("upper").exists());
    std::fs::write(&mark, own).unwrap();
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_agents_node_is_neither_seen_nor_removed() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let mark = stage.run("r1").join("node.json");
    let own = std::fs::read_to_string(&mark).unwrap();
    std::fs::write(&mark, own.replace(stage.layout.instance(), "somebodyelse")).unwrap();
    let (other, inventory) = agent(&stage.layout);
    other.relist().await.unwrap();
    assert!(inventory.snapshot().labs.values().all(|lab| lab.nodes.is_empty()));
    let error = other.delete(&lab_name(), &name("r1"), &context()).await.unwrap_err();
    assert!(error.cause.contains("belongs to another agent"), "{error}");
    assert_eq!(inits_below(stage.root.path()).len(), 1);
    std::fs::write(&mark, own).unwrap();
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_after_delete_and_deleting_again_is_fine() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = lab(&[
        ("r1", json!({ "cmd": ["sleep", "1000"], "memory_bytes": 64 << 20, "cpu_millis": 500 })),
        ("r2", json!({})),
    ]);
    stage.runtime.write_names(&lab_name(), Some("127.0.0.1 localhost\n"), &context()).await.unwrap();
    // Two at a time.
    let (first, second) = tokio::join!(stage.up(&lab, "r1"), stage.up(&lab, "r2"));
    first.unwrap();
    second.unwrap();
    stage
        .sh("r1", "mkdir -p /var/deep/er && echo x > /var/deep/er/file && chmod 000 /var/deep && (setsid sleep 1000 &)")
        .await;
    let link = stage.layout.ip_netns().join("clab-lab-r1");
    assert_eq!(std::fs::read_link(&link).unwrap(), stage.layout.pin(&lab_name(), &name("r1")));
    let limited = cgroups_of(&stage.layout).into_iter().map(|group| group.join("lab-lab/node-r1"));
    let limits: Vec<String> = limited
        .flat_map(|group| {
            ["memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max"].map(|file| group.join(file))
        })
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect();
    assert!(limits.iter().any(|limit| limit.trim() == (64 << 20).to_string()), "{limits:?}");
    assert!(limits.iter().any(|limit| limit.trim() == "50000" || limit.trim() == "50000 100000"), "{limits:?}");

    for _ in 0..2 {
        stage.delete("r1").await;
        stage.delete("r2").await;
    }
    stage.runtime.write_names(&lab_name(), None, &context()).await.unwrap();
    let files = walk(stage.root.path());
    let kept = [
        "var",
        "var/lib",
        "var/lib/netloom",
        "var/lib/netloom/layers",
        "run",
        "run/netns",
        "run/netloom",
        "run/netloom/netns",
        "run/netloom/nodes",
        "run/netloom/labs",
    ];
    let left: Vec<&PathBuf> =
        files.iter().filter(|path| !kept.iter().any(|kept| Path::new(kept) == path.as_path())).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(inits_below(stage.root.path()).is_empty());
    assert!(cgroups_of(&stage.layout).is_empty());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = mounts.lines().filter(|line| line.contains(stage.root.path().to_str().unwrap())).count();
    assert_eq!(ours, 1, "only the directory of pins is a mount");
    let snapshot = stage.inventory.snapshot();
    assert!(snapshot.labs.values().all(|lab| lab.nodes.is_empty()));
}

fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            found.push(entry.path().strip_prefix(root).unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_name_for_ip_netns_is_left_alone_and_said() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    std::fs::create_dir_all(stage.layout.ip_netns()).unwrap();
    let foreign = stage.layout.ip_netns().join("clab-lab-r1");
    std::fs::write(&foreign, "theirs").unwrap();
    stage.up(&lab, "r1").await.unwrap();
    let fact = stage.until("r1", is_running).await;
    assert!(fact.note.unwrap().contains("`ip netns` cannot show it"));
    stage.delete("r1").await;
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "theirs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_change_while_a_node_runs() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    stage.up(&one(json!({ "cmd": ["sleep", "1000"] })), "r1").await.unwrap();
    let pid = stage.until("r1", is_running).await.pid.unwrap();
    let limited = one(json!({ "cmd": ["sleep", "1000"], "memory_bytes": 32 << 20 }));
    let wanted = order(&limited, "r1");
    stage.runtime.update(&wanted, &context()).await.unwrap();
    let fact = stage.until("r1", |fact| fact.fingerprint == wanted.fingerprint).await;
    assert_eq!(fact.pid, Some(pid));
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = format!("/netloom/{}/lab-lab/node-r1", stage.layout.instance());
    assert!(
        groups.lines().any(|line| line.contains("memory") && line.ends_with(&group)
            || line.starts_with("0::") && line.ends_with(&group)),
        "{groups}"
    );
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_disk_is_an_overlay_the_layer_is_in_memory_and_that_is_said() {
    if !root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for directory in ["lower", "upper", "work", "host"] {
        std::fs::create_dir(root.path().join(directory)).unwrap();
    }
    let host = root.path().join("host");
    let part = |name: &str| root.path().join(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", part("lower"), part("upper"), part("work"));
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount("overlay", &host, "overlay", rustix::mount::MountFlags::empty(), options.as_c_str()).unwrap();
    let layout = Layout::new(&host).unwrap();
    let stage = Stage::of(root, layout);
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let fact = stage.until("r1", is_running).await;
    assert!(fact.note.unwrap().contains("kept in memory"));
    assert_eq!(stage.sh("r1", "echo x > /etc/made; cat /etc/made").await, "x");
    assert!(!Path::new("/etc/made").exists());
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_init_is_small_and_quick() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let pid = stage.until("r1", is_running).await.pid.unwrap();
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib = |field: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // The program itself is in memory once for all nodes; with a single node it counts as that node's own.
    let private = kib("Anonymous:");
    eprintln!("private memory of an idle init: {private} KiB");
    assert!(private <= 256, "{rollup}");
    let mode = std::fs::metadata(stage.run("r1")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_has_no_time_does_nothing() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    let late = Context { deadline: Instant::now(), ..context() };
    let error = stage.runtime.create(&order(&lab, "r1"), &late).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Deadline);
    let logs = stage.runtime.logs(&lab_name(), &name("r1"), Follow::No).await;
    assert!(logs.unwrap_err().cause.contains("not there"));
}

/// Daemons of the distribution work as they are installed: FRR needs directories below /run that belong to its own
/// user, changes user and groups, and talks to vtysh over a socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frr_runs_in_a_node_and_exchanges_routes_with_its_own_kernel() {
    if !root() {
        return;
    }
    if !Path::new("/usr/lib/frr/zebra").exists() {
        assert!(
            std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(),
            "this test needs frr and NETLOOM_REQUIRE_ROOT is set"
        );
        eprintln!("SKIPPED: this test needs frr");
        return;
    }
    let stage = Stage::new();
    let script = "install -d -o frr -g frr /run/frr && echo 'ip route 10.99.0.0/24 blackhole' > /etc/frr/frr.conf \
                  && /usr/lib/frr/zebra -d -f /etc/frr/frr.conf && /usr/lib/frr/staticd -d -f /etc/frr/frr.conf \
                  && echo up && exec sleep infinity";
    let lab = one(json!({ "cmd": ["sh", "-c", script], "sysctls": { "net.ipv4.ip_forward": "1" } }));
    stage.up(&lab, "r1").await.unwrap();
    let mut stream = stage.runtime.logs(&lab_name(), &name("r1"), Follow::Yes).await.unwrap();
    let mut log = String::new();
    while !log.ends_with("up\n") {
        let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunks.recv()).await;
        log.push_str(std::str::from_utf8(&chunk.unwrap_or_else(|_| panic!("{log}")).unwrap()).unwrap());
    }
    let installed = async {
        while !stage.sh("r1", "ip route").await.contains("blackhole 10.99.0.0/24 proto static") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), installed).await.unwrap();
    assert!(stage.sh("r1", "vtysh -c 'show ip route'").await.contains("10.99.0.0/24"));
    assert_eq!(stage.sh("r1", "stat -c %U /proc/$(cat /run/frr/zebra.pid)").await, "frr");
    stage.delete("r1").await;
}

/// Not a test of anything: `cargo test --release -- --ignored --nocapture how_long` says where the time goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_long_a_hundred_nodes_take() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let count: usize = std::env::var("NODES").ok().and_then(|count| count.parse().ok()).unwrap_or(100);
    let cmd = if std::env::var_os("CMD").is_some() { json!({ "cmd": ["sleep", "1000"] }) } else { json!({}) };
    let names: Vec<String> = (0..count).map(|number| format!("n{number}")).collect();
    let nodes: Vec<(&str, Value)> = names.iter().map(|name| (name.as_str(), cmd.clone())).collect();
    let lab = lab(&nodes);
    stage.runtime.write_names(&lab_name(), Some("127.0.0.1 localhost\n"), &context()).await.unwrap();
    for lanes in [1, 2, 4, 16] {
        let mut report = format!("{count} nodes, {lanes} at a time:");
        for step in ["create", "start", "delete"] {
            let began = Instant::now();
            let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let tasks: Vec<_> = (0..lanes)
                .map(|lane| {
                    let (next, lab, names, runtime) = (next.clone(), lab.clone(), names.clone(), stage.runtime.clone());
                    netloom_engine::task::spawn(format!("lane {lane}"), async move {
                        while let Some(node) = names.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                            match step {
                                "create" => runtime.create(&order(&lab, node), &context()).await.unwrap(),
                                "start" => runtime.start(&order(&lab, node), &context()).await.unwrap(),
                                _ => runtime.delete(&lab_name(), &name(node), &context()).await.unwrap(),
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let took = began.elapsed();
            write!(report, " {step} {:.0} ms", took.as_secs_f64() * 1000.0).unwrap();
            if step == "start" && lanes == 1 {
                let private = inits_below(stage.root.path()).into_iter().map(private_kib).max().unwrap();
                write!(report, " (at most {private} KiB private an init)").unwrap();
            }
        }
        eprintln!("{report}");
    }
}

fn private_kib(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    private.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}
