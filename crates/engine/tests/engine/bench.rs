//! An engine on a fake world.

use std::sync::Arc;
use std::time::Duration;

use netloom_engine::testing::{FakeStore, Sketch, World};
use netloom_engine::{
    Config, DeployRequest, EditRequest, Engine, Layout, Operation, OperationState, OperationView, Parts, RaiseLimits,
    Rebuild, Refusal, channel,
};
use netloom_model::{Lab, LabName};
use rustix::time::{ClockId, clock_gettime};

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) world: World,
    pub(crate) store: FakeStore,
}

pub(crate) fn request(lab: &Arc<Lab>) -> DeployRequest {
    DeployRequest {
        lab: lab.clone(),
        rebuild: Rebuild::No,
        only: None,
        generation: None,
        raise_limits: RaiseLimits::No,
    }
}

/// Holds that work on something ten times as large takes about ten times as long, and not a hundred times as a square
/// would. What counts is the time that this thread had: of a busy machine it has the larger one interrupted more often.
pub(crate) fn grows_with_the_size<T>(one: &T, ten: &T, work: impl Fn(&T)) {
    let had = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("it counts up from 0")
    };
    let measure = |input| {
        let begun = had();
        work(input);
        had().saturating_sub(begun)
    };
    let (mut small, mut large) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        small = small.min(measure(one));
        large = large.min(measure(ten));
        if large <= 25 * small {
            return;
        }
    }
    panic!("{small:?}, and {large:?} for ten times as much");
}

pub(crate) fn lab_name(text: &str) -> LabName {
    text.parse().unwrap()
}

/// Waits for the end of an operation.
pub(crate) async fn end(operation: &Arc<Operation>) -> OperationView {
    let mut state = operation.state();
    let wait = state.wait_for(|state| state.is_final());
    tokio::time::timeout(Duration::from_secs(3600), wait).await.expect("it ends").unwrap();
    operation.view()
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = tokio::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(600), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets everything happen that happens within this time.
pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

pub(crate) fn config() -> Config {
    Config { operation_limit: Duration::from_secs(900), ..Config::default() }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::prepared(config, |_, _| {}).await
    }

    /// An engine that starts on a world that was prepared.
    pub(crate) async fn prepared(config: Config, prepare: impl FnOnce(&World, &FakeStore)) -> Self {
        let (reporter, inventory, writer) = channel();
        let (world, store) = (World::new(reporter), FakeStore::default());
        prepare(&world, &store);
        let engine = start(&world, &store, inventory, writer, config).await;
        Self { engine, world, store }
    }

    /// Stops the engine and starts the next one on the same world and store.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(config()).await
    }

    pub(crate) async fn restart_with(self, config: Config) -> Self {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        self.engine.stop(deadline.into_std()).await;
        let Self { world, store, .. } = self;
        let (reporter, inventory, writer) = channel();
        world.report_to(reporter);
        world.take_calls();
        let engine = start(&world, &store, inventory, writer, config).await;
        Self { engine, world, store }
    }

    /// Deploys and waits for the end.
    pub(crate) async fn deploy(&self, lab: &Arc<Lab>) -> OperationView {
        end(&self.begin(lab).await.expect("it is accepted")).await
    }

    pub(crate) async fn begin(&self, lab: &Arc<Lab>) -> Result<Arc<Operation>, Refusal> {
        self.ready().await;
        self.engine.deploy(request(lab)).await
    }

    /// Edits the lab `lab`, whatever its generation.
    pub(crate) async fn edit(&self, patch: serde_json::Value) -> Result<Arc<Operation>, Refusal> {
        self.edit_of(&lab_name("lab"), patch).await
    }

    pub(crate) async fn edit_of(&self, lab: &LabName, patch: serde_json::Value) -> Result<Arc<Operation>, Refusal> {
        self.engine.edit(lab, EditRequest { patch, generation: None }).await
    }

    /// Edits the lab `lab` in a way that has to work.
    pub(crate) async fn edited(&self, patch: serde_json::Value) -> OperationView {
        let view = end(&self.edit(patch).await.unwrap()).await;
        assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
        view
    }

    /// Deploys what has to work.
    pub(crate) async fn made(&self, lab: &Arc<Lab>) {
        let view = self.deploy(lab).await;
        assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
        self.world.take_calls();
    }

    pub(crate) async fn destroy(&self, lab: &str) -> OperationView {
        end(&self.engine.destroy(&lab_name(lab)).await.expect("it is accepted")).await
    }

    /// Waits until everything has been seen once.
    pub(crate) async fn ready(&self) {
        until("all sources are listed", || self.engine.inventory().snapshot().is_complete(self.engine.sources())).await;
    }
}

async fn start(
    world: &World,
    store: &FakeStore,
    inventory: netloom_engine::Inventory,
    writer: netloom_engine::Writer,
    config: Config,
) -> Engine {
    let parts = world.parts(Layout::new("/nowhere").unwrap(), store, inventory, writer);
    Engine::start(Parts { config, ..parts }).await.unwrap()
}

pub(crate) fn pair() -> Arc<Lab> {
    Sketch::pair("lab").lab()
}
