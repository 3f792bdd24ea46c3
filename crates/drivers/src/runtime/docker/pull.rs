//! One pull: what the daemon tells of it, and what that comes to.

use std::time::{Duration, Instant};

use netloom_docker::{Docker, Error, PullEvent};
use netloom_engine::{DriverError, ErrorClass, LayerProgress, PullProgress};
use tokio::sync::watch;

use super::super::fault::Fault;
use super::{BACKEND, images};

/// How long the pulling of one image may take in all.
const WHOLE: Duration = Duration::from_secs(30 * 60);
/// How long a registry may take to say anything more.
const SILENCE: Duration = Duration::from_secs(120);

/// What is known of a pull.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulling {
    pub(super) progress: PullProgress,
    /// How it ended; `None` as long as it has not.
    pub(super) ended: Option<Result<(), NotPulled>>,
}

/// Why an image was not pulled.
#[derive(Debug, Clone)]
pub(super) struct NotPulled {
    cause: String,
    class: ErrorClass,
}

impl NotPulled {
    pub(super) fn of(self, image: &str) -> DriverError {
        let fault = match self.class {
            ErrorClass::Permanent => Fault::permanent(self.cause),
            _ => Fault::transient(self.cause),
        };
        let hint = match self.class {
            ErrorClass::Permanent => Some(
                "check its name; what needs a password is pulled with `docker login` and `docker pull`, what is in a file is \
                 loaded with `netloom image load FILE`"
                    .to_owned(),
            ),
            _ => None,
        };
        DriverError { hint, ..fault.of(BACKEND, "pull", &format!("image {image}")) }
    }
}

/// Pulls an image and tells how far it is.
pub(super) async fn pull(docker: &Docker, image: &str, told: &watch::Sender<Pulling>) -> Result<(), NotPulled> {
    let give_up = Instant::now() + WHOLE;
    let mut events = docker.pull_image(image, Instant::now() + SILENCE).await.map_err(|error| not_pulled(&error))?;
    loop {
        let until = give_up.min(events.heard() + SILENCE);
        match tokio::time::timeout_at(until.into(), events.next()).await {
            Ok(Some(Ok(event))) => told.send_modify(|pulling| note(&mut pulling.progress, event)),
            Ok(Some(Err(error))) => return Err(not_pulled(&error)),
            Ok(None) => {
                // The daemon may not say so of layers that it unpacks at the same moment for somebody else.
                told.send_modify(|pulling| pulling.progress.finish());
                return Ok(());
            }
            Err(_) => {
                let cause = "the registry says nothing any more".to_owned();
                return Err(NotPulled { cause, class: ErrorClass::Transient });
            }
        }
    }
}

fn not_pulled(error: &Error) -> NotPulled {
    NotPulled { cause: error.kind.to_string(), class: images::class(error) }
}

/// Takes over what the daemon says of a layer. What is unpacked is counted in bytes of its own, which say nothing of the
/// way that is left.
fn note(progress: &mut PullProgress, event: PullEvent) {
    let Some(id) = event.layer else { return };
    let at = progress.layers.iter().position(|layer| layer.layer == id).unwrap_or_else(|| {
        progress.layers.push(LayerProgress { layer: id, ..LayerProgress::default() });
        progress.layers.len() - 1
    });
    let layer = &mut progress.layers[at];
    match event.status.as_str() {
        "Downloading" => {
            layer.current_bytes = event.current;
            layer.total_bytes = event.total;
        }
        "Download complete" | "Extracting" | "Verifying Checksum" => layer.current_bytes = layer.total_bytes,
        "Pull complete" | "Already exists" => {
            layer.current_bytes = layer.total_bytes;
            layer.is_done = true;
        }
        _ => {}
    }
    layer.status = event.status;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_downloaded_and_unpacked() {
        let mut progress = PullProgress::default();
        let mut say = |layer: &str, status: &str, current, total| {
            note(&mut progress, PullEvent { layer: Some(layer.into()), status: status.into(), current, total });
            progress.to_string()
        };
        assert_eq!(say("a", "Pulling fs layer", 0, 0), "0 of 1 layer");
        assert_eq!(say("b", "Already exists", 0, 0), "1 of 2 layers");
        assert_eq!(say("a", "Downloading", 1_000_000, 4_000_000), "1 of 2 layers, 1.0 of 4.0 MB");
        assert_eq!(say("a", "Extracting", 100, 9_000_000), "1 of 2 layers, 4.0 of 4.0 MB");
        assert_eq!(say("a", "Pull complete", 0, 0), "2 of 2 layers, 4.0 of 4.0 MB");
    }

    #[test]
    fn an_image_that_is_there_has_all_of_its_layers() {
        let mut progress = PullProgress::default();
        for (layer, status) in [("a", "Extracting"), ("b", "Already exists")] {
            note(&mut progress, PullEvent { layer: Some(layer.into()), status: status.into(), current: 5, total: 9 });
        }
        progress.finish();
        let statuses: Vec<&str> = progress.layers.iter().map(|layer| layer.status.as_str()).collect();
        assert_eq!(
            (progress.to_string().as_str(), statuses),
            ("2 of 2 layers", vec!["Pull complete", "Already exists"])
        );
    }
}
