//! Getting images: from registries, and from archives.

use std::time::Instant;

use serde::Deserialize;

use super::reference;
use crate::body::ByteStream;
use crate::docker::{Ask, Docker};
use crate::error::{Error, ErrorKind, Result};
use crate::lines::Lines;
use crate::reply::Reply;
use crate::target::Target;

/// An image on its way.
///
/// It has come when [`Self::next`] gives `None`. Dropping it closes the connection, and the daemon ends the pull.
#[derive(Debug)]
pub struct Pull {
    lines: Lines<Reply>,
    reference: String,
}

/// Something that has happened during a pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullEvent {
    /// The layer, twelve hexadecimal digits; `None` for the whole image.
    pub layer: Option<String>,
    /// For people: `Downloading`, `Pull complete`, `Digest: sha256:…`
    pub status: String,
    /// So much of this step is done, in bytes; 0 where that is not known.
    pub current: u64,
    /// So much of this step there is, in bytes; 0 where that is not known.
    pub total: u64,
}

impl Pull {
    /// What happens next; `None` when the image is there, and after an error. Cancel-safe.
    ///
    /// An image that the registry does not have is `NotFound`; other failures are `Daemon` with status 200.
    pub async fn next(&mut self) -> Option<Result<PullEvent>> {
        let next = self.lines.next::<Line>().await?.and_then(Line::checked);
        Some(match next {
            Ok(line) => Ok(PullEvent {
                layer: line.id.filter(|id| !is_tag(id, &self.reference)),
                status: line.status.unwrap_or_default(),
                current: line.progress.as_ref().map_or(0, |progress| progress.current),
                total: line.progress.as_ref().map_or(0, |progress| progress.total),
            }),
            Err(kind) => Err(Error { operation: "pull image", object: self.reference.clone(), kind }),
        })
    }

    /// When the daemon last sent anything, or the pull began.
    pub fn heard(&self) -> Instant {
        self.lines.heard()
    }
}

/// A line of progress.
#[derive(Deserialize)]
struct Line {
    id: Option<String>,
    status: Option<String>,
    stream: Option<String>,
    #[serde(rename = "progressDetail")]
    progress: Option<Progress>,
    error: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Progress {
    current: u64,
    total: u64,
}

impl Line {
    /// What went wrong is said in a line of an answer that has begun well.
    fn checked(self) -> std::result::Result<Self, ErrorKind> {
        match self.error {
            None => Ok(self),
            Some(message) if is_missing(&message) => Err(ErrorKind::NotFound(message)),
            Some(message) => Err(ErrorKind::Daemon { status: 200, message }),
        }
    }
}

/// Whether a registry says that it has no such image.
fn is_missing(message: &str) -> bool {
    ["manifest unknown", "not found", "does not exist"].iter().any(|words| message.contains(words))
}

/// The first line, `Pulling from …`, has the tag where others have the layer.
fn is_tag(id: &str, reference: &str) -> bool {
    id == reference::split(reference).1
}

impl Docker {
    /// Fetches an image from its registry, without a password; `latest` where the reference has neither tag nor digest.
    ///
    /// It returns as soon as the registry has answered; the deadline covers that. Source: `POST /images/create`.
    pub async fn pull_image(&self, reference: &str, deadline: Instant) -> Result<Pull> {
        self.call("pull image", reference, deadline, async {
            let (name, version) = reference::split(reference);
            let target = Target::at(["images", "create"]).query("fromImage", name).query("tag", version);
            let lines = Lines::new(self.ask(Ask::post(target)).await?);
            Ok(Pull { lines, reference: reference.to_owned() })
        })
        .await
    }

    /// Loads all images of an archive as `docker save` writes it; returns their references, or ids where they have
    /// none.
    ///
    /// The deadline covers all of it. Source: `POST /images/load`.
    pub async fn load_image(&self, archive: ByteStream, deadline: Instant) -> Result<Vec<String>> {
        self.call("load image", "", deadline, async {
            let target = Target::at(["images", "load"]).flag("quiet", true);
            let mut lines = Lines::new(self.ask(Ask::post(target).archive(archive)).await?);
            let mut loaded = Vec::new();
            while let Some(line) = lines.next::<Line>().await {
                let text = line?.checked()?.stream.unwrap_or_default();
                let name = ["Loaded image: ", "Loaded image ID: "].iter().find_map(|words| text.strip_prefix(words));
                loaded.extend(name.map(|name| name.trim().to_owned()));
            }
            Ok(loaded)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> std::result::Result<Line, ErrorKind> {
        serde_json::from_str::<Line>(json).unwrap().checked()
    }

    #[test]
    fn a_failure_in_the_middle_is_no_progress() {
        let gone = line(r#"{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}"#);
        assert!(matches!(gone, Err(ErrorKind::NotFound(_))));
        let full = line(r#"{"error":"no space left on device"}"#);
        assert!(matches!(full, Err(ErrorKind::Daemon { status: 200, .. })));
        assert!(
            line(r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"0123456789ab"}"#).is_ok()
        );
        assert!(line(r#"{"status":"Pulling fs layer","progressDetail":{},"id":"0123456789ab"}"#).is_ok());
    }
}
