//! The images of this host as the engine answers for them: read from the snapshot; changed with regard to what labs need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use netloom_model::{LabName, RuntimeKind};
use netloom_plan::{Action, Step};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ImageFact, ImageLoad, ImageView, ImagesRemoved, ImagesView, Progressing, Shelf, find, follow, is_same};
use crate::desired::{Phase, Wish};
use crate::driver::{Context, DriverError, ErrorClass};
use crate::engine::Engine;
use crate::event::What;
use crate::fact::Source;
use crate::lab::{Accepted, PULL_LIMIT, within};
use crate::operation::{Operation, OperationState, StepState};
use crate::refusal::Refusal;
use crate::snapshot::{Snapshot, SourceState};
use crate::task;

/// How long the removal of images may take in all.
const REMOVED_WITHIN: Duration = Duration::from_secs(600);

/// Which images a clean-up removes, of those that no lab needs and nothing was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// Those that have lost their names.
    Untagged,
    /// All.
    All,
}

/// Which labs need an image, by the references that they have for it.
type Needs = BTreeMap<LabName, BTreeSet<String>>;

impl Engine {
    /// The images of this host, as they were last seen; asks nobody.
    pub fn images(&self) -> ImagesView {
        let (snapshot, wishes) = (self.shared.inventory.snapshot(), self.shared.wishes.all());
        let all = snapshot.images.values().flat_map(|images| images.values());
        let images = all.map(|image| view(image, &snapshot, &wishes)).collect();
        let states = self.shared.shelves.iter().map(|kind| snapshot.sources.get(&Source::Images(*kind)));
        let listed = states.clone().filter_map(|state| state?.listed).min();
        let stale = self.shared.shelves.iter().zip(states).find_map(|(kind, state)| unlooked(*kind, state));
        ImagesView { images, listed, stale }
    }

    /// Why nobody knows which images there are, as long as they were never listed.
    pub fn images_unlisted(&self) -> Option<String> {
        let snapshot = self.shared.inventory.snapshot();
        let unlisted = |kind: &RuntimeKind| {
            let state = snapshot.sources.get(&Source::Images(*kind));
            let is_listed = state.is_some_and(|state| state.listed.is_some());
            (!is_listed).then(|| unlooked(*kind, state.filter(|state| state.error.is_some()))).flatten()
        };
        self.shared.shelves.iter().find_map(unlisted)
    }

    /// One of them, by a name or an id.
    pub fn image(&self, reference: &str) -> Result<ImageView, Refusal> {
        let snapshot = self.shared.inventory.snapshot();
        let (_, image) = self.find_image(reference, &snapshot)?;
        Ok(view(image, &snapshot, &self.shared.wishes.all()))
    }

