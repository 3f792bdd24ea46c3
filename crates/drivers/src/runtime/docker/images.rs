//! Images of the daemon: listed after each connection and each event about one; pulled, each once for all who want it; loaded
//! and removed.
//!
//! ```text
//!  docker-events ──doubt──▶ docker-images: one list after the other ──▶ Reporter (Source::Images)
//!  who wants an image ──join──▶ one task per image that is pulled ──watch──▶ all who wait; ends when nobody does
//! ```

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::unfold;
use netloom_docker::{ByteStream, Error, ErrorKind, Filters, ImageSummary, RemoveImage};
use netloom_engine::{
    Context, DriverError, ErrorClass, Fact, ImageFact, ImageLoad, Images, PullProgress, Report, Source, task,
};
use netloom_model::RuntimeKind;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::super::fault::Fault;
use super::pull::{self, Pulling};
use super::{BACKEND, DockerRuntime, Shared, refused};

const IMAGES: Source = Source::Images(RuntimeKind::Docker);
/// How long the daemon may take to list its images: it adds up their layers, and is slow at that with many.
const LISTED_WITHIN: Duration = Duration::from_secs(60);
/// How long after a list that failed the next one is tried.
const RETRY: Duration = Duration::from_secs(30);
/// How long an archive may take to be loaded.
const LOADED_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How long the daemon may take to say how much its images take. Old ones add up volumes for that too.
const MEASURED_WITHIN: Duration = Duration::from_secs(10);
const NO_IMAGE: &str = "there is no image in the archive; write one with `docker save`";
/// How many pieces of an archive wait for the daemon.
const PIECES: usize = 8;

/// The pulls under way, by image.
pub(super) type Pulls = BTreeMap<String, watch::Sender<Pulling>>;

/// Whether a container was not made because its image is not on this host.
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(&error.kind, ErrorKind::NotFound(text) if text.contains("No such image"))
}

/// Lists images whenever there is a reason to, until the runtime is dropped.
pub(super) async fn list_when_doubted(runtime: Weak<Shared>, doubted: Arc<Notify>) {
    loop {
        doubted.notified().await;
        let Some(shared) = runtime.upgrade() else { return };
        let listed = shared.look_at_images().await;
        drop(shared);
        if listed.is_err() {
            // A daemon that comes back is a reason at once.
            let _ = tokio::time::timeout(RETRY, doubted.notified()).await;
            doubted.notify_one();
        }
    }
}

impl Shared {
    /// Something may be other than it is known.
    pub(super) fn doubt_images(&self) {
        self.images_doubted.notify_one();
    }

    /// The daemon does not answer.
    pub(super) fn images_unreachable(&self, why: &str) {
        self.reporter.send(Report::Unreachable(IMAGES, why.to_owned()));
    }

    /// Lists the images and reports them, one list after the other.
    pub(super) async fn look_at_images(&self) -> Result<(), Fault> {
        let _turn = self.images_listed.lock().await;
        let started = SystemTime::now();
        match self.docker.list_images(&Filters::new(), Instant::now() + LISTED_WITHIN).await {
            Ok(images) => {
                // A name may mean another image now.
                self.commands.forget();
                let facts = images.into_iter().map(|image| Fact::Image(fact(image))).collect();
                self.reporter.send(Report::Relist { source: IMAGES, started, facts, unseen: BTreeMap::new() });
                Ok(())
            }
            Err(error) => {
                let fault = refused(error);
                self.images_unreachable(&fault.to_string());
                Err(fault)
            }
        }
    }

    /// Has an image pulled, or joins whoever does so at the moment.
    fn join_pull(self: &Arc<Self>, image: &str) -> watch::Receiver<Pulling> {
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.retain(|_, pulling| pulling.borrow().ended.is_none());
        if let Some(told) = pulls.get(image) {
            return told.subscribe();
        }
        let (told, pulling) = watch::channel(Pulling::default());
        pulls.insert(image.to_owned(), told.clone());
        let (shared, image) = (Arc::clone(self), image.to_owned());
        task::spawn(format!("pull {image}"), async move {
            tracing::info!(image, "an image is pulled");
            let whole = async {
                let ended = pull::pull(&shared.docker, &image, &told).await;
                if ended.is_ok() {
                    // Whoever is told that it is there finds it in the inventory.
                    let _ = shared.look_at_images().await;
                }
                told.send_modify(|pulling| pulling.ended = Some(ended));
            };
            tokio::select! {
                () = whole => {}
                () = shared.abandoned(&image, &told) => tracing::info!(image, "nobody waits for an image any more"),
            }
        });
        pulling
    }

    /// Returns when nobody waits for an image, and nobody can join its pull any more.
    async fn abandoned(&self, image: &str, told: &watch::Sender<Pulling>) {
        loop {
            told.closed().await;
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            if told.receiver_count() == 0 {
                pulls.remove(image);
                return;
            }
        }
    }
}

fn fact(image: ImageSummary) -> ImageFact {
    // Docker's word for what has lost its name.
    let named = |names: Vec<String>| names.into_iter().filter(|name| !name.contains("<none>")).collect();
    let since = Duration::from_secs(u64::try_from(image.created).unwrap_or_default());
    ImageFact {
        runtime: RuntimeKind::Docker,
        id: image.id,
        references: named(image.repo_tags),
        digests: named(image.repo_digests),
        created: SystemTime::UNIX_EPOCH + since,
        size_bytes: u64::try_from(image.size).unwrap_or_default(),
    }
}

