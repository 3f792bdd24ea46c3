//! The part of the command line about whole labs, and about the agent that has them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use netloom_model::{LabName, NodeName};

use super::{LabOrNode, Vars};

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
    /// In which form
    #[arg(short, long, value_enum, default_value_t = InspectFormat::Text)]
    pub(crate) format: InspectFormat,
    /// The wire type: the same as --format json
    #[arg(long)]
    pub(crate) json: bool,
    /// Show what flows and what is used, again and again until `q` or ctrl-C; with --json one line each time
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How often with --watch, for example 500ms; from 200ms to 1m
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) every: Duration,
}

impl Inspect {
    /// The form that is wanted.
    pub(crate) fn form(&self) -> InspectFormat {
        if self.json { InspectFormat::Json } else { self.format }
    }
}

/// The form that labs are shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    /// Tables
    Text,
    /// The wire type
    Json,
    /// As `containerlab inspect --format json`: a list of containers for each lab
    ClabJson,
}

/// `netloom save`.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// The lab, or one node of it; the lab of the only topology in this directory when nothing is said
    #[arg(value_name = "LAB[/NODE]")]
    pub(crate) from: Option<LabOrNode>,
    /// The file, or its directory, that the lab was deployed from
    #[arg(short = 't', long = "topo", value_name = "FILE|DIR", conflicts_with = "from")]
    pub(crate) topology: Option<PathBuf>,
    /// Show what would be saved, and save nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// What became of each node, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `netloom adopt`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
pub(crate) struct Adopt {
    /// The lab
    #[arg(required_unless_present = "all")]
    pub(crate) lab: Option<LabName>,
    /// All labs that the agent does not know
    #[arg(short, long, conflicts_with = "lab")]
    pub(crate) all: bool,
    /// Show what would be adopted and what not, and why; touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Decide from now on about a lab that a controller decides about; what does not run stays stopped
    #[arg(long, requires = "lab", conflicts_with = "dry_run")]
    pub(crate) force: bool,
    /// The operations, one per line; with --dry-run what would be adopted of each lab
    #[arg(long)]
    pub(crate) json: bool,
}

/// `netloom destroy`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
pub(crate) struct Destroy {
    /// Which
    #[command(flatten)]
    pub(crate) labs: LabsChoice,
    /// What the file is rendered with, where several labs were deployed from it
    #[command(flatten)]
    pub(crate) vars: Vars,
    /// Remove the directory clab-LAB beside the topology too, with what was saved in it
    #[arg(long, short)]
    pub(crate) cleanup: bool,
    /// Labs that a controller decides about too
    #[arg(long)]
    pub(crate) force: bool,
    /// One event per line and the operation at the end
    #[arg(long)]
    pub(crate) json: bool,
    /// Accepted and without effect: nothing is asked
    #[arg(long, short, hide = true)]
    pub(crate) yes: bool,
}

/// `netloom prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove it without a question
    #[arg(long, short, visible_alias = "force")]
    pub(crate) yes: bool,
    /// How long something has to be left before it counts, for example 10m; 0s for at once
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    pub(crate) grace: Duration,
    /// The wire types: what is left of a dry run, else one event per line and the operation at the end
    #[arg(long)]
    pub(crate) json: bool,
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
