//! What nodes run on.

mod copy;
//pub mod docker;
mod environment;
mod fault;
mod ip_netns;
mod join;
pub mod namespace;
mod pool;
mod program;
mod session;
mod turns;

pub use join::Joiner;
