//! The part of the command line that edits a lab while it runs: `node`, `link`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use netloom_model::{LabName, Vxlan};

use super::LabNode;

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
    /// The other end; with --vni the host that has it, as remote:ADDRESS
    pub(crate) b: String,
    /// To another host, over a VXLAN tunnel with this identifier
    #[arg(long)]
    pub(crate) vni: Option<u32>,
    /// The UDP port of the tunnel
    #[arg(long, requires = "vni", default_value_t = Vxlan::DST_PORT)]
    pub(crate) dst_port: u16,
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
