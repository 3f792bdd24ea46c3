//! Others on the same host that take what the agent needs too.

use std::io;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use tempfile::NamedTempFile;

/// Processes that end with this.
#[derive(Debug)]
struct Crowd(Vec<Child>);

impl Crowd {
    fn start(many: usize, command: impl Fn() -> Command) -> io::Result<Self> {
        let mut crowd = Self(Vec::new());
        for _ in 0..many {
            // A group of its own, so that what a shell has started ends with it.
            crowd.0.push(command().process_group(0).stdin(Stdio::null()).spawn()?);
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = child.wait();
        }
    }
}

/// Processes that do nothing but use processors, at the usual priority, until this is dropped.
#[derive(Debug)]
pub struct Starved {
    _crowd: Crowd,
}

impl Starved {
    /// So many for each processor.
    ///
    /// # Errors
    /// Where they cannot be started.
    pub fn by(each: usize) -> io::Result<Self> {
        let many = each * std::thread::available_parallelism()?.get();
        let spin = || {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]);
            command
        };
        Ok(Self { _crowd: Crowd::start(many, spin)? })
    }
}

/// Links that are made and deleted one after the other, in namespaces of their own: the kernel has one lock for all of
/// them, and holds it for up to 20 ms with each delete. Until this is dropped.
#[derive(Debug)]
pub struct LinkStorm {
    _crowd: Crowd,
    _batch: NamedTempFile,
}

impl LinkStorm {
    /// By so many at once.
    ///
    /// # Errors
    /// Where they cannot be started.
    pub fn by(many: usize) -> io::Result<Self> {
        let mut batch = NamedTempFile::new()?;
        for _ in 0..200 {
            writeln!(batch, "link add storm0 type veth peer name storm1\nlink del storm0")?;
        }
        let path = batch.path().to_owned();
        let storm = || {
            let mut command = Command::new("unshare");
            command.args(["--net", "--", "sh", "-c", "while ip -batch \"$0\"; do :; done"]).arg(&path);
            command
        };
        Ok(Self { _crowd: Crowd::start(many, storm)?, _batch: batch })
    }
}