    fn find_image<'s>(&self, reference: &str, snapshot: &'s Snapshot) -> Result<(Shelf, &'s ImageFact), Refusal> {
        let shelf = self.shelf()?;
        let Some(images) = snapshot.images.get(&shelf.runtime.kind()) else {
            let state = snapshot.sources.get(&Source::Images(shelf.runtime.kind()));
            let why = state.and_then(|state| state.error.clone()).map_or_else(String::new, |why| format!(": {why}"));
            return Err(Refusal::NotReady(format!("images of {}{why}", word(shelf.runtime.kind()))));
        };
        let image = find(images, reference).ok_or_else(|| Refusal::NoImage(reference.to_owned()))?;
        Ok((shelf, image))
    }

    /// The runtime that has images.
    fn shelf(&self) -> Result<Shelf, Refusal> {
        let mut all = self.shared.runtimes.values().filter(|runtime| runtime.images().is_some());
        all.next().map(|runtime| Shelf { runtime: runtime.clone() }).ok_or(Refusal::NoImages)
    }

    /// Fetches an image, whether it is there or not, and returns the operation that does. The same request again joins it.
    pub fn pull_image(&self, image: &str) -> Accepted {
        if image.is_empty() || image.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Refusal::BadReference(image.to_owned()));
        }
        let shelf = self.shelf()?;
        let action = Action::PullImage { image: image.to_owned(), runtime: shelf.runtime.kind() };
        let (id, owner) = (action.id(), action.owner());
        let all = self.shared.journal.all();
        let same = |operation: &&Arc<Operation>| {
            operation.lab().is_none()
                && !operation.state().borrow().is_final()
                && operation.view().steps.iter().any(|step| step.id == id)
        };
        if let Some(there) = all.iter().find(same) {
            return Ok(there.clone());
        }
        let operation = self.shared.journal.begin("pull", None);
        let step = Step { id, owner, reason: "asked for".into(), after: Vec::new(), action };
        operation.add_steps(std::iter::once(&step));
        let (engine, pulled, image) = (self.clone(), operation.clone(), image.to_owned());
        let pull = async move { engine.run_pull(&shelf, &image, &step, &pulled).await };
        task::spawn(format!("pull {}", operation.id()), self.shared.tasks.track_future(pull));
        Ok(operation)
    }

    async fn run_pull(&self, shelf: &Shelf, image: &str, step: &Step, operation: &Arc<Operation>) {
        let told = Progressing {
            operations: vec![operation.clone()],
            events: self.shared.events.clone(),
            lab: None,
            step: step.id.clone(),
            text: step.action.to_string(),
        };
        let context =
            Context { deadline: (Instant::now() + PULL_LIMIT).into_std(), cancel: operation.cancelled().clone() };
        let say = |state, error: Option<&DriverError>| {
            operation.set_step(&step.id, state, error.map(ToString::to_string));
            self.shared.events.publish(What::Step {
                operation: Some(operation.id().clone()),
                lab: None,
                step: step.id.to_string(),
                text: step.action.to_string(),
                state,
                error: error.map(ToString::to_string),
                output: None,
                progress: None,
            });
        };
        say(StepState::Running, None);
        operation.begin_step(step, PULL_LIMIT);
        let outcome = tokio::select! {
            outcome = follow(shelf.images(), image, &self.shared.pulls, &told, &context) => outcome,
            () = self.shared.stopping.cancelled() => {
                let text = "the agent was stopped; pull it again";
                return operation.end(OperationState::Superseded, text, Vec::new());
            }
        };
        match outcome {
            Ok(()) => {
                say(StepState::Done, None);
                operation.end(OperationState::Succeeded, format!("image {image} is on this host"), Vec::new());
            }
            Err(error) if error.class == ErrorClass::Cancelled => {
                say(StepState::Skipped, None);
                operation.end(OperationState::Cancelled, format!("image {image} is not pulled"), Vec::new());
            }
            Err(error) => {
                say(StepState::Failed, Some(&error));
                operation.end(OperationState::Failed, format!("image {image} is not pulled"), vec![error.to_string()]);
            }
        }
    }

    /// Begins to load the images of an archive. The place in the bulkhead is held as long as the permit lives.
    pub async fn load_images(&self) -> Result<(ImageLoad, OwnedSemaphorePermit), Refusal> {
        let permit = self.shared.sessions.try_enter()?;
        let shelf = self.shelf()?;
        let load = within(&self.session_limit(), "images", shelf.images().load()).await?;
        Ok((load, permit))
    }

    /// Removes a reference of an image, and the image with its last one; not one that a lab needs.
    pub async fn remove_image(&self, reference: &str) -> Result<ImagesRemoved, Refusal> {
        let snapshot = self.shared.inventory.snapshot();
        let (shelf, image) = self.find_image(reference, &snapshot)?;
        let by_name = image.references.iter().any(|name| is_same(name, reference));
        let stays = |name: &&String| by_name && !is_same(name, reference);
        let left: Vec<&String> = image.references.iter().filter(stays).collect();
        let needs = needs(image, &snapshot, &self.shared.wishes.all());
        let does_without =
            |names: &BTreeSet<String>| names.iter().all(|name| left.iter().any(|left| is_same(left, name)));
        let labs: Vec<LabName> =
            needs.into_iter().filter(|(_, names)| !does_without(names)).map(|(lab, _)| lab).collect();
        if !labs.is_empty() {
            return Err(Refusal::ImageNeeded { image: reference.to_owned(), labs });
        }
        let context = removal();
        let named = if by_name { reference } else { &image.id };
        let before = shelf.images().space(&context).await.ok().flatten();
        let removed = within(&context, &format!("image {reference}"), shelf.images().remove(named, &context)).await;
        removed.map_err(|error| match error.class {
            ErrorClass::Permanent => Refusal::ImageUsed(error),
            _ => Refusal::Driver(error),
        })?;
        let freed_bytes = freed(&shelf, before, &context).await;
        Ok(ImagesRemoved { removed: vec![reference.to_owned()], kept: Vec::new(), freed_bytes })
    }

    /// Removes the images that no lab of this host needs and nothing was made from.
    pub async fn prune_images(&self, which: Prune) -> Result<ImagesRemoved, Refusal> {
        let shelf = self.shelf()?;
        let snapshot = self.shared.inventory.snapshot();
        let images = snapshot.images.get(&shelf.runtime.kind());
        let images = images.ok_or_else(|| Refusal::NotReady(format!("images of {}", word(shelf.runtime.kind()))))?;
        let context = removal();
        let before = shelf.images().space(&context).await.ok().flatten();
        let mut removed = ImagesRemoved::default();
        for image in images.values().filter(|image| which == Prune::All || image.references.is_empty()) {
            // What labs need may change while images are removed.
            let (now, wishes) = (self.shared.inventory.snapshot(), self.shared.wishes.all());
            if !needs(image, &now, &wishes).is_empty() {
                continue;
            }
            let names = if image.references.is_empty() { std::slice::from_ref(&image.id) } else { &image.references };
            for name in names {
                let remove = shelf.images().remove(name, &context);
                match within(&context, &format!("image {name}"), remove).await {
                    Ok(()) => removed.removed.push(name.clone()),
                    Err(error) => removed.kept.push(format!("{name}: {}", error.cause)),
                }
            }
        }
        removed.freed_bytes = freed(&shelf, before, &context).await;
        Ok(removed)
    }
}

