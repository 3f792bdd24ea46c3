//! The network plugin of another agent, which has ended, with containers on its networks.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use super::host::{DockerHost, IMAGE};

/// The plugin while its agent lived.
pub(crate) struct Plugin {
    path: PathBuf,
    ends: Arc<AtomicBool>,
    life: Option<JoinHandle<()>>,
}

/// What it does and says where somebody joins a network: of a call and what it carries.
type Answer = dyn Fn(&str, &Value) -> Option<Value> + Send + Sync;

impl Plugin {
    /// One on a host whose daemon finds it.
    pub(crate) fn on(
        host: &DockerHost,
        answer: impl Fn(&str, &Value) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let (path, answer) = (host.plugin(), Arc::new(answer));
        let listener = UnixListener::bind(&path).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let ended = ends.clone();
        let life = thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let answer = answer.clone();
                drop(thread::spawn(move || serve(stream.unwrap(), &*answer)));
            }
        });
        Self { path, ends, life: Some(life) }
    }

    /// It is killed: its socket stays behind, and nobody answers.
    pub(crate) fn kill(mut self) -> PathBuf {
        self.ends.store(true, Ordering::Release);
        drop(UnixStream::connect(&self.path));
        self.life.take().unwrap().join().unwrap();
        self.path.clone()
    }
}

/// One request after the other; each connection ends with its answer, so that none outlives the plugin.
fn serve(mut stream: UnixStream, answer: &Answer) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    let (path, said) = (head.split(' ').nth(1).unwrap(), serde_json::from_slice(&body).unwrap_or_default());
    let usual = || match path {
        "/Plugin.Activate" => json!({ "Implements": ["NetworkDriver"] }),
        "/NetworkDriver.GetCapabilities" => json!({ "Scope": "local", "ConnectivityScope": "local" }),
        "/NetworkDriver.CreateEndpoint" => json!({ "Interface": {} }),
        "/NetworkDriver.EndpointOperInfo" => json!({ "Value": {} }),
        _ => json!({}),
    };
    let answer = answer(path, &said).unwrap_or_else(usual).to_string();
    let length = answer.len();
    let kind = "application/vnd.docker.plugins.v1.1+json";
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{answer}"
    );
}

/// What it says to a container that joins: the interface that it gets.
pub(crate) fn joined(interface: &str) -> Value {
    json!({ "InterfaceName": { "SrcName": interface, "DstPrefix": "eth" }, "DisableGatewayService": true })
}

#[test]
fn the_plugin_of_an_agent_that_has_ended_is_answered_as_long_as_anything_hangs_on_it() {
    let Some(host) = DockerHost::plugged() else { return };
    // One interface is all that it has.
    let plugin = Plugin::on(&host, |call, _| (call == "/NetworkDriver.Join").then(|| joined("vcplug")));
    host.sh("ip link add vhplug type veth peer name vcplug && ip link set vhplug up").code(0);
    host.docker("network create --driver archetype-ovs --ipam-driver null --label archetype.lab_id=lab lab-eth1");
    host.docker(&format!("run --detach --tty --name archetype-lab-r1 --network lab-eth1 {IMAGE}"));
    // While somebody else answers, the socket is left to him.
    host.netloom(&["agent", "--background"]).code(0);
    let inode = |path: &PathBuf| fs::symlink_metadata(path).ok().map(|file| std::os::unix::fs::MetadataExt::ino(&file));
    let before = inode(&plugin.path);
    let noted = host.root.path().join("var/lib/netloom/network-plugin");
    host.until("it is seen that something hangs on it", |_| noted.exists());
    assert_eq!(inode(&plugin.path), before);
    let path = plugin.kill();
    host.until("the agent answers in its place", |_| UnixStream::connect(&path).is_ok());

    let refused = host.sh(&format!("timeout 20 docker run --network lab-eth1 {IMAGE} true"));
    assert!(refused.code != 0 && refused.err.contains("only takes them down"), "{refused:?}");
    host.sh("timeout 20 docker rm --force archetype-lab-r1").code(0);
    host.sh("docker ps --all --quiet | xargs --no-run-if-empty timeout 20 docker rm --force").code(0);
    host.sh("timeout 20 docker network rm lab-eth1").code(0);
    host.until("nothing needs it any more", |_| !path.exists() && !noted.exists());
}
