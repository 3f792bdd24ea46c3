//! `netloom destroy`: nothing of a lab remains, whatever its file says now.

use hyper::Method;
use netloom_agent::wire::Accepted;
use netloom_engine::{LabView, Layout};
use netloom_model::LabName;

use super::follow::{Following, Shown};
use super::{each, lab_name};
use crate::cli::Destroy;
use crate::client::{Client, segment};
use crate::failure::{Failure, Result};
use crate::output;

/// Removes the labs one after the other; one that fails does not stop the others.
pub(crate) async fn run(options: Destroy, layout: &Layout) -> Result {
    let Destroy { labs, json, yes: _ } = options;
    if !labs.all && labs.name().is_none() && labs.topology.is_none() {
        return Err(Failure::input("say what to destroy: LAB, -t FILE or --all"));
    }
    let client = Client::connect(layout).await?;
    let names: Vec<LabName> = if labs.all {
        let all: Vec<LabView> = client.get("/labs").await?;
        all.into_iter().map(|lab| lab.name).collect()
    } else {
        vec![lab_name(labs.name().cloned(), labs.topology.as_deref(), &client).await?]
    };
    if names.is_empty() && !json {
        return output::result("there is no lab\n");
    }
    each(names, async |name| one(&client, &name, json).await).await
}

async fn one(client: &Client, name: &LabName, json: bool) -> Result {
    let accepted: Accepted = client.ask(&Method::DELETE, &format!("/labs/{}", segment(name)), None::<&()>).await?;
    let following = Following {
        client,
        title: format!("destroy of lab {name}"),
        shown: if json { Shown::Json } else { Shown::Progress },
        timeout: None,
        go_on: format!("go on with `netloom destroy {name}`"),
    };
    let ended = following.to_the_end(accepted.operation).await?;
    following.judge(&ended)?;
    if json { Ok(()) } else { output::result(&format!("lab {name}: destroyed\n")) }
}
