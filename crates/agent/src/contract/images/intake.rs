//! An archive of images on its way into the runtime, checked while it passes.
//!
//! What a runtime was given to its end it keeps. So the end is held back until the whole is known to be what was announced:
//! an archive that is another one stays without its end, and is not loaded.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use netloom_engine::{Delivered, Engine, ImageLoad, is_same_image};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::is_file;
use super::transfers::{Job, Status};

/// So much is held back at least, in bytes, if there is so much: more than what tar puts behind the last file.
const HELD: usize = 64 * 1024;
/// How long the runtime may take for one piece.
const PIECE: Duration = Duration::from_secs(60);
/// How long it may take from the end of the archive until all is loaded.
const LOADED: Duration = Duration::from_secs(600);
/// How long it may take until what was loaded is seen: a daemon that is busy is slow to list images, and what is loaded is there.
const SEEN: Duration = Duration::from_secs(60);

/// What a controller says of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) reference: Option<String>,
    pub(super) device: Option<String>,
    /// In hexadecimal digits.
    pub(super) sha256: Option<String>,
}

/// An archive under way.
pub(super) struct Intake {
    load: ImageLoad,
    _place: OwnedSemaphorePermit,
    hash: Sha256,
    held: VecDeque<Bytes>,
    held_bytes: usize,
    /// The runtime takes no more: it has said its word.
    is_over: bool,
}

impl Intake {
    pub(super) async fn begin(engine: &Engine, announced: &Announced) -> Result<Self, String> {
        if let Some(reference) = announced.reference.as_deref().filter(|reference| is_file(reference)) {
            return Err(format!("{reference} is a file for virtual machines; this host runs none"));
        }
        let (load, place) = engine.load_images().await.map_err(|refusal| refusal.to_string())?;
        let held = VecDeque::new();
        Ok(Self { load, _place: place, hash: Sha256::new(), held, held_bytes: 0, is_over: false })
    }

    /// Takes the next piece.
    pub(super) async fn take(&mut self, piece: Bytes, job: &Job) -> Result<(), String> {
        job.more(piece.len());
        self.hash.update(&piece);
        self.held_bytes += piece.len();
        self.held.push_back(piece);
        while let Some(oldest) = self.held.front().map(Bytes::len)
            && self.held_bytes - oldest >= HELD
        {
            self.give().await?;
        }
        Ok(())
    }

    /// Gives the oldest piece on.
    async fn give(&mut self) -> Result<(), String> {
        let Some(piece) = self.held.pop_front() else { return Ok(()) };
        self.held_bytes -= piece.len();
        if !self.is_over {
            let given = timeout(PIECE, self.load.pieces.send(piece)).await;
            self.is_over = given.map_err(|_| "the runtime does not take the archive".to_owned())?.is_err();
        }
        Ok(())
    }

    /// Gives the end on, if all is as announced, and notes what was loaded. The names of that.
    pub(super) async fn finish(
        mut self,
        engine: &Engine,
        announced: &Announced,
        job: &Job,
    ) -> Result<Vec<String>, String> {
        let sha256 = self.hash.finalize_reset().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let wanted = announced.sha256.as_deref().map(|wanted| wanted.strip_prefix("sha256:").unwrap_or(wanted));
        if let Some(wanted) = wanted.filter(|wanted| !wanted.eq_ignore_ascii_case(&sha256)) {
            let ImageLoad { pieces, done } = self.load;
            // In this order: without a reader of its word the runtime breaks off, before it could take this for the end.
            drop(done);
            drop(pieces);
            return Err(format!("the archive is not what was announced: its SHA-256 is {sha256}, not {wanted}"));
        }
        job.is(Status::Loading);
        while !self.held.is_empty() {
            self.give().await?;
        }
        let ImageLoad { pieces, done } = self.load;
        drop(pieces);
        let loaded =
            timeout(LOADED, done).await.map_err(|_| "the runtime does not say what it has loaded".to_owned())?;
        let loaded = loaded.map_err(|_| "the runtime broke off; the node's daemon may have gone".to_owned())?;
        let loaded = loaded.map_err(|error| error.to_string())?;
        note(engine, announced, &loaded, sha256).await?;
        Ok(loaded)
    }
}

/// Notes what a controller has delivered.
async fn note(engine: &Engine, announced: &Announced, loaded: &[String], sha256: String) -> Result<(), String> {
    for reference in loaded {
        let image = seen(engine, reference).await?;
        let delivered = Delivered {
            reference: reference.clone(),
            id: image,
            device: announced.device.clone(),
            sha256: Some(sha256.clone()),
            at: SystemTime::now(),
        };
        engine.note_delivered(&delivered).await.map_err(|refusal| refusal.to_string())?;
    }
    match &announced.reference {
        Some(wanted) if !loaded.iter().any(|name| is_same_image(name, wanted)) && engine.image(wanted).is_err() => {
            Err(format!("the archive has {}, and nothing that is called {wanted}", loaded.join(", ")))
        }
        _ => Ok(()),
    }
}

/// The id of an image that was just loaded, once it is seen.
async fn seen(engine: &Engine, reference: &str) -> Result<String, String> {
    let mut changes = engine.inventory().changes();
    let there = changes.wait_for(|_| engine.image(reference).is_ok());
    let _ = timeout(SEEN, there).await;
    engine.image(reference).map(|view| view.image.id).map_err(|refusal| refusal.to_string())
}

#[cfg(test)]
mod tests {
    use netloom_engine::testing::{FakeStore, World};
    use netloom_engine::{Layout, Source, channel};
    use netloom_model::RuntimeKind;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_loaded_is_waited_for_as_long_as_a_busy_daemon_takes_to_list_it() {
        let root = tempfile::tempdir().unwrap();
        let (reporter, inventory, writer) = channel();
        let (world, store) = (World::new(reporter), FakeStore::default());
        world.add_runtime(RuntimeKind::Docker);
        world.set_images(&["old:1"], &[]);
        let parts = world.parts(Layout::new(root.path()).unwrap(), &store, inventory, writer);
        let engine = Engine::start(parts).await.unwrap();
        engine.inventory().changes().wait_for(|_| engine.image("old:1").is_ok()).await.unwrap();
        world.make_unreachable(Source::Images(RuntimeKind::Docker), "it is busy");
        world.set_images(&["old:1", "new:1"], &[]);
        let listed = async {
            sleep(Duration::from_secs(50)).await;
            world.calm();
            world.set_images(&["old:1", "new:1"], &[]);
        };
        let (id, ()) = tokio::join!(seen(&engine, "new:1"), listed);
        assert_eq!(id, engine.image("new:1").map(|view| view.image.id).map_err(|refusal| refusal.to_string()));
        assert!(id.is_ok());
        let began = Instant::now();
        assert!(seen(&engine, "never:1").await.unwrap_err().contains("never:1"));
        assert_eq!(began.elapsed(), SEEN);
    }
}
