//! Questions and edits that come while an agent which was just started still looks at its host for the first time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use netloom_engine::{Snapshot, Source};
use netloom_model::RuntimeKind;
use tokio::time::{Instant, timeout_at};

use crate::serve::App;

/// How long after the start they wait for that.
const LOOKS: Duration = Duration::from_secs(5);
/// What labs of controllers are made of.
const OF_LABS: [Source; 4] =
    [Source::Runtime(RuntimeKind::Docker), Source::Images(RuntimeKind::Docker), Source::Fabric, Source::Switch];

/// Lets a request wait until all was looked at once, or it is known of what was not that it cannot be; never longer than until a few
/// seconds after the start. An answer from half of what there is would say that the rest is gone.
pub(super) async fn looked(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let inventory = app.engine.inventory();
    // Images may take seconds to list, and what runs does not wait for that.
    let is_of_images = request.method() == Method::POST || request.uri().path().starts_with("/images");
    let is_seen = || is_looked_at(&app, &inventory.snapshot(), is_of_images);
    if !is_seen() {
        let mut changes = inventory.changes();
        let looking = async { while !is_seen() && changes.changed().await.is_ok() {} };
        let _ = timeout_at(Instant::from_std(app.health.began) + LOOKS, looking).await;
    }
    next.run(request).await
}

fn is_looked_at(app: &App, snapshot: &Snapshot, is_of_images: bool) -> bool {
    let is_known = |source: &Source| match source {
        Source::Images(runtime) => is_of_images && app.engine.sources().contains(&Source::Runtime(*runtime)),
        source => app.engine.sources().contains(source),
    };
    OF_LABS
        .iter()
        .filter(|source| is_known(source))
        .all(|source| snapshot.sources.get(source).is_some_and(|state| state.listed.is_some() || state.error.is_some()))
}
