//! What the agent says of itself: to the controller when it registers, and to whoever asks.

use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use netloom_engine::Source;
use netloom_model::RuntimeKind;
use serde::{Serialize, Serializer};

/// How many jobs are said to be possible at once: a controller gives a host no more, and refuses who asks for another. Here they wait
/// for each other where they have to, so it is the limit of those that the controller itself counts: a class that starts its nodes.
const JOBS: u32 = 32;

/// The agent, as `POST /agents/register` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AgentProfile {
    /// Its id.
    pub(crate) agent_id: String,
    /// Its name.
    pub(crate) name: String,
    /// `host:port`.
    pub(crate) address: String,
    /// What it can do.
    pub(crate) capabilities: Capabilities,
    /// Its version.
    pub(crate) version: &'static str,
    /// The commit that it was built from; empty if that is not known.
    pub(crate) commit: &'static str,
    /// When it was started. A newer one than before is a restart to the controller.
    #[serde(serialize_with = "iso")]
    pub(crate) started_at: SystemTime,
    /// Whether it lives beside the controller.
    pub(crate) is_local: bool,
    /// How it was started.
    pub(crate) deployment_mode: DeploymentMode,
    /// The address of tunnels, if it is another one than that of `address`.
    pub(crate) data_plane_ip: Option<IpAddr>,
    /// How the Docker daemon keeps images. Not said: a change would have the controller look for all images anew.
    pub(crate) docker_snapshotter_mode: Option<String>,
}

/// What an agent can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Capabilities {
    /// What nodes can run on. Without `docker` no container is placed here.
    pub(crate) providers: Vec<&'static str>,
    /// How many jobs it takes at once.
    pub(crate) max_concurrent_jobs: u32,
    /// What else it has.
    pub(crate) features: Vec<&'static str>,
}

impl Capabilities {
    /// Those of an engine that has these sources.
    pub(crate) fn of<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Self {
        let provider = |source: &Source| match source {
            Source::Runtime(RuntimeKind::Docker) => Some("docker"),
            Source::Runtime(RuntimeKind::Libvirt) => Some("libvirt"),
            // No controller knows these.
            Source::Runtime(RuntimeKind::Namespace) | Source::Fabric | Source::Switch | Source::Images(_) => None,
        };
        let providers = sources.into_iter().filter_map(provider).collect();
        Self { providers, max_concurrent_jobs: JOBS, features: vec!["console", "status", "vxlan"] }
    }
}

/// How the agent was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeploymentMode {
    /// As a unit of systemd.
    Systemd,
    /// In a container.
    Docker,
    /// In another way.
    Unknown,
}

impl DeploymentMode {
    /// As the process finds itself.
    pub(crate) fn detect() -> Self {
        Self::of(Path::new("/.dockerenv").exists(), std::env::var_os("INVOCATION_ID").is_some())
    }

    fn of(is_in_container: bool, is_unit: bool) -> Self {
        match (is_in_container, is_unit) {
            (true, _) => Self::Docker,
            (false, true) => Self::Systemd,
            (false, false) => Self::Unknown,
        }
    }
}

/// The answer to `GET /deployment-mode`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Deployment {
    /// How the agent was started.
    pub(crate) mode: DeploymentMode,
    /// Its version.
    pub(crate) version: &'static str,
}

/// What `GET /health` says beside whether the process can work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AgentHealth {
    /// The agent's id.
    pub(crate) agent_id: String,
    /// The commit that it was built from.
    pub(crate) commit: &'static str,
    /// Whether the controller knows it.
    pub(crate) registered: bool,
    /// Now.
    #[serde(serialize_with = "iso")]
    pub(crate) timestamp: SystemTime,
}

/// The version of the agent.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, where the build says so.
pub(crate) const COMMIT: &str = match option_env!("NETLOOM_COMMIT") {
    Some(commit) => commit,
    None => "",
};

/// A time as controllers write it: `2026-11-23T20:00:00.000000+00:00`.
pub(crate) fn iso<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso_text(*time))
}

/// The same as text.
pub(crate) fn iso_text(time: SystemTime) -> String {
    let zulu = humantime::format_rfc3339_micros(time).to_string();
    format!("{}+00:00", zulu.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_controllers_write_them() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 123_456_789);
        assert_eq!(iso_text(time), "2027-01-15T08:00:00.123456+00:00");
    }

    #[test]
    fn what_works_is_what_is_provided() {
        let all = [Source::Runtime(RuntimeKind::Namespace), Source::Runtime(RuntimeKind::Docker), Source::Fabric];
        assert_eq!(Capabilities::of(&all).providers, ["docker"]);
        assert!(Capabilities::of(&all[..1]).providers.is_empty());
    }

    #[test]
    fn the_way_it_was_started_is_told() {
        let modes = [(false, false), (false, true), (true, true)].map(|(container, unit)| {
            serde_json::to_value(DeploymentMode::of(container, unit)).unwrap().as_str().unwrap().to_owned()
        });
        assert_eq!(modes, ["unknown", "systemd", "docker"]);
    }
}
