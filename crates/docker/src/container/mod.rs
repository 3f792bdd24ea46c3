//! Containers: what is asked of the daemon about them.

mod host;
mod inspect;
mod spec;
mod summary;

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::docker::{Ask, Docker};
use crate::error::Result;
use crate::filters::Filters;
use crate::lenient::null;
use crate::reply::{LIST, ONE};
use crate::target::Target;

pub use host::{
    BindOptions, ContainerUpdate, DeviceMapping, DeviceRequest, HostConfig, LogConfig, MountSpec, PortBinding,
    RestartPolicy, Ulimit,
};
pub use inspect::{Check, Config, Container, Health, HostSettings, MountPoint, NetworkSettings, State};
pub use spec::{ContainerSpec, Healthcheck, NetworkingConfig};
pub use summary::{ContainerSummary, SummaryHost, SummaryNetworks};

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Created {
    /// 64 hexadecimal digits.
    pub id: String,
    /// What of the specification the daemon does otherwise.
    #[serde(default, deserialize_with = "null")]
    pub warnings: Vec<String>,
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remove {
    /// Kill it if it runs; without that one that runs is a conflict.
    pub force: bool,
    /// With its volumes that have no name.
    pub volumes: bool,
}

impl Remove {
    /// Killed if it runs, and with its volumes: nothing is left.
    pub const ALL: Self = Self { force: true, volumes: true };
}

impl Docker {
    /// Makes a container, without starting it.
    ///
    /// A name that is taken is a `Conflict`; an image that is not there `NotFound`. After `Deadline` or `Cut` it may be
    /// there or come to be: look for it by its name. Source: `POST /containers/create`.
    pub async fn create_container(&self, name: &str, spec: &ContainerSpec, deadline: Instant) -> Result<Created> {
        self.call("create container", name, deadline, async {
            let target = Target::at(["containers", "create"]).query("name", name);
            self.ask(Ask::post(target).json(spec)?).await?.json(ONE).await
        })
        .await
    }

    /// Starts a container; one that runs is left as it is.
    ///
    /// Source: `POST /containers/{id}/start`.
    pub async fn start_container(&self, id: &str, deadline: Instant) -> Result<()> {
        let ask = Ask::post(Target::at(["containers", id, "start"]));
        self.command("start container", id, ask, deadline).await
    }

    /// Asks a container to end and kills it after `grace`, which is rounded up to seconds; one that does not run is
    /// left as it is.
    ///
    /// The answer comes when it has ended, so the deadline has to be later than `grace`. Source: `POST
    /// /containers/{id}/stop`.
    pub async fn stop_container(&self, id: &str, grace: Duration, deadline: Instant) -> Result<()> {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let ask = Ask::post(Target::at(["containers", id, "stop"]).query("t", &seconds.to_string()));
        self.command("stop container", id, ask, deadline).await
    }

    /// Sends a signal, for example `SIGHUP`, to the first process of a container; one that does not run is a
    /// `Conflict`.
    ///
    /// Source: `POST /containers/{id}/kill`.
    pub async fn kill_container(&self, id: &str, signal: &str, deadline: Instant) -> Result<()> {
        let ask = Ask::post(Target::at(["containers", id, "kill"]).query("signal", signal));
        self.command("kill container", id, ask, deadline).await
    }

    /// Removes a container; one that is not there is fine.
    ///
    /// One that is being removed already is `RemovalInProgress`, one that runs and is not to be killed a `Conflict`.
    /// Source: `DELETE /containers/{id}`.
    pub async fn remove_container(&self, id: &str, remove: Remove, deadline: Instant) -> Result<()> {
        let target = Target::at(["containers", id]).flag("force", remove.force).flag("v", remove.volumes);
        match self.command("remove container", id, Ask::delete(target), deadline).await {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }

    /// Changes limits and the restart policy of a container, also while it runs.
    ///
    /// Source: `POST /containers/{id}/update`.
    pub async fn update_container(&self, id: &str, update: &ContainerUpdate, deadline: Instant) -> Result<()> {
        self.call("update container", id, deadline, async {
            let ask = Ask::post(Target::at(["containers", id, "update"])).json(update)?;
            self.ask(ask).await?.done().await
        })
        .await
    }

    /// All that there is to know of a container, by its id, the beginning of it, or its name.
    ///
    /// Source: `GET /containers/{id}/json`.
    pub async fn inspect_container(&self, id: &str, deadline: Instant) -> Result<Container> {
        self.call("inspect container", id, deadline, async {
            self.ask(Ask::get(Target::at(["containers", id, "json"]))).await?.json(ONE).await
        })
        .await
    }

    /// All containers that the filter lets pass, also those that do not run; the newest first, up to 64 MiB of JSON.
    ///
    /// Source: `GET /containers/json`.
    pub async fn list_containers(&self, filter: &Filters, deadline: Instant) -> Result<Vec<ContainerSummary>> {
        self.call("list containers", "", deadline, async {
            let target = Target::at(["containers", "json"]).flag("all", true);
            let target = target.query_some("filters", filter.value().as_deref());
            self.ask(Ask::get(target)).await?.json(LIST).await
        })
        .await
    }

    /// A call whose answer has nothing to say but its status.
    pub(crate) async fn command(
        &self,
        operation: &'static str,
        object: &str,
        ask: Ask,
        deadline: Instant,
    ) -> Result<()> {
        self.call(operation, object, deadline, async { self.ask(ask).await?.done().await }).await
    }
}
