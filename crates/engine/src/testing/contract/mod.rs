//! The contracts of the seams: one suite each, passed by the fakes and by every real driver.
//!
//! A suite is a function that takes a *stage*: how to make the driver over one and the same host or file, so that it
//! can also be made a second time, as by the next agent process. It panics with what was expected. Real drivers run
//! the suites from `crates/drivers/tests/{runtime,fabric,store,host_files}_contract.rs`; a new driver adds a few lines there.
//! Suites for drivers wait in real time, at most [`PATIENCE`] for each fact.

mod copy;
mod fabric;
mod host_files;
mod runtime;
mod store;
mod switch;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use fabric::{FabricStage, fabric_contract};
pub use host_files::{HostFilesStage, host_files_contract};
pub use runtime::{RuntimeStage, runtime_contract};
pub use store::{StoreStage, store_contract};
pub use switch::{SwitchStage, switch_contract};

use crate::driver::{Context, Reporter};
use crate::inventory::{Inventory, channel};
use crate::snapshot::Snapshot;
use crate::task;

/// How long a fact may take to be reported.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The lab that the suites work on.
pub const LAB: &str = "contract";

/// An inventory that a driver reports to.
struct Watch {
    inventory: Inventory,
}

impl Watch {
    fn new() -> (Self, Reporter) {
        let (reporter, inventory, writer) = channel();
        task::spawn("inventory", writer.run());
        (Self { inventory }, reporter)
    }

    fn now(&self) -> Arc<Snapshot> {
        self.inventory.snapshot()
    }

    /// Waits until a snapshot shows what is wanted.
    async fn until<T>(&self, what: &str, wanted: impl Fn(&Snapshot) -> Option<T>) -> T {
        let mut changes = self.inventory.changes();
        let found = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = wanted(&self.inventory.snapshot()) {
                    return found;
                }
                changes.changed().await.expect("the inventory lives");
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("it was never reported that {what}: {:#?}", self.inventory.snapshot()))
    }
}

fn context() -> Context {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    Context { deadline: deadline.into_std(), cancel: CancellationToken::new() }
}
