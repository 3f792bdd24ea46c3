//! Operations that do not get on: which step, whose, for how long, and what it waits for.
//!
//! It mends nothing: a step has a deadline of its own. It says what a person wants to know before that has passed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use netloom_engine::{Engine, Operation, Pace, Source, Stuck, StuckStep, What};
use netloom_plan::Owner;

use super::lateness::{Lateness, Loop, Mend};

/// What would mend it: nothing here.
const WAIT: Mend = Mend::Wait("operations");

/// The operations under way, and since when each is where it is.
#[derive(Debug, Default)]
pub(super) struct Operations(Lateness);

impl Operations {
    /// Looks at all operations; `had` is the agent's clock. Says of those that are stuck that they are, and of those that
    /// get on again that they do.
    pub(super) fn look(&mut self, engine: &Engine, had: Duration) {
        let all = engine.journal().all().into_iter().filter(|operation| !operation.state().borrow().is_final());
        let all: Vec<(Arc<Operation>, Pace)> = all.map(|operation| (operation.clone(), operation.pace())).collect();
        let late = self.0.look(all.iter().map(|(operation, pace)| as_loop(operation, pace)).collect(), had);
        for (operation, pace) in all {
            let late = late.iter().find(|late| late.of.name == operation.id().0);
            let stuck = late.map(|late| stuck(&pace, late.age, engine));
            let was = operation.set_stuck(stuck.clone());
            match (was, stuck) {
                (None, Some(stuck)) => tell(engine, &operation, &text(&operation, &stuck)),
                (Some(_), None) => tell(engine, &operation, &format!("{} gets on again", name(&operation))),
                _ => {}
            }
        }
    }
}

fn as_loop(operation: &Operation, pace: &Pace) -> Loop {
    let (name, limit) = (operation.id().0.clone(), pace.patience());
    Loop { name, at: Some(pace.moves), mend: WAIT, limit, threads: Vec::new() }
}

fn stuck(pace: &Pace, age: Duration, engine: &Engine) -> Stuck {
    let now = SystemTime::now();
    let steps = pace.in_hand.values();
    let steps = steps.map(|step| StuckStep { text: step.text.clone(), owner: owner(step.owner, engine) });
    let steps: Vec<StuckStep> = steps.collect();
    let waits_for = waits_for(&steps, engine);
    Stuck { since: now.checked_sub(age).unwrap_or(now), seconds: age.as_secs_f64(), steps, waits_for }
}

fn owner(owner: Owner, engine: &Engine) -> String {
    match owner {
        Owner::Host => "host",
        Owner::Fabric => engine.fabric(),
        Owner::Engine => "engine",
        Owner::Runtime(kind) => Source::Runtime(kind).word(),
    }
    .to_owned()
}

/// What is known of what it waits for: threads of those who carry its steps out, sources that do not answer.
fn waits_for(steps: &[StuckStep], engine: &Engine) -> String {
    let is_owner = |of: &str| steps.iter().any(|step| step.owner == of);
    let threads = engine.backlogs().iter().filter(|(capability, _)| is_owner(capability) || is_owner("host"));
    let threads = threads.filter_map(|(_, backlog)| {
        let seconds = backlog.oldest()?.elapsed().as_secs();
        Some(format!("thread {}, which has been at the oldest of {} for {seconds} s", backlog.name(), backlog.depth()))
    });
    let snapshot = engine.inventory().snapshot();
    let sources = snapshot.sources.iter().filter_map(|(source, state)| {
        let name = crate::health::source_name(*source, engine.fabric());
        let error = state.error.as_ref().filter(|_| steps.is_empty() || is_owner(name))?;
        Some(format!("{name}, which cannot be looked at ({error})"))
    });
    let full = engine.bulkheads().into_iter().filter(|bulkhead| bulkhead.used() >= bulkhead.limit());
    let full =
        full.map(|bulkhead| format!("a place in `{}`, all {} of which are taken", bulkhead.name(), bulkhead.limit()));
    let all: Vec<String> = threads.chain(sources).chain(full).collect();
    match (all.is_empty(), steps.first()) {
        (false, _) => all.join("; "),
        (true, Some(step)) if step.owner == "engine" => "what that step names".to_owned(),
        (true, Some(step)) => format!("an answer of {}", step.owner),
        (true, None) => "its next try, or to see what it has done".to_owned(),
    }
}

