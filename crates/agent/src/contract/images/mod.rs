//! Images for controllers: what is there, from the snapshot; and the way in and out of what they delivered.
//!
//! A controller removes each image that it is shown and that is not in its library. So it is shown, and may remove, only what it
//! has delivered ([`netloom_engine::Delivered`]); whether an image is there it is told of all.
//!
//! ```text
//!   POST /images/receive ──multipart──┐
//!                                     ├─▶ intake (SHA-256, the end held back) ──▶ Engine::load_images
//!   POST /images/pull ─▶ task ─GET────┘        └─▶ transfers: how far each is
//! ```

mod intake;
mod library;
mod pull;
mod receive;
mod transfers;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use netloom_engine::{Delivered, Engine, ImageFact, task};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, Detail, Json, Shared, done};

pub(crate) use transfers::Transfers;

/// How long a removal is waited for: a controller waits a minute. It goes on afterwards.
const REMOVED_WITHIN: Duration = Duration::from_secs(48);

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/images", get(list))
        .route("/images/{*reference}", get(one).delete(remove))
        // An archive is as large as it is; nothing of it is kept.
        .route("/images/receive", post(receive::receive).layer(DefaultBodyLimit::disable()))
        .route("/images/pull", post(pull::pull))
        .route("/images/pull/{job}/progress", get(pull::progress))
        .route("/images/active-transfers", get(transfers::active))
        .route("/images/backfill-metadata", post(backfill_metadata))
        .route("/images/backfill-checksums", post(backfill_checksums))
}

/// An image as controllers know it.
#[derive(Debug, Serialize)]
struct Image {
    id: String,
    tags: Vec<String>,
    size_bytes: u64,
    created: String,
    device_id: Option<String>,
    kind: &'static str,
    /// A path, of images that are files; there are none here.
    reference: Option<String>,
    in_use: bool,
}

impl Image {
    fn of(engine: &Engine, image: &ImageFact, tags: Vec<String>, delivered: &[Delivered]) -> Self {
        Self {
            id: image.id.clone(),
            tags,
            size_bytes: image.size_bytes,
            created: humantime::format_rfc3339(image.created).to_string(),
            device_id: delivered.iter().find_map(|delivered| delivered.device.clone()),
            kind: "docker",
            reference: None,
            in_use: engine.is_image_in_use(image),
        }
    }
}

/// `GET /images`: those that a controller delivered, by the names that they came by. As long as nobody
/// knows which there are, it is no answer that there are none.
async fn list(State(app): State<Shared>) -> Answer {
    if let Some(why) = app.engine.images_unlisted() {
        return Err(Detail::new(503, why));
    }
    let delivered = app.engine.delivered_images();
    let images: Vec<Image> = delivered
        .iter()
        .map(|(image, delivered)| {
            let names = delivered.iter().map(|delivered| delivered.reference.clone());
            let tags = names.filter(|name| *name != image.id).collect();
            Image::of(&app.engine, image, tags, delivered)
        })
        .collect();
    Ok(done(&json!({ "images": images, "timestamp": humantime::format_rfc3339_micros(SystemTime::now()).to_string() })))
}

/// `GET /images/{reference}`: any image of this host. One that cannot be looked for is not there.
async fn one(State(app): State<Shared>, Path(reference): Path<String>) -> Response {
    let found = app.engine.image(&reference).ok().filter(|_| !is_file(&reference));
    let Some(found) = found.map(|view| view.image) else {
        return done(&json!({ "exists": false, "image": null, "sha256": null }));
    };
    let delivered = app.engine.deliveries_of(&found);
    let sha256 = delivered.iter().find_map(|delivered| delivered.sha256.clone());
    let image = Image::of(&app.engine, &found, found.references.clone(), &delivered);
    done(&json!({ "exists": true, "image": image, "sha256": sha256 }))
}

/// Whether a reference means a disk or program of a virtual machine; there are none on this host.
fn is_file(reference: &str) -> bool {
    reference.starts_with('/') || [".qcow2", ".img", ".iol"].iter().any(|end| reference.ends_with(end))
}

/// `DELETE /images/{reference}`: what a controller has delivered, unless something needs it.
async fn remove(State(app): State<Shared>, Path(reference): Path<String>) -> Answer {
    // A client that hangs up cancels nothing.
    let engine = app.engine.clone();
    let removal = async move { removed(&engine, &reference).await };
    let removal = task::spawn("removal of an image", app.tasks.track_future(removal));
    let removed = match tokio::time::timeout(REMOVED_WITHIN, removal).await {
        Ok(Ok(removed)) => removed,
        Ok(Err(_)) => Err("the removal broke off; the agent's log says why".to_owned()),
        Err(_) => Err(format!("it is not removed after {} s; that goes on", REMOVED_WITHIN.as_secs())),
    };
    Ok(done(&match removed {
        Ok(deleted) => json!({ "success": true, "deleted": deleted }),
        Err(error) => json!({ "success": false, "error": error }),
    }))
}

async fn removed(engine: &Engine, reference: &str) -> Result<bool, String> {
    let image = match engine.image(reference) {
        Ok(view) if !is_file(reference) => view.image,
        Ok(_) => return Ok(false),
        Err(netloom_engine::Refusal::NoImage(_) | netloom_engine::Refusal::NoImages) => {
            engine.forget_delivered(reference).await.map_err(|refusal| refusal.to_string())?;
            return Ok(false);
        }
        Err(refusal) => return Err(refusal.to_string()),
    };
    let delivered = engine.deliveries_of(&image);
    let mut names = delivered.iter().map(|delivered| &*delivered.reference);
    // By its id an image goes with all its names, of which each must be the controller's.
    let may_go = if names.clone().any(|name| netloom_engine::is_same_image(name, reference)) {
        true
    } else {
        let is_name = image.references.iter().any(|name| netloom_engine::is_same_image(name, reference));
        let ours = |name: &String| delivered.iter().any(|one| netloom_engine::is_same_image(&one.reference, name));
        !is_name && names.next().is_some() && image.references.iter().all(ours)
    };
    if !may_go {
        return Err(format!("image {reference} was not delivered by a controller; it is not removed for one"));
    }
    engine.remove_image(reference).await.map_err(|refusal| refusal.to_string())?;
    let gone = delivered.iter().filter(|one| engine.image(&one.reference).is_err());
    for one in gone {
        engine.forget_delivered(&one.reference).await.map_err(|refusal| refusal.to_string())?;
    }
    Ok(true)
}

/// `POST /images/backfill-metadata`: what devices the images are that a controller has delivered. Others stay unknown to it.
async fn backfill_metadata(State(app): State<Shared>, Json(devices): Json<BTreeMap<String, String>>) -> Answer {
    let mut updated = 0;
    for (reference, device) in devices {
        let Ok(found) = app.engine.image(&reference) else { continue };
        for delivered in app.engine.deliveries_of(&found.image) {
            if delivered.device.as_ref() != Some(&device) {
                let told = Delivered { device: Some(device.clone()), ..delivered };
                app.engine.note_delivered(&told).await.map_err(Detail::from)?;
                updated += 1;
            }
        }
    }
    Ok(done(&json!({ "updated": updated })))
}

/// `POST /images/backfill-checksums`: those of archives are taken as they come, and there are no files beside them.
async fn backfill_checksums() -> Response {
    done::<Value>(&json!({ "updated": 0, "errors": [] }))
}
