//! Volumes that the daemon has.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;

use crate::docker::{Ask, Docker};
use crate::error::Result;
use crate::filters::Filters;
use crate::lenient::null;
use crate::reply::LIST;
use crate::target::Target;

/// A volume.
///
/// Source: the answer of `GET /volumes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The driver, for example `local`.
    pub driver: String,
    /// Where it is on the host.
    pub mountpoint: String,
    /// When it was made, RFC 3339.
    #[serde(deserialize_with = "null")]
    pub created_at: String,
    /// Labels.
    #[serde(deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
}

impl Docker {
    /// All volumes that the filter lets pass.
    ///
    /// Source: `GET /volumes`.
    pub async fn list_volumes(&self, filter: &Filters, deadline: Instant) -> Result<Vec<Volume>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            #[serde(default, deserialize_with = "null")]
            volumes: Vec<Volume>,
        }
        self.call("list volumes", "", deadline, async {
            let target = Target::at(["volumes"]).query_some("filters", filter.value().as_deref());
            let Answer { volumes } = self.ask(Ask::get(target)).await?.json(LIST).await?;
            Ok(volumes)
        })
        .await
    }

    /// Removes a volume; one that is not there is fine, one that a container has is a `Conflict`.
    ///
    /// Source: `DELETE /volumes/{name}`.
    pub async fn remove_volume(&self, name: &str, deadline: Instant) -> Result<()> {
        match self.command("remove volume", name, Ask::delete(Target::at(["volumes", name])), deadline).await {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }
}
