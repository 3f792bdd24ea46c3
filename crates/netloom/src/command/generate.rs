//! `netloom generate`: topologies of regular shapes.

use std::path::Path;

use netloom_model::LabName;
use netloom_model::topology::generate::{self, Addresses, Recipe, Shape};

use crate::cli::{Generate, GenerateShape};
use crate::failure::{Failure, Result};
use crate::save::{Existing, directory_of, save};
use crate::{output, topology};

/// Writes a topology; what could not be deployed is not written.
pub(crate) fn run(options: Generate) -> Result {
    let Generate { shape, name, runtime, image, kind, prefix, addresses, output: to, force } = options;
    let (own_name, shape) = shape_of(shape);
    let own_name: LabName = own_name.parse().map_err(Failure::failed)?;
    let recipe = Recipe {
        shape,
        name: name.unwrap_or(own_name),
        prefix,
        kind,
        runtime: runtime.or_else(|| image.is_none().then(|| "namespace".to_owned())),
        image,
        addresses: if addresses { Addresses::PerLink } else { Addresses::Absent },
    };
    let text = generate::generate(&recipe).map_err(Failure::input)?;
    // The kind, the runtime and the image come from the caller: what is wrong with them is said as of any file.
    let directory = to.as_deref().map_or_else(|| Ok(Path::new("/").to_owned()), directory_of)?;
    topology::read_text(text.as_bytes(), "<generated>", &directory)?.into_lab()?;
    let Some(to) = to else { return output::result(&text) };
    save(&text, &to, if force { Existing::Replaced } else { Existing::Kept })
}

fn shape_of(shape: GenerateShape) -> (&'static str, Shape) {
    match shape {
        GenerateShape::Line { nodes } => ("line", Shape::Line { nodes }),
        GenerateShape::Ring { nodes } => ("ring", Shape::Ring { nodes }),
        GenerateShape::Star { nodes } => ("star", Shape::Star { around: nodes }),
        GenerateShape::Mesh { nodes } => ("mesh", Shape::Mesh { nodes }),
        GenerateShape::Clos { spines, leaves, hosts } => ("clos", Shape::Clos { spines, leaves, hosts }),
    }
}
