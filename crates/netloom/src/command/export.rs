//! `netloom export`: the lab as it is wanted now, as a topology file.

use std::path::Path;

use netloom_engine::{Document, Layout};
use netloom_model::{LabName, topology};

use crate::client::{Client, segment};
use crate::failure::{Failure, Result};
use crate::output;
use crate::save::{Existing, directory_of, save};

/// Writes the file whole or not at all. Paths below its directory are relative to it; on standard output all are absolute.
pub(crate) async fn run(lab: &LabName, to: Option<&Path>, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let wanted: Document = client.get(&format!("/labs/{}/desired", segment(lab))).await?;
    let made = wanted.lab().map_err(Failure::failed)?;
    let Some(to) = to else { return output::result(&topology::write(&made, None)) };
    let text = topology::write(&made, Some(&directory_of(to)?));
    save(&text, to, Existing::Replaced)?;
    output::result(&format!("lab {lab}: written to {}\n", to.display()))
}