fn name(operation: &Operation) -> String {
    let of = operation.lab().map(|lab| format!(" of lab {lab}")).unwrap_or_default();
    format!("the {}{of} (operation {})", operation.kind(), operation.id())
}

fn text(operation: &Operation, stuck: &Stuck) -> String {
    let steps: Vec<String> = stuck.steps.iter().map(|step| format!("{} ({})", step.text, step.owner)).collect();
    let at = if steps.is_empty() { "between two steps".to_owned() } else { format!("at: {}", steps.join(", ")) };
    let name = name(operation);
    format!("{name} is stuck for {:.0} s {at}; it waits for {}", stuck.seconds, stuck.waits_for)
}

fn tell(engine: &Engine, operation: &Operation, text: &str) {
    tracing::warn!(operation = %operation.id(), "{text}");
    engine.events().publish(What::Notice { lab: operation.lab().cloned(), text: text.to_owned() });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use netloom_engine::testing::{FakeStore, Sketch, Trouble, World};
    use netloom_engine::{DeployRequest, Layout, RaiseLimits, Rebuild, channel};

    use super::*;

    async fn engine(root: &std::path::Path) -> (Engine, World) {
        let (reporter, inventory, writer) = channel();
        let world = World::new(reporter);
        let parts = world.parts(Layout::new(root).unwrap(), &FakeStore::default(), inventory, writer);
        let engine = Engine::start(parts).await.unwrap();
        let mut changes = engine.inventory().changes();
        let complete = |_: &u64| engine.inventory().snapshot().is_complete(engine.sources());
        changes.wait_for(complete).await.unwrap();
        (engine, world)
    }

    async fn deploy(engine: &Engine, sketch: Sketch) -> Arc<Operation> {
        let (lab, raise_limits) = (sketch.lab(), RaiseLimits::No);
        let request = DeployRequest { lab, rebuild: Rebuild::No, only: None, generation: None, raise_limits };
        let operation = engine.deploy(request).await.unwrap();
        // Whatever can happen without waiting has happened then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        operation
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn notices(engine: &Engine) -> Vec<String> {
        let (events, _) = engine.events().follow(0);
        let text = |event: &Arc<netloom_engine::Event>| match &event.what {
            What::Notice { text, .. } => Some(text.clone()),
            _ => None,
        };
        events.iter().filter_map(text).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_whose_step_hangs_is_stuck_until_it_moves() {
        let root = tempfile::tempdir().unwrap();
        let (engine, world) = engine(root.path()).await;
        world.trouble("create lab/r1", ..1, Trouble::Hangs);
        let operation = deploy(&engine, Sketch::new("lab").node("r1")).await;
        let mut operations = Operations::default();
        for had in [0, 15, 30] {
            operations.look(&engine, seconds(had));
            assert_eq!(operation.view().stuck, None, "{had}");
        }
        operations.look(&engine, seconds(31));
        let stuck = operation.view().stuck.expect("it is stuck");
        assert_eq!(stuck.steps, [StuckStep { text: "create node r1".into(), owner: "namespace".into() }]);
        assert_eq!((stuck.seconds.round(), stuck.waits_for.as_str()), (31.0, "an answer of namespace"));
        operations.look(&engine, seconds(33));
        let said = notices(&engine);
        assert_eq!(said.len(), 1, "it is said once: {said:#?}");
        assert!(
            said[0].contains("the deploy of lab lab") && said[0].contains("create node r1 (namespace)"),
            "{said:?}"
        );

        // The step's own limit ends it, and it is tried again.
        let mut state = operation.state();
        state.wait_for(|state| state.is_final()).await.unwrap();
        operations.look(&engine, seconds(35));
        assert_eq!(operation.view().stuck, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_of_the_topology_and_a_delay_may_take_their_time() {
        let root = tempfile::tempdir().unwrap();
        let (engine, _world) = engine(root.path()).await;
        let operation = deploy(&engine, Sketch::new("lab").node("r1").execs("r1", &["sleep", "5000"])).await;
        let mut operations = Operations::default();
        for had in [0, 31, 300, 600] {
            operations.look(&engine, seconds(had));
            assert_eq!(operation.view().stuck, None, "{had}");
        }
        operations.look(&engine, seconds(601));
        assert!(operation.view().stuck.is_some());
    }
}
