//! Edits of labs on behalf of the controller, carried out while it waits. The deadline is shorter than the controller's, so that
//! the answer is ours; what is not done by then, or cannot be, is taken back before the answer.

use std::sync::Arc;
use std::time::Duration;

use netloom_engine::{Authority, Controlled, ControlledEdit, Operation, OperationState, Wish, task};
use netloom_model::{LabName, NodeName};
use tokio::time::timeout;

use crate::serve::App;

/// What is wanted of a lab of the controller, if it is one.
pub(super) fn wish(app: &App, lab: &LabName) -> Option<Arc<Wish>> {
    app.engine.wishes().get(lab).filter(|wish| wish.authority == Authority::controller())
}

/// All labs of the controller.
pub(super) fn wishes(app: &App) -> Vec<Arc<Wish>> {
    app.engine.wishes().all().values().filter(|wish| wish.authority == Authority::controller()).cloned().collect()
}

/// The name of a node's container, whether it is there or not.
pub(super) fn container_name(lab: &LabName, node: &NodeName) -> String {
    netloom_model::controlled_container(lab, node)
}

/// What becomes of an edit that fails, or is not made true in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// It is taken back.
    Ends,
    /// It goes on: a repeat joins it.
    GoesOn,
}

/// Has an edit made true; why it is not, in one text.
pub(super) async fn carry_out(
    app: &App,
    lab: &LabName,
    edit: Controlled,
    within: Duration,
    late: Late,
) -> Result<(), String> {
    let (engine, lab) = (app.engine.clone(), lab.clone());
    // A client that hangs up cancels nothing, nor keeps what failed from being taken back.
    let work = async move {
        let before = engine.wishes().get(&lab);
        let request = |edit| ControlledEdit { authority: Authority::controller(), edit };
        let operation = engine.control(&lab, request(edit.clone())).await.map_err(|refusal| refusal.to_string())?;
        let Err(why) = settled(&operation, within).await else { return Ok(()) };
        if late == Late::Ends {
            let back = engine.control(&lab, request(Controlled::TakeBack { before, edit: Box::new(edit) })).await;
            if let Err(refusal) = back {
                tracing::warn!(%lab, %refusal, "what the controller was told has failed could not be taken back");
            }
        }
        Err(why)
    };
    let ended = task::spawn("edit of a controller", app.tasks.track_future(work)).await;
    ended.unwrap_or_else(|_| Err("the edit broke off; the agent's log says why".to_owned()))
}

/// Has nothing of a lab remain.
pub(super) async fn destroy(app: &App, lab: &LabName, within: Duration) -> Result<(), String> {
    match app.engine.destroy_of(&Authority::controller(), lab).await {
        Ok(operation) => settled(&operation, within).await,
        // Of what is not there nothing is to be removed.
        Err(netloom_engine::Refusal::NoLab(_)) => Ok(()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

async fn settled(operation: &Arc<Operation>, within: Duration) -> Result<(), String> {
    let mut state = operation.state();
    let ended = timeout(within, state.wait_for(|state| state.is_final())).await;
    let Ok(Ok(state)) = ended.map(|ended| ended.map(|state| *state)) else {
        let view = operation.view();
        let so_far: Vec<String> = view.problems;
        let so_far = if so_far.is_empty() { String::new() } else { format!(": {}", so_far.join("; ")) };
        return Err(format!("not done within {} s{so_far}", within.as_secs()));
    };
    if state == OperationState::Succeeded {
        return Ok(());
    }
    let view = operation.view();
    Err(if view.problems.is_empty() { view.message.unwrap_or_default() } else { view.problems.join("; ") })
}
