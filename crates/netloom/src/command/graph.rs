//! `netloom graph`: a topology as a drawing.

use netloom_engine::{Document, Layout};
use netloom_model::topology::graph::Graph as Drawing;

use crate::cli::{Graph, GraphFormat};
use crate::client::{Client, segment};
use crate::failure::{Failure, Result};
use crate::{output, topology};

/// Writes what a file describes, or what is wanted of a lab that an agent has.
pub(crate) async fn run(options: &Graph, layout: &Layout) -> Result {
    let lab = if let Some(name) = &options.name {
        let client = Client::connect(layout).await?;
        let wanted: Document = client.get(&format!("/labs/{}/desired", segment(name))).await?;
        wanted.lab().map_err(Failure::failed)?
    } else {
        topology::read(&topology::find_with(options.topology(), &options.vars.files)?, None)?.into_lab()?
    };
    let drawing = Drawing::of(&lab);
    match options.format {
        GraphFormat::Dot => output::result(&drawing.dot()),
        GraphFormat::Mermaid => output::result(&drawing.mermaid()),
        GraphFormat::Json => output::json(&drawing),
    }
}
