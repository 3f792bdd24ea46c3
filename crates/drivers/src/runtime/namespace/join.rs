//! Joining a running node: the process that does it, started and connected.

use std::process::{Command, Stdio};
use std::time::Instant;

use netloom_engine::{ExecRequest, ExecSession, Terminal};
use netloom_kernel::{Spawner, Surroundings};
use netloom_model::{LabName, NodeName};

use super::super::fault::Fault;
use super::{NamespaceRuntime, PATIENCE, copy, plain, session};

pub(super) fn copying(what: &'static str, lab: &LabName, node: &NodeName) -> copy::Copying {
    copy::Copying { what, place: format!("{lab}/{node}:"), object: format!("node {node}") }
}

impl NamespaceRuntime {
    pub(super) async fn begin_exec(
        &self,
        lab: &LabName,
        node: &NodeName,
        request: ExecRequest,
    ) -> Result<ExecSession, Fault> {
        let (spawner, program) = self.shared.starter()?;
        let deadline = Instant::now() + PATIENCE;
        let name = format!("exec in {lab}/{node}");
        let terminal = request.terminal;
        let (lab, node) = (lab.clone(), node.clone());
        let prepare = self.shared.files(deadline, move |ground| ground.exec_command(&lab, &node, &program, &request));
        let command = prepare.await??;
        connect(name, &spawner, command, terminal, deadline).await
    }

    pub(super) async fn begin_copy(
        &self,
        lab: &LabName,
        node: &NodeName,
        words: Vec<String>,
        deadline: Instant,
    ) -> Result<ExecSession, Fault> {
        let (spawner, program) = self.shared.starter()?;
        if words.iter().any(|word| word.contains('\0')) {
            return Err(Fault::permanent("no path has a NUL in it".into()));
        }
        let name = format!("copy in {lab}/{node}");
        let (lab, node) = (lab.clone(), node.clone());
        let prepare = self.shared.files(deadline, move |ground| ground.copy_command(&lab, &node, &program, &words));
        let command = prepare.await??;
        connect(name, &spawner, command, Terminal::None, deadline).await
    }
}

/// Starts what joins a node, and carries its streams.
async fn connect(
    name: String,
    spawner: &Spawner,
    mut command: Command,
    terminal: Terminal,
    deadline: Instant,
) -> Result<ExecSession, Fault> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let spawned = spawner.spawn(Surroundings::Own, command, deadline).await?;
    session::connect(name, spawned, terminal).map_err(|error| Fault::transient(plain(&error)))
}
