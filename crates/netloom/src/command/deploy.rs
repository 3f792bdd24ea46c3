//! `netloom deploy`: a topology file becomes the desired state of its lab, and the operation is followed.

use std::collections::BTreeSet;

use hyper::Method;
use netloom_agent::wire::{Accepted, PutLab};
use netloom_engine::{LabView, Layout, OperationState, Preview};
use netloom_plan::{Severity, Shortage};

use super::agent_process;
use super::follow::{Following, Shown};
use crate::cli::Deploy;
use crate::client::{Client, segment};
use crate::failure::{Failure, Result};
use crate::{labdir, output, remote, render, topology};

/// Exit code 0 when all of it is there.
pub(crate) async fn run(options: Deploy, layout: &Layout) -> Result {
    let source = topology::find_with(&options.topology, &options.vars.files)?;
    let lab = remote::resolved(topology::read(&source, options.name.as_ref())?.into_lab()?)?;
    let name = lab.name().clone();
    let only = (!options.node_filter.is_empty()).then(|| options.node_filter.iter().cloned().collect::<BTreeSet<_>>());
    if let Some(only) = &only {
        lab.restrict(only).map_err(|unknown| Failure::input(format_args!("--node-filter: {unknown}")))?;
    }
    let body = PutLab { lab, rebuild: options.reconfigure, raise_limits: options.raise_limits, only };
    let path = format!("/labs/{}", segment(&name));
    if options.dry_run {
        let client = Client::connect(layout).await?;
        let preview: Preview = client.ask(&Method::PUT, &format!("{path}?dry-run=true"), Some(&body)).await?;
        return show(&preview, &options);
    }
    let client = agent_process::connect_or_start(layout).await?;
    labdir::lay_out(&body.lab)?;
    let accepted: Accepted = client.ask(&Method::PUT, &path, Some(&body)).await?;
    for shortage in &accepted.operation.shortages {
        output::say(&format!("warning: {shortage}"));
    }
    let following = Following {
        client: &client,
        title: format!("deploy of lab {name}"),
        shown: if options.json { Shown::Json } else { Shown::Progress },
        timeout: options.timeout,
        go_on: format!(
            "go on with `netloom deploy -t {}{}`, or remove it with `netloom destroy --name {name}`",
            source.shown.display(),
            source.vars.iter().map(|path| format!(" --vars {}", path.display())).collect::<Vec<_>>().concat()
        ),
    };
    let ended = following.to_the_end(accepted.operation).await?;
    // After a failure it is wanted most: what stands and what does not.
    let view = client.get::<LabView>(&path).await.ok();
    if let Some(view) = &view {
        labdir::report(view, &client).await;
    }
    if !options.json {
        if ended.state == OperationState::Succeeded && ended.steps.is_empty() {
            let message = ended.message.as_deref().unwrap_or("nothing to change");
            return output::result(&format!("lab {name}: {message}\n"));
        }
        if let Some(view) = &view {
            output::result(&render::lab(view))?;
        }
    }
    following.judge(&ended)
}

/// Shows what would be done. As a deploy would be refused, so is its dry run: exit code 2.
fn show(preview: &Preview, options: &Deploy) -> Result {
    if options.json {
        output::json(preview)?;
    } else {
        output::result(&preview.plan.to_string())?;
        if let Some(stopped) = render::stopped(&preview.plan.lab, &preview.stopped) {
            output::say(&stopped);
        }
    }
    let raised = |shortage: &Shortage| options.raise_limits && !shortage.raise.is_empty();
    let refused: Vec<String> = preview
        .shortages
        .iter()
        .filter(|shortage| shortage.severity == Severity::Refused && !raised(shortage))
        .map(ToString::to_string)
        .collect();
    for shortage in preview.shortages.iter().filter(|shortage| !refused.contains(&shortage.to_string())) {
        let what = if raised(shortage) { "would be raised" } else { "warning" };
        output::say(&format!("{what}: {shortage}"));
    }
    if refused.is_empty() { Ok(()) } else { Err(Failure::input(refused.join("\n"))) }
}
