//! Edits of labs on behalf of the controller, carried out while it waits. The deadline is shorter than the controller's, so that
//! the answer is ours; what is not done by then, or cannot be, is taken back before the answer.

use std::sync::Arc;
use std::time::Duration;

use netloom_engine::{
    Authority, Controlled, ControlledEdit, Engine, Operation, OperationState, Phase, Refusal, Wish, task,
};
use netloom_model::{LabName, NodeName};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::serve::App;

/// What is wanted of a lab of the controller, if it is one.
pub(super) fn wish(app: &App, lab: &LabName) -> Option<Arc<Wish>> {
    wish_of(&app.engine, lab)
}

fn wish_of(engine: &Engine, lab: &LabName) -> Option<Arc<Wish>> {
    engine.wishes().get(lab).filter(|wish| wish.authority == Authority::controller())
}

/// All labs of the controller.
pub(super) fn wishes(app: &App) -> Vec<Arc<Wish>> {
    app.engine.wishes().all().values().filter(|wish| wish.authority == Authority::controller()).cloned().collect()
}

/// The name of a node's container, whether it is there or not.
pub(super) fn container_name(lab: &LabName, node: &NodeName) -> String {
    netloom_model::controlled_container(lab, node)
}

/// Nodes go that the controller has elsewhere, or not any more: see [`crate::controller::Member::leave_untold`].
pub(super) fn leave_untold(app: &App, lab: &LabName, nodes: impl IntoIterator<Item = NodeName>) {
    if let Some(member) = &app.member {
        member.leave_untold(lab, nodes);
    }
}

/// Which part of the time of an edit is kept for taking it back.
const TAKING_BACK: u32 = 12;

/// What becomes of an edit that fails, or is not made true in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// It is taken back.
    Ends,
    /// It goes on: a repeat joins it.
    GoesOn,
}

/// Has an edit of nodes made true, as [`carry_out`], and the controller told what has become of them.
pub(super) async fn carry_out_and_tell(
    app: &App,
    lab: &LabName,
    edit: Controlled,
    within: Duration,
    late: Late,
) -> Result<(), String> {
    carry_out(app, lab, edit, within, late).await?;
    if let Some(member) = &app.member {
        member.has_told(lab, app.engine.inventory()).await;
    }
    Ok(())
}

/// Has an edit made true; why it is not, in one text. The answer is there within this time: with all that comes before the
/// edit is accepted, and with the taking back.
pub(super) async fn carry_out(
    app: &App,
    lab: &LabName,
    edit: Controlled,
    within: Duration,
    late: Late,
) -> Result<(), String> {
    let (engine, lab) = (app.engine.clone(), lab.clone());
    // A client that hangs up cancels nothing, nor keeps what failed from being taken back.
    let work = async move { carry_out_on(&engine, &lab, edit, within, late).await };
    let ended = task::spawn("edit of a controller", app.tasks.track_future(work)).await;
    ended.unwrap_or_else(|_| Err("the edit broke off; the agent's log says why".to_owned()))
}

pub(super) async fn carry_out_on(
    engine: &Engine,
    lab: &LabName,
    edit: Controlled,
    within: Duration,
    late: Late,
) -> Result<(), String> {
    let answered = Instant::now() + within;
    let by = match late {
        Late::Ends => answered - within / TAKING_BACK,
        Late::GoesOn => answered,
    };
    // Of a lab that goes nothing is given back.
    let before = engine.wishes().get(lab).filter(|wish| wish.phase != Phase::Destroy);
    let mut accepting = asked(engine, lab, edit.clone(), by);
    let (why, accepting) = match timeout_at(by, &mut accepting).await {
        Ok(Ok(Ok(operation))) => match settled(&operation, by, within).await {
            Ok(()) => return Ok(()),
            Err(why) => (why, None),
        },
        Ok(Ok(Err(refusal))) => return Err(refusal.to_string()),
        Ok(Err(_panicked)) => return Err(Refusal::Stopping.to_string()),
        Err(_) => (not_done(within), Some(accepting)),
    };
    if late == Late::Ends {
        let (engine, lab) = (engine.clone(), lab.clone());
        let back = Controlled::TakeBack { before, edit: Box::new(edit) };
        let taking_back = task::spawn("take back", async move {
            // What is accepted too late is taken back all the same; what is refused has changed nothing.
            if let Some(accepting) = accepting
                && !matches!(accepting.await, Ok(Ok(_)))
            {
                return;
            }
            if let Ok(Err(refusal)) = asked(&engine, &lab, back, by).await {
                tracing::warn!(%lab, %refusal, "what the controller was told has failed could not be taken back");
            }
        });
        let _ = timeout_at(answered, taking_back).await;
    }
    Err(why)
}

