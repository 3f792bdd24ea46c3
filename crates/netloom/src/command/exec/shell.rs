//! `netloom shell` and `netloom console`: the shell that a node's kind names, or a plain one.
//!
//! `shell` is for whoever works in a node: it says when the shell is missing, and a plain one is bash with a login. `console` is
//! what a controller's console is: the last lines of the output first, and a shell in any case.

use netloom_agent::scrollback;
use netloom_engine::{Document, ExecRequest, Layout, Terminal};
use netloom_model::{ConsoleShell, Node};

use super::attached::{Stdin, attached};
use super::{end, environment, window};
use crate::cli::{LabNode, OpenConsole, OpenShell};
use crate::client::{Client, segment};
use crate::failure::{Exit, Result};
use crate::{output, term};

/// At home, in bash as the node has it or else in sh; as a login if `$1` says so.
const PLAIN: &str =
    "cd 2>/dev/null || cd /; SHELL=$(command -v bash || command -v sh) && export SHELL && exec \"$SHELL\" $1";

/// At home, in the shell whose words follow `$1`, which is what to say of a node that does not have it.
const OF_KIND: &str = "command -v \"$2\" >/dev/null 2>&1 || { echo \"$1\" >&2; exit 127; }; \
    shift; cd 2>/dev/null || cd /; exec \"$@\"";

/// The most that is read of a node's output, in bytes.
const FORMER: usize = 256 * 1024;

/// Opens a shell.
pub(crate) async fn shell(options: &OpenShell, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let at = &options.node;
    let of_kind = if options.plain { None } else { shell_of_kind(&client, at).await? };
    let terminal = terminal();
    let argv = of_kind.unwrap_or_else(|| plain(terminal));
    open(&client, at, argv, terminal).await
}

/// Opens a console.
pub(crate) async fn console(options: &OpenConsole, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let at = &options.node;
    let node = wanted(&client, at).await?;
    let shell = ConsoleShell::of(node.as_ref(), None);
    let terminal = terminal();
    // What was shown before is for eyes; a script that pipes a console gets the shell alone.
    if terminal != Terminal::None {
        for line in former(&client, at).await {
            output::result(&if output::coloured() { format!("\x1b[90m{line}\x1b[0m\n") } else { line + "\n" })?;
        }
    }
    open(&client, at, shell.argv(), terminal).await
}

async fn open(client: &Client, at: &LabNode, argv: Vec<String>, terminal: Terminal) -> Result {
    let request = ExecRequest { argv, terminal, env: environment(terminal) };
    end(attached(client, at, &request, Stdin::Passed).await?)
}

fn terminal() -> Terminal {
    if term::is_interactive() { window() } else { Terminal::None }
}

/// The last lines that a node has written; none if they cannot be read: a console works without.
async fn former(client: &Client, LabNode { lab, node }: &LabNode) -> Vec<String> {
    let path = format!("/labs/{}/nodes/{}/logs?last={}", segment(lab), segment(node), scrollback::LINES);
    let Ok(mut stream) = client.bytes(&path).await else { return Vec::new() };
    let mut read = Vec::new();
    while let Ok(Some(piece)) = stream.next().await {
        read.extend_from_slice(&piece);
        let over = read.len().saturating_sub(FORMER);
        read.drain(..over);
    }
    scrollback::last_lines(&read)
}

fn plain(terminal: Terminal) -> Vec<String> {
    let login = (terminal != Terminal::None).then_some("-l");
    ["/bin/sh", "-c", PLAIN, "sh"].into_iter().chain(login).map(str::to_owned).collect()
}

/// What is wanted of a node, if anything is.
async fn wanted(client: &Client, LabNode { lab, node }: &LabNode) -> Result<Option<Node>> {
    let mut wanted: Document = match client.get(&format!("/labs/{}/desired", segment(lab))).await {
        Ok(wanted) => wanted,
        // A lab that runs and is not wanted has nodes all the same; of one that is not there the session says so.
        Err(failure) if failure.exit == Exit::Input => return Ok(None),
        Err(failure) => return Err(failure),
    };
    Ok(wanted.nodes.remove(node).map(|entry| entry.node))
}

/// What opens the shell that the node's kind names, if it names one.
async fn shell_of_kind(client: &Client, at: &LabNode) -> Result<Option<Vec<String>>> {
    let LabNode { lab, node } = at;
    let Some(wanted) = wanted(client, at).await? else { return Ok(None) };
    let shell = ConsoleShell::of(Some(&wanted), None);
    let Some(program) = shell.words().first() else { return Ok(None) };
    let missing = format!(
        "there is no `{program}` in {lab}/{node}, the shell of kind `{}`; `netloom shell --plain {lab}/{node}` opens a \
         plain one",
        wanted.kind
    );
    let script = ["/bin/sh", "-c", OF_KIND, "sh"].into_iter().map(str::to_owned);
    Ok(Some(script.chain([missing]).chain(shell.words().iter().cloned()).collect()))
}
