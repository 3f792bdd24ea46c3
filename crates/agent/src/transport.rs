//! Has the transport of this host made when the agent starts: as the configuration says, else as it was asked for before, else
//! as the controller says. Everything listens and registers already, and nothing waits for this.

use std::sync::Arc;

use netloom_engine::{Origin, task};

use crate::controller;
use crate::serve::App;

/// Begins, in a task of its own.
pub(crate) fn start(app: &Arc<App>) {
    let app = app.clone();
    task::spawn("transport", async move {
        let begun = tokio::select! {
            begun = app.engine.begin_transport(app.config.transport.clone()) => begun,
            () = app.stop.cancelled() => return,
        };
        match begun {
            Some((Origin::Nowhere, _)) => controller::fetch_transport(&app),
            Some((Origin::Configured | Origin::Kept, _)) | None => {}
        }
    });
}
