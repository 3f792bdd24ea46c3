//! `POST /images/receive`: an archive that a controller sends, as a part of a form.

use std::time::Duration;

use axum::extract::multipart::{Field, Multipart, MultipartRejection};
use axum::extract::{FromRequest as _, Request, State};
use netloom_engine::task;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::intake::{Announced, Intake};
use super::transfers::{Begun, Job, Status};
use super::{Answer, Detail, Shared, done};
use crate::contract::answer::Query;
use crate::contract::named::chance;
use crate::serve::App;

/// How long an archive waits for its turn, of the 600 s that a controller waits.
const TURN: Duration = Duration::from_secs(480);
/// The longest value of a field that is no file, in bytes.
const FIELD: usize = 4096;
/// How many fields are read.
const FIELDS: usize = 32;
/// How long a client may take to notice that it has its answer.
const READ_OFF: Duration = Duration::from_secs(10);
/// How long a client may take for the next piece.
const PIECE: Duration = Duration::from_secs(60);

/// What is said of the image: in the query, or in fields of the form.
#[derive(Debug, Default, Deserialize)]
pub(super) struct About {
    reference: Option<String>,
    total_bytes: Option<String>,
    job_id: Option<String>,
    sha256: Option<String>,
    device_id: Option<String>,
}

impl About {
    /// Takes a field; what the query says already stands.
    fn take(&mut self, name: &str, value: String) {
        let place = match name {
            "reference" => &mut self.reference,
            "total_bytes" => &mut self.total_bytes,
            "job_id" => &mut self.job_id,
            "sha256" => &mut self.sha256,
            "device_id" => &mut self.device_id,
            _ => return,
        };
        place.get_or_insert(value);
    }

    fn announced(&self) -> Announced {
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Announced { reference: said(&self.reference), device: said(&self.device_id), sha256: said(&self.sha256) }
    }
}

pub(super) async fn receive(State(app): State<Shared>, Query(about): Query<About>, request: Request) -> Answer {
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|rejection: MultipartRejection| Detail::unreadable(&["body"], "value_error", rejection.body_text()))?;
    let total = about.total_bytes.as_deref().and_then(|total| total.parse().ok()).unwrap_or(0);
    let job_id = about.job_id.clone().filter(|id| !id.is_empty()).unwrap_or_else(chance);
    let job = match app.transfers.begin(job_id, "", total) {
        Begun::New(job) => job,
        Begun::Joined(_) | Begun::Full => return Err(Detail::new(503, "too many images are on their way")),
    };
    // Of one that waits nothing is read: its client waits too.
    let read = match turn(&app).await {
        Ok(place) => read(&app, &mut form, about, &job).await.map(|(intake, announced)| (intake, announced, place)),
        Err(error) => Err(Unread::Refused(error)),
    };
    let outcome = match read {
        Ok((intake, announced, place)) => {
            // Everything is here: a client that hangs up now cancels nothing.
            let engine = app.engine.clone();
            let finish = async move {
                let outcome = intake.finish(&engine, &announced, &job).await;
                job.end(&outcome);
                drop(place);
                outcome
            };
            let finished = task::spawn("images are loaded", app.tasks.track_future(finish)).await;
            finished.unwrap_or_else(|_| Err("the loading broke off; the agent's log says why".into()))
        }
        Err(Unread::Form(detail)) => {
            read_off(&app, form);
            return Err(detail);
        }
        Err(Unread::Refused(error)) => {
            read_off(&app, form);
            let outcome = Err(error);
            job.end(&outcome);
            outcome
        }
    };
    Ok(done(&match outcome {
        Ok(loaded) => json!({ "success": true, "error": null, "loaded_images": loaded }),
        Err(error) => json!({ "success": false, "error": error, "loaded_images": [] }),
    }))
}

/// Waits until one more archive may be loaded.
async fn turn(app: &App) -> Result<OwnedSemaphorePermit, String> {
    let stopping = || "the agent is stopping; send it again".to_owned();
    tokio::select! {
        place = timeout(TURN, app.transfers.loads.clone().acquire_owned()) => match place {
            Ok(place) => place.map_err(|_| stopping()),
            Err(_) => Err(format!("others were loaded for {} s; send it again", TURN.as_secs())),
        },
        () = app.stop.cancelled() => Err(stopping()),
    }
}

/// Reads what a client still sends while it is answered already: closed in its face, the connection would be reset, and the
/// answer with it.
fn read_off(app: &App, mut form: Multipart) {
    let stop = app.stop.clone();
    let rest = async move {
        // Going on to the next field reads the one before to its end.
        let rest = async { while let Ok(Some(_)) = form.next_field().await {} };
        tokio::select! {
            _ = timeout(READ_OFF, rest) => {}
            () = stop.cancelled() => {}
        }
    };
    task::spawn("rest of a form", app.tasks.track_future(rest));
}

/// Why a form was not read to its end.
enum Unread {
    /// It is none, or breaks off.
    Form(Detail),
    /// What is in it is not taken.
    Refused(String),
}

/// Reads the whole form, the file on its way into the runtime.
async fn read(app: &App, form: &mut Multipart, mut about: About, job: &Job) -> Result<(Intake, Announced), Unread> {
    let mut intake = None;
    for _ in 0..FIELDS {
        let next = timeout(PIECE, form.next_field()).await;
        let next = next.map_err(|_| broken("nothing came for a minute"))?;
        let Some(mut field) = next.map_err(|error| broken(&error.body_text()))? else { break };
        let name = field.name().unwrap_or_default().to_owned();
        if name != "file" {
            let value = value(&mut field).await?;
            about.take(&name, value);
            continue;
        }
        if intake.is_some() {
            return Err(broken("there are two files"));
        }
        let mut archive = Intake::begin(&app.engine, &about.announced()).await.map_err(Unread::Refused)?;
        job.is(Status::Transferring);
        while let Some(piece) = piece(&mut field).await? {
            archive.take(piece, job).await.map_err(Unread::Refused)?;
        }
        intake = Some(archive);
    }
    let missing = || Detail::unreadable(&["body", "file"], "missing", "Field required");
    Ok((intake.ok_or_else(|| Unread::Form(missing()))?, about.announced()))
}

async fn piece(field: &mut Field<'_>) -> Result<Option<bytes::Bytes>, Unread> {
    let piece = timeout(PIECE, field.chunk()).await.map_err(|_| broken("nothing came for a minute"))?;
    piece.map_err(|error| broken(&error.body_text()))
}

async fn value(field: &mut Field<'_>) -> Result<String, Unread> {
    let mut value = Vec::new();
    while let Some(piece) = piece(field).await? {
        value.extend_from_slice(&piece);
        if value.len() > FIELD {
            return Err(broken("a field is too long"));
        }
    }
    String::from_utf8(value).map_err(|_| broken("a field is no text"))
}

fn broken(why: &str) -> Unread {
    Unread::Form(Detail::unreadable(&["body"], "value_error", why))
}
