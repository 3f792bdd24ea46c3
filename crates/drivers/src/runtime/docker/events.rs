//! What happens at the daemon, heard as it happens; and whether the daemon answers at all.
//!
//! ```text
//!   events (one long answer) ──┐                    ┌──▶ docker-images: lists them
//!   a question every five ─────┴─▶ docker-events ──▶ one task a node that something happened to: inspects its
//!   seconds of silence                │               container in turn, gives it its links, reports
//!                                     └─▶ Reporter: unreachable, lost (everything is listed again)
//! ```
//!
//! A daemon that is silent is asked; one that does not answer is said to be unreachable, and what is known of its nodes
//! stays as it was, with its age. When it answers again everything is listed once. One that answers, but whose events do
//! not come (a list shows what they should have told, see [`super::list`]), is listened to anew.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use netloom_docker::{Docker, Error, ErrorKind, Event, Events, Filters};
use netloom_engine::{Layout, Report, task};
use netloom_kernel::Process;

use super::super::turns::Key;
use super::doorway::Doorway;
use super::mark::INSTANCE;
use super::observe::Known;
use super::{PATIENCE, SOURCE, Shared};

/// How long a daemon may say nothing before it is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(5);
/// How long it may take to answer that, and to begin its events.
const ANSWER: Duration = Duration::from_secs(3);
/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The same where nobody listens: there may be no daemon on this host, and one that comes is noticed.
const LOOK_OUT: Duration = Duration::from_secs(60);
/// The same where the place of its socket cannot be watched.
const LOOK_OUT_BLIND: Duration = Duration::from_secs(5);
/// How long an event may take to come after a list has shown what it tells.
const OVERDUE: Duration = Duration::from_secs(2);
/// How long a daemon takes from making its socket to listening on it.
const OPENS: Duration = Duration::from_millis(100);

/// What is heard of containers.
const HEARD: [&str; 10] =
    ["create", "start", "die", "destroy", "pause", "unpause", "oom", "rename", "update", "health_status"];

/// What is to be doubted of a node after an event; the later ones cover those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// Whether it is there: one that we know of is.
    WhetherThere,
    /// Whether it runs: the call that started it has looked at it.
    WhetherRunning,
    /// Everything that is known of it. Of a node that is not known there is nothing to doubt: it was removed.
    Everything,
}

/// What is listened to. Images carry no label of ours, so one filter does not fit both.
struct Streams {
    containers: Events,
    images: Events,
}

impl Streams {
    async fn open(docker: &Docker) -> Result<Self, Error> {
        let deadline = Instant::now() + ANSWER;
        // Those of others too, which may be nodes of kind `ext-container`; but not each command that is run in one.
        let heard = HEARD.into_iter().fold(Filters::new().with("type", "container"), |all, one| all.with("event", one));
        let containers = docker.events(&heard, None, deadline).await?;
        let images = docker.events(&Filters::new().with("type", "image"), None, deadline).await?;
        Ok(Self { containers, images })
    }

    /// The next event; why there is none any more. Cancel-safe.
    async fn next(&mut self) -> Result<Event, String> {
        let event = tokio::select! {
            event = self.containers.next() => event,
            event = self.images.next() => event,
        };
        match event {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(error.kind.to_string()),
            None => Err("the Docker daemon ended its events".into()),
        }
    }

    fn heard(&self) -> Instant {
        self.containers.heard().max(self.images.heard())
    }
}

/// Listens until the runtime is dropped.
pub(super) async fn listen(runtime: Weak<Shared>) {
    let Some(doubted) = runtime.upgrade().map(|shared| shared.images_doubted.clone()) else { return };
    listen_until_dropped(&runtime).await;
    // Who lists images ends too.
    doubted.notify_one();
}

/// Why events are not taken any more.
enum End {
    /// The runtime is dropped.
    Dropped,
    /// They ended, or the daemon does not answer; what it said.
    Failed(String),
    /// The daemon answers, and they do not come.
    Deaf,
}