/// Asks for an edit. That goes on when nobody waits for it any more. Where the last of a lab has just been removed, so that all of it
/// goes, it waits for the end of that until `by`.
fn asked(engine: &Engine, lab: &LabName, edit: Controlled, by: Instant) -> JoinHandle<Result<Arc<Operation>, Refusal>> {
    let (engine, lab) = (engine.clone(), lab.clone());
    let request = ControlledEdit { authority: Authority::controller(), edit };
    task::spawn("carry out", async move {
        loop {
            match engine.control(&lab, request.clone()).await {
                Err(refusal @ (Refusal::Destroying(_) | Refusal::InProgress { .. })) => {
                    let has_gone = has_gone(&engine, &lab, by).await;
                    // It may have gone before it was looked at.
                    let is_over = has_gone || matches!(refusal, Refusal::Destroying(_));
                    if !is_over || Instant::now() >= by {
                        return Err(refusal);
                    }
                }
                outcome => return outcome,
            }
        }
    })
}

/// Waits for the end of a lab that goes, if it does; whether that has come by then.
async fn has_gone(engine: &Engine, lab: &LabName, by: Instant) -> bool {
    let is_going = || wish_of(engine, lab).is_some_and(|wish| wish.phase == Phase::Destroy);
    // What is wanted changes with an event.
    let (_, mut events) = engine.events().follow(engine.events().newest());
    let mut was_going = false;
    let going = async {
        while is_going() {
            was_going = true;
            if events.recv().await == Err(RecvError::Closed) {
                return;
            }
        }
    };
    timeout_at(by, going).await.is_ok() && was_going
}

/// Has nothing of a lab remain.
pub(super) async fn destroy(app: &App, lab: &LabName, within: Duration) -> Result<(), String> {
    let by = Instant::now() + within;
    match timeout_at(by, app.engine.destroy_of(&Authority::controller(), lab)).await {
        Ok(Ok(operation)) => settled(&operation, by, within).await,
        // Of what is not there nothing is to be removed.
        Ok(Err(Refusal::NoLab(_))) => Ok(()),
        Ok(Err(refusal)) => Err(refusal.to_string()),
        Err(_) => Err(not_done(within)),
    }
}

fn not_done(within: Duration) -> String {
    format!("not done within {} s", within.as_secs())
}

