//! A disk that runs full or freezes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An ext4 file system on a loop device; unmounted when this is dropped. Needs root, `mkfs.ext4` (Debian package
/// `e2fsprogs`) and a loop device.
#[derive(Debug)]
pub struct Disk {
    image: TempDir,
    at: PathBuf,
}

impl Disk {
    /// Mounts one of so many MiB, at a directory that is there.
    ///
    /// # Errors
    /// Where it cannot be made or mounted.
    pub fn mount(at: &Path, mebibytes: u64) -> io::Result<Self> {
        let disk = Self { image: tempfile::tempdir()?, at: at.to_owned() };
        let file = disk.file();
        File::create(&file)?.set_len(mebibytes << 20)?;
        run(Command::new("mkfs.ext4").args(["-q", "-O", "^has_journal"]).arg(&file))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(at))?;
        Ok(disk)
    }

    fn file(&self) -> PathBuf {
        self.image.path().join("disk")
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Leaves no block free.
    ///
    /// # Errors
    /// What the file system says instead of being full.
    pub fn fill(&self) -> io::Result<()> {
        let mut filler = File::create(self.filler())?;
        // Large pieces first, so that it is quick, then what is left.
        for size in [1 << 20, 4096, 1] {
            let piece = vec![b'x'; size];
            loop {
                match filler.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        // Blocks are promised before they are there: only now is it known.
        match filler.sync_all() {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives back what [`Self::fill`] took.
    ///
    /// # Errors
    /// Where that cannot be removed.
    pub fn empty(&self) -> io::Result<()> {
        fs::remove_file(self.filler())
    }

    /// Has every write wait.
    ///
    /// # Errors
    /// Where it cannot be frozen, or is frozen.
    pub fn freeze(&self) -> io::Result<()> {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.at))
    }

    /// Lets writes go on.
    ///
    /// # Errors
    /// Where it is not frozen.
    pub fn thaw(&self) -> io::Result<()> {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Who writes to a frozen disk cannot even be killed. Both may be so or not.
        let _ = self.thaw();
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.at));
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{}: {said}", command.get_program().display())))
}
