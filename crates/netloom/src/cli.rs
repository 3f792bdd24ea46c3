//! The command line as clap reads it.

mod tools;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use netloom_model::{LabName, NodeName};

pub(crate) use tools::{Generate, GenerateShape, Graph, GraphFormat, Render, Vars};

/// What `netloom --help` says below the list of commands.
const AFTER: &str = "\
Exit codes: 0 done, 1 failed, 2 the input is wrong and nothing was touched, 3 no agent can be reached,
4 deadline passed or cancelled. `exec` and `shell` pass the command's own code and use 125 for ours.

NETLOOM_ROOT moves everything that an agent has on its host (socket, state, configuration) below a directory.";

/// Network labs on a Linux host.
#[derive(Debug, Parser)]
#[command(name = "netloom", version, after_help = AFTER, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
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
    Schema,
    /// Write a topology file with its templates rendered and its variables replaced
    Render(Render),
    /// Make what a topology file describes; only the difference is made
    Deploy(Deploy),
    /// Show all labs, or one: nodes, links, addresses; with --watch what flows and what is used
    Inspect(Inspect),
    /// Run a command in one node, or in all running nodes at once
    Exec(Exec),
    /// Open a shell in a node
    Shell {
        /// The node, as LAB/NODE
        node: LabNode,
    },
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
    /// Write the lab as it is wanted now, live edits included, as a topology file
    Export {
        /// The lab
        lab: LabName,
        /// The file to write; standard output without it
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take labs back that run but that the agent does not know any more: its state file was lost or damaged
    Adopt(Adopt),
    /// Remove labs with everything of theirs
    Destroy(Destroy),
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

/// `netloom validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// A topology file, a directory with one *.clab.yml, or `-` for standard input
    #[arg(default_value = ".", value_name = "FILE|DIR|-")]
    pub(crate) topology: PathBuf,
    /// The diagnostics as JSON, as editors want them: ranges count from 0, in UTF-16 code units
    #[arg(long)]
    pub(crate) json: bool,
    /// Take warnings for errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// What it is rendered with
    #[command(flatten)]
    pub(crate) vars: Vars,
}

/// `netloom kinds`.
#[derive(Debug, Args)]
pub(crate) struct Kinds {
    /// One kind by any of its names: its file, as TOML
    pub(crate) name: Option<String>,
    /// A topology file or a directory: its `kinds/` is looked at too
    #[arg(short = 't', long = "topo", value_name = "FILE|DIR", default_value = ".")]
    pub(crate) topology: PathBuf,
    /// The wire types
    #[arg(long)]
    pub(crate) json: bool,
}

/// `netloom deploy`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
pub(crate) struct Deploy {
    /// A topology file, a directory with one *.clab.yml, or `-` for standard input
    #[arg(short = 't', long = "topo", value_name = "FILE|DIR|-", default_value = ".")]
    pub(crate) topology: PathBuf,
    /// What it is rendered with
    #[command(flatten)]
    pub(crate) vars: Vars,
    /// Another name for the lab than the file says
    #[arg(long)]
    pub(crate) name: Option<LabName>,
    /// Show the plan and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The wire types: the plan of a dry run, else one event per line and the operation at the end
    #[arg(long)]
    pub(crate) json: bool,
    /// Remove all nodes and links and make them anew
    #[arg(long, short = 'c')]
    pub(crate) reconfigure: bool,
    /// Raise limits of the host that the lab is short of (sysctls, for the whole host) until the last lab that needs
    /// them is destroyed
    #[arg(long)]
    pub(crate) raise_limits: bool,
    /// Only these nodes and the links between them
    #[arg(long, value_delimiter = ',', value_name = "NODE,…")]
    pub(crate) node_filter: Vec<NodeName>,
    /// How long to wait, for example 30s; the agent goes on afterwards
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Which lab, or all.
#[derive(Debug, Args)]
#[group(required = false, multiple = false)]
pub(crate) struct LabsChoice {
    /// The lab's name
    #[arg(value_name = "LAB")]
    lab: Option<LabName>,
    /// The same
    #[arg(long, value_name = "LAB")]
    name: Option<LabName>,
    /// The file, or its directory, that the lab was deployed from
    #[arg(short = 't', long = "topo", value_name = "FILE|DIR")]
    pub(crate) topology: Option<PathBuf>,
    /// All labs of this host
    #[arg(short, long)]
    pub(crate) all: bool,
}

impl LabsChoice {
    /// The name, if one was said.
    pub(crate) fn name(&self) -> Option<&LabName> {
        self.lab.as_ref().or(self.name.as_ref())
    }
}

/// `netloom inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Which; all labs when nothing is said
    #[command(flatten)]
    pub(crate) labs: LabsChoice,
    /// The wire type
    #[arg(long)]
    pub(crate) json: bool,
    /// Show what flows and what is used, again and again until `q` or ctrl-C; with --json one line each time
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How often, for example 500ms; from 200ms to 1m
    #[arg(long, default_value = "1s", requires = "watch", value_parser = humantime::parse_duration)]
    pub(crate) every: Duration,
}

