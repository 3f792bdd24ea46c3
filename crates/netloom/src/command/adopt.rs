//! `netloom adopt`: what runs and is unknown to the agent is wanted again, just as it is.

use hyper::Method;
use netloom_agent::wire::Accepted;
use netloom_engine::{LabView, Layout};
use netloom_model::LabName;

use super::each;
use crate::cli::Adopt;
use crate::client::{Client, segment};
use crate::failure::Result;
use crate::output;

/// Takes the labs back one after the other; one that is refused does not stop the others.
pub(crate) async fn run(options: Adopt, layout: &Layout) -> Result {
    let Adopt { lab, all: _, json } = options;
    let client = Client::connect(layout).await?;
    let names: Vec<LabName> = if let Some(lab) = lab {
        vec![lab]
    } else {
        let all: Vec<LabView> = client.get("/labs").await?;
        all.into_iter().filter(|lab| lab.phase.is_none()).map(|lab| lab.name).collect()
    };
    if names.is_empty() && !json {
        return output::result("there is no lab that the agent does not know\n");
    }
    each(names, async |name| one(&client, &name, json).await).await
}

async fn one(client: &Client, name: &LabName, json: bool) -> Result {
    let path = format!("/labs/{}/adopt", segment(name));
    let Accepted { operation } = client.ask(&Method::POST, &path, None::<&()>).await?;
    if json {
        return output::json_line(&operation);
    }
    output::result(&format!("{}\n", operation.message.unwrap_or_default()))
}
