//! The same command in several nodes of a lab.

use std::io::{Write, stderr, stdout};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use netloom_engine::{ExecInput, ExecOutput, ExecRequest};
use netloom_model::{LabName, NodeName};

use super::first;
use crate::client::Client;
use crate::failure::Result;
use crate::output;

/// How many nodes run a command at once.
pub(super) const AT_ONCE: usize = 64;

/// Runs a command in nodes; each line of output begins with its node. The exit code is that of the first node, by name,
/// whose command failed.
pub(super) async fn run(client: &Client, lab: &LabName, nodes: &[NodeName], request: &ExecRequest) -> Result<i32> {
    let width = nodes.iter().map(|node| node.as_str().len()).max().unwrap_or(0);
    let next = AtomicUsize::new(0);
    let worker = || async {
        let mut codes = Vec::new();
        while let Some(node) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let prefix = format!("{node:<width$}| ");
            let code = match prefixed(client, lab, node, request, &prefix).await {
                Ok(code) => code,
                // Nobody reads the output any more.
                Err(failure) if failure.text.is_none() => return Err(failure),
                Err(failure) => {
                    output::say(&format!("{prefix}{}", failure.text.unwrap_or_default()));
                    125
                }
            };
            codes.push((node, code));
        }
        Ok(codes)
    };
    let mut workers: FuturesUnordered<_> = (0..AT_ONCE.min(nodes.len())).map(|_| worker()).collect();
    let mut codes = Vec::new();
    while let Some(some) = workers.next().await {
        codes.extend(some?);
    }
    codes.sort();
    Ok(codes.into_iter().map(|(_, code)| code).fold(0, first))
}

async fn prefixed(client: &Client, lab: &LabName, node: &NodeName, request: &ExecRequest, prefix: &str) -> Result<i32> {
    let mut session = client.exec(lab, node, request).await?;
    // That this cannot be done any more is said better by what comes out.
    let _ = session.input.send(ExecInput::CloseStdin).await;
    let (mut out, mut err) = (Lines::new(prefix), Lines::new(prefix));
    loop {
        match session.output.next().await? {
            ExecOutput::Stdout(bytes) => out.push(&bytes, &mut stdout().lock())?,
            ExecOutput::Stderr(bytes) => err.push(&bytes, &mut stderr().lock())?,
            ExecOutput::Exited(code) => {
                out.end(&mut stdout().lock())?;
                err.end(&mut stderr().lock())?;
                return Ok(code);
            }
        }
    }
}

/// Whole lines with a prefix, out of pieces.
struct Lines<'a> {
    prefix: &'a str,
    open: Vec<u8>,
}

/// A line that is longer is cut into several.
const LONGEST: usize = 64 * 1024;

impl<'a> Lines<'a> {
    fn new(prefix: &'a str) -> Self {
        Self { prefix, open: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8], to: &mut impl Write) -> Result {
        let mut ready = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.open.len() >= LONGEST {
                self.close(&mut ready);
            }
        }
        if ready.is_empty() { Ok(()) } else { output::bytes(to, &ready) }
    }

    fn end(&mut self, to: &mut impl Write) -> Result {
        let mut ready = Vec::new();
        if !self.open.is_empty() {
            self.close(&mut ready);
        }
        output::bytes(to, &ready)
    }

    fn close(&mut self, ready: &mut Vec<u8>) {
        ready.extend_from_slice(self.prefix.as_bytes());
        ready.append(&mut self.open);
        if !ready.ends_with(b"\n") {
            ready.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_nodes_stay_whole_and_say_their_node() {
        let text = b"one\ntwo\r\n\nlast";
        for size in 1..=text.len() {
            let mut out = Vec::new();
            let mut lines = Lines::new("r1| ");
            for piece in text.chunks(size) {
                lines.push(piece, &mut out).unwrap();
            }
            lines.end(&mut out).unwrap();
            assert_eq!(out, b"r1| one\nr1| two\r\nr1| \nr1| last\n", "pieces of {size}");
        }
    }
}