/// Waits for the end of an operation until `by`, which is the end of `within`.
async fn settled(operation: &Arc<Operation>, by: Instant, within: Duration) -> Result<(), String> {
    let mut state = operation.state();
    let ended = timeout_at(by, state.wait_for(|state| state.is_final())).await;
    let Ok(Ok(state)) = ended.map(|ended| ended.map(|state| *state)) else {
        let view = operation.view();
        let so_far: Vec<String> = view.problems;
        let so_far = if so_far.is_empty() { String::new() } else { format!(": {}", so_far.join("; ")) };
        return Err(format!("{}{so_far}", not_done(within)));
    };
    if state == OperationState::Succeeded {
        return Ok(());
    }
    let view = operation.view();
    Err(if view.problems.is_empty() { view.message.unwrap_or_default() } else { view.problems.join("; ") })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::str::FromStr as _;

    use netloom_engine::testing::{FakeStore, Sketch, Trouble, World};
    use netloom_engine::{ControlledNode, Layout, Phase, channel};
    use netloom_model::Mtu;

    use super::*;

    const MAKE: Duration = Duration::from_secs(96);

    /// An engine on a fake world, and the edit that makes a node there.
    struct Scene {
        engine: Engine,
        world: World,
        store: FakeStore,
        lab: LabName,
        edit: Controlled,
        _root: tempfile::TempDir,
    }

    impl Scene {
        async fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let (reporter, inventory, writer) = channel();
            let (world, store) = (World::new(reporter), FakeStore::default());
            let parts = world.parts(Layout::new(root.path()).unwrap(), &store, inventory, writer);
            let engine = Engine::start(parts).await.unwrap();
            let mut changes = engine.inventory().changes();
            let is_listed = |_: &u64| engine.inventory().snapshot().is_complete(engine.sources());
            changes.wait_for(is_listed).await.unwrap();
            let sketch = Sketch::new("lab").node("r1").lab();
            let (name, node) = sketch.nodes().iter().next().unwrap();
            let (interfaces, mtu) = (BTreeSet::new(), Mtu::try_from(9000).unwrap());
            let node = ControlledNode { name: name.clone(), node: node.clone(), interfaces, mtu, keep: false };
            let edit = Controlled::Create(vec![node]);
            Self { engine, world, store, lab: sketch.name().clone(), edit, _root: root }
        }

        /// How an edit that is taken back when it fails ends, and how long that took.
        async fn carry_out(&self) -> (Result<(), String>, Duration) {
            let began = Instant::now();
            let outcome = carry_out_on(&self.engine, &self.lab, self.edit.clone(), MAKE, Late::Ends).await;
            (outcome, began.elapsed())
        }

        fn has_node(&self) -> bool {
            let there = self.engine.wishes().get(&self.lab);
            there.is_some_and(|wish| wish.phase == Phase::Run && !wish.lab.nodes().is_empty())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_in_time_is_answered_at_once() {
        let scene = Scene::new().await;
        assert_eq!(scene.carry_out().await.0, Ok(()));
        assert!(scene.has_node());
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_has_its_time_with_all_that_comes_before_it_and_after() {
        let scene = Scene::new().await;
        scene.world.trouble("check lab/r1", .., Trouble::Slow(Duration::from_secs(20)));
        scene.world.trouble("create lab/r1", .., Trouble::Hangs);
        let (outcome, took) = scene.carry_out().await;
        assert!(outcome.unwrap_err().contains("not done within 96 s"));
        assert!(took <= MAKE, "{took:?}");
        assert!(!scene.has_node(), "it is taken back before the answer");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_while_the_last_of_a_lab_goes_is_made_when_that_has_gone() {
        let scene = Scene::new().await;
        scene.carry_out().await.0.unwrap();
        scene.world.trouble("delete lab/r1", .., Trouble::Slow(Duration::from_secs(30)));
        let remove = Controlled::Remove([NodeName::from_str("r1").unwrap()].into());
        let accepted = asked(&scene.engine, &scene.lab, remove, Instant::now()).await.unwrap();
        let operation = accepted.unwrap();
        let (outcome, took) = scene.carry_out().await;
        assert_eq!((outcome, operation.view().state), (Ok(()), OperationState::Succeeded));
        assert!(took >= Duration::from_secs(30) && scene.has_node(), "{took:?}");

        scene.world.trouble("delete lab/r1", .., Trouble::Hangs);
        let remove = Controlled::Remove([NodeName::from_str("r1").unwrap()].into());
        asked(&scene.engine, &scene.lab, remove, Instant::now()).await.unwrap().unwrap();
        let (outcome, took) = scene.carry_out().await;
        assert!(outcome.is_err() && took <= MAKE, "{took:?}");
        assert!(!scene.has_node(), "nothing of what has gone is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_accepted_too_late_is_taken_back_all_the_same() {
        let scene = Scene::new().await;
        scene.store.freeze();
        let (outcome, took) = scene.carry_out().await;
        assert!(outcome.is_err());
        assert!(took <= MAKE, "{took:?}");
        scene.store.thaw();
        let back = async {
            // That it is wanted is written first.
            while scene.store.writes() < 2 || scene.has_node() || !scene.world.nodes().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout_at(Instant::now() + MAKE, back).await.expect("it is taken back");
    }
}
