//! `netloom inspect`: what is there.

use std::collections::BTreeMap;
use std::path::Path;

use netloom_engine::{Document, LabView, Layout};
use netloom_model::LabName;

use super::{lab_name, watch};
use crate::cli::{Inspect, InspectFormat};
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure, Result};
use crate::{clab, labdir, output, render};

/// One lab in full, or all labs one line each.
pub(crate) async fn run(options: Inspect, layout: &Layout) -> Result {
    let form = options.form();
    let Inspect { labs, watch, every, .. } = options;
    if watch && form == InspectFormat::ClabJson {
        return Err(Failure::input("--watch shows rates, which --format clab-json has no place for; leave one out"));
    }
    let client = Client::connect(layout).await?;
    let is_json = form == InspectFormat::Json;
    if labs.name().is_none() && labs.topology.is_none() {
        if watch {
            return watch::run(&client, None, every, is_json).await;
        }
        let all: Vec<LabView> = client.get("/labs").await?;
        return match form {
            InspectFormat::Text => output::result(&render::labs(&all)),
            InspectFormat::Json => output::json(&all),
            InspectFormat::ClabJson => containers(&all, &client).await,
        };
    }
    let name = lab_name(labs.name().cloned(), labs.topology.as_deref(), &client).await?;
    if watch {
        return watch::run(&client, Some(&name), every, is_json).await;
    }
    let view: LabView = client.get(&format!("/labs/{}", segment(&name))).await?;
    match form {
        InspectFormat::Text => output::result(&render::lab(&view)),
        InspectFormat::Json => output::json(&view),
        InspectFormat::ClabJson => containers(&[view], &client).await,
    }
}

/// Labs as lists of containers.
async fn containers(views: &[LabView], client: &Client) -> Result {
    let here = std::env::current_dir().map_err(Failure::input)?;
    let mut all: BTreeMap<LabName, Vec<clab::Inspected>> = BTreeMap::new();
    for view in views {
        let wanted = match client.get::<Document>(&format!("/labs/{}/desired", segment(&view.name))).await {
            Ok(wanted) => Some(wanted.lab().map_err(Failure::failed)?),
            // Found by its marks, or gone meanwhile.
            Err(failure) if failure.exit == Exit::Input => None,
            Err(failure) => return Err(failure),
        };
        all.extend([clab::inspected(view, wanted.as_ref(), &here, &owner(view))]);
    }
    output::json(&all)
}

/// Whose a lab is: the one who deployed it owns its directory.
fn owner(view: &LabView) -> String {
    let Some(source) = view.source.as_deref().map(Path::new) else { return String::new() };
    let of_lab = labdir::name_of(&labdir::beside(source, &view.name));
    if of_lab.is_empty() { labdir::name_of(source) } else { of_lab }
}