/// `netloom exec`.
#[derive(Debug, Args)]
#[command(override_usage = "netloom exec [OPTIONS] <LAB/NODE> [--] <CMD>...\n       \
    netloom exec [OPTIONS] --name <LAB> [--node <NODE>] -- <CMD>...\n       \
    netloom exec [OPTIONS] --topo <FILE|DIR> [--node <NODE>] -- <CMD>...")]
pub(crate) struct Exec {
    /// The lab's name, when it is not said as LAB/NODE
    #[arg(long, value_name = "LAB")]
    pub(crate) name: Option<LabName>,
    /// The file, or its directory, that the lab was deployed from (`-t` is the terminal here)
    #[arg(long = "topo", value_name = "FILE|DIR", conflicts_with = "name")]
    pub(crate) topology: Option<PathBuf>,
    /// The node of that lab; all running nodes when nothing is said
    #[arg(long)]
    pub(crate) node: Option<NodeName>,
    /// Pass standard input on to the command
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long, short_alias = 'T')]
    pub(crate) tty: bool,
    /// Set a variable of the command's environment; without a value: as it is here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// The node, unless --name or --topo says the lab
    #[arg(value_name = "LAB/NODE")]
    first: Option<String>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    rest: Vec<String>,
}

/// `netloom cp`.
#[derive(Debug, Args)]
#[command(override_usage = "netloom cp [OPTIONS] <LAB/NODE:PATH> <PATH|->\n       \
    netloom cp [OPTIONS] <PATH|-> <LAB/NODE:PATH>\n       \
    netloom cp [OPTIONS] <LAB/NODE:PATH> <LAB/NODE:PATH>")]
pub(crate) struct Cp {
    /// Keep owners, by number; without it files belong to root in a node and to the caller here
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Copy what symbolic links lead to instead of the links
    #[arg(short = 'L', long = "follow-link")]
    pub(crate) follow_links: bool,
    /// Accepted and without effect: directories are copied with what is in them
    #[arg(short, long, hide = true)]
    pub(crate) recursive: bool,
    /// What is copied; with `/.` at its end the content of a directory; `-` is a tar archive on standard input
    #[arg(value_name = "SRC")]
    pub(crate) from: OsString,
    /// A directory that it goes into, or its new name; `-` is a tar archive on standard output
    #[arg(value_name = "DEST")]
    pub(crate) to: OsString,
}

/// Where `netloom exec` runs its command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// In one node.
    Node(LabNode),
    /// In one or all nodes of a lab that options name.
    Lab(Option<NodeName>),
}

impl Exec {
    /// Where, and what. The first word is the node, unless options say the lab: then it belongs to the command.
    pub(crate) fn target(&self) -> Result<(Target, Vec<String>), String> {
        let named = self.name.is_some() || self.topology.is_some();
        if !named && self.node.is_some() {
            return Err("--node needs its lab: --name LAB, or write LAB/NODE instead".into());
        }
        if (named && self.node.is_none()) && (self.interactive || self.tty) {
            return Err("-i and -t need one node: add --node NODE, or write LAB/NODE instead of the lab".into());
        }
        let (target, words): (_, Vec<String>) = match &self.first {
            _ if named => (Target::Lab(self.node.clone()), self.first.iter().chain(&self.rest).cloned().collect()),
            Some(first) => {
                let node = first.parse().map_err(|why| {
                    let is_file = self.tty && !first.contains(' ') && std::path::Path::new(first).exists();
                    let hint =
                        if is_file { "; `-t` is the terminal here, a topology file is `--topo FILE`" } else { "" };
                    format!("`{first}` is no node: {why}, or say the lab with --name LAB{hint}")
                })?;
                (Target::Node(node), self.rest.clone())
            }
            None => return Err("say which node: LAB/NODE, for example ospf/r1, or --name LAB for all of a lab".into()),
        };
        match (&target, words.is_empty()) {
            (_, false) => Ok((target, words)),
            (Target::Node(LabNode { lab, node }), true) => {
                Err(format!("say what to run in {lab}/{node}; `netloom shell {lab}/{node}` opens a shell"))
            }
            (Target::Lab(_), true) => Err("say what to run, after `--`".into()),
        }
    }
}

