//! `netloom cp`: files from nodes, to nodes, and between them.
//!
//! ```text
//!   thread `pack`    files, or standard input ──[8 pieces]──▶ HTTP ──▶ agent ──▶ node
//!   thread `unpack`  files, or standard output ◀─[8 pieces]── HTTP ◀── agent ◀── node
//! ```
//!
//! The threads may block in the file system; nothing else does, so that a signal is always heard. Both ends pack and
//! unpack by the same rules (see [`archive`]). Whatever ends it early, nothing half done keeps the final name.

#[path = "../../../../init/src/archive/mod.rs"]
mod archive;
mod pass;
mod pipe;

use std::ffi::OsStr;
use std::io::{self, IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use netloom_engine::{CopyIn, CopyOut, Landing, Layout, Links, Owner};
use tokio::sync::mpsc;

use super::exec::Deadly;
use crate::cli::{Cp, LabNode};
use crate::client::{Body, Client};
use crate::failure::{Exit, Failure, Result, plain};

use archive::Trouble;
use pipe::{QUEUE, Stopped};

/// How long a thread may take to say how it ended after an archive was taken.
const SAID: Duration = Duration::from_millis(500);

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A path in a node.
    Node(LabNode, String),
    /// A path here.
    Here(PathBuf),
    /// An archive on standard input or output.
    Stream,
}

impl Place {
    fn of(text: &OsStr) -> Result<Self> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        let node = text.to_str().filter(|text| !text.starts_with(['/', '.'])).and_then(|text| {
            let (node, path) = text.split_once(':')?;
            Some((node.parse::<LabNode>().ok()?, path))
        });
        match node {
            Some((LabNode { lab, node }, "")) => Err(Failure::input(format_args!(
                "say where in the node: {lab}/{node}:PATH, for example {lab}/{node}:/tmp"
            ))),
            Some((at, path)) => Ok(Self::Node(at, path.to_owned())),
            None => Ok(Self::Here(text.into())),
        }
    }
}

/// Copies.
pub(crate) async fn run(options: Cp, layout: &Layout) -> Result {
    let (from, to) = (Place::of(&options.from)?, Place::of(&options.to)?);
    let owner = if options.archive { Owner::Kept } else { Owner::Root };
    let links = if options.follow_links { Links::Followed } else { Links::Kept };
    let named = |path| CopyIn { path, landing: Landing::Named, owner };
    match (from, to) {
        (Place::Node(from, path), Place::Node(to, target)) => {
            let client = Client::connect(layout).await?;
            let archive = client.copy_out(&from, &CopyOut { path, links }).await?;
            interrupted(relay(&client, archive, &to, &named(target))).await
        }
        (Place::Node(from, path), Place::Stream) => {
            if stdout().is_terminal() {
                return Err(Failure::input("standard output is a terminal; an archive is for a file or `tar t`"));
            }
            let client = Client::connect(layout).await?;
            let archive = client.copy_out(&from, &CopyOut { path, links }).await?;
            pull(archive, |from| pass::pass(from, stdout().lock())).await
        }
        (Place::Node(from, path), Place::Here(to)) => {
            let client = Client::connect(layout).await?;
            let archive = client.copy_out(&from, &CopyOut { path, links }).await?;
            let owner = match owner {
                Owner::Kept => archive::Owner::Kept,
                Owner::Root => {
                    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
                    archive::Owner::Of(user.as_raw(), group.as_raw())
                }
            };
            let unpack = move |from| archive::unpack(from, &to, archive::Landing::Named, owner).map_err(said);
            pull(archive, unpack).await
        }
        (Place::Stream, Place::Node(to, path)) => {
            if stdin().is_terminal() {
                return Err(Failure::input("standard input is a terminal; an archive is expected, as from `tar c`"));
            }
            let client = Client::connect(layout).await?;
            let read = |mut to| match io::copy(&mut stdin().lock(), &mut to) {
                Ok(_) => Ok(()),
                Err(error) => Err(Failure::failed(format_args!("cannot read the archive: {}", plain(&error)))),
            };
            push(&client, read, &to, &CopyIn { path, landing: Landing::Into, owner }).await
        }
        (Place::Here(from), Place::Node(to, path)) => {
            let client = Client::connect(layout).await?;
            let links = match links {
                Links::Kept => archive::Links::Kept,
                Links::Followed => archive::Links::Followed,
            };
            let pack = move |to| archive::pack(&from, links, to).map_err(said);
            push(&client, pack, &to, &named(path)).await
        }
        (Place::Here(_) | Place::Stream, Place::Here(_) | Place::Stream) => Err(Failure::input(format_args!(
            "neither `{}` nor `{}` is in a node: write LAB/NODE:PATH, for example ospf/r1:/etc/frr",
            options.from.display(),
            options.to.display()
        ))),
    }
}

fn said(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Refused(why) => Failure::input(why),
        Trouble::Failed(why) => Failure::failed(why),
    }
}

