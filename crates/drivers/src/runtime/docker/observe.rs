//! From what Docker says of a container to what is known of a node. Pure.

use std::collections::BTreeMap;
use std::time::SystemTime;

use netloom_docker::Container;
use netloom_engine::{Applied, Health, NodeFact};
use netloom_kernel::Identity;
use netloom_model::RuntimeKind;
use netloom_plan::{NodeFingerprint, NodeState};

use super::hold;
use super::mark::{self, Mark};
use super::record::Record;

/// What is known of a node's container. All of it was said by Docker or the kernel; what was only ordered is not in it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) container: String,
    /// The reference of its image, as it was made by.
    pub(super) image: String,
    pub(super) mark: Mark,
    pub(super) record: Record,
    pub(super) state: NodeState,
    /// Docker's own text; with the id it tells one life of the container from another.
    pub(super) started_at: String,
    /// Its first process, while it runs.
    pub(super) process: Option<Identity>,
    /// The cookie of that process's network namespace.
    pub(super) namespace: Option<u64>,
    /// Whether its command waits for its interfaces.
    pub(super) holds: bool,
    /// Whether Docker starts it again by itself.
    pub(super) restarting: bool,
    pub(super) network: Network,
    /// What its health check says, if it has one.
    pub(super) health: Option<Health>,
    /// Whether its links have a place to wait in until its first start.
    pub(super) reserved: bool,
    /// Who commands in it run as, where, and with what: as its image and its node say.
    pub(super) user: String,
    pub(super) directory: String,
    pub(super) env: Vec<String>,
    pub(super) note: Option<String>,
    pub(super) last_output: Option<String>,
    /// When it was noted ([`super::Shared::note`]): only then is it told.
    pub(super) seen: SystemTime,
}

/// Of what is not noted yet.
pub(super) const NOT_NOTED: SystemTime = SystemTime::UNIX_EPOCH;

/// Whose network namespace a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Network {
    /// One of its own: links end in it.
    Own,
    /// That of a container outside of the lab, which is named: its links end in it, and it stays when the node goes.
    Outside(String),
    /// The same, but that container has another one by now.
    Left(String),
    /// That of the host or of another node.
    Another,
}

impl Network {
    /// What a mode of Docker gives, and the labels say of it.
    pub(super) fn of(mode: &str, labels: &BTreeMap<String, String>) -> Self {
        let shares = mode.starts_with("container:");
        match mark::outside(labels).filter(|_| shares) {
            Some(container) => Self::Outside(container.to_owned()),
            None if shares || mode == "host" => Self::Another,
            None => Self::Own,
        }
    }

    /// The container outside of the lab that it is or was of.
    pub(super) fn outside(&self) -> Option<&str> {
        match self {
            Self::Outside(container) | Self::Left(container) => Some(container),
            Self::Own | Self::Another => None,
        }
    }

    /// Whether the ends of the node's links are in it.
    pub(super) fn holds_links(&self) -> bool {
        *self != Self::Another
    }
}

impl Known {
    /// What an inspection says.
    pub(super) fn of(container: &Container, mark: Mark, record: Record) -> Self {
        Self {
            state: state(container, record.stopped),
            id: container.id.clone(),
            container: container.plain_name().to_owned(),
            image: container.config.image.clone(),
            started_at: container.state.started_at.clone(),
            process: None,
            namespace: None,
            holds: hold::is_held(&container.config.entrypoint),
            restarting: container.state.status == "restarting",
            network: Network::of(&container.host_config.network_mode, &container.config.labels),
            health: container.state.health.as_ref().and_then(health),
            reserved: false,
            user: container.config.user.clone(),
            directory: container.config.working_dir.clone(),
            env: container.config.env.clone(),
            note: note(container),
            last_output: None,
            mark,
            record,
            seen: NOT_NOTED,
        }
    }

    /// The spec that was applied last.
    pub(super) fn fingerprint(&self) -> &NodeFingerprint {
        self.record.fingerprint.as_ref().unwrap_or(&self.mark.fingerprint)
    }

