//! The disk of the agent's state: a small one of its own, that can be filled.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netloom_engine::Layout;

/// What fills it.
const FILLER: &str = "filler";

/// Room for the labs of a case, which have some hundred files.
const OPTIONS: &str = "size=16m,nr_inodes=1200";

/// From now on the agent's state is on such a disk, and what nodes write on another one: a command in a node that finds no room
/// fails as it would anywhere.
pub(crate) fn mount(layout: &Layout) -> Result<()> {
    mount_at(&layout.state())?;
    mount_at(&layout.state().join("layers"))
}

fn mount_at(at: &Path) -> Result<()> {
    fs::create_dir_all(at)?;
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", OPTIONS, "crash-state"]).arg(at).status()?;
    ensure!(mounted.success(), "{} cannot be a disk of its own", at.display());
    Ok(())
}

/// Leaves no room for anything, not for an empty file.
pub(crate) fn fill(at: &Path) -> Result<()> {
    let filler = at.join(FILLER);
    fs::create_dir(&filler).context("the filler")?;
    let mut data = File::create(filler.join("data"))?;
    while data.write_all(&[0; 4096]).is_ok() {}
    let mut files = 0;
    while File::create(filler.join(files.to_string())).is_ok() {
        files += 1;
    }
    Ok(())
}

/// And from now on there is room.
pub(crate) fn empty(at: &Path) -> Result<()> {
    Ok(fs::remove_dir_all(at.join(FILLER))?)
}
