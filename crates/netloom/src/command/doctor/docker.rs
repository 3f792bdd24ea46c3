//! The Docker daemon, which nodes of images run on.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_docker::{Docker, Endpoint, ErrorKind};

use super::Finding;

const AREA: &str = "docker";
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What follows where it cannot be used.
const MEANS: &str = "labs of containers cannot be made; nodes with `runtime: namespace` need no Docker";

/// Whether it answers, and which one it is.
pub(super) async fn daemon() -> Vec<Finding> {
    const CHECK: &str = "daemon";
    let endpoint = match Endpoint::from_env() {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let mend = "unset DOCKER_HOST, also where the agent is started";
            return vec![Finding::fail(AREA, CHECK, error.to_string()).means(MEANS).mend(mend)];
        }
    };
    let at = endpoint.to_string();
    let error = match Docker::new(endpoint, Arc::new(())).version(Instant::now() + PATIENCE).await {
        Ok(version) => {
            let found = format!("Docker {} (API {}) at {at}", version.version, version.api_version);
            return vec![Finding::ok(AREA, CHECK, found)];
        }
        Err(error) => error.kind,
    };
    let finding = match &error {
        ErrorKind::Unreachable(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let found = format!("there is none at {at}");
            Finding::warn(AREA, CHECK, found).mend("apt install docker.io; or set DOCKER_HOST where it is elsewhere")
        }
        ErrorKind::Unreachable(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            let found = format!("{at} is not open to you");
            // Of no matter to an agent, which is root.
            Finding::warn(AREA, CHECK, found)
                .mend("sudo netloom doctor; or join its group: sudo usermod -aG docker $USER")
        }
        ErrorKind::Unreachable(_) => {
            Finding::fail(AREA, CHECK, format!("nobody answers at {at}: {error}")).mend("systemctl start docker")
        }
        _ => Finding::fail(AREA, CHECK, format!("{at}: {error}"))
            .mend("systemctl status docker; systemctl restart docker"),
    };
    vec![finding.means(MEANS)]
}
