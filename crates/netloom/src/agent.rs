//! `netloom agent`: configuration, log and runtime of the agent, from its start to its end.

use std::fs;
use std::io;

use netloom_agent::log::Format;
use netloom_engine::Layout;
use netloom_failpoint::point;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::background::Starter;
use crate::compose;
use crate::config::Config;
use crate::failure::{Failure, Result, plain};

/// Threads of the main runtime: it waits for sockets and channels; whatever blocks has a thread of its own.
const WORKERS: usize = 2;

/// Runs the agent until SIGTERM or SIGINT. In the background (`detached`) the starter is told how the start went.
pub(crate) fn run(layout: &Layout, detached: bool) -> Result {
    let config = prepare(layout)?;
    if !detached {
        return serve(layout, &config, None);
    }
    let starter = Starter::detach(layout);
    let starter = starter.map_err(|error| {
        Failure::failed(format_args!(
            "{} cannot be written: {}",
            crate::background::log_path(layout).display(),
            plain(&error)
        ))
    })?;
    serve(layout, &config, Some(starter))
}

/// What can be found wrong before anything is begun.
fn prepare(layout: &Layout) -> Result<Config> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::failed("the agent makes namespaces and links: run it as root (sudo netloom agent)"));
    }
    let config = Config::load(&layout.config()).map_err(Failure::input)?;
    for directory in [layout.state(), layout.run()] {
        let made = fs::create_dir_all(&directory);
        match made.and_then(|()| tempfile_in(&directory)) {
            // An agent that ran here finds all that it needs to see to what runs; what has no room is said when it is written.
            Err(error) if directory.is_dir() && is_full(&error) => {}
            writable => writable.map_err(|error| {
                Failure::failed(format_args!(
                    "{} cannot be written: {}; the agent keeps its state there (NETLOOM_ROOT moves it)",
                    directory.display(),
                    plain(&error)
                ))
            })?,
        }
    }
    Ok(config)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a file can be made in a directory: a read-only file system lets its directories exist.
fn tempfile_in(directory: &std::path::Path) -> io::Result<()> {
    // Always the same name: an agent that dies in between leaves what its next start takes away.
    let path = directory.join(".probe");
    fs::write(&path, b"")?;
    point!("agent.start.probed");
    fs::remove_file(path)
}

/// The agent needs a descriptor for each node: it takes what it may have. Nodes are started with the usual limit.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // Up to the hard limit it is everyone's right.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn serve(layout: &Layout, config: &Config, starter: Option<Starter>) -> Result {
    raise_descriptors();
    netloom_kernel::give_back_large_blocks();
    let _log = netloom_agent::log::init(&config.log, Format::Text).map_err(Failure::failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(plain(&error)))?;
    let started = compose::start(layout, config, &runtime);
    let mut running = match (started, starter) {
        (Ok(running), starter) => {
            if let Some(starter) = starter {
                starter.ready();
            }
            point!("agent.start.ready");
            running
        }
        (Err(failure), starter) => {
            if let (Some(starter), Some(why)) = (starter, &failure.text) {
                starter.failed(why);
            }
            return Err(failure);
        }
    };
    runtime.block_on(async {
        let on =
            |kind| signal(kind).map_err(|error| Failure::failed(format_args!("cannot watch for signals: {error}")));
        let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            failure = running.ended() => return Err(failure),
        }
        tracing::info!("stopping; labs run on");
        point!("agent.stop.begun");
        running.stop().await;
        point!("agent.stop.done");
        Ok(())
    })
}
