//! What links are made of.

mod host;
pub mod kernel;
pub mod ovs;

pub use host::HostFabric;
