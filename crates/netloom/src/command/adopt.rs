//! `netloom adopt`: what runs and is unknown to the agent is wanted from now on, just as it is: labs of ours that the store has
//! lost, and those that another agent has left on this host.

use hyper::Method;
use netloom_agent::wire::Accepted;
use netloom_engine::{Layout, Takeover};
use netloom_model::LabName;

use super::follow::{Following, Shown};
use super::{each, forced};
use crate::cli::Adopt;
use crate::client::{Client, segment};
use crate::failure::{Failure, Result};
use crate::output;
use crate::render;

/// Takes the labs back one after the other; one that is refused does not stop the others.
pub(crate) async fn run(options: Adopt, layout: &Layout) -> Result {
    let Adopt { lab, all: _, dry_run, force, json } = options;
    let client = Client::connect(layout).await?;
    if dry_run {
        return show(&client, lab.as_ref(), json).await;
    }
    let names: Vec<LabName> = if let Some(lab) = lab {
        vec![lab]
    } else {
        let all: Vec<Takeover> = client.get("/adoptable").await?;
        all.into_iter().map(|takeover| takeover.lab).collect()
    };
    if names.is_empty() && !json {
        return output::result(NONE);
    }
    each(names, async |name| one(&client, &name, force, json).await).await
}

const NONE: &str = "there is no lab that the agent does not know\n";

/// What would be adopted. It fails if not all of it can be, as adopting it would.
async fn show(client: &Client, lab: Option<&LabName>, json: bool) -> Result {
    let path = lab.map_or_else(|| "/adoptable".to_owned(), |lab| format!("/adoptable?lab={}", segment(lab)));
    let all: Vec<Takeover> = client.get(&path).await?;
    for takeover in &all {
        if json {
            output::json_line(takeover)?;
        } else {
            output::result(&render::takeover(takeover))?;
        }
    }
    if all.is_empty() && !json {
        output::result(NONE)?;
    }
    let refused: Vec<&str> =
        all.iter().filter(|takeover| !takeover.refused.is_empty()).map(|takeover| takeover.lab.as_str()).collect();
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Failure::input(format_args!("not adopted as it is: {}", refused.join(", "))))
    }
}

async fn one(client: &Client, name: &LabName, force: bool, json: bool) -> Result {
    let path = format!("/labs/{}/adopt{}", segment(name), forced(force));
    let Accepted { mut operation } = client.ask(&Method::POST, &path, None::<&()>).await?;
    if force {
        let following = Following {
            client,
            title: format!("adoption of lab {name}"),
            shown: Shown::Late,
            timeout: None,
            go_on: format!("go on with `netloom adopt --force {name}`"),
        };
        operation = following.to_the_end(operation).await?;
        following.judge(&operation)?;
    }
    if json {
        return output::json_line(&operation);
    }
    if force {
        return output::result(&format!("lab {name}: from now on the command line decides about it\n"));
    }
    output::result(&format!("{}\n", operation.message.unwrap_or_default()))
}
