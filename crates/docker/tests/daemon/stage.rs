//! The daemon that all cases share, and an image on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_docker::{ByteStream, ContainerSpec, Docker, Endpoint, Event, Events, Frame, Frames, HostConfig, Remove};
use netloom_dockerd_fixture::{Dockerd, busybox};

/// The image that is there.
pub(crate) const IMAGE: &str = "netloom.test/busybox:1";

/// Long enough for a loaded machine.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// The daemon that all cases share, and an image on it.
pub(crate) struct Stage {
    pub(crate) docker: Docker,
    pub(crate) daemon: Dockerd,
}

impl Stage {
    pub(crate) async fn set(daemon: Dockerd) -> Self {
        let docker = Docker::new(Endpoint::Unix(daemon.socket()), Arc::new(()));
        let archive = ByteStream::from(bytes::Bytes::from(busybox(IMAGE)));
        assert_eq!(docker.load_image(archive, soon()).await.unwrap(), [IMAGE]);
        Self { docker, daemon }
    }

    /// Makes a container and starts it.
    pub(crate) async fn run(&self, name: &str, spec: &ContainerSpec) -> String {
        let created = self.docker.create_container(name, spec, soon()).await.unwrap();
        self.docker.start_container(&created.id, soon()).await.unwrap();
        created.id
    }

    pub(crate) async fn remove(&self, id: &str) {
        self.docker.remove_container(id, Remove::ALL, soon()).await.unwrap();
    }
}

/// A container without a network that runs this in a shell.
pub(crate) fn shell(script: &str) -> ContainerSpec {
    ContainerSpec {
        image: IMAGE.to_owned(),
        cmd: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        host_config: HostConfig { network_mode: "none".to_owned(), ..HostConfig::default() },
        ..ContainerSpec::default()
    }
}

/// One that does nothing until it is ended, and ends at once when it is asked to: once it has said that it is ready.
/// Before that nothing ends it but `SIGKILL`, since the first process of a container has no defaults for signals.
pub(crate) fn idle() -> ContainerSpec {
    shell("trap 'exit 3' TERM; echo ready; while :; do sleep 3600 & wait $!; done")
}

/// Waits for the first event that is wanted.
pub(crate) async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    let waiting = async {
        loop {
            let event = events.next().await.expect("the stream goes on").unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("what is waited for happens")
}

/// Reads until all of this was put out, or to the end.
pub(crate) async fn read(frames: &mut Frames, until: &str) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    while let Some(frame) = frames.next().await {
        match frame.unwrap() {
            Frame::Stdout(bytes) => out += std::str::from_utf8(&bytes).unwrap(),
            Frame::Stderr(bytes) => err += std::str::from_utf8(&bytes).unwrap(),
        }
        if !until.is_empty() && out.contains(until) {
            break;
        }
    }
    (out, err)
}
