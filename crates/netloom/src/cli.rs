//! The command line as clap reads it.

mod edit;
mod images;
mod labs;
mod session;
mod tools;
mod variables;

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use netloom_model::{LabName, NodeName};

pub(crate) use edit::{Link, LinkAdd, LinkEnd, Node, NodeAdd, NodeTurn};
pub(crate) use images::Image;
pub(crate) use labs::{Adopt, Agent, AgentCommand, Deploy, Destroy, Inspect, InspectFormat, Operation, Prune, Save};
pub(crate) use session::{Cp, Exec, ExecFormat, OpenConsole, OpenShell, Target};
pub(crate) use tools::{Generate, GenerateShape, Graph, GraphFormat, Kinds, Render, Schema, Validate, Vars};

/// What `netloom --help` says below the list of commands.
const AFTER: &str = "\
Exit codes: 0 done, 1 failed, 2 the input is wrong and nothing was touched, 3 no agent can be reached,
4 deadline passed or cancelled. `exec`, `shell` and `console` pass the command's own code and use 125 for ours.

Every flag can also be set by a variable of the environment, named NETLOOM, the command and the flag:
NETLOOM_DEPLOY_TIMEOUT=30s, NETLOOM_INSPECT_JSON=1. A flag that is written wins.

NETLOOM_ROOT moves everything that an agent has on its host (socket, state, configuration) below a directory.";

/// Network labs on a Linux host.
#[derive(Debug, Parser)]
#[command(name = "netloom", version, after_help = AFTER, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What clap knows of it, variables of the environment included.
    pub(crate) fn definition() -> clap::Command {
        variables::with_variables(Self::command())
    }

    /// What to add to an error of [`Self::read`]: it may be about a flag that nobody wrote.
    pub(crate) fn hint(error: &clap::Error) -> Option<String> {
        let text = error.to_string();
        let blamed = variables::that_are_set(&Self::definition()).into_iter().filter(|(flag, _)| text.contains(flag));
        let said: Vec<String> =
            blamed.map(|(flag, variable)| format!("note: {variable} is set and counts as {flag}")).collect();
        (!said.is_empty()).then(|| said.join("\n"))
    }

    /// Reads the arguments of this process, and the environment.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut definition = Self::definition();
        let mut matches = definition.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut definition))
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a topology file; every mistake is shown at once
    Validate(Validate),
    /// Show the kinds that nodes can be of, or what is known of one
    Kinds(Kinds),
    /// Draw a topology: for Graphviz, as Mermaid, or as JSON
    Graph(Graph),
    /// Write a topology of a regular shape: a line, ring, star, mesh or Clos network
    Generate(Generate),
    /// Print the JSON schema of topology files, for editors
    Schema(Schema),
    /// Write a topology file with its templates rendered and its variables replaced
    Render(Render),
    /// Make what a topology file describes; only the difference is made
    Deploy(Deploy),
    /// Show all labs, or one: nodes, links, addresses; with --watch what flows and what is used
    Inspect(Inspect),
    /// Run a command in one node, or in all running nodes at once
    Exec(Exec),
    /// Open a shell in a node: the one that its kind has, such as vtysh, or else bash or sh
    Shell(OpenShell),
    /// Open the console of a node as a controller does: the end of its output, then the shell of its kind, or else sh
    Console(OpenConsole),
    /// Copy files from nodes and to nodes
    Cp(Cp),
    /// Show what a node's command has written
    Logs {
        /// The node, as LAB/NODE
        node: LabNode,
        /// Go on as more is written
        #[arg(short, long)]
        follow: bool,
    },
    /// Show what happened
    Events {
        /// Go on as more happens
        #[arg(short, long)]
        follow: bool,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Add, remove, cut and mend links while the lab runs
    #[command(subcommand)]
    Link(Link),
    /// Add, remove, stop, start and restart nodes while the lab runs
    #[command(subcommand)]
    Node(Node),
    /// List, pull, load and remove images of this host
    #[command(subcommand)]
    Image(Image),
    /// Write the lab as it is wanted now, live edits included, as a topology file
    Export {
        /// The lab
        lab: LabName,
        /// The file to write; standard output without it
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Save the running configurations of nodes into clab-LAB beside the topology
    Save(Save),
    /// Take labs that run but that the agent does not know: its state file was lost or damaged, or another agent was here before
    Adopt(Adopt),
    /// Remove labs with everything of theirs
    Destroy(Destroy),
    /// Show and remove what labs have left behind on this host: everything that carries netloom's mark and that no lab wants
    #[command(visible_alias = "cleanup")]
    Prune(Prune),
    /// Show what is wrong with the agent of this host, if anything, since when, and whom it affects
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Look whether this host is fit for labs: kernel, Docker, agent, limits, room; each finding says what mends it
    Doctor {
        /// Mend what is safe to mend: a socket that nobody listens on, links to namespaces that are gone
        #[arg(long)]
        fix: bool,
        /// A list of findings
        #[arg(long)]
        json: bool,
    },
    /// Look at what the agent does or did, or cancel it
    #[command(subcommand)]
    Operation(Operation),
    /// Run the agent of this host, look after it, or stop it
    Agent(Agent),
    /// Write the completions of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Show the version of the command line and of the agent
    Version {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// The shells that completions are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// `LAB/NODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabNode {
    /// The lab.
    pub(crate) lab: LabName,
    /// The node.
    pub(crate) node: NodeName,
}

impl std::str::FromStr for LabNode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (lab, node) = text.split_once('/').ok_or("write LAB/NODE, for example ospf/r1")?;
        let lab = lab.parse().map_err(|error: netloom_model::Invalid| error.to_string())?;
        let node = node.parse().map_err(|error: netloom_model::Invalid| error.to_string())?;
        Ok(Self { lab, node })
    }
}

/// `LAB` or `LAB/NODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabOrNode {
    /// The lab.
    pub(crate) lab: LabName,
    /// The node, if only one is meant.
    pub(crate) node: Option<NodeName>,
}

impl std::str::FromStr for LabOrNode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            let LabNode { lab, node } = text.parse()?;
            return Ok(Self { lab, node: Some(node) });
        }
        let lab = text.parse().map_err(|error: netloom_model::Invalid| error.to_string())?;
        Ok(Self { lab, node: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::definition().debug_assert();
    }

    #[test]
    fn a_node_is_named_with_its_lab() {
        let node: LabNode = "ospf/r1".parse().unwrap();
        assert_eq!((node.lab.as_str(), node.node.as_str()), ("ospf", "r1"));
        assert!("ospf".parse::<LabNode>().is_err());
        assert!("ospf/".parse::<LabNode>().is_err());
    }

    #[test]
    fn habits_of_other_programs_are_understood() {
        Cli::try_parse_from(["netloom", "cp", "-r", "x/a:/etc", "."]).unwrap();
        Cli::try_parse_from(["netloom", "node", "stop", "x/a", "x/b", "y/a"]).unwrap();
        Cli::try_parse_from(["netloom", "node", "stop"]).unwrap_err();
        for words in [["netloom", "destroy", "ospf", "-y"].as_slice(), &["netloom", "destroy", "--name", "ospf", "-y"]]
        {
            let cli = Cli::try_parse_from(words);
            let Ok(Cli { command: Command::Destroy(destroy) }) = cli else { panic!("{cli:?}") };
            assert_eq!(destroy.labs.name().map(LabName::as_str), Some("ospf"));
        }
        Cli::try_parse_from(["netloom", "destroy", "ospf", "--all"]).unwrap_err();
    }
}
