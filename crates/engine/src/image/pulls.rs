//! Fetching images: two at a time on this host, and how far each is is told to the operations that wait for it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use netloom_model::LabName;
use netloom_plan::StepId;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Images, PullProgress};
use crate::bulkhead::Bulkhead;
use crate::driver::{Context, DriverError};
use crate::event::{Events, What};
use crate::lab::{cancelled, engine_error, within};
use crate::operation::{Operation, StepState};
use crate::pace::PULLING;

/// How often it is told how far an image is: events are kept, and those of a pull must not push out all others.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Who is told how far an image has come.
#[derive(Debug)]
pub(crate) struct Progressing {
    pub(crate) operations: Vec<Arc<Operation>>,
    pub(crate) events: Events,
    pub(crate) lab: Option<LabName>,
    pub(crate) step: StepId,
    pub(crate) text: String,
}

impl Progressing {
    /// The image is there, whoever has seen to that.
    pub(crate) fn end(&self) {
        self.operations.iter().for_each(|operation| operation.end_progress(&self.step));
    }

    fn tell(&self, progress: &PullProgress) {
        for operation in &self.operations {
            operation.set_progress(&self.step, progress);
            self.events.publish(What::Step {
                operation: Some(operation.id().clone()),
                lab: self.lab.clone(),
                step: self.step.to_string(),
                text: self.text.clone(),
                state: StepState::Running,
                error: None,
                output: None,
                progress: Some(progress.clone()),
            });
        }
    }
}

/// Fetches an image when it is its turn.
pub(crate) async fn follow(
    images: &dyn Images,
    image: &str,
    places: &Bulkhead,
    told: &Progressing,
    context: &Context,
) -> Result<(), DriverError> {
    let object = format!("image {image}");
    let _place = tokio::select! {
        place = places.enter(context.deadline) => {
            place.map_err(|busy| engine_error("pull", &object, busy.to_string()))?
        }
        () = context.cancel.cancelled() => return Err(cancelled(&object)),
    };
    told.operations.iter().for_each(|operation| operation.turn_of_step(&told.step, PULLING));
    let (sender, mut progress) = watch::channel(PullProgress::default());
    let mut call = pin!(within(context, &object, images.pull(image, &sender, context)));
    let mut next = Instant::now();
    loop {
        tokio::select! {
            ended = &mut call => {
                if progress.has_changed().unwrap_or(false) {
                    told.tell(&progress.borrow_and_update());
                }
                return ended;
            }
            () = context.cancel.cancelled() => return Err(cancelled(&object)),
            () = news(&mut progress, next) => {
                told.tell(&progress.borrow_and_update());
                next = Instant::now() + TOLD_EVERY;
            }
        }
    }
}

/// Waits until there is something to tell, and it is time to.
async fn news(progress: &mut watch::Receiver<PullProgress>, next: Instant) {
    tokio::time::sleep_until(next).await;
    if progress.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
