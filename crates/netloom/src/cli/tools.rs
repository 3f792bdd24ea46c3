//! The part of the command line around topology files: `validate`, `kinds`, `schema`, `render`, `graph`,
//! `generate`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use netloom_model::LabName;

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

/// `netloom schema`.
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// A topology file or a directory: the schema has the kinds of its `kinds/` too
    #[arg(default_value = ".", value_name = "FILE|DIR|-")]
    pub(crate) topology: PathBuf,
}

/// `netloom render`.
#[derive(Debug, Args)]
pub(crate) struct Render {
    /// A topology file, a directory with one *.clab.yml, or `-` for standard input
    #[arg(default_value = ".", value_name = "FILE|DIR|-")]
    pub(crate) topology: PathBuf,
    /// What it is rendered with
    #[command(flatten)]
    pub(crate) vars: Vars,
}

/// What a topology file that is a template is rendered with.
#[derive(Debug, Args)]
pub(crate) struct Vars {
    /// Data for templates, as YAML or JSON; may be given several times, later ones win. Without it, the files
    /// beside the topology that are named after it: lab.clab_vars.yml
    #[arg(long = "vars", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// `netloom graph`.
#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// A topology file, a directory with one *.clab.yml, or `-` for standard input
    #[arg(default_value = ".", value_name = "FILE|DIR|-")]
    topology: PathBuf,
    /// The same
    #[arg(short = 't', long, value_name = "FILE|DIR|-", conflicts_with = "topology")]
    topo: Option<PathBuf>,
    /// A lab that runs instead, as it is wanted now
    #[arg(long, value_name = "LAB", conflicts_with_all = ["topology", "topo"])]
    pub(crate) name: Option<LabName>,
    /// The language to write
    #[arg(short, long, value_enum, default_value_t = GraphFormat::Dot)]
    pub(crate) format: GraphFormat,
    /// What the file is rendered with
    #[command(flatten)]
    pub(crate) vars: Vars,
}

impl Graph {
    /// The file that is drawn, unless a lab is.
    pub(crate) fn topology(&self) -> &Path {
        self.topo.as_deref().unwrap_or(&self.topology)
    }
}

/// The language of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Graphviz, for example for `dot -Tsvg`
    Dot,
    /// Mermaid, which Markdown pages of code forges show
    Mermaid,
    /// Nodes and links as data
    Json,
}

/// `netloom generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// Which nodes and links
    #[command(subcommand)]
    pub(crate) shape: GenerateShape,
    /// The lab's name; the shape's when nothing is said
    #[arg(long, global = true)]
    pub(crate) name: Option<LabName>,
    /// What all nodes run on; `namespace` unless an image is given
    #[arg(long, global = true)]
    pub(crate) runtime: Option<String>,
    /// The image of all nodes
    #[arg(long, global = true)]
    pub(crate) image: Option<String>,
    /// The kind of all nodes
    #[arg(long, global = true, default_value = "linux")]
    pub(crate) kind: String,
    /// What the names of containers begin with (the format's `prefix`)
    #[arg(long, global = true)]
    pub(crate) prefix: Option<String>,
    /// Give each link a /31 of 10.0.0.0/8
    #[arg(long, global = true)]
    pub(crate) addresses: bool,
    /// The file to write; standard output without it
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, global = true, requires = "output")]
    pub(crate) force: bool,
}

/// The shape of a generated topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum GenerateShape {
    /// Nodes in a row
    Line {
        /// How many
        nodes: u32,
    },
    /// Nodes in a circle
    Ring {
        /// How many
        nodes: u32,
    },
    /// Nodes around a hub
    Star {
        /// How many beside the hub
        nodes: u32,
    },
    /// Nodes that are linked each with each
    Mesh {
        /// How many
        nodes: u32,
    },
    /// Spines, leaves, and hosts at each leaf
    Clos {
        /// How many spines
        #[arg(long, default_value_t = 2)]
        spines: u32,
        /// How many leaves
        #[arg(long, default_value_t = 4)]
        leaves: u32,
        /// How many hosts at each leaf
        #[arg(long, default_value_t = 0)]
        hosts: u32,
    },
}
