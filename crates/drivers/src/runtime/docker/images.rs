//! Images of nodes: there, or fetched from their registry, each once for all nodes that want it.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use netloom_docker::{Docker, Error, ErrorKind};
use netloom_engine::{ErrorClass, task};
use tokio::sync::watch;

use super::super::fault::Fault;
use super::{Shared, refused};

/// How long the fetching of one image may take in all. Whoever waits for it gives up sooner, and finds it done or still
/// under way the next time.
const WHOLE: Duration = Duration::from_secs(30 * 60);
/// How long a registry may take to say anything more.
const SILENCE: Duration = Duration::from_secs(120);

/// How a pull ended; `None` as long as it has not.
pub(super) type Pulled = watch::Receiver<Option<Result<(), String>>>;

/// Whether a container was not made because its image is not on this host.
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(&error.kind, ErrorKind::NotFound(text) if text.contains("No such image"))
}

impl Shared {
    /// Fetches an image, or joins whoever does so at the moment.
    pub(super) async fn pull(&self, image: &str, deadline: Instant) -> Result<(), Fault> {
        let mut pulled = self.join_pull(image);
        let ended = pulled.wait_for(Option::is_some);
        match tokio::time::timeout_at(deadline.into(), ended).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(Err(why)) => Err(Fault::permanent(format!(
                    "the image `{image}` is not on this host and cannot be pulled: {why}; write a name that `docker pull` \
                     finds, or load it (`docker load`)"
                ))),
                _ => Ok(()),
            },
            Ok(Err(_)) => Err(ErrorClass::Transient.into()),
            Err(_) => {
                Err(Fault::from(ErrorClass::Deadline).and(&format!(": the image `{image}` is still being pulled")))
            }
        }
    }

    fn join_pull(&self, image: &str) -> Pulled {
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.retain(|_, pulled| pulled.borrow().is_none() && pulled.has_changed().is_ok());
        if let Some(pulled) = pulls.get(image) {
            return pulled.clone();
        }
        let (told, pulled) = watch::channel(None);
        pulls.insert(image.to_owned(), pulled.clone());
        let (docker, image) = (self.docker.clone(), image.to_owned());
        task::spawn(format!("pull {image}"), async move {
            tracing::info!(image, "an image is pulled");
            let outcome = pull(&docker, &image).await.map_err(|fault| fault.to_string());
            told.send_replace(Some(outcome));
        });
        pulled
    }
}

async fn pull(docker: &Docker, image: &str) -> Result<(), Fault> {
    let give_up = Instant::now() + WHOLE;
    let mut events = docker.pull_image(image, Instant::now() + SILENCE).await.map_err(refused)?;
    loop {
        let until = give_up.min(events.heard() + SILENCE);
        match tokio::time::timeout_at(until.into(), events.next()).await {
            Ok(Some(event)) => drop(event.map_err(refused)?),
            Ok(None) => return Ok(()),
            Err(_) => return Err(Fault::transient("the registry says nothing any more".into())),
        }
    }
}

/// What is known of the pulls under way, by image.
pub(super) type Pulls = std::collections::BTreeMap<String, Pulled>;
