//! What nodes run on.

mod environment;
mod fault;
mod ip_netns;
pub mod namespace;
mod pool;
mod turns;
