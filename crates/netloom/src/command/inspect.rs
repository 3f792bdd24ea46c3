//! `netloom inspect`: what is there.

use netloom_engine::{LabView, Layout};

use super::{lab_name, watch};
use crate::cli::Inspect;
use crate::client::{Client, segment};
use crate::failure::Result;
use crate::{output, render};

/// One lab in full, or all labs one line each.
pub(crate) async fn run(options: Inspect, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let Inspect { labs, json, watch, every } = options;
    if labs.name().is_none() && labs.topology.is_none() {
        if watch {
            return watch::run(&client, None, every, json).await;
        }
        let all: Vec<LabView> = client.get("/labs").await?;
        return if json { output::json(&all) } else { output::result(&render::labs(&all)) };
    }
    let name = lab_name(labs.name().cloned(), labs.topology.as_deref(), &client).await?;
    if watch {
        return watch::run(&client, Some(&name), every, json).await;
    }
    let view: LabView = client.get(&format!("/labs/{}", segment(&name))).await?;
    if json { output::json(&view) } else { output::result(&render::lab(&view)) }
}