    /// What that was, if this version can read it.
    pub(super) fn applied(&self) -> Option<Applied> {
        match &self.record.applied {
            Some(applied) => mark::applied(&self.mark, applied),
            None => mark::applied(&self.mark, self.mark.applied.as_ref()?),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == NodeState::Running
    }

    pub(super) fn fact(&self) -> NodeFact {
        // Docker writes the year 1 for one that was never started.
        let has_run = !self.started_at.is_empty() && !self.started_at.starts_with("0001-");
        NodeFact {
            lab: self.mark.lab.clone(),
            node: self.mark.node.clone(),
            runtime: RuntimeKind::Docker,
            state: self.state.clone(),
            pid: self.process.map(|process| process.pid),
            incarnation: has_run.then(|| format!("{}@{}", short(&self.id), self.started_at)),
            namespace: self.namespace,
            left_behind: self.is_running() && matches!(self.network, Network::Left(_)),
            restarting: self.restarting,
            reserved: self.reserved && self.state == NodeState::Created,
            fingerprint: self.fingerprint().clone(),
            container: self.container.clone(),
            runtime_id: Some(self.id.clone()),
            image: Some(self.image.clone()),
            health: self.health.filter(|_| self.is_running()),
            last_output: self.last_output.clone(),
            note: self.note.clone(),
            seen: self.seen,
        }
    }
}

/// The twelve digits that people see of an id.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn state(container: &Container, stopped: bool) -> NodeState {
    let state = &container.state;
    let code = i32::try_from(state.exit_code).unwrap_or(i32::MAX);
    match state.status.as_str() {
        // A start that failed leaves it as it was made.
        "created" => NodeState::Created,
        "running" | "paused" => NodeState::Running,
        "removing" => NodeState::Stopping,
        "dead" => NodeState::Failed { cause: format!("Docker cannot remove it: {}", state.error) },
        "exited" if stopped => NodeState::Stopped,
        // Between two lives.
        "restarting" | "exited" => NodeState::Exited { code },
        other => NodeState::Failed { cause: format!("Docker says that it is `{other}`") },
    }
}

fn health(said: &netloom_docker::Health) -> Option<Health> {
    match said.status.as_str() {
        "starting" => Some(Health::Starting),
        "healthy" => Some(Health::Healthy),
        "unhealthy" => Some(Health::Unhealthy),
        // `none`: the check was switched off.
        _ => None,
    }
}

fn note(container: &Container) -> Option<String> {
    match container.state.status.as_str() {
        "paused" => Some("it is paused (docker unpause goes on)".to_owned()),
        "exited" if container.state.oom_killed => Some("the kernel ended it: its memory was used up".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(status: &str, exit_code: i64) -> Container {
        let json = serde_json::json!({ "Id": "0123456789abcdef", "Name": "/clab-lab-r1",
            "State": { "Status": status, "ExitCode": exit_code, "StartedAt": "2026-01-01T00:00:00Z" } });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn each_status_of_docker_is_a_state_of_a_node() {
        let of = |status, code, stopped| state(&container(status, code), stopped);
        assert_eq!(of("created", 0, false), NodeState::Created);
        assert_eq!(of("running", 0, false), NodeState::Running);
        assert_eq!(of("paused", 0, false), NodeState::Running);
        assert_eq!(of("exited", 137, false), NodeState::Exited { code: 137 });
        assert_eq!(of("exited", 137, true), NodeState::Stopped);
        assert_eq!(of("restarting", 1, false), NodeState::Exited { code: 1 });
        assert_eq!(of("removing", 0, false), NodeState::Stopping);
        assert!(matches!(of("dead", 0, false), NodeState::Failed { .. }));
        assert!(matches!(of("melted", 0, false), NodeState::Failed { .. }));
    }

    #[test]
    fn a_life_is_told_by_container_and_start_and_one_that_never_ran_has_none() {
        let mark = Mark {
            lab: "lab".parse().unwrap(),
            node: "r1".parse().unwrap(),
            fingerprint: "1.2.3".parse().unwrap(),
            applied: None,
        };
        let known = Known::of(&container("running", 0), mark.clone(), Record::new("0123456789abcdef"));
        assert_eq!(known.fact().incarnation.as_deref(), Some("0123456789ab@2026-01-01T00:00:00Z"));
        assert_eq!((known.fact().container.as_str(), known.fact().restarting), ("clab-lab-r1", false));
        let between = Known::of(&container("restarting", 1), mark.clone(), Record::new("0123456789abcdef"));
        assert!(between.fact().restarting);
        let mut never = container("created", 0);
        never.state.started_at = "0001-01-01T00:00:00Z".into();
        let known = Known::of(&never, mark, Record::new("0123456789abcdef"));
        assert_eq!(known.fact().incarnation, None);
    }
}
