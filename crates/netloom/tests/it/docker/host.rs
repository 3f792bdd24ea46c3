//! A host with a Docker daemon of its own.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::ops::Deref;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;

use netloom_dockerd_fixture::{Dockerd, busybox};

use crate::sandbox::{Sandbox, Traces};

/// The one image that is there: busybox, whose containers run a shell.
pub(crate) const IMAGE: &str = "netloom.test/busybox:1";

/// A sandbox with a daemon, whose socket the programs in it find by `DOCKER_HOST`.
pub(crate) struct DockerHost {
    // Ends first: it is in the sandbox.
    pub(crate) daemon: Dockerd,
    host: Sandbox,
}

impl Deref for DockerHost {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.host
    }
}

impl DockerHost {
    /// One without an agent; `None`, loudly, where it cannot be had.
    pub(crate) fn new() -> Option<Self> {
        Self::with(Dockerd::start_by)
    }

    /// One with an agent, and a daemon that has the network `bridge`.
    pub(crate) fn bridged() -> Option<Self> {
        Self::with(Dockerd::start_bridged_by).map(Self::agent)
    }

    /// One with a daemon that keeps a firewall, and an agent that looks at everything each second.
    pub(crate) fn guarded() -> Option<Self> {
        let mut host = Self::with(Dockerd::start_guarded_by)?;
        host.host.environment.push(("NETLOOM_RELIST_SECONDS", "1".to_owned()));
        Some(host.agent())
    }

    /// One without an agent, whose daemon finds the sockets of plugins below the root of the host.
    pub(crate) fn plugged() -> Option<Self> {
        let mut host = Self::prepared(Dockerd::start_by, |host| {
            let made = "mkdir -p $NETLOOM_ROOT/run/docker/plugins /run/docker/plugins";
            host.sh(&format!("{made} && mount --bind $NETLOOM_ROOT/run/docker/plugins /run/docker/plugins")).code(0);
        })?;
        host.host.environment.push(("NETLOOM_RELIST_SECONDS", "1".to_owned()));
        Some(host)
    }

    /// Where the daemon of such a host finds the plugin of another agent.
    pub(crate) fn plugin(&self) -> PathBuf {
        self.root.path().join("run/docker/plugins/archetype-ovs.sock")
    }

    fn with(start: impl Fn(&mut Command) -> Option<Dockerd>) -> Option<Self> {
        Self::prepared(start, |_| ())
    }

    fn prepared(start: impl Fn(&mut Command) -> Option<Dockerd>, before: impl Fn(&Sandbox)) -> Option<Self> {
        static ARCHIVE: LazyLock<Vec<u8>> = LazyLock::new(|| busybox(IMAGE));
        let mut host = Sandbox::new()?;
        before(&host);
        let daemon = start(&mut host.command("env"))?;
        host.environment.push(("DOCKER_HOST", format!("unix://{}", daemon.socket().display())));
        let archive = daemon.directory().join("image.tar");
        fs::write(&archive, &*ARCHIVE).unwrap();
        let made = Self { daemon, host };
        made.sh(&format!("docker load -q -i {}", archive.display())).code(0);
        Some(made)
    }

    /// One with an agent that answers.
    pub(crate) fn with_agent() -> Option<Self> {
        Self::new().map(Self::agent)
    }

    /// One whose programs find an Open vSwitch by this socket, and an agent that answers.
    pub(crate) fn agent_with_switch(mut self, socket: &Path) -> Self {
        self.host.environment.push(("NETLOOM_OVS_SOCKET", socket.display().to_string()));
        self.agent()
    }

    /// What programs on it get in their environment; of what is there twice the last counts.
    pub(crate) fn environment(&mut self) -> &mut Vec<(&'static str, String)> {
        &mut self.host.environment
    }

    fn agent(self) -> Self {
        self.netloom(&["agent", "--background"]).code(0);
        self.until("the daemon is seen", |host| docker_is(host, "ok"));
        self
    }

    /// As [`Self::with_agent`], with an agent that reaches the daemon through a counter of its requests. It looks at
    /// everything again only after an hour.
    pub(crate) fn counted() -> Option<(Self, Requests)> {
        let mut host = Self::new()?;
        let (requests, socket) = Requests::to(&host.daemon);
        let direct = host.host.environment.clone();
        host.host.environment = vec![
            ("DOCKER_HOST", format!("unix://{}", socket.display())),
            ("NETLOOM_RELIST_SECONDS", "3600".to_owned()),
        ];
        host.netloom(&["agent", "--background"]).code(0);
        host.until("the daemon is seen", |host| docker_is(host, "ok"));
        host.host.environment = direct;
        Some((host, requests))
    }

