//! `netloom render`: a topology file as the text that is read, its templates rendered and its variables replaced.

use crate::cli::Render;
use crate::failure::Result;
use crate::{output, topology};

/// Exit code 0 when there is a text, whether or not it is a topology; 2 when a template or a variable is wrong.
pub(crate) fn run(options: &Render) -> Result {
    let source = topology::find_with(&options.topology, &options.vars.files)?;
    output::result(&topology::rendered(&source)?)
}