/// From a node to here.
async fn pull(mut archive: Body, write: impl FnOnce(pipe::Reader) -> Result + Send + 'static) -> Result {
    let (pieces, mut written) = pipe::sink("unpack", write)?;
    // What was carried is dropped, in whatever way it ends: then the thread ends too, and takes away what is half done.
    let carried = interrupted(carry(&mut archive, pieces)).await;
    let mut deadly = Deadly::watch()?;
    let written = tokio::select! {
        written = &mut written => written.unwrap_or_else(|_| Err(Failure::failed("the copying thread panicked"))),
        _ = deadly.next() => return Err(carried.err().unwrap_or_else(by_signal)),
    };
    carried.and(written)?;
    interrupted(rest(&mut archive)).await
}

/// Carries an archive until it ends, or whoever takes it has all that it wants, or cannot go on and says why.
async fn carry(archive: &mut Body, pieces: mpsc::Sender<Bytes>) -> Result {
    let mut progress = Progress::new();
    while let Some(piece) = archive.next().await? {
        progress.add(&piece);
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// What follows the end mark: whether all of it could be read.
async fn rest(archive: &mut Body) -> Result {
    while archive.next().await?.is_some() {}
    Ok(())
}

/// From here to a node.
async fn push(
    client: &Client,
    read: impl FnOnce(pipe::Writer) -> Result + Send + 'static,
    to: &LabNode,
    request: &CopyIn,
) -> Result {
    let (mut pieces, mut done) = pipe::source("pack", read)?;
    // It says how it ended before its end is seen. One that waits for more than the archive says nothing.
    let own = async {
        match tokio::time::timeout(SAID, &mut done).await {
            Ok(Ok(Err(Stopped::Own(failure)))) => Err(failure),
            _ => Ok(()),
        }
    };
    // Nothing is begun in the node for what cannot be read at all.
    let Some(first) = interrupted(async { Ok(pieces.recv().await) }).await? else {
        own.await?;
        return Err(Failure::failed("the archive is empty"));
    };
    let (forward, body) = mpsc::channel(1);
    let carry = async move {
        let mut progress = Progress::new();
        let mut next = Some(first);
        while let Some(piece) = next {
            progress.add(&piece);
            if forward.send(piece).await.is_err() {
                break;
            }
            next = pieces.recv().await;
        }
    };
    let sent = interrupted(async {
        let mut carry = std::pin::pin!(carry);
        let mut sent = std::pin::pin!(client.copy_in(to, request, body));
        tokio::select! {
            sent = &mut sent => sent,
            () = &mut carry => sent.await,
        }
    });
    let sent = sent.await;
    match sent {
        // What could not be read here is why the rest did not go well there, or is missing there.
        Ok(()) => own.await,
        Err(failure) if failure.exit == Exit::Failed => own.await.and(Err(failure)),
        Err(failure) => Err(failure),
    }
}

/// From a node to a node.
async fn relay(client: &Client, mut archive: Body, to: &LabNode, request: &CopyIn) -> Result {
    let (pieces, body) = mpsc::channel::<Bytes>(QUEUE);
    let ended = {
        let mut carry = std::pin::pin!(carry(&mut archive, pieces));
        let mut sent = std::pin::pin!(client.copy_in(to, request, body));
        tokio::select! {
            sent = &mut sent => sent,
            carried = &mut carry => {
                let sent = sent.await;
                carried.and(sent)
            }
        }
    };
    ended?;
    rest(&mut archive).await
}

/// Until it ends or a signal ends us.
async fn interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut deadly = Deadly::watch()?;
    tokio::select! {
        done = work => done,
        _ = deadly.next() => Err(by_signal()),
    }
}

fn by_signal() -> Failure {
    Failure::ended("interrupted")
}

/// Bytes on a terminal, for what takes longer than a second.
struct Progress {
    begun: Instant,
    bytes: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new() -> Self {
        Self { begun: Instant::now(), bytes: 0, bar: None }
    }

    fn add(&mut self, piece: &Bytes) {
        self.bytes += piece.len() as u64;
        if self.bar.is_none() && self.begun.elapsed() > Duration::from_secs(1) && io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bytes} copied, {bytes_per_sec}");
            self.bar = Some(style.map_or(bar.clone(), |style| bar.with_style(style)));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.bytes);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_in_a_node_or_here() {
        let of = |text: &str| Place::of(OsStr::new(text));
        let node = |node: &str, path: &str| Ok(Place::Node(node.parse().unwrap(), path.to_owned()));
        assert_eq!(of("x/r1:/etc/frr"), node("x/r1", "/etc/frr"));
        assert_eq!(of("x/r1:a:b"), node("x/r1", "a:b"));
        for here in ["./x/r1:/etc", "/x/r1:/etc", "../x", "plain", "a/b", "c:/d", "a/b/c:d"] {
            assert_eq!(of(here), Ok(Place::Here(here.into())));
        }
        assert_eq!(of("-"), Ok(Place::Stream));
        assert_eq!(of("x/r1:").unwrap_err().exit, Exit::Input);
    }
}