/// `netloom adopt`.
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The lab
    #[arg(required_unless_present = "all")]
    pub(crate) lab: Option<LabName>,
    /// All labs that the agent does not know
    #[arg(short, long, conflicts_with = "lab")]
    pub(crate) all: bool,
    /// The operations, one per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `netloom destroy`.
#[derive(Debug, Args)]
pub(crate) struct Destroy {
    /// Which
    #[command(flatten)]
    pub(crate) labs: LabsChoice,
    /// One event per line and the operation at the end
    #[arg(long)]
    pub(crate) json: bool,
    /// Accepted and without effect: nothing is asked
    #[arg(long, short, hide = true)]
    pub(crate) yes: bool,
}

/// `netloom operation`.
#[derive(Debug, Subcommand)]
pub(crate) enum Operation {
    /// List the last operations
    List {
        /// The wire type
        #[arg(long)]
        json: bool,
    },
    /// Show an operation with its steps
    Show {
        /// Its number
        id: String,
        /// The wire type
        #[arg(long)]
        json: bool,
    },
    /// End an operation; its lab is held as it is until the next deploy or destroy
    Cancel {
        /// Its number
        id: String,
    },
}

/// `netloom agent`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Agent {
    /// Start it in the background and return when it answers
    #[arg(long)]
    pub(crate) background: bool,
    /// Internal: the process that `--background` starts
    #[arg(long, hide = true, conflicts_with = "background")]
    pub(crate) detached: bool,
    /// Instead of running one
    #[command(subcommand)]
    pub(crate) command: Option<AgentCommand>,
}

/// What can be done about an agent that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum AgentCommand {
    /// End it; labs run on and the next start takes them over
    Stop,
    /// Say whether it runs
    Status {
        /// The wire type
        #[arg(long)]
        json: bool,
    },
}

/// `netloom node`.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Add a node
    Add(NodeAdd),
    /// Remove a node with its links
    Rm {
        /// The node, as LAB/NODE
        node: LabNode,
        /// One event per line and the operation at the end
        #[arg(long)]
        json: bool,
    },
    /// Stop what runs in nodes, for good: until it is started, whatever is deployed
    Stop(NodeTurn),
    /// Start nodes that were stopped, or have ended
    Start(NodeTurn),
    /// Stop what runs in nodes and start it again
    Restart(NodeTurn),
}

/// `netloom node stop`, `start` and `restart`.
#[derive(Debug, Args)]
pub(crate) struct NodeTurn {
    /// The nodes, as LAB/NODE
    #[arg(required = true, value_name = "NODE")]
    pub(crate) nodes: Vec<LabNode>,
    /// One event per line and the operation at the end
    #[arg(long)]
    pub(crate) json: bool,
}

/// `netloom node add`.
#[derive(Debug, Args)]
pub(crate) struct NodeAdd {
    /// The node, as LAB/NODE
    pub(crate) node: LabNode,
    /// Its fields as they stand below its name in a topology file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kind", "runtime", "image", "cmd", "env", "bind", "exec"])]
    pub(crate) from: Option<PathBuf>,
    /// What it is
    #[arg(long, default_value = "linux")]
    pub(crate) kind: String,
    /// What it runs on; `namespace` without an image
    #[arg(long)]
    pub(crate) runtime: Option<String>,
    /// Its image, for runtimes that have images
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// What runs in it
    #[arg(long)]
    pub(crate) cmd: Option<String>,
    /// A variable of its environment; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// A file or directory of the host that is seen in it; may be given several times
    #[arg(long, value_name = "SOURCE:TARGET[:ro]")]
    pub(crate) bind: Vec<String>,
    /// A command that is run once in it; may be given several times
    #[arg(long, value_name = "CMD")]
    pub(crate) exec: Vec<String>,
    /// One event per line and the operation at the end
    #[arg(long)]
    pub(crate) json: bool,
}

