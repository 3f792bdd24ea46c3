//! The part of the command line about images.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

/// `netloom image`.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// List the images of this host, and which labs need them
    #[command(alias = "list")]
    Ls {
        /// The wire type
        #[arg(long)]
        json: bool,
    },
    /// Pull images from their registries; each once, whoever asks for it
    Pull {
        /// Names of images, as `docker pull` takes them
        #[arg(required = true)]
        images: Vec<String>,
        /// One event per line and the operation at the end
        #[arg(long)]
        json: bool,
        /// How long to wait, for example 5m; the agent goes on afterwards
        #[arg(long, value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
    },
    /// Load the images of an archive as `docker save` writes it
    Load {
        /// The archive, or `-` for standard input
        file: PathBuf,
        /// The wire type
        #[arg(long)]
        json: bool,
    },
    /// Remove images that no lab needs
    #[command(alias = "remove")]
    Rm {
        /// Names or ids of images
        #[arg(required = true)]
        images: Vec<String>,
        /// The wire type, one line per image
        #[arg(long)]
        json: bool,
    },
    /// Remove images that have lost their names and that no lab needs
    Prune {
        /// Also those with names
        #[arg(short, long)]
        all: bool,
        /// The wire type
        #[arg(long)]
        json: bool,
    },
}