fn removal() -> Context {
    let deadline = Instant::now() + REMOVED_WITHIN;
    Context { deadline: deadline.into_std(), cancel: CancellationToken::new() }
}

/// How much less all images take than before.
async fn freed(shelf: &Shelf, before: Option<u64>, context: &Context) -> Option<u64> {
    let after = shelf.images().space(context).await.ok().flatten();
    before.zip(after).map(|(before, after)| before.saturating_sub(after))
}

fn view(image: &ImageFact, snapshot: &Snapshot, wishes: &BTreeMap<LabName, Arc<Wish>>) -> ImageView {
    ImageView { image: image.clone(), labs: needs(image, snapshot, wishes).into_keys().collect() }
}

/// The labs that need an image: wanted ones, and what is there of any.
fn needs(image: &ImageFact, snapshot: &Snapshot, wishes: &BTreeMap<LabName, Arc<Wish>>) -> Needs {
    let wanted = wishes.iter().filter(|(_, wish)| wish.phase == Phase::Run).flat_map(|(lab, wish)| {
        let nodes = wish.lab.nodes().values();
        nodes.filter_map(move |node| Some((lab, node.runtime?, node.image.as_ref()?)))
    });
    let there = snapshot.labs.iter().flat_map(|(lab, facts)| {
        facts.nodes.values().filter_map(move |fact| Some((lab, fact.runtime, fact.image.as_ref()?)))
    });
    let mut needs = Needs::new();
    for (lab, runtime, reference) in wanted.chain(there) {
        let is_known = needs.get(lab).is_some_and(|names| names.contains(reference));
        if runtime == image.runtime && !is_known && image.is_called(reference) {
            needs.entry(lab.clone()).or_default().insert(reference.clone());
        }
    }
    needs
}

/// What is wrong with what is known of the images of a runtime, if anything is.
fn unlooked(runtime: RuntimeKind, state: Option<&SourceState>) -> Option<String> {
    let why = match state {
        None => "they were not looked at yet; ask again in a moment".to_owned(),
        Some(state) => format!("they cannot be looked at: {}", state.error.clone()?),
    };
    Some(format!("images of {}: {why}", word(runtime)))
}

fn word(kind: RuntimeKind) -> String {
    format!("{kind:?}").to_lowercase()
}
