//! `POST /images/pull`: an image that is fetched from the controller's library, in the background.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use http_body_util::BodyExt as _;
use netloom_engine::task;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::intake::{Announced, Intake};
use super::library::Library;
use super::transfers::{Begun, Job, Status};
use super::{Answer, Detail, Json, Shared, done};
use crate::contract::named::chance;

/// How long the controller may take for the next piece.
const PIECE: Duration = Duration::from_secs(60);
/// How long it may take in all, with the wait for others.
const FETCHED: Duration = Duration::from_secs(3600);

/// What is to be fetched.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    image_id: String,
    reference: String,
    sha256: Option<String>,
    device_id: Option<String>,
}

pub(super) async fn pull(State(app): State<Shared>, Json(wanted): Json<Wanted>) -> Answer {
    let what = format!("{} {}", wanted.image_id, wanted.reference);
    let job_id = match app.transfers.begin(chance(), &what, 0) {
        Begun::Joined(job_id) => job_id,
        Begun::Full => return Err(Detail::new(503, "too many images are on their way")),
        Begun::New(job) => {
            let job_id = job.id().to_owned();
            let (fetched, app) = (app.clone(), app);
            let fetch = async move {
                let outcome = tokio::select! {
                    outcome = timeout(FETCHED, fetch(&fetched, wanted, &job)) => {
                        outcome.unwrap_or_else(|_| Err(format!("it is not here after {} s", FETCHED.as_secs())))
                    }
                    () = fetched.stop.cancelled() => Err("the agent was stopped; pull it again".to_owned()),
                };
                if let Err(error) = &outcome {
                    tracing::warn!(job = job.id(), error, "an image of the controller's library is not here");
                }
                job.end(&outcome);
            };
            task::spawn("image of the library", app.tasks.track_future(fetch));
            job_id
        }
    };
    Ok(done(&json!({ "job_id": job_id, "status": "pending" })))
}

async fn fetch(app: &Shared, wanted: Wanted, job: &Job) -> Result<Vec<String>, String> {
    let announced = Announced {
        reference: Some(wanted.reference).filter(|text| !text.is_empty()),
        device: wanted.device_id.filter(|text| !text.is_empty()),
        sha256: wanted.sha256.filter(|text| !text.is_empty()),
    };
    let library = Library::of(&app.config)?;
    let stopping = |_| "the agent is stopping".to_owned();
    let _fetch = app.transfers.fetches.acquire().await.map_err(stopping)?;
    let _load = app.transfers.loads.acquire().await.map_err(stopping)?;
    // Before anything is asked of the controller: what cannot be taken is not fetched.
    let mut intake = Intake::begin(&app.engine, &announced).await?;
    job.is(Status::Transferring);
    let (length, mut body) = library.open(&wanted.image_id).await?;
    job.is_to_be(length.unwrap_or(0));
    loop {
        let frame = timeout(PIECE, body.frame()).await;
        match frame.map_err(|_| format!("nothing came from the controller for {} s", PIECE.as_secs()))? {
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    intake.take(piece, job).await?;
                }
            }
            Some(Err(error)) => return Err(format!("the controller broke off: {error}")),
            None => return intake.finish(&app.engine, &announced, job).await,
        }
    }
}

/// `GET /images/pull/{job}/progress`
pub(super) async fn progress(State(app): State<Shared>, Path(job): Path<String>) -> Response {
    done(&app.transfers.of(&job))
}
