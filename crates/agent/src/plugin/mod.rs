//! The network plugin of the agent that was on this host before: answered as long as containers or networks of Docker's hang on
//! it, so that the daemon does not stall on a socket that nobody answers, at its own start least of all. What it has made may be
//! taken down by it; nothing new is made by it: nodes of ours are wired otherwise.
//!
//! ```text
//!   Predecessor::hung ──watch──▶ task `network plugin` ──▶ socket: taken while something hangs on it, if nobody else answers
//!                                       ▲    │
//!   /var/lib/netloom/network-plugin ────┘    └──▶ at most 16 connections, each a task ──▶ protocol: answers, keeps nothing
//! ```
//!
//! After a boot the daemon asks before it answers us. So a file says that something hung on it when it was last seen.

mod protocol;
mod socket;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use netloom_engine::{Layout, task};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::serve::App;
use socket::Socket;

/// Where Docker looks for the plugin, below the root.
const SOCKET: &str = "run/docker/plugins/archetype-ovs.sock";
/// Connections at once: the daemon alone has any.
const CONNECTIONS: usize = 16;
/// How long a request may take to come.
const HEAD: Duration = Duration::from_secs(10);
/// How often a socket that somebody else answers, or that could not be taken, is looked at again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Begins, where a predecessor is looked for.
pub(crate) fn start(app: &Arc<App>) {
    let Some(hung) = app.engine.hung_on_predecessor() else { return };
    let keeper = Keeper { path: app.engine.layout().root().join(SOCKET), note: note(app.engine.layout()), hung };
    let stop = app.stop.clone();
    task::restarted("network plugin", move || keeper.clone().keep(stop.clone()));
}

fn note(layout: &Layout) -> PathBuf {
    layout.state().join("network-plugin")
}

/// What sees to it that the socket is there while it is needed.
#[derive(Debug, Clone)]
struct Keeper {
    path: PathBuf,
    /// The file that is there as long as something hung on the plugin when it was last seen.
    note: PathBuf,
    hung: watch::Receiver<Option<bool>>,
}

impl Keeper {
    async fn keep(mut self, stop: CancellationToken) {
        let mut needed = socket::is_noted(&self.note).await;
        loop {
            let seen = *self.hung.borrow_and_update();
            if let Some(seen) = seen.filter(|seen| *seen != needed) {
                needed = seen;
                if let Err(error) = socket::set_noted(&self.note, needed).await {
                    tracing::warn!(%error, "whether the network plugin is needed cannot be noted");
                }
            }
            let changed = if needed { self.answer(&stop).await } else { self.changed(&stop).await };
            if !changed {
                return;
            }
        }
    }

    /// Waits until something else is known. False: the agent stops.
    async fn changed(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            changed = self.hung.changed() => changed.is_ok(),
            () = stop.cancelled() => false,
        }
    }

    /// Waits until nothing hangs on it any more. False: the agent stops.
    async fn free(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            free = self.hung.wait_for(|hung| *hung == Some(false)) => free.is_ok(),
            () = stop.cancelled() => false,
        }
    }

    /// Answers the socket as long as anything hangs on it.
    async fn answer(&mut self, stop: &CancellationToken) -> bool {
        let socket = match Socket::take(&self.path).await {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(socket = %self.path.display(), %error, "the network plugin is not answered here");
                return tokio::select! {
                    free = self.free(stop) => free,
                    () = tokio::time::sleep(AGAIN) => true,
                };
            }
        };
        tracing::info!(socket = %self.path.display(), "the network plugin of another agent is answered");
        let goes_on = tokio::select! {
            free = self.free(stop) => free,
            () = accept(socket.listener(), stop) => true,
        };
        socket.leave().await;
        tracing::info!(socket = %self.path.display(), "the network plugin of another agent is not answered any more");
        goes_on
    }
}

async fn accept(listener: &UnixListener, stop: &CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let stop = stop.clone();
                task::spawn("network plugin connection", async move {
                    connection::serve(stream, None, protocol::router(), HEAD, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the network plugin cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(root: &std::path::Path) -> (watch::Sender<Option<bool>>, Keeper) {
        let (says, hung) = watch::channel(None);
        (says, Keeper { path: root.join("plugins/x.sock"), note: root.join("note"), hung })
    }

    async fn until(so: impl Fn() -> bool) {
        let wait = async {
            while !so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it comes to be so");
    }

    #[tokio::test]
    async fn the_socket_is_there_while_something_hangs_on_it_and_after_a_boot_before_that_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let (says, keeper) = keeper(root.path());
        let path = keeper.path.clone();
        let stop = CancellationToken::new();
        let life = task::spawn("first", keeper.clone().keep(stop.clone()));
        says.send_replace(Some(true));
        until(|| path.exists()).await;
        stop.cancel();
        life.await.unwrap();
        assert!(!path.exists() && keeper.note.exists());
        // Nothing is seen yet in the next life.
        says.send_replace(None);
        let stop = CancellationToken::new();
        let life = task::spawn("second", keeper.clone().keep(stop.clone()));
        until(|| path.exists()).await;
        says.send_replace(Some(false));
        until(|| !path.exists() && !keeper.note.exists()).await;
        stop.cancel();
        life.await.unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_another_process_answers_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let (says, keeper) = keeper(root.path());
        std::fs::create_dir_all(root.path().join("plugins")).unwrap();
        let other = UnixListener::bind(&keeper.path).unwrap();
        assert!(Socket::take(&keeper.path).await.is_err());
        drop(other);
        // It has ended, and its file is still there.
        says.send_replace(Some(true));
        let stop = CancellationToken::new();
        let life = task::spawn("keeper", keeper.clone().keep(stop.clone()));
        let path = keeper.path.clone();
        until(|| std::os::unix::net::UnixStream::connect(&path).is_ok()).await;
        // What somebody put in its place is not ours to remove.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        stop.cancel();
        life.await.unwrap();
        assert!(path.exists());
    }
}