#[async_trait]
impl Images for DockerRuntime {
    async fn pull(
        &self,
        image: &str,
        progress: &watch::Sender<PullProgress>,
        _context: &Context,
    ) -> Result<(), DriverError> {
        let mut pulling = self.shared.join_pull(image);
        loop {
            let ended = {
                let now = pulling.borrow_and_update();
                progress.send_if_modified(|told| {
                    let is_new = *told != now.progress;
                    told.clone_from(&now.progress);
                    is_new
                });
                now.ended.clone()
            };
            match ended {
                Some(Ok(())) => return Ok(()),
                Some(Err(why)) => return Err(why.of(image)),
                None if pulling.changed().await.is_err() => {
                    let fault = Fault::transient("the pull ended without a word; the agent's log says more".into());
                    return Err(fault.of(BACKEND, "pull", &format!("image {image}")));
                }
                None => {}
            }
        }
    }

    async fn load(&self) -> Result<ImageLoad, DriverError> {
        let (pieces, arriving) = mpsc::channel::<Bytes>(PIECES);
        let (mut told, done) = oneshot::channel();
        let shared = self.shared.clone();
        task::spawn("load images", async move {
            let body =
                unfold(arriving, async |mut arriving| Some((Ok::<_, io::Error>(arriving.recv().await?), arriving)));
            let load = shared.docker.load_image(ByteStream::new(body), Instant::now() + LOADED_WITHIN);
            let loaded = tokio::select! {
                loaded = load => loaded,
                // Whoever sent it is gone.
                () = told.closed() => return shared.doubt_images(),
            };
            let _ = shared.look_at_images().await;
            let loaded = match loaded {
                Ok(loaded) if loaded.is_empty() => Err(Fault::permanent(NO_IMAGE.into())),
                Ok(loaded) => Ok(loaded),
                Err(error) => Err(not_loaded(error)),
            };
            let _ = told.send(loaded.map_err(|fault| fault.of(BACKEND, "load", "images")));
        });
        Ok(ImageLoad { pieces, done })
    }

    async fn remove(&self, reference: &str, context: &Context) -> Result<(), DriverError> {
        let removed = self.shared.docker.remove_image(reference, RemoveImage::Unused, context.deadline).await;
        let outcome = match removed {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(Error { kind: ErrorKind::Conflict(why), .. }) => Err(Fault::permanent(why)),
            Err(error) => Err(refused(error)),
        };
        // Whatever became of it.
        let _ = self.shared.look_at_images().await;
        outcome.map_err(|fault| fault.of(BACKEND, "remove", &format!("image {reference}")))
    }

    async fn space(&self, context: &Context) -> Result<Option<u64>, DriverError> {
        let deadline = context.deadline.min(Instant::now() + MEASURED_WITHIN);
        let space = self.shared.docker.image_space(deadline).await;
        space.map_err(|error| refused(error).of(BACKEND, "measure", "images"))
    }
}

/// An archive that was sent in vain: it is wrong as it is, unless the daemon is.
fn not_loaded(error: Error) -> Fault {
    match &error.kind {
        ErrorKind::Daemon { message, .. } if message.contains("no space left") => refused(error),
        // What it reads when it has found no list of images.
        ErrorKind::Daemon { message, .. } if message.contains("/repositories: no such file") => {
            Fault::permanent(NO_IMAGE.into())
        }
        ErrorKind::Daemon { message, .. } => {
            Fault::permanent(format!("{message}; load an archive of images as `docker save` writes it"))
        }
        _ => refused(error),
    }
}

/// What of a pull is worth another try.
pub(super) fn class(error: &Error) -> ErrorClass {
    match &error.kind {
        ErrorKind::NotFound(_) | ErrorKind::Refused { .. } | ErrorKind::Conflict(_) => ErrorClass::Permanent,
        ErrorKind::Daemon { message, .. } if is_final(message) => ErrorClass::Permanent,
        _ => ErrorClass::Transient,
    }
}

/// Whether a registry means what it says: it will not say anything else the next time.
fn is_final(message: &str) -> bool {
    let words =
        ["denied", "unauthorized", "invalid reference", "manifest unknown", "not found", "no matching manifest"];
    words.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_calls_none_is_no_name() {
        let image = ImageSummary {
            repo_tags: vec!["<none>:<none>".into(), "web:1".into()],
            repo_digests: vec!["<none>@<none>".into()],
            created: 5,
            size: -1,
            ..ImageSummary::default()
        };
        let fact = fact(image);
        assert_eq!((fact.references, fact.digests, fact.size_bytes), (vec!["web:1".to_owned()], Vec::new(), 0));
        assert_eq!(fact.created, SystemTime::UNIX_EPOCH + Duration::from_secs(5));
    }

    #[test]
    fn a_registry_that_cannot_be_reached_may_be_reached_later() {
        let error = |message: &str| Error {
            operation: "pull image",
            object: "x".into(),
            kind: ErrorKind::Daemon { status: 500, message: message.into() },
        };
        assert_eq!(class(&error("dial tcp: lookup registry-1.docker.io: no such host")), ErrorClass::Transient);
        let denied =
            "Head \"https://quay.io/v2/a/b\": unauthorized: access to the requested resource is not authorized";
        assert_eq!(class(&error(denied)), ErrorClass::Permanent);
        assert_eq!(class(&error("manifest unknown")), ErrorClass::Permanent);
    }
}
