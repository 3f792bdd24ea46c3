//! What the agent says to a controller of its own accord: who it is, that it is there, and what became of the nodes of the
//! labs that the controller decides in. What a controller asks of the agent is not here.
//!
//! ```text
//!   wishes, snapshot ──▶ task `controller-watch` (sight: pure) ──▶ outbox ──▶ task `controller-outbox` ──┐
//!   thread `host-figures`, thread `disk-figures` ──last values──▶ task `controller` (session) ───────────┤
//!   thread `controller-id` ◀──the id that was assigned────────────┘                                     ▼
//!   thread `controller-name`: looks up the controller's name ──────────────▶ dial, call: one POST, one connection
//! ```
//!
//! Nothing here waits for a driver, a daemon or a disk, and nothing waits for what is here: a controller that is away, slow
//! or out of its mind disturbs nobody. The agent listens before it registers, since the answer to a registration is a burst
//! of requests.

mod address;
mod backoff;
mod call;
mod config;
mod deliver;
mod dial;
mod figures;
mod identity;
mod member;
mod outbox;
mod profile;
#[cfg(test)]
mod scene;
mod session;
mod sight;
#[cfg(test)]
mod tests;
mod told;
mod transport;
mod usage;
mod voice;

use std::sync::{Arc, Mutex, PoisonError};

use netloom_engine::{Engine, task};
use tokio::sync::broadcast::error::RecvError;

pub use config::{AgentId, ControllerConfig, ControllerSecret, ControllerUrl, Introduction, Unusable};
pub(crate) use member::Member;
pub(crate) use profile::AgentHealth;
pub(crate) use profile::{Capabilities, DeploymentMode};

use crate::serve::App;
use session::{Load, Session};
use sight::Sight;

/// What has to be known before anybody can ask for anything: which labs are there already.
pub(crate) struct Before(Sight);

impl Before {
    /// Now.
    pub(crate) fn of(engine: &Engine) -> Self {
        Self(Sight::begin(&engine.wishes().all()))
    }
}

/// Begins to speak with the controller, if there is one, until the agent stops. Requests have to be answered already.
pub(crate) fn start(app: &Arc<App>, before: Before) {
    let Some((member, caller)) = app.member.as_ref().and_then(|member| Some((member, member.caller()?))) else {
        return;
    };
    let before = Mutex::new(Some(before.0));
    let (of, about) = (app.clone(), member.clone());
    task::restarted("controller-watch", move || {
        let (app, member) = (of.clone(), about.clone());
        let begun = before.lock().unwrap_or_else(PoisonError::into_inner).take();
        // After a panic what is there now counts as told.
        let sight = begun.unwrap_or_else(|| Sight::begin(&app.engine.wishes().all()));
        async move { until_stopped(&app, watch(&app.engine, sight, &member)).await }
    });
    let (of, about, by) = (app.clone(), member.clone(), caller.clone());
    task::restarted("controller-outbox", move || {
        let (app, member, caller) = (of.clone(), about.clone(), by.clone());
        async move { until_stopped(&app, deliver::deliver(caller, member)).await }
    });
    let (of, about, by) = (app.clone(), member.clone(), caller.clone());
    task::restarted("controller", move || {
        let (app, member, caller) = (of.clone(), about.clone(), by.clone());
        async move {
            let (engine, about) = (app.engine.clone(), member.clone());
            let way_out = engine.way_out();
            let load = move || Load {
                active_jobs: engine.work().labs().len(),
                usage: about.usage(&engine),
                data_plane: *engine.data_plane().borrow(),
            };
            let capabilities = Capabilities::of(app.engine.sources());
            until_stopped(&app, Session::new(caller, member, capabilities, Box::new(load)).following(way_out).run())
                .await;
        }
    });
}

/// Begins to ask the controller, if there is one, what the transport of this host is to be.
pub(crate) fn fetch_transport(app: &Arc<App>) {
    let Some((member, caller)) = app.member.as_ref().and_then(|member| Some((member, member.caller()?))) else {
        return;
    };
    let (of, about, by) = (app.clone(), member.clone(), caller.clone());
    task::restarted("controller-transport", move || {
        let (app, member, caller) = (of.clone(), about.clone(), by.clone());
        async move {
            let engine = app.engine.clone();
            let take = move |transport, from| engine.transport_fetched(transport, from);
            until_stopped(&app, transport::fetch(caller, member, take)).await;
        }
    });
}

async fn until_stopped(app: &App, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = app.stop.cancelled() => {}
    }
}

/// Looks whenever the inventory or what is wanted may have changed. Never waits for the controller.
async fn watch(engine: &Engine, mut sight: Sight, member: &Member) {
    let mut changes = engine.inventory().changes();
    // What is wanted changes with an event.
    let (_, mut events) = engine.events().follow(engine.events().newest());
    loop {
        changes.borrow_and_update();
        while events.try_recv().is_ok() {}
        // In this order: what is wanted may be newer than what is seen, and is then looked at again.
        let snapshot = engine.inventory().snapshot();
        let told = sight.look(&engine.wishes().all(), &snapshot);
        for message in told.into_iter().filter(|message| !member.is_untold(message)) {
            member.outbox.put(message);
        }
        member.looked.send_replace(snapshot.version);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            event = events.recv() => if event == Err(RecvError::Closed) { return },
        }
    }
}
