//! `netloom destroy`: nothing of a lab remains, whatever its file says now. What is beside that file stays unless its
//! removal is asked for: it may hold configurations that were saved.

use std::path::{Path, PathBuf};

use hyper::Method;
use netloom_agent::wire::Accepted;
use netloom_engine::{LabView, Layout};
use netloom_model::LabName;

use super::follow::{Following, Shown};
use super::{each, forced, lab_of};
use crate::cli::Destroy;
use crate::client::{Client, segment};
use crate::failure::{Failure, Result, plain};
use crate::{labdir, output};

/// Removes the labs one after the other; one that fails does not stop the others.
pub(crate) async fn run(options: Destroy, layout: &Layout) -> Result {
    let Destroy { labs, vars, cleanup, force, json, yes: _ } = options;
    if !labs.all && labs.name().is_none() && labs.topology.is_none() {
        return Err(Failure::input("say what to destroy: LAB, -t FILE or --all"));
    }
    let client = Client::connect(layout).await?;
    let names: Vec<LabName> = if labs.all {
        let all: Vec<LabView> = client.get("/labs").await?;
        all.into_iter().map(|lab| lab.name).collect()
    } else {
        vec![lab_of(labs.name().cloned(), labs.topology.as_deref(), &vars.files, &client).await?]
    };
    if names.is_empty() && !json {
        return output::result("there is no lab\n");
    }
    let files = if cleanup { Files::Removed } else { Files::Kept };
    each(names, async |name| one(&client, &name, files, force, json).await).await
}

/// What becomes of a lab's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    Kept,
    Removed,
}

async fn one(client: &Client, name: &LabName, files: Files, force: bool, json: bool) -> Result {
    // Afterwards nobody knows where they are.
    let directory = if files == Files::Removed { directory_of(client, name).await? } else { None };
    let path = format!("/labs/{}{}", segment(name), forced(force));
    let accepted: Accepted = client.ask(&Method::DELETE, &path, None::<&()>).await?;
    let following = Following {
        client,
        title: format!("destroy of lab {name}"),
        shown: if json { Shown::Json } else { Shown::Progress },
        timeout: None,
        go_on: format!("go on with `netloom destroy {name}`"),
    };
    let ended = following.to_the_end(accepted.operation).await?;
    following.judge(&ended)?;
    if let Some(directory) = directory {
        labdir::remove(&directory)
            .map_err(|error| Failure::failed(format_args!("{}: {}", directory.display(), plain(&error))))?;
    }
    if json { Ok(()) } else { output::result(&format!("lab {name}: destroyed\n")) }
}

/// The directory beside the file that a lab was deployed from.
async fn directory_of(client: &Client, name: &LabName) -> Result<Option<PathBuf>> {
    let view: LabView = client.get(&format!("/labs/{}", segment(name))).await?;
    Ok(view.source.map(|source| labdir::beside(Path::new(&source), name)))
}