/// `netloom link`.
#[derive(Debug, Subcommand)]
pub(crate) enum Link {
    /// Add a link between two ends
    Add(LinkAdd),
    /// Remove a link
    Rm {
        /// The lab
        lab: LabName,
        /// One end, as NODE:INTERFACE
        end: String,
        /// Its other end, to be sure
        other: Option<String>,
        /// One event per line and the operation at the end
        #[arg(long)]
        json: bool,
    },
    /// Mend a link that was cut
    Up(LinkEnd),
    /// Cut a link at one end; the other end sees its carrier go
    Down(LinkEnd),
}

/// `netloom link add`.
#[derive(Debug, Args)]
pub(crate) struct LinkAdd {
    /// The lab
    pub(crate) lab: LabName,
    /// One end, as NODE:INTERFACE; the host's node is `host`
    pub(crate) a: String,
    /// The other end
    pub(crate) b: String,
    /// MTU of both ends, in bytes
    #[arg(long)]
    pub(crate) mtu: Option<u32>,
    /// IPv4 addresses with prefix length, one per end; empty for an end without: `10.0.0.1/30,10.0.0.2/30`
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub(crate) ipv4: Vec<String>,
    /// IPv6 addresses, likewise
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub(crate) ipv6: Vec<String>,
    /// One event per line and the operation at the end
    #[arg(long)]
    pub(crate) json: bool,
}

/// `netloom link up` and `down`.
#[derive(Debug, Args)]
pub(crate) struct LinkEnd {
    /// The lab
    pub(crate) lab: LabName,
    /// The end, as NODE:INTERFACE
    pub(crate) end: String,
    /// One event per line and the operation at the end
    #[arg(long)]
    pub(crate) json: bool,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
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

    fn exec(words: &[&str]) -> (Exec, Result<(Target, Vec<String>), String>) {
        let cli = Cli::try_parse_from(["netloom", "exec"].iter().chain(words));
        let Ok(Cli { command: Command::Exec(exec) }) = cli else { panic!("{cli:?}") };
        let target = exec.target();
        (exec, target)
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let ping: Vec<String> = ["ping", "-c", "1", "-t", "h2"].map(str::to_owned).to_vec();
        let at = Target::Node("x/r1".parse().unwrap());
        for words in [
            ["x/r1", "--", "ping", "-c", "1", "-t", "h2"].as_slice(),
            &["x/r1", "ping", "-c", "1", "-t", "h2"],
            &["-i", "x/r1", "ping", "-c", "1", "-t", "h2"],
        ] {
            let (exec, target) = exec(words);
            assert_eq!((target.unwrap(), exec.tty), ((at.clone(), ping.clone()), false), "{words:?}");
        }
        let (_, target) = exec(&["--name", "x", "--node", "r1", "--", "ping", "-c", "1", "-t", "h2"]);
        assert_eq!(target.unwrap(), (Target::Lab(Some("r1".parse().unwrap())), ping.clone()));
        let (_, target) = exec(&["--topo", "x.clab.yml", "--", "ping", "-c", "1", "-t", "h2"]);
        assert_eq!(target.unwrap(), (Target::Lab(None), ping));
    }

    #[test]
    fn a_terminal_is_asked_for_as_fingers_do_it() {
        for words in [
            ["-it", "x/r1", "--", "bash"].as_slice(),
            &["-ti", "x/r1", "bash"],
            &["-i", "-T", "x/r1", "bash"],
            &["x/r1", "-it", "--", "bash"],
            &["-it", "--name", "x", "--node", "r1", "--", "bash"],
        ] {
            let (exec, target) = exec(words);
            assert!(exec.interactive && exec.tty && target.unwrap().1 == ["bash"], "{words:?}");
        }
    }

    #[test]
    fn an_exec_that_is_not_understood_says_what_to_write() {
        let why = |words: &[&str]| exec(words).1.unwrap_err();
        assert!(why(&["--", "true"]).contains("`true` is no node: write LAB/NODE"), "{}", why(&["--", "true"]));
        assert!(why(&[]).contains("say which node"));
        assert!(why(&["-it", "x/r1"]).contains("netloom shell x/r1"));
        assert!(why(&["--name", "x"]).contains("say what to run"));
        assert!(why(&["--name", "x", "-i", "--", "cat"]).contains("need one node"));
        assert!(why(&["--node", "r1", "--", "cat"]).contains("--name LAB"));
        assert!(why(&["-t", "/etc/hostname", "--", "cat"]).contains("--topo FILE"));
    }
}
