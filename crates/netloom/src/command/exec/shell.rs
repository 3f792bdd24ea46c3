//! `netloom shell`: the shell that a node's kind names, or a plain one.

use netloom_engine::{Document, ExecRequest, Layout, Terminal};

use super::attached::{Stdin, attached};
use super::{end, environment, window};
use crate::cli::{LabNode, OpenShell};
use crate::client::{Client, segment};
use crate::failure::{Exit, Result};
use crate::term;

/// At home, in bash as the node has it or else in sh; as a login if `$1` says so.
const PLAIN: &str =
    "cd 2>/dev/null || cd /; SHELL=$(command -v bash || command -v sh) && export SHELL && exec \"$SHELL\" $1";

/// At home, in the shell whose words follow `$1`, which is what to say of a node that does not have it.
const OF_KIND: &str = "command -v \"$2\" >/dev/null 2>&1 || { echo \"$1\" >&2; exit 127; }; \
    shift; cd 2>/dev/null || cd /; exec \"$@\"";

/// Opens a shell.
pub(crate) async fn shell(options: &OpenShell, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let at = &options.node;
    let of_kind = if options.plain { None } else { shell_of_kind(&client, at).await? };
    let terminal = if term::is_interactive() { window() } else { Terminal::None };
    let argv = of_kind.unwrap_or_else(|| plain(terminal));
    let request = ExecRequest { argv, terminal, env: environment(terminal) };
    end(attached(&client, at, &request, Stdin::Passed).await?)
}

fn plain(terminal: Terminal) -> Vec<String> {
    let login = (terminal != Terminal::None).then_some("-l");
    ["/bin/sh", "-c", PLAIN, "sh"].into_iter().chain(login).map(str::to_owned).collect()
}

/// What opens the shell that the node's kind names, if it names one.
async fn shell_of_kind(client: &Client, at: &LabNode) -> Result<Option<Vec<String>>> {
    let LabNode { lab, node } = at;
    let wanted: Document = match client.get(&format!("/labs/{}/desired", segment(lab))).await {
        Ok(wanted) => wanted,
        // A lab that runs and is not wanted has nodes all the same; of one that is not there the session says so.
        Err(failure) if failure.exit == Exit::Input => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let Some(entry) = wanted.nodes.get(node) else { return Ok(None) };
    let words = &entry.node.device.shell;
    let Some(program) = words.first() else { return Ok(None) };
    let missing = format!(
        "there is no `{program}` in {lab}/{node}, the shell of kind `{}`; `netloom shell --plain {lab}/{node}` opens a \
         plain one",
        entry.node.kind
    );
    let script = ["/bin/sh", "-c", OF_KIND, "sh"].into_iter().map(str::to_owned);
    Ok(Some(script.chain([missing]).chain(words.iter().cloned()).collect()))
}
