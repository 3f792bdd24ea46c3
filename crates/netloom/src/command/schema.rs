//! `netloom schema`: what editors complete and explain topology files with.

use netloom_model::topology::schema::schema;

use crate::cli::Schema;
use crate::failure::Result;
use crate::{kinds, output};

/// The schema, with the kinds that a topology there can have.
pub(crate) fn run(options: &Schema) -> Result {
    output::json(&schema(&kinds::around(&options.topology)?))
}
