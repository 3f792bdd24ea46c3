//! Questions and edits that come while an agent which was just started still looks at its host for the first time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use netloom_engine::{Engine, Snapshot, Source};
use netloom_model::RuntimeKind;
use tokio::time::{Instant, timeout_at};

use crate::serve::App;

/// How long after the start they wait for that.
const LOOKS: Duration = Duration::from_secs(5);
/// How long the question for all images waits for the first list of them, of the 30 s that a controller waits.
const ALL_IMAGES: Duration = Duration::from_secs(24);
/// Likewise that for one, of 10 s.
const ONE_IMAGE: Duration = Duration::from_secs(8);
/// What labs of controllers are made of.
const OF_LABS: [Source; 4] =
    [Source::Runtime(RuntimeKind::Docker), Source::Images(RuntimeKind::Docker), Source::Fabric, Source::Switch];

/// Lets a request wait until all was looked at once, or it is known of what was not that it cannot be; never longer than until a few
/// seconds after the start. An answer from half of what there is would say that the rest is gone.
///
/// Questions for images wait for the first list of them by themselves: a controller takes each that is not shown for missing, and a
/// daemon that is busy takes longer.
pub(super) async fn looked(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (engine, came) = (&app.engine, Instant::now());
    let (method, path) = (request.method(), request.uri().path());
    let asks_for_images = for_images(method, path);
    // Images may take seconds to list, and what runs does not wait for that.
    let is_of_images = method == Method::POST || method == Method::DELETE && path.starts_with("/images");
    let is_seen = || is_looked_at(engine, &engine.inventory().snapshot(), is_of_images);
    until(engine, Instant::from_std(app.health.began) + LOOKS, is_seen).await;
    if let Some(within) = asks_for_images {
        until(engine, came + within, || engine.images_unlisted().is_none()).await;
    }
    next.run(request).await
}

/// How long a request waits that is a question for images.
fn for_images(method: &Method, path: &str) -> Option<Duration> {
    let rest = path.strip_prefix("/images").filter(|_| method == Method::GET)?;
    let is_of_transfers = rest == "/active-transfers" || rest.starts_with("/pull/") && rest.ends_with("/progress");
    match rest {
        "" => Some(ALL_IMAGES),
        _ if is_of_transfers || !rest.starts_with('/') => None,
        _ => Some(ONE_IMAGE),
    }
}

async fn until(engine: &Engine, by: Instant, is_so: impl Fn() -> bool) {
    if !is_so() {
        let mut changes = engine.inventory().changes();
        let looking = async { while !is_so() && changes.changed().await.is_ok() {} };
        let _ = timeout_at(by, looking).await;
    }
}

fn is_looked_at(engine: &Engine, snapshot: &Snapshot, is_of_images: bool) -> bool {
    let is_known = |source: &Source| match source {
        Source::Images(runtime) => is_of_images && engine.sources().contains(&Source::Runtime(*runtime)),
        source => engine.sources().contains(source),
    };
    OF_LABS
        .iter()
        .filter(|source| is_known(source))
        .all(|source| snapshot.sources.get(source).is_some_and(|state| state.listed.is_some() || state.error.is_some()))
}

#[cfg(test)]
mod tests {
    use netloom_engine::testing::{FakeStore, World};
    use netloom_engine::{Layout, channel};

    use super::*;

    #[test]
    fn who_asks_for_images_waits_for_a_list_of_them_and_who_asks_for_transfers_does_not() {
        let get = |path| for_images(&Method::GET, path).map(|within| within.as_secs());
        assert_eq!((get("/images"), get("/images/frr%3A1"), get("/images/pull/frr:1")), (Some(24), Some(8), Some(8)));
        for other in ["/images/active-transfers", "/images/pull/j1/progress", "/labs/images/status", "/imagesque"] {
            assert_eq!(get(other), None, "{other}");
        }
        assert_eq!(for_images(&Method::POST, "/images/receive"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_comes_late_is_waited_for_and_one_that_never_comes_is_no_empty_one() {
        let root = tempfile::tempdir().unwrap();
        let (reporter, inventory, writer) = channel();
        let (world, store) = (World::new(reporter), FakeStore::default());
        world.add_runtime(RuntimeKind::Docker);
        let images = Source::Images(RuntimeKind::Docker);
        world.make_unreachable(images, "it hangs");
        world.set_images(&["frr:1"], &[]);
        let parts = world.parts(Layout::new(root.path()).unwrap(), &store, inventory, writer);
        let engine = Engine::start(parts).await.unwrap();
        let waits = async |within| {
            let began = Instant::now();
            until(&engine, began + within, || engine.images_unlisted().is_none()).await;
            began.elapsed()
        };
        assert_eq!(waits(ALL_IMAGES).await, ALL_IMAGES);
        let why = engine.images_unlisted().unwrap();
        assert!(why.contains("cannot be looked at: it hangs"), "{why}");
        let late = Duration::from_secs(6);
        let comes = async {
            tokio::time::sleep(late).await;
            world.calm();
            world.set_images(&["frr:1"], &[]);
        };
        assert_eq!(tokio::join!(waits(ONE_IMAGE), comes).0, late);
        // Once they were listed, they are known, if not as they are now.
        world.make_unreachable(images, "it hangs again");
        world.set_images(&["frr:1"], &[]);
        assert_eq!((waits(ALL_IMAGES).await, engine.images_unlisted()), (Duration::ZERO, None));
    }
}
