//! Configurations of nodes: read from devices that run, and kept for the next time that their nodes are created.
//!
//! ```text
//!   POST …/extract-config(s) ──▶ the command of the device, up to three tries ──▶ answer
//!                                                             └──▶ kept ◀── PUT …/config
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{post, put};
use futures::StreamExt as _;
use netloom_engine::Wish;
use netloom_model::{LabName, NodeName};
use netloom_plan::NodeState;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, Json, done};
use super::carry_out::wish;
use super::fields::{lab, node};
use super::node_spec::readable;
use super::nodes::{OUTPUT, Ran, run, state_of};
use super::vendor::Vendor;
use crate::routes::Shared;
use crate::serve::App;

/// How long configurations are waited for, all of a lab together: a controller waits 30 s for them before it stops a node.
const SHOWN: Duration = Duration::from_secs(24);
/// How often a device is asked that does not show it yet.
const TRIES: u32 = 3;
/// The time between two tries.
const PAUSE: Duration = Duration::from_secs(2);
/// How many nodes of a lab are asked at once: each is one of the agent's sessions, and a command in a container.
const AT_ONCE: usize = 8;
/// What devices say that boot, in the place of a configuration.
const NOT_YET: [&str; 3] = ["authorization denied", "not ready", "not yet ready"];
/// So short that is, in lines.
const SAYING: usize = 2;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/labs/{lab}/nodes/{node}/extract-config", post(extract_config))
        .route("/labs/{lab}/nodes/{node}/config", put(put_config))
        .route("/labs/{lab}/extract-configs", post(extract_configs))
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unread {
    /// The device may show it in a moment.
    Yet(String),
    /// It will not.
    Ever(String),
}

/// What a command has shown, if that is a configuration.
fn shown(ran: Ran) -> Result<String, Unread> {
    let lines = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).count();
    let says = ran.output.trim().to_lowercase();
    if lines(&says) <= SAYING && NOT_YET.iter().any(|words| says.contains(words)) {
        let said = ran.output.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(Unread::Yet(format!("its device does not show a configuration yet: {}", said.trim())));
    }
    match ran.code {
        0 if readable(&ran.stdout).is_empty() => {
            Err(Unread::Yet("its device shows nothing where a configuration is expected; it may still boot".to_owned()))
        }
        // A part of one would be taken for all of it.
        0 if ran.stdout.len() >= OUTPUT => {
            Err(Unread::Ever(format!("its configuration is longer than {} MiB", OUTPUT / 1024 / 1024)))
        }
        0 => Ok(ran.stdout),
        code => Err(Unread::Ever(format!("exit code {code}: {}", ran.output.lines().next().unwrap_or_default()))),
    }
}

/// Asks a device until it shows its configuration, until then at the latest.
async fn tried<A: Future<Output = Result<Ran, String>>>(
    by: Instant,
    mut ask: impl FnMut() -> A,
) -> Result<String, String> {
    let late = || Err(format!("no configuration is shown within {} s", SHOWN.as_secs()));
    let mut tries = 0;
    // Of a long lab the time may be over before the last ones have their turn.
    while Instant::now() < by {
        tries += 1;
        let Ok(ran) = timeout_at(by, ask()).await else { break };
        match ran.map_err(Unread::Ever).and_then(shown) {
            Ok(text) => return Ok(text),
            Err(Unread::Yet(_)) if tries < TRIES && Instant::now() + PAUSE < by => tokio::time::sleep(PAUSE).await,
            Err(Unread::Yet(why) | Unread::Ever(why)) => return Err(why),
        }
    }
    late()
}

/// The configuration of a running node; none of a device that shows none.
async fn read(app: &App, wish: &Wish, name: &NodeName, by: Instant) -> Option<Result<String, String>> {
    let spec = wish.lab.nodes().get(name)?;
    let kind = spec.labels.get(netloom_model::KIND_LABEL).map_or("linux", String::as_str);
    let command = Vendor::of(kind, spec.image.as_deref()).shows?;
    let ask = || run(app, wish.lab.name(), name, command.iter().map(|word| (*word).to_owned()).collect());
    Some(tried(by, ask).await.map_err(|why| format!("node {name}: {why}")))
}

/// The same with its name.
async fn named(app: &App, wish: &Wish, name: NodeName, by: Instant) -> (NodeName, Option<Result<String, String>>) {
    let text = read(app, wish, &name, by).await;
    (name, text)
}

/// Keeps what was read, for the next time that the nodes are created; what is not kept was read all the same.
async fn keep(app: &App, lab_id: &LabName, texts: Vec<(NodeName, String)>) {
    if !texts.is_empty()
        && let Err(refusal) = app.engine.keep_startup(lab_id, texts).await
    {
        tracing::warn!(lab = %lab_id, %refusal, "configurations that were read cannot be kept");
    }
}

async fn extract_config(State(app): State<Shared>, Path((lab_id, name)): Path<(String, String)>) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let text = match wish(&app, &lab_id) {
        None => Err(format!("there is no lab {lab_id}")),
        Some(wish) => {
            let text = read(&app, &wish, &name, Instant::now() + SHOWN).await;
            text.unwrap_or_else(|| Err(format!("node {name} is not there, or its device shows no configuration")))
        }
    };
    if let Ok(text) = &text {
        keep(&app, &lab_id, vec![(name.clone(), text.clone())]).await;
    }
    Ok(done(&json!({ "success": text.is_ok(), "node_name": name, "content": text.as_ref().ok(),
        "error": text.as_ref().err() })))
}

