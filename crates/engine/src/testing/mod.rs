//! Fakes of the three seams over one small world, and the contract suites that fakes and real drivers pass.
//!
//! ```text
//!  FakeRuntime ─┐                     ┌─▶ Reporter (events on change, all on relist)
//!               ├──▶ World (a mutex) ─┤
//!  FakeFabric ──┘         ▲           └─▶ calls(), troubles
//!                         └── tests: exit a node, delete a link, add something foreign, lose events
//! ```
//!
//! A world outlives the engines that work on it: [`World::report_to`] gives it to the next one, as a host is given
//! to the next agent process.
//!
//! What a test asks for and cannot be (a node that is not there, a lab that is not valid) panics.
#![expect(clippy::missing_panics_doc, reason = "said once for the whole module")]

pub mod contract;
mod fabric;
mod files;
mod host_files;
mod images;
mod limits;
mod networks;
mod program;
mod runtime;
mod sketch;
mod store;
mod switch;
mod traces;
mod trouble;
mod underlay;
mod world;

pub use fabric::FakeFabric;
pub use host_files::FakeHostFiles;
pub use limits::FakeLimits;
pub use runtime::FakeRuntime;
pub use sketch::Sketch;
pub use store::FakeStore;
pub use traces::FakeTraces;
pub use trouble::Trouble;
pub use underlay::FakeUnderlay;
pub use world::{EventsAre, World};
