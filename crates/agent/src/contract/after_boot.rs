//! What a device wants done once after each of its boots: commands that are run in its node as soon as it is seen to be ready.
//!
//! ```text
//!   GET …/ready, the first yes ──▶ task `after boot` (one for each life of a node): a command after the other, three tries each
//!   POST …/run-post-boot ──▶ one try, now          └──▶ event, log, and a note in the store: not again in this life
//! ```
//!
//! Nobody waits for it: a node is ready whatever comes of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netloom_engine::{What, task};
use netloom_model::{LabName, NodeName};

use super::nodes::{Ran, run};
use super::vendor::Vendor;
use crate::serve::App;

/// How often a command is tried that does not end well.
const TRIES: u32 = 3;
/// The time between two tries: what it changes may not be there yet.
const PAUSE: Duration = Duration::from_secs(5);
/// How many nodes are served at once; others are when they are asked for again.
const AT_ONCE: usize = 64;

/// A life of a node.
type Life = (LabName, NodeName, String);

/// The lives in which it is under way.
#[derive(Debug, Default)]
pub(crate) struct AfterBoot(Mutex<BTreeSet<Life>>);

/// One of them, until this is dropped.
struct Under {
    app: Arc<App>,
    life: Life,
}

impl AfterBoot {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Under {
    /// Begins, unless it is under way.
    fn begin(app: &Arc<App>, life: Life) -> Option<Self> {
        let mut lives = app.after_boot.lock();
        let begins = lives.len() < AT_ONCE && lives.insert(life.clone());
        begins.then(|| Self { app: app.clone(), life })
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.app.after_boot.lock().remove(&self.life);
    }
}

/// The life that a node has now.
fn life(app: &App, lab: &LabName, node: &NodeName) -> Option<Life> {
    let snapshot = app.engine.inventory().snapshot();
    let life = snapshot.node(lab, node)?.incarnation.clone()?;
    Some((lab.clone(), node.clone(), life))
}

/// A node is ready: what its device wants is done, if it was not. Never waits.
pub(super) fn ready(app: &Arc<App>, lab: &LabName, node: &NodeName, vendor: &Vendor) {
    let commands = vendor.after_boot;
    if commands.is_empty() {
        return;
    }
    let Some(life) = life(app, lab, node).filter(|(.., life)| !app.engine.is_after_boot(lab, node, life)) else {
        return;
    };
    let Some(under) = Under::begin(app, life) else { return };
    let stop = app.stop.clone();
    let work = async move {
        tokio::select! {
            () = tried(&under, commands) => {}
            () = stop.cancelled() => {}
        }
    };
    task::spawn("after boot", app.tasks.track_future(work));
}

async fn tried(Under { app, life: (lab, node, life) }: &Under, commands: &[&[&str]]) {
    let mut wrong = Vec::new();
    for command in commands {
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            match once(app, lab, node, command).await {
                Err(_) if tries < TRIES => tokio::time::sleep(PAUSE).await,
                outcome => break outcome,
            }
        };
        wrong.extend(outcome.err());
    }
    app.engine.note_after_boot(lab, node, life).await;
    let text = match wrong.as_slice() {
        [] => format!("node {node} has booted, and the {} commands of its device after that were run", commands.len()),
        wrong => format!("node {node} has booted, and what its device wants after that failed: {}", wrong.join("; ")),
    };
    if wrong.is_empty() {
        tracing::info!(%lab, %node, "{text}");
    } else {
        tracing::warn!(%lab, %node, "{text}");
    }
    app.engine.events().publish(What::Notice { lab: Some(lab.clone()), text });
}

/// Does it now, once more or not. `Err` says what went wrong.
pub(super) async fn now(app: &Arc<App>, lab: &LabName, node: &NodeName, vendor: &Vendor) -> Result<(), String> {
    let life = life(app, lab, node).ok_or_else(|| format!("node {node} does not run"))?;
    let Some(under) = Under::begin(app, life) else { return Err(format!("it is under way for node {node}")) };
    for command in vendor.after_boot {
        once(app, lab, node, command).await?;
    }
    let (.., life) = &under.life;
    app.engine.note_after_boot(lab, node, life).await;
    Ok(())
}

async fn once(app: &App, lab: &LabName, node: &NodeName, command: &[&str]) -> Result<(), String> {
    let argv = command.iter().map(|word| (*word).to_owned()).collect();
    match run(app, lab, node, argv).await {
        Ok(Ran { code: 0, .. }) => Ok(()),
        Ok(Ran { code, output, .. }) => {
            let last = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            Err(format!("`{}`: exit code {code}: {last}", command[0]))
        }
        Err(why) => Err(format!("`{}`: {why}", command[0])),
    }
}
