//! What links are made of.

mod host;
pub mod kernel;
mod numbers;
pub mod ovs;

pub use host::HostFabric;
