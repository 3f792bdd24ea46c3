//! The loops that look at everything that a source sees, whatever its events said.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::driver::{Context, DriverError};
use crate::engine::Shared;
use crate::leftover;
use crate::task;

/// How long after a relist that failed the next one is tried; after each one more twice as long.
const RELIST_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long after a loss of events everything is looked at.
const RELIST_AFTER_LOSS: Duration = Duration::from_millis(200);

/// Starts a loop for each source, and for each thing of the host that nothing tells of.
pub(crate) fn start(shared: &Arc<Shared>) {
    for runtime in shared.runtimes.values() {
        let runtime = runtime.clone();
        again_and_again(shared, "relist runtime", move |_, _| {
            let runtime = runtime.clone();
            async move { runtime.relist().await }
        });
    }
    again_and_again(shared, "relist fabric", |shared, _| async move { shared.fabric.relist().await });
    if shared.fabric.switch().is_some() {
        again_and_again(shared, "relist switch", |shared, _| async move {
            match shared.fabric.switch() {
                Some(switch) => switch.relist().await,
                None => Ok(()),
            }
        });
    }
    again_and_again(shared, "relist host files", |shared, limit| async move { shared.host.tell(&limit).await });
    again_and_again(shared, "look for leftovers", |shared, _| leftover::watch(shared));
    again_and_again(shared, "relist networks", |shared, limit| async move {
        shared.host.admit_all(&shared.wishes, &limit).await
    });
}

/// A loop that is begun anew when it panics. A look gets what limits it.
fn again_and_again<F>(
    shared: &Arc<Shared>,
    name: &'static str,
    look: impl Fn(Arc<Shared>, Context) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Result<(), DriverError>> + Send + 'static,
{
    let shared = shared.clone();
    let look = move || {
        let (shared, look) = (shared.clone(), look.clone());
        relist(shared.clone(), name, move || {
            let deadline = (tokio::time::Instant::now() + shared.config.step_limit).into_std();
            look(shared.clone(), Context { deadline, cancel: CancellationToken::new() })
        })
    };
    task::restarted(name, look);
}

/// Looks at everything that one source sees: at the start, every [`Config::relist`], and soon after events were
/// lost. Each source has a loop of its own, so that one that hangs keeps no other from being looked at.
async fn relist<F>(shared: Arc<Shared>, name: &'static str, look: impl Fn() -> F)
where
    F: Future<Output = Result<(), DriverError>> + Send + 'static,
{
    // It owes nothing while it waits for a driver: a restart of the agent would not mend what hangs there.
    let mut lost = shared.inventory.lost();
    let mut failures = 0_u32;
    loop {
        lost.mark_unchanged();
        let limit = shared.config.step_limit;
        // A task of its own: a panic of a driver must not end this loop.
        let looked = task::own(name, look());
        let failed = match tokio::time::timeout(limit, looked).await {
            Ok(Ok(Ok(()))) => false,
            Ok(Err(panic)) => {
                tracing::error!(%panic, "{name} failed");
                true
            }
            Ok(Ok(Err(error))) => {
                tracing::warn!(%error, "{name} failed");
                true
            }
            Err(_) => {
                tracing::warn!(?limit, "{name} took too long");
                true
            }
        };
        failures = if failed { failures.saturating_add(1) } else { 0 };
        // 1, 2, 4 … s: what is not there at all is not asked for every second. Its driver says when it comes back.
        let doubled = RELIST_AFTER_FAILURE.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let again = if failed { doubled.min(shared.config.relist) } else { shared.config.relist };
        let wake = async {
            tokio::select! {
                () = tokio::time::sleep(again) => {}
                // What is lost may go on being lost: a pause keeps this from adding to the flood.
                Ok(()) = lost.changed() => {
                    failures = 0;
                    tokio::time::sleep(RELIST_AFTER_LOSS).await;
                }
            }
        };
        tokio::select! {
            () = wake => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}
