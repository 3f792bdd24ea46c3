//! `netloom operation`: what the agent does or did.

use hyper::Method;
use netloom_agent::wire::Accepted;
use netloom_engine::{Layout, OperationState, OperationView};

use super::follow::{Following, Shown};
use crate::cli::Operation;
use crate::client::{Client, segment};
use crate::failure::Result;
use crate::{output, render};

/// Lists, shows or cancels.
pub(crate) async fn run(command: Operation, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    match command {
        Operation::List { json } => {
            let all: Vec<OperationView> = client.get("/operations").await?;
            if json { output::json(&all) } else { output::result(&render::operations(&all)) }
        }
        Operation::Show { id, json } => {
            let view: OperationView = client.get(&format!("/operations/{}", segment(&id))).await?;
            if json { output::json(&view) } else { output::result(&render::operation(&view)) }
        }
        Operation::Cancel { id } => cancel(&client, &id).await,
    }
}

async fn cancel(client: &Client, id: &str) -> Result {
    let path = format!("/operations/{}", segment(id));
    let accepted: Accepted = client.ask(&Method::DELETE, &path, None::<&()>).await?;
    let following =
        Following { client, title: format!("operation {id}"), shown: Shown::Late, timeout: None, go_on: String::new() };
    let ended = following.to_the_end(accepted.operation).await?;
    let verdict = match ended.state {
        OperationState::Cancelled => match &ended.lab {
            Some(lab) => {
                format!("operation {id} was cancelled; lab {lab} is held as it is until the next deploy or destroy\n")
            }
            None => format!("operation {id} was cancelled\n"),
        },
        state => format!("operation {id} had ended already: {}\n", render::state(state)),
    };
    output::result(&verdict)
}
