//! The init, carried in this program and handed to the kernel from memory.
//!
//! Not from a file: `/run` is mounted `noexec` on many hosts, and no path has to be kept for as long as nodes live.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// The executable of the init, for whoever wants to start it without this driver.
pub static INIT: &[u8] = include_bytes!(env!("NETLOOM_INIT"));

/// What it calls itself.
pub(super) const NAME: &str = "netloom-init";

/// A file that is nowhere but in memory, ready to be read from its beginning.
pub(super) fn in_memory(name: &CStr, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// The program in memory; all nodes share its pages.
#[derive(Debug)]
pub(super) struct Program {
    file: OwnedFd,
}

impl Program {
    pub(super) fn load() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = match memfd_create(NAME, flags | MemfdFlags::EXEC) {
            // The flag is unknown before Linux 6.3, where every memory file can be executed.
            Err(Errno::INVAL) => memfd_create(NAME, flags),
            other => other,
        }?;
        let mut writer = File::from(file);
        writer.write_all(INIT)?;
        let file = OwnedFd::from(writer);
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self { file })
    }

    /// A command that runs it; valid as long as `self` lives.
    pub(super) fn command(&self) -> Command {
        // In the process that executes it: the descriptor is inherited up to that moment.
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.arg0(NAME).env_clear();
        command
    }
}
