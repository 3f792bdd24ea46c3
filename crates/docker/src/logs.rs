//! What containers have put out, and put out.

use std::time::Instant;

use crate::docker::{Ask, Docker};
use crate::error::Result;
use crate::frames::{Frames, Source};
use crate::target::Target;
use crate::time::seconds;

/// Which part of a container's output is wanted; all that there is by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether what comes is wanted too, until the container ends.
    pub follow: bool,
    /// Only so many lines of what there is.
    pub tail: Option<u64>,
    /// Only since this moment, in nanoseconds since 1970.
    pub since: Option<i64>,
    /// Whether each line has its time before it, RFC 3339.
    pub timestamps: bool,
}

impl Docker {
    /// What a container has put out.
    ///
    /// The deadline covers the beginning. Source: `GET /containers/{id}/logs`.
    pub async fn logs(&self, id: &str, options: LogOptions, deadline: Instant) -> Result<Frames> {
        self.call("read logs of container", id, deadline, async {
            let framing = self.framing(id).await?;
            let target = Target::at(["containers", id, "logs"]).flag("stdout", true).flag("stderr", true);
            let target = target.flag("follow", options.follow).flag("timestamps", options.timestamps);
            let target = target.query_some("tail", options.tail.map(|lines| lines.to_string()).as_deref());
            let target = target.query_some("since", options.since.map(seconds).as_deref());
            let reply = self.ask(Ask::get(target)).await?;
            Ok(Frames::new(Source::Reply(Box::new(reply)), framing, "read logs of container", id))
        })
        .await
    }
}
