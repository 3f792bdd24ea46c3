//! What is kept for the nodes of a controller's lab beside the lab itself, and outlives them: their configurations in the store, and
//! on the disk the directories in which devices save (`workspaces/<lab>/<node>/…`, [`netloom_engine::Layout::workspaces`]).
//!
//! The disk is worked on by a thread that is there for one request, one at a time: a disk that hangs holds up nobody else.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, post};
use netloom_model::LabName;
use serde_json::json;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;

use super::answer::{Answer, Json, done};
use super::carry_out::wish;
use super::fields::lab;
use super::labs::ValidLabs;
use crate::routes::Shared;
use crate::serve::App;

/// How long the disk may take, of the 30 s that a controller waits.
const DISK: Duration = Duration::from_secs(24);

/// Held by the thread that works on the disk.
#[derive(Debug, Default)]
pub(crate) struct Workspaces(Arc<Mutex<()>>);

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/labs/{lab}/workspace", delete(delete_workspace))
        .route("/cleanup-workspaces", post(cleanup_workspaces))
}

/// Has something done on the disk.
async fn on_disk<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&path::Path) -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let done = async {
        let place = app.workspaces.0.clone().lock_owned().await;
        let (tell, told) = oneshot::channel();
        let workspaces = app.engine.layout().workspaces();
        let run = move || {
            let done = work(&workspaces);
            drop(place);
            // Whoever asked may have given up.
            let _ = tell.send(done);
        };
        let thread = std::thread::Builder::new().name("workspaces".into()).spawn(run);
        thread.map_err(|error| format!("no thread for the disk: {error}"))?;
        let done = told.await.map_err(|_| "the work on the disk broke off".to_owned())?;
        done.map_err(|error| format!("the directory of its nodes: {error}"))
    };
    timeout(DISK, done).await.unwrap_or_else(|_| Err(format!("the disk does not answer within {} s", DISK.as_secs())))
}

/// Removes the directory of a lab; whether there was one.
fn remove(workspaces: &path::Path, name: &LabName) -> io::Result<bool> {
    match fs::remove_dir_all(workspaces.join(name.as_str())) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The labs that have a directory.
fn list(workspaces: &path::Path) -> io::Result<Vec<LabName>> {
    let entries = match fs::read_dir(workspaces) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.filter_map(|entry| entry.map(|entry| entry.file_name().to_str()?.parse().ok()).transpose()).collect()
}

/// Forgets what is kept for the nodes of a lab; whether there was anything. What nodes that are there save stays with them.
async fn forgotten(app: &App, name: &LabName) -> Result<bool, String> {
    let was_kept = app.engine.forget_startup(name).await.map_err(|refusal| refusal.to_string())?;
    if wish(app, name).is_some_and(|wish| !wish.lab.nodes().is_empty()) {
        return Ok(was_kept);
    }
    let of = name.clone();
    let was_there = on_disk(app, move |workspaces| remove(workspaces, &of)).await?;
    Ok(was_kept || was_there)
}

async fn delete_workspace(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let name = lab(&name)?;
    Ok(done(&match forgotten(&app, &name).await {
        Ok(true) => json!({ "success": true, "deleted": format!("workspaces/{name}") }),
        Ok(false) => json!({ "success": true, "message": "workspace does not exist" }),
        Err(why) => json!({ "success": false, "message": why }),
    }))
}

async fn cleanup_workspaces(State(app): State<Shared>, Json(body): Json<ValidLabs>) -> Answer {
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    let mut labs: BTreeSet<LabName> = BTreeSet::new();
    // As with orphans, no list is no order to remove all.
    if !body.valid_lab_ids.is_empty() {
        labs.extend(app.engine.labs_with_startup());
        match on_disk(&app, list).await {
            Ok(there) => labs.extend(there),
            Err(why) => errors.push(why),
        }
    }
    for name in labs.iter().filter(|name| !body.valid_lab_ids.iter().any(|valid| valid == name.as_str())) {
        match forgotten(&app, name).await {
            Ok(_) => removed.push(name.to_string()),
            Err(why) => errors.push(format!("lab {name}: {why}")),
        }
    }
    Ok(done(&json!({ "success": errors.is_empty(), "removed": removed, "errors": errors })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_all_in_it_and_one_that_is_not_there_is_fine() {
        let root = tempfile::tempdir().unwrap();
        let (workspaces, name) = (root.path().join("workspaces"), "lab".parse().unwrap());
        assert_eq!(list(&workspaces).unwrap(), []);
        assert!(!remove(&workspaces, &name).unwrap());
        fs::create_dir_all(workspaces.join("lab/r1/flash")).unwrap();
        fs::write(workspaces.join("lab/r1/flash/startup-config"), "hostname r1\n").unwrap();
        fs::create_dir(workspaces.join(".no name")).unwrap();
        assert_eq!(list(&workspaces).unwrap(), std::slice::from_ref(&name));
        assert!(remove(&workspaces, &name).unwrap());
        assert_eq!(list(&workspaces).unwrap(), []);
    }
}
