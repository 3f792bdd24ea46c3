//! What labs are made of on a real host: the drivers behind the engine's three seams.
//!
//! Third-party types stop here; the engine sees facts, orders and errors of its own.

mod demand;
mod desk;
pub mod fabric;
pub mod host_files;
pub mod leftovers;
pub mod limits;
pub mod predecessor;
pub mod runtime;
pub mod store;

pub use demand::Demand;
