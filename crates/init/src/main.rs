//! `netloom-init`: the first process of a namespace node, and what joins a running one.
//!
//! ```text
//!   netloom-init node <run dir>             PID 1 of a node (its spec on standard input): makes its
//!                                           root, runs its command, reaps, keeps its output
//!   netloom-init exec --pid N … -- <words>  joins the namespaces of a node and runs a command there
//!   netloom-init hold … -- <words>          the entrypoint of a container whose command must find its interfaces
//!   netloom-init copy …                     (internal) packs or unpacks files, in a node
//!   netloom-init launch …                   (internal) sets user, groups and terminal, then becomes the command
//! ```
//!
//! One thread, no `unsafe`. It is linked statically at a fixed address and built for size, because each node keeps
//! one: an executable of 20 MB would cost every node a megabyte of relocations.

mod archive;
mod capability;
mod copy;
mod exec;
mod hold;
mod launch;
mod mounts;
mod node;
mod output;
mod relay;
mod setup;
mod signals;
#[cfg_attr(not(test), expect(dead_code, reason = "the agent writes what this program reads"))]
mod spec;
mod status;
mod trouble;

use std::io::Write;
use std::process::exit;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use archive::plain;

fn main() {
    let mut arguments = std::env::args();
    arguments.next();
    let what = arguments.next();
    // What a container may have open is its daemon's to say.
    if what.as_deref() != Some("hold") {
        limit_descriptors();
    }
    let code = match what.as_deref() {
        Some("node") => match (arguments.next(), arguments.next()) {
            (Some(directory), None) => node::run(&directory),
            _ => usage(),
        },
        Some("exec") => exec::run(arguments),
        Some("hold") => hold::run(arguments),
        Some("copy") => copy::run(arguments),
        Some("launch") => launch::run(arguments),
        _ => usage(),
    };
    exit(code);
}

/// As the kernel starts a machine's first process: the agent needs more for itself, but programs that use select(2) or
/// close all descriptors one by one must not have a million. What needs more may raise it up to the hard limit.
fn limit_descriptors() {
    const USUAL: u64 = 1024;
    let limit = getrlimit(Resource::Nofile);
    let current = Some(limit.maximum.map_or(USUAL, |maximum| maximum.min(USUAL)));
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
}

fn usage() -> i32 {
    complain(
        "usage: netloom-init node <run dir> | exec --pid <pid> [options] -- <command>… | hold [options] -- <command>… \
         | copy out|in [options] <path>",
    );
    125
}

/// Says something on standard error; if nobody can hear it, nothing can be done about that.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "netloom: {text}");
}

/// As [`plain`], for errors of rustix.
fn plain_errno(errno: rustix::io::Errno) -> String {
    plain(&errno.into())
}
