//! What a node sees: a root, mounts, an environment and a disk of its own.

use std::path::Path;
use std::time::Duration;

use netloom_engine::{Follow, Layout, Runtime};
use serde_json::json;

use crate::stage::{Stage, context, is_running, lab_name, name, one, order, root};

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