/// How long to wait after a failure.
enum Pause {
    /// It is there, or was a moment ago.
    Moment,
    /// Until it may be there.
    Absent(Option<Doorway>),
}

async fn listen_until_dropped(runtime: &Weak<Shared>) {
    loop {
        let Some(docker) = runtime.upgrade().map(|shared| shared.docker.clone()) else { return };
        // Before it is tried, so that nothing falls between.
        let doorway = doorway(runtime).await;
        let (why, pause) = match Streams::open(&docker).await {
            Ok(events) => {
                drop(doorway);
                // What happened before was not heard.
                let Some(shared) = runtime.upgrade() else { return };
                shared.reporter.send(Report::Lost(SOURCE));
                shared.doubt_images();
                drop(shared);
                match follow(runtime, &docker, events).await {
                    End::Dropped => return,
                    End::Failed(why) => (why, Pause::Moment),
                    End::Deaf => {
                        tracing::warn!(
                            "Docker's events do not come, though the daemon answers; they are asked for anew"
                        );
                        continue;
                    }
                }
            }
            Err(error) if nobody_listens(&error.kind) => (error.kind.to_string(), Pause::Absent(doorway)),
            Err(error) => (error.kind.to_string(), Pause::Moment),
        };
        let Some(shared) = runtime.upgrade() else { return };
        shared.images_unreachable(&why);
        shared.reporter.send(Report::Unreachable(SOURCE, why));
        drop(shared);
        match pause {
            Pause::Moment => tokio::time::sleep(RETRY).await,
            Pause::Absent(doorway) => look_out(doorway).await,
        }
    }
}

/// Where the socket is or will be, if that can be watched.
async fn doorway(runtime: &Weak<Shared>) -> Option<Doorway> {
    let shared = runtime.upgrade()?;
    let socket = shared.socket.clone()?;
    shared.files(Instant::now() + PATIENCE, move |_: &Layout| Doorway::of(&socket)).await.ok()?.ok()
}

/// Whether it takes another socket, or another owner of it, for a daemon to answer. One that is there and says nothing,
/// or nonsense, is not meant.
fn nobody_listens(why: &ErrorKind) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    matches!(why, ErrorKind::Unreachable(error)
        if matches!(error.kind(), NotFound | ConnectionRefused | PermissionDenied))
}

/// Waits until there may be a daemon where nobody listened.
async fn look_out(doorway: Option<Doorway>) {
    let Some(doorway) = doorway else { return tokio::time::sleep(LOOK_OUT_BLIND).await };
    match tokio::time::timeout(LOOK_OUT, doorway.used()).await {
        Ok(Ok(())) => tokio::time::sleep(OPENS).await,
        Ok(Err(_)) => tokio::time::sleep(LOOK_OUT_BLIND).await,
        Err(_) => {}
    }
}

/// Takes events until there are no more, and says why.
async fn follow(runtime: &Weak<Shared>, docker: &Docker, mut events: Streams) -> End {
    let Some(mut missed) = runtime.upgrade().map(|shared| shared.missed.subscribe()) else { return End::Dropped };
    let mut answered = Instant::now();
    // When something is overdue, and when anything was heard before.
    let mut overdue: Option<(Instant, Instant)> = None;
    loop {
        let silent = answered.max(events.heard()) + SILENCE;
        let next = overdue.map_or(silent, |(due, _)| due.min(silent));
        tokio::select! {
            event = events.next() => match (runtime.upgrade(), event) {
                (None, _) => return End::Dropped,
                (Some(shared), Ok(event)) => shared.happened(&event),
                (_, Err(why)) => return End::Failed(why),
            },
            Ok(()) = missed.changed() => {
                overdue = overdue.or_else(|| Some((Instant::now() + OVERDUE, events.containers.heard())));
            }
            () = tokio::time::sleep_until(next.into()) => {
                if runtime.strong_count() == 0 {
                    return End::Dropped;
                }
                if let Some((_, before)) = overdue.take_if(|(due, _)| *due <= Instant::now()) {
                    // Whatever was heard since tells that events come, and that this one was only late.
                    if events.containers.heard() == before {
                        return End::Deaf;
                    }
                    continue;
                }
                if let Err(error) = docker.version(Instant::now() + ANSWER).await {
                    return End::Failed(error.kind.to_string());
                }
                answered = Instant::now();
            }
        }
    }
}

