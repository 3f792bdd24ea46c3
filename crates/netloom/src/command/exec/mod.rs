//! `netloom exec`, `netloom shell` and `netloom console`: commands in nodes.
//!
//! A session that ends early, in whatever way, ends its command.

mod attached;
mod capture;
mod collected;
mod everywhere;
mod labelled;
mod shell;

use netloom_engine::{ExecRequest, Layout, Terminal};

use super::lab_name;
use crate::cli::{Exec, ExecFormat, LabNode, Target};
use crate::client::Client;
use crate::failure::{Exit, Failure, Result};
use crate::term;

pub(super) use attached::Deadly;
use attached::{Stdin, attached};
pub(super) use capture::capture;
pub(crate) use shell::{console, shell};

/// Runs commands, one after the other, in one node, or in all that run. The exit code is that of the first that failed.
pub(crate) async fn run(options: Exec, target: Target, commands: Vec<Vec<String>>, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let terminal = if options.tty { window() } else { Terminal::None };
    let mut env = environment(terminal);
    env.extend(options.env.iter().filter_map(|variable| given(variable)));
    let requests: Vec<_> = commands.into_iter().map(|argv| ExecRequest { argv, terminal, env: env.clone() }).collect();
    let (lab, node) = match target {
        Target::Node(LabNode { lab, node }) => (lab, Some(node)),
        Target::Lab(node) => (lab_name(options.name, options.topology.as_deref(), &client).await?, node),
    };
    if options.format == ExecFormat::ClabJson {
        return collected::run(&client, collected::At { lab, node, labels: options.label }, &requests).await;
    }
    let Some(node) = node else {
        let nodes = labelled::running(&client, &lab, &options.label).await?;
        let nodes: Vec<_> = nodes.into_iter().map(|node| node.name).collect();
        let mut code = 0;
        for request in &requests {
            code = first(code, everywhere::run(&client, &lab, &nodes, request).await?);
        }
        return end(code);
    };
    let at = LabNode { lab, node };
    let stdin = if options.interactive { Stdin::Passed } else { Stdin::Closed };
    let mut code = 0;
    for request in &requests {
        code = first(code, attached(&client, &at, request, stdin).await?);
    }
    end(code)
}

/// A program on our terminal has to know what that understands.
fn environment(terminal: Terminal) -> Vec<String> {
    let term = std::env::var("TERM").ok().filter(|term| terminal != Terminal::None && !term.is_empty());
    term.map(|term| format!("TERM={term}")).into_iter().collect()
}

/// `NAME=value` as it is, `NAME` with the value that it has here; `None`: it has none.
fn given(variable: &str) -> Option<String> {
    if variable.contains('=') {
        return Some(variable.to_owned());
    }
    std::env::var(variable).ok().map(|value| format!("{variable}={value}"))
}

/// Of two exit codes the one that counts.
fn first(before: i32, code: i32) -> i32 {
    if before == 0 { code } else { before }
}

fn end(code: i32) -> Result {
    match code {
        0 => Ok(()),
        code => Err(Failure::said(Exit::Command(u8::try_from(code).unwrap_or(u8::MAX)))),
    }
}

fn window() -> Terminal {
    let (columns, rows) = term::size();
    Terminal::Size { columns, rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_passes_its_code_on() {
        assert_eq!(end(0), Ok(()));
        assert_eq!(end(7).unwrap_err().exit.code(), 7);
        assert_eq!(end(-1).unwrap_err().exit.code(), 255);
    }

    #[test]
    fn a_variable_is_given_or_taken_from_here() {
        assert_eq!(given("A=b=c").as_deref(), Some("A=b=c"));
        assert_eq!(given("PATH"), Some(format!("PATH={}", std::env::var("PATH").unwrap())));
        assert_eq!(given("NETLOOM_NOT_SET_ANYWHERE"), None);
    }
}