    /// What `docker` prints, without the last end of line.
    #[track_caller]
    pub(crate) fn docker(&self, arguments: &str) -> String {
        self.sh(&format!("docker {arguments}")).code(0).out.trim_end().to_owned()
    }

    /// Waits until something is so of this host.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, so: impl Fn(&Self) -> bool) {
        self.until(what, |_| so(self));
    }

    /// Everything that a lab could leave behind.
    pub(crate) fn all_traces(&self) -> AllTraces {
        let find = format!("find /sys/fs/cgroup -path '*/{}/*' -type d | wc -l", self.daemon.group());
        let of_docker = ["ps -aq", "volume ls -q", "network ls -q", "image ls -q"].map(|what| self.docker(what));
        AllTraces { host: self.traces(), of_docker, groups: self.sh(&find).out }
    }

    /// A command in a node of lab `x`, and what it writes.
    #[track_caller]
    pub(crate) fn inside(&self, node: &str, script: &str) -> String {
        self.netloom(&["exec", &format!("x/{node}"), "--", "sh", "-c", script]).code(0).out
    }

    /// Whether one packet goes there and back.
    pub(crate) fn pings(&self, node: &str, address: &str) -> bool {
        self.netloom(&["exec", &format!("x/{node}"), "--", "ping", "-c", "1", "-W", "2", address]).code == 0
    }
}

/// Whether the capability `docker` of the agent is like that.
pub(crate) fn docker_is(host: &Sandbox, status: &str) -> bool {
    let ready = host.ask("GET /readyz?verbose").json();
    let all = ready["capabilities"].as_array().unwrap();
    all.iter().any(|one| one["name"] == "docker" && one["status"] == status)
}

/// What there is on a host with a daemon.
#[derive(Debug)]
pub(crate) struct AllTraces {
    host: Traces,
    of_docker: [String; 4],
    groups: String,
}

impl AllTraces {
    /// Fails the test unless the host has just this again.
    #[track_caller]
    pub(crate) fn are_all(&self, host: &DockerHost) {
        self.host.are_all(host);
        let now = host.all_traces();
        assert_eq!((&now.of_docker, &now.groups), (&self.of_docker, &self.groups));
    }
}

/// The requests that went through a socket to the daemon, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<Vec<String>>>);

impl Requests {
    /// A socket that leads to the daemon.
    fn to(daemon: &Dockerd) -> (Self, PathBuf) {
        let (socket, real) = (daemon.directory().join("counted.sock"), daemon.socket());
        let listener = UnixListener::bind(&socket).unwrap();
        let requests = Self::default();
        let counted = requests.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let _ = client.and_then(|client| counted.carry(client, &real));
            }
        });
        (requests, socket)
    }

    fn carry(&self, client: UnixStream, real: &Path) -> io::Result<()> {
        let daemon = UnixStream::connect(real)?;
        let (mut answers, mut asker) = (daemon.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut answers, &mut asker);
            asker.shutdown(Shutdown::Both)
        });
        let requests = self.clone();
        thread::spawn(move || requests.count(client, daemon));
        Ok(())
    }

    fn count(&self, mut from: UnixStream, mut to: UnixStream) -> io::Result<()> {
        let (mut buffer, mut line) = (vec![0; 1 << 16], Vec::new());
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                return to.shutdown(Shutdown::Write);
            }
            for byte in &buffer[..length] {
                match byte {
                    b'\n' => {
                        let text = String::from_utf8_lossy(&line).into_owned();
                        if let Some(request) = text.strip_suffix(" HTTP/1.1\r") {
                            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request.to_owned());
                        }
                        line.clear();
                    }
                    // No line of a head is that long.
                    _ if line.len() < 4096 => line.push(*byte),
                    _ => {}
                }
            }
            to.write_all(&buffer[..length])?;
        }
    }

    /// All since the last call, but for questions whether the daemon is there, which come whenever it is silent.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.retain(|request| !request.ends_with("/version"));
        all
    }
}
