//! Live edits: what is wanted of a lab is read, patched on the condition that it is still so, and the operation followed.

use std::time::{Duration, Instant};

use netloom_agent::wire::Accepted;
use netloom_engine::{Document, OperationView};
use netloom_model::LabName;
use serde_json::Value;

use super::follow::{Following, Shown};
use crate::client::{Client, segment};
use crate::failure::{Failure, Result};
use crate::output;

/// How long an edit is made anew when somebody else's came first each time.
const LIMIT: Duration = Duration::from_secs(30);

/// An edit of one lab.
pub(super) struct Edit<'a> {
    /// The agent.
    pub(super) client: &'a Client,
    /// The lab.
    pub(super) lab: &'a LabName,
    /// What it is called when it fails: "link add r1:eth5 r3:eth5".
    pub(super) title: String,
    /// Whether the wire types are wanted.
    pub(super) json: bool,
}

impl Edit<'_> {
    /// Makes the patch from what is wanted now and sends it. If the lab changes in between, all of it is done again: an
    /// edit that is right on one state of the lab is looked at anew on the next.
    pub(super) async fn make(&self, patch: impl Fn(&Document) -> Result<Value>) -> Result<OperationView> {
        let path = format!("/labs/{}", segment(self.lab));
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let wanted: Document = self.client.get(&format!("{path}/desired")).await?;
            let patch = patch(&wanted)?;
            if let Some(accepted) = self.client.patch::<Accepted>(&path, wanted.generation, &patch).await? {
                return self.follow(accepted.operation).await;
            }
        }
        Err(Failure::failed(format_args!(
            "{}: others have been changing lab `{}` all the time for {} s; try again",
            self.title,
            self.lab,
            LIMIT.as_secs()
        )))
    }

    async fn follow(&self, operation: OperationView) -> Result<OperationView> {
        let following = Following {
            client: self.client,
            title: self.title.clone(),
            shown: if self.json { Shown::Json } else { Shown::Late },
            timeout: None,
            go_on: format!("`netloom inspect --name {}` shows how the lab is", self.lab),
        };
        let ended = following.to_the_end(operation).await?;
        following.judge(&ended)?;
        Ok(ended)
    }

    /// As [`Self::make`], and says the result in one line.
    pub(super) async fn make_and_say(&self, patch: impl Fn(&Document) -> Result<Value>, done: &str) -> Result {
        self.make(patch).await?;
        if self.json { Ok(()) } else { output::result(&format!("lab {}: {done}\n", self.lab)) }
    }
}
