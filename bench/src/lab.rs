//! An agent of its own and labs on it, driven as a person would: by the command line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// An agent with a root of its own; it ends when this is dropped.
pub(crate) struct Agent {
    netloom: PathBuf,
    root: tempfile::TempDir,
}

impl Agent {
    /// Starts an agent in the background and returns when it answers.
    pub(crate) fn start(netloom: &Path) -> Result<Self> {
        let netloom = netloom.canonicalize().with_context(|| format!("{}: build it first", netloom.display()))?;
        let agent = Self { netloom, root: tempfile::tempdir()? };
        // In memory, as /run is on most hosts: what is measured is Netloom, not the disk. (An ext4 without a journal,
        // as some virtual machines have, takes milliseconds for each new file after many were deleted.)
        let mounted = Command::new("mount").args(["-t", "tmpfs", "bench"]).arg(agent.root.path()).status()?;
        if !mounted.success() {
            bail!("cannot mount a tmpfs: run it as root, by `make bench`");
        }
        agent.run(&["agent", "--background"])?;
        Ok(agent)
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.netloom);
        command.args(arguments).env("NETLOOM_ROOT", self.root.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let output = command.stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            bail!("netloom {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Deploys a ring; from return to prompt.
    pub(crate) fn deploy(&self, size: usize) -> Result<Duration> {
        let file = self.root.path().join(format!("ring{size}.clab.yml"));
        std::fs::write(&file, topology(size))?;
        let started = Instant::now();
        self.run(&["deploy", "-t", file.to_str().context("a path in UTF-8")?])?;
        Ok(started.elapsed())
    }

    /// Destroys it again; from return to prompt.
    pub(crate) fn destroy(&self, size: usize) -> Result<Duration> {
        let started = Instant::now();
        self.run(&["destroy", "--name", &format!("ring{size}")])?;
        Ok(started.elapsed())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Labs live on without their agent, so they go first.
        let _ = self.run(&["destroy", "--all"]);
        let _ = self.run(&["agent", "stop"]);
        let _ = Command::new("umount").arg("--lazy").arg(self.root.path()).status();
    }
}

fn topology(size: usize) -> String {
    let mut text =
        format!("name: ring{size}\ntopology:\n  defaults: {{ kind: linux, runtime: namespace }}\n  nodes:\n");
    for node in 0..size {
        let _ = writeln!(text, "    n{node}:");
    }
    text.push_str("  links:\n");
    for node in 0..size {
        let _ = writeln!(text, "    - endpoints: [\"n{node}:eth1\", \"n{}:eth2\"]", (node + 1) % size);
    }
    text
}

/// A new network namespace has its loopback off.
pub(crate) fn loopback_up() -> Result<()> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip")?;
    if status.success() { Ok(()) } else { bail!("cannot bring up the loopback: run it as root, by `make bench`") }
}
