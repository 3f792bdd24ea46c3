//! Files of a lab's directory that its own nodes look at: they are there before the nodes are, and stay the same files, since a
//! bind leads to a file and not to its name.

use std::io;
use std::path::Path;

use netloom_model::Lab;
use netloom_model::topology::WRITTEN_BY_DEPLOY;

use super::{LabDirectory, Owner, Readers, beside};
use crate::failure::{Failure, Result, plain};

/// Lays out those that nodes of a lab look at and that are not there yet; empty, till the lab is there.
pub(crate) fn lay_out(lab: &Lab) -> Result {
    let Some(source) = lab.source() else { return Ok(()) };
    let directory = beside(Path::new(source), lab.name());
    make(lab, &directory).map_err(|error| Failure::failed(format_args!("{}: {}", directory.display(), plain(&error))))
}

fn make(lab: &Lab, directory: &Path) -> io::Result<()> {
    let missing: Vec<&str> = WRITTEN_BY_DEPLOY
        .into_iter()
        .filter(|name| is_looked_at(lab, directory, name) && !directory.join(name).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let to = LabDirectory::make(directory, Owner::behind_sudo())?;
    missing.into_iter().try_for_each(|name| to.write(name, b"", Readers::All))
}

/// Whether a node has a file of the lab's directory.
pub(super) fn is_looked_at(lab: &Lab, directory: &Path, name: &str) -> bool {
    let file = directory.join(name);
    lab.nodes().values().flat_map(|node| &node.binds).any(|bind| Path::new(&bind.source) == file)
}
