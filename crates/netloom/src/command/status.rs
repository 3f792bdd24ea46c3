//! `netloom status`: what is wrong, since when, who is affected, what is being done; one screen.

use netloom_agent::wire::{Liveness, Readiness, Ready, Stall};
use netloom_engine::{LabView, Layout, OperationView};
use serde::Serialize;

use crate::client::Client;
use crate::failure::{Exit, Failure, Result};
use crate::{output, render};

/// All that the screen is made of; also what `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// `GET /livez`.
    pub(crate) live: Liveness,
    /// `GET /readyz?verbose`.
    pub(crate) ready: Readiness,
    /// What is late now, of `GET /debug/stalls`.
    pub(crate) stalls: Vec<Stall>,
    /// The labs of this host.
    #[serde(skip)]
    pub(crate) labs: Vec<LabView>,
    /// The operations under way.
    pub(crate) operations: Vec<OperationView>,
}

/// Shows it. Fails (1) if the agent is not live, or not ready for what the labs of this host need.
pub(crate) async fn run(json: bool, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let mut stalls: Vec<Stall> = client.get("/debug/stalls").await?;
    stalls.retain(|stall| stall.ended.is_none());
    let mut operations: Vec<OperationView> = client.get("/operations").await?;
    operations.retain(|operation| operation.ended.is_none());
    let status = Status {
        live: client.health("/livez").await?,
        ready: client.health("/readyz?verbose").await?,
        stalls,
        labs: client.get("/labs").await?,
        operations,
    };
    if json {
        output::json(&status)?;
    } else {
        output::result(&render::status(&status))?;
    }
    let is_well = status.live.late.is_empty() && status.ready.status == Ready::Ok;
    // All is said already.
    if is_well { Ok(()) } else { Err(Failure { exit: Exit::Failed, text: None }) }
}
