//! A command whose output is wanted as a whole.

use netloom_engine::{ExecInput, ExecOutput, ExecRequest};
use netloom_model::{LabName, NodeName};

use crate::client::Client;
use crate::failure::{Failure, Result};

/// The most that is kept of each stream of one command, in bytes.
const MOST: usize = 16 << 20;

/// What a command came to.
#[derive(Debug)]
pub(in crate::command) struct Captured {
    /// Its exit code.
    pub(in crate::command) code: i32,
    /// Its standard output.
    pub(in crate::command) out: Vec<u8>,
    /// Its standard error.
    pub(in crate::command) err: Vec<u8>,
}

/// Runs a command without input to its end. It is ended when this is dropped, and when it writes more than is kept.
pub(in crate::command) async fn capture(
    client: &Client,
    lab: &LabName,
    node: &NodeName,
    request: &ExecRequest,
) -> Result<Captured> {
    let mut session = client.exec(lab, node, request).await?;
    // That this cannot be done any more is said better by what comes out.
    let _ = session.input.send(ExecInput::CloseStdin).await;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let (kept, bytes) = match session.output.next().await? {
            ExecOutput::Stdout(bytes) => (&mut out, bytes),
            ExecOutput::Stderr(bytes) => (&mut err, bytes),
            ExecOutput::Exited(code) => return Ok(Captured { code, out, err }),
        };
        if kept.len() + bytes.len() > MOST {
            let most = MOST >> 20;
            return Err(Failure::failed(format_args!("the command in {lab}/{node} writes more than {most} MiB")));
        }
        kept.extend_from_slice(&bytes);
    }
}
