//! An agent of its own, driven as a person would, by the command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host::Memory;
use crate::ring;

/// An agent with a root of its own; its labs and it end when this is dropped.
pub(crate) struct Agent {
    netloom: PathBuf,
    root: Memory,
}

impl Agent {
    /// Starts an agent in the background and returns when it answers.
    pub(crate) fn start(netloom: &Path) -> Result<Self> {
        let netloom = netloom.canonicalize().with_context(|| format!("{}: build it first", netloom.display()))?;
        let agent = Self { netloom, root: Memory::new()? };
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

    /// Deploys a ring, from return to prompt: then every node runs and every link is up.
    pub(crate) fn deploy(&self, lab: &str, size: usize) -> Result<Duration> {
        let file = self.root.path().join(format!("{lab}.clab.yml"));
        std::fs::write(&file, ring::topology(lab, size))?;
        let started = Instant::now();
        self.run(&["deploy", "-t", file.to_str().context("a path in UTF-8")?])?;
        Ok(started.elapsed())
    }

    /// Destroys a lab, from return to prompt: then nothing of it is left but what the kernel does by itself.
    pub(crate) fn destroy(&self, lab: &str) -> Result<Duration> {
        let started = Instant::now();
        self.run(&["destroy", "--name", lab])?;
        Ok(started.elapsed())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Labs live on without their agent, so they go first.
        let _ = self.run(&["destroy", "--all"]);
        let _ = self.run(&["agent", "stop"]);
    }
}