impl Shared {
    /// The containers of this instance.
    pub(super) fn ours(&self) -> Filters {
        Filters::new().label(format!("{INSTANCE}={}", self.layout.instance()))
    }

    fn happened(self: &Arc<Self>, event: &Event) {
        if event.kind == "image" {
            if ["pull", "load", "import", "tag", "untag", "delete"].contains(&event.action.as_str()) {
                self.doubt_images();
            }
            return;
        }
        if event.action == "start" {
            let name = event.actor.attributes.get("name").map_or("", String::as_str);
            for key in self.sharers_of(name) {
                self.doubt(key, event.actor.id.clone(), Doubt::Everything);
            }
        }
        let Some(mark) = self.mark_of(&event.actor.id, &event.actor.attributes) else {
            let name = event.actor.attributes.get("name").map_or("", String::as_str);
            for key in self.externals_named(name) {
                self.doubt(key, event.actor.id.clone(), Doubt::Everything);
            }
            return;
        };
        // `health_status: healthy`
        let doubt = match event.action.split(':').next().unwrap_or_default() {
            "create" => Doubt::WhetherThere,
            "start" => Doubt::WhetherRunning,
            "die" | "destroy" | "pause" | "unpause" | "oom" | "rename" | "update" | "health_status" => {
                Doubt::Everything
            }
            _ => return,
        };
        self.doubt((mark.lab, mark.node), event.actor.id.clone(), doubt);
    }

    /// Looks at a node to which something happened, once for all that happens before it is looked at.
    fn doubt(self: &Arc<Self>, key: Key, id: String, doubt: Doubt) {
        let before = {
            let mut doubted = self.doubted();
            let before = doubted.get(&key).copied();
            doubted.insert(key.clone(), before.map_or(doubt, |before| before.max(doubt)));
            before
        };
        if before.is_some() {
            return;
        }
        let shared = Arc::clone(self);
        task::spawn(format!("look at {}/{}", key.0, key.1), async move {
            let place = shared.turns.place(&key);
            let _turn = place.turn.lock().await;
            let doubt = shared.doubted().remove(&key).unwrap_or(doubt);
            let known = shared.known(&key);
            let is_known = match (&known, doubt) {
                (None, doubt) => doubt == Doubt::Everything,
                (Some(known), Doubt::WhetherThere) => known.id == id,
                (Some(known), Doubt::WhetherRunning) => known.id == id && shared.lives(known).await,
                (Some(_), Doubt::Everything) => false,
            };
            if is_known {
                return;
            }
            // The name may have passed to another container by now.
            let id = known.map_or(id, |known| known.id);
            if let Err(fault) = shared.look(&key, &id, Instant::now() + PATIENCE).await {
                tracing::warn!(lab = %key.0, node = %key.1, %fault, "a node to which something happened cannot be looked at");
                shared.reporter.send(Report::Lost(SOURCE));
            }
        });
    }

    /// Whether the process of a container that was seen running lives: that needs no daemon.
    pub(super) async fn lives(self: &Arc<Self>, known: &Known) -> bool {
        let Some(identity) = known.process else { return false };
        let find = move |_: &Layout| Process::find(identity).ok().flatten().is_some_and(|process| process.is_alive());
        self.files(Instant::now() + PATIENCE, find).await.unwrap_or(false)
    }
}
