//! `netloom image`: the images of this host.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use netloom_agent::wire::{Accepted, ImagesLoaded, PullImage};
use netloom_engine::{ImagesRemoved, ImagesView, Layout};
use tokio::sync::{mpsc, oneshot};

use super::follow::{Following, Shown};
use super::{agent_process, each};
use crate::cli::Image;
use crate::client::{Client, segment};
use crate::failure::{Failure, Result, plain};
use crate::{output, render};

/// Size of a piece of an archive in bytes.
const PIECE: usize = 64 * 1024;
/// After how long it is said what is waited for.
const LONG: Duration = Duration::from_secs(3);
/// Pieces that wait on their way to the agent.
const QUEUE: usize = 8;

/// Lists, pulls, loads or removes.
pub(crate) async fn run(command: Image, layout: &Layout) -> Result {
    match command {
        Image::Ls { json } => list(&Client::connect(layout).await?, json).await,
        Image::Pull { images, json, timeout } => {
            let client = agent_process::connect_or_start(layout).await?;
            let shown = if json { Shown::Json } else { Shown::Progress };
            each(images, async |image| pull(&client, image, shown, timeout).await).await
        }
        Image::Load { file, json } => load(&agent_process::connect_or_start(layout).await?, &file, json).await,
        Image::Rm { images, json } => {
            let client = Client::connect(layout).await?;
            each(images, async |image| remove(&client, &image, json).await).await
        }
        Image::Prune { all, json } => {
            let client = Client::connect(layout).await?;
            let path = if all { "/images/prune?all=true" } else { "/images/prune" };
            let removed: ImagesRemoved = patiently(client.ask_at_length(&Method::POST, path)).await?;
            if json { output::json(&removed) } else { output::result(&render::removed(&removed)) }
        }
    }
}

/// Waits for an answer that has no progress to show; says so when it takes long.
async fn patiently<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let mut answer = std::pin::pin!(answer);
    if let Ok(answered) = tokio::time::timeout(LONG, answer.as_mut()).await {
        return answered;
    }
    output::say("waiting for Docker; ctrl-C ends the waiting, and Docker may still do it");
    answer.await
}

async fn list(client: &Client, json: bool) -> Result {
    let images: ImagesView = client.get("/images").await?;
    if json { output::json(&images) } else { output::result(&render::images(&images)) }
}

async fn pull(client: &Client, image: String, shown: Shown, timeout: Option<Duration>) -> Result {
    let body = PullImage { image: image.clone() };
    let accepted: Accepted = client.ask(&Method::POST, "/images/pull", Some(&body)).await?;
    let following = Following {
        client,
        title: format!("pull of image {image}"),
        shown,
        timeout,
        go_on: format!("go on with `netloom image pull {image}`"),
    };
    let ended = following.to_the_end(accepted.operation).await?;
    following.judge(&ended)
}

async fn remove(client: &Client, image: &str, json: bool) -> Result {
    let path = format!("/images/{}", segment(image));
    let removed: ImagesRemoved = patiently(client.ask_at_length(&Method::DELETE, &path)).await?;
    if json { output::json_line(&removed) } else { output::result(&render::removed(&removed)) }
}

async fn load(client: &Client, file: &Path, json: bool) -> Result {
    let (pieces, mut read) = read(file)?;
    let answer = patiently(client.load_images(pieces)).await;
    // An archive that could not be read is said before what came of its beginning. Who reads may still wait for more.
    if let Ok(Err(error)) = read.try_recv() {
        return Err(Failure::failed(format_args!("{}: {}", file.display(), plain(&error))));
    }
    let loaded: ImagesLoaded = answer?;
    if json {
        return output::json(&loaded);
    }
    let mut out = String::new();
    out.extend(loaded.loaded.iter().map(|name| format!("loaded {name}\n")));
    output::result(&out)
}

/// Pieces of an archive, and how the reading of it ended.
type Source = (mpsc::Receiver<Bytes>, oneshot::Receiver<io::Result<()>>);

/// A thread that reads an archive.
fn read(file: &Path) -> Result<Source> {
    let mut from: Box<dyn Read + Send> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let wrong = |error: io::Error| Failure::input(format_args!("{}: {}", file.display(), plain(&error)));
        let opened = File::open(file).map_err(wrong)?;
        if opened.metadata().map_err(wrong)?.is_dir() {
            return Err(Failure::input(format_args!(
                "{} is a directory; name an archive as `docker save` writes it",
                file.display()
            )));
        }
        Box::new(opened)
    };
    let (sender, pieces) = mpsc::channel(QUEUE);
    let (told, ended) = oneshot::channel();
    let copy = move || {
        let mut buffer = vec![0; PIECE];
        let end = loop {
            match from.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(n) => {
                    if sender.blocking_send(Bytes::copy_from_slice(&buffer[..n])).is_err() {
                        // Nobody takes any more, and says why.
                        break Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        // Before the end is seen it is known how it ended.
        let _ = told.send(end);
        drop(sender);
    };
    let thread = std::thread::Builder::new().name("archive".into()).spawn(copy);
    thread.map_err(|error| Failure::failed(format_args!("cannot start a thread: {}", plain(&error))))?;
    Ok((pieces, ended))
}