async fn extract_configs(State(app): State<Shared>, Path(lab_id): Path<String>) -> Answer {
    let lab_id = lab(&lab_id)?;
    let (mut texts, mut wrong) = (BTreeMap::new(), BTreeMap::new());
    if let Some(wish) = wish(&app, &lab_id) {
        let by = Instant::now() + SHOWN;
        let nodes = wish.lab.nodes().keys();
        let running = nodes.filter(|name| state_of(&app, &lab_id, name) == Some(NodeState::Running)).cloned();
        let asked = running.collect::<Vec<_>>().into_iter().map(|name| named(&app, &wish, name, by));
        let mut asked = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
        while let Some((name, outcome)) = asked.next().await {
            match outcome {
                Some(Ok(text)) => drop(texts.insert(name, text)),
                Some(Err(why)) => drop(wrong.insert(name, why)),
                None => {}
            }
        }
    }
    keep(&app, &lab_id, texts.clone().into_iter().collect()).await;
    let error = (!wrong.is_empty()).then(|| wrong.into_values().collect::<Vec<_>>().join("; "));
    if let Some(why) = &error {
        tracing::warn!(lab = %lab_id, why, "configurations could not be read");
    }
    let configs: Vec<_> = texts.iter().map(|(name, text)| json!({ "node_name": name, "content": text })).collect();
    Ok(done(&json!({ "success": true, "extracted_count": configs.len(), "configs": configs, "error": error })))
}

#[derive(Debug, Deserialize)]
struct Config {
    content: String,
}

/// Kept for the next time that the node is created, in the place of what was. One without content takes that back: the device
/// begins with what it has saved itself, or with what its image has.
async fn put_config(
    State(app): State<Shared>,
    Path((lab_id, name)): Path<(String, String)>,
    Json(body): Json<Config>,
) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let kept = app.engine.keep_startup(&lab_id, vec![(name, body.content)]).await;
    Ok(done(&json!({ "success": kept.is_ok(), "error": kept.err().map(|refusal| refusal.to_string()) })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(code: i32, stdout: &str, stderr: &str) -> Ran {
        Ran { code, output: format!("{stderr}{stdout}"), stdout: stdout.to_owned() }
    }

    /// What comes of a device that answers so one time after the other, and how often it is asked.
    async fn tries(within: Duration, answers: &[Result<Ran, String>]) -> (Result<String, String>, usize) {
        let (mut answers, mut asked) = (answers.iter().cloned(), 0);
        let ask = || {
            asked += 1;
            let answer = answers.next();
            async move {
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            }
        };
        let outcome = tried(Instant::now() + within, ask).await;
        (outcome, asked)
    }

    #[test]
    fn what_a_device_says_while_it_boots_is_no_configuration() {
        assert_eq!(shown(ran(0, "hostname r1\n", "% a warning\n")), Ok("hostname r1\n".to_owned()));
        let config = "hostname r1\ninterface eth1\n description not ready\n";
        assert_eq!(shown(ran(0, config, "")), Ok(config.to_owned()), "these words may stand in one");
        let is_for_now = |ran| matches!(shown(ran), Err(Unread::Yet(_)));
        for nothing in ["", " \n\n", "Building configuration...\n\nCurrent configuration:\n"] {
            assert!(is_for_now(ran(0, nothing, "% a warning\n")), "{nothing:?}");
        }
        assert!(is_for_now(ran(0, "\n% Authorization denied for command 'show running-config'\n", "")));
        assert!(is_for_now(ran(1, "", "the system is not yet ready\n")));
        let cut = shown(ran(0, &"!\n".repeat(OUTPUT / 2), ""));
        assert_eq!(cut, Err(Unread::Ever("its configuration is longer than 4 MiB".into())));
        assert_eq!(shown(ran(127, "", "sh: not found\n")), Err(Unread::Ever("exit code 127: sh: not found".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_does_not_show_it_yet_is_asked_three_times_and_no_longer_than_there_is_time() {
        let (nothing, text) = (Ok(ran(0, "\n", "")), Ok(ran(0, "hostname r1\n", "")));
        let whole = tries(SHOWN, &[nothing.clone(), nothing.clone(), text.clone()]).await;
        assert_eq!(whole, (Ok("hostname r1\n".to_owned()), 3));
        let (never, asked) = tries(SHOWN, &[nothing.clone(), nothing.clone(), nothing.clone(), text]).await;
        assert_eq!(asked, 3);
        assert!(never.unwrap_err().contains("where a configuration is expected"));
        // What ends otherwise ends so the next time too.
        assert_eq!(tries(SHOWN, &[Err("it does not run".into())]).await, (Err("it does not run".to_owned()), 1));
        let began = Instant::now();
        assert_eq!(tries(Duration::from_secs(3), &[nothing.clone(), nothing]).await.1, 2);
        let (late, asked) = tries(SHOWN, &[]).await;
        assert!(asked == 1 && late.unwrap_err().contains("within 24 s"));
        assert_eq!(began.elapsed(), PAUSE + SHOWN);
        assert_eq!(tries(Duration::ZERO, &[]).await.1, 0, "nobody is asked for whom no time is left");
    }
}
