//! `POST /debug/block?seconds=N`: blocks every thread of the main runtime, so that a test can see whether anybody notices.
//!
//! Only in builds with the feature `failpoints`. A thread of a driver is blocked by a fail point with the action
//! `block:<file>`, for example `links.before-batch:1+=block:<file>` (see `crates/failpoint`).

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use netloom_engine::task;
use serde::Deserialize;
use tokio::runtime::Handle;

use crate::problem::Params;

/// The longest block: a mistake of a test must not leave an agent that never answers.
const LONGEST: u64 = 600;
/// How long the answer has to get out before nothing gets out any more.
const ANSWERED: Duration = Duration::from_millis(100);
/// Tasks for each thread: one that is given none has to find one that was given to another.
const TASKS: usize = 4;

/// The query of `POST /debug/block`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockQuery {
    seconds: u64,
}

/// `POST /debug/block`: 202; all threads of the main runtime are blocked a moment later, for so many seconds.
pub(super) async fn block(Params(query): Params<BlockQuery>) -> Response {
    let blocked = Duration::from_secs(query.seconds.min(LONGEST));
    task::spawn("block", async move {
        tokio::time::sleep(ANSWERED).await;
        let until = Instant::now() + blocked;
        for _ in 0..Handle::current().metrics().num_workers() * TASKS {
            task::spawn("block", async move { block_until(until) });
        }
    });
    StatusCode::ACCEPTED.into_response()
}

fn block_until(until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    #[expect(clippy::disallowed_methods, reason = "a thread is blocked here on purpose")]
    std::thread::sleep(left);
}
